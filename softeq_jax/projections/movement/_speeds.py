r"""Speeds and norms of the action of a group on a weight: the ingredients of certificates.

With an orthonormal basis A_k of the Lie algebra acting jointly on all axes of a weight w,

.. math:: \|L w\|^2 = \sum_k \|A_k w\|^2, \qquad
          v(w) = \max_{|t| = 1} \| \sum_k t_k A_k w \| \le \|L w\|,

and v(w), the *speed*, is the root of the largest eigenvalue of the Gram matrix of the ``A_k w``.
Everything is computed by NumPy in double precision, axis by axis.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from softeq_jax.groups import LISTABLE, Group
from softeq_jax.projections._choose import Splitting
from softeq_jax.projections._filter import removed_part
from softeq_jax.projections._space import Space, segments
from softeq_jax.reps import Rep

_MATRICES = 2**22  # entries of the matrices of all generators
_CAYLEY = 5_000  # the largest order for which inverses of generators count as letters


class Speed(NamedTuple):
    """How fast the connected part moves a weight.

    Attributes:
      largest: ``v(w)``, along the fastest direction of the Lie algebra.
      total: ``||L w||``, all directions in squares.
    """

    largest: float
    total: float


def power_of_two(size: float) -> float:
    """The power of two at or below a size > 0, else 1: dividing by it rounds nothing, and what
    follows squares numbers near 1 (1e200 and 1e-200 have no squares)."""
    return math.ldexp(1.0, math.frexp(size)[1] - 1) if 0.0 < size < math.inf else 1.0


def frobenius(x: np.ndarray) -> float:
    """``||x||``, whatever the size of its entries.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> sq.projections.movement.frobenius(np.array([3e200, 4e200])) / 1e200  # squares overflow
      5.0
    """
    scale = power_of_two(float(np.max(np.abs(x), initial=0.0)))
    return scale * float(np.linalg.norm(x / scale))


def is_isometric(space: Space) -> bool:
    """Whether every group element keeps the Frobenius norm of a weight.

    Example:
      >>> import softeq_jax as sq
      >>> from softeq_jax.projections.movement import is_isometric
      >>> is_isometric(sq.projector("i", {"i": sq.reps.vector(sq.groups.so(3))}).space)
      True
      >>> is_isometric(sq.projector("i", {"i": sq.reps.vector(sq.groups.lorentz())}).space)
      False
    """
    return all(entry.rep.is_orthogonal for entry in space.entries)


def lie_images(space: Space, w: np.ndarray) -> np.ndarray:
    """``A_k w`` for every generator of the Lie algebra, ``[k, *w.shape]``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> space = sq.projector("i", {"i": sq.reps.vector(sq.groups.so(2))}).space
      >>> sq.projections.movement.lie_images(space, np.array([1.0, 2.0]))
      array([[-2.,  1.]])
    """
    k = len(space.group.lie_generators)
    total = np.zeros((k, *w.shape), np.result_type(w, np.float64))
    for entry in space.entries:
        if k == 0 or entry.rep.is_trivial:
            continue
        front = tuple(range(len(entry.positions)))
        moved = np.moveaxis(w, entry.positions, front)
        images = entry.rep.lie_matrices() @ moved.reshape(entry.rep.dim, -1)
        images = images.reshape(k, *moved.shape)
        total += np.moveaxis(images, [1 + i for i in front], [1 + p for p in entry.positions])
    return total


def speed(space: Space, w: np.ndarray) -> Speed:
    """``v(w)`` and ``||L w||`` of a weight.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> space = sq.projector("i", {"i": sq.reps.vector(sq.groups.so(2))}).space
      >>> sq.projections.movement.speed(space, np.array([3.0, 4.0]))
      Speed(largest=5.0, total=5.0)
    """
    count = len(space.group.lie_generators)
    if not count:
        return Speed(0.0, 0.0)
    flat = lie_images(space, w).reshape(count, -1)
    scale = power_of_two(float(np.max(np.abs(flat), initial=0.0)))
    flat = flat / scale
    gram = np.real(flat @ flat.conj().T)
    largest = max(float(np.linalg.eigvalsh(gram)[-1]), 0.0)
    return Speed(scale * math.sqrt(largest), scale * math.sqrt(max(float(np.trace(gram)), 0.0)))


def _over_terms(space: Space, of_atom: Any, combine: Any) -> list[float]:
    """For each axis group the largest, over its terms, of the combined values of the atoms."""
    return [
        max(combine([of_atom(atom) for atom in term.atoms]) for term in segments(entry.rep).terms)
        for entry in space.entries
    ]


def operator_norm(space: Space, g: np.ndarray) -> float:
    """``||rho(g)||``, the spectral norm of the joint action; 1 for orthogonal ones."""
    if is_isometric(space):
        return 1.0
    return math.prod(
        _over_terms(space, lambda atom: float(np.linalg.norm(atom.matrix(g), 2)), math.prod)
    )


def generator_norms(space: Space) -> list[float]:
    """``||rho(h)||`` of each discrete generator h, without a search for it in the group.

    Example:
      >>> import softeq_jax as sq
      >>> space = sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(3))}).space
      >>> sq.projections.movement.generator_norms(space)
      [1.0]
    """
    count = len(space.group.letters())
    if is_isometric(space):
        return [1.0] * count

    def of_atom(atom: Rep) -> np.ndarray:
        return np.linalg.norm(atom.discrete_matrices(), 2, axis=(1, 2))

    def over_atoms(each: list[np.ndarray]) -> np.ndarray:
        return np.prod([np.ones(count), *each], axis=0)

    joint = np.ones(count)
    for entry in space.entries:
        terms = segments(entry.rep).terms
        norms = [over_atoms([of_atom(atom) for atom in term.atoms]) for term in terms]
        joint = joint * np.max(norms, axis=0)
    return joint.tolist()


def logarithmic_norm(space: Space, t: np.ndarray) -> float:
    """``mu(B)``, largest eigenvalue of the Hermitian part of ``B = sum_k t_k A_k`` (joint action).

    ``||exp(s B)|| <= exp(s mu(B))``, and mu of a tensor product is the sum over its factors.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> space = sq.projector("i", {"i": sq.reps.vector(sq.groups.lorentz())}).space
      >>> boost = np.array([0, 0, 0, 2.0, 0, 0])
      >>> round(sq.projections.movement.logarithmic_norm(space, boost), 6)
      2.0
    """

    def of_atom(atom: Rep) -> float:
        b = np.tensordot(t, atom.lie_matrices(), 1)
        return float(np.linalg.eigvalsh(0.5 * (b + b.conj().T))[-1])

    return 0.0 if is_isometric(space) else math.fsum(_over_terms(space, of_atom, math.fsum))


def stretch_rate(space: Space) -> float:
    r"""kappa, an upper bound of ``mu(B)`` over all ``|t| = 1``; 0 for orthogonal actions.

    For the Hermitian parts S_k of one factor, the largest eigenvalue of ``sum t_k S_k`` is at most
    ``sqrt(lambda_max(sum S_k^2))`` (Cauchy-Schwarz in k) and at most its Frobenius norm, which is
    at most the root of the largest eigenvalue of the matrix ``tr(S_k S_l)``; if all traces vanish,
    the latter times ``sqrt((n - 1) / n)``.

    Example:
      >>> import softeq_jax as sq
      >>> boosted = sq.projector("i", {"i": sq.reps.vector(sq.groups.lorentz())}).space
      >>> round(sq.projections.movement.stretch_rate(boosted), 3)  # a boost has rate 1
      1.225
    """
    return 0.0 if is_isometric(space) else math.fsum(_over_terms(space, _atom_rate, math.fsum))


@functools.lru_cache(maxsize=256)
def _atom_rate(atom: Rep) -> float:
    lie = atom.lie_matrices()
    if not len(lie):
        return 0.0
    parts = 0.5 * (lie + np.swapaxes(lie.conj(), 1, 2))
    squares = np.linalg.eigvalsh(np.einsum("kab,kbc->ac", parts, parts))[-1]
    flat = parts.reshape(len(parts), -1)
    frobenius = np.linalg.eigvalsh(np.real(flat @ flat.conj().T))[-1]
    if np.max(np.abs(np.trace(parts, axis1=1, axis2=2))) < 1e-12 * max(1.0, frobenius):
        frobenius *= (atom.dim - 1) / atom.dim
    return math.sqrt(max(min(float(squares), float(frobenius)), 0.0))


def growth(x: float) -> float:
    """``(e^x - 1) / x``, 1 at 0: the mean of ``e^(s x)`` over s in [0, 1]; inf on overflow.

    Example:
      >>> import softeq_jax as sq
      >>> sq.projections.movement.growth(0.0), round(sq.projections.movement.growth(1.0), 4)
      (1.0, 1.7183)
    """
    if abs(x) < 1e-12:
        return 1.0
    return math.expm1(x) / x if x < 700.0 else math.inf


def moving_part(parts: Splitting, w: np.ndarray) -> np.ndarray:
    """``N w = w - P w`` with the strict projector, the part that the group does not fix.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> P = sq.projector("i o", {"i": V, "o": V})
      >>> part = sq.projections.movement.moving_part(P.host_splitting(), np.diag([1.0, 2.0, 6.0]))
      >>> np.diag(part).round(6).tolist()
      [-2.0, -1.0, 3.0]
    """
    dropped = np.ones(len(parts.levels.sizes))
    dropped[0] = 0.0
    return _part(parts, w, dropped)


def level_parts(parts: Splitting, w: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """``(sigma, part of w)`` for each level that has a dimension; infinity for what has none.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> P = sq.projector("i o", dict.fromkeys("io", sq.reps.vector(sq.groups.so(3))), softness=1)
      >>> found = sq.projections.movement.level_parts(P.host_splitting(), np.diag([1.0, 2.0, 6.0]))
      >>> [(round(sigma**2), round(float(np.sum(part**2)))) for sigma, part in found]
      [(0, 27), (2, 0), (6, 14)]
    """
    sizes = parts.levels.sizes
    for j, sigma in enumerate([*parts.levels.values, math.inf]):
        if sizes[j]:
            yield sigma, _part(parts, w, np.eye(len(sizes))[j])


def _part(parts: Splitting, w: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return np.asarray(removed_part(parts.space.layout, parts.filters, w, shares))


def are_stable(parts: Splitting) -> bool:
    """Whether every level (and what has none) is a space that the group keeps, and orthogonal to
    the others: always, but for the levels of the published code."""
    return parts.convention == "central"


@functools.lru_cache(maxsize=32)
def word_lengths(group: Group) -> np.ndarray:
    """The least number of generators and inverses of generators for each element, int ``[order]``.

    Groups of more than 5000 elements: without inverses, so never too small.

    Raises:
      ValueError: the elements cannot be listed.

    Example:
      >>> import softeq_jax as sq
      >>> sq.projections.movement.word_lengths(sq.groups.cyclic(6)).tolist()
      [0, 1, 2, 3, 2, 1]
    """
    words = group.words()
    order = len(words.parent)
    if order > _CAYLEY:
        length, at = np.zeros(order, int), words.parent.copy()
        while np.any(at >= 0):
            length += at >= 0
            at = np.where(at >= 0, words.parent[at], -1)
        return length
    steps = [group.translates(h) for h in group.letters()]
    steps += [np.argsort(step) for step in steps]
    start = group.index(np.eye(group.d, dtype=group.dtype))
    length = np.full(order, -1)
    length[start], frontier, radius = 0, np.array([start]), 0
    while len(frontier):
        radius += 1
        reached = np.unique(np.concatenate([np.zeros(0, int), *(step[frontier] for step in steps)]))
        frontier = reached[length[reached] < 0]
        length[frontier] = radius
    return length


def largest_word(group: Group) -> int | None:
    """The diameter of the Cayley graph, None where the group cannot be listed in little memory."""
    if group.order is None or group.order > LISTABLE or group.order * group.d > _MATRICES:
        return None
    return int(word_lengths(group).max())


def generator_defects(space: Space, w: np.ndarray) -> np.ndarray:
    """``||h w - w||`` for each discrete generator h, float64 ``[m]``.

    Generators are known to be in the group, which may be unable to find them by a search.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> space = sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(3))}).space
      >>> sq.projections.movement.generator_defects(space, np.array([0.0, 0.0, 2.0])).round(4)
      array([2.8284])
    """
    images = [_discrete_images(entry.rep) for entry in space.entries]
    found = []
    for i, h in enumerate(space.group.letters()):
        moved = w
        for entry, image in zip(space.entries, images, strict=True):
            front = range(len(entry.positions))
            first = np.moveaxis(moved, entry.positions, front)
            flat = first.reshape(entry.rep.dim, -1)
            flat = entry.rep._act(flat.T, h).T if image is None else image[i] @ flat
            moved = np.moveaxis(flat.reshape(first.shape), front, entry.positions)
        found.append(frobenius(moved - w))
    return np.array(found, dtype=np.float64)


def _discrete_images(rep: Rep) -> np.ndarray | None:
    """``discrete_matrices``; None where gathers are meant to do, or they are too many numbers."""
    count = len(rep.group.letters())
    if rep.is_permutation or count * rep.dim**2 > _MATRICES:
        return None
    return rep.discrete_matrices()
