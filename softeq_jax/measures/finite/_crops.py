"""Windows and shifts that differ from image to image, on the rows and columns of a batch."""

import functools

import jax
import jax.numpy as jnp

from softeq_jax.measures._layouts import Image, as_layout
from softeq_jax.measures.finite._transform import Array, Frame

PADDINGS = {"reflect": "reflect", "edge": "edge", "zero": "constant"}
Axes = tuple[int, int]


def image_axes(x: Array, input: str | Image) -> Axes:
    """The row and column axis of a batch of images.

    Raises:
      ValueError: the layout is not that of images, or does not fit.
    """
    layout = as_layout(input, "input")
    if not isinstance(layout, Image):
        raise ValueError(f"images are shifted here, so input must be an Image, got {layout}")
    layout.check(x.shape, "the input")
    rows, cols = (axis % len(x.shape) for axis in layout.axes)
    return rows, cols


@functools.partial(jax.jit, static_argnames="axes")
def roll_each(x: Array, offsets: Array, axes: Axes) -> jax.Array:
    """Image i moved circularly by ``offsets[i]`` (rows, columns).

    Args:
      x: ``[n, ...]``.
      offsets: int ``[n, 2]``.
      axes: rows and columns of ``x``.
    """

    def roll(image: jax.Array, offset: jax.Array) -> jax.Array:
        return jnp.roll(image, (offset[0], offset[1]), tuple(axis - 1 for axis in axes))

    return jax.vmap(roll)(jnp.asarray(x), offsets)


@functools.partial(jax.jit, static_argnames=("size", "axes"))
def crop_each(x: Array, starts: Array, size: Frame, axes: Axes) -> jax.Array:
    """The window of image i that starts at ``starts[i]``.

    Args:
      x: ``[n, ...]``.
      starts: int ``[n, 2]``; the windows must lie inside.
      size: rows and columns of a window.
      axes: rows and columns of ``x``.
    """

    def crop(image: jax.Array, start: jax.Array) -> jax.Array:
        for axis, first, length in zip(axes, start, size, strict=True):
            image = jax.lax.dynamic_slice_in_dim(image, first, length, axis - 1)
        return image

    return jax.vmap(crop)(jnp.asarray(x), starts)


@functools.partial(jax.jit, static_argnames=("canvas", "axes", "edge"))
def embed_each(
    x: Array, starts: Array, background: Array, canvas: Frame, axes: Axes, edge: bool
) -> jax.Array:
    """Image i on a canvas, its first entry at ``starts[i]``.

    Args:
      x: ``[n, ...]``.
      starts: int ``[n, 2]``; the images must lie inside.
      background: broadcasts against the result; what surrounds them.
      canvas: rows and columns.
      axes: rows and columns of ``x``.
      edge: surrounds them by their last entries instead.
    """

    def embed(image: jax.Array, start: jax.Array, ground: jax.Array) -> jax.Array:
        inside = jnp.ones((1,) * image.ndim, bool)
        for axis, first, length in zip(axes, start, canvas, strict=True):
            index, n = jnp.arange(length) - first, image.shape[axis - 1]
            form = [1] * image.ndim
            form[axis - 1] = length
            inside = inside & ((index >= 0) & (index < n)).reshape(form)
            image = jnp.take(image, jnp.clip(index, 0, n - 1), axis=axis - 1)
        return image if edge else jnp.where(inside, image, ground)

    x = jnp.asarray(x)
    background = jnp.broadcast_to(jnp.asarray(background, x.dtype), (len(x), *background.shape[1:]))
    return jax.vmap(embed)(x, starts, background)


def pad_plane(x: Array, amount: int, padding: str, axes: Axes) -> jax.Array:
    """The batch with ``amount`` more rows and columns on each side.

    Raises:
      ValueError: an unknown padding, or one that reflects more than there is.
    """
    if padding not in PADDINGS:
        raise ValueError(f"no padding is called {padding!r}, choose from {list(PADDINGS)}")
    if padding == "reflect" and amount >= min(x.shape[axis] for axis in axes):
        raise ValueError(f"cannot reflect {amount} pixels of images of shape {x.shape}")
    widths = [(amount, amount) if axis in axes else (0, 0) for axis in range(len(x.shape))]
    return jnp.pad(jnp.asarray(x), widths, mode=PADDINGS[padding])
