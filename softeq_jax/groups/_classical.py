"""The compact classical groups: SO(n), O(n), SU(n) and USp(n)."""

import abc
import dataclasses
import functools
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import frozen, whole
from softeq_jax._sizes import require_room
from softeq_jax.groups import _logarithms
from softeq_jax.groups._finite import finite
from softeq_jax.groups._group import Group, require
from softeq_jax.groups._levels import ConjugacyClass, Factorization, Stage, weight
from softeq_jax.groups._planar import PlanarGroup


@dataclasses.dataclass(frozen=True, repr=False)
class ClassicalGroup(Group):
    """A compact classical group with a Lie algebra.

    Attributes:
      name: how the group prints.
      n: the number in the name.
    """

    n: int = 0
    _basis: ClassVar[Any]

    @property
    def d(self) -> int:
        return self.n

    @property
    def lie_generators(self) -> np.ndarray:
        require_algebra(self)
        return self._basis

    @property
    def discrete_generators(self) -> np.ndarray:
        return self._no_generators

    @functools.cached_property
    def _no_generators(self) -> np.ndarray:
        return frozen(np.zeros((0, self.d, self.d), self.dtype))

    @property
    def order(self) -> None:
        return None

    @property
    def is_connected(self) -> bool:
        return len(self.discrete_generators) == 0

    def _factor(self, g: np.ndarray) -> Factorization:
        return Factorization((self.coordinates(self._log(g)),), ())

    @abc.abstractmethod
    def _log(self, g: np.ndarray) -> np.ndarray:
        """A shortest logarithm of an element of the connected part."""

    def level_factors(self) -> tuple[tuple[Stage, ...], ...]:
        stages = [Stage(tuple(range(len(self.lie_generators))), ())]
        if len(self.discrete_generators):
            classes = (ConjugacyClass(weight(2), self.discrete_generators),)
            stages.append(Stage((), classes))
        return (tuple(stages),)


@dataclasses.dataclass(frozen=True, repr=False)
class OrthogonalGroup(ClassicalGroup):
    """SO(n), or O(n) with the reflection ``diag(-1, 1, .., 1)`` as its discrete generator.

    The generators turn axis i towards axis j, ``E_ji - E_ij`` for i < j in the order (0, 1),
    (0, 2), ..., (1, 2), ...

    Attributes:
      name: how the group prints.
      n: dimension, at least 2.
      special: whether the determinant is 1.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.OrthogonalGroup("SO(3)", 3)
      >>> G == sq.groups.so(3), G.contains(np.diag([-1, 1, 1]))
      (True, False)
    """

    special: bool = True

    @functools.cached_property
    def _basis(self) -> np.ndarray:
        return frozen(rotation_generators(self.n))

    @functools.cached_property
    def _reflection(self) -> np.ndarray:
        return frozen(np.diag([-1.0] + [1.0] * (self.n - 1))[None])

    @property
    def discrete_generators(self) -> np.ndarray:
        return super().discrete_generators if self.special else self._reflection

    def _verify(self, g: np.ndarray) -> None:
        require_orthogonal(self, g)
        if self.special and np.linalg.det(g) < 0:
            raise ValueError(f"the matrix is not in {self}: its determinant is -1, not 1")

    def _sample(self, key: Any, n: int) -> jax.Array:
        q = _haar(jax.random.normal(key, (n, self.n, self.n)))
        if self.special:
            q = q.at[:, :, 0].multiply(jnp.linalg.det(q)[:, None])
        return q

    def _factor(self, g: np.ndarray) -> Factorization:
        flip = np.linalg.det(g) < 0
        turn = super()._factor(g @ self._reflection[0] if flip else g)
        return turn._replace(word=(0,)) if flip else turn

    def _log(self, g: np.ndarray) -> np.ndarray:
        return _logarithms.rotation_log(g)


