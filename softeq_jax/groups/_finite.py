"""Finite groups of matrices, listed from their generators."""

import dataclasses
import functools

import numpy as np

from softeq_jax._checks import frozen
from softeq_jax._sizes import told
from softeq_jax.groups._canonical import canonical_stages
from softeq_jax.groups._given import CANONICAL, SMALLER_CLASSES, GivenGroup
from softeq_jax.groups._group import INDEX_TOLERANCE, LISTABLE, TOLERANCE
from softeq_jax.groups._levels import ConjugacyClass, Stage, Words, generator_classes, weight
from softeq_jax.groups._listing import Matrices, MatrixTable, are_unitary, closure, is_identity


@dataclasses.dataclass(frozen=True, repr=False)
class FiniteGroup(GivenGroup):
    """A finite group of matrices, as ``from_generators`` finds it.

    Attributes:
      name: how the group prints.
      generators: discrete generators.

    Example:
      >>> import softeq_jax as sq
      >>> turn = sq.groups.octahedral().discrete_generators[:1]
      >>> G = sq.groups.from_generators("turns", discrete=turn)
      >>> type(G).__name__, G.order
      ('FiniteGroup', 4)
    """

    generators: Matrices

    @property
    def d(self) -> int:
        return self.generators.array.shape[-1]

    @property
    def is_complex(self) -> bool:
        return np.iscomplexobj(self.generators.array)

    @property
    def is_orthogonal(self) -> bool:
        return are_unitary(self.generators.array)

    @property
    def is_connected(self) -> bool:
        return self.order == 1

    @property
    def lie_generators(self) -> np.ndarray:
        return frozen(np.zeros((0, self.d, self.d), self.dtype))

    @property
    def discrete_generators(self) -> np.ndarray:
        return self.generators.array

    @property
    def order(self) -> int:
        return len(self._elements())

    @functools.cached_property
    def _closure(self) -> tuple[np.ndarray, Words]:
        found = closure(self.generators)
        if found is None:
            raise ValueError(f"{self} is not known to be finite")
        return found

    def _elements(self) -> np.ndarray:
        return self._closure[0]

    @functools.cached_property
    def _words(self) -> Words:
        return self._closure[1]

    @functools.cached_property
    def _table(self) -> MatrixTable:
        return MatrixTable(self._elements(), INDEX_TOLERANCE)

    def _indices(self, gs: np.ndarray) -> np.ndarray:
        return self._table.find(gs)

    def _verify(self, g: np.ndarray) -> None:
        near = int(self._table.find(g[None])[0])
        candidates = self._elements() if near < 0 else self._elements()[near : near + 1]
        away = np.abs(candidates - g).max(axis=(1, 2)).min()
        if not away <= TOLERANCE * max(1.0, np.abs(g).max()):
            raise ValueError(
                f"the matrix is not in {self}: its nearest element differs by {away:.3g}"
            )

    @functools.cached_property
    def _levels(self) -> tuple[tuple[Stage, ...], ...] | None:
        with told(f"finding the levels of {self.name}", SMALLER_CLASSES):
            return self._find_levels()

    def _find_levels(self) -> tuple[tuple[Stage, ...], ...] | None:
        limit = min(LISTABLE, 2**25 // self.d**2)
        if self.levels == CANONICAL:
            return self._canonical() if self.order <= limit else None
        given = self.levels.array if isinstance(self.levels, Matrices) else self.generators.array
        seeds = [g for g in given if not is_identity(g)]
        if not seeds:
            return ()
        table = MatrixTable([], INDEX_TOLERANCE)
        classes = generator_classes(
            seeds,
            list(self.discrete_generators),
            np.linalg.inv,
            lambda h, x: h @ x @ np.linalg.inv(h),
            table.position,
            limit,
        )
        if classes is None:
            return None
        found = tuple(
            ConjugacyClass(weight(self._order_of(members[0])), frozen(np.stack(members)))
            for members in classes
        )
        return ((Stage((), found),),)

    def _canonical(self) -> tuple[tuple[Stage, ...], ...]:
        elements = self._elements()
        conjugates = [
            self.indices(np.linalg.inv(h) @ elements @ h) for h in self.discrete_generators
        ]
        traces = np.real(np.trace(elements, axis1=1, axis2=2))
        inverses = self.indices(np.linalg.inv(elements))
        return canonical_stages(elements, inverses, conjugates, traces, self.d)

    def _order_of(self, h: np.ndarray) -> int:
        power, order = h, 1
        while not is_identity(power):
            power, order = power @ h, order + 1
        return order

    def level_factors(self) -> tuple[tuple[Stage, ...], ...] | None:
        return self._levels


def finite(name: str, generators: np.ndarray) -> FiniteGroup:
    """The group of some matrices ``[m, d, d]`` that are known to generate a finite one."""
    return FiniteGroup(name, Matrices(frozen(generators)))
