"""Representations: how the elements of a group act on arrays."""

from softeq_jax.reps._grid import Image, Tokens, image, tokens
from softeq_jax.reps._plain import Trivial, Vector, trivial, vector
from softeq_jax.reps._rep import Frequencies, Rep

__all__ = [
    "Frequencies",
    "Image",
    "Rep",
    "Tokens",
    "Trivial",
    "Vector",
    "image",
    "tokens",
    "trivial",
    "vector",
]
