"""How far a convolution layer is from commuting with a rotation, on real feature maps."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from softeq_jax.measures import rotate_bilinear
from softeq_jax.models.geometry import ConvGeometry


def conv_defects(
    model: nn.Module,
    variables: Mapping[str, Any],
    geometry: Mapping[str, ConvGeometry],
    images: jax.Array | np.ndarray,
    angle: float,
    **apply_kwargs: Any,
) -> dict[str, tuple[float, float]]:
    r"""Measured defect of every convolution under a rotation of its own input.

    For a layer L with input h (both in the network's own forward pass), the relative defect of
    one image is ``||R L(h) - L(R h)|| / ||L(h)||``. Quarter turns move pixels and are measured on
    the whole map; other angles are bilinear and measured inside the largest disc that a rotation
    leaves in the map, so that cut corners do not count.

    Args:
      model: a Linen module.
      variables: its variables.
      geometry: from ``conv_geometry`` for the same model.
      images: [n, h, w, c], as the model takes them.
      angle: radians.
      **apply_kwargs: passed on to ``model.apply``, for example ``train=False``.

    Returns:
      From the kernel's path to (mean over images, its standard error).
    """
    inputs: dict[str, jax.Array] = {}

    def record(call: Any, args: tuple, kwargs: dict, context: Any) -> Any:
        if isinstance(context.module, nn.Conv) and context.method_name == "__call__":
            inputs["/".join((*context.module.path, "kernel"))] = (
                args[0] if args else kwargs["inputs"]
            )
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        model.apply(variables, jnp.asarray(images), **apply_kwargs)
    defects = {}
    for path, layer in geometry.items():
        if layer.padding_mode != "zeros":
            raise ValueError(f"{path}: padding by {layer.padding_mode} is not supported here")
        kernel = _leaf(variables["params"], path)
        defects[path] = _defect(kernel, inputs[path], layer, angle)
    return defects


def _leaf(params: Mapping[str, Any], path: str) -> jax.Array:
    for part in path.split("/"):
        params = params[part]
    return jnp.asarray(params)


def _defect(
    kernel: jax.Array, h: jax.Array, layer: ConvGeometry, angle: float
) -> tuple[float, float]:
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
    if abs(turns - round(turns)) < 1e-9:

        def turn(x: jax.Array) -> jax.Array:
            return jnp.rot90(x, round(turns), axes=(1, 2))

        inside = 1.0
    else:

        def turn(x: jax.Array) -> jax.Array:
            return rotate_bilinear(x, angle)

        side = convolve(h).shape[1]
        offset = np.arange(side) - 0.5 * (side - 1)
        inside = offset[:, None] ** 2 + offset[None] ** 2 <= (0.5 * side) ** 2
        inside = jnp.asarray(inside, h.dtype)[..., None]
    y = convolve(h)
    difference = jnp.sum((inside * (turn(y) - convolve(turn(h)))) ** 2, axis=(1, 2, 3))
    size = jnp.sum((inside * y) ** 2, axis=(1, 2, 3))
    ratio = np.asarray(jnp.sqrt(difference / jnp.maximum(size, 1e-30)), dtype=np.float64)
    spread = ratio.std(ddof=1) / math.sqrt(ratio.size) if ratio.size > 1 else 0.0
    return float(ratio.mean()), float(spread)
