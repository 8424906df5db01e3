"""Back ends: each builds the filter of a tensor product of atoms, ``block(atoms, complete)``.

``complete`` asks for all levels; level 0 is enough otherwise, where it is cheaper. A back end
raises ValueError for atoms that it cannot treat.
"""

from softeq_jax.projections.backends import _gram, _isotypic, _krylov, _mean, _orbits, _spectral
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

BACKENDS = {
    "spectral": _spectral.block,
    "orbits": _orbits.block,
    "isotypic": _isotypic.block,
    "gram": _gram.block,
    "krylov": _krylov.block,
    "mean": _mean.block,
}
"""Those that ``projector`` can be told to use; by default it chooses."""

__all__ = [
    "BACKENDS",
    "Atoms",
    "BuiltBlock",
    "Generators",
    "JointFrequencies",
    "SpectralFilter",
    "generators",
    "joint_frequencies",
    "kronecker",
]


def __dir__() -> list[str]:
    return sorted(__all__)
