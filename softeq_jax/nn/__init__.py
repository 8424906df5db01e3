"""Layers for Flax Linen: relaxed by a free branch or by weights over a group; blurs before strides.

``softeq_jax.nn.nnx`` has twins of those with two branches for Flax NNX. ``affine`` and ``convolve``
are what relaxed layers compute, ``blur_pool`` is what ``BlurPool`` does.

Layers that are equivariant by construction are in ``softeq_jax.nn.equivariant``.

Need flax: ``pip install softeq-jax[models]``.
"""

try:
    import flax  # noqa: F401
except ImportError as error:
    raise ImportError("softeq_jax.nn needs flax: pip install softeq-jax[models]") from error

from softeq_jax.nn import equivariant
from softeq_jax.nn._batch_norm import BatchNorm
from softeq_jax.nn._blur_pool import BlurPool, blur_pool
from softeq_jax.nn._branches import fold, two_branches
from softeq_jax.nn._channel_product import channel_product
from softeq_jax.nn._group_weights import RelaxedGroupConv
from softeq_jax.nn._max_pool import max_pool
from softeq_jax.nn._operations import affine, convolve
from softeq_jax.nn._relaxed import RelaxedConv, RelaxedDense

__all__ = [
    "BatchNorm",
    "BlurPool",
    "RelaxedConv",
    "RelaxedDense",
    "RelaxedGroupConv",
    "affine",
    "blur_pool",
    "channel_product",
    "convolve",
    "equivariant",
    "fold",
    "max_pool",
    "two_branches",
]


def __dir__() -> list[str]:
    return sorted(__all__)
