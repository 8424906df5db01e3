"""One call that measures a function in every way that its input and output allow."""

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from softeq_jax.measures._functions import Array, Function, as_key, check_inputs, with_head
from softeq_jax.measures._layouts import Image, Invariant, Layout, Tokens, as_layout
from softeq_jax.measures._lie import default_generators, frame_of, make_setting
from softeq_jax.measures._lie_errors import lie_errors
from softeq_jax.measures._report import Report
from softeq_jax.measures._stencils import Stencil
from softeq_jax.measures.attribution import layerwise
from softeq_jax.measures.features import feature_correlation
from softeq_jax.measures.features._taps import feature_layouts, feature_shapes
from softeq_jax.measures.finite import (
    Estimate,
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

ANGLES = tuple(math.radians(angle) for angle in range(-165, 181, 15))
"""Every 15 degrees."""

_log = logging.getLogger(__name__)


def report(
    f: Function,
    images: Array,
    generators: Sequence[Any] | None = None,
    *,
    stencil: str | Stencil = "central",
    input: str | Layout | Any = "image",
    output: str | Layout | Any = None,
    head: str | Function = "probabilities",
    attribution: bool = True,
    by: str | Callable[[str], str] = "modules",
    features: Callable[[Array], Mapping[str, Array]] | None = None,
    layouts: Mapping[str, Any] | None = None,
    feature_transforms: Sequence[Transform] | None = None,
    angles: Sequence[float] = ANGLES,
    key: jax.Array | int | None = None,
    batch_size: int | None = 64,
    progress: bool = False,
) -> Report:
    """Measures a function in every way that its input and output allow.

    * the Lie derivative along the generators, and the shares of its layers;
    * for class scores of images: consistency under shifts (circular and cropped), one-pixel
      shifts on a canvas, and KL divergence against the angle of rotation; for other outputs the
      relative and the null-normalized error under circular shifts and quarter turns, and the
      relative error against the angle (rotations and turns of square images only; what does not
      act on the output, such as a quarter turn on a grid off the center, is left out, and logged);
    * with ``features``, their correlation with their transforms over depth.

    Args:
      f: images ``[n, ...]`` to outputs ``[n, ...]``, in evaluation mode.
      images: floating point, in random order (controls compare neighbors); at least two.
      generators: see ``lie_errors``; None: all that act on the input.
      stencil: see ``lie_derivative``.
      input: see ``lie_derivative``.
      output: see ``lie_derivative``.
      head: see ``lie_derivative``; for class scores f must return logits.
      attribution: whether to attribute the derivative to layers; needs a function that JAX
        traces to operations on known layouts.
      by: the layers, see ``layerwise``.
      features: images to ``{name: array}``, see ``linen_features``; None: left out.
      layouts: of the features, see ``feature_correlation``.
      feature_transforms: None: circular shifts by the coarsest pitch of the features along
        either axis.
      angles: radians, of the polar curve.
      key: a JAX key for random shifts, or a seed; None: seed 0.
      batch_size: images at a time.
      progress: shows a bar over the stages (tqdm, on standard error), if tqdm is installed.

    Returns:
      A ``Report``.

    Raises:
      TypeError: see ``lie_errors``, ``layerwise`` and ``feature_correlation``.
      ValueError: likewise.
    """
    images = check_inputs(images)
    key = as_key(key)
    source, target = as_layout(input, "input"), as_layout(output, "output")
    if generators is None:
        generators = default_generators(source, images.shape)
    setting = make_setting(generators, source, target, stencil, head)
    frame = frame_of(source, images.shape)
    planar = isinstance(source, Image)
    square = planar and frame[0] == frame[1]
    shared = {"input": source, "output": target, "batch_size": batch_size}
    classes = _gives_classes(f, images, target, head)
    stages = ["Lie derivative"]
    stages += ["layers"] * attribution + ["shifts"] * planar + ["rotations"] * square
    stages += ["features"] * (features is not None)
    lie, shares, correlation, finite, polar, floor = None, None, None, (), None, None
    for stage in _shown(stages, progress):
        _log.info("measuring: %s", stage)
        if stage == "Lie derivative":
            lie = lie_errors(f, images, setting.generators, stencil=stencil, head=head, **shared)
        elif stage == "layers":
            shares = layerwise(
                f, images, setting.generators, stencil=stencil, head=head, by=by, **shared
            )
        elif stage == "shifts":
            finite = _finite(f, images, frame, classes, head, key, shared)
        elif stage == "rotations":
            turns = [rotation(float(angle)) for angle in angles]
            if classes:
                found = kl_consistency(f, images, turns, input=source, batch_size=batch_size)
                polar, floor = found.kl, found.floor
            else:
                polar = _polar(f, images, turns, frame, head, shared)
        else:
            moves = feature_transforms or _feature_moves(features, images, layouts, frame)
            correlation = feature_correlation(
                features, images, moves, layouts=layouts, input=source, batch_size=batch_size
            )
    what = f"stencil {setting.stencil.name}, head {head if isinstance(head, str) else 'own'}"
    return Report(len(images), what, lie, shares, correlation, finite, tuple(angles), polar, floor)


def _polar(
    f: Function,
    images: Array,
    turns: list[Transform],
    frame: tuple[int, int],
    head: Any,
    shared: Mapping[str, Any],
) -> Estimate | None:
    shape = jax.eval_shape(with_head(f, head), images).shape
    reason = _refusal(turns, [(shape, shared["output"])], frame)
    if reason:
        _log.info("rotations are left out: %s", reason)
        return None
    return relative_error(f, images, turns, head=head, **shared)


def _gives_classes(f: Function, images: Array, target: Layout, head: Any) -> bool:
    if not isinstance(target, Invariant) or not isinstance(head, str):
        return False
    y = jax.eval_shape(with_head(f, head), images[:1])
    return len(getattr(y, "shape", ())) == 2 and y.shape[1] > 1


def _finite(
    f: Function,
    images: Array,
    frame: tuple[int, int],
    classes: bool,
    head: Any,
    key: jax.Array,
    shared: Mapping[str, Any],
) -> tuple[Estimate, ...]:
    reach = max(1, min(frame) // 8)
    some = {"input": shared["input"], "batch_size": shared["batch_size"]}
    if classes:
        first, second = jax.random.split(key)
        same = consistency(f, images, max_shift=reach, key=first, **some)
        one = azulay_weiss(f, images, key=second, **some)
        return same.circular, same.crop, one.changes, one.mac
    shape = jax.eval_shape(with_head(f, head), images).shape
    places = [(images.shape, shared["input"]), (shape, shared["output"])]
    families = {
        "circular shifts": _shifts(places, frame, reach),
        "quarter turns": [quarter_turn(k) for k in (1, 2, 3)],
    }
    found = []
    for name, moves in families.items():
        reason = _refusal(moves, places, frame)
        if reason:
            _log.info("%s are left out: %s", name, reason)
            continue
        for measure in (relative_error, null_normalized_error):
            estimate = measure(f, images, moves, head=head, **shared)
            found.append(dataclasses.replace(estimate, name=f"{estimate.name}, {name}"))
    return tuple(found)


def _shifts(
    places: Sequence[tuple[tuple[int, ...], Layout]], frame: tuple[int, int], reach: int
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
    frame: tuple[int, int],
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
    features: Callable, images: Array, layouts: Mapping[str, Any] | None, frame: tuple[int, int]
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
