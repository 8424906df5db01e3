"""Figures of the measures; needs matplotlib (the extra ``figures``).

Every function returns a ``matplotlib.figure.Figure`` that belongs to nobody else: no pyplot, no
state, so it can be saved, shown in a notebook or thrown away.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softeq_jax._checks import radians
from softeq_jax.measures._lie_norms import METRICS, LieErrors
from softeq_jax.measures.attribution import Attribution
from softeq_jax.measures.features import FeatureCorrelation
from softeq_jax.measures.finite import Estimate
from softeq_jax.measures.finite._robustness import mean_and_error

COLORS = ("#1b6ca8", "#c1553b", "#3f8f4f", "#8a5aa8", "#b8860b", "#4c9a9a", "#7f7f7f", "#d17ba0")
GRID = {"color": "#dddddd", "linewidth": 0.6}
GRAY = "#777777"


def lie_bars(errors: Mapping[str, Mapping[str, LieErrors]], metric: str = "mean_sq") -> Any:
    """Local equivariance error by generator, a panel per unit, a bar per network.

    Args:
      errors: network name to the result of ``lie_errors``, all with the same generators.
      metric: see ``local_equivariance_error``.

    Returns:
      A figure with standard errors over images.

    Raises:
      ValueError: no network, an unknown metric, or networks with different generators.
      ImportError: matplotlib is not installed.
    """
    if metric not in METRICS:
        raise ValueError(f"no metric is called {metric!r}, choose from {list(METRICS)}")
    if len({tuple(found) for found in errors.values()}) != 1:
        raise ValueError("all networks must be measured along the same generators")
    panels = by_unit(list(next(iter(errors.values()))))
    figure = _figure(max(5.0, 0.9 * sum(len(names) + 1 for names in panels.values())), 3.8)
    axes = figure.subplots(
        1, len(panels), squeeze=False, width_ratios=[1 + len(names) for names in panels.values()]
    )[0]
    width = 0.8 / len(errors)
    for axis, (unit, names) in zip(axes, panels.items(), strict=True):
        for i, (network, found) in enumerate(errors.items()):
            pairs = [mean_and_error(getattr(found[name], metric)) for name in names]
            axis.bar(
                np.arange(len(names)) + (i - (len(errors) - 1) / 2) * width,
                [value for value, _ in pairs],
                width,
                yerr=[error for _, error in pairs],
                color=COLORS[i % len(COLORS)],
                label=network,
                error_kw={"linewidth": 0.8},
            )
        means = [getattr(found[name], metric).mean() for found in errors.values() for name in names]
        if min(means) > 0 and max(means) > 10 * min(means):
            axis.set_yscale("log")
        labels = [_readable(name) for name in names]
        axis.set_xticks(range(len(names)), labels, rotation=35, ha="right")
        axis.set_title(unit, fontsize=9)
    axes[0].set_ylabel(f"local equivariance error\n({_readable(metric)})")
    if len(errors) > 1:
        axes[0].legend(frameon=False)
    figure.suptitle(_smallest(errors, metric), fontsize=10)
    return _finish(figure)


UNITS = {
    "per pixel": ("translation_x", "translation_y"),
    "per radian": ("rotation", "hyperbolic_rotation", "hue"),
    "per unit of the logarithm or slope": (
        *("scale", "shear_x", "shear_y", "stretch_x", "stretch_y", "contrast", "saturation"),
    ),
    "per unit of brightness": ("brightness",),
}
"""Units to the generators that have them; errors of one unit can be compared."""


def by_unit(generators: Sequence[str]) -> dict[str, list[str]]:
    """Generators by their unit, those of a user by "per unit of its own"."""
    found: dict[str, list[str]] = {}
    unit_of = {name: unit for unit, names in UNITS.items() for name in names}
    for unit in (*UNITS, own := "per unit of its own"):
        names = [name for name in generators if unit_of.get(name, own) == unit]
        if names:
            found[unit] = names
    return found


def _smallest(errors: Mapping[str, Mapping[str, LieErrors]], metric: str) -> str:
    """What the bars say: along what one network errs most, or which of several errs least."""

    def mean(network: str, name: str) -> float:
        return float(getattr(errors[network][name], metric).mean())

    first, *others = errors
    generators = list(errors[first])
    if not others:
        worst = [max(names, key=lambda n: mean(first, n)) for names in by_unit(generators).values()]
        return f"largest along {', '.join(map(_readable, worst))}, each in its unit"
    least = [min(errors, key=lambda network: mean(network, name)) for name in generators]
    best = max(errors, key=least.count)
    return f"{best} has the smallest error along {least.count(best)} of {len(least)} generators"


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
        step = -(-len(layers) // 24)
        axis.set_xticks(range(0, len(layers), step), layers[::step], rotation=90, fontsize=7)
        axis.set_ylabel("share of the error\nup to a layer")
        half = {
            g: layers[int(np.argmax(curves[g] >= 0.5))] if np.isfinite(curves[g]).all() else "-"
            for g in generators or curves
        }
        said = "; ".join(f"{_readable(g)} {layer}" for g, layer in half.items())
        text = f"{name and name + ': '}half of the error has arisen by: {said}"
        axis.set_title("\n".join(textwrap.wrap(text, 100)), fontsize=9)
        axis.legend(frameon=False, fontsize=8, ncols=3)
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
        axis.set_xticks(depth, [layer.name for layer in found.layers], rotation=90, fontsize=7)
        axis.set_title("\n".join(textwrap.wrap(f"{name}: {_deepest(found)}", 48)), fontsize=9)
    panels[0].set_ylabel("correlation")
    panels[0].legend(frameon=False, fontsize=8)
    return _finish(figure)


def _deepest(found: FeatureCorrelation) -> str:
    """The last layer that has a correlation, with its control."""
    (values, _), (controls, _) = map(found.curve, ("equivariance", "equivariance_control"))
    known = np.flatnonzero(np.isfinite(values))
    if not known.size:
        return "no layer has positions"
    last = int(known[-1])
    layer = found.layers[last].name
    return f"{layer} correlates {values[last]:.2f}, with other images {controls[last]:.2f}"


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
    figure = _figure(5.0, 4.8)
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
    name, estimate = next(iter(curves.items()))
    worst = int(np.nanargmax(estimate.per_transform))
    value, degrees = estimate.per_transform[worst], np.degrees(at[worst])
    axis.set_title(f"{estimate.name}: {value:.3g} at the worst angle, {degrees:.0f}°", fontsize=9)
    if len(curves) > 1 or floors:
        figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=2)
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
