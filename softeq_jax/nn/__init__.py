"""Relaxed layers, with an equivariant and a free branch, for Flax Linen.

``softeq_jax.nn.nnx`` has twins for Flax NNX. ``affine`` and ``convolve`` are what layers compute.

Layers that are equivariant by construction are in ``softeq_jax.nn.equivariant``.

Need flax: ``pip install softeq-jax[models]``.
"""

try:
    import flax  # noqa: F401
except ImportError as error:
    raise ImportError("softeq_jax.nn needs flax: pip install softeq-jax[models]") from error

from softeq_jax.nn import equivariant
from softeq_jax.nn._branches import fold, two_branches
from softeq_jax.nn._operations import affine, convolve
from softeq_jax.nn._relaxed import RelaxedConv, RelaxedDense

__all__ = [
    "RelaxedConv",
    "RelaxedDense",
    "affine",
    "convolve",
    "equivariant",
    "fold",
    "two_branches",
]
