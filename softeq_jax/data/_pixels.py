"""Pixels of an example's image and mask: their checks, and how they are moved and resized."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from softeq_jax.data._examples import Example

Fill = float | tuple[float, ...]
Matrix = tuple[tuple[float, float], tuple[float, float]]

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def image_of(example: Example) -> np.ndarray:
    """The example's image, checked to be `[h, w, c]`, uint8 or float32.

    Raises:
      ValueError: there is none, it is still encoded, or it has another shape or dtype.
    """
    if "image" not in example:
        raise ValueError(f"the example has no 'image'; it has {sorted(example)}")
    image = example["image"]
    if isinstance(image, bytes):
        raise ValueError(f"image is {len(image)} encoded bytes; decode it first, see Decode")
    image = np.asarray(image)
    if image.ndim != 3 or image.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"image must be [h, w, c], uint8 or float32; got shape {image.shape}, {image.dtype}"
        )
    return image


def mask_of(example: Example, size: tuple[int, int]) -> np.ndarray | None:
    """The example's mask, checked to be `[h, w]` integers of the image's size; None without one.

    Raises:
      ValueError: it has another shape or dtype.
    """
    if "mask" not in example:
        return None
    mask = np.asarray(example["mask"])
    if mask.shape != size or not np.issubdtype(mask.dtype, np.integer):
        raise ValueError(
            f"mask must be integers of the image's size {size}; got shape {mask.shape}, "
            f"{mask.dtype}"
        )
    return mask


def replaced(example: Example, image: np.ndarray, mask: np.ndarray | None) -> Example:
    """A new example with this image and, unless it is None, this mask."""
    new = {**example, "image": image}
    if mask is not None:
        new["mask"] = mask
    return new


def blank(shape: tuple[int, ...], dtype: np.dtype, fill: Fill) -> np.ndarray:
    """An array filled with one number, or one number per channel (last axis).

    Raises:
      ValueError: the fill does not fit the dtype or the number of channels.
    """
    check_fill(shape, dtype, fill)
    return np.full(shape, fill, dtype)


def check_fill(shape: tuple[int, ...], dtype: np.dtype, fill: Fill) -> None:
    """Refuses a fill that does not fit the dtype or the number of channels (last axis)."""
    of_channels = isinstance(fill, tuple | list)
    values = fill if of_channels else (fill,)
    if of_channels and (len(values),) != shape[-1:]:
        raise ValueError(f"fill must be a number or one per channel of {shape}, got {fill}")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not all(limits.min <= value <= limits.max and value % 1 == 0 for value in values):
            raise ValueError(f"fill must be whole numbers that {dtype} holds, got {fill}")


def check_fills(fill: Fill, mask_fill: int) -> None:
    """Refuses fills that no image or no mask can hold."""
    if not np.all(np.isfinite(fill)):
        raise ValueError(f"fill must be finite, got {fill}")
    if not isinstance(mask_fill, int | np.integer):
        raise ValueError(f"mask_fill must be an integer, got {mask_fill!r}")


def check_size(field: str, size: int | tuple[int, int]) -> None:
    """Refuses what is neither a positive integer nor a pair of them."""
    sides = size if isinstance(size, tuple) and len(size) == 2 else (size,)
    if not all(isinstance(s, int | np.integer) and s >= 1 for s in sides):
        raise ValueError(f"{field} must be a positive integer or (height, width), got {size!r}")


def check_resample(resample: str) -> None:
    """Refuses what names no filter."""
    if resample not in RESAMPLING:
        raise ValueError(f"resample must be one of {', '.join(RESAMPLING)}; got {resample!r}")


def check_range(field: str, pair: Sequence[float], low: float, high: float = np.inf) -> None:
    """Refuses what is not `low < pair[0] <= pair[1] <= high`."""
    if not (len(pair) == 2 and low < pair[0] <= pair[1] <= high and pair[1] < np.inf):
        raise ValueError(f"{field} must be (smallest, largest) in ({low}, {high}], got {pair}")


def shift(array: np.ndarray, down: int, right: int, fill: Fill) -> np.ndarray:
    """The array moved by whole pixels, `fill` coming in; same shape and dtype.

    Args:
      array: `[h, w]` or `[h, w, c]`.
      down: rows by which the content moves down; may be negative.
      right: columns by which it moves to the right; may be negative.
      fill: one number, or one per channel.
    """
    height, width = array.shape[:2]
    moved = blank(array.shape, array.dtype, fill)
    if abs(down) < height and abs(right) < width:
        moved[max(down, 0) : height + down, max(right, 0) : width + right] = array[
            max(-down, 0) : height - down, max(-right, 0) : width - right
        ]
    return moved


def warp(array: np.ndarray, matrix: Matrix, fill: Fill, *, nearest: bool = False) -> np.ndarray:
    """A linear map of the pixel grid about its center.

    With `r` the position (row, column) relative to the center `((h - 1) / 2, (w - 1) / 2)`, the
    output at `r` is the input at `matrix @ r`: interpolated linearly between the four pixels
    around it, or the pixel nearest to it. Outside of the grid the input is `fill`.

    Args:
      array: `[h, w]` or `[h, w, c]`.
      matrix: from positions in the output to positions in the input.
      fill: one number, or one per channel.
      nearest: take the nearest pixel.

    Returns:
      Array of the same shape and dtype; integers are rounded.
    """
    check_fill(array.shape[2:], array.dtype, fill)
    height, width = array.shape[:2]
    rows = np.arange(height, dtype=np.float32) - (height - 1) / 2
    cols = np.arange(width, dtype=np.float32) - (width - 1) / 2
    (a, b), (c, d) = matrix
    row = ((a * rows)[:, None] + b * cols + (height - 1) / 2).ravel()
    col = ((c * rows)[:, None] + d * cols + (width - 1) / 2).ravel()
    np.clip(row, -1, height, out=row)
    np.clip(col, -1, width, out=col)
    # Channels first, each with a frame of `fill` around it.
    channels = array[..., None] if array.ndim == 2 else array
    framed = np.empty(
        (channels.shape[2], height + 2, width + 2), array.dtype if nearest else np.float32
    )
    framed[:] = np.reshape(fill, (-1, 1, 1))
    framed[:, 1:-1, 1:-1] = np.moveaxis(channels, -1, 0)
    planes = framed.reshape(len(framed), -1)
    if nearest:
        at = (np.rint(row).astype(np.intp) + 1) * (width + 2) + np.rint(col).astype(np.intp) + 1
        values = planes.take(at, axis=1)
    else:
        top, left = np.floor(row), np.floor(col)
        np.minimum(top, height - 1, out=top)
        np.minimum(left, width - 1, out=left)
        row -= top
        col -= left
        at = (top.astype(np.intp) + 1) * (width + 2) + left.astype(np.intp) + 1
        upper = _between(planes.take(at, axis=1), planes.take(at + 1, axis=1), col)
        at += width + 2
        lower = _between(planes.take(at, axis=1), planes.take(at + 1, axis=1), col)
        values = _between(upper, lower, row)
        if array.dtype.kind in "iu":
            np.rint(values, out=values)
    out = np.empty_like(channels, order="C")
    for k, plane in enumerate(values):
        out[..., k] = plane.reshape(height, width)
    return out.reshape(array.shape)


def _between(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`first + weight * (second - first)`, written into `second`."""
    second -= first
    second *= weight
    second += first
    return second


