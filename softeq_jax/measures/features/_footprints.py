r"""Footprints: the pixels that an entry of a feature map depends on, by differentiation.

Row i of a map behind convolutions reads the input rows ``[s i + first, s i + last]``, cut off at
the edge of the image, and so for columns. A pull-back of random cotangents on that row is
nonzero on exactly these rows, up to units that happen to be inactive, so a union over random
images, all channels and all columns finds the ends. From the ends of a few rows follow

    pitch s,   origin = (first + last) / 2 - (h - 1) / 2,   radius = (last - first) / 2,

and how many entries at each edge reach beyond the image (measures.md D.7, E.3, E.5). It is a
statement about structure: magnitudes do not matter.
"""

import dataclasses
import math
from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._text import brief
from softeq_jax.measures.base._functions import split_callable
from softeq_jax.measures.base._layouts import Image
from softeq_jax.measures.features._taps import Features, feature_shapes

Edges = tuple[int, int, int, int]
_END_ROWS = 8  # rows probed at either end of an axis


@dataclasses.dataclass(frozen=True)
class Footprint:
    """How a feature map reads its input.

    Attributes:
      layout: the map's ``Image`` with measured origin and pitch; None where an entry depends on
        the whole image along an axis, or the windows do not follow a line (adaptive pooling).
      radius: (y, x) half the size of the window of an entry, in pixels of the input; None where
        the layout is.
      border: entries at the (top, bottom, left, right) edge whose window reaches beyond the
        image, so that padding influences them; None where the layout is.
      reason: why there is none, else "".

    Example:
      >>> import softeq_jax as sq
      >>> centered = lambda x: {"centered": x - x.mean((1, 2), keepdims=True)}
      >>> found = sq.measures.footprints(centered, (8, 8, 1))["centered"]
      >>> found.layout, found.reason
      (None, 'along the rows, entries depend on the whole image')
    """

    layout: Image | None
    radius: tuple[float, float] | None
    border: Edges | None
    reason: str = ""

    __repr__ = brief


def footprints(
    features: Features,
    image_shape: tuple[int, int, int],
    *,
    names: Collection[str] | None = None,
    axes: tuple[int, int] = (1, 2),
    draws: int = 3,
    seed: int = 0,
    dtype: jnp.dtype = jnp.float32,
) -> dict[str, Footprint]:
    """Footprints of feature maps: how each with rows and columns reads the input, measured.

    Costs, per draw and feature, one backward pass of a batch of at most 32 random images.

    Args:
      features: images ``[n, h, w, c]`` to ``{name: array}``; examples must not influence each
        other (frozen batch normalization, no dropout).
      image_shape: (h, w, c) of the images.
      names: the features to measure, of rank 4 or (``[n, h, w]``) 3; None: all of rank 4.
      axes: the row and column axis of the features. Features of other ranks are not in the result.
      draws: random draws whose footprints are united; more of them for narrow networks, whose
        units are inactive together more often.
      seed: of the draws.
      dtype: of the images.

    Returns:
      Name to footprint, in the order of depth. What is measured is what these weights do: a
      branch behind a zero weight is not there, and a gradient that underflows is taken for none.
      Maps behind attention, squeeze-and-excitation or instance normalization see the whole
      image: their layout has to be declared.

    Raises:
      ValueError: draws below 1, an image shape of other than three sizes, an unknown name, or
        NaN gradients.

    Example:
      >>> import softeq_jax as sq
      >>> def three_rows(x):
      ...     return {"sum": x[:, 0:-2] + x[:, 1:-1] + x[:, 2:]}
      >>> found = sq.measures.footprints(three_rows, (8, 8, 1))["sum"]
      >>> found.radius, found.border
      ((1.0, 0.0), (0, 0, 0, 0))
    """
    if draws < 1 or len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"needs draws >= 1 and image_shape (h, w, c), got {draws}, {image_shape}")
    probe = np.zeros((1, *image_shape), dtype)
    shapes = feature_shapes(features, probe)
    unknown = [name for name in names or () if name not in shapes]
    if unknown:
        raise ValueError(f"there are no features {unknown}, only {list(shapes)}")
    maps = {
        name: shape
        for name, shape in shapes.items()
        if (len(shape) == 4 if names is None else name in names and len(shape) in (3, 4))
    }
    grids = {name: (shape[axes[0]], shape[axes[1]]) for name, shape in maps.items()}
    chosen = {name: (_probed(rows), _probed(cols)) for name, (rows, cols) in grids.items()}
    batch = max((len(r) + len(c) for r, c in chosen.values()), default=0)

    arrays, skeleton = split_callable(features)

    @jax.jit
    def pull(arrays: list, images: jax.Array, cotangents: dict[str, jax.Array]) -> jax.Array:
        def only(x: jax.Array) -> dict[str, jax.Array]:
            outputs = skeleton(arrays)(x)
            return {name: outputs[name] for name in maps}

        (gradient,) = jax.vjp(only, images)[1](cotangents)
        return gradient

    reads = {name: np.zeros((batch, *image_shape[:2]), bool) for name in maps}
    dtypes = jax.eval_shape(features, jax.ShapeDtypeStruct(probe.shape, probe.dtype))
    blank = {
        name: np.zeros((batch, *shape[1:]), dtypes[name].dtype) for name, shape in maps.items()
    }
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        images = jnp.asarray(rng.normal(size=(batch, *image_shape)), dtype)
        for name in maps:
            tangent = _cotangent(rng, blank[name], chosen[name], axes)
            gradient = np.asarray(pull(arrays, images, {**blank, name: tangent}), np.float64)
            if np.isnan(gradient).any():
                raise ValueError(f"the gradient of feature {name!r} is NaN at random images")
            reads[name] |= (gradient != 0).any(axis=-1)
    return {name: _footprint(reads[name], chosen[name], grids[name], axes) for name in maps}


