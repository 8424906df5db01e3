"""PointNet with vector neurons, for clouds of points in space."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from softeq_jax.groups import Group, o, so
from softeq_jax.models.rules import ModelDials, Rule
from softeq_jax.nn.equivariant import (
    VectorBatchNorm,
    VectorDense,
    VectorRelu,
    invariants,
    vector_mean_pool,
    vector_rules,
)

Array = jax.Array


def nearest(points: Array, neighbors: int) -> Array:
    """Indices of the nearest other points.

    Args:
      points: ``[n, p, d]``.
      neighbors: k, at most p - 1.

    Returns:
      int ``[n, p, k]``, in order of distance.

    Raises:
      ValueError: k is not in 1 .. p - 1.
    """
    count = points.shape[1]
    if not 1 <= neighbors < count:
        raise ValueError(
            f"neighbors must be in 1 .. {count - 1} for {count} points, got {neighbors}"
        )
    squared = jnp.sum((points[:, :, None] - points[:, None]) ** 2, axis=-1)
    squared = jnp.where(jnp.eye(count, dtype=bool), jnp.inf, squared)
    return jax.lax.top_k(-squared, neighbors)[1]


def edge_vectors(points: Array, neighbors: int, cross: bool = True) -> Array:
    """Vectors of each point and its neighbors: ``x_j - x_i``, ``x_i`` and ``x_j x x_i``.

    Args:
      points: ``[n, p, 3]``.
      neighbors: see ``nearest``.
      cross: whether the cross product is among them, which reflections send to its negative.

    Returns:
      ``[n, p, k, 3, 3]``, channels and then components; two channels without ``cross``.
    """
    index = nearest(points, neighbors)
    other = jax.vmap(lambda cloud, chosen: cloud[chosen])(points, index)
    center = jnp.broadcast_to(points[:, :, None], other.shape)
    channels = [other - center, center]
    if cross:
        channels.append(jnp.cross(other, center))
    return jnp.stack(channels, axis=-2)


class VectorBlock(nn.Module):
    """``VectorRelu`` of a batch-normed ``VectorDense``, with directions from the block's input.

    Attributes:
      features: vectors out.
      free: whether kernels mix components, see ``VectorDense``.
      axis_name: mapped axis over which batch statistics are averaged, or None.
    """

    features: int
    free: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, v: Array, train: bool) -> Array:
        """Maps ``[..., c, 3]`` to ``[..., features, 3]``."""
        y = VectorDense(self.features, self.free, name="dense")(v)
        y = VectorBatchNorm(axis_name=self.axis_name, name="norm")(y, train)
        return VectorRelu(free=self.free, name="relu")(y, v)


class VNPointNet(nn.Module):
    """PointNet of vector neurons (Deng et al. 2021), the network whose maps "Improving Equivariant
    Training via Constraint Relaxation" relaxes (section B.2 of its specification).

    Each point gets the vectors of ``edge_vectors``, a block and the mean over its neighbors. Blocks
    on each point follow; then the mean over the cloud is appended to every point. A learned frame
    of three vectors per point turns the features into invariants, of which the maximum over the
    cloud goes through a perceptron.

    Parameters: ``edge``, ``point{i}``, ``last``, ``frame1``, ``frame2`` (blocks, each with
    ``dense/kernel``, ``norm/norm/{scale,bias}`` and ``relu/direction/kernel``), ``frame/kernel``,
    ``mlp{1,2}/{kernel,bias}`` with ``bn{1,2}``, and ``head/{kernel,bias}``.

    Logits are invariant under SO(3), under O(3) without ``cross``. Clouds should be centered at
    the origin: translations are not a symmetry.

    Attributes:
      num_classes: length of the logits; 0 for the pooled invariants.
      widths: vectors after the edges and after each block on points; at least two numbers.
      neighbors: of each point.
      hidden: units of the perceptron's two layers.
      cross: whether cross products are among the inputs.
      free: whether kernels on vectors mix components, to be governed by a plan with
        ``soft_rules``; they start equivariant.
      axis_name: mapped axis over which batch statistics are averaged, or None.
    """

    num_classes: int
    widths: Sequence[int] = (21, 21, 42, 341)
    neighbors: int = 20
    hidden: tuple[int, int] = (512, 256)
    cross: bool = True
    free: bool = False
    axis_name: str | None = None

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """Every kernel on vectors, directions too, see ``softeq_jax.models.soft_rules``.

        Args:
          group: SO(3), or O(3) without ``cross``.
          dials: those of weights are used.

        Raises:
          ValueError: the model is strict already, or another group.
        """
        if not self.free:
            raise ValueError("this VNPointNet is strict already: make it with free=True")
        allowed = (so(3),) if self.cross else (so(3), o(3))
        if group not in allowed:
            raise ValueError(f"VNPointNet needs {' or '.join(map(repr, allowed))}, got {group!r}")
        rules: dict[str, Rule] = {}
        for layer in self._maps():
            rules |= vector_rules(layer.path, group, layer.source, layer.target, **dials.weights)
        return {**rules, "**": None}

    @nn.compact
    def __call__(
        self, x: Array, train: bool = False, *, features: bool = False
    ) -> Array | tuple[Array, ...]:
        """Logits of clouds of points.

        Args:
          x: ``[n, p, 3]`` with more points than ``neighbors``, floating point.
          train: whether batch statistics are those of the batch (make ``batch_stats`` mutable).
          features: return the vectors of the points instead.

        Returns:
          Logits ``[n, num_classes]``; the pooled invariants ``[n, 6 c]`` if there are no classes,
          where c is the last width; with ``features`` one array of vectors ``[n, p, c, 3]`` for
          each width, equivariant.

        Raises:
          ValueError: x does not fit, or the attributes are out of range.
        """
        self._check(x.shape)
        block = {"free": self.free, "axis_name": self.axis_name}
        v = edge_vectors(x, self.neighbors, self.cross)
        v = vector_mean_pool(VectorBlock(self.widths[0], name="edge", **block)(v, train))
        maps = [v]
        for i, width in enumerate(self.widths[1:-1]):
            v = VectorBlock(width, name=f"point{i}", **block)(v, train)
            maps.append(v)
        v = VectorBlock(self.widths[-1], name="last", **block)(v, train)
        maps.append(v)
        if features:
            return tuple(maps)
        cloud = jnp.broadcast_to(vector_mean_pool(v)[:, None], v.shape)
        v = jnp.concatenate([v, cloud], axis=-2)
        z = v
        for i, width in enumerate(self._frame_widths()):
            z = VectorBlock(width, name=f"frame{i + 1}", **block)(z, train)
        frame = VectorDense(3, self.free, name="frame")(z)
        y = invariants(v, frame).reshape(*v.shape[:2], -1).max(axis=1)
        return self._classified(y, train) if self.num_classes else y

    def _classified(self, y: Array, train: bool) -> Array:
        for i, width in enumerate(self.hidden):
            y = nn.Dense(width, name=f"mlp{i + 1}")(y)
            norm = nn.BatchNorm(
                use_running_average=not train,
                momentum=0.9,
                axis_name=self.axis_name,
                name=f"bn{i + 1}",
            )
            y = nn.relu(norm(y))
        return nn.Dense(self.num_classes, name="head")(y)

    def _frame_widths(self) -> tuple[int, int]:
        """Vectors of the two blocks before the frame."""
        return self.widths[-1], max(self.widths[-1] // 2, 1)

    def _maps(self) -> list["_Map"]:
        """Every map between vectors."""
        names = ["edge", *(f"point{i}" for i in range(len(self.widths) - 2)), "last"]
        sources = [3 if self.cross else 2, *self.widths[:-1]]
        blocks = list(zip(names, sources, self.widths, strict=True))
        first, second = self._frame_widths()
        blocks += [("frame1", 2 * self.widths[-1], first), ("frame2", first, second)]
        maps = [_Map("frame", second, 3)]
        for name, source, target in blocks:
            maps.append(_Map(f"{name}/dense", source, target))
            maps.append(_Map(f"{name}/relu/direction", source, target))
        return maps

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 3 or shape[2] != 3:
            raise ValueError(f"points must be [n, p, 3], got shape {tuple(shape)}")
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(f"widths must be two or more positive integers, got {self.widths}")


class _Map(NamedTuple):
    """A map between vectors: the path of its layer, vectors in and out."""

    path: str
    source: int
    target: int
