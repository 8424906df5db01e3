"""The interface of a symmetry group: generators, elements, membership, uniform samples."""

import abc
import dataclasses
import functools
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import is_traced, whole
from softeq_jax._sizes import require_room
from softeq_jax.groups._levels import Factorization, Stage, Words

LISTABLE = 50_000
"""The largest order of a group whose elements are listed."""
TOLERANCE = 1e-6  # for matrices, which may have been rounded to float32
INDEX_TOLERANCE = 1e-5  # for finding the nearest of a list of elements


@dataclasses.dataclass(frozen=True, repr=False)
class Group(abc.ABC):
    """A matrix group, immutable, and equal to every other group of the same name and content.

    It is given by its defining representation on R^d or C^d: one matrix per direction of its Lie
    algebra and one per discrete generator. Together they generate a dense subgroup, so a vector
    that all of them fix is fixed by the group. ``name`` is how it prints, such as ``SO(2)``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.so(3)
      >>> g = G.exp([0.1, 0.2, 0.3])
      >>> bool(np.allclose(g @ g.T, np.eye(3))), G.contains(2 * g)
      (True, False)
    """

    name: str

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name

    @property
    @abc.abstractmethod
    def d(self) -> int:
        """Dimension of the defining representation."""

    @property
    @abc.abstractmethod
    def lie_generators(self) -> np.ndarray:
        """Basis of the Lie algebra, ``[k, d, d]``; ``k = 0`` for a finite group.

        Orthonormal for ``<A, B> = tr(A^T B) / 2`` (real matrices), ``2 Re tr(A^H B)`` (complex
        ones), ``2 tr(A^T B)`` (Sp(2n, R)); of non-compact groups closed under transposition.
        """

    @property
    @abc.abstractmethod
    def discrete_generators(self) -> np.ndarray:
        """Elements that complete the connected part, ``[m, d, d]``."""

    @property
    @abc.abstractmethod
    def order(self) -> int | None:
        """Number of elements, or None when there are infinitely many."""

    @property
    def is_finite(self) -> bool:
        """Whether the group has finitely many elements, ``order`` of them."""
        return self.order is not None

    @property
    @abc.abstractmethod
    def is_connected(self) -> bool:
        """Whether every element lies on a path from the identity."""

    @property
    def is_compact(self) -> bool:
        """Whether the matrices are bounded, so that there is a uniform (Haar) distribution."""
        return True

    @property
    def is_orthogonal(self) -> bool:
        """Whether every defining matrix is orthogonal, or unitary where they are complex."""
        return True

    @property
    def is_complex(self) -> bool:
        """Whether the defining matrices are complex128 instead of float64."""
        return False

    @property
    def dtype(self) -> np.dtype:
        """Of the defining matrices on the host: float64 or complex128."""
        return np.dtype(np.complex128 if self.is_complex else np.float64)

    def letters(self) -> np.ndarray:
        """The discrete generators as representations compute with them, see ``concise``."""
        return self.discrete_generators

    def listed(self) -> np.ndarray:
        """``elements()`` as representations compute with them, see ``concise``."""
        return self.elements()

    def concise(self, g: Any) -> np.ndarray:
        """An element, once it is known to be one, as representations compute with it.

        That is the matrix of ``check``, and for a permutation group the permutation, int ``[n]``,
        which may be given in either form wherever an element is asked for. ``dense`` is the way
        back. Raises as ``check``.
        """
        return self.check(g)

    def dense(self, g: np.ndarray) -> np.ndarray:
        """The matrix of one element, or of several, in the form of ``concise`` or as matrices."""
        return g

    def elements(self) -> np.ndarray:
        """All elements, ``[order, d, d]``; ValueError if there are more than 50 000, or if their
        matrices need more memory than ``memory_limit()``."""
        self._require_listable()
        size = (self.order or 0) * self.d**2 * self.dtype.itemsize
        require_room(
            size, f"the matrices of all elements of {self}", "draw some with sample(key, n)"
        )
        return self._elements()

    def _elements(self) -> np.ndarray:
        raise NotImplementedError

    def _require_listable(self) -> None:
        if self.order is None:
            hint = "draw some with sample(key, n), or use" if self.is_compact else "use"
            why = f"infinitely many elements, which cannot be listed; {hint} a finite subgroup"
            raise ValueError(f"{self} has {why} such as C8 or D8")
        if self.order > LISTABLE:
            why = f"{self.order} elements, more than the {LISTABLE} that can be listed"
            raise ValueError(f"{self} has {why}; draw some with sample(key, n)")

    def sample(self, key: Any, n: int) -> jax.Array:
        """``n`` independent elements ``[n, d, d]`` from the invariant (Haar) distribution, in JAX's
        default dtype, under ``jit`` too; ValueError where there is none, or none that is known, or
        where they need more memory than ``memory_limit()``."""
        n = whole(n, "the number of samples")
        size = n * self.d**2 * jax.dtypes.canonicalize_dtype(self.dtype).itemsize
        require_room(size, f"{n} samples of {self}", "draw fewer at a time")
        return self._sample(key, n)

    def _sample(self, key: Any, n: int) -> jax.Array:
        return jax.random.choice(key, jnp.asarray(self.elements()), (n,))

    def check(self, g: Any) -> np.ndarray:
        """The matrix ``g [d, d]`` in double precision, once it is known to be an element.

        Raises:
          ValueError: ``g`` is no element, to single precision; the message says by how much.
          TypeError: ``g`` is a JAX tracer; representations are built outside ``jit``.
        """
        g = concrete(g, self)
        self._verify(g)
        return g

    def _verify(self, g: np.ndarray) -> None:
        """Raises ValueError unless the finite matrix ``g`` of the right shape is an element."""
        raise NotImplementedError

    def contains(self, g: Any) -> bool:
        """Whether the matrix ``g`` is an element, up to single-precision rounding."""
        try:
            self.check(g)
        except ValueError:
            return False
        return True

    def indices(self, gs: Any) -> np.ndarray:
        """Positions in ``elements()``, int ``[n]``, of elements ``[n, d, d]`` within 1e-5.

        Raises:
          ValueError: one of them is no element, or the elements cannot be listed.
        """
        self._require_listable()
        gs = concrete(gs, self, batched=True)
        found = self._indices(gs)
        if np.any(found < 0):
            i = int(np.argmax(found < 0))
            away = np.abs(self.elements() - gs[i]).max(axis=(1, 2)).min()
            raise ValueError(
                f"matrix {i} is no element of {self}: the nearest one differs by {away:.3g}"
            )
        return found

    def _indices(self, gs: np.ndarray) -> np.ndarray:
        """As ``indices``, with -1 for matrices that are no elements."""
        raise NotImplementedError

    def translates(self, h: np.ndarray) -> np.ndarray:
        """Positions in ``listed()`` of the products ``g h``, for every element g; h is known to be
        one, as ``concise`` gives it. int ``[order]``."""
        return self.indices(self.listed() @ h)

    def index(self, g: Any) -> int:
        """Position of one element in ``elements()``; see ``indices``."""
        return int(self.indices(np.asarray(self.concise(g))[None])[0])

    def words(self) -> Words:
        """The tree of shortest words in the discrete generators; ValueError as ``elements``."""
        self._require_listable()
        return self._words

    @functools.cached_property
    def _words(self) -> Words:
        raise NotImplementedError

    def factor(self, g: Any) -> Factorization:
        """An element as a product of exponentials and of discrete generators: ``compose`` inverts.

        A finite group needs a word alone. A connected compact group needs one exponential, and a
        non-compact one two: the polar decomposition, the orthogonal factor first.

        Raises:
          ValueError: ``g`` is no element, or has too long a word.
          TypeError: ``g`` is a JAX tracer.
        """
        return self._factor(self.check(g))

    def _factor(self, g: np.ndarray) -> Factorization:
        return Factorization((), self.words().spell(self.index(g)))

    def exp(self, t: Any) -> np.ndarray:
        """``exp(sum_k t_k A_k)`` for coordinates ``[k]``, an element ``[d, d]``."""
        import scipy.linalg

        t = np.asarray(t, np.float64)
        k = len(self.lie_generators)
        if t.shape != (k,):
            raise ValueError(f"{self} has {k} Lie generators, got coordinates of shape {t.shape}")
        return scipy.linalg.expm(np.tensordot(t, self.lie_generators, 1))

    def coordinates(self, x: Any) -> np.ndarray:
        """Coordinates of a matrix in the basis ``lie_generators``: the inverse of
        ``sum_k t_k A_k`` on the Lie algebra, and orthogonal projection onto it elsewhere."""
        basis = self.lie_generators.reshape(len(self.lie_generators), self.d**2)
        inner = np.real(basis.conj() @ np.asarray(x).reshape(-1))
        return inner / np.sum(np.abs(basis) ** 2, axis=1)

    def compose(self, factorization: Factorization) -> np.ndarray:
        """The element with that factorization, ``[d, d]``."""
        g = np.eye(self.d, dtype=self.dtype)
        for t in factorization.tangents:
            g = g @ self.exp(t)
        for i in factorization.word:
            g = g @ self.discrete_generators[i]
        return g

    @property
    def rounding(self) -> float:
        """Relative size up to which numbers that come from the generators count as 0: that of
        double precision (0) unless a user gave rounded ones whose exact values are not known."""
        return 0.0

    @property
    def levels_follow_generators(self) -> bool:
        """Whether other generators of the same group would have other levels, and nobody chose."""
        return False

    @abc.abstractmethod
    def level_factors(self) -> tuple[tuple[Stage, ...], ...] | None:
        """How levels are defined: one sequence of stages for each factor of the group.

        The squared level of an isotypic component is the sum over the factors of the value of the
        first stage that acts on it. None where classes that they need cannot be listed.
        """