def infer_layouts(
    features: Features,
    image_shape: tuple[int, int, int],
    *,
    axes: tuple[int, int] = (1, 2),
    draws: int = 3,
    seed: int = 0,
) -> dict[str, Image]:
    """Layouts of feature maps as measured, for the argument ``layouts`` of the measures.

    Args:
      features: see ``footprints``.
      image_shape: see ``footprints``.
      axes: see ``footprints``.
      draws: see ``footprints``.
      seed: see ``footprints``.

    Raises:
      ValueError: see ``footprints``; or a map whose geometry cannot be measured: use
        ``footprints``, and declare the layouts of those that see the whole image.

    Example:
      >>> import softeq_jax as sq
      >>> found = sq.measures.infer_layouts(lambda x: {"half": x[:, ::2, ::2]}, (8, 8, 1))["half"]
      >>> found.pitch, found.origin  # from the center
      ((2.0, 2.0), (-3.5, -3.5))
    """
    found = footprints(features, image_shape, axes=axes, draws=draws, seed=seed)
    layouts = {name: one.layout for name, one in found.items() if one.layout is not None}
    failed = {name: one.reason for name, one in found.items() if name not in layouts}
    if failed:
        raise ValueError(
            f"the geometry of some features cannot be measured: {failed}. Take the others from "
            f"footprints(...) and declare the layouts of these"
        )
    return layouts


def _probed(size: int) -> np.ndarray:
    """Indices that are probed along an axis: all of a short one, both ends of a long one."""
    if size <= 2 * _END_ROWS:
        return np.arange(size)
    return np.concatenate([np.arange(_END_ROWS), np.arange(size - _END_ROWS, size)])


def _cotangent(
    rng: np.random.Generator,
    blank: np.ndarray,
    chosen: tuple[np.ndarray, np.ndarray],
    axes: tuple[int, int],
) -> np.ndarray:
    """Example k of the batch carries random numbers on row k of the probed ones; then columns."""
    tangent = blank.copy()
    example = 0
    for axis, indices in zip(axes, chosen, strict=True):
        for index in indices:
            view = np.moveaxis(tangent[example], axis % blank.ndim - 1, 0)
            view[index] = rng.normal(size=view.shape[1:])
            example += 1
    return tangent


