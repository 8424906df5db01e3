"""The report: everything that is measured of one function, as a table, CSV files and figures."""

import csv
import dataclasses
import functools
import logging
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Unpack

import jax
import numpy as np

from softeq_jax._atomic import replacing
from softeq_jax._checks import radians
from softeq_jax._text import TextTable, html_table, paragraph, plural, table, wrapped
from softeq_jax.measures import figures
from softeq_jax.measures._lie import default_generators, lie_errors, lie_setting
from softeq_jax.measures._lie_norms import LieErrors
from softeq_jax.measures._statistics import Estimate, given, mean_and_error
from softeq_jax.measures.attribution import Attribution, layerwise
from softeq_jax.measures.base._functions import Array, Function, as_key, check_inputs, with_head
from softeq_jax.measures.base._layouts import Frame, Image, Invariant, Layout, Tokens
from softeq_jax.measures.base._options import Options, Setting, resolved
from softeq_jax.measures.features import FeatureCorrelation, feature_correlation
from softeq_jax.measures.features._taps import Features, feature_layouts, feature_shapes
from softeq_jax.measures.finite import (
    Transform,
    azulay_weiss,
    consistency,
    kl_consistency,
    null_normalized_error,
    quarter_turn,
    relative_error,
    rotation,
    shift,
)

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

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32")
      >>> f = lambda x: x.mean((1, 2))
      >>> found = sq.measures.report(f, x, ["translation_x"], attribution=False, angles=[0.0])
      >>> found.images, list(found.lie)
      (8, ['translation_x'])
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
        """The numbers as text for a terminal."""
        parts = [wrapped(f"{plural(self.images, 'image')}; {self.setting}"), self._lie_table()]
        if self.finite:
            parts.append("\n".join(estimate.table() for estimate in self.finite))
        if self.polar is not None:
            parts.append(self._polar_table(self.polar))
        if self.attribution is not None:
            parts.append(self.attribution.table(top=TOP))
        if self.features is not None:
            parts.append(self.features.table())
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        finite = [
            (e.name, given(e.value, ".5g"), given(e.standard_error, ".2g")) for e in self.finite
        ]
        parts = [
            paragraph(f"{plural(self.images, 'image')}; {self.setting}"),
            self._lie_table()._repr_html_(),
            html_table(("measure", "value", "+-"), finite) if finite else "",
            self._polar_table(self.polar)._repr_html_() if self.polar is not None else "",
        ]
        found = (part._repr_html_() for part in (self.attribution, self.features) if part)
        return "".join([*parts, *found])

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
        """Files of the report: report.txt, report.csv, layers.csv, features.csv and figures as PNG.

        Args:
          folder: made if it is missing; files of these names are replaced.

        Returns:
          The paths that were written.
        """
        folder = pathlib.Path(folder)
        written = [folder / "report.txt"]
        with replacing(written[0]) as partial:
            partial.write_text(self.table() + "\n", encoding="utf-8")
        tables = {"report": self.rows()}
        if self.attribution is not None:
            tables["layers"] = self.attribution.rows()
        if self.features is not None:
            tables["features"] = self.features.rows()
        for name, rows in tables.items():
            path = folder / f"{name}.csv"
            with (
                replacing(path) as partial,
                partial.open("w", newline="", encoding="utf-8") as file,
            ):
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            written.append(path)
        for name, figure in self.figures().items():
            path = folder / f"{name}.png"
            with replacing(path) as partial:
                figure.savefig(partial, format="png", dpi=150)
            written.append(path)
        return written

    def _lie_table(self) -> TextTable:
        head = ("generator", "LEE mean_sq", "+-", "mean_abs", "relative", "lipschitz")
        rows = []
        for name, errors in self.lie.items():
            value, error = mean_and_error(errors.mean_sq)
            scale_free = f"{errors.relative.mean():.3f}", f"{errors.lipschitz.mean():.4g}"
            means = f"{value:.4g}", f"{error:.2g}", f"{errors.mean_abs.mean():.4g}"
            rows.append((name, *means, *scale_free))
        return table(head, rows, right="-rrrrr")

    def _polar_table(self, polar: Estimate) -> TextTable:
        columns = [[f"{math.degrees(angle):.0f}" for angle in self.angles]]
        for estimate in (polar, self.polar_floor):
            if estimate is not None:
                columns.append([f"{value:.4g}" for value in estimate.per_transform])
        head = ("degrees", polar.name, "interpolation")[: len(columns)]
        return table(head, zip(*columns, strict=True), right="r" * len(head))


def _row(measure: str, along: str, value: float, error: float) -> dict[str, Any]:
    return {"measure": measure, "along": along, "value": value, "standard_error": error}


