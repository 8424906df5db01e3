"""How much of a function its group mean leaves out."""

from collections.abc import Sequence

import numpy as np

from softeq_jax.groups import Group
from softeq_jax.measures._functions import Function, batches
from softeq_jax.measures._layouts import Layout
from softeq_jax.measures.finite._deviation import transforms_of
from softeq_jax.measures.finite._errors import names_of, squared
from softeq_jax.measures.finite._evaluator import Setting, setting_of
from softeq_jax.measures.finite._program import move, program_of
from softeq_jax.measures.finite._statistics import Estimate
from softeq_jax.measures.finite._transform import Array, Shape, Transform


def group_average_residual(
    f: Function,
    images: Array,
    group: Group | Sequence[Transform],
    *,
    input: str | Layout = "image",
    output: str | Layout | None = None,
    head: str | Function = "logits",
    batch_size: int | None = None,
    jit: bool = True,
) -> Estimate:
    r"""``E ||f - P f||^2 / E ||f||^2`` with ``P f(x) = mean_g T'_g^-1 f(T_g x)``.

    P is the projection on equivariant functions; for an orthogonal action and data whose
    distribution the group leaves alone the ratio is the smallest relative squared distance to
    one (measures.md C). 0 is perfect, 1 is the most.

    Args:
      f: as of ``relative_error``.
      images: likewise.
      group: a finite group, or the list of all its transforms, which must permute entries (or
        mix them by a representation): an interpolation is no action.
      input: as of ``relative_error``.
      output: likewise.
      head: likewise.
      batch_size: likewise.
      jit: likewise.

    Raises:
      TypeError, ValueError: see ``evaluate``; ValueError for an infinite group or a transform
        that interpolates.
    """
    if isinstance(group, Group) and not group.is_finite:
        raise ValueError(
            f"{group} is infinite: average over a finite subgroup, such as groups.cyclic(4), or "
            f"by orbits.average"
        )
    transforms = transforms_of(group)
    setting = setting_of(images, transforms, input, output)
    layout, out, frame = setting
    _require_exact(transforms, images.shape, layout, setting)
    program = program_of(f, head, jit)
    residuals, norms = [], []
    for x, real in batches(images, batch_size):
        upright = program.checked(x, "f(x)")
        if not norms:
            setting.check_output(upright, transforms)
            _require_exact(transforms, upright.shape, out, setting)
        total = 0.0
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
    transforms: Sequence[Transform], shape: Shape, layout: Layout, setting: Setting
) -> None:
    for transform in transforms:
        if not transform.is_exact(shape, layout, setting.frame):
            raise ValueError(
                f"{transform.name} interpolates an array of shape {shape}, so these transforms "
                f"are no group: choose quarter turns, flips and circular shifts by whole entries"
            )
