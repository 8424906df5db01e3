"""What the relaxed layers of Linen and NNX have in common: arguments, weights, convolution."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from softeq_jax._checks import is_traced, share
from softeq_jax.projections import Projector

Array = jax.Array
Padding = str | int | Sequence[tuple[int, int]]


def check_projectors(
    projector: Projector, bias_projector: Projector | None, use_bias: bool, axes: int
) -> None:
    """Checks that kernel and bias are projected by what fits them.

    Raises:
      TypeError: a projector is none.
      ValueError: a smooth mask; a kernel projector of another number of axes; one that acts on the
        output axis without one for the bias; a bias projector that is not for one axis or has no
        bias to act on.
    """
    for name, p in (("projector", projector), ("bias_projector", bias_projector)):
        if p is None and name == "bias_projector":
            continue
        if not isinstance(p, Projector):
            raise TypeError(f"{name} must be a Projector, got {type(p).__name__}")
        if p.kind != "hard":
            raise ValueError(f"{name} has the smooth mask {p.kind!r}: relaxation needs a hard one")
    if len(projector.space.names) != axes:
        raise ValueError(
            f"projector must have {axes} axes, got {len(projector.space.names)}: "
            f"{' '.join(projector.space.names)!r}"
        )
    if bias_projector is not None and not use_bias:
        raise ValueError("bias_projector is given, but use_bias is False")
    if bias_projector is not None and len(bias_projector.space.names) != 1:
        raise ValueError(
            f"bias_projector must have one axis, got {' '.join(bias_projector.space.names)!r}"
        )
    moved = any(axes - 1 in entry.positions for entry in projector.space.entries)
    if moved and use_bias and bias_projector is None:
        raise ValueError(
            "projector acts on the output axis: give a bias_projector for it, or use_bias=False"
        )


def relaxed(projector: Projector | None, weight: Array, free: Array | None, theta: Any) -> Array:
    """``P weight + theta free``; the free branch is left out where theta is concretely 0."""
    even = weight if projector is None else projector.split(weight)[0]
    if free is None or (not is_traced(theta) and float(theta) == 0.0):
        return even
    return even + jnp.asarray(theta, even.dtype) * free


def folded(projector: Projector | None, weight: Array, free: Array | None, theta: Any) -> Array:
    """``P (weight + theta free)``, the nearest equivariant weight."""
    mixed = relaxed(projector, weight, free, theta)
    return mixed if projector is None else projector(mixed)


def check_theta(theta: Any) -> None:
    """A scalar in [0, 1].

    Raises:
      ValueError: it is not.
    """
    if jnp.shape(theta) != ():
        raise ValueError(f"theta must be a scalar, got shape {jnp.shape(theta)}")
    share(theta, "theta")


def pair(value: int | Sequence[int], name: str) -> tuple[int, int]:
    """Two positive integers from one or two.

    Raises:
      ValueError: anything else.
    """
    values = (value, value) if isinstance(value, int) else tuple(value)
    if len(values) != 2 or any(v < 1 for v in values):
        raise ValueError(f"{name} must be one or two positive integers, got {value!r}")
    return values


def convolve(x: Array, kernel: Array, strides: tuple[int, int], padding: Padding) -> Array:
    """Cross-correlation of ``[..., h, w, i]`` with ``[kh, kw, i, o]``.

    Raises:
      ValueError: fewer than three axes.
    """
    if x.ndim < 3:
        raise ValueError(f"x must be [..., h, w, channels], got shape {x.shape}")
    if isinstance(padding, int):
        padding = ((padding, padding),) * 2
    batch = x.reshape(-1, *x.shape[-3:])
    out = jax.lax.conv_general_dilated(
        batch, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return out.reshape(*x.shape[:-3], *out.shape[1:])


def as_dtype(dtype: Any, *arrays: Array | None) -> list[Array | None]:
    """The arrays in the dtype, or in their common one if it is None."""
    present = [a for a in arrays if a is not None]
    common = jnp.result_type(*present) if dtype is None else dtype
    return [None if a is None else jnp.asarray(a, common) for a in arrays]
