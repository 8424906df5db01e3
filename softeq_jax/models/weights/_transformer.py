"""What is read off the checkpoints of vision transformers alike."""

import math

from softeq_jax.models.weights._config import Config
from softeq_jax.models.weights._format import Arrays

# Published widths whose heads are not 64 channels wide (SO400M, Huge, Giant, Gigantic).
_WIDE_HEADS = {1152: 16, 1280: 16, 1408: 16, 1664: 16}


def heads(arrays: Arrays, config: Config, key: str, width: int, asked: int | None) -> int:
    """Attention heads, which no tensor tells: asked for, configured, or by the published sizes.

    Raises:
      ValueError: none of the three says.
    """
    if asked is not None:
        return asked
    if key in config:
        return int(config.number(key, 0))
    if width in _WIDE_HEADS:
        return _WIDE_HEADS[width]
    if width % 64:
        raise ValueError(
            f"{arrays.source}: the number of attention heads is not in the tensors, and a width "
            f"of {width} is no multiple of 64; pass heads=..."
        )
    return width // 64


def mlp_ratio(arrays: Arrays, width: int, path: str = "params/block0/mlp_in/kernel") -> float:
    """Hidden channels of the first perceptron in units of the width."""
    hidden = arrays.shape(path)[1]
    return hidden // width if hidden % width == 0 else hidden / width


def depth(arrays: Arrays) -> int:
    """Number of blocks, at least 1."""
    return max(1, arrays.count(r"params/block(\d+)/"))


def image_size(arrays: Arrays, config: Config, key: str, patch: int, patches: int) -> int:
    """Side of the images that a position table of so many patches is for.

    Raises:
      ValueError: the patches make no square, or the configuration has another size.
    """
    name = arrays.entries["params/pos_embed"].name
    side = math.isqrt(max(patches, 0))
    if side < 1 or side**2 != patches:
        raise ValueError(
            f"{arrays.source}: tensor {name} has {patches} rows for patches, expected a square "
            "number"
        )
    configured = config.side(key)
    if configured is not None and configured != side * patch:
        raise ValueError(
            f"{config.where}: {key} is {configured}, but tensor {name} has rows for {side} x "
            f"{side} patches of {patch} pixels, images of {side * patch}"
        )
    return side * patch
