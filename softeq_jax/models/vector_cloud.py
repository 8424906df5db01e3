"""What networks of vector neurons on clouds of points share: neighbors, blocks, frame and head."""

import abc
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from softeq_jax.groups import Group, o, so
from softeq_jax.models.rules import ModelDials, Rule
from softeq_jax.nn import BatchNorm
from softeq_jax.nn.equivariant import (
    VectorBatchNorm,
    VectorDense,
    VectorRelu,
    invariants,
    vector_mean_pool,
    vector_rules,
)
from softeq_jax.reps import Rep, vector

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


def edge_vectors(v: Array, neighbors: int, cross: bool = False) -> Array:
    """Vectors of each point and its neighbors: ``v_j - v_i``, ``v_i`` and ``v_j x v_i``.

    Neighbors are near in all vectors together, a distance that rotations keep.

    Args:
      v: ``[n, p, c, 3]``.
      neighbors: see ``nearest``.
      cross: whether cross products are among them, which reflections send to their negative.

    Returns:
      ``[n, p, k, 2 c, 3]``, or ``3 c`` channels with ``cross``.
    """
    index = nearest(v.reshape(*v.shape[:2], -1), neighbors)
    other = jax.vmap(lambda cloud, chosen: cloud[chosen])(v, index)
    center = jnp.broadcast_to(v[:, :, None], other.shape)
    channels = [other - center, center]
    if cross:
        channels.append(jnp.cross(other, center))
    return jnp.concatenate(channels, axis=-2)


class VectorBlock(nn.Module):
    """``VectorRelu`` of a batch-normed ``VectorDense``, with directions from the block's input.

    Attributes:
      features: vectors out.
      share_direction: see ``VectorRelu``.
      free: whether kernels mix components, see ``VectorDense``.
      axis_name: mapped axis over which batch statistics are averaged, or None.
    """

    features: int
    share_direction: bool = False
    free: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, v: Array, train: bool) -> Array:
        """Maps ``[..., c, 3]`` to ``[..., features, 3]``."""
        y = VectorDense(self.features, self.free, name="dense")(v)
        y = VectorBatchNorm(axis_name=self.axis_name, name="norm")(y, train)
        relu = VectorRelu(share_direction=self.share_direction, free=self.free, name="relu")
        return relu(y, v)


class BlockSize(NamedTuple):
    """A ``VectorBlock`` of a network.

    Attributes:
      name: of the layer.
      source: vectors in.
      features: vectors out.
      share_direction: see ``VectorRelu``.
    """

    name: str
    source: int
    features: int
    share_direction: bool = False


class VectorCloudModel(nn.Module, abc.ABC):
    """A classifier of clouds: blocks on vectors, a learned frame, a perceptron on invariants.

    A model makes vectors of each point (``_maps``). The mean over the cloud is appended to every
    point, three vectors learned from both are the point's frame, and the coordinates in it go
    through a maximum over the cloud and a perceptron. Clouds should be centered at the origin:
    translations are not a symmetry.

    Attributes:
      num_classes: length of the logits; 0 for the pooled invariants.
      widths: vectors after each of the model's stages; the last is what the frame sees.
      neighbors: of each point.
      hidden: units of the perceptron's two layers.
      free: whether kernels on vectors mix components, to be governed by a plan with
        ``soft_rules``; they start equivariant.
      axis_name: mapped axis over which batch statistics are averaged, or None.
    """

    num_classes: int
    widths: Sequence[int] = ()
    neighbors: int = 20
    hidden: tuple[int, int] = (512, 256)
    free: bool = False
    axis_name: str | None = None

    @abc.abstractmethod
    def _sizes(self) -> list[BlockSize]:
        """The blocks that make the vectors of the points."""

    @abc.abstractmethod
    def _maps(self, x: Array, train: bool) -> list[Array]:
        """Vectors ``[n, p, c, 3]`` of clouds ``[n, p, 3]``, an array for each width."""

    def _groups(self) -> tuple[Group, ...]:
        """The groups that the network respects."""
        return so(3), o(3)

    def soft_rules(self, group: Group, dials: ModelDials) -> dict[str, Rule]:
        """Every kernel on vectors, directions too, see ``softeq_jax.models.soft_rules``.

        Args:
          group: one that the network respects: SO(3), or O(3) where no cross product is taken.
          dials: those of weights are used.

        Raises:
          ValueError: the model is strict already, or another group.
        """
        rules: dict[str, Rule] = {}
        for path, (source, features) in self._kernels(group).items():
            rules |= vector_rules(path, group, source, features, **dials.weights)
        return {**rules, "**": None}

    def relaxed_representations(self, group: Group) -> dict[str, tuple[Rep, Rep]]:
        """What acts on inputs and outputs of every free kernel on vectors, by the layer's path.

        Raises:
          ValueError: as ``soft_rules``.
        """
        v = vector(group)
        kernels = self._kernels(group).items()
        return {path: (source * v, features * v) for path, (source, features) in kernels}

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
        maps = self._maps(x, train)
        if features:
            return tuple(maps)
        v = maps[-1]
        cloud = jnp.broadcast_to(vector_mean_pool(v)[:, None], v.shape)
        v = jnp.concatenate([v, cloud], axis=-2)
        z = v
        for size in self._frame_sizes():
            z = self._block(size)(z, train)
        frame = VectorDense(3, self.free, name="frame")(z)
        y = invariants(v, frame).reshape(*v.shape[:2], -1).max(axis=1)
        return self._classified(y, train) if self.num_classes else y

    def _block(self, size: BlockSize) -> VectorBlock:
        return VectorBlock(
            size.features, size.share_direction, self.free, self.axis_name, name=size.name
        )

    def _classified(self, y: Array, train: bool) -> Array:
        for i, width in enumerate(self.hidden):
            y = nn.Dense(width, name=f"mlp{i + 1}")(y)
            norm = BatchNorm(
                use_running_average=not train,
                momentum=0.9,
                axis_name=self.axis_name,
                name=f"bn{i + 1}",
            )
            y = nn.relu(norm(y))
        return nn.Dense(self.num_classes, name="head")(y)

    def _frame_sizes(self) -> tuple[BlockSize, BlockSize]:
        """The two blocks before the frame."""
        first = self.widths[-1]
        second = max(first // 2, 1)
        return BlockSize("frame1", 2 * first, first), BlockSize("frame2", first, second)

    def _kernels(self, group: Group) -> dict[str, tuple[int, int]]:
        """Vectors in and out of every map between vectors, by the layer's path."""
        name = type(self).__name__
        if not self.free:
            raise ValueError(f"this {name} is strict already: make it with free=True")
        if group not in self._groups():
            allowed = " or ".join(map(repr, self._groups()))
            raise ValueError(f"{name} needs {allowed}, got {group!r}")
        frame = self._frame_sizes()
        kernels = {"frame": (frame[-1].features, 3)}
        for size in (*self._sizes(), *frame):
            kernels[f"{size.name}/dense"] = size.source, size.features
            directions = 1 if size.share_direction else size.features
            kernels[f"{size.name}/relu/direction"] = size.source, directions
        return kernels

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 3 or shape[2] != 3:
            raise ValueError(f"points must be [n, p, 3], got shape {tuple(shape)}")
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(f"widths must be two or more positive integers, got {self.widths}")
