r"""The movement of a weight under a torus: its supremum, by branch and bound on its frequencies.

A connected abelian compact group acts in complex eigenvectors, one frequency vector m in Z^r each.
With the part ``w_m`` of a weight on each of them,

.. math:: F(t) = \|g_t w - w\|^2 = 2 \sum_m \|w_m\|^2 (1 - \cos m \cdot t), \qquad
          |x^T F'' x| \le x^T H x, \quad H = 2 \sum_m \|w_m\|^2 \, m \, m^T .

At the maximum ``t*`` the gradient vanishes, so that ``F(t*) <= F(t) + x^T H x / 2`` with
``x = t* - t``: a cell around t that can hold it has a center with ``F(t)`` at least the largest
value found less that. Such cells are halved until the difference is 1e-9 of the result; where the
maxima are no points but curves, until there are too many cells, and the bound is that much larger.
What rounding can do to F is allowed for: where F is as curved as H, the cells beside a maximum at
the corner of four lie below it by just the difference.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from softeq_jax.projections._space import Space

RANK = 3
"""The largest rank of a torus whose supremum is searched for."""
_INTEGER = 1e-8
_POINTS = {1: 1024, 2: 256, 3: 64}
_CELLS = 20_000
_TARGET = 2e-9
_ROUNDING = 1e-14
"""Of F, in units of its maximum, for each radian that a phase has in a turn."""


class TorusSupremum(NamedTuple):
    """The supremum of the movement over a torus.

    Attributes:
      bound: never below it.
      attained: the largest movement that was found.
    """

    bound: float
    attained: float


def torus_supremum(space: Space, w: np.ndarray) -> TorusSupremum | None:
    """The supremum over the group, None unless it is a torus of rank 1 to 3 that acts orthogonally
    with whole frequencies.

    Args:
      space: the axes and representations.
      w: float64 (complex128) with the axes of the space.
    """
    group = space.group
    rank = len(group.lie_generators)
    if not 1 <= rank <= RANK or len(group.discrete_generators) or not group.is_compact:
        return None
    frequencies = np.zeros((1, rank), int)
    coefficients = np.moveaxis(w, space.positions, range(len(space.positions))).astype(complex)
    coefficients = coefficients.reshape(1, *(entry.rep.dim for entry in space.entries), -1)
    for entry in space.entries:
        found = _eigenvectors(entry.rep.lie_matrices())
        if found is None:
            return None
        columns, own = found
        inside = np.tensordot(columns.conj().T, coefficients, axes=(1, 1))
        inside = np.moveaxis(inside, 0, 1)
        coefficients = inside.reshape(-1, *inside.shape[2:])
        frequencies = (frequencies[:, None] + own[None]).reshape(-1, rank)
    squares = np.sum(np.abs(coefficients) ** 2, axis=tuple(range(1, coefficients.ndim)))
    distinct, place = np.unique(frequencies, axis=0, return_inverse=True)
    return _maximum(distinct, np.bincount(place.reshape(-1), weights=squares))


def _eigenvectors(lie: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Joint eigenvectors ``[n, n]`` of commuting skew matrices, whole frequencies ``[n, r]``."""
    scale = max(1.0, float(np.max(np.abs(lie), initial=0.0)))
    skew = np.max(np.abs(lie + np.swapaxes(lie.conj(), 1, 2)), initial=0.0)
    pairs = itertools.combinations(lie, 2)
    apart = max((float(np.max(np.abs(a @ b - b @ a), initial=0.0)) for a, b in pairs), default=0.0)
    if skew > 1e-9 * scale or apart > 1e-9 * scale**2:
        return None
    weights = np.sqrt(np.array([2.0, 3.0, 5.0]))[: len(lie)]  # no whole sums are equal
    _, columns = np.linalg.eigh(-1j * np.tensordot(weights, lie, 1))
    values = np.real(np.einsum("ab,kac,cb->bk", columns.conj(), -1j * lie, columns))
    whole = np.rint(values)
    images = np.einsum("kac,cb->abk", -1j * lie, columns) - columns[:, :, None] * whole[None]
    return (columns, whole.astype(int)) if np.max(np.abs(images), initial=0.0) < _INTEGER else None


def _maximum(frequencies: np.ndarray, squares: np.ndarray) -> TorusSupremum:
    """The maximum of F for distinct frequencies ``[f, r]`` with squared norms ``[f]``."""
    rank = frequencies.shape[1]
    moving = np.any(frequencies != 0, axis=1) & (squares > 0)
    m, e = frequencies[moving], squares[moving]
    if not len(e):
        return TorusSupremum(0.0, 0.0)
    points = max(_POINTS[rank], 4 * int(np.abs(m).max()))
    grid = np.zeros((points,) * rank)
    np.add.at(grid, tuple((m % points).T), e)
    values = 2.0 * (e.sum() - np.real(np.fft.fftn(grid)))
    hessian = 2.0 * np.einsum("f,fa,fb->ab", e, m, m)
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=rank)))
    curvature = float(np.max(np.einsum("ca,ab,cb->c", corners, hessian, corners)))
    half = math.pi / points
    best, slack = float(values.max()), 0.5 * half**2 * curvature
    rounding = _ROUNDING * (1 + int(np.abs(m).sum(axis=1).max())) * best
    centers = np.argwhere(values >= best - slack - rounding) * (math.tau / points)
    while slack > _TARGET * best and len(centers) * len(corners) <= _CELLS:
        half, slack = half / 2.0, slack / 4.0
        centers = (centers[:, None] + half * corners).reshape(-1, rank)
        values = 4.0 * np.sin(0.5 * centers @ m.T) ** 2 @ e
        best = max(best, float(values.max()))
        centers = centers[values >= best - slack - rounding]
    return TorusSupremum(math.sqrt(best + slack + rounding), math.sqrt(best))
