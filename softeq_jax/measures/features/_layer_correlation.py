"""What correlation of features over depth comes out as: one entry for each layer."""

import dataclasses

import numpy as np

from softeq_jax._text import TextTable, brief, plural, table
from softeq_jax.measures._statistics import Estimate, given
from softeq_jax.measures.base._layouts import Layout


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
      units_control: the same with another image.
      note: why it is undefined for some or all transforms, or "".

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
      >>> (layer,) = sq.measures.feature_correlation(
      ...     lambda x: {"double": 2 * x}, x, sq.measures.flip(), layouts={"*": "image"}
      ... ).layers
      >>> layer.name, layer.shape, bool(layer.exact.all()), round(layer.error.value, 4)
      ('double', (8, 8, 3), True, 0.0)
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

    __repr__ = brief


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

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
      >>> found = sq.measures.feature_correlation(
      ...     lambda x: {"double": 2 * x}, x, sq.measures.flip(), layouts={"*": "image"}
      ... )
      >>> found.n, found.transforms, round(found.layers[0].equivariance.value, 4)
      (4, ('flip left-right',), 1.0)
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
        """The layers as text; "-" where a statistic is undefined."""
        transforms = plural(len(self.transforms), "transform")
        return f"{self._table()}\n{plural(self.n, 'image')}, {transforms}; +- standard error"

    def _table(self) -> TextTable:
        head = ["layer", "shape", "equivariance", "control", "ceiling"]
        head += ["invariance", "control", "error", "dead", ""]
        lines = [
            [
                row["layer"],
                "x".join(str(size) for size in row["shape"]),
                _number(row, "equivariance", with_error=True),
                *(_number(row, name) for name in ("equivariance_control", "ceiling")),
                _number(row, "invariance", with_error=True),
                *(_number(row, name) for name in ("invariance_control", "error")),
                _percent(row["dead_fraction"]),
                row["note"],
            ]
            for row in self.rows()
        ]
        return table(head, lines, right="-rrrrrrrr-")

    def __repr__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


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
    return f"{row[key]:.3f}" + (f" +- {given(row[f'{key}_se'], '.3f')}" if with_error else "")
