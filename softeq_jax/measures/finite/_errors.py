r"""Errors of equivariance on average: relative to the outputs, to another image, over a group.

With ``e = f(T x) - T' f(x)`` and the mask m of T', see measures.md C.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import Group
from softeq_jax.measures._statistics import Estimate, mean_of
from softeq_jax.measures.base._functions import Array, Function, batches
from softeq_jax.measures.base._layouts import Frame, Layout, Shape
from softeq_jax.measures.base._options import Options, resolved
from softeq_jax.measures.finite._evaluator import (
    Transforms,
    check_output,
    check_transforms,
    evaluate,
    move,
    names_of,
    places,
    program_of,
    setting_of,
    transforms_of,
)
from softeq_jax.measures.finite._metrics import OTHER, Comparison, Metric, per_image
from softeq_jax.measures.finite._robustness import check_classes, kl_divergence
from softeq_jax.measures.finite._transform import Transform


def squared(
    values: jax.Array, minus: jax.Array | float = 0.0, mask: jax.Array | float = 1.0
) -> jax.Array:
    """``sum (m |v - u|)^2`` per image, ``[n]``; 16-bit floats in float32 from the start."""
    wide = jnp.asarray(values).astype(jnp.promote_types(values.dtype, jnp.float32))
    return jnp.sum(jnp.reshape((mask * jnp.abs(wide - minus)) ** 2, (wide.shape[0], -1)), axis=1)


def _relative(comparison: Comparison) -> dict[str, jax.Array]:
    error = squared(comparison.moved, comparison.expected, comparison.mask)
    return {"a": jnp.sqrt(error), "b": jnp.sqrt(squared(comparison.expected, mask=comparison.mask))}


def _null(comparison: Comparison) -> dict[str, jax.Array]:
    assert comparison.other is not None
    return {
        "a": squared(comparison.moved, comparison.expected, comparison.mask),
        "b": squared(comparison.moved, comparison.other, comparison.mask),
    }


def ratio_metric(
    name: str,
    measure: Callable[[Comparison], dict[str, jax.Array]],
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
    transforms: Transforms,
    **options: Unpack[Options],
) -> Estimate:
    r"""``RE = E ||m (f(T x) - T' f(x))|| / E ||m T' f(x)||``, a ratio of expectations.

    0 is perfect; unchanged when f is multiplied by a number. Source: measures.md C.

    Args:
      f: images to outputs ``[n, ...]``.
      images: ``[n, ...]``, floating point.
      transforms: over which the expectation is taken, too.
      **options: all but stencil, see ``Options``.

    Raises:
      TypeError, ValueError: see ``evaluate``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(4, 4, 4, 1)).astype("float32")
      >>> square, flip = lambda x: x**2, sq.measures.flip()
      >>> sq.measures.relative_error(square, x, flip, output="image").value
      0.0
      >>> sum_left = lambda x: x.cumsum(2)
      >>> sq.measures.relative_error(sum_left, x, flip, output="image").value > 0.5
      True
    """
    transforms = check_transforms(transforms)
    metric = ratio_metric("relative error", _relative, transforms)
    return evaluate(f, images, transforms, [metric], **options)[0]


def null_normalized_error(
    f: Function,
    images: Array,
    transforms: Transforms,
    **options: Unpack[Options],
) -> Estimate:
    r"""``NE = E ||m (f(T x) - T' f(x))||^2 / E ||m (f(T x) - T' f(x'))||^2``.

    x' is another image: the one before x in the set. 0 is perfect, 1 is no better than another
    image: the number to compare layers and networks by. Source: measures.md C. The images should
    be in random order; the standard error neglects that each serves as x' once.

    Args:
      f: see ``relative_error``.
      images: at least two.
      transforms: see ``relative_error``.
      **options: all but stencil, see ``Options``.

    Raises:
      TypeError, ValueError: see ``evaluate``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(4, 4, 4, 1)).astype("float32")
      >>> square, flip = lambda x: x**2, sq.measures.flip()
      >>> sq.measures.null_normalized_error(square, x, flip, output="image").value
      0.0
    """
    transforms = check_transforms(transforms)
    metric = ratio_metric("null-normalized error", _null, transforms, frozenset({OTHER}))
    return evaluate(f, images, transforms, [metric], **options)[0]


def error_norm(o: Comparison) -> jax.Array:
    """``||m (f(T x) - T' f(x))||`` per image."""
    return jnp.sqrt(squared(o.moved, o.expected, o.mask))


def _kl(o: Comparison) -> jax.Array:
    return kl_divergence(check_classes(o.expected, "kl"), check_classes(o.moved, "kl"))


def _argmax(o: Comparison) -> jax.Array:
    expected, moved = (check_classes(y, "argmax") for y in (o.expected, o.moved))
    return (jnp.argmax(expected, -1) != jnp.argmax(moved, -1)).astype(jnp.float32)


DISCREPANCIES: dict[str, Callable[[Comparison], jax.Array]] = {
    "l2": error_norm,
    "sq": lambda o: squared(o.moved, o.expected, o.mask),
    "kl": _kl,
    "argmax": _argmax,
}


@functools.lru_cache(maxsize=32)
def _measure(d: Callable[[Comparison], jax.Array]) -> Callable[[Comparison], dict[str, jax.Array]]:
    return lambda comparison: {"d": d(comparison)}


def equivariance_deviation(
    f: Function,
    images: Array,
    group: Transforms,
    *,
    discrepancy: str | Callable[[Comparison], jax.Array] = "l2",
    n: int | None = None,
    key: jax.Array | None = None,
    **options: Unpack[Options],
) -> Estimate:
    r"""``E_x E_g d(f(g x), g f(x))``, g uniform on the group (Kvinge et al. 2022; measures.md C).

    With output="invariant" it is a deviation from invariance.

    Args:
      f: see ``relative_error``.
      images: see ``relative_error``.
      group: a finite group (every element), a compact one (n Haar samples), or transforms.
      discrepancy: d: "l2" (the norm of the difference), "sq" (its square), "kl" (of the softmax
        of ``g f(x)`` from that of ``f(g x)``, nats; the outputs must be logits), "argmax" (whether
        the top class differs) or a function of a ``Comparison`` that returns ``[n]``.
      n: number of samples; None: every element of a finite group, 32 of an infinite one.
      key: a JAX key, needed for samples.
      **options: all but stencil, see ``Options``.

    Raises:
      TypeError, ValueError: see ``evaluate``; ValueError for an unknown discrepancy, or samples
        without a key.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.arange(32.0, dtype="float32").reshape(2, 4, 4, 1)
      >>> C4, f = sq.groups.cyclic(4), lambda x: x.max((1, 2))
      >>> sq.measures.equivariance_deviation(f, x, C4, output="invariant").value
      0.0
    """
    transforms = transforms_of(group, n, key)
    if callable(discrepancy):
        d, name = discrepancy, "deviation"
    elif discrepancy in DISCREPANCIES:
        d, name = DISCREPANCIES[discrepancy], f"deviation ({discrepancy})"
    else:
        raise ValueError(
            f"no discrepancy is called {discrepancy!r}, choose from {list(DISCREPANCIES)}"
        )
    names = names_of(transforms)
    metric = per_image(_measure(d), lambda v: mean_of(name, v["d"], names))
    return evaluate(f, images, transforms, [metric], **options)[0]


def group_average_residual(
    f: Function,
    images: Array,
    group: Transforms,
    **options: Unpack[Options],
) -> Estimate:
    r"""``E ||f - P f||^2 / E ||f||^2`` with ``P f(x) = mean_g T'_g^-1 f(T_g x)``.

    P is the projection on equivariant functions; for an orthogonal action and data whose
    distribution the group leaves alone the ratio is the smallest relative squared distance to
    one (measures.md C). 0 is perfect, 1 is the most.

    Args:
      f: see ``relative_error``.
      images: see ``relative_error``.
      group: a finite group, or the list of all its transforms, which must permute entries (or
        mix them by a representation): an interpolation is no action.
      **options: all but stencil, see ``Options``.

    Raises:
      TypeError, ValueError: see ``evaluate``; ValueError for an infinite group or a transform
        that interpolates.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype("float32")
      >>> C4, square = sq.groups.cyclic(4), lambda x: x**2
      >>> residual = sq.measures.group_average_residual(square, x, C4, output="image")
      >>> residual.value < 1e-10
      True
    """
    if isinstance(group, Group) and not group.is_finite:
        raise ValueError(
            f"{group} is infinite: average over a finite subgroup, such as groups.cyclic(4), or "
            f"by orbits.average"
        )
    transforms = transforms_of(group)
    setting = resolved(options, "group_average_residual", without=("stencil",))
    setting = setting_of(images, transforms, setting)
    layout, out, frame = places(setting)
    _require_exact(transforms, images.shape, layout, frame)
    program = program_of(f, setting.head, setting.jit)
    residuals, norms = [], []
    for x, real in batches(images, setting.batch_size):
        upright = program.checked(x, "f(x)")
        if not norms:
            check_output(upright, transforms, setting)
            _require_exact(transforms, upright.shape, out, frame)
        total: jax.Array | float = 0.0
        for transform in transforms:
            y = program.checked(move(transform, x, layout, frame), f"f({transform.name})")
            total = total + move(transform.inverse, y, out, frame)
        residual = upright - total / len(transforms)
        for values, found in ((residuals, residual), (norms, upright)):
            values.append(np.asarray(squared(found), np.float64)[:real])
    return Estimate(
        "group average residual",
        np.concatenate(residuals)[None],
        np.concatenate(norms)[None],
        (" ".join(names_of(transforms)),),
    )


def _require_exact(
    transforms: Sequence[Transform], shape: Shape, layout: Layout, frame: Frame
) -> None:
    for transform in transforms:
        if not transform.is_exact(shape, layout, frame):
            raise ValueError(
                f"{transform.name} interpolates an array of shape {shape}, so these transforms "
                f"are no group: choose quarter turns, flips and circular shifts by whole entries"
            )
