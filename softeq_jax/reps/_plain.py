"""The trivial representation and the defining one."""

import dataclasses
import functools
from typing import Any

import numpy as np

from softeq_jax.groups import PlanarGroup
from softeq_jax.reps._rep import Frequencies, Rep, check_group, check_size, read_only


@dataclasses.dataclass(frozen=True, repr=False)
class Trivial(Rep):
    """Every element of the group is the identity. Made by ``trivial``."""

    size: int = 1

    def __repr__(self) -> str:
        return f"1({self.group})" if self.size == 1 else f"{self.size}·1({self.group})"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.size,)

    @property
    def is_permutation(self) -> bool:
        return True

    def frequencies(self) -> Frequencies:
        return _trivial_frequencies(self.size)

    def _permutation(self, angle: float, flip: bool) -> np.ndarray | None:
        return np.arange(self.size, dtype=np.int32)


@dataclasses.dataclass(frozen=True, repr=False)
class Vector(Rep):
    """The defining representation on R^2. Made by ``vector``."""

    def __repr__(self) -> str:
        return f"V({self.group})"

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    @property
    def is_permutation(self) -> bool:
        return self.group.order == 1

    def frequencies(self) -> Frequencies:
        return _vector_frequencies()

    def matrix(self, g: Any) -> np.ndarray:
        return self.group.element(*self.group.parameters(g))

    def _permutation(self, angle: float, flip: bool) -> np.ndarray | None:
        return None if angle or flip else np.arange(2, dtype=np.int32)


@functools.lru_cache(maxsize=32)
def _trivial_frequencies(n: int) -> Frequencies:
    no = np.zeros(n, dtype=bool)
    zero = np.zeros(n, dtype=np.int64)
    return read_only(np.eye(n), zero, no, zero - 1, no.copy())


@functools.lru_cache(maxsize=1)
def _vector_frequencies() -> Frequencies:
    # The flip fixes a = e_y, and the quarter turn sends it to b = -e_x.
    basis = np.array([[0.0, -1.0], [1.0, 0.0]])
    odd = np.array([False, True])
    return read_only(basis, np.array([1, 1]), odd, np.array([1, 0]), np.zeros(2, dtype=bool))


def trivial(group: PlanarGroup, dim: int = 1) -> Trivial:
    """``dim`` copies of the trivial representation, prints as ``3·1(C4)``; shape ``(dim,)``."""
    return Trivial(check_group(group, "trivial"), check_size(dim, "the dimension"))


def vector(group: PlanarGroup) -> Vector:
    """The group acting on R^2 = (x, y) by its own matrices, prints as ``V(SO(2))``."""
    return Vector(check_group(group, "vector"))
