"""The equivariant graph network: messages of scalars and vectors between points in space."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from softeq_jax.groups import Group, o
from softeq_jax.models.rules import ModelDials, Rule
from softeq_jax.nn import equivariant as eq
from softeq_jax.reps import Rep, trivial, vector

Array = jax.Array | np.ndarray

_LEAST = 1e-12  # lengths are sqrt(|x|^2 + _LEAST), smooth at 0


class Edges(NamedTuple):
    """Edges of a graph: where messages go, with directions and invariants.

    Attributes:
      senders: int ``[e]``.
      receivers: int ``[e]``.
      directions: unit vectors from receiver to sender, ``[..., e, d]``.
      scalars: invariants, ``[..., e, k]``.
    """

    senders: np.ndarray
    receivers: np.ndarray
    directions: jax.Array
    scalars: jax.Array


def complete_edges(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """(senders, receivers), int ``[nodes (nodes - 1)]``: all pairs of different nodes, those
    with the same receiver after one another.

    Example:
      >>> import softeq_jax as sq
      >>> senders, receivers = sq.models.complete_edges(3)
      >>> senders, receivers
      (array([1, 2, 0, 2, 0, 1]), array([0, 0, 1, 1, 2, 2]))
    """
    receivers, senders = np.nonzero(~np.eye(nodes, dtype=bool))
    return senders, receivers


def node_features(
    shape: tuple[int, ...],
    vectors: Array,
    scalars: Array,
    vector_count: int,
    scalar_count: int,
) -> jax.Array:
    """Scalars, lengths of the vectors, vectors: ``[..., n, scalars + vectors (1 + d)]``.

    Args:
      shape: of the positions, ``[..., n, d]``.
      vectors: ``[..., n, vectors, d]``.
      scalars: ``[..., n, scalars]``.
      vector_count: vectors.
      scalar_count: scalars.

    Raises:
      ValueError: other shapes.
    """
    vectors = _shaped("vectors", vectors, (*shape[:-1], vector_count, shape[-1]))
    scalars = _shaped("scalars", scalars, (*shape[:-1], scalar_count))
    flat = vectors.reshape(*shape[:-1], vector_count * shape[-1])
    return jnp.concatenate([scalars, _length(vectors), flat], axis=-1)


def edge_features(
    positions: jax.Array,
    given: Array | None,
    senders: Array | None,
    receivers: Array | None,
    given_count: int,
    ranges: Sequence[float],
) -> Edges:
    """Directions, and the invariants ``exp(-d / l_k), q, q exp(-d / l_k)`` of every edge.

    Args:
      positions: ``[..., n, d]``.
      given: q ``[..., e, given_count]``, None if there are none.
      senders: int ``[e]``; None, with ``receivers``, for those of ``complete_edges``.
      receivers: int ``[e]``.
      given_count: invariants given for each edge.
      ranges: the lengths l_k.

    Raises:
      ValueError: other shapes, or edges that are none.
    """
    nodes = positions.shape[-2]
    if (senders is None) != (receivers is None):
        raise ValueError("give senders and receivers, or neither")
    if senders is None:
        senders, receivers = complete_edges(nodes)
    else:
        senders, receivers = (np.asarray(index) for index in (senders, receivers))
        _check_edges(senders, receivers, nodes)
    apart = jnp.take(positions, senders, axis=-2) - jnp.take(positions, receivers, axis=-2)
    distance = _length(apart)[..., None]
    radial = jnp.exp(-distance / np.asarray(ranges, positions.dtype))
    known = [radial]
    if given_count:
        shape = (*positions.shape[:-2], len(senders), given_count)
        q = _shaped("edge_scalars", given, shape)
        products = q[..., :, None] * radial[..., None, :]
        known += [q, products.reshape(*q.shape[:-1], given_count * len(ranges))]
    elif given is not None:
        raise ValueError("edge_scalars are given, but the model's attribute edge_scalars is 0")
    return Edges(senders, receivers, apart / distance, jnp.concatenate(known, axis=-1))


def _shaped(name: str, x: Array | None, shape: tuple[int, ...]) -> jax.Array:
    if x is None or jnp.shape(x) != shape:
        got = None if x is None else jnp.shape(x)
        raise ValueError(f"{name} must have shape {shape}, got {got}")
    return jnp.asarray(x)


def _check_edges(senders: np.ndarray, receivers: np.ndarray, nodes: int) -> None:
    for name, index in (("senders", senders), ("receivers", receivers)):
        if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer):
            raise ValueError(f"{name} must be integers [e], got {index.dtype}{list(index.shape)}")
        if index.size and (index.min() < 0 or index.max() >= nodes):
            raise ValueError(f"{name} must be in [0, {nodes}), got {index.min()} to {index.max()}")
    if senders.shape != receivers.shape:
        raise ValueError(f"got {len(senders)} senders and {len(receivers)} receivers")
    if np.any(senders == receivers):
        raise ValueError("an edge must join two different nodes")


def _length(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(x**2, axis=-1) + _LEAST)


class _DenseLayer(NamedTuple):
    """A dense layer: its representations, whether it has a bias, the scale it starts with."""

    input: Rep
    output: Rep
    use_bias: bool = True
    gain: float = 1.0

    def named(self, name: str, project: bool) -> eq.EquivariantDense:
        """The layer itself."""
        init = eq.equivariant_normal(self.input, self.output, self.gain)
        return eq.EquivariantDense(
            self.input, self.output, project, self.use_bias, kernel_init=init, name=name
        )


class EquivariantGraphNet(nn.Module):
    r"""Message passing with scalars and vectors, for the charged particles of "Improving
    Equivariant Training via Constraint Relaxation" (specification B.2).

    Nodes carry features F of ``width`` entries, scalars and about as many entries in vectors. A
    message from j to i sees the features at both ends and the unit vector
    :math:`u = (x_j - x_i) / d` between them, combined by the Clebsch-Gordan products of degrees 0
    and 1 that need no orientation: scalar times u, and vector times u. With the linear maps done
    on the nodes before:

    .. math:: a + b, \quad (a' + b') \, u, \quad (v' + w') \cdot u, \quad v + w, \quad
              e^{-d / l_k}, \quad q_{ij}, \quad q_{ij} e^{-d / l_k}

    (a, v of i, b, w of j, :math:`q_{ij}` what is given of the edge), then twice a dense layer and
    a gate. A node adds up its messages, divided by the root of the mean number of them, and two
    update layers with a gate between them change its features by what they make of those and of
    the sum. The last features give a displacement, the result is ``positions + displacement``. Only
    differences of positions enter, so the network commutes with translations; strict weights make
    it commute with the group as well. In place of the spherical harmonics of any degree of SEGNN
    there are scalars and vectors only.

    Parameters: ``embed``, ``block{i}/receiver``, ``block{i}/sender``, ``block{i}/message1``,
    ``block{i}/message2``, ``block{i}/update1/kernel``, ``block{i}/update2/kernel``, ``readout``,
    ``displacement``, all dense layers ``kernel [in, out]`` (and ``bias``). The collection
    "intermediates" holds the inputs of the update layers, ``block{i}/update1_input`` and so on.

    Attributes:
      width: entries of a node's features.
      layers: number of blocks.
      scalars: invariant numbers given for each node.
      vectors: vectors given for each node.
      edge_scalars: invariant numbers given for each edge.
      group: real orthogonal matrices that act on space; None is O(3). Its dimension is that of the
        space.
      project: whether the layers of ``relaxed`` project their own weights. Otherwise these are free
        and left to a plan (``soft_rules``); all others project theirs in any case.
      relaxed: which layers a plan may govern: the update layers ("update", as in the paper), or
        all dense layers ("all").
      ranges: the lengths l_k.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net = sq.models.EquivariantGraphNet(width=8, layers=1)
      >>> x, v, q = jnp.ones((5, 3)), jnp.ones((5, 1, 3)), jnp.ones((5, 1))
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x, v, q)
      >>> y.shape
      (5, 3)
    """

    width: int = 64
    layers: int = 4
    scalars: int = 1
    vectors: int = 1
    edge_scalars: int = 0
    group: Group | None = None
    project: bool = True
    relaxed: Literal["update", "all"] = "update"
    ranges: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """The relaxed layers under any group of orthogonal matrices of this dimension.

        Raises:
          ValueError: another group.
        """
        found = {}
        for name, layer in self._relaxed_layers(group).items():
            found |= eq.dense_rules(
                name, layer.input, layer.output, use_bias=layer.use_bias, **dials.weights
            )
        return found if self.relaxed == "all" else {**found, "**": None}

    def relaxed_representations(self, group: Group | None = None) -> dict[str, tuple[Rep, Rep]]:
        """Representations (inputs, outputs) of the layers of ``relaxed``, by path.

        Args:
          group: that they are representations of; None is the model's own.

        Raises:
          ValueError: as ``soft_rules``.
        """
        found = self._relaxed_layers(group)
        return {name: (layer.input, layer.output) for name, layer in found.items()}

    def _relaxed_layers(self, group: Group | None) -> dict[str, _DenseLayer]:
        found = _layers(self, group)
        return {n: layer for n, layer in found.items() if self.relaxed == "all" or "update" in n}

    @nn.compact
    def __call__(
        self,
        positions: Array,
        vectors: Array,
        scalars: Array,
        edge_scalars: Array | None = None,
        senders: Array | None = None,
        receivers: Array | None = None,
    ) -> jax.Array:
        """New positions.

        Args:
          positions: ``[..., n, d]``, in the unit of ``ranges``; leading axes are a batch of graphs
            with the same edges.
          vectors: ``[..., n, vectors, d]``, such as velocities.
          scalars: ``[..., n, scalars]``, such as charges.
          edge_scalars: ``[..., e, edge_scalars]``, if there are any.
          senders: int ``[e]``, the nodes that messages come from; None, with ``receivers``, for
            edges between all pairs of different nodes, in the order of ``complete_edges(n)``.
          receivers: int ``[e]``, the nodes that they go to.

        Returns:
          ``[..., n, d]``.

        Raises:
          ValueError: shapes or attributes that do not fit.
        """
        group = _acting(self.group)
        layers = _layers(self, group)
        positions = jnp.asarray(positions)
        if positions.ndim < 2 or positions.shape[-1] != group.d:
            raise ValueError(f"positions must be [..., n, {group.d}], got shape {positions.shape}")
        nodes = node_features(positions.shape, vectors, scalars, self.vectors, self.scalars)
        edges = edge_features(
            positions, edge_scalars, senders, receivers, self.edge_scalars, self.ranges
        )
        features = layers["embed"].output

        def dense(name: str, x: jax.Array) -> jax.Array:
            return layers[name].named(name, self.project or self.relaxed == "update")(x)

        h = dense("embed", nodes)
        for i in range(self.layers):
            own = {
                name.removeprefix(f"block{i}/"): layer
                for name, layer in layers.items()
                if name.startswith(f"block{i}/")
            }
            h = _MessageBlock(own, features, self.project, self.relaxed, name=f"block{i}")(h, edges)
        h = eq.Gated(features)(dense("readout", h))
        return positions + dense("displacement", h)


class _MessageBlock(nn.Module):
    """One round of messages, and the update of the nodes."""

    own: dict[str, _DenseLayer]
    features: Rep
    project: bool
    relaxed: str

    @nn.compact
    def __call__(self, h: jax.Array, edges: Edges) -> jax.Array:
        gated = eq.Gated(self.features)

        def dense(name: str, x: jax.Array) -> jax.Array:
            project = self.project or (self.relaxed == "update" and "update" not in name)
            return self.own[name].named(name, project)(x)

        ends = (dense("receiver", h), edges.receivers), (dense("sender", h), edges.senders)
        at_receiver, at_sender = (jnp.take(x, index, axis=-2) for x, index in ends)
        scalars, (vectors,) = eq.split(self.own["sender"].output, at_receiver + at_sender)
        s, m = len(eq.fields(self.features).scalars), vectors.shape[-2] // 2
        along = jnp.einsum("...md,...d->...m", vectors[..., m:, :], edges.directions)
        turned = scalars[..., s:, None] * edges.directions[..., None, :]
        x = eq.join(
            self.own["message1"].input,
            jnp.concatenate([scalars[..., :s], along, edges.scalars], axis=-1),
            [vectors[..., :m, :] + turned],
        )
        x = gated(dense("message2", gated(dense("message1", x))))
        degree = max(len(edges.senders) / max(h.shape[-2], 1), 1.0)
        wide = (x / degree**0.5).astype(jnp.promote_types(x.dtype, jnp.float32))
        total = jnp.zeros(h.shape, wide.dtype).at[..., edges.receivers, :].add(wide)
        own, (own_vectors,) = eq.split(self.features, h)
        heard, (heard_vectors,) = eq.split(self.features, total.astype(x.dtype))
        x = eq.join(
            self.own["update1"].input,
            jnp.concatenate([own, heard], axis=-1),
            [jnp.concatenate([own_vectors, heard_vectors], axis=-2)],
        )
        self.sow("intermediates", "update1_input", x)
        x = gated(dense("update1", x))
        self.sow("intermediates", "update2_input", x)
        return h + dense("update2", x)


def _layers(model: EquivariantGraphNet, group: Group | None) -> dict[str, _DenseLayer]:
    """All dense layers by path, as maps between representations of a group.

    Raises:
      ValueError: attributes out of range, or a group that does not act on the model's space.
    """
    own, group = _acting(model.group), _acting(model.group if group is None else group)
    if group.d != own.d:
        raise ValueError(f"the model's space has {own.d} dimensions, {group} acts on {group.d}")
    if model.relaxed not in ("update", "all"):
        raise ValueError(f'relaxed must be "update" or "all", got {model.relaxed!r}')
    m = model.width // (2 * group.d)
    if m < 1 or model.layers < 1 or not model.ranges or min(model.ranges) <= 0:
        raise ValueError(
            f"expected width >= {2 * group.d}, layers >= 1 and ranges > 0, got {model.width}, "
            f"{model.layers} and {model.ranges}"
        )
    s, v = model.width - group.d * m, vector(group)

    def rep(scalars: int, vectors: int) -> Rep:
        return trivial(group, scalars) + vectors * v

    if min(model.scalars, model.vectors, model.edge_scalars) < 0 or not (
        model.scalars or model.vectors
    ):
        raise ValueError(
            "expected scalars, vectors and edge_scalars >= 0 and scalars or vectors for the nodes, "
            f"got {model.scalars}, {model.vectors} and {model.edge_scalars}"
        )
    known = len(model.ranges) * (1 + model.edge_scalars) + model.edge_scalars
    features, given = rep(s, m), trivial(group, model.scalars + model.vectors)
    if model.vectors:
        given = given + model.vectors * v
    gated = eq.gated_input(features)
    found = {"embed": _DenseLayer(given, features)}
    for i in range(model.layers):
        found |= {
            f"block{i}/receiver": _DenseLayer(features, rep(s + m, 2 * m)),
            f"block{i}/sender": _DenseLayer(features, rep(s + m, 2 * m), use_bias=False),
            f"block{i}/message1": _DenseLayer(rep(s + m + known, m), gated),
            f"block{i}/message2": _DenseLayer(features, gated),
            f"block{i}/update1": _DenseLayer(rep(2 * s, 2 * m), gated, use_bias=False),
            f"block{i}/update2": _DenseLayer(features, features, use_bias=False, gain=0.3),
        }
    return found | {
        "readout": _DenseLayer(features, gated),
        "displacement": _DenseLayer(features, v, use_bias=False, gain=0.1),
    }


def _acting(group: Group | None) -> Group:
    group = o(3) if group is None else group
    if not group.is_orthogonal or group.is_complex or vector(group).is_trivial:
        raise ValueError(f"group must move vectors by real orthogonal matrices, got {group}")
    return group
