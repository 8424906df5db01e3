"""The result of ``report``: everything about one function as a table, CSV files and figures."""

import csv
import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from softeq_jax.measures import figures
from softeq_jax.measures._lie_errors import LieErrors
from softeq_jax.measures._rotation import mean_and_error
from softeq_jax.measures.attribution import Attribution
from softeq_jax.measures.features import FeatureCorrelation
from softeq_jax.measures.finite import Estimate

TOP = 12
"""Layers in the table for a terminal; ``layers.csv`` has all."""


@dataclasses.dataclass(frozen=True, repr=False)
class Report:
    """What was measured; ``print`` it, or ``save`` it.

    Attributes:
      images: number of images.
      setting: stencil, head and layouts, as text.
      lie: norms of the Lie derivative by generator.
      attribution: signed shares of the layers, or None.
      features: correlation of features over depth, or None.
      finite: measures under finite transforms.
      angles: radians, of ``polar``.
      polar: error against the angle of rotation; None where the input is no square image.
      polar_floor: what interpolation alone does; None for outputs that are no class scores.
    """

    images: int
    setting: str
    lie: Mapping[str, LieErrors]
    attribution: Attribution | None
    features: FeatureCorrelation | None
    finite: tuple[Estimate, ...]
    angles: tuple[float, ...]
    polar: Estimate | None
    polar_floor: Estimate | None

    def table(self) -> str:
        """Everything as text for a terminal."""
        parts = [f"{self.images} images; {self.setting}", self._lie_table()]
        if self.finite:
            parts.append("\n".join(estimate.table() for estimate in self.finite))
        if self.polar is not None:
            parts.append(self._polar_table())
        if self.attribution is not None:
            parts.append(self.attribution.table(top=TOP))
        if self.features is not None:
            parts.append(self.features.table())
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        return self.table()

    def rows(self) -> list[dict[str, Any]]:
        """The numbers without a depth, one per row: measure, along, value, standard_error."""
        rows = []
        for name, errors in self.lie.items():
            for metric in ("mean_sq", "mean_abs", "relative", "lipschitz", "fisher"):
                value, error = mean_and_error(getattr(errors, metric))
                if not math.isnan(value):
                    rows.append(_row(f"lie derivative, {metric}", name, value, error))
        for estimate in self.finite:
            row = _row(estimate.name, "mean", estimate.value, estimate.standard_error)
            rows.append(row)
        for estimate in (self.polar, self.polar_floor):
            if estimate is not None:
                pairs = zip(estimate.transforms, estimate.per_transform, strict=True)
                errors = [mean_and_error(values)[1] for values in estimate.numerators]
                plain = np.all(estimate.denominators == 1)
                rows += [
                    _row(estimate.name, name, float(value), error if plain else math.nan)
                    for (name, value), error in zip(pairs, errors, strict=True)
                ]
        return rows

    def figures(self) -> dict[str, Any]:
        """matplotlib figures by name: lie, and where measured attribution, features, polar."""
        found = {"lie": figures.lie_bars({"f": self.lie})}
        if self.attribution is not None:
            found["attribution"] = figures.cumulative_attribution({"": self.attribution})
        if self.features is not None:
            names = ", ".join(self.features.transforms)
            found["features"] = figures.correlation_curve({names: self.features})
        if self.polar is not None:
            floors = None if self.polar_floor is None else {"f": self.polar_floor}
            found["polar"] = figures.polar_error(self.angles, {"f": self.polar}, floors)
        return found

    def save(self, folder: str | pathlib.Path) -> list[pathlib.Path]:
        """Writes report.txt, report.csv, layers.csv, features.csv and the figures as PNG.

        Args:
          folder: made if it is missing; files of these names are replaced.

        Returns:
          The paths that were written.
        """
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        written = [folder / "report.txt"]
        written[0].write_text(self.table() + "\n", encoding="utf-8")
        tables = {"report": self.rows()}
        if self.attribution is not None:
            tables["layers"] = self.attribution.rows()
        if self.features is not None:
            tables["features"] = self.features.rows()
        for name, rows in tables.items():
            path = folder / f"{name}.csv"
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            written.append(path)
        for name, figure in self.figures().items():
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=150)
            written.append(path)
        return written

    def _lie_table(self) -> str:
        width = max(len("generator"), *(len(name) for name in self.lie))
        lines = [
            f"{'generator':<{width}} {'LEE mean_sq':>22} {'mean_abs':>11} {'relative':>9} "
            f"{'lipschitz':>10}"
        ]
        for name, errors in self.lie.items():
            value, error = mean_and_error(errors.mean_sq)
            lines.append(
                f"{name:<{width}} {value:>11.4g} +- {error:<7.2g} {errors.mean_abs.mean():>11.4g} "
                f"{errors.relative.mean():>9.3f} {errors.lipschitz.mean():>10.4g}"
            )
        return "\n".join(lines)

    def _polar_table(self) -> str:
        name, values = self.polar.name, self.polar.per_transform
        floors = None if self.polar_floor is None else self.polar_floor.per_transform
        lines = [f"{name} by angle in degrees" + ("" if floors is None else " (interpolation)")]
        for i, angle in enumerate(self.angles):
            floor = "" if floors is None else f"   ({floors[i]:.4g})"
            lines.append(f"{math.degrees(angle):>7.0f} {values[i]:>12.4g}{floor}")
        return "\n".join(lines)


def _row(measure: str, along: str, value: float, error: float) -> dict[str, Any]:
    return {"measure": measure, "along": along, "value": value, "standard_error": error}