ANGLES = tuple(math.radians(angle) for angle in range(-165, 181, 15))
"""Every 15 degrees."""

_log = logging.getLogger(__name__)


def report(
    f: Function,
    images: Array,
    generators: Sequence[Any] | None = None,
    *,
    attribution: bool = True,
    by: str | Callable[[str], str] = "modules",
    features: Features | None = None,
    layouts: Mapping[str, Any] | None = None,
    feature_transforms: Sequence[Transform] | None = None,
    angles: Sequence[float] = ANGLES,
    key: jax.Array | int | None = None,
    progress: bool = False,
    **options: Unpack[Options],
) -> Report:
    """A report of a function: every measure that its input and output allow.

    * the Lie derivative along the generators, and the shares of its layers;
    * for class scores of images: consistency under shifts (circular and cropped), one-pixel
      shifts on a canvas, and KL divergence against the angle of rotation; for other outputs the
      relative and the null-normalized error under circular shifts and quarter turns (half turns of
      rectangles), and the relative error against the angle (rotations of square images only; what
      does not act on the output, such as a quarter turn on a grid off the center, is left out, and
      logged);
    * with ``features``, their correlation with their transforms over depth.

    Args:
      f: images ``[n, ...]`` to outputs ``[n, ...]``, in evaluation mode.
      images: floating point, in random order (controls compare neighbors); at least two.
      generators: see ``lie_errors``; None: all that act on the input.
      attribution: whether to attribute the derivative to layers; needs a function that JAX
        traces to operations on known layouts.
      by: the layers, see ``attribution.CutOptions``.
      features: images to ``{name: array}``, see ``linen_features``; None: left out.
      layouts: of the features, see ``features.FeatureOptions``.
      feature_transforms: None: circular shifts by the coarsest pitch of the features along
        either axis.
      angles: radians, at most 2 pi in size, of the polar curve.
      key: a JAX key for random shifts, or a seed; None: seed 0.
      progress: shows a bar over the stages (tqdm, on standard error), if tqdm is installed.
      **options: all but jit, see ``Options``. Unless said otherwise the head is "probabilities",
        and 64 images are computed at a time; for class scores f must return logits.

    Returns:
      A ``Report``.

    Raises:
      TypeError, ValueError: see ``lie_errors``, ``layerwise`` and ``feature_correlation``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> images = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32")
      >>> f = lambda x: x.mean((1, 2))  # knows no place
      >>> found = sq.measures.report(f, images, ["translation_x"], attribution=False, angles=[0.0])
      >>> found.finite[0]
      consistency (circular)   1 +- 0   (8 images, 4 transforms)
    """
    setting = resolved(options, "report", without=("jit",), head="probabilities", batch_size=64)
    images, key = check_inputs(images), as_key(key)
    angles = tuple(float(radians(angle, "each of angles")) for angle in angles)
    source = setting.input
    sizes: Options = {"input": source, "batch_size": setting.batch_size}
    shared: Options = {**sizes, "output": setting.output, "head": setting.head}
    derivative: Options = {**shared, "stencil": setting.stencil}
    if generators is None:
        generators = default_generators(source, images.shape)
    chosen, placed = lie_setting(generators, setting, images.shape)
    frame = placed.frame
    stages = ["Lie derivative", *["layers"] * attribution]
    if isinstance(source, Image) and frame is not None:
        stages += ["shifts", *["rotations"] * (frame[0] == frame[1])]
    stages += ["features"] * (features is not None)
    study = _Study(f, images, setting, shared, sizes, frame or (1, 1))
    lie, shares, correlation, finite, polar, floor = {}, None, None, (), None, None
    for stage in _shown(stages, progress):
        _log.info("measuring: %s", stage)
        if stage == "Lie derivative":
            lie = lie_errors(f, images, chosen, **derivative)
        elif stage == "layers":
            shares = layerwise(f, images, chosen, by=by, **derivative)
        elif stage == "shifts":
            finite = study.finite(key)
        elif stage == "rotations":
            polar, floor = study.polar([rotation(angle) for angle in angles])
        elif features is not None:
            moves = feature_transforms or _feature_moves(features, images, layouts, study.frame)
            correlation = feature_correlation(features, images, moves, layouts=layouts, **sizes)
    head = setting.head if isinstance(setting.head, str) else "own"
    what = f"stencil {setting.stencil.name}, head {head}"
    return Report(len(images), what, lie, shares, correlation, finite, angles, polar, floor)


