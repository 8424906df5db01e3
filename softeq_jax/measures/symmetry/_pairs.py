r"""The two-sample test within pairs: ``(x_i, g_i x_i)``, and which of the two was moved?

If the group leaves the distribution as it is, the two of a pair are exchangeable (g random, its
inverse as probable as g). A classifier that was fitted on other pairs gives a held-out pair the
margin ``d = s(g x) - s(x)``, whose sign is then a fair coin: the sum of the margins among those
with signs drawn anew has an exact p-value (Lehmann and Romano, Testing Statistical Hypotheses,
ch. 15; the classifier: Lopez-Paz and Oquab, ICLR 2017).
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from softeq_jax.measures.symmetry._kernels import (
    COARSE,
    WIDTHS,
    median_width,
    ridge,
    squared_distances,
)

_TIED = 1e-12
"""Margins up to this share of the largest are ties."""
Witness = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class PairTest:
    """One test of whether moved examples can be told from those that were not.

    Attributes:
      p: the exact p-value, of "cannot be told".
      accuracy: held-out pairs of which the classifier says rightly which one was moved; 0.5 where
        it cannot, 1 where it always can (ties count half).
      error: standard error of the accuracy.
      pairs: held out.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(200, 2)) + [2, 0]
      >>> test = sq.measures.data_report(x, "c4").tests[0][1]
      >>> test.pairs, test.p, test.accuracy > 0.9
      (100, 0.0005, True)
    """

    p: float
    accuracy: float
    error: float
    pairs: int


def fitted(still: np.ndarray, moved: np.ndarray) -> Witness:
    """A function that is larger on what was moved: kernel ridge regression of margins to 1.

    Of three widths and of several strengths those are taken that do best at pairs left out; none
    so weak that rounding, or an action that is the picture's to some thousandths, would count.

    Args:
      still: ``[m, d]``.
      moved: ``[m, d]``, row by row the same examples, moved.
    """
    parts = (moved, moved), (moved, still), (still, still)
    squares = [squared_distances(a, b) for a, b in parts]
    ones, width = np.ones((len(still), 1)), median_width(np.concatenate([still, moved]))
    found = []
    for h in WIDTHS:
        mm, ms, ss = (np.exp(-s / (2 * (h * width) ** 2)) for s in squares)
        found.append((h * width, ridge(mm - ms - ms.T + ss, ones, COARSE)))
    h, best = min(found, key=lambda one: one[1].left_out)
    weights = best.coefficients[:, 0]

    def witness(x: np.ndarray) -> np.ndarray:
        kernels = (np.exp(-squared_distances(x, c) / (2 * h**2)) for c in (moved, still))
        high, low = kernels
        return high @ weights - low @ weights

    return witness


def swap_test(margins: np.ndarray, rng: np.random.Generator, swaps: int) -> PairTest:
    """The test from margins ``[m]`` of held-out pairs, with ``swaps`` draws of signs."""
    size = float(np.abs(margins).max(initial=0))
    margins = np.where(np.abs(margins) <= _TIED * size, 0, margins)
    signs = rng.integers(0, 2, (swaps, len(margins)), dtype=np.int8) * 2 - 1
    drawn = signs @ margins
    p = (1 + np.count_nonzero(drawn >= margins.sum() * (1 - 1e-12))) / (1 + swaps)
    right = (np.sign(margins) + 1) / 2
    spread = right.std(ddof=1) / np.sqrt(len(right)) if len(right) > 1 else 0.0
    return PairTest(float(p), float(right.mean()), float(spread), len(right))