@dataclasses.dataclass(frozen=True, repr=False)
class SpecialUnitaryGroup(ClassicalGroup):
    """SU(n): unitary ``[n, n]`` of determinant 1.

    The generators are ``-i/2`` times the Gell-Mann matrices: for each i < j the symmetric one and
    the skew one, then the diagonal ones. For SU(2) they are ``-i sigma_k / 2`` with k = x, y, z.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.SpecialUnitaryGroup("SU(2)", 2)
      >>> sigma = 2j * G.lie_generators  # the Pauli matrices
      >>> bool(np.allclose(sigma[0] @ sigma[1], 1j * sigma[2]))
      True
    """

    @property
    def is_complex(self) -> bool:
        return True

    @functools.cached_property
    def _basis(self) -> np.ndarray:
        basis = []
        for i in range(self.n):
            for j in range(i + 1, self.n):
                for entry in (1.0, -1j):
                    a = np.zeros((self.n, self.n), np.complex128)
                    a[i, j], a[j, i] = entry, np.conj(entry)
                    basis.append(a)
        for k in range(1, self.n):
            diagonal = [1.0] * k + [-k] + [0.0] * (self.n - k - 1)
            basis.append(np.diag(diagonal) * math.sqrt(2 / (k * (k + 1))))
        return frozen(-0.5j * np.array(basis))

    def _verify(self, g: np.ndarray) -> None:
        require_orthogonal(self, g)
        require(self, abs(np.linalg.det(g) - 1), "its determinant is not 1", self.n)

    def _sample(self, key: Any, n: int) -> jax.Array:
        u = _haar(_complex_normal(key, (n, self.n, self.n)))
        return u.at[:, :, 0].multiply(jnp.linalg.det(u).conj()[:, None])

    def _log(self, g: np.ndarray) -> np.ndarray:
        return _logarithms.unitary_log(g, special=True)


@dataclasses.dataclass(frozen=True, repr=False)
class SymplecticUnitaryGroup(ClassicalGroup):
    """USp(n), the compact Sp(n): unitary ``[2n, 2n]`` with ``g^T J g = J``, J = [[0, 1], [-1, 0]].

    Its matrices are ``[[A, -conj(B)], [B, conj(A)]]``; USp(1) is SU(2), with the same generators.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.SymplecticUnitaryGroup("USp(4)", 2)
      >>> G.d, len(G.lie_generators)  # n (2n + 1) of them
      (4, 10)
    """

    @property
    def d(self) -> int:
        return 2 * self.n

    @property
    def is_complex(self) -> bool:
        return True

    @functools.cached_property
    def _basis(self) -> np.ndarray:
        symmetric, skew = symmetric_basis(self.n), rotation_generators(self.n)
        none = np.zeros((1, self.n, self.n))
        blocks = [(none, c * symmetric) for c in (-1j, 1.0)]
        blocks += [(-1j * symmetric, none), (skew / math.sqrt(2), none)]
        basis = []
        for x, y in blocks:
            for a, b in zip(*np.broadcast_arrays(x, y), strict=True):
                basis.append(np.block([[a, -b.conj()], [b, a.conj()]]))
        return frozen(0.5 * np.array(basis, np.complex128))

    def _verify(self, g: np.ndarray) -> None:
        require_orthogonal(self, g)
        j = symplectic_form(self.n)
        require(self, np.abs(g.T @ j @ g - j).max(), "g^T J g differs from J")

    def _sample(self, key: Any, n: int) -> jax.Array:
        v = _complex_normal(key, (n, 2 * self.n, self.n))
        return jax.vmap(_quaternionic_haar)(v)

    def _log(self, g: np.ndarray) -> np.ndarray:
        return _logarithms.symplectic_unitary_log(g)


def require_algebra(group: Group) -> None:
    """TooLargeError where the Lie generators, about half as many as entries of a matrix, need more
    memory than ``memory_limit()``."""
    size = group.d**4 // 2 * group.dtype.itemsize
    instead = "take a smaller group, such as a finite subgroup by groups.from_generators"
    require_room(size, f"the Lie algebra of {group}", instead)


def rotation_generators(n: int) -> np.ndarray:
    """``E_ji - E_ij`` for i < j, ``[n (n - 1) / 2, n, n]``."""
    i, j = np.triu_indices(n, 1)
    basis = np.zeros((len(i), n, n))
    basis[np.arange(len(i)), j, i] = 1.0
    basis[np.arange(len(i)), i, j] = -1.0
    return basis


def symmetric_basis(n: int) -> np.ndarray:
    """Symmetric matrices, orthonormal for ``tr(A B)``, ``[n (n + 1) / 2, n, n]``."""
    i, j = np.triu_indices(n)
    basis = np.zeros((len(i), n, n))
    basis[np.arange(len(i)), i, j] = basis[np.arange(len(i)), j, i] = np.where(
        i == j, 1.0, math.sqrt(0.5)
    )
    return basis


