"""A network under finite rotations of its images."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from softeq_jax._text import table
from softeq_jax.cli._progress import shown

if TYPE_CHECKING:
    from softeq_jax.measures import Estimate


@dataclasses.dataclass(frozen=True)
class Rotations:
    """Outcomes by angle and image.

    Attributes:
      angles: degrees, counter-clockwise.
      error: ``KL(f(x) || f(R x))`` in nats for class scores, else the relative error
        ``||f(R x) - R f(x)|| / ||R f(x)||``.
      floor: what interpolation alone does, forth and back; None if f gives no class scores.
      upright: the top class of each image ``[n]``; None if f gives no class scores.
      top: the same at each angle ``[a, n]``.
    """

    angles: tuple[float, ...]
    error: "Estimate"
    floor: "Estimate | None" = None
    upright: np.ndarray | None = None
    top: np.ndarray | None = None

    def head(self, labels: np.ndarray | None) -> list[str]:
        """The columns of ``rows``."""
        if self.top is None:
            return ["degrees", "relative error"]
        columns = ["degrees", "KL [nats]", "standard error", "floor [nats]", "agreement"]
        return columns if labels is None else [*columns, "accuracy"]

    def rows(self, labels: np.ndarray | None) -> list[list[float]]:
        """One row for each angle.

        Args:
          labels: the true classes ``[n]``, for the accuracy.
        """
        if self.top is None or self.floor is None:
            return [list(row) for row in zip(self.angles, self.error.per_transform, strict=True)]
        from softeq_jax.measures import mean_and_error

        rows = []
        for i, angle in enumerate(self.angles):
            mean, error = mean_and_error(self.error.numerators[i])
            agreement = float(np.mean(self.top[i] == self.upright))
            row = [angle, mean, error, float(self.floor.per_transform[i]), agreement]
            rows.append(row if labels is None else [*row, float(np.mean(self.top[i] == labels))])
        return rows

    def table(self, labels: np.ndarray | None) -> str:
        """The rows as text, and the accuracy of upright images if there are labels."""
        lines = [[f"{value:.4g}" for value in row] for row in self.rows(labels)]
        text = table(self.head(labels), lines, right="r" * len(self.head(labels)))
        if labels is None or self.upright is None:
            return f"finite rotations\n{text}"
        upright = float(np.mean(self.upright == labels))
        return f"finite rotations (accuracy upright: {upright:.4g})\n{text}"


def measured(
    f: Any,
    pixels: np.ndarray,
    angles: Sequence[float],
    output: str,
    classes: bool,
    batch_size: int,
) -> Rotations:
    """Runs f on the images and on their rotations: once, and once or twice for each angle.

    Args:
      f: images to outputs.
      pixels: ``[n, side, side, c]``.
      angles: degrees.
      output: layout of the outputs.
      classes: whether they are logits.
      batch_size: images at a time.

    Raises:
      ValueError: outputs that are not finite, or angles that are not.
    """
    from softeq_jax import measures

    turns = [measures.rotation(math.radians(angle)) for angle in angles]
    pieces: list[dict[str, np.ndarray]] = []
    for piece, real in shown(list(measures.batches(pixels, batch_size)), "batch"):
        if classes:
            found = measures.kl_consistency(f, piece, turns)
            assert found.top is not None
            assert found.upright is not None
            values = {"kl": found.kl.numerators, "floor": found.floor.numerators}
            values |= {"top": found.top, "upright": found.upright[None]}
        else:
            error = measures.relative_error(f, piece, turns, output=output)
            values = {"numerators": error.numerators, "denominators": error.denominators}
        pieces.append({name: value[:, :real] for name, value in values.items()})
    joined = {name: np.concatenate([p[name] for p in pieces], axis=1) for name in pieces[0]}
    names = tuple(turn.name for turn in turns)
    if not classes:
        values = joined["numerators"], joined["denominators"]
        return Rotations(tuple(angles), measures.Estimate("relative error", *values, names))
    ones = np.ones_like(joined["kl"])
    return Rotations(
        tuple(angles),
        measures.Estimate("KL(f(x) || f(Rx)) [nats]", joined["kl"], ones, names),
        measures.Estimate("interpolation floor [nats]", joined["floor"], ones, names),
        joined["upright"][0],
        joined["top"],
    )