def concrete(g: Any, group: Group, batched: bool = False) -> np.ndarray:
    """``g [d, d]`` (``[n, d, d]`` if batched) in double precision, as a group may hold it.

    Raises:
      ValueError: wrong shape or type, or entries that are no finite numbers.
      TypeError: ``g`` is being traced.

    Example:
      >>> import softeq_jax as sq
      >>> sq.groups.concrete([[0, -1], [1, 0]], sq.groups.so(2))
      array([[ 0., -1.],
             [ 1.,  0.]])
    """
    if is_traced(g):
        raise TypeError(
            "a group element must be a concrete matrix, but it is being traced; "
            "compute it outside jit, vmap and grad (the array it acts on may be traced)"
        )
    g, d = np.asarray(g), group.d
    kinds, field = ("fiucV", "complex or real") if group.is_complex else ("fiuV", "real")
    if g.ndim != 2 + batched or g.shape[-2:] != (d, d) or g.dtype.kind not in kinds:
        size = f"[n, {d}, {d}] array" if batched else f"[{d}, {d}] matrix"
        got = f"shape {g.shape}, {g.dtype}"
        raise ValueError(f"an element of {group} is a {field} {size}, got {got}")
    g = g.astype(group.dtype)
    if not np.all(np.isfinite(g)):
        raise ValueError(f"an element of {group} has finite entries, got {g.tolist()}")
    return g


def require(group: Group, defect: float, what: str, scale: float = 1.0) -> None:
    """ValueError if the defect of a property that elements have exceeds 3e-6 of the scale."""
    if not defect <= 3 * TOLERANCE * max(1.0, scale):
        raise ValueError(f"the matrix is not in {group}: {what} (by {defect:.3g})")


def refuse_sampling(group: Group, why: str) -> NoReturn:
    """ValueError: there is no uniform distribution."""
    raise ValueError(
        f"{group} is not compact ({why}), so it has no uniform distribution to sample from; "
        "exp(t) of coordinates t that you choose gives elements"
    )
