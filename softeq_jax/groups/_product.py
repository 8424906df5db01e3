"""Direct products, with block-diagonal matrices."""

import dataclasses
import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import frozen
from softeq_jax._sizes import require_room
from softeq_jax.groups._group import INDEX_TOLERANCE, Group, require
from softeq_jax.groups._levels import ConjugacyClass, Factorization, Stage, Words

_TIMES = " \u00d7 "


@dataclasses.dataclass(frozen=True, repr=False)
class ProductGroup(Group):
    """Elements ``(g_1, g_2, ...)`` of several groups, as matrices with blocks ``g_i``.

    The matrices are complex if those of any factor are. The elements of a finite product are
    ordered like ``itertools.product``: the last factor changes fastest.

    Attributes:
      name: how the group prints, for instance ``SO(2) x C4`` with a multiplication sign.
      factors: the groups.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.ProductGroup("S", (sq.groups.cyclic(2), sq.groups.cyclic(3)))
      >>> G.order, G.d
      (6, 4)
    """

    factors: tuple[Group, ...] = ()

    @functools.cached_property
    def _slices(self) -> tuple[slice, ...]:
        ends = list(itertools.accumulate((f.d for f in self.factors), initial=0))
        return tuple(slice(a, b) for a, b in itertools.pairwise(ends))

    @property
    def d(self) -> int:
        return sum(f.d for f in self.factors)

    @property
    def is_complex(self) -> bool:
        return any(f.is_complex for f in self.factors)

    @property
    def is_compact(self) -> bool:
        return all(f.is_compact for f in self.factors)

    @property
    def is_orthogonal(self) -> bool:
        return all(f.is_orthogonal for f in self.factors)

    @property
    def is_connected(self) -> bool:
        return all(f.is_connected for f in self.factors)

    @property
    def order(self) -> int | None:
        orders = [f.order for f in self.factors if f.order is not None]
        return math.prod(orders) if len(orders) == len(self.factors) else None

    @property
    def rounding(self) -> float:
        return max(f.rounding for f in self.factors)

    @property
    def levels_follow_generators(self) -> bool:
        return any(f.levels_follow_generators for f in self.factors)

    def embed(self, i: int, g: Any) -> np.ndarray:
        """The matrices ``[..., d, d]`` with ``g`` in block ``i`` and the identity elsewhere.

        Args:
          i: index of a factor.
          g: ``[..., d_i, d_i]``, elements of that factor; they are not checked.
        """
        return self._place(i, g, np.eye(self.d))

    def component(self, i: int, g: Any) -> np.ndarray:
        """Block ``i`` of matrices ``[..., d, d]``, in the number type of that factor."""
        block = np.asarray(g)[..., self._slices[i], self._slices[i]]
        return (block if self.factors[i].is_complex else np.real(block)).astype(
            self.factors[i].dtype
        )

    def _place(self, i: int, g: Any, background: np.ndarray) -> np.ndarray:
        g = np.asarray(g)
        shape = (*g.shape[:-2], self.d, self.d)
        what = f"{math.prod(shape[:-2])} matrices of {self}"
        instead = "take smaller factors, or one element at a time"
        require_room(2 * math.prod(shape) * self.dtype.itemsize, what, instead)
        placed = np.broadcast_to(background, shape).astype(self.dtype)
        placed[..., self._slices[i], self._slices[i]] = g
        return placed

    @functools.cached_property
    def _lie(self) -> np.ndarray:
        zero = np.zeros((self.d, self.d))
        placed = [self._place(i, f.lie_generators, zero) for i, f in enumerate(self.factors)]
        return frozen(np.concatenate(placed))

    @property
    def lie_generators(self) -> np.ndarray:
        return self._lie

    @functools.cached_property
    def _discrete(self) -> np.ndarray:
        placed = [self.embed(i, f.discrete_generators) for i, f in enumerate(self.factors)]
        return frozen(np.concatenate(placed))

    @property
    def discrete_generators(self) -> np.ndarray:
        return self._discrete

    @functools.cached_property
    def _all(self) -> np.ndarray:
        found = np.eye(self.d, dtype=self.dtype)[None]
        for i, f in enumerate(self.factors):
            placed = self.embed(i, f.elements())
            found = (found[:, None] @ placed).reshape(-1, self.d, self.d)
        return frozen(found + 0.0)

    def _elements(self) -> np.ndarray:
        return self._all

    def _verify(self, g: np.ndarray) -> None:
        outside = g.copy()
        for block in self._slices:
            outside[block, block] = 0
        require(self, np.abs(outside).max(), "it is not block-diagonal")
        for i, (f, block) in enumerate(zip(self.factors, self._slices, strict=True)):
            if not f.is_complex:
                require(self, np.abs(np.imag(g[block, block])).max(), f"block {i} is not real")
            f.check(self.component(i, g))

    def _indices(self, gs: np.ndarray) -> np.ndarray:
        found = np.zeros(len(gs), int)
        valid = np.ones(len(gs), bool)
        for i, f in enumerate(self.factors):
            index = f._indices(self.component(i, gs))
            valid &= index >= 0
            found = found * f.order + index
        found = np.where(valid, found, -1)
        away = np.abs(self._elements()[found] - gs).max(axis=(1, 2))
        return np.where(away <= INDEX_TOLERANCE, found, -1)

    @functools.cached_property
    def _words(self) -> Words:
        letters = np.cumsum([0] + [len(f.discrete_generators) for f in self.factors])
        sizes = [len(f.words().parent) for f in self.factors]
        order = math.prod(sizes)
        parts = np.unravel_index(np.arange(order), sizes)
        parent, generator = np.full(order, -1), np.full(order, -1)
        for i, f in enumerate(self.factors):
            words = f.words()
            # the last factor that is not at its identity gives the last letter
            moved = words.parent[parts[i]] >= 0
            shorter = list(parts)
            shorter[i] = np.where(moved, words.parent[parts[i]], parts[i])
            parent = np.where(moved, np.ravel_multi_index(shorter, sizes), parent)
            generator = np.where(moved, words.generator[parts[i]] + letters[i], generator)
        return Words(frozen(parent), frozen(generator))

    def _sample(self, key: Any, n: int) -> jax.Array:
        keys = jax.random.split(key, len(self.factors))
        parts = [f.sample(k, n) for f, k in zip(self.factors, keys, strict=True)]
        found = jnp.zeros((n, self.d, self.d), jnp.result_type(*parts))
        for part, block in zip(parts, self._slices, strict=True):
            found = found.at[:, block, block].set(part.astype(found.dtype))
        return found

    def _factor(self, g: np.ndarray) -> Factorization:
        parts = [f.factor(self.component(i, g)) for i, f in enumerate(self.factors)]
        tangents = []
        for j in range(max(len(p.tangents) for p in parts)):
            rows = [
                p.tangents[j] if j < len(p.tangents) else np.zeros(len(f.lie_generators))
                for p, f in zip(parts, self.factors, strict=True)
            ]
            tangents.append(np.concatenate(rows))
        word, shift = [], 0
        for p, f in zip(parts, self.factors, strict=True):
            word += [i + shift for i in p.word]
            shift += len(f.discrete_generators)
        return Factorization(tuple(tangents), tuple(word))

    def level_factors(self) -> tuple[tuple[Stage, ...], ...] | None:
        found, shift = [], 0
        for i, f in enumerate(self.factors):
            stages = f.level_factors()
            if stages is None:
                return None
            found += [tuple(self._stage(i, shift, s) for s in sequence) for sequence in stages]
            shift += len(f.lie_generators)
        return tuple(found)

    def _stage(self, i: int, shift: int, stage: Stage) -> Stage:
        classes = tuple(
            ConjugacyClass(c.weight, frozen(self.embed(i, self.factors[i].dense(c.elements))))
            for c in stage.classes
        )
        return Stage(tuple(k + shift for k in stage.lie), classes)


def product(*groups: Group) -> ProductGroup:
    """The direct product; products among the factors are taken apart.

    Args:
      *groups: at least two groups.

    Raises:
      ValueError: fewer than two.
      TypeError: one is no group.

    Example:
      >>> import softeq_jax as sq
      >>> G = sq.groups.product(sq.groups.so(3), sq.groups.cyclic(2))
      >>> G.d, len(G.factors), G.is_finite
      (5, 2, False)
    """
    for g in groups:
        if not isinstance(g, Group):
            raise TypeError(f"product takes groups, got {g!r}")
    if len(groups) < 2:
        raise ValueError(f"a product has at least two factors, got {len(groups)}")
    factors = tuple(
        itertools.chain.from_iterable(
            g.factors if isinstance(g, ProductGroup) else (g,) for g in groups
        )
    )
    return ProductGroup(_TIMES.join(f.name for f in factors), factors)
