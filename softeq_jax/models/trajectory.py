"""The trajectory transformer: autoregressive prediction of pedestrian tracks."""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from softeq_jax.groups import Group, so
from softeq_jax.models.rules import ModelDials, Rule
from softeq_jax.nn import equivariant as eq
from softeq_jax.projections import Dials, Projector, projector
from softeq_jax.reps import Rep, vector

Array = jax.Array | np.ndarray
Coordinates = Literal["absolute", "displacement", "departure"]


class _DenseEnds(NamedTuple):
    """The representations that a dense layer maps between."""

    input: Rep
    output: Rep


class TrajectoryTransformer(nn.Module):
    r"""A decoder of frames, after "Tunable Soft Equivariance with Guarantees" (sections 3 and 6 of
    its specification): from the positions of all people in the frames so far, those in the next.

    A frame is one token: the people's 2-vectors go through one dense layer to ``width / 2``
    vectors, to which a learned table adds the number of the frame. Blocks are post-norm with
    causal self-attention, whose heads hold whole vectors: scores are invariant under orthogonal
    matrices. The perceptron has a norm gate, ``sigmoid(||v|| + b) v``, in the place of an
    activation, and ``v / (||v|| + 1e-5)`` is the norm. A dense layer makes positions again.

    The group acts on every 2-vector by its own matrices. Strictly equivariant weights leave no
    invariant vector for biases and table under SO(2), C_n and D_n with n > 1: these vanish, and
    frames are told apart by the causal mask alone. Soft levels bring them back.

    Different from the published code: dropout takes whole vectors, where single entries would break
    the symmetry; groups with reflections really act; there is no cross-attention on an empty
    memory, which adds a bias and nothing else; parameters are projected as they are used, not
    overwritten.

    Parameters: ``embed``, ``pos_embed [1, max_length, width]``,
    ``block{i}/{query,key,value,out,mlp_in,mlp_out}``, ``block{i}/gate/bias [mlp_width / 2]``,
    ``head``; dense layers have ``kernel [in, out]`` and ``bias``.

    Attributes:
      people: how many a frame has room for.
      width: entries of a token.
      depth: number of blocks.
      heads: attention heads; each has ``width / heads`` entries, an even number.
      mlp_width: hidden entries of the perceptrons.
      dropout: share of the vectors (and of the attention weights) left out in training.
      max_length: longest sequence of frames given to the network.
      group: a group of real 2 x 2 orthogonal matrices; None is SO(2).
      project: whether weights, biases and table are projected; otherwise they are used as they are
        stored, for a plan (``soft_rules``) to govern.
      coordinates: "absolute"; "displacement": the network sees the steps from frame to frame and
        predicts the next one; "departure": it sees the steps and predicts what is added to the last
        one, so that a head of zeros goes on at constant velocity. The latter two commute with
        translations.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net = sq.models.TrajectoryTransformer(people=3, width=16, depth=1, mlp_width=16)
      >>> x = jnp.ones((1, 3, 8, 2))  # people, frames, x and y
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
      >>> y.shape
      (1, 3, 8, 2)
    """

    people: int
    width: int = 128
    depth: int = 4
    heads: int = 4
    mlp_width: int = 512
    dropout: float = 0.1
    max_length: int = 20
    group: Group | None = None
    project: bool = True
    coordinates: Coordinates = "absolute"

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """Dense layers and positions under any group of real orthogonal 2 x 2 matrices.

        Raises:
          ValueError: another group.
        """
        found: dict[str, Rule] = {}
        for name, layer in self._layers(group).items():
            found |= eq.dense_rules(name, *layer, **dials.weights)
        table = _table_projector(self._rep(self.width, group), dials.positions)
        return {**found, "pos_embed": table, "**": None}

    @nn.compact
    def __call__(
        self, positions: Array, present: Array | None = None, train: bool = False
    ) -> jax.Array:
        """The position in the next frame, for every frame.

        Trained with ``teacher_forced`` examples (true positions in, the next ones out) and
        ``softeq_jax.training.objectives.trajectories``.

        Args:
          positions: ``[n, people, t, 2]``, t at most ``max_length``.
          present: bool ``[n, people]``, who is there; what is stored for others is not looked
            at. None: everybody.
          train: whether to drop out; needs the random key "dropout" then.

        Returns:
          ``[n, people, t, 2]``: entry t is predicted from the frames up to t; 0 where nobody is.

        Raises:
          ValueError: shapes or attributes that do not fit.
        """
        layers = self._layers(self.group)
        x, present = self._checked(positions, present)
        steps = x
        if self.coordinates != "absolute":
            steps = jnp.diff(x, axis=2, prepend=x[:, :, :1])
        tokens = jnp.swapaxes(steps, 1, 2).reshape(len(x), x.shape[2], 2 * self.people)
        h = self._dense("embed", layers)(tokens)
        rep = self._rep(self.width, self.group)
        shape = (1, self.max_length, self.width)
        table = self.param("pos_embed", nn.initializers.normal(0.02), shape, jnp.float32)
        if self.project:
            table = _table_projector(rep, {})(table)
        h = h + table[:, : h.shape[1]].astype(h.dtype)
        h = _drop(h, self.dropout, train)
        for i in range(self.depth):
            own = {
                name.removeprefix(f"block{i}/"): layer
                for name, layer in layers.items()
                if name.startswith(f"block{i}/")
            }
            block = _CausalBlock(own, self.heads, self.dropout, self.project, name=f"block{i}")
            h = block(h, train)
        y = self._dense("head", layers)(h).reshape(*h.shape[:2], self.people, 2)
        y = jnp.swapaxes(y, 1, 2)
        if self.coordinates == "displacement":
            y = x + y
        elif self.coordinates == "departure":
            y = x + steps + y
        return jnp.where(present[..., None, None], y, 0.0)

    def rollout(
        self, variables: Any, observed: Array, steps: int, present: Array | None = None
    ) -> jax.Array:
        """The frames after the observed ones, each predicted from those before it.

        Args:
          variables: of the model.
          observed: ``[n, people, t, 2]``.
          steps: frames to predict, at least 1; ``t + steps - 1`` may not exceed ``max_length``.
          present: bool ``[n, people]``, or None.

        Returns:
          ``[n, people, steps, 2]``.

        Raises:
          ValueError: shapes or steps that do not fit.
        """
        seen = jnp.asarray(observed).shape[2]
        if steps < 1 or seen + steps - 1 > self.max_length:
            raise ValueError(
                f"steps must be at least 1 and {seen} observed frames + steps - 1 at most "
                f"max_length = {self.max_length}, got {steps} steps"
            )
        frames = jnp.pad(jnp.asarray(observed), ((0, 0), (0, 0), (0, steps), (0, 0)))

        def step(frames: jax.Array, last: jax.Array) -> tuple[jax.Array, None]:
            predicted: Any = self.apply(variables, frames[:, :, :-1], present)
            new = jax.lax.dynamic_slice_in_dim(predicted, last, 1, axis=2)
            return jax.lax.dynamic_update_slice_in_dim(frames, new, last + 1, axis=2), None

        frames, _ = jax.lax.scan(step, frames, seen - 1 + jnp.arange(steps))
        return frames[:, :, seen:]

    def _rep(self, entries: int, group: Group | None) -> Rep:
        return (entries // 2) * vector(_acting(group))

    def _layers(self, group: Group | None) -> dict[str, _DenseEnds]:
        """All dense layers by path."""
        if self.heads < 1 or self.width % (2 * self.heads) or self.mlp_width % 2:
            raise ValueError(
                "width must be a multiple of 2 * heads and mlp_width even, got "
                f"{self.width}, {self.heads} heads and {self.mlp_width}"
            )
        group = self.group if group is None else group
        frame, token, hidden = (
            self._rep(n, group) for n in (2 * self.people, self.width, self.mlp_width)
        )
        found = {"embed": _DenseEnds(frame, token)}
        for i in range(self.depth):
            for name in ("query", "key", "value", "out"):
                found[f"block{i}/{name}"] = _DenseEnds(token, token)
            found[f"block{i}/mlp_in"] = _DenseEnds(token, hidden)
            found[f"block{i}/mlp_out"] = _DenseEnds(hidden, token)
        return found | {"head": _DenseEnds(token, frame)}

    def _dense(self, name: str, layers: dict[str, _DenseEnds]) -> eq.EquivariantDense:
        return eq.EquivariantDense(*layers[name], project=self.project, name=name)

    def _checked(self, positions: Array, present: Array | None) -> tuple[jax.Array, jax.Array]:
        """Positions, 0 where nobody is, and who is there."""
        x = jnp.asarray(positions)
        if x.ndim != 4 or x.shape[1] != self.people or x.shape[3] != 2:
            raise ValueError(f"positions must be [n, {self.people}, t, 2], got shape {x.shape}")
        if not 1 <= x.shape[2] <= self.max_length:
            raise ValueError(f"expected 1 to {self.max_length} frames, got {x.shape[2]}")
        if self.coordinates not in get_args(Coordinates):
            raise ValueError(
                f"coordinates must be one of {get_args(Coordinates)}, got {self.coordinates!r}"
            )
        there = jnp.ones(x.shape[:2], bool) if present is None else jnp.asarray(present, bool)
        if there.shape != x.shape[:2]:
            raise ValueError(f"present must be {list(x.shape[:2])}, got shape {there.shape}")
        return jnp.where(there[..., None, None], x, 0.0), there


class _CausalBlock(nn.Module):
    """Causal self-attention and a perceptron, each added to its input and normalized after."""

    own: dict[str, _DenseEnds]
    heads: int
    dropout: float
    project: bool

    @nn.compact
    def __call__(self, h: jax.Array, train: bool) -> jax.Array:
        def dense(name: str, x: jax.Array) -> jax.Array:
            return eq.EquivariantDense(*self.own[name], project=self.project, name=name)(x)

        norm = eq.VectorNorm(self.own["out"].output)
        split = (self.heads, h.shape[-1] // self.heads)
        query, key, value = (
            dense(name, h).reshape(*h.shape[:-1], *split) for name in ("query", "key", "value")
        )
        scores = jnp.einsum("nqhd,nkhd->nhqk", query * split[1] ** -0.5, key)
        causal = np.tril(np.ones(scores.shape[-2:], bool))
        shares = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf))
        shares = nn.Dropout(self.dropout, deterministic=not train)(shares)
        mixed = jnp.einsum("nhqk,nkhd->nqhd", shares, value).reshape(h.shape)
        h = norm(h + _drop(dense("out", mixed), self.dropout, train))
        hidden = eq.NormGate(self.own["mlp_in"].output, jax.nn.sigmoid, name="gate")
        x = _drop(hidden(dense("mlp_in", h)), self.dropout, train)
        return norm(h + _drop(dense("mlp_out", x), self.dropout, train))


