"""Representations: how the elements of a group act on arrays."""

from softeq_jax.reps._algebra import Multiple, Product, Sum
from softeq_jax.reps._diagonal import Gains, Unsigned, diagonal
from softeq_jax.reps._dual import Dual, Real
from softeq_jax.reps._frequencies import Frequencies
from softeq_jax.reps._grid import Image, Tokens, image, tokens
from softeq_jax.reps._irreps import PlanarIrrep, SphericalIrrep, irrep
from softeq_jax.reps._plain import Trivial, Vector, tensor, trivial, vector
from softeq_jax.reps._planar import PlanarRep
from softeq_jax.reps._points import Points, PointSet, permutation, points
from softeq_jax.reps._regular import Circle, Regular, circle, regular
from softeq_jax.reps._rep import Rep, Term
from softeq_jax.reps._restrict import OnFactor, Restricted, factor, restrict
from softeq_jax.reps._user import Function, Generated, from_function, from_generators

__all__ = [
    "Circle",
    "Dual",
    "Frequencies",
    "Function",
    "Gains",
    "Generated",
    "Image",
    "Multiple",
    "OnFactor",
    "PlanarIrrep",
    "PlanarRep",
    "PointSet",
    "Points",
    "Product",
    "Real",
    "Regular",
    "Rep",
    "Restricted",
    "SphericalIrrep",
    "Sum",
    "Term",
    "Tokens",
    "Trivial",
    "Unsigned",
    "Vector",
    "circle",
    "diagonal",
    "factor",
    "from_function",
    "from_generators",
    "image",
    "irrep",
    "permutation",
    "points",
    "regular",
    "restrict",
    "tensor",
    "tokens",
    "trivial",
    "vector",
]
