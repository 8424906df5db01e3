"""What every symmetry group offers, whatever its dimension."""

import abc
import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, repr=False)
class Group(abc.ABC):
    """A matrix group, immutable, and equal to every other group of the same name and content.

    A group is described by its defining representation on R^d: one skew matrix per direction of
    its Lie algebra and one matrix per discrete generator. Together they generate a dense
    subgroup, so a vector that all of them fix is fixed by the group.

    Attributes:
      name: how the group prints, for instance ``SO(2)``.
    """

    name: str

    def __repr__(self) -> str:
        return self.name

    @property
    @abc.abstractmethod
    def d(self) -> int:
        """Dimension of the defining representation."""

    @property
    @abc.abstractmethod
    def lie_generators(self) -> np.ndarray:
        """Basis of the Lie algebra, float64 ``[k, d, d]``; ``k = 0`` for a finite group."""

    @property
    @abc.abstractmethod
    def discrete_generators(self) -> np.ndarray:
        """Elements that complete the connected part, float64 ``[m, d, d]``."""

    @property
    @abc.abstractmethod
    def order(self) -> int | None:
        """Number of elements, or None when there are infinitely many."""

    @property
    def is_finite(self) -> bool:
        """Whether the elements can be listed."""
        return self.order is not None

    @property
    @abc.abstractmethod
    def is_connected(self) -> bool:
        """Whether every element lies on a path from the identity."""

    @abc.abstractmethod
    def elements(self) -> np.ndarray:
        """All elements, float64 ``[order, d, d]``; ValueError for an infinite group."""

    @abc.abstractmethod
    def sample(self, key: Any, n: int) -> Any:
        """``n`` independent elements from the invariant (Haar) distribution, ``[n, d, d]``."""

    @abc.abstractmethod
    def contains(self, g: Any) -> bool:
        """Whether the matrix ``g`` is an element, up to single-precision rounding."""


def frozen(array: np.ndarray) -> np.ndarray:
    """The same array, made read-only."""
    array.setflags(write=False)
    return array
