"""DGCNN with vector neurons: edge convolutions whose neighbors are found anew at every stage."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from softeq_jax.models.vector_cloud import BlockSize, VectorCloudModel, edge_vectors
from softeq_jax.nn.equivariant import vector_mean_pool

Array = jax.Array


class VNDGCNN(VectorCloudModel):
    """DGCNN of vector neurons (Deng et al. 2021; Wang et al. 2019 for the graph).

    An edge convolution finds the neighbors of each point, nearest in all of its vectors together,
    maps ``(v_j - v_i, v_i)`` by a block and takes the mean over the neighbors. The vectors of all
    edge convolutions go side by side through a last block, whose channels share one direction,
    then what ``VectorCloudModel`` describes. The graph is invariant as long as no two distances
    are equal.

    Parameters: ``edge{i}``, ``last``, ``frame1``, ``frame2`` (blocks as of ``VNPointNet``),
    ``frame/kernel``, ``mlp{1,2}``, ``bn{1,2}`` and ``head``.

    Logits are invariant under O(3).

    Attributes:
      widths: vectors after each edge convolution and after the last block.
      num_classes, neighbors, hidden, free, axis_name: see ``VectorCloudModel``.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net = sq.models.VNDGCNN(5, widths=(2, 2, 4), neighbors=3, hidden=(8, 8))
      >>> x = jnp.ones((2, 9, 3))
      >>> y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)
      >>> y.shape, variables["params"]["last"]["dense"]["kernel"].shape
      ((2, 5), (4, 4))
    """

    widths: Sequence[int] = (21, 21, 42, 85, 341)

    def _sizes(self) -> list[BlockSize]:
        *edges, last = self.widths
        pairs = zip((1, *edges[:-1]), edges, strict=True)
        sizes = [BlockSize(f"edge{i}", 2 * c, d) for i, (c, d) in enumerate(pairs)]
        return [*sizes, BlockSize("last", sum(edges), last, share_direction=True)]

    def _maps(self, x: Array, train: bool) -> list[Array]:
        *edges, last = self._sizes()
        v, maps = x[:, :, None], []
        for size in edges:
            v = vector_mean_pool(self._block(size)(edge_vectors(v, self.neighbors), train))
            maps.append(v)
        return [*maps, self._block(last)(jnp.concatenate(maps, axis=-2), train)]
