"""A network under finite rotations of its images."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from softeq_jax._text import TextTable, table
from softeq_jax.cli._progress import shown

if TYPE_CHECKING:
    from softeq_jax.cli._subject import Subject
    from softeq_jax.measures import Estimate
    from softeq_jax.measures.finite import Comparison

KL, AGREEMENT, ACCURACY, SIMILARITY = "KL [nats]", "agreement", "accuracy", "similarity"


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
      similarity: cosine of the pooled features of x and R x ``[a, n]``; None without features.
    """

    angles: tuple[float, ...]
    error: "Estimate"
    floor: "Estimate | None" = None
    upright: np.ndarray | None = None
    top: np.ndarray | None = None
    similarity: np.ndarray | None = None

    def curves(self, labels: np.ndarray | None) -> dict[str, np.ndarray]:
        """What is a mean over images, by name, ``[a, n]`` each.

        Args:
          labels: the true classes ``[n]``, for the accuracy.
        """
        found = {}
        if self.top is not None:
            found[KL] = self.error.numerators
            found[AGREEMENT] = self.top == self.upright
            if labels is not None:
                found[ACCURACY] = self.top == labels
        if self.similarity is not None:
            found[SIMILARITY] = self.similarity
        return {name: np.asarray(values, np.float64) for name, values in found.items()}

    def columns(self, labels: np.ndarray | None) -> dict[str, np.ndarray]:
        """A number for each angle, by name: the means, errors and floors."""
        from softeq_jax.measures import mean_and_error

        curves = self.curves(labels)
        means = {name: values.mean(1) for name, values in curves.items()}
        if self.floor is None:
            return {"relative error": self.error.per_transform, **means}
        errors = np.array([mean_and_error(values)[1] for values in curves[KL]])
        kl = {KL: means.pop(KL), "standard error": errors}
        return {**kl, "floor [nats]": self.floor.per_transform, **means}

    def head(self, labels: np.ndarray | None) -> list[str]:
        """The columns of ``rows``."""
        return ["degrees", *self.columns(labels)]

    def rows(self, labels: np.ndarray | None) -> list[list[float]]:
        """One row for each angle."""
        columns = self.columns(labels).values()
        return [[a, *map(float, row)] for a, *row in zip(self.angles, *columns, strict=True)]

    def cells(self, labels: np.ndarray | None) -> list[list[str]]:
        """The rows as text."""
        return [[f"{value:.4g}" for value in row] for row in self.rows(labels)]

    def table(self, labels: np.ndarray | None) -> TextTable:
        """The rows in columns."""
        head = self.head(labels)
        return table(head, self.cells(labels), right="r" * len(head))

    def title(self, labels: np.ndarray | None) -> str:
        """What the table shows."""
        if labels is None or self.upright is None:
            return "finite rotations"
        return f"finite rotations (accuracy upright: {np.mean(self.upright == labels):.4g})"


def measured(
    subject: "Subject", pixels: np.ndarray, angles: Sequence[float], batch_size: int
) -> Rotations:
    """Runs a network on the images and on their rotations: once, and a few times for each angle.

    Args:
      subject: the network.
      pixels: ``[n, side, side, c]``.
      angles: degrees.
      batch_size: images at a time.

    Raises:
      ValueError: outputs that are not finite, or angles that are not.
    """
    from softeq_jax import measures

    turns = [measures.rotation(math.radians(angle)) for angle in angles]
    pieces: list[dict[str, np.ndarray]] = []
    for piece, real in shown(list(measures.batches(pixels, batch_size)), "batch"):
        if subject.classes:
            found = measures.kl_consistency(subject.f, piece, turns)
            assert found.top is not None
            assert found.upright is not None
            values = {"kl": found.kl.numerators, "floor": found.floor.numerators}
            values |= {"top": found.top, "upright": found.upright[None]}
        else:
            error = measures.relative_error(subject.f, piece, turns, output=subject.output)
            values = {"numerators": error.numerators, "denominators": error.denominators}
        if subject.features is not None:
            values["similarity"] = _similarity(subject.features, piece, turns)
        pieces.append({name: value[:, :real] for name, value in values.items()})
    joined = {name: np.concatenate([p[name] for p in pieces], axis=1) for name in pieces[0]}
    names = tuple(turn.name for turn in turns)
    similarity = joined.get("similarity")
    if not subject.classes:
        ratio = joined["numerators"], joined["denominators"]
        error = measures.Estimate("relative error", *ratio, names)
        return Rotations(tuple(angles), error, similarity=similarity)
    ones = np.ones_like(joined["kl"])
    return Rotations(
        tuple(angles),
        measures.Estimate("KL(f(x) || f(Rx)) [nats]", joined["kl"], ones, names),
        measures.Estimate("interpolation floor [nats]", joined["floor"], ones, names),
        joined["upright"][0],
        joined["top"],
        similarity,
    )


def _similarity(features: Any, piece: Any, turns: Sequence[Any]) -> np.ndarray:
    from softeq_jax import measures
    from softeq_jax.measures.finite import per_image

    (found,) = measures.evaluate(features, piece, turns, [per_image(_cosine)], output="invariant")
    return found["cosine"]


def _cosine(pair: "Comparison") -> dict[str, Any]:
    """Of ``f(x)`` and ``f(R x)``; 0 where either is zero."""
    import jax.numpy as jnp

    a, b = (jnp.asarray(y, jnp.float32) for y in (pair.upright, pair.moved))
    norms = jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1)
    return {"cosine": jnp.where(norms > 0, (a * b).sum(-1) / jnp.where(norms > 0, norms, 1), 0)}
