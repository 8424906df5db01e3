r"""The smoke task: the next frames from the last ones, by a small network of regular fields.

Frames are density and velocity, in units of their standard deviations over the training runs (one
for both components, so that units do not break the symmetry). The network sees the past frames,
the inflow and the direction of buoyancy, and predicts how the last frame changes; its predictions
are fed back to it. The group is C4, which turns the box, velocities and directions.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import softeq_jax as sq
from softeq_jax import regularizers
from softeq_jax.nn import convolve
from softeq_jax.projections import Projector
from softeq_jax.reps import Rep

Array = jax.Array
Tree = Any
Predict = Callable[[Tree, int], Any]

GROUP = sq.groups.cyclic(4)
SCALAR, VECTOR = sq.reps.trivial(GROUP, 1), sq.reps.vector(GROUP)
FRAME = SCALAR + VECTOR
WINDOW = 3  # side of the kernels
_BOUND = 100.0  # standard deviations that a prediction is cut to, so that every error is a number


@dataclasses.dataclass(frozen=True)
class SmokeScales:
    """Units of density and velocity, each three numbers for the channels of a frame.

    Attributes:
      frame: standard deviation of the frames (of velocities: root mean square).
      change: root mean square of the change from one frame to the next, in those units.
    """

    frame: tuple[float, float, float]
    change: tuple[float, float, float]


def scales(frames: np.ndarray) -> SmokeScales:
    """Units of runs ``[runs, frames, n, n, 3]``."""

    def spread(values: np.ndarray, centre: bool) -> np.ndarray:
        density = values[..., 0].std() if centre else math.sqrt(np.mean(values[..., 0] ** 2))
        velocity = math.sqrt(np.mean(values[..., 1:] ** 2))
        return np.array([density, velocity, velocity])

    unit = spread(frames, True)
    change = spread(np.diff(frames, axis=1), False) / unit
    return SmokeScales(tuple(unit.tolist()), tuple(change.tolist()))


class SmokeNet(nn.Module):
    """Convolutions of regular fields, 3 x 3, with ReLU between them; nothing is projected.

    Parameters: ``conv{i}/{kernel,bias}``. Kernels start equivariant, with the variance of a He
    initialization, the last one at a tenth of it: all rows start at the same strict network, near
    persistence.

    Attributes:
      past: frames that are seen.
      width: channels inside, a multiple of four.
      layers: convolutions, at least 2.
    """

    past: int = 1
    width: int = 16
    layers: int = 3

    def reps(self) -> list[Rep]:
        """The representations between the layers, those of the input and the output included."""
        if self.width % 4 or self.width < 4 or self.layers < 2:
            raise ValueError(
                f"SmokeNet needs a width that is a multiple of 4 and 2 layers, got {self.width} "
                f"and {self.layers}"
            )
        inside = (self.width // 4) * sq.reps.regular(GROUP)
        return [self.past * FRAME + SCALAR + VECTOR, *[inside] * (self.layers - 1), FRAME]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """The change of the frame, ``[b, n, n, 3]``, of inputs ``[b, n, n, channels]``."""
        reps = self.reps()
        for i in range(self.layers):
            last = i == self.layers - 1
            init = functools.partial(_he, kernel_projector(*reps[i : i + 2]), 0.1 if last else 1.0)
            x = _Conv(reps[i + 1].dim, init, name=f"conv{i}")(x)
            x = x if last else nn.relu(x)
        return x


class _Conv(nn.Module):
    features: int
    init: Callable[..., Array]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (WINDOW, WINDOW, x.shape[-1], self.features)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return convolve(x, self.param("kernel", self.init, shape), bias)


def _he(projector: Projector, gain: float, key: Array, shape: tuple[int, ...]) -> Array:
    scale = gain * math.sqrt(2.0 * shape[-1] / projector.rank())
    return projector(scale * jax.random.normal(key, shape, jnp.float32))


@functools.lru_cache(maxsize=32)
def kernel_projector(enter: Rep, leave: Rep, *, space_alone: bool = False) -> Projector:
    """The strict projector of a kernel; if ``space_alone``, of turning its window and no field."""
    acts: dict[str, Rep] = {"h w": sq.reps.image(GROUP, (WINDOW, WINDOW))}
    if not space_alone:
        acts |= {"i": enter.dual, "o": leave}
    return sq.projector("h w i o", acts)


def init(network: SmokeNet, side: int, seed: int) -> Tree:
    """Parameters of a seed."""
    return jax.tree.map(np.asarray, _init(network, side, jax.random.key(seed)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init(network: SmokeNet, side: int, key: Array) -> Tree:
    return network.init(key, jnp.zeros((1, side, side, network.reps()[0].dim)))["params"]


def plan(network: SmokeNet, params: Tree, *, published_term: bool = False) -> sq.Plan:
    """The strict plan of kernels and biases; or of the kernels as the published term sees them.

    The term of S2's smoke code turns the window of a kernel and not its fields: it vanishes on
    isotropic kernels, not on equivariant ones.
    """
    rules: dict[str, Any] = {}
    for i, (enter, leave) in enumerate(zip(network.reps(), network.reps()[1:], strict=False)):
        projector = kernel_projector(enter, leave, space_alone=published_term)
        rules[f"conv{i}/kernel"] = projector
        rules[f"conv{i}/bias"] = None if published_term else sq.projector("o", {"o": leave})
    return sq.plan(params, rules)


def turn_term(seen: sq.Plan, strength: float, plan: sq.Plan, tree: Tree) -> Any:
    r"""S2's term on a free branch B, ``strength sum (||B|| + ||B - g B||)`` over the kernels.

    Args:
      seen: the kernels with what the quarter turn g does to them, see ``plan``.
      strength: .01 as published.
      plan: of the network, not looked at.
      tree: a tree like the parameters, with B at the planned ones.
    """
    del plan
    total: Any = 0.0
    for path, projector, w in seen.planned(tree):
        if path.endswith("kernel"):
            moved = projector.space.act(GROUP.discrete_generators[0], w)
            total += optax.safe_norm(w, 1e-12) + optax.safe_norm(w - moved, 1e-12)
    return strength * total


def inputs(batch: Tree, past: Array) -> Array:
    """What the network sees, ``[b, n, n, channels]``: past frames ``[b, past, n, n, 3]``, the
    inflow, the direction."""
    shape = past.shape
    frames = jnp.moveaxis(past, 1, 3).reshape(*shape[:1], *shape[2:4], -1)
    direction = jnp.broadcast_to(batch["direction"][:, None, None], (*frames.shape[:3], 2))
    return jnp.concatenate([frames, batch["inflow"], direction], -1)


def rollout(network: SmokeNet, weights: Tree, batch: Tree, steps: int) -> Array:
    """The frames after the past ones of a batch in units, ``[b, steps, n, n, 3]``."""
    change = batch["change"][:, None, None]

    def step(past: Array, _: None) -> tuple[Array, Array]:
        moved: Any = network.apply({"params": weights}, inputs(batch, past))
        frame = jnp.clip(past[:, -1] + change * moved, -_BOUND, _BOUND)
        return jnp.concatenate([past[:, 1:], frame[:, None]], 1), frame

    start = batch["frames"][:, : network.past]
    return jnp.moveaxis(jax.lax.scan(step, start, None, steps, unroll=steps <= 2)[1], 0, 1)


@dataclasses.dataclass(frozen=True)
class InUnits:
    """Frames of an example, or of many, in units of their spread; ``change`` ``[3]`` goes with it.

    Attributes:
      units: of the training runs.
    """

    units: SmokeScales

    def __call__(self, example: Tree, rng: np.random.Generator | None = None) -> Tree:
        del rng
        frames = example["frames"] / np.array(self.units.frame, np.float32)
        change = np.broadcast_to(np.array(self.units.change, np.float32), (*frames.shape[:-4], 3))
        return {**example, "frames": frames, "change": change}


def make_loss(network: SmokeNet, *, augment: bool = False) -> Any:
    """A loss of the trainer: the mean square error of all predicted frames, in units of a change.

    Args:
      network: the network.
      augment: whether every example is turned by a random quarter turn.
    """

    def loss_fn(
        weights: Tree, model_state: Tree, batch: Tree, key: Array, extra: Any
    ) -> tuple[Array, tuple[Tree, dict[str, Array]]]:
        del extra
        if augment:
            batch = turned(batch, jax.random.randint(key, (len(batch["frames"]),), 0, 4))
        target = batch["frames"][:, network.past :]
        error = rollout(network, weights, batch, target.shape[1]) - target
        mse = jnp.mean((error / batch["change"][:, None, None, None]) ** 2)
        return mse, (model_state, {"mse": mse})

    return loss_fn


def turned(batch: Tree, quarters: Array) -> Tree:
    """Every example turned by its number of quarter turns ``[b]``."""

    def turn(name: str, g: np.ndarray) -> Array:
        x = batch[name]
        if name == "direction":
            return VECTOR.apply(g, x)
        n = x.shape[-2]
        x = sq.reps.image(GROUP, (n, n)).apply(g, x, axes=(-3, -2))
        return (FRAME if name == "frames" else SCALAR).apply(g, x, axes=(-1,))

    def chosen(name: str) -> Array:
        each = jnp.stack([turn(name, g) for g in GROUP.elements()])
        return each[quarters, jnp.arange(len(quarters))]

    return {**batch, **{name: chosen(name) for name in ("frames", "inflow", "direction")}}


def equivariance_error(
    network: SmokeNet, weights: Tree, batch: Tree, key: Array | None, *, relative: bool = False
) -> Array:
    """Mean square of ``f(g x) - g f(x)`` over C4 and the batch, f the change of a frame.

    Args:
      network: the network.
      weights: its weights.
      batch: in units.
      key: one element is drawn for each example; None takes all of them.
      relative: to the mean square of f; otherwise it is the mean over entries.
    """
    x = inputs(batch, batch["frames"][:, : network.past])
    n = x.shape[1]
    place = sq.reps.tokens(GROUP, (n, n))

    def change(flat: Array) -> Array:
        moved: Any = network.apply({"params": weights}, flat.reshape(-1, *x.shape[1:]))
        return moved.reshape(len(flat), -1)

    found = regularizers.orbit_penalty(
        change,
        x.reshape(len(x), -1),
        place * network.reps()[0],
        place * FRAME,
        key,
        None if key is None else 1,
        relative=relative,
    )
    return found if relative else found / (n * n * FRAME.dim)


def rollout_errors(predict: Predict, batch: Tree, past: int, runs: int) -> np.ndarray:
    """Root mean square error over the frames after the past ones, of every run, ``[runs]``.

    Args:
      predict: ``predict(batch, steps) -> [b, steps, n, n, 3]``.
      batch: windows in units, run after run.
      past: frames that are seen.
      runs: how many runs the windows are of.
    """
    target = np.asarray(batch["frames"])[:, past:]
    error = np.asarray(predict(batch, target.shape[1])) - target
    return np.sqrt(np.mean(error.reshape(runs, -1) ** 2, axis=1))


def persistence(past: int) -> Predict:
    """The last frame, again and again."""
    return lambda batch, steps: np.repeat(batch["frames"][:, past - 1 : past], steps, axis=1)
