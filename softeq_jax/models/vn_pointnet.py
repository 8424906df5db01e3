"""PointNet with vector neurons, for clouds of points in space."""

from collections.abc import Sequence

import jax

from softeq_jax.groups import Group, so
from softeq_jax.models.vector_cloud import BlockSize, VectorCloudModel, edge_vectors
from softeq_jax.nn.equivariant import vector_mean_pool

Array = jax.Array


class VNPointNet(VectorCloudModel):
    """PointNet of vector neurons (Deng et al. 2021), the network whose maps "Improving Equivariant
    Training via Constraint Relaxation" relaxes (section B.2 of its specification).

    Each point gets the vectors of ``edge_vectors``, a block and the mean over its neighbors. Blocks
    on each point follow, then what ``VectorCloudModel`` describes.

    Parameters: ``edge``, ``point{i}``, ``last``, ``frame1``, ``frame2`` (blocks, each with
    ``dense/kernel``, ``norm/norm/{scale,bias}`` and ``relu/direction/kernel``), ``frame/kernel``,
    ``mlp{1,2}/{kernel,bias}`` with ``bn{1,2}``, and ``head/{kernel,bias}``.

    Logits are invariant under SO(3), under O(3) without ``cross``.

    Attributes:
      widths: vectors after the edges and after each block on points; at least two numbers.
      cross: whether cross products are among the inputs.
      num_classes, neighbors, hidden, free, axis_name: see ``VectorCloudModel``.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net = sq.models.VNPointNet(5, widths=(2, 2, 4), neighbors=3, hidden=(8, 8))
      >>> x = jnp.ones((2, 9, 3))
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
      >>> y.shape, variables["params"]["edge"]["dense"]["kernel"].shape
      ((2, 5), (3, 2))
    """

    widths: Sequence[int] = (21, 21, 42, 341)
    cross: bool = True

    def _groups(self) -> tuple[Group, ...]:
        return (so(3),) if self.cross else super()._groups()

    def _sizes(self) -> list[BlockSize]:
        names = ["edge", *(f"point{i}" for i in range(len(self.widths) - 2)), "last"]
        sources = [3 if self.cross else 2, *self.widths[:-1]]
        return list(map(BlockSize, names, sources, self.widths))

    def _maps(self, x: Array, train: bool) -> list[Array]:
        edge, *others = self._sizes()
        v = edge_vectors(x[:, :, None], self.neighbors, self.cross)
        maps = [vector_mean_pool(self._block(edge)(v, train))]
        for size in others:
            maps.append(self._block(size)(maps[-1], train))
        return maps