def _footprint(
    reads: np.ndarray,
    chosen: tuple[np.ndarray, np.ndarray],
    grid: tuple[int, int],
    axes: tuple[int, int],
) -> Footprint:
    rows = len(chosen[0])
    y = _line(np.asarray(reads[:rows].any(axis=2)), chosen[0])
    x = _line(np.asarray(reads[rows : rows + len(chosen[1])].any(axis=1)), chosen[1])
    if isinstance(y, str):
        return Footprint(None, None, None, f"along the rows, {y}")
    if isinstance(x, str):
        return Footprint(None, None, None, f"along the columns, {x}")
    h, w = reads.shape[1:]
    origin = ((y[1] + y[2]) / 2 - (h - 1) / 2, (x[1] + x[2]) / 2 - (w - 1) / 2)
    radius = ((y[2] - y[1]) / 2, (x[2] - x[1]) / 2)
    border = (*_outside(y, grid[0], h), *_outside(x, grid[1], w))
    return Footprint(Image(axes=axes, pitch=(y[0], x[0]), origin=origin), radius, border)


def _line(used: np.ndarray, index: np.ndarray) -> tuple[float, float, float] | str:
    """Pitch and the ends of the window of entry 0, from the pixels that entries read; or why not.

    Args:
      used: bool ``[k, n]``: which of n pixels entry ``index[k]`` reads.
      index: the probed entries.
    """
    n = used.shape[1]
    if not used.any(axis=1).all():
        return "some entries depend on no pixel"
    first = used.argmax(axis=1)
    last = n - 1 - used[:, ::-1].argmax(axis=1)
    # A window that touches the outermost pixel that is read may be cut off there, and so may
    # those beyond it; one that touches both outermost pixels wraps around or covers everything.
    low, high = first == first.min(), last == last.max()
    part = ~(low & high)
    order = np.arange(len(index))
    starts = part & (order > np.flatnonzero(low & part).max(initial=-1))
    ends = part & (order < np.flatnonzero(high & part).min(initial=len(index)))
    if not starts.any() or not ends.any():
        return "entries depend on the whole image"
    if starts.sum() < 2 and ends.sum() < 2:
        return "too few entries end inside the image to tell their pitch"
    sides = ((index[starts], first[starts]), (index[ends], last[ends]))
    for period in range(1, _END_ROWS + 1):
        pitch = _pitch(period, sides)
        if pitch is not None:
            first_end, last_end = (_offset(i, edge, pitch, period) for i, edge in sides)
            return pitch, first_end, last_end
    return "the windows of the entries do not advance evenly"


def _pitch(period: int, sides: tuple) -> float | None:
    """Pixels per entry if both ends of the windows advance evenly over periods, else None.

    The period is 1 behind convolutions and pooling, and r behind an upsampling by r.
    """
    slopes = []
    for index, edge in sides:
        same = (index - index[:1]) % period == 0
        if same.sum() > 1 and (period == 1 or len(index) >= 2 * period):
            i, e = index[same], edge[same]
            slopes.append(((i[-1] - i[0]), (e[-1] - e[0]) / (i[-1] - i[0])))
    if not slopes or max(slopes)[1] <= 0:
        return None
    pitch = float(max(slopes)[1])
    for index, edge in sides:
        rest = edge - pitch * index
        for phase in range(period):
            part = rest[index % period == phase]
            if part.size and np.ptp(part) > 1e-6:
                return None
    return pitch


def _offset(index: np.ndarray, edge: np.ndarray, pitch: float, period: int) -> float:
    """Where the window of entry 0 ends: the mean over the phases of a period."""
    rest = edge - pitch * index
    phases = [rest[index % period == phase] for phase in range(period)]
    return float(np.mean([part.mean() for part in phases if part.size]))


def _outside(line: tuple, size: int, n: int) -> tuple[int, int]:
    """Entries at either edge whose window reaches beyond ``[0, n - 1]``."""
    pitch, first, last = line
    position = pitch * np.arange(size)
    before = int((position + first < -1e-9).sum())
    after = int((position + last > n - 1 + 1e-9).sum())
    return min(before, size), min(after, size)


def border_of(found: Footprint, grid: tuple[int, int]) -> Edges:
    """Entries to leave out at each edge; the whole map where an entry sees the whole image."""
    if found.border is not None:
        return found.border
    rows, cols = (math.ceil(n / 2) for n in grid)
    return rows, rows, cols, cols
