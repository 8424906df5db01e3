"""Back ends: each builds the filter of a tensor product of atoms, ``block(atoms, complete)``.

``complete`` asks for all levels; level 0 is enough otherwise, where it is cheaper. A back end
raises ValueError for atoms that it cannot treat.
"""

from softeq_jax.projections.backends._atoms import (
    Atoms,
    BuiltBlock,
    Generators,
    generators,
    kronecker,
)
from softeq_jax.projections.backends._spectral import (
    JointFrequencies,
    SpectralFilter,
    joint_frequencies,
)

__all__ = [
    "Atoms",
    "BuiltBlock",
    "Generators",
    "JointFrequencies",
    "SpectralFilter",
    "generators",
    "joint_frequencies",
    "kronecker",
]
