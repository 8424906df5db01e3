"""Patches of images: their embedding, and position tables on their grid."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from softeq_jax.models import image_shape


def patch_grid(image_size: int, patch_size: int) -> int:
    """Patches along a side.

    Raises:
      ValueError: the image does not consist of whole patches.
    """
    if patch_size < 1 or image_size < 1 or image_size % patch_size:
        raise ValueError(
            f"image_size must be a multiple of patch_size, got {image_size} and {patch_size}"
        )
    return image_size // patch_size


def check_patches(shape: tuple[int, ...], patch_size: int) -> None:
    """Checks that images of any size consist of whole patches.

    Raises:
      ValueError: they do not.
    """
    if len(shape) != 4 or min(shape[1:3]) < 1 or shape[1] % patch_size or shape[2] % patch_size:
        raise ValueError(
            f"images must be [n, h, w, c] with h and w multiples of {patch_size}, got {shape}"
            + image_shape.advice(shape)
        )


def check_size(shape: tuple[int, ...], image_size: int, advice: str = "") -> None:
    """Checks that images are square and of one size.

    Raises:
      ValueError: they are not.
    """
    if len(shape) != 4 or shape[1:3] != (image_size, image_size):
        advice = image_shape.advice(shape) or advice
        raise ValueError(
            f"images must be [n, {image_size}, {image_size}, c], got shape {shape}{advice}"
        )


def embed_patches(x: jax.Array, width: int, patch_size: int) -> jax.Array:
    """A linear map of each patch, made in the module that calls it as ``patch_embed``.

    Args:
      x: images ``[n, h, w, c]``.
      width: channels of a token.
      patch_size: side of a patch.

    Returns:
      ``[n, h / patch_size, w / patch_size, width]``.
    """
    patch = (patch_size, patch_size)
    return nn.Conv(width, patch, strides=patch, padding="VALID", name="patch_embed")(x)


def bicubic_matrix(size: int, new_size: int, antialias: bool = False) -> np.ndarray:
    """Resizing of a line of samples by cubic convolution, pixel centers at halves.

    The two rules that published transformers resize their position tables by: a = -0.75 with
    samples beyond the ends repeating the last one; or, antialiased, a = -0.5 with a window widened
    by the factor of the reduction and weights renormalized at the ends. Both commute with the
    reversal of the line.

    Args:
      size: samples that there are.
      new_size: samples that are wanted.
      antialias: which rule.

    Returns:
      float64 ``[new_size, size]``, rows sum to 1.
    """
    scale = size / new_size
    centers = (np.arange(new_size) + 0.5) * scale - 0.5
    if antialias:
        distance = np.abs(centers[:, None] - np.arange(size)) / max(scale, 1.0)
        matrix = _cubic(distance, -0.5)
        return matrix / matrix.sum(axis=1, keepdims=True)
    matrix = np.zeros((new_size, size))
    for tap in range(-1, 3):
        index = np.floor(centers).astype(int) + tap
        weights = _cubic(np.abs(centers - index), -0.75)
        np.add.at(matrix, (np.arange(new_size), np.clip(index, 0, size - 1)), weights)
    return matrix


def _cubic(t: np.ndarray, a: float) -> np.ndarray:
    near = ((a + 2) * t - (a + 3)) * t**2 + 1
    far = a * (((t - 5) * t + 8) * t - 4)
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def resize_positions(
    table: jax.Array, prefix: int, grid: tuple[int, ...], antialias: bool = False
) -> jax.Array:
    """A position table for another grid; its prefix rows are kept.

    Args:
      table: ``[1, prefix + side^2, c]``, a square grid row by row.
      prefix: rows that belong to no patch.
      grid: (height, width) in patches.
      antialias: which rule, see ``bicubic_matrix``.

    Returns:
      ``[1, prefix + height * width, c]``; the table itself where the grid is the same.

    Raises:
      ValueError: the table's grid is not square.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> table = jnp.ones((1, 1 + 2 * 2, 8))
      >>> sq.models.resize_positions(table, 1, (3, 4)).shape
      (1, 13, 8)
    """
    patches = table.shape[1] - prefix
    side = math.isqrt(patches)
    if side * side != patches:
        raise ValueError(f"the position table has {patches} patches, expected a square number")
    if grid == (side, side):
        return table
    rows, columns = (jnp.asarray(bicubic_matrix(side, new, antialias), table.dtype) for new in grid)
    patches = table[0, prefix:].reshape(side, side, -1)
    resized = jnp.einsum("yh,xw,hwc->yxc", rows, columns, patches, precision="highest")
    flat = resized.reshape(1, grid[0] * grid[1], -1)
    return jnp.concatenate([table[:, :prefix], flat], axis=1)
