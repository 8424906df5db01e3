r"""The bandwidth of images: low-passed images, and fields of the same spectrum but random phases.

Both multiply the discrete Fourier transform along rows and columns, frequencies being in cycles per
pixel, so that Nyquist is 1/2.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures.base._functions import Array, check_inputs
from softeq_jax.measures.base._layouts import Image, Layout, Tokens, as_layout
from softeq_jax.measures.finite._transform import is_planar, plane_of

BOUNDARIES = ("circular", "symmetric")


def low_pass(
    images: Array, share: float, layout: Layout | str = "image", boundary: str = "circular"
) -> jax.Array:
    """Images with nothing above a share of the Nyquist frequency, exactly.

    Every wave of frequency ``hypot(f_y, f_x) <= share / 2`` is kept as it is, every other removed;
    a disc, which rotations respect. At share 1 the diagonal waves beyond Nyquist are removed.

    Args:
      images: floating point; 16-bit floats are computed in float32.
      share: of Nyquist, in (0, 1].
      layout: of the images: "image", "tokens" or a ``Layout`` with a grid; prefix tokens stay.
      boundary: what lies beyond the edge, and so which waves there are: "circular" (the image
        again, with a jump where opposite edges differ) or "symmetric" (the image mirrored).

    Returns:
      As ``images``, with the same dtype.

    Raises:
      TypeError: images that are no floating point array.
      ValueError: a share out of range, an unknown boundary, a layout without a grid or one that
        the images cannot have, NaN or infinite entries.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> stripes = np.tile([0.0, 1.0], (8, 4))[None, ..., None]
      >>> float(abs(sq.measures.low_pass(stripes, 0.5) - 0.5).max())  # the mean is left
      0.0
    """
    layout = as_layout(layout, "layout")
    images = check_inputs(images)
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share!r}")
    if boundary not in BOUNDARIES:
        raise ValueError(f"no boundary is called {boundary!r}, choose from {list(BOUNDARIES)}")
    layout.check(tuple(images.shape), "images")
    plane = plane_of(images, require_grid(layout, "low_pass"))
    wide = plane.values.astype(jnp.promote_types(plane.values.dtype, jnp.float32))
    sides = plane.grid
    if boundary == "symmetric":
        pads = [(0, n if axis in plane.axes else 0) for axis, n in enumerate(wide.shape)]
        wide = jnp.pad(wide, pads, mode="symmetric")
    spectrum = jnp.fft.fft2(wide, axes=plane.axes)
    y, x = (np.fft.fftfreq(wide.shape[axis]) for axis in plane.axes)
    kept = np.hypot(y[:, None], x[None]) <= share / 2 + 1e-9
    form = [wide.shape[axis] if axis in plane.axes else 1 for axis in range(wide.ndim)]
    mask = (kept if plane.axes[0] < plane.axes[1] else kept.T).reshape(form)
    passed = jnp.fft.ifft2(jnp.where(mask, spectrum, 0), axes=plane.axes).real
    for axis, n in zip(plane.axes, sides, strict=True):
        passed = jax.lax.slice_in_dim(passed, 0, n, axis=axis)
    return plane.restore(passed.astype(plane.values.dtype))


def random_phases(fields: jax.Array, keys: jax.Array, layout: Image | Tokens) -> jax.Array:
    """Real fields with the spectrum (and so the norm) of each given one, and random phases.

    All channels of a field have their phases turned alike, so that their cross-spectra stay, too.
    The phases are those of white noise.

    Args:
      fields: ``[n, ...]``.
      keys: JAX keys ``[n]``, one for each field.
      layout: of the fields; prefix tokens stay as they are.
    """
    plane = plane_of(fields, layout)
    values = plane.values.astype(jnp.promote_types(plane.values.dtype, jnp.float32))
    form = tuple(n if axis in plane.axes else 1 for axis, n in enumerate(values.shape))[1:]
    noise = jax.vmap(lambda key: jax.random.normal(key, form, values.dtype))(keys)
    waves = jnp.fft.fft2(noise, axes=plane.axes)
    sizes = jnp.abs(waves)
    turns = jnp.where(sizes > 0, waves / jnp.where(sizes > 0, sizes, 1), 1)
    turned = jnp.fft.ifft2(jnp.fft.fft2(values, axes=plane.axes) * turns, axes=plane.axes).real
    return plane.restore(turned.astype(fields.dtype))


def require_grid(layout: Any, what: str) -> Image | Tokens:
    """The layout, if it has a grid.

    Raises:
      ValueError: it has none.
    """
    if not is_planar(layout):
        raise ValueError(f"{what} needs an image or tokens on a grid, got the layout {layout!r}")
    return layout
