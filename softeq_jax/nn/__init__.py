"""Layers with an equivariant and a free branch, for Flax Linen; ``softeq_jax.nn.nnx`` has twins.

Layers that are equivariant by construction are in ``softeq_jax.nn.equivariant``.

Need flax: ``pip install softeq-jax[models]``.
"""

try:
    import flax  # noqa: F401
except ImportError as error:
    raise ImportError("softeq_jax.nn needs flax: pip install softeq-jax[models]") from error

from softeq_jax.nn import equivariant
from softeq_jax.nn._fold import fold, two_branches
from softeq_jax.nn._linen import RelaxedConv, RelaxedDense

__all__ = ["RelaxedConv", "RelaxedDense", "equivariant", "fold", "two_branches"]