def teacher_forced(
    example: dict[str, np.ndarray], rng: np.random.Generator | None = None
) -> dict[str, np.ndarray]:
    """A transform of training data: all frames but the last to look at, all but the first to
    predict.

    Args:
      example: of ``softeq_jax.data.open_trajectories``, with ``observed``
        ``[people, t, 2]`` and ``future`` ``[people, t', 2]``.
      rng: is not used.

    Returns:
      The example with ``observed`` and ``future`` ``[people, t + t' - 1, 2]``.
    """
    del rng
    frames = np.concatenate([example["observed"], example["future"]], axis=1)
    return {**example, "observed": frames[:, :-1], "future": frames[:, 1:]}


def _table_projector(rep: Rep, dials: Dials) -> Projector:
    return projector("1 t c", {"c": rep}, **dials)


def _drop(x: jax.Array, rate: float, train: bool) -> jax.Array:
    """Dropout of whole 2-vectors."""
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    return nn.Dropout(rate, broadcast_dims=(-1,), deterministic=not train)(pairs).reshape(x.shape)


def _acting(group: Group | None) -> Group:
    group = so(2) if group is None else group
    if group.d != 2 or not group.is_orthogonal or group.is_complex or vector(group).is_trivial:
        raise ValueError(f"group must move vectors by real orthogonal 2 x 2 matrices, got {group}")
    return group