@dataclasses.dataclass(frozen=True)
class _Study:
    """What finite measures are taken of.

    Attributes:
      f: the function.
      images: its inputs.
      setting: how they are measured.
      shared: options of measures of its outputs.
      sizes: those of classifiers, which compare scores.
      frame: rows and columns of the images.
    """

    f: Function
    images: Array
    setting: Setting
    shared: Options
    sizes: Options
    frame: Frame

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        """Of the outputs."""
        y = jax.eval_shape(with_head(self.f, self.setting.head), self.images)
        return tuple(getattr(y, "shape", ()))

    @property
    def classes(self) -> bool:
        """Whether the outputs are class scores."""
        if not isinstance(self.setting.output, Invariant):
            return False
        named = isinstance(self.setting.head, str)
        return named and len(self.shape) == 2 and self.shape[1] > 1

    def places(self) -> list[tuple[tuple[int, ...], Layout]]:
        """Shapes and layouts of the images and of the outputs."""
        return [(self.images.shape, self.setting.input), (self.shape, self.setting.output)]

    def polar(self, turns: Sequence[Transform]) -> tuple[Estimate | None, Estimate | None]:
        """The error at every angle, and what interpolation alone does of class scores."""
        if self.classes:
            found = kl_consistency(self.f, self.images, turns, **self.sizes)
            return found.kl, found.floor
        reason = _refusal(turns, self.places()[1:], self.frame)
        if reason:
            _log.info("rotations are left out: %s", reason)
            return None, None
        return relative_error(self.f, self.images, turns, **self.shared), None

    def finite(self, key: jax.Array) -> tuple[Estimate, ...]:
        """Errors under shifts and turns, or how often the top class changes under shifts."""
        reach = max(1, min(self.frame) // 8)
        if self.classes:
            first, second = jax.random.split(key)
            same = consistency(self.f, self.images, max_shift=reach, key=first, **self.sizes)
            one = azulay_weiss(self.f, self.images, key=second, **self.sizes)
            found = (same.circular, same.crop, one.changes, one.mac)
            return tuple(estimate for estimate in found if estimate is not None)
        places = self.places()
        square = self.frame[0] == self.frame[1]
        turns = {"quarter turns": (1, 2, 3)} if square else {"half turns": (2,)}
        families: dict[str, Sequence[Transform]] = {
            "circular shifts": _shifts(places, self.frame, reach),
            **{name: [quarter_turn(k) for k in each] for name, each in turns.items()},
        }
        found = []
        for name, moves in families.items():
            reason = _refusal(moves, places, self.frame)
            if reason:
                _log.info("%s are left out: %s", name, reason)
                continue
            for measure in (relative_error, null_normalized_error):
                estimate = measure(self.f, self.images, moves, **self.shared)
                found.append(dataclasses.replace(estimate, name=f"{estimate.name}, {name}"))
        return tuple(found)


def _shifts(
    places: Sequence[tuple[tuple[int, ...], Layout]], frame: Frame, reach: int
) -> list[Transform]:
    """Shifts along either axis by about ``reach`` pixels: by whole entries of every grid if there
    are such shifts, else by Lanczos interpolation."""
    steps = [1, 1]
    for shape, layout in places:
        if isinstance(layout, Image | Tokens):
            pitch = layout.placement(shape, frame).pitch
            if any(p != round(p) for p in pitch):
                moves = ((reach, 0), (0, reach))
                return [shift(dy, dx, "circular", "lanczos") for dy, dx in moves]
            steps = [math.lcm(step, round(p)) for step, p in zip(steps, pitch, strict=True)]
    rows, cols = (step * max(1, round(reach / step)) for step in steps)
    return [shift(rows, 0), shift(0, cols)]


def _refusal(
    moves: Sequence[Transform],
    places: Sequence[tuple[tuple[int, ...], Layout]],
    frame: Frame,
) -> str:
    """Why one of the transforms does not act on one of the arrays; empty if all do."""
    for move in moves:
        for shape, layout in places:
            try:
                move.check(shape, layout, frame)
            except ValueError as error:
                return str(error)
    return ""


def _feature_moves(
    features: Features, images: Array, layouts: Mapping[str, Any] | None, frame: Frame
) -> list[Transform]:
    """Shifts along either axis by whole entries of all features, if there are such shifts."""
    shapes = feature_shapes(features, images)
    declared = feature_layouts(shapes, layouts)
    return _shifts([(shapes[name], layout) for name, layout in declared.items()], frame, 1)


def _shown(stages: list[str], progress: bool) -> Iterator[str]:
    if not progress:
        yield from stages
        return
    try:
        from tqdm import tqdm
    except ImportError:
        _log.warning("progress was asked for, but tqdm is not installed")
        yield from stages
        return
    with tqdm(total=len(stages), unit="stage") as bar:
        for stage in stages:
            bar.set_description(stage)
            yield stage
            bar.update()
