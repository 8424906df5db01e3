"""Groups of permutations: the symmetric groups, and any that a user generates."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import frozen, is_traced, whole
from softeq_jax._sizes import require_room, told
from softeq_jax.groups._canonical import canonical_stages
from softeq_jax.groups._given import CANONICAL, SMALLER_CLASSES, GivenGroup
from softeq_jax.groups._group import INDEX_TOLERANCE, LISTABLE, require
from softeq_jax.groups._levels import (
    ConjugacyClass,
    Factorization,
    Stage,
    Words,
    weight,
)
from softeq_jax.groups._listing import Matrices
from softeq_jax.groups._schreier_sims import StabilizerChain, stabilizer_chain

_LONGEST_CLASS = 6000  # elements of a class of generators whose mean is ever taken
_LARGEST_CLASS = 2**25  # entries of the matrices of a class


@dataclasses.dataclass(frozen=True, repr=False)
class PermutationGroup(GivenGroup):
    """Permutations of the coordinates of R^n, from generators.

    Entry ``j`` of a vector goes to position ``p[j]``: the matrix has a one at ``[p[j], j]``. Order,
    membership and exactly uniform samples come from a stabilizer chain, for any order; elements
    and words need a group of at most 50 000 elements.

    Attributes:
      name: how the group prints.
      generators: permutations, int ``[m, n]``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> swap = np.eye(3)[[1, 0, 2]]
      >>> G = sq.groups.from_generators("swap", discrete=[swap])
      >>> type(G).__name__, G.permutation(swap)
      ('PermutationGroup', array([1, 0, 2]))
    """

    generators: Matrices

    @property
    def d(self) -> int:
        return self.generators.array.shape[1]

    @property
    def lie_generators(self) -> np.ndarray:
        return frozen(np.zeros((0, self.d, self.d)))

    @property
    def discrete_generators(self) -> np.ndarray:
        """``[m, n, n]``, made anew when they are asked for: ``generators`` and ``letters()`` hold
        the permutations. TooLargeError above ``memory_limit()``."""
        return frozen(matrices(self.generators.array))

    def letters(self) -> np.ndarray:
        """The generators as permutations, int ``[m, n]``."""
        return self.generators.array

    def listed(self) -> np.ndarray:
        """All elements as permutations, int ``[order, n]``; ValueError above 50 000."""
        self._require_listable()
        return self._listed[0]

    @functools.cached_property
    def _chain(self) -> StabilizerChain:
        return stabilizer_chain(self.generators.array)

    @property
    def order(self) -> int:
        return self._chain.order

    @property
    def is_finite(self) -> bool:
        return True

    @property
    def is_connected(self) -> bool:
        return bool(np.all(self.generators.array == np.arange(self.d)))

    def permutation(self, g: Any) -> np.ndarray:
        """The permutation ``p`` of an element, int ``[n]``; ValueError if it is none."""
        return self.concise(g)

    def concise(self, g: Any) -> np.ndarray:
        """The permutation ``p`` of an element that is given as itself, int ``[n]``, or as a matrix;
        raises as ``check``."""
        if not self._is_index(g):
            return np.argmax(super().check(g), axis=0)
        p = np.asarray(g)
        if len(np.unique(p)) < len(p) or p.min() < 0 or p.max() >= len(p):
            raise ValueError(f"{_shortened(p)} is no permutation of 0 .. {len(p) - 1}")
        self._require_generated(p)
        return p

    def check(self, g: Any) -> np.ndarray:
        """The matrix, as for any group, of an element that is given in either form."""
        return matrices(self.concise(g)) if self._is_index(g) else super().check(g)

    def dense(self, g: np.ndarray) -> np.ndarray:
        """The matrices ``[..., n, n]`` of permutations, int ``[..., n]``, or given as they are."""
        return matrices(g) if np.issubdtype(g.dtype, np.integer) else g

    def _is_index(self, g: Any) -> bool:
        """Whether an element is given as a permutation instead of a matrix."""
        if is_traced(g) or np.shape(g) != (self.d,):
            return False
        return np.issubdtype(np.asarray(g).dtype, np.integer)

    def _verify(self, g: np.ndarray) -> None:
        p = np.argmax(g, axis=0)
        require(self, np.abs(g - matrices(p)).max(), "it is no permutation matrix")
        if len(set(p.tolist())) < len(p):
            raise ValueError(f"the matrix is not in {self}: it is no permutation matrix")
        self._require_generated(p)

    def _require_generated(self, p: np.ndarray) -> None:
        if not self._generates(p):
            raise ValueError(
                f"this permutation is not in {self}: no product of its generators is "
                f"{_shortened(p)}"
            )

    def _generates(self, p: np.ndarray) -> bool:
        return self._chain.contains(p)

    @functools.cached_property
    def _listed(self) -> tuple[np.ndarray, dict[bytes, int], Words]:
        """The elements as permutations, their positions, and their words."""
        size = 3 * 8 * self.order * self.d
        require_room(size, f"a list of all elements of {self}", "draw some with sample(key, n)")
        with told(f"listing the {self.order} elements of {self.name}", "sample(key, n) draws some"):
            return self._list()

    def _list(self) -> tuple[np.ndarray, dict[bytes, int], Words]:
        generators = self.generators.array
        found = [np.arange(self.d)]
        position = {found[0].tobytes(): 0}
        parent, letter = [-1], [-1]
        for i, p in enumerate(found):  # grows while it is walked through
            for k, q in enumerate(p[generators]):
                if position.setdefault(q.tobytes(), len(found)) == len(found):
                    found.append(q)
                    parent.append(i)
                    letter.append(k)
        words = Words(frozen(np.array(parent)), frozen(np.array(letter)))
        return frozen(np.stack(found)), position, words

    @functools.cached_property
    def _matrices(self) -> np.ndarray:
        return frozen(matrices(self._listed[0]))

    def _elements(self) -> np.ndarray:
        return self._matrices

    @functools.cached_property
    def _words(self) -> Words:
        return self._listed[2]

    def indices(self, gs: Any) -> np.ndarray:
        """As for any group; elements may be given as permutations, int ``[k, n]``."""
        if np.ndim(gs) == 2 and np.issubdtype(np.asarray(gs).dtype, np.integer):
            return self.places(np.stack([self.concise(p) for p in gs]))
        return super().indices(gs)

    def _indices(self, gs: np.ndarray) -> np.ndarray:
        ps = np.argmax(gs, axis=1)
        near = np.abs(gs - matrices(ps)).max(axis=(1, 2)) <= INDEX_TOLERANCE
        return np.where(near, self.places(ps), -1)

    def places(self, ps: np.ndarray) -> np.ndarray:
        """Positions in ``listed()`` of permutations, int ``[k, n]``; -1 for those of no element.

        ``indices`` does the same for matrices.
        """
        self._require_listable()
        rows = np.ascontiguousarray(ps, dtype=self.generators.array.dtype)
        return np.array([self._listed[1].get(p.tobytes(), -1) for p in rows], dtype=np.int64)

    def translates(self, h: np.ndarray) -> np.ndarray:
        """As for any group."""
        return self.places(self.listed()[:, h])

    def _sample(self, key: Any, n: int) -> jax.Array:
        found = jnp.broadcast_to(jnp.arange(self.d), (n, self.d))
        sizes = [len(transversal) for transversal in self._chain.transversals]
        if not sizes:
            return _jax_matrices(found)
        rows = jnp.asarray(np.concatenate(self._chain.transversals))  # one shape: one program
        starts = np.cumsum([0, *sizes[:-1]])
        keys = jax.random.split(key, len(sizes) + 1)
        for level_key, start, size in zip(keys, starts, sizes, strict=False):
            chosen = rows[start + jax.random.randint(level_key, (n,), 0, size)]
            found = jnp.take_along_axis(found, chosen, axis=1)
        return _jax_matrices(found)

    @functools.cached_property
    def _levels(self) -> tuple[tuple[Stage, ...], ...] | None:
        with told(f"finding the levels of {self.name}", SMALLER_CLASSES):
            return self._find_levels()

    def _find_levels(self) -> tuple[tuple[Stage, ...], ...] | None:
        if self.levels == CANONICAL:
            if self.order > min(LISTABLE, _LARGEST_CLASS // self.d):
                return None
            return self._canonical()
        generators = list(self.generators.array)
        given = self.levels.array if isinstance(self.levels, Matrices) else self.generators.array
        seeds = [p for p in given if np.any(p != np.arange(self.d))]
        if not seeds:
            return ()
        classes, limit = [], min(_LONGEST_CLASS, _LARGEST_CLASS // self.d**2)
        for h in seeds:
            if any(_contains_either(members, h) for members in classes):
                continue
            members = _conjugates(h, generators, limit)
            if members is None:
                return None
            classes.append(members)
        found = tuple(
            ConjugacyClass(weight(permutation_order(members[0])), frozen(members))
            for members in classes
        )
        return ((Stage((), found),),)

    def _canonical(self) -> tuple[tuple[Stage, ...], ...]:
        listed = self.listed()
        conjugates = [self.places(np.argsort(h)[listed[:, h]]) for h in self.generators.array]
        traces = np.sum(listed == np.arange(self.d), axis=1).astype(np.float64)
        inverses = self.places(np.argsort(listed, axis=1))
        return canonical_stages(listed, inverses, conjugates, traces, self.d)

    def level_factors(self) -> tuple[tuple[Stage, ...], ...] | None:
        return self._levels


def _conjugates(h: np.ndarray, generators: list[np.ndarray], limit: int) -> np.ndarray | None:
    """The conjugacy class ``[s, d]`` of h, itself first; None if it exceeds the limit."""
    short = np.min_scalar_type(len(h))  # rows are compared as bytes: the fewer the better
    found = new = h[None].astype(short)
    row = np.dtype((np.void, new.nbytes))
    moves = [(g.astype(short), np.argsort(g)) for g in generators]
    seen = {new.tobytes()}
    while len(new):
        moved = np.concatenate([g[new[:, inverse]] for g, inverse in moves])
        keys = np.ascontiguousarray(moved).view(row)[:, 0].tolist()
        first = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
        fresh = first.keys() - seen
        seen |= fresh
        new = moved[sorted(first[key] for key in fresh)]
        found = np.concatenate([found, new])
        if len(found) > limit:
            return None
    return found.astype(h.dtype)


def _contains_either(members: np.ndarray, h: np.ndarray) -> bool:
    """Whether a class contains a permutation or its inverse."""
    both = np.stack([h, np.argsort(h)])
    return bool(np.any(np.all(members[:, None] == both[None], axis=2)))


@dataclasses.dataclass(frozen=True, repr=False)
class SymmetricGroup(PermutationGroup):
    """S_n, all permutations of n coordinates.

    The generators are the transpositions of neighbours, ``n - 1`` of them in one conjugacy class.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.symmetric(20)
      >>> type(G).__name__, G.order
      ('SymmetricGroup', 2432902008176640000)
    """

    @property
    def order(self) -> int:
        return math.factorial(self.d)

    @functools.cached_property
    def _discrete(self) -> np.ndarray:
        """All of them are windows of one matrix, the identity with a swap in the middle."""
        n = self.d
        if n == 1:
            return frozen(np.zeros((0, 1, 1)))
        middle = np.arange(2 * n - 2)
        middle[[n - 2, n - 1]] = n - 1, n - 2
        windows = np.lib.stride_tricks.sliding_window_view(matrices(middle), (n, n))
        return frozen(np.einsum("iiab->iab", windows)[::-1])

    @property
    def discrete_generators(self) -> np.ndarray:
        """``[n - 1, n, n]``, a view of one small array."""
        return self._discrete

    def _generates(self, p: np.ndarray) -> bool:
        return True

    def _sample(self, key: Any, n: int) -> jax.Array:
        identity = jnp.broadcast_to(jnp.arange(self.d), (n, self.d))
        return _jax_matrices(jax.random.permutation(key, identity, axis=1, independent=True))

    def _factor(self, g: np.ndarray) -> Factorization:
        if self.order <= LISTABLE:
            return super()._factor(g)
        # bubble sort: p s_i1 s_i2 ... = 1 with transpositions of neighbours
        p, swaps = np.argmax(g, axis=0), []
        for _ in range(self.d):
            for i in reversed(range(self.d - 1)):
                if p[i] > p[i + 1]:
                    p[[i, i + 1]] = p[[i + 1, i]]
                    swaps.append(i)
        return Factorization((), tuple(reversed(swaps)))

    @functools.cached_property
    def _levels(self) -> tuple[tuple[Stage, ...], ...] | None:
        n = self.d
        if n == 1:
            return ()
        i, j = np.triu_indices(n, 1)
        if len(i) * n**2 > _LARGEST_CLASS:
            return None
        swaps = np.tile(np.arange(n), (len(i), 1))
        swaps[np.arange(len(i)), i], swaps[np.arange(len(i)), j] = j, i
        return ((Stage((), (ConjugacyClass(weight(2), frozen(swaps)),)),),)


def matrices(permutations: np.ndarray) -> np.ndarray:
    """Matrices ``[..., n, n]`` of permutations ``[..., n]``, with a one at ``[p[j], j]``."""
    n = permutations.shape[-1]
    what = f"the matrices of {permutations.size // max(n, 1)} permutations of {n} points"
    instead = "use the permutations themselves, which are taken wherever an element is"
    require_room(8 * permutations.size * n, what, instead)
    found = np.zeros((permutations.size // max(n, 1), n, n))
    np.put_along_axis(found, permutations.reshape(-1, 1, n), 1.0, axis=1)
    return found.reshape(*permutations.shape[:-1], n, n)


def _jax_matrices(permutations: jax.Array) -> jax.Array:
    return jnp.swapaxes(jax.nn.one_hot(permutations, permutations.shape[-1]), -1, -2)


def _shortened(p: np.ndarray) -> str:
    return np.array2string(p, threshold=20, edgeitems=5).replace("\n", "")


def permutation_order(p: np.ndarray) -> int:
    """The least power of a permutation that is the identity, from the lengths of its cycles."""
    seen, order = np.zeros(len(p), bool), 1
    for start in range(len(p)):
        length, j = 0, start
        while not seen[j]:
            seen[j], j, length = True, p[j], length + 1
        order = math.lcm(order, max(length, 1))
    return order


def symmetric(n: int) -> SymmetricGroup:
    """S_n, all permutations of the coordinates of R^n; ValueError unless n is an int >= 1.

    Levels are those of the class of transpositions, all ``n (n - 1) / 2`` of them, of which the
    ``n - 1`` generators are the ones of neighbours.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.symmetric(4)
      >>> G.order, len(G.discrete_generators)
      (24, 3)
    """
    n = whole(n, "n in symmetric(n)")
    instead = "generate it by two permutations with groups.from_generators"
    require_room(3 * 8 * n**2, f"the {n - 1} generators of S{n}", instead)
    swaps = np.tile(np.arange(n), (n - 1, 1))
    i = np.arange(n - 1)
    swaps[i, i], swaps[i, i + 1] = i + 1, i
    return SymmetricGroup(f"S{n}", Matrices(frozen(swaps)))
