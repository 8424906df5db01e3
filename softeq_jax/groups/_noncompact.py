"""The non-compact groups of physics: Lorentz groups and Sp(2n, R)."""

import dataclasses
import functools
from typing import Any, ClassVar, NoReturn

import numpy as np

from softeq_jax._checks import frozen, whole
from softeq_jax.groups import _logarithms
from softeq_jax.groups._classical import rotation_generators, symmetric_basis, symplectic_form
from softeq_jax.groups._group import Group, refuse_sampling, require
from softeq_jax.groups._levels import ConjugacyClass, Factorization, Stage, weight

METRIC = frozen(np.diag([1.0, -1.0, -1.0, -1.0]))
"""What Lorentz transformations leave alone, time first."""


class _NonCompact(Group):
    """A group with no bound on its matrices, hence no uniform distribution."""

    _basis: ClassVar[Any]

    @property
    def order(self) -> None:
        return None

    @property
    def is_compact(self) -> bool:
        return False

    @property
    def is_orthogonal(self) -> bool:
        return False

    @property
    def is_connected(self) -> bool:
        return len(self.discrete_generators) == 0

    @property
    def lie_generators(self) -> np.ndarray:
        return self._basis


@dataclasses.dataclass(frozen=True, repr=False)
class LorentzGroup(_NonCompact):
    """O(1,3) and its subgroups: ``g^T eta g = eta`` with ``eta = diag(1, -1, -1, -1)``.

    Index 0 is time. The generators are three rotations ``E_ji - E_ij`` for (1, 2), (1, 3), (2, 3),
    and three boosts ``E_0i + E_i0``.

    Attributes:
      name: how the group prints.
      special: whether the determinant is 1.
      orthochronous: whether the direction of time is kept.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.LorentzGroup("SO(1,3)", special=True)
      >>> boost = G.exp([0, 0, 0, 1, 0, 0])
      >>> bool(np.allclose(boost.T @ sq.groups.METRIC @ boost, sq.groups.METRIC))
      True
    """

    special: bool = False
    orthochronous: bool = False

    @property
    def d(self) -> int:
        return 4

    @functools.cached_property
    def _basis(self) -> np.ndarray:
        basis = np.zeros((6, 4, 4))
        basis[:3, 1:, 1:] = rotation_generators(3)
        for i in (1, 2, 3):
            basis[2 + i, 0, i] = basis[2 + i, i, 0] = 1.0
        return frozen(basis)

    @functools.cached_property
    def _discrete(self) -> np.ndarray:
        minus, time, parity = -np.eye(4), np.diag([-1.0, 1, 1, 1]), METRIC
        found = {
            (False, False): [minus, time],
            (True, False): [minus],
            (False, True): [parity],
            (True, True): [],
        }[self.special, self.orthochronous]
        return frozen(np.array(found).reshape(-1, 4, 4) + 0.0)

    @property
    def discrete_generators(self) -> np.ndarray:
        return self._discrete

    def _verify(self, g: np.ndarray) -> None:
        size = float(np.linalg.norm(g, 2))
        require(self, np.abs(g.T @ METRIC @ g - METRIC).max(), "it changes the metric", size**2)
        if self.special and np.linalg.det(g) < 0:
            raise ValueError(f"the matrix is not in {self}: its determinant is -1, not 1")
        if self.orthochronous and g[0, 0] < 0:
            raise ValueError(
                f"the matrix is not in {self}: it reverses time (entry [0, 0] is {g[0, 0]:.3g})"
            )

    def _sample(self, key: Any, n: int) -> NoReturn:
        refuse_sampling(self, "boosts are unbounded")

    def _factor(self, g: np.ndarray) -> Factorization:
        turned, reversed_ = np.linalg.det(g) < 0, g[0, 0] < 0
        if not turned and not reversed_:
            word = ()
        elif self.special or self.orthochronous:
            word = (0,)
        else:
            word = {(False, True): (0,), (True, True): (1,), (True, False): (0, 1)}[
                bool(turned), bool(reversed_)
            ]
        for i in word:  # each is its own inverse, and they commute
            g = g @ self.discrete_generators[i]
        # g = rotation @ boost, and the rotation keeps the row of time
        momentum = g[0, 1:]
        length = np.linalg.norm(momentum)
        direction = momentum / length if length > 0 else momentum
        boost = np.concatenate([np.zeros(3), np.arcsinh(length) * direction])
        rotation = np.eye(4)
        rotation[1:, 1:] = (g @ self.exp(-boost))[1:, 1:]
        log = np.zeros((4, 4))
        log[1:, 1:] = _logarithms.rotation_log(rotation[1:, 1:])
        return Factorization((self.coordinates(log), boost), word)

    def level_factors(self) -> tuple[tuple[Stage, ...], ...]:
        stages = [Stage(tuple(range(6)), ())]
        if len(self.discrete_generators):
            classes = tuple(ConjugacyClass(weight(2), h[None]) for h in self.discrete_generators)
            stages.append(Stage((), classes))
        return (tuple(stages),)


