"""Shape of images: the one layout that every network of images takes."""


def check_images(shape: tuple[int, ...]) -> None:
    """Checks that images are ``[n, h, w, c]``.

    Raises:
      ValueError: they have other axes, or the channels come first.
    """
    if len(shape) != 4 or channels_first(shape):
        raise ValueError(f"images must be [n, h, w, c], got shape {tuple(shape)}{advice(shape)}")


def channels_first(shape: tuple[int, ...]) -> bool:
    """Whether a shape looks like ``[n, c, h, w]``: square maps of 1 or 3 channels."""
    return len(shape) == 4 and shape[1] in (1, 3) and shape[2] == shape[3] > 4


def advice(shape: tuple[int, ...]) -> str:
    """What to do about a shape that does not fit, or nothing."""
    return ": channels come last, np.moveaxis(x, 1, -1)" if channels_first(shape) else ""
