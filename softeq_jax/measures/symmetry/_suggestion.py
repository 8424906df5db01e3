"""What data suggest: strict, soft up to a level, or free, and how sure that is."""

import dataclasses
from collections.abc import Callable

import numpy as np

from softeq_jax.measures.symmetry._bands import Bands
from softeq_jax.measures.symmetry._labels import LabelLoss
from softeq_jax.measures.symmetry._pairs import PairTest

_DRAWS = 400
"""Bootstrap draws over held-out examples."""
_HELD = 0.9
"""Share of the asymmetry that a level must hold."""
_PLAIN = 0.9
"""Accuracy from which on almost every example shows how it was turned."""


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """How soft a model of these data should be.

    Attributes:
      kind: "strict", "soft", "free", or "undecided" where there are too few examples to tell.
      level: for "soft" the cutoff of a projector (``cutoff=``), None where levels are not known.
      levels: the levels of 90 % of the bootstrap draws, from and to; None where there are none.
      confidence: share of the bootstrap draws (over held-out examples) that suggest this kind;
        None where nothing was drawn.
      why: in a sentence.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(200, 2))
      >>> sq.measures.data_report((x, x[:, 0]), "c4").suggestion.kind  # a vector's component
      'soft'
    """

    kind: str
    level: float | None
    levels: tuple[float, float] | None
    confidence: float | None
    why: str


def from_labels(loss: LabelLoss, rng: np.random.Generator) -> Suggestion:
    """The lowest level whose held-out loss is the least but for two standard errors."""

    def chosen(rows: np.ndarray) -> int:
        losses = loss.losses[:, rows]
        gaps = losses - losses[np.argmin(losses.mean(1))]
        return int(np.argmax(gaps.mean(1) <= 2 * gaps.std(1) / np.sqrt(len(rows))))

    share, error = loss.share
    model, saving = ("strict", "may be broken") if share > 0 else ("free", "is kept")
    why = (
        f"the labels decide: of the held-out loss of a {model} predictor {abs(share):.0%} "
        f"(+- {error:.1%}) goes away where the symmetry {saving}"
    )
    if loss.losses.mean(1).min() > 0.98 * loss.trivial.mean():
        why = "no predictor did better than a constant, so the labels say nothing"
        return Suggestion("undecided", None, None, None, why)
    return _drawn(chosen, loss.levels, loss.losses.shape[1], why, rng, freely=True)


def from_examples(
    test: PairTest,
    rejected: bool,
    control: bool,
    energies: np.ndarray | None,
    found: Bands | None,
    rng: np.random.Generator,
) -> Suggestion:
    """From the examples alone: whether they show the asymmetry, and how fast it varies.

    Args:
      test: that of the whole group.
      rejected: whether it is rejected.
      control: whether the control was.
      energies: ``[m, b]``, of what tells held-out examples from moved ones, along their orbits.
      found: the bands of the group, None where there are none.
      rng: of the bootstrap.
    """
    if not rejected:
        bound = min(1.0, test.accuracy + 1.645 * test.error)
        if not control:
            why = "even the control, a wrong group, was not told apart: give more examples"
            return Suggestion("undecided", None, None, None, why)
        why = (
            f"moved examples were not told from others; 95 % sure that at most {bound:.0%} of "
            f"pairs show it to this classifier (the half by chance)"
        )
        return Suggestion("strict", 0.0, None, None, why)
    why = f"{test.accuracy:.0%} of held-out pairs show which one was moved"
    if energies is None or found is None:
        return Suggestion("soft", None, None, None, why + "; levels of this group are not known")

    def chosen(rows: np.ndarray) -> int:
        moving = energies[rows, 1:].sum(0)
        held = np.cumsum(moving) / max(float(moving.sum()), 1e-300)
        return 1 + int(np.argmax(held >= _HELD))

    freely = test.accuracy - 1.645 * test.error > _PLAIN
    why += ". Whether the labels are symmetric, examples alone cannot say: give labels"
    return _drawn(chosen, found.levels, len(energies), why, rng, freely)


def _drawn(
    chosen: Callable[[np.ndarray], int],
    levels: np.ndarray,
    n: int,
    why: str,
    rng: np.random.Generator,
    freely: bool,
) -> Suggestion:
    """The choice from all rows, with what bootstrap draws of them choose."""

    def kind(band: int) -> str:
        if band == 0:
            return "strict"
        return "free" if freely and band == len(levels) - 1 else "soft"

    band = chosen(np.arange(n))
    draws = np.array([chosen(rng.integers(0, n, n)) for _ in range(_DRAWS)])
    agreeing = float(np.mean([kind(b) == kind(band) for b in draws]))
    low, high = np.quantile(draws, (0.05, 0.95), method="nearest").astype(int)
    between = float(levels[low]), float(levels[high])
    return Suggestion(kind(band), float(levels[band]), between, agreeing, why)