def symplectic_form(n: int) -> np.ndarray:
    """``J = [[0, 1], [-1, 0]]`` in blocks of ``[n, n]``.

    Example:
      >>> import softeq_jax as sq
      >>> sq.groups.symplectic_form(1)
      array([[ 0.,  1.],
             [-1.,  0.]])
    """
    return np.kron(np.array([[0.0, 1.0], [-1.0, 0.0]]), np.eye(n))


def require_orthogonal(group: Group, g: np.ndarray) -> None:
    """ValueError unless ``g`` is orthogonal, or unitary."""
    what = "it is not unitary" if group.is_complex else "it is not orthogonal"
    require(group, np.abs(g.conj().T @ g - np.eye(len(g))).max(), what)


def _complex_normal(key: Any, shape: tuple[int, ...]) -> jax.Array:
    real, imaginary = jax.random.normal(key, (2, *shape))
    return real + 1j * imaginary


def _haar(gaussian: jax.Array) -> jax.Array:
    """Q of the QR decomposition whose R has a positive diagonal: uniform in O(n) or U(n)."""
    q, r = jnp.linalg.qr(gaussian)
    diagonal = jnp.diagonal(r, axis1=-2, axis2=-1)
    return q * (diagonal / jnp.abs(diagonal))[..., None, :]


def _quaternionic_haar(columns: jax.Array) -> jax.Array:
    """Gram-Schmidt over the quaternions: each column of ``[2n, n]`` and its partner at once."""
    n = columns.shape[1]
    basis = jnp.zeros((2 * n, 0), columns.dtype)
    for i in range(n):
        v = columns[:, i]
        for _ in range(2):  # a second pass removes the rounding of the first
            v = v - basis @ (basis.conj().T @ v)
        v = v / jnp.linalg.norm(v)
        partner = jnp.concatenate([-v[n:], v[:n]]).conj()
        basis = jnp.concatenate([basis, v[:, None], partner[:, None]], axis=1)
    return jnp.concatenate([basis[:, ::2], basis[:, 1::2]], axis=1)


def so(n: int) -> Group:
    """SO(n), all rotations of R^n (planar for n = 2); ValueError unless n is an int >= 1.

    Example:
      >>> from softeq_jax import groups
      >>> G = groups.so(3)
      >>> G.lie_generators.shape  # three rotations, each a skew 3 x 3 matrix
      (3, 3, 3)
      >>> float(-(G.lie_generators**2).sum() / 2)  # of length sqrt 2 each
      -3.0
    """
    n = whole(n, "n in so(n)")
    if n == 1:
        return finite("SO(1)", np.zeros((0, 1, 1)))
    return PlanarGroup("SO(2)") if n == 2 else OrthogonalGroup(f"SO({n})", n)


def o(n: int) -> Group:
    """O(n), rotations and reflections of R^n; as ``so``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.o(3)
      >>> G.is_connected, G.contains(-np.eye(3))
      (False, True)
    """
    n = whole(n, "n in o(n)")
    if n == 1:
        return finite("O(1)", -np.ones((1, 1, 1)))
    if n == 2:
        return PlanarGroup("O(2)", has_flip=True)
    return OrthogonalGroup(f"O({n})", n, special=False)


def su(n: int) -> Group:
    """SU(n), unitary matrices of determinant 1; ValueError unless n is an int >= 1.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.su(3)
      >>> len(G.lie_generators), G.is_complex  # as many as Gell-Mann matrices
      (8, True)
    """
    n = whole(n, "n in su(n)")
    if n == 1:
        return finite("SU(1)", np.zeros((0, 1, 1), np.complex128))
    return SpecialUnitaryGroup(f"SU({n})", n)


def usp(n: int) -> Group:
    """USp(n), the compact symplectic group, ``[2n, 2n]`` complex; as ``su``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> A, B = sq.groups.usp(1), sq.groups.su(2)
      >>> bool(np.allclose(A.lie_generators, B.lie_generators))
      True
    """
    n = whole(n, "n in usp(n)")
    return SymplecticUnitaryGroup(f"USp({n})", n)
