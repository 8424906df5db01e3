"""Figures of the measures; needs matplotlib (the extra ``figures``).

Every function returns a ``matplotlib.figure.Figure`` that belongs to nobody else: no pyplot, no
state, so it can be saved, shown in a notebook or thrown away.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softeq_jax._checks import radians
from softeq_jax.measures._lie import METRICS, LieErrors
from softeq_jax.measures.attribution import Attribution
from softeq_jax.measures.features import FeatureCorrelation
from softeq_jax.measures.finite import Estimate
from softeq_jax.measures.finite._robustness import mean_and_error

COLORS = ("#1b6ca8", "#c1553b", "#3f8f4f", "#8a5aa8", "#b8860b", "#4c9a9a", "#7f7f7f", "#d17ba0")
GRID = {"color": "#dddddd", "linewidth": 0.6}
GRAY = "#777777"


def lie_bars(errors: Mapping[str, Mapping[str, LieErrors]], metric: str = "mean_sq") -> Any:
    """Local equivariance error by generator, one bar per network; bars are standard errors.

    Args:
      errors: network name to the result of ``lie_errors``, all with the same generators.
      metric: see ``local_equivariance_error``.

    Returns:
      A figure with a logarithmic axis.

    Raises:
      ValueError: no network, an unknown metric, or networks with different generators.
      ImportError: matplotlib is not installed.
    """
    if metric not in METRICS:
        raise ValueError(f"no metric is called {metric!r}, choose from {list(METRICS)}")
    if len({tuple(found) for found in errors.values()}) != 1:
        raise ValueError("all networks must be measured along the same generators")
    generators = list(next(iter(errors.values())))
    figure = _figure(max(5.0, 0.75 * len(generators) + 1.5), 3.6)
    axis = figure.subplots()
    width = 0.8 / len(errors)
    for i, (name, found) in enumerate(errors.items()):
        pairs = [mean_and_error(getattr(found[g], metric)) for g in generators]
        at = np.arange(len(generators)) + (i - (len(errors) - 1) / 2) * width
        axis.bar(
            at,
            [value for value, _ in pairs],
            width,
            yerr=[error for _, error in pairs],
            color=COLORS[i % len(COLORS)],
            label=name,
            error_kw={"linewidth": 0.8},
        )
    if any(getattr(found[g], metric).mean() > 0 for found in errors.values() for g in generators):
        axis.set_yscale("log")
    axis.set_xticks(np.arange(len(generators)), [_readable(g) for g in generators], rotation=40)
    for label in axis.get_xticklabels():
        label.set_horizontalalignment("right")
    axis.set_ylabel(f"local equivariance error ({_readable(metric)})")
    if len(errors) > 1:
        axis.legend(frameon=False)
    return _finish(figure)


def cumulative_attribution(
    attributions: Mapping[str, Attribution], generators: Sequence[str] | None = None
) -> Any:
    """Running sum of the signed shares over depth: what had been lost up to each layer.

    Args:
      attributions: network name to the result of ``layerwise``; one panel each.
      generators: which; None: all.

    Returns:
      A figure; every curve ends at 1.

    Raises:
      ValueError: no network.
      ImportError: matplotlib is not installed.
    """
    if not attributions:
        raise ValueError("there is no attribution to draw")
    figure = _figure(8.5, 3.3 * len(attributions))
    panels = figure.subplots(len(attributions), 1, squeeze=False)[:, 0]
    for axis, (name, attribution) in zip(panels, attributions.items(), strict=True):
        curves = attribution.cumulative()
        layers = list(attribution.layers)
        for i, generator in enumerate(generators or curves):
            axis.plot(
                curves[generator],
                color=COLORS[i % len(COLORS)],
                marker="o",
                markersize=3,
                linewidth=1.4,
                label=_readable(generator),
            )
        axis.axhline(1, color=GRAY, linewidth=0.8, linestyle=":")
        step = max(1, len(layers) // 36)
        axis.set_xticks(range(0, len(layers), step), layers[::step], rotation=90, fontsize=6)
        axis.set_ylabel("cumulative signed share")
        axis.set_title(name, fontsize=9)
        axis.legend(frameon=False, fontsize=7, ncols=3)
    return _finish(figure)


def correlation_curve(correlations: Mapping[str, FeatureCorrelation]) -> Any:
    """Equivariance and invariance of features over depth, with control and ceiling.

    Args:
      correlations: name (of a network, of a transform) to the result of
        ``feature_correlation``; one panel each.

    Returns:
      A figure; error bars are standard errors over images.

    Raises:
      ValueError: nothing to draw.
      ImportError: matplotlib is not installed.
    """
    if not correlations:
        raise ValueError("there is no correlation to draw")
    figure = _figure(4.3 * len(correlations) + 0.6, 3.8)
    panels = figure.subplots(1, len(correlations), squeeze=False, sharey=True)[0]
    styles = {
        "equivariance": {"color": COLORS[0], "marker": "o"},
        "equivariance_control": {"color": COLORS[0], "linestyle": ":"},
        "ceiling": {"color": GRAY, "linestyle": "--"},
        "invariance": {"color": COLORS[1], "marker": "s"},
        "invariance_control": {"color": COLORS[1], "linestyle": ":"},
    }
    for axis, (name, found) in zip(panels, correlations.items(), strict=True):
        depth = np.arange(len(found.layers))
        for statistic, style in styles.items():
            values, errors = found.curve(statistic)
            axis.errorbar(
                depth,
                values,
                yerr=np.nan_to_num(errors),
                label=_readable(statistic),
                linewidth=1.3,
                markersize=3.5,
                capsize=1.5,
                **style,
            )
        axis.axhline(0, color=GRAY, linewidth=0.8)
        axis.set_xticks(depth, [layer.name for layer in found.layers], rotation=90, fontsize=6)
        axis.set_title(name, fontsize=9)
    panels[0].set_ylabel("correlation")
    panels[0].legend(frameon=False, fontsize=7)
    return _finish(figure)


def polar_error(
    angles: Sequence[float],
    curves: Mapping[str, Estimate],
    floors: Mapping[str, Estimate] | None = None,
) -> Any:
    """Error against the angle of rotation, as a polar curve.

    Args:
      angles: radians, at most 2 pi in size, one for each transform of the estimates.
      curves: name to an estimate with one transform per angle.
      floors: what interpolation alone does, drawn dotted.

    Returns:
      A figure.

    Raises:
      ValueError: an estimate with another number of transforms, or an angle beyond 2 pi.
      ImportError: matplotlib is not installed.
    """
    at = np.array([float(radians(angle, "each of angles")) for angle in angles])
    figure = _figure(4.8, 4.4)
    axis = figure.add_subplot(projection="polar")
    order = np.argsort(at % (2 * np.pi))
    closed = np.append(order, order[:1])
    for group, style in ((curves, {"linewidth": 1.5}), (floors or {}, {"linestyle": ":"})):
        for i, (name, estimate) in enumerate(group.items()):
            values = estimate.per_transform
            if values.shape != at.shape:
                raise ValueError(f"{name} has {values.size} transforms for {at.size} angles")
            label = name if group is curves else f"{name}, interpolation alone"
            axis.plot(
                at[closed], values[closed], color=COLORS[i % len(COLORS)], label=label, **style
            )
    axis.set_title(next(iter(curves.values())).name, fontsize=9)
    axis.legend(frameon=False, fontsize=7, loc="lower left", bbox_to_anchor=(-0.2, -0.12))
    return figure


def _readable(name: str) -> str:
    return name.replace("_", " ")


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'softeq-jax[figures]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def _finish(figure: Any) -> Any:
    for axis in figure.axes:
        axis.grid(**GRID)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure
