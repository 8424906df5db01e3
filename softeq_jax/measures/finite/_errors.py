r"""Errors of equivariance on average, relative to the outputs or to those of another image.

With ``e = f(T x) - T' f(x)`` and the mask m of T', see measures.md C.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from softeq_jax.measures._functions import Function
from softeq_jax.measures._layouts import Layout
from softeq_jax.measures.finite._evaluator import (
    OTHER,
    Metric,
    Outcome,
    check_transforms,
    evaluate,
    per_image,
)
from softeq_jax.measures.finite._statistics import Estimate
from softeq_jax.measures.finite._transform import Array, Transform


def squared(
    values: jax.Array, minus: jax.Array | float = 0.0, mask: jax.Array | float = 1.0
) -> jax.Array:
    """``sum (m |v - u|)^2`` per image, ``[n]``; 16-bit floats in float32 from the start."""
    wide = jnp.asarray(values).astype(jnp.promote_types(values.dtype, jnp.float32))
    return jnp.sum(jnp.reshape((mask * jnp.abs(wide - minus)) ** 2, (wide.shape[0], -1)), axis=1)


def _relative(outcome: Outcome) -> dict[str, jax.Array]:
    error = squared(outcome.moved, outcome.expected, outcome.mask)
    return {"a": jnp.sqrt(error), "b": jnp.sqrt(squared(outcome.expected, mask=outcome.mask))}


def _null(outcome: Outcome) -> dict[str, jax.Array]:
    return {
        "a": squared(outcome.moved, outcome.expected, outcome.mask),
        "b": squared(outcome.moved, outcome.other, outcome.mask),
    }


def names_of(transforms: Sequence[Transform]) -> tuple[str, ...]:
    """The names of transforms, one per row of an estimate."""
    return tuple(transform.name for transform in transforms)


def ratio_metric(
    name: str,
    measure: Callable[[Outcome], dict[str, jax.Array]],
    transforms: Sequence[Transform],
    needs: frozenset[str] = frozenset(),
    span: float | None = None,
) -> Metric:
    """A metric whose result is an ``Estimate`` of ``E a / E b`` from a measured "a" and "b"."""
    names = names_of(transforms)
    return per_image(measure, lambda v: Estimate(name, v["a"], v["b"], names, span), needs)


def relative_error(
    f: Function,
    images: Array,
    transforms: Sequence[Transform],
    *,
    input: str | Layout = "image",
    output: str | Layout | None = None,
    head: str | Function = "logits",
    batch_size: int | None = None,
    jit: bool = True,
) -> Estimate:
    r"""``RE = E ||m (f(T x) - T' f(x))|| / E ||m T' f(x)||``, a ratio of expectations.

    0 is perfect; unchanged when f is multiplied by a number. Source: measures.md C.

    Args:
      f: images to outputs ``[n, ...]``.
      images: ``[n, ...]``, floating point.
      transforms: over which the expectation is taken, too.
      input: layout of the images, see ``evaluate``.
      output: layout of the outputs.
      head: see ``evaluate``.
      batch_size: see ``evaluate``.
      jit: see ``evaluate``.

    Raises:
      TypeError, ValueError: see ``evaluate``.
    """
    transforms = check_transforms(transforms)
    metric = ratio_metric("relative error", _relative, transforms)
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


def null_normalized_error(
    f: Function,
    images: Array,
    transforms: Sequence[Transform],
    *,
    input: str | Layout = "image",
    output: str | Layout | None = None,
    head: str | Function = "logits",
    batch_size: int | None = None,
    jit: bool = True,
) -> Estimate:
    r"""``NE = E ||m (f(T x) - T' f(x))||^2 / E ||m (f(T x) - T' f(x'))||^2``.

    x' is another image: the one before x in the set. 0 is perfect, 1 is no better than another
    image: the number to compare layers and networks by. Source: measures.md C. The images should
    be in random order; the standard error neglects that each serves as x' once.

    Args:
      f: as of ``relative_error``, and so for all others.
      images: at least two.
      transforms: as of ``relative_error``.
      input: likewise.
      output: likewise.
      head: likewise.
      batch_size: likewise.
      jit: likewise.

    Raises:
      TypeError, ValueError: see ``evaluate``.
    """
    transforms = check_transforms(transforms)
    metric = ratio_metric("null-normalized error", _null, transforms, frozenset({OTHER}))
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
