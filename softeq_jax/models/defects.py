"""Defects of convolutions: how far each is from commuting with a rotation, on feature maps."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from softeq_jax._checks import radians
from softeq_jax._paths import by_path
from softeq_jax.measures import mean_and_error, rotate_bilinear
from softeq_jax.models.convolution_geometry import ConvGeometry
from softeq_jax.nn import BlurPool


class Defect(NamedTuple):
    """The defect of a layer: how far it was from commuting with one rotation, over images.

    Attributes:
      mean: of ``||R L(h) - L(R h)|| / ||L(h)||`` over images; NaN if the map is too small.
      error: standard error of that mean.
      gain: the largest ``||R L(h) - L(R h)|| / ||h||`` (for a quarter turn a lower bound of the
        operator defect that ``certificates.convolution`` bounds).

    Example:
      >>> import jax.numpy as jnp, numpy as np, softeq_jax as sq
      >>> from flax import linen
      >>> net, x = linen.Conv(1, (3, 3)), jnp.arange(25.0).reshape(1, 5, 5, 1)
      >>> variables = {"params": {"kernel": jnp.eye(3)[..., None, None], "bias": jnp.zeros(1)}}
      >>> geometry = sq.models.conv_geometry(net, variables, x.shape)
      >>> defect = sq.models.conv_defects(net, variables, geometry, x, np.pi / 2)["kernel"]
      >>> defect.mean > 0, defect.gain > 0
      (True, True)
    """

    mean: float
    error: float
    gain: float


def conv_defects(
    model: nn.Module,
    variables: Mapping[str, Any],
    geometry: Mapping[str, ConvGeometry],
    images: jax.Array | np.ndarray,
    angle: float,
    **apply_kwargs: Any,
) -> dict[str, Defect]:
    r"""Measured defect of every convolution under a rotation of its own input.

    The input h of each layer L is that of the network's own forward pass. Quarter turns move
    pixels and are measured on the whole map. Other angles are bilinear and measured where no
    window reads beyond the disc that every rotation leaves in the map, so that padding and cut
    corners do not count; a map too small for one such window gives NaN.

    Args:
      model: a Linen module.
      variables: its variables.
      geometry: from ``conv_geometry`` for the same model.
      images: [n, h, w, c], as the model takes them.
      angle: radians, at most 2 pi in size.
      **apply_kwargs: passed on to ``model.apply``, for example ``train=False``.

    Returns:
      From the kernel's path to its defect.

    Raises:
      ValueError: a layer pads with something other than zeros, is no ``flax.linen.Conv``
        (a relaxed or steerable layer computes with another kernel than it stores, and a group may
        move its channels) or no convolution of images (one of volumes has no one angle), or an
        angle beyond 2 pi.

    Example:
      >>> import jax.numpy as jnp, numpy as np, softeq_jax as sq
      >>> from flax import linen
      >>> net, x = linen.Conv(1, (3, 3)), jnp.arange(25.0).reshape(1, 5, 5, 1)
      >>> variables = {"params": {"kernel": jnp.ones((3, 3, 1, 1)), "bias": jnp.zeros(1)}}
      >>> geometry = sq.models.conv_geometry(net, variables, x.shape)
      >>> defects = sq.models.conv_defects(net, variables, geometry, x, np.pi / 2)
      >>> defects["kernel"].mean < 1e-6
      True
    """
    angle = float(radians(angle, "angle"))
    inputs: dict[str, jax.Array] = {}
    averages: set[str] = set()
    params = by_path(variables["params"])

    def record(call: Any, args: tuple, kwargs: dict, context: Any) -> Any:
        if isinstance(context.module, BlurPool):
            averages.add("/".join(context.module.path))
        if isinstance(context.module, nn.Conv) and context.method_name == "__call__":
            inputs["/".join((*context.module.path, "kernel"))] = (
                args[0] if args else kwargs["inputs"]
            )
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        model.apply(variables, jnp.asarray(images), **apply_kwargs)
    defects = {}
    for path, layer in geometry.items():
        if path in averages:
            continue  # its defect is known: see certificates.averaging
        if path not in inputs:
            raise ValueError(
                f"{path}: a defect is measured of flax.linen.Conv, and this layer is none; leave "
                "it out of the geometry, certificates.convolution bounds it"
            )
        if len(layer.kernel_size) != 2:
            raise ValueError(
                f"{path}: a defect is measured on images, and windows of {layer.kernel_size} have "
                f"{len(layer.kernel_size)} grid axes; certificates.convolution bounds it"
            )
        if layer.padding_mode != "zeros":
            raise ValueError(f"{path}: padding by {layer.padding_mode} is not supported here")
        kernel = jnp.asarray(params[path])
        defects[path] = _defect(kernel, inputs[path], layer, angle)
    return defects


def _defect(kernel: jax.Array, h: jax.Array, layer: ConvGeometry, angle: float) -> Defect:
    def convolve(x: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x,
            kernel.astype(x.dtype),
            layer.strides,
            layer.padding,
            rhs_dilation=layer.kernel_dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=layer.feature_group_count,
            precision=jax.lax.Precision.HIGHEST,
        )

    turns = angle / (0.5 * math.pi)
    exact = abs(turns - round(turns)) < 1e-9

    def turn(x: jax.Array) -> jax.Array:
        return jnp.rot90(x, round(turns), axes=(1, 2)) if exact else rotate_bilinear(x, angle)

    y = convolve(h)
    inside = 1.0 if exact else jnp.asarray(_inner(layer, y.shape[1:3]), y.dtype)[..., None]
    difference = jnp.sum((inside * (turn(y) - convolve(turn(h)))) ** 2, axis=(1, 2, 3))
    size = jnp.sum((inside * y) ** 2, axis=(1, 2, 3))
    incoming = jnp.sum(h**2, axis=(1, 2, 3))
    if not np.any(np.asarray(inside)):
        return Defect(math.nan, math.nan, math.nan)
    mean, error = mean_and_error(jnp.sqrt(difference / jnp.maximum(size, 1e-30)))
    gain = jnp.sqrt(difference / jnp.maximum(incoming, 1e-30)).max()
    return Defect(mean, error, float(gain))


def _inner(layer: ConvGeometry, shape: tuple[int, ...]) -> np.ndarray:
    """Outputs whose window, turned by any angle, stays a pixel inside the inscribed disc."""
    offsets = [
        stride * (np.arange(size) - 0.5 * (size - 1))
        for stride, size in zip(layer.strides, shape, strict=True)
    ]
    half = [
        0.5 * d * (k - 1) for d, k in zip(layer.kernel_dilation, layer.kernel_size, strict=True)
    ]
    radius = 0.5 * (min(layer.input_shape) - 1) - (math.hypot(*half) + 1.0)
    return np.hypot(offsets[0][:, None], offsets[1][None]) <= radius
