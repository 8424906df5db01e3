"""Orbits of arrays, group means of functions, and canonicalization as their rival."""

from softeq_jax.orbits._average import average
from softeq_jax.orbits._frames import canonicalize, frame_average
from softeq_jax.orbits._orbit import orbit, orbit_tree
from softeq_jax.orbits._quadrature import Quadrature, polynomial_degree, quadrature

__all__ = [
    "Quadrature",
    "average",
    "canonicalize",
    "frame_average",
    "orbit",
    "orbit_tree",
    "polynomial_degree",
    "quadrature",
]
