r"""EQ-T, EQ-T-frac and EQ-R: equivariance as a signal-to-noise ratio in decibels.

``20 log10 span - 10 log10( sum m (f(T x) - T' f(x))^2 / sum m )``, the sums over all images,
transforms and entries before the ratio, across images in float64. Source: StyleGAN3 by way of
measures.md C. Higher is better; under exact transforms (EQ-T) an equivariant function has
infinitely many decibels. Where transforms interpolate (EQ-R, EQ-T-frac) the identity has a finite
number, which is the ceiling: measure it on the same images.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures._functions import Function, as_key, check_inputs
from softeq_jax.measures._layouts import Layout, as_layout
from softeq_jax.measures.finite._errors import ratio_metric
from softeq_jax.measures.finite._evaluator import Outcome, check_transforms, evaluate
from softeq_jax.measures.finite._families import uniform_rotations
from softeq_jax.measures.finite._program import frame_of
from softeq_jax.measures.finite._shifts import shift
from softeq_jax.measures.finite._statistics import Estimate
from softeq_jax.measures.finite._transform import Array, Transform

LIMIT = 1 / 8
SPAN = 2.0


def _mean_square(o: Outcome) -> dict[str, jax.Array]:
    difference = o.moved.astype(jnp.promote_types(o.moved.dtype, jnp.float32)) - o.expected
    mask = jnp.broadcast_to(o.mask.astype(difference.dtype), difference.shape)
    n = difference.shape[0]
    return {
        "a": jnp.sum((mask * difference**2).reshape(n, -1), axis=1),
        "b": jnp.sum(mask.reshape(n, -1), axis=1),
    }


def psnr(
    f: Function,
    images: Array,
    transforms: Sequence[Transform],
    name: str = "PSNR",
    *,
    input: str | Layout = "image",
    output: str | Layout | None = None,
    head: str | Function = "logits",
    span: float = SPAN,
    batch_size: int | None = None,
    jit: bool = True,
) -> Estimate:
    """The ratio in decibels for any transforms.

    Args:
      f: images to outputs that lie in a range of length ``span``.
      images: ``[n, ...]``, floating point.
      transforms: over which the sums run.
      name: for tables.
      input: layout of the images, see ``evaluate``.
      output: layout of the outputs; "image" for maps, None for class scores.
      head: "probabilities" for classifiers that return logits (then the span is 1).
      span: largest minus smallest possible output; 2 for [-1, 1].
      batch_size: see ``evaluate``.
      jit: see ``evaluate``.

    Returns:
      An ``Estimate`` in decibels.

    Raises:
      TypeError, ValueError: see ``evaluate``; ValueError for a span that is not positive.
    """
    if not span > 0:
        raise ValueError(f"span must be positive, got {span}")
    transforms = check_transforms(transforms)
    metric = ratio_metric(name, _mean_square, transforms, span=span)
    return evaluate(
        f,
        images,
        transforms,
        [metric],
        input=input,
        output=output,
        head=head,
        batch_size=batch_size,
        jit=jit,
    )[0]


def eq_t(
    f: Function,
    images: Array,
    *,
    key: jax.Array | int | None = None,
    n: int = 16,
    limit: float = LIMIT,
    boundary: str = "circular",
    multiple: int = 1,
    input: str | Layout = "image",
    **options: Any,
) -> Estimate:
    """EQ-T: shifts by whole pixels, uniform up to a part of the size along each axis.

    Args:
      f: as of ``psnr``.
      images: as of ``psnr``.
      key: a JAX key for the shifts, or a seed; None: seed 0.
      n: number of shifts.
      limit: largest shift as a part of the height and of the width.
      boundary: "circular" keeps all content, so that only f errs; "zero" (with a mask) is what
        the published numbers use.
      multiple: the shifts are rounded to multiples of this many pixels, such as the stride of a
        feature map.
      input: as of ``psnr``.
      **options: ``output``, ``head``, ``span``, ``batch_size`` and ``jit`` of ``psnr``.

    Raises:
      TypeError, ValueError: see ``psnr``.
    """
    drawn = (
        np.rint(_uniform(images, input, as_key(key), n, limit) / multiple).astype(int) * multiple
    )
    transforms = [shift(int(dy), int(dx), boundary) for dy, dx in drawn]
    return psnr(f, images, transforms, "EQ-T", input=input, **options)


def eq_t_frac(
    f: Function,
    images: Array,
    *,
    key: jax.Array | int | None = None,
    n: int = 16,
    limit: float = LIMIT,
    boundary: str = "circular",
    input: str | Layout = "image",
    **options: Any,
) -> Estimate:
    """EQ-T-frac: as ``eq_t``, with fractional shifts by Lanczos-3.

    With a boundary other than "circular" the mask is eroded by the six taps.

    Args:
      f: as of ``psnr``.
      images: as of ``psnr``.
      key: as of ``eq_t``.
      n: likewise.
      limit: likewise.
      boundary: likewise.
      input: likewise.
      **options: likewise.

    Raises:
      TypeError, ValueError: see ``psnr``.
    """
    drawn = _uniform(images, input, as_key(key), n, limit)
    transforms = [shift(float(dy), float(dx), boundary, "lanczos") for dy, dx in drawn]
    return psnr(f, images, transforms, "EQ-T-frac", input=input, **options)


def eq_r(
    f: Function,
    images: Array,
    *,
    key: jax.Array | int | None = None,
    n: int = 16,
    limit: float = np.pi,
    input: str | Layout = "image",
    **options: Any,
) -> Estimate:
    """EQ-R: band-limited rotations by uniform angles, all of the circle by default.

    Everything is rotated within the disc of frequencies that every rotation keeps; what is to be
    compared with a rotated array goes through the same filter without the rotation: x before
    ``T' f(x)``, and ``f(T x)``. See ``rotation``.

    Args:
      f: as of ``psnr``.
      images: as of ``psnr``.
      key: a JAX key for the angles, or a seed; None: seed 0.
      n: number of angles.
      limit: largest angle, radians.
      input: as of ``psnr``.
      **options: as of ``eq_t``.

    Raises:
      TypeError, ValueError: see ``psnr``; the masks leave nothing of maps below about 15 entries.
    """
    transforms = uniform_rotations(n, as_key(key), limit, "bandlimited")
    return psnr(f, images, transforms, "EQ-R", input=input, **options)


def _uniform(
    images: Array, input: str | Layout, key: jax.Array, n: int, limit: float
) -> np.ndarray:
    """float64 ``[n, 2]``, pixels uniform within the limit."""
    if n < 1 or not limit > 0:
        raise ValueError(f"shifts need n of at least 1 and a positive limit, got {n} and {limit}")
    layout = as_layout(input, "input")
    images = check_inputs(images)
    layout.check(images.shape, "the input")
    size = np.array(frame_of(images.shape, layout))
    drawn = jax.random.uniform(key, (n, 2), minval=-limit, maxval=limit)
    return np.asarray(drawn, np.float64) * size