@dataclasses.dataclass(frozen=True, repr=False)
class SymplecticGroup(_NonCompact):
    """Sp(2n, R): real ``[2n, 2n]`` with ``g^T J g = J``, J = [[0, 1], [-1, 0]] in blocks.

    The basis is orthonormal for ``2 tr(A^T B)``, first its skew matrices ``[[X, -Y], [Y, X]]``
    (the Lie algebra of U(n)), then its symmetric ones ``[[S, T], [T, -S]]``. With ``i`` times the
    latter it becomes the basis of USp(n), whose Casimir ``sum of rho(A_k)^T rho(A_k)`` is.

    Attributes:
      name: how the group prints.
      n: half of the dimension.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.SymplecticGroup("Sp(2,R)", 1)
      >>> G.lie_generators[1:]  # the two that stretch
      array([[[ 0.5,  0. ],
              [ 0. , -0.5]],
      <BLANKLINE>
             [[ 0. ,  0.5],
              [ 0.5,  0. ]]])
    """

    n: int = 0

    @property
    def d(self) -> int:
        return 2 * self.n

    @functools.cached_property
    def _basis(self) -> np.ndarray:
        symmetric, skew = symmetric_basis(self.n), rotation_generators(self.n) / np.sqrt(2)
        basis = [np.kron(np.eye(2), x) for x in skew]
        for pattern in ([[0, -1], [1, 0]], [[1, 0], [0, -1]], [[0, 1], [1, 0]]):
            basis += [np.kron(np.array(pattern, np.float64), y) for y in symmetric]
        return frozen(0.5 * np.array(basis) + 0.0)

    @property
    def discrete_generators(self) -> np.ndarray:
        return frozen(np.zeros((0, self.d, self.d)))

    def _verify(self, g: np.ndarray) -> None:
        j = symplectic_form(self.n)
        size = float(np.linalg.norm(g, 2))
        require(self, np.abs(g.T @ j @ g - j).max(), "g^T J g differs from J", size**2)

    def _sample(self, key: Any, n: int) -> NoReturn:
        refuse_sampling(self, "it stretches one direction and squeezes another without bound")

    def _factor(self, g: np.ndarray) -> Factorization:
        # right singular vectors come in pairs v, J^T v of stretches s, 1/s; the large ones are
        # the accurate ones
        _, _, vt = np.linalg.svd(g)
        v = _logarithms.half_basis(vt.T)
        w = _logarithms.partner(v)
        stretch = np.linalg.norm(g @ v, axis=0)
        v, w = np.where(stretch >= 1, v, w), np.where(stretch >= 1, w, -v)
        stretch = np.log(np.linalg.norm(g @ v, axis=0))
        positive = (v * stretch) @ v.T - (w * stretch) @ w.T
        inverse = (v * np.exp(-stretch)) @ v.T + (w * np.exp(stretch)) @ w.T
        n, k = self.n, _logarithms.nearest_unitary(g @ inverse)
        log = _logarithms.unitary_log(k[:n, :n] + 1j * k[n:, :n])
        skew = np.block([[np.real(log), -np.imag(log)], [np.imag(log), np.real(log)]])
        return Factorization((self.coordinates(skew), self.coordinates(positive)), ())

    def level_factors(self) -> tuple[tuple[Stage, ...], ...]:
        return ((Stage(tuple(range(len(self.lie_generators))), ()),),)


def lorentz(special: bool = False, orthochronous: bool = False) -> LorentzGroup:
    """The Lorentz group O(1,3) of metric (+, -, -, -), or a subgroup of it.

    Args:
      special: only determinant 1: SO(1,3).
      orthochronous: only elements that keep the direction of time: O+(1,3). With both,
        SO+(1,3), the connected one.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.lorentz(orthochronous=True)
      >>> G, G.contains(np.diag([-1, 1, 1, 1])), G.contains(np.diag([1, -1, -1, -1]))
      (O+(1,3), False, True)
    """
    name = f"{'S' if special else ''}O{'+' if orthochronous else ''}(1,3)"
    return LorentzGroup(name, bool(special), bool(orthochronous))


def sp(n: int) -> SymplecticGroup:
    """Sp(2n, R), real symplectic matrices ``[2n, 2n]``; ValueError unless n is an int >= 1.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.sp(2)
      >>> G, G.d, G.is_compact
      (Sp(4,R), 4, False)
    """
    n = whole(n, "n in sp(n)")
    return SymplecticGroup(f"Sp({2 * n},R)", n)
