r"""Bounds of the movement of one weight: the theorems, as functions.

Under a group element g, with its joint action on all axes, w moves by ``||g w - w||`` (Frobenius).
For linear maps it equals the equivariance defect ``||rho_out(g) W - W rho_in(g)||`` where the
input acts orthogonally. N w is what the strict projector removes, A_k an orthonormal basis of the
Lie algebra, ``||L w||^2 = sum_k ||A_k w||^2``. Bounds carry a margin for rounding.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from softeq_jax.certificates._diameter import is_abelian
from softeq_jax.groups import LISTABLE, Group
from softeq_jax.projections import ROUNDING, Certificate, Projector, movement, removed_part
from softeq_jax.projections.movement import (
    frobenius,
    generator_norms,
    growth,
    is_isometric,
    lie_images,
    logarithmic_norm,
    moving_part,
    speed,
    stretch_rate,
    word_lengths,
)


class Sandwich(NamedTuple):
    """Two-sided bound of ``sup_g ||g w - w||`` over the group.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> P = sq.projector("i", {"i": sq.reps.vector(sq.groups.so(2))})
      >>> found = sq.certificates.sandwich(P, np.array([3.0, 4.0]))
      >>> round(found.lower, 4), round(found.upper, 4)
      (7.0711, 10.0)
    """

    lower: float
    upper: float


def sandwich(projector: Projector, w: Any) -> Sandwich:
    r"""Theorem 3: ``sqrt(2) ||N w|| <= sup_g ||g w - w|| <= 2 ||N w||``.

    The lower half follows from the mean-square identity (theorem 2)
    ``mean_g ||g w - w||^2 = 2 ||N w||^2``, the upper one from ``g w - w = g N w - N w``. Vectors of
    an interpolated grid without a partner frequency count for the upper half only.

    Holds for compact groups that act orthogonally.

    Raises:
      ValueError: the group is not compact or acts otherwise; a weight that does not fit.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> P = sq.projector("i", {"i": sq.reps.vector(sq.groups.cyclic(2))})
      >>> w = np.array([3.0, 4.0])
      >>> round(sq.certificates.sandwich(P, w).upper, 6)  # reached by the half turn
      10.0
    """
    w = weight(projector, w)
    group = projector.space.group
    if not group.is_compact:
        raise ValueError(f"{group} is not compact: there is no Haar mean, and no supremum over it")
    _require_isometric(projector, "theorem 3")
    parts = projector.host_splitting()
    whole = frobenius(moving_part(parts, w))
    dropped = np.ones(len(parts.levels.sizes))
    dropped[0] = 0.0
    if parts.levels.complete:
        dropped[-1] = 0.0
    surely = np.asarray(removed_part(parts.space.layout, parts.filters, w, dropped))
    margin = ROUNDING * frobenius(w)
    lower = math.sqrt(2.0) * frobenius(surely) - margin
    return Sandwich(max(lower, 0.0), 2.0 * whole + margin)


def generator_defects(projector: Projector, w: Any) -> np.ndarray:
    """``||h w - w||`` for each discrete generator h of the group, float64 ``[m]``.

    Any group. Levels of finite groups are means over conjugacy classes, which a single generator
    may exceed: bounds by words use these defects, not the level.

    Raises:
      ValueError: a weight that does not fit.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> P = sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(4))})
      >>> sq.certificates.generator_defects(P, np.array([0.0, 0.0, 0.0, 2.0])).round(4)
      array([2.8284])
    """
    return movement.generator_defects(projector.space, weight(projector, w))


def word_bound(projector: Projector, w: Any, word_or_element: Any) -> float:
    r"""Theorem 4a: ``||g w - w|| <= sum_i ||h_i w - w|| <= l(g) max_h ||h w - w||``.

    For ``g = h_1 ... h_l`` by ``g h - 1 = g (h - 1) + (g - 1)``. Where the action is not orthogonal
    term i is multiplied by ``||rho(h_1)|| ... ||rho(h_(i-1))||``. For an element of a finite group
    with an orthogonal action inverses of generators count as letters, as
    ``||h^-1 w - w|| = ||h w - w||``.

    Args:
      projector: gives axes, representations and group.
      w: concrete weight.
      word_or_element: indices of discrete generators, from left to right, or a matrix ``[d, d]``
        of a finite group.

    Raises:
      ValueError: an index out of range, an element that needs an exponential, a weight that does
        not fit.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> P = sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(4))})
      >>> w = np.array([0.0, 0.0, 0.0, 2.0])
      >>> [round(sq.certificates.word_bound(P, w, word), 4) for word in ((), (0,), (0, 0))]
      [0.0, 2.8284, 5.6569]
    """
    w = weight(projector, w)
    group = projector.space.group
    asked = np.asarray(word_or_element)
    if asked.ndim != 2:
        return _along_word(projector, w, _word(group, word_or_element)) + _margin(projector, w)
    factored = group.factor(asked)
    if any(np.any(t != 0) for t in factored.tangents):
        raise ValueError(
            f"this element of {group} is no word in its discrete generators: use element_bound"
        )
    return _by_words(projector, w, asked, factored.word) + _margin(projector, w)


def _word(group: Group, word: Sequence[int]) -> tuple[int, ...]:
    letters, count = tuple(word), len(group.letters())
    bad = [i for i in letters if not (isinstance(i, int | np.integer) and 0 <= i < count)]
    if bad:
        raise ValueError(f"words of {group} are made of the indices 0 .. {count - 1}, got {bad}")
    return tuple(int(i) for i in letters)


def _along_word(projector: Projector, w: np.ndarray, word: tuple[int, ...]) -> float:
    defects = movement.generator_defects(projector.space, w)
    norms = generator_norms(projector.space)
    sizes = [norms[i] for i in word]
    before = np.cumprod([1.0, *sizes])[: len(word)]
    return math.fsum(float(b * defects[i]) for b, i in zip(before, word, strict=True))


def _by_words(projector: Projector, w: np.ndarray, g: np.ndarray, word: tuple[int, ...]) -> float:
    bound = _along_word(projector, w, word)
    group = projector.space.group
    if group.is_finite and is_isometric(projector.space):
        length = int(word_lengths(group)[group.index(g)])
        largest = float(movement.generator_defects(projector.space, w).max(initial=0.0))
        bound = min(bound, length * largest)
    return bound


def lie_norm(projector: Projector, w: Any) -> float:
    """``||L w|| = sqrt(sum_k ||A_k w||^2)`` over the Lie generators, any group; no margin.

    0 for finite groups. For connected compact groups it is also ``sqrt(sum_j sigma_j^2
    ||w_j||^2)`` over the levels.

    Raises:
      ValueError: a weight that does not fit.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> P = sq.projector("i", {"i": sq.reps.vector(sq.groups.so(3))})
      >>> round(sq.certificates.lie_norm(P, np.array([0.0, 0.0, 1.0])) ** 2, 6)  # l (l + 1)
      2.0
    """
    return speed(projector.space, weight(projector, w)).total


def lie_bound(projector: Projector, w: Any, t: Any) -> float:
    r"""Theorem 4b: movement under ``exp(B)``, ``B = sum_k t_k A_k``.

    .. math:: \|e^B w - w\| \le \frac{e^\mu - 1}{\mu} \, \|B w\|, \qquad
              \|B w\| \le |t|_2 \, \|L w\|,

    with mu the largest eigenvalue of the Hermitian part of B (0, and the factor 1, for orthogonal
    actions; ``mu <= a + b`` for the norms a, b of the boosts on the two axes of a map). Any group
    with a Lie algebra, compact or not.

    Args:
      projector: gives axes, representations and group.
      w: concrete weight.
      t: coordinates ``[k]``: the bound with ``||B w||``; or a radius: the bound for all
        ``|t| <= radius``, with the largest ``||B w||`` and mu there.

    Raises:
      ValueError: a finite group, coordinates of another length, a weight that does not fit.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> P = sq.projector("i", {"i": sq.reps.vector(sq.groups.so(3))})
      >>> w = np.array([0.0, 0.0, 2.0])
      >>> round(sq.certificates.lie_bound(P, w, 0.1), 6)  # length times angle
      0.2
    """
    w = weight(projector, w)
    space = projector.space
    k = len(space.group.lie_generators)
    t = np.asarray(t, np.float64)
    if k == 0 or t.shape not in ((), (k,)) or not np.all(np.isfinite(t)):
        raise ValueError(
            f"{space.group} has {k} Lie generators: expected a finite radius or coordinates [{k}] "
            f"of a group with a Lie algebra, got shape {t.shape}"
        )
    if t.ndim == 0:
        if t < 0:
            raise ValueError(f"a radius is >= 0, got {t}")
        rate = float(t) * stretch_rate(space)
        bound = growth(rate) * float(t) * speed(space, w).largest
    else:
        rate = logarithmic_norm(space, t)
        bound = _along_exponential(projector, w, t)
    return bound + ROUNDING * frobenius(w) * (1.0 + math.exp(min(max(rate, 0.0), 700)))


def _along_exponential(projector: Projector, w: np.ndarray, t: np.ndarray) -> float:
    moved = np.tensordot(t, lie_images(projector.space, w), 1)
    return growth(logarithmic_norm(projector.space, t)) * frobenius(moved)


def element_bound(projector: Projector, w: Any, g: Any) -> Certificate:
    """The smallest of the general bounds for one element; ``reason`` says which it was.

    * ``2 ||N w||`` (theorem 3), orthogonal actions;
    * ``sum ||B_i w||``, at most ``|t| ||L w||``, over the exponentials of ``g``, and the defects of
      the letters of its word (theorems 4a, 4b), any group: each term is multiplied by the norms of
      the factors before it where the action is not orthogonal;
    * ``l(g) max_h ||h w - w||`` (theorem 4a), finite groups, orthogonal actions;
    * the exact movement, abelian groups, and where nothing else is known (an action that is not
      orthogonal of a finite group too large for words).

    ``projector.certificate(w, element=g)`` computes the exact movement for every group; these are
    the bounds that need no action of g itself, except the last.

    Raises:
      ValueError: g is not in the group, a weight that does not fit.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> P = sq.projector("i", {"i": sq.reps.vector(sq.groups.so(3))})
      >>> g = P.space.group.exp([0.1, 0, 0])  # about z
      >>> c = sq.certificates.element_bound(P, np.array([0.0, 3.0, 4.0]), g)
      >>> round(c.bound, 4), c.reason
      (0.3, 'theorem 4: exponentials and letters')
    """
    w = weight(projector, w)
    space, group = projector.space, projector.space.group
    g = group.check(g)
    before, whole = 1.0, math.nan
    found: dict[str, float] = {}
    has_words = group.order is None or group.order <= LISTABLE
    if has_words:
        factored = group.factor(g)
        total = 0.0
        for t in factored.tangents:
            total += before * _along_exponential(projector, w, t)
            before *= math.exp(logarithmic_norm(space, t))
        total += before * _along_word(projector, w, factored.word)
        found["theorem 4: exponentials and letters"] = total
    if is_isometric(space):
        whole = 2.0 * frobenius(moving_part(projector.host_splitting(), w))
        found["theorem 3: 2 ||N w||"] = whole
        if group.is_finite and has_words:
            bound = _by_words(projector, w, g, factored.word)
            found["theorem 4a: word length times largest defect"] = bound
    if is_abelian(group) or not found:
        moved = frobenius(projector.act(g, w) - w)
        found["exact movement"] = moved
    reason = min(reversed(found), key=lambda name: found[name])
    norm = frobenius(w)
    margin = ROUNDING * norm * (1.0 + before)
    return Certificate(
        bound=found[reason] + margin,
        supremum=whole + margin,
        weight_norm=norm,
        norm="frobenius",
        scope="element",
        angle=None,
        flip=False,
        certified=math.isfinite(found[reason]),
        reason=reason,
        element=tuple(tuple(complex(x) for x in row) for row in g),
    )


def weight(projector: Projector, w: Any) -> np.ndarray:
    """A concrete weight in double precision; ValueError unless it fits and is finite."""
    kind = np.complex128 if projector.space.is_complex else np.float64
    w = np.asarray(w)
    if np.iscomplexobj(w) and kind is np.float64:
        raise ValueError(f"a weight of {projector.space.describe()} is real, got {w.dtype}")
    w = w.astype(kind)
    projector.space.check(w.shape)
    if not np.all(np.isfinite(w)):
        raise ValueError(f"{int(np.sum(~np.isfinite(w)))} of {w.size} weights are NaN or infinite")
    return w


def _margin(projector: Projector, w: np.ndarray) -> float:
    largest = max(generator_norms(projector.space), default=1.0)
    return ROUNDING * frobenius(w) * max(1.0, largest)


def _require_isometric(projector: Projector, what: str) -> None:
    if not is_isometric(projector.space):
        raise ValueError(
            f"{what} needs orthogonal actions, got {projector.space.describe()}: use element_bound "
            "or lie_bound"
        )