def resized(
    array: np.ndarray,
    size: tuple[int, int],
    resample: str,
    box: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """An array resampled to another size, with a filter as wide as the scale asks for (PIL's).

    Args:
      array: `[h, w]` or `[h, w, c]`; any dtype for "nearest", else uint8 or float32.
      size: height and width to come.
      resample: "nearest", "bilinear" or "bicubic".
      box: (left, upper, right, lower), the part of the input to use; all of it if None.

    Returns:
      Array of the same dtype.
    """
    if resample == "nearest":
        left, upper, right, lower = box or (0, 0, array.shape[1], array.shape[0])
        rows = upper + (np.arange(size[0]) + 0.5) * ((lower - upper) / size[0])
        cols = left + (np.arange(size[1]) + 0.5) * ((right - left) / size[1])
        return array[rows.astype(np.intp)[:, None], cols.astype(np.intp)]
    across = (size[1], size[0])
    if array.dtype == np.uint8 and (array.ndim == 2 or array.shape[2] == 3):
        picture = Image.fromarray(array)
        return np.array(picture.resize(across, RESAMPLING[resample], box=box))
    if array.ndim == 2:
        picture = Image.fromarray(np.ascontiguousarray(array))
        return np.array(picture.resize(across, RESAMPLING[resample], box=box))
    channels = [resized(array[..., k], size, resample, box) for k in range(array.shape[2])]
    return np.stack(channels, axis=-1)


def random_box(
    size: tuple[int, int],
    area: tuple[float, float],
    aspect: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[int, int, int, int] | None:
    """A rectangle within an image, of random area, aspect and place.

    Args:
      size: height and width of the image.
      area: limits of the share of the image's area; uniform.
      aspect: limits of height over width; uniform in the logarithm.
      rng: of all draws.

    Returns:
      (top, left, height, width), the first of ten draws that fits; None if none does.
    """
    for _ in range(10):
        pixels = rng.uniform(*area) * size[0] * size[1]
        ratio = np.exp(rng.uniform(np.log(aspect[0]), np.log(aspect[1])))
        height, width = round(np.sqrt(pixels * ratio)), round(np.sqrt(pixels / ratio))
        if 1 <= height <= size[0] and 1 <= width <= size[1]:
            top = int(rng.integers(size[0] - height + 1))
            left = int(rng.integers(size[1] - width + 1))
            return top, left, height, width
    return None
