"""What a correlation of features says: per layer, over depth, as numbers and as a table."""

import dataclasses

import numpy as np

from softeq_jax.measures._layouts import Layout
from softeq_jax.measures.finite._statistics import Estimate


@dataclasses.dataclass(frozen=True)
class LayerCorrelation:
    """One layer of a ``FeatureCorrelation``; G transforms, n images.

    Every estimate has ``value``, ``standard_error`` (over images), ``per_image`` ``[n]`` and
    ``interval(key)`` (bootstrap over images). What is undefined (all channels dead, too few
    positions, the equivariance of a vector on which nothing acts) has weight 0 in it; its
    value is NaN where nothing is left.

    Attributes:
      name: of the feature.
      layout: its layout.
      shape: of one example.
      crop: entries left out at the (top, bottom, left, right) edge.
      samples: int ``[G]``, positions (without positions: channels) that enter a correlation.
      exact: bool ``[G]``, whether g' permutes the entries.
      equivariance: ``corr(F(g x), g' F(x))``, mean over live channels.
      equivariance_control: ``corr(F(g x), g' F(x'))``, x' another image.
      ceiling: ``corr(g'^-1 g' F(x), F(x))``; 1 where g' is exact.
      invariance: ``corr(F(g x), F(x))``.
      invariance_control: ``corr(F(g x), F(x'))``.
      error: ``E ||F(g x) - g' F(x)|| / E ||g' F(x)||`` over the positions; it sees the gain.
      dead_fraction: float64 ``[G, n]``, the share of channels that are (nearly) constant; NaN
        where there are too few positions to tell.
      units: float64 ``[G, units]`` correlation of each unit over the data set, NaN for dead
        units; None unless asked for.
      units_control: likewise with another image.
      note: why it is undefined for some or all transforms, or "".
    """

    name: str
    layout: Layout
    shape: tuple[int, ...]
    crop: tuple[int, int, int, int]
    samples: np.ndarray
    exact: np.ndarray
    equivariance: Estimate
    equivariance_control: Estimate
    ceiling: Estimate
    invariance: Estimate
    invariance_control: Estimate
    error: Estimate
    dead_fraction: np.ndarray
    units: np.ndarray | None = None
    units_control: np.ndarray | None = None
    note: str = ""


STATISTICS = (
    "equivariance",
    "equivariance_control",
    "ceiling",
    "invariance",
    "invariance_control",
    "error",
)


@dataclasses.dataclass(frozen=True, repr=False)
class FeatureCorrelation:
    """The result of ``feature_correlation``.

    Attributes:
      layers: in the order of depth.
      transforms: their names.
      n: number of images.
    """

    layers: tuple[LayerCorrelation, ...]
    transforms: tuple[str, ...]
    n: int

    def __getitem__(self, name: str) -> LayerCorrelation:
        """The layer of this name."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"no layer {name!r}, only {[layer.name for layer in self.layers]}")

    def curve(self, statistic: str) -> tuple[np.ndarray, np.ndarray]:
        """A statistic over depth: values and standard errors, float64 ``[layers]``.

        Args:
          statistic: "equivariance", "equivariance_control", "ceiling", "invariance",
            "invariance_control" or "error".

        Raises:
          ValueError: another name.
        """
        if statistic not in STATISTICS:
            raise ValueError(f"no statistic {statistic!r}, choose from {list(STATISTICS)}")
        found = [getattr(layer, statistic) for layer in self.layers]
        return (
            np.array([estimate.value for estimate in found]),
            np.array([estimate.standard_error for estimate in found]),
        )

    def rows(self) -> list[dict]:
        """One dictionary of plain numbers per layer, for a file or a data frame."""
        rows = []
        for depth, layer in enumerate(self.layers):
            row = {
                "depth": depth,
                "layer": layer.name,
                "shape": layer.shape,
                "crop": layer.crop,
                "samples": int(layer.samples.min()),
                "exact": bool(layer.exact.all()),
                "dead_fraction": _mean(layer.dead_fraction),
            }
            for statistic in STATISTICS:
                estimate = getattr(layer, statistic)
                row[statistic] = estimate.value
                row[f"{statistic}_se"] = estimate.standard_error
            for name in ("units", "units_control"):
                row[name] = _mean(getattr(layer, name))
            rows.append({**row, "note": layer.note})
        return rows

    def table(self) -> str:
        """A table of the layers; "-" where a statistic is undefined."""
        width = max(len("layer"), *(len(layer.name) for layer in self.layers))
        head = (
            f"{'layer':<{width}} {'shape':>14} {'equivariance':>15} {'control':>8} {'ceiling':>8}"
            f" {'invariance':>15} {'control':>8} {'error':>8} {'dead':>6}"
        )
        lines = [head]
        for row in self.rows():
            shape = "x".join(str(size) for size in row["shape"])
            lines.append(
                f"{row['layer']:<{width}} {shape:>14} {_number(row, 'equivariance', True):>15}"
                f" {_number(row, 'equivariance_control'):>8} {_number(row, 'ceiling'):>8}"
                f" {_number(row, 'invariance', True):>15} {_number(row, 'invariance_control'):>8}"
                f" {_number(row, 'error'):>8} {_percent(row['dead_fraction']):>6}"
                + (f"  {row['note']}" if row["note"] else "")
            )
        lines.append(f"{self.n} images, {len(self.transforms)} transforms; +- standard error")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.table()


def _mean(values: np.ndarray | None) -> float:
    """Mean of what is no NaN; NaN where nothing is left."""
    if values is None or not np.isfinite(values).any():
        return float("nan")
    return float(np.nanmean(values))


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1%}"


def _number(row: dict, key: str, with_error: bool = False) -> str:
    if np.isnan(row[key]):
        return "-"
    return f"{row[key]:.3f}" + (f" +- {row[f'{key}_se']:.3f}" if with_error else "")
