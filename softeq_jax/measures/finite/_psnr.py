r"""EQ-T, EQ-T-frac and EQ-R: equivariance as a signal-to-noise ratio in decibels.

``20 log10 span - 10 log10( sum m (f(T x) - T' f(x))^2 / sum m )``, the sums over all images,
transforms and entries before the ratio, across images in float64. Source: StyleGAN3 by way of
measures.md C. Higher is better; under exact transforms (EQ-T) an equivariant function has
infinitely many decibels. Where transforms interpolate (EQ-R, EQ-T-frac) the identity has a finite
number, which is the ceiling: measure it on the same images.
"""

from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import coefficient
from softeq_jax.measures._statistics import Estimate
from softeq_jax.measures.base._functions import Array, Function, as_key, check_inputs
from softeq_jax.measures.base._layouts import as_layout
from softeq_jax.measures.base._options import Options
from softeq_jax.measures.finite._errors import ratio_metric
from softeq_jax.measures.finite._evaluator import Transforms, check_transforms, evaluate, frame_of
from softeq_jax.measures.finite._families import uniform_rotations
from softeq_jax.measures.finite._metrics import Comparison
from softeq_jax.measures.finite._shifts import shift

LIMIT = 1 / 8
SPAN = 2.0


def _mean_square(o: Comparison) -> dict[str, jax.Array]:
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
    transforms: Transforms,
    name: str = "PSNR",
    *,
    span: float = SPAN,
    **options: Unpack[Options],
) -> Estimate:
    """Signal-to-noise ratio of equivariance in decibels, for any transforms.

    Args:
      f: images to outputs that lie in a range of length ``span``.
      images: ``[n, ...]``, floating point.
      transforms: over which the sums run.
      name: for tables.
      span: largest minus smallest possible output; 2 for [-1, 1]. A classifier that returns
        logits is measured with head="probabilities", and then the span is 1.
      **options: all but stencil, see ``Options``.

    Returns:
      An ``Estimate`` in decibels.

    Raises:
      TypeError, ValueError: see ``evaluate``; ValueError for a span that is not positive.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
      >>> turn = sq.measures.quarter_turn()
      >>> sq.measures.psnr(lambda x: x**2, x, turn, output="image").value  # decibels
      inf
    """
    coefficient(span, "span", positive=True)
    transforms = check_transforms(transforms)
    metric = ratio_metric(name, _mean_square, transforms, span=span)
    return evaluate(f, images, transforms, [metric], **options)[0]


def eq_t(
    f: Function,
    images: Array,
    *,
    key: jax.Array | int | None = None,
    n: int = 16,
    limit: float = LIMIT,
    boundary: str = "circular",
    multiple: int = 1,
    span: float = SPAN,
    **options: Unpack[Options],
) -> Estimate:
    """EQ-T in decibels: shifts by whole pixels, uniform up to a part of the size along each axis.

    Args:
      f: see ``psnr``.
      images: see ``psnr``.
      key: a JAX key for the shifts, or a seed; None: seed 0.
      n: number of shifts.
      limit: largest shift as a part of the height and of the width.
      boundary: "circular" keeps all content, so that only f errs; "zero" (with a mask) is what
        the published numbers use.
      multiple: the shifts are rounded to multiples of this many pixels, such as the stride of a
        feature map.
      span: see ``psnr``.
      **options: see ``psnr``.

    Raises:
      TypeError, ValueError: see ``psnr``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
      >>> sq.measures.eq_t(lambda x: x**2, x, n=2, output="image").value  # decibels
      inf
    """
    drawn = (
        np.rint(_uniform(images, options, as_key(key), n, limit) / multiple).astype(int) * multiple
    )
    transforms = [shift(int(dy), int(dx), boundary) for dy, dx in drawn]
    return psnr(f, images, transforms, "EQ-T", span=span, **options)


def eq_t_frac(
    f: Function,
    images: Array,
    *,
    key: jax.Array | int | None = None,
    n: int = 16,
    limit: float = LIMIT,
    boundary: str = "circular",
    span: float = SPAN,
    **options: Unpack[Options],
) -> Estimate:
    """EQ-T-frac in decibels: as ``eq_t``, with fractional shifts by Lanczos-3.

    With a boundary other than "circular" the mask is eroded by the six taps.

    Args:
      f: see ``psnr``.
      images: see ``psnr``.
      key: see ``eq_t``.
      n: see ``eq_t``.
      limit: see ``eq_t``.
      boundary: see ``eq_t``.
      span: see ``psnr``.
      **options: see ``psnr``.

    Raises:
      TypeError, ValueError: see ``psnr``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
      >>> sq.measures.eq_t_frac(lambda x: x / 2, x, n=2, output="image").value > 60  # decibels
      True
    """
    drawn = _uniform(images, options, as_key(key), n, limit)
    transforms = [shift(float(dy), float(dx), boundary, "lanczos") for dy, dx in drawn]
    return psnr(f, images, transforms, "EQ-T-frac", span=span, **options)


def eq_r(
    f: Function,
    images: Array,
    *,
    key: jax.Array | int | None = None,
    n: int = 16,
    limit: float = np.pi,
    span: float = SPAN,
    **options: Unpack[Options],
) -> Estimate:
    """EQ-R in decibels: band-limited rotations by uniform angles, all of the circle by default.

    Everything is rotated within the disc of frequencies that every rotation keeps; what is to be
    compared with a rotated array goes through the same filter without the rotation: x before
    ``T' f(x)``, and ``f(T x)``. See ``rotation``.

    Args:
      f: see ``psnr``.
      images: see ``psnr``.
      key: a JAX key for the angles, or a seed; None: seed 0.
      n: number of angles.
      limit: largest angle, radians.
      span: see ``psnr``.
      **options: see ``psnr``.

    Raises:
      TypeError, ValueError: see ``psnr``; the masks leave nothing of maps below about 15 entries.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(2, 20, 20, 1)).astype("float32")
      >>> sq.measures.eq_r(lambda x: x / 2, x, n=1, output="image").value > 20  # decibels
      True
    """
    transforms = uniform_rotations(n, as_key(key), limit, "bandlimited")
    return psnr(f, images, transforms, "EQ-R", span=span, **options)


def _uniform(images: Array, options: Options, key: jax.Array, n: int, limit: float) -> np.ndarray:
    """float64 ``[n, 2]``, pixels uniform within the limit."""
    if n < 1 or not limit > 0:
        raise ValueError(f"shifts need n of at least 1 and a positive limit, got {n} and {limit}")
    layout = as_layout(options.get("input", "image"), "input")
    images = check_inputs(images)
    layout.check(images.shape, "the input")
    size = np.array(frame_of(images.shape, layout))
    drawn = jax.random.uniform(key, (n, 2), minval=-limit, maxval=limit)
    return np.asarray(drawn, np.float64) * size
