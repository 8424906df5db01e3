"""Duals and realifications of representations."""

import dataclasses

import numpy as np

from softeq_jax.reps._algebra import Composite, bracketed, tensor_product
from softeq_jax.reps._rep import Rep, Term


@dataclasses.dataclass(frozen=True, repr=False)
class Dual(Rep):
    """``g -> rho(g^-1)^T`` on linear functions. Made by ``.dual``."""

    part: Rep = None

    @property
    def formula(self) -> str:
        return f"{bracketed(self.part)}*"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.part.shape

    @property
    def is_complex(self) -> bool:
        return self.part.is_complex

    @property
    def is_orthogonal(self) -> bool:
        return self.part.is_orthogonal

    @property
    def dual(self) -> Rep:
        return self.part

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        matrix = self.part._matrix(g)
        if self.part.is_orthogonal:
            return matrix.conj()
        return np.ascontiguousarray(np.linalg.inv(matrix).T)

    def lie_matrices(self) -> np.ndarray:
        return -np.swapaxes(self.part.lie_matrices(), 1, 2)


@dataclasses.dataclass(frozen=True, repr=False)
class Real(Rep):
    """A complex representation on (real parts, imaginary parts). Made by ``.real``."""

    part: Rep = None

    @property
    def formula(self) -> str:
        return f"Re[{self.part.formula}]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (2 * self.part.dim,)

    @property
    def is_orthogonal(self) -> bool:
        return self.part.is_orthogonal

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        return realified(self.part._matrix(g))

    def lie_matrices(self) -> np.ndarray:
        return realified(self.part.lie_matrices())

    def terms(self) -> list[tuple[Term, np.ndarray]]:
        if self.is_trivial:
            return super().terms()
        found, n = [], self.part.dim
        for term, index in self.part.terms():
            if any(atom.is_complex for atom in term.atoms):
                atom = term.atoms[0] if len(term.atoms) == 1 else tensor_product(*term.atoms)
                both = np.concatenate([index, index + n], axis=1)
                found.append((Term(term.multiplicity, (atom.real,)), both))
            else:
                both = np.concatenate([index, index + n], axis=0)
                found.append((Term(2 * term.multiplicity, term.atoms), both))
        return found


def realified(matrix: np.ndarray) -> np.ndarray:
    """``[[Re, -Im], [Im, Re]]`` on the last two axes."""
    top = np.concatenate([matrix.real, -matrix.imag], axis=-1)
    return np.concatenate([top, np.concatenate([matrix.imag, matrix.real], axis=-1)], axis=-2)


def dual_of(rep: Rep) -> Rep:
    """The dual, with sums and products dualized part by part."""
    if rep.is_orthogonal and not rep.is_complex:
        return rep
    if isinstance(rep, Composite):
        return dataclasses.replace(rep, parts=tuple(part.dual for part in rep.parts))
    return Dual(rep.group, rep)


def real_of(rep: Rep) -> Rep:
    """The realification of a complex representation; a real one as it is."""
    return Real(rep.group, rep) if rep.is_complex else rep
