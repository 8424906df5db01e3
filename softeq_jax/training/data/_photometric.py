"""Changes of gray levels and colors, of uint8 images `[h, w, c]`.

`x` is a pixel's value in a channel, 0 ... 255. The results agree with PIL's ImageOps and
ImageEnhance to one level.
"""

import numpy as np


def autocontrast(image: np.ndarray) -> np.ndarray:
    """`255 (x - low) / (high - low)`, with the extremes of each channel; rounded down.

    Constant channels stay.
    """
    low = image.min(axis=0).min(axis=0).astype(np.int32)[:, None]
    high = image.max(axis=0).max(axis=0).astype(np.int32)[:, None]
    levels = np.arange(256)
    table = (levels - low) * 255 // np.maximum(high - low, 1)
    return _looked_up(np.where(high > low, table, levels), image)


def equalize(image: np.ndarray) -> np.ndarray:
    """Spreads the levels of each channel so that all are about equally frequent.

    A level becomes the number of pixels below it over `step`, rounded, where `step` is the number
    of pixels below the highest level in use, over 255, rounded down. Channels with a `step` of 0
    stay.
    """
    counts = np.stack([np.bincount(channel.ravel(), minlength=256) for channel in _planes(image)])
    below = np.cumsum(counts, axis=1) - counts
    highest = image.max(axis=0).max(axis=0)
    step = np.take_along_axis(below, highest.astype(np.intp)[:, None], axis=1) // 255
    table = (below + step // 2) // np.maximum(step, 1)
    return _looked_up(np.where(step > 0, table, np.arange(256)), image)


def _planes(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(image, -1, 0))


def _looked_up(table: np.ndarray, image: np.ndarray) -> np.ndarray:
    """`table[k, x]`, clipped to 0 ... 255, for the values `x` of channel `k`."""
    table = np.clip(table, 0, 255).astype(np.uint8)
    out = np.empty(image.shape, np.uint8)
    for k, row in enumerate(table):
        out[..., k] = row.take(image[..., k])
    return out


def posterize(image: np.ndarray, bits: int) -> np.ndarray:
    """Keeps the highest `bits` bits of each value, 0 <= bits <= 8."""
    return image & np.uint8((0xFF << (8 - bits)) & 0xFF)


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """`255 - x` where `x >= threshold`; 256 leaves all as it is."""
    return np.where(image < threshold, image, ~image)


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """`factor x`, clipped: 0 is black, 1 the image itself."""
    return _blend(np.float32(0), image, factor)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """`m + factor (x - m)`, clipped, with `m` the mean luma of the image, rounded."""
    middle = np.floor(luma(image).mean(dtype=np.float64) + 0.5)
    return _blend(np.float32(middle), image, factor)


def color(image: np.ndarray, factor: float) -> np.ndarray:
    """`luma + factor (x - luma)`, clipped: 0 is gray, 1 the image itself.

    Images of one channel stay.
    """
    if image.shape[2] == 1:
        return image
    return _blend(np.repeat(luma(image).astype(np.float32), 3, axis=-1), image, factor)


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """`s + factor (x - s)`, clipped, with `s` the smoothed image.

    Smoothing takes the mean over 3 x 3 pixels, the middle one weighted with 5; the outermost pixels
    stay. 0 is smoothed, 1 the image itself, more is sharpened.
    """
    if min(image.shape[:2]) < 3:
        return image
    wide = image.astype(np.uint16)
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * wide[1:-1, 1:-1]
    smooth = (total + np.uint16(6)) // np.uint16(13)
    out = image.copy()
    out[1:-1, 1:-1] = _blend(smooth.astype(np.float32), image[1:-1, 1:-1], factor)
    return out


def luma(image: np.ndarray) -> np.ndarray:
    """`0.299 red + 0.587 green + 0.114 blue`, rounded; `[h, w, 1]`, uint8.

    In fixed point with 16 bits, as usual for 8-bit images.

    Raises:
      ValueError: the image has neither 1 nor 3 channels.
    """
    if image.shape[2] == 1:
        return image
    if image.shape[2] != 3:
        raise ValueError(f"luma needs 1 or 3 channels, got shape {image.shape}")
    red, green, blue = np.moveaxis(image.astype(np.uint32), -1, 0)
    weighted = red * 19595 + green * 38470 + blue * 7471 + 0x8000
    return (weighted >> 16).astype(np.uint8)[..., None]


def _blend(degenerate: np.ndarray, image: np.ndarray, factor: float) -> np.ndarray:
    """`degenerate + factor (image - degenerate)`, clipped to 0 ... 255 and rounded down."""
    mixed = image - degenerate
    mixed *= np.float32(factor)
    mixed += degenerate
    np.clip(mixed, 0, 255, out=mixed)
    return mixed.astype(np.uint8)
