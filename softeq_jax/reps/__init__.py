"""Representations: the actions of a group on arrays."""

from softeq_jax.reps._acting_axes import resolve_axes
from softeq_jax.reps._diagonal import Gains, Unsigned, diagonal
from softeq_jax.reps._dualized import is_dualized
from softeq_jax.reps._frequencies import Frequencies
from softeq_jax.reps._grid import GridImage, GridTokens, grid_obstacle, image, tokens
from softeq_jax.reps._irreps import PlanarIrrep, SphericalIrrep, irrep
from softeq_jax.reps._plain import Trivial, Vector, tensor, trivial, vector
from softeq_jax.reps._planar import PlanarRep
from softeq_jax.reps._points import Points, PointSet, permutation, points
from softeq_jax.reps._regular import Circle, Regular, circle, regular
from softeq_jax.reps._rep import Dual, Multiple, Product, Real, Rep, Sum, tensor_product
from softeq_jax.reps._restrict import OnFactor, PulledBack, Restricted, factor, restrict
from softeq_jax.reps._terms import Term
from softeq_jax.reps._user import Function, Generated, from_function, from_generators
from softeq_jax.reps._voxels import Voxels, voxel_obstacle, voxels

__all__ = [
    "Circle",
    "Dual",
    "Frequencies",
    "Function",
    "Gains",
    "Generated",
    "GridImage",
    "GridTokens",
    "Multiple",
    "OnFactor",
    "PlanarIrrep",
    "PlanarRep",
    "PointSet",
    "Points",
    "Product",
    "PulledBack",
    "Real",
    "Regular",
    "Rep",
    "Restricted",
    "SphericalIrrep",
    "Sum",
    "Term",
    "Trivial",
    "Unsigned",
    "Vector",
    "Voxels",
    "circle",
    "diagonal",
    "factor",
    "from_function",
    "from_generators",
    "grid_obstacle",
    "image",
    "irrep",
    "is_dualized",
    "permutation",
    "points",
    "regular",
    "resolve_axes",
    "restrict",
    "tensor",
    "tensor_product",
    "tokens",
    "trivial",
    "vector",
    "voxel_obstacle",
    "voxels",
]


def __dir__() -> list[str]:
    return sorted(__all__)
