"""Curves of equivariance: certificates and measures of a network, as scalars over a run."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import jax
import numpy as np

from softeq_jax import measures
from softeq_jax.projections import Plan

Params = Any
Array = jax.Array | np.ndarray

_QUARTER_TURN = (measures.quarter_turn(1),)


def certificate_values(
    plan: Plan,
    params: Params,
    *,
    within: float | None = None,
    per_parameter: bool = False,
) -> dict[str, float]:
    r"""How far the group can move the planned weights, and how much of them the masks keep.

    On the host, in float64. The bound is that of `Plan.certificate`, the root of the sum of
    squares of the bounds of the single weights.

    Args:
      plan: what filters the weights.
      params: the parameters *as given*; pass `plan.project(params)` for the filtered network.
      within: radians; bounds all group elements within this angle of the identity instead of the
        whole group.
      per_parameter: whether to give the bound of each planned weight, too.

    Returns:
      "certificate/bound" of :math:`\max_g \|g w - w\|`, "certificate/relative_bound" (its share
      of the norm, in [0, 2] under orthogonal actions), "certificate/weight_norm",
      "certificate/certified" (1 or 0; without a proof the bounds are NaN), and
      "certificate/rank_share" in [0, 1], the sum of the ranks of the projectors over that of the
      dimensions of the planned weights (traces, where a mask is smooth). With `per_parameter` also
      "certificate/relative_bound/{path}".

    Raises:
      ValueError: the plan filters nothing, or as `Plan.certificate`.
      TypeError: as `Plan.certificate`.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"w": np.array([3.0, 4.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.vector(sq.groups.cyclic(2))})})
      >>> values = sq.training.watch.certificate_values(plan, w)
      >>> round(values["certificate/bound"], 6), round(values["certificate/relative_bound"], 6)
      (10.0, 2.0)
    """
    planned = plan.planned(params)
    if not planned:
        raise ValueError("the plan filters no parameter, so there is nothing to certify")
    certificate = plan.certificate(params, within=within)
    sizes = np.array([w.size for _, _, w in planned], np.float64)
    shares = np.array([projector.rank() / projector.dim for _, projector, _ in planned])
    values = {
        "certificate/bound": certificate.bound,
        "certificate/relative_bound": certificate.relative,
        "certificate/weight_norm": certificate.weight_norm,
        "certificate/certified": float(certificate.certified),
        "certificate/rank_share": float(sizes @ shares / sizes.sum()),
    }
    if per_parameter:
        for path, part in certificate.parts.items():
            values[f"certificate/relative_bound/{path}"] = part.relative
    return {name: float(value) for name, value in values.items()}


def equivariance_values(
    predict: Callable[[Array], Array],
    images: Array,
    *,
    generators: Sequence[Any] = ("rotation", "translation_x", "translation_y"),
    transforms: Sequence[measures.Transform] = _QUARTER_TURN,
    metric: str = "mean_sq",
    **options: Unpack[measures.Options],
) -> dict[str, float]:
    r"""How equivariant a network is on some images.

    Costs about `1 + len(generators)` forward passes for the Lie derivatives and
    `1 + len(transforms)` for the finite errors. Pass `jax.tree_util.Partial(apply, params)` with
    the same `apply` each time: it is compiled once for all parameters, a plain function at every
    call.

    Args:
      predict: images `[n, ...]` to outputs `[n, ...]`, each image for itself.
      images: `[n, ...]`, floating point, as the network takes them.
      generators: of the Lie derivatives, see `softeq_jax.measures.lie_derivative`; none: ().
      transforms: of the finite errors, see `softeq_jax.measures.relative_error`; a quarter turn
        unless others are given; none: ().
      metric: of the Lie derivatives, see `softeq_jax.measures.local_equivariance_error`.
      **options: see `softeq_jax.measures.Options`; 64 images at a time unless said otherwise.
        The stencil is that of the Lie derivatives.

    Returns:
      "equivariance/lie_{metric}/{generator}", the mean over the images of
      :math:`\|L f(x)\|^2 / d` or of another metric, and "equivariance/relative_error/{transform}",
      :math:`E \|f(T x) - T' f(x)\| / E \|T' f(x)\|`. 0 is perfect for both. Names of transforms
      have "_" in place of what is no letter, digit, "." or "-".

    Raises:
      TypeError, ValueError: see the two measures; or neither a generator nor a transform, or two
        transforms of one name.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> values = sq.training.watch.equivariance_values
      >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
      >>> found = values(lambda x: x.sum((1, 2)), x, generators=())  # a sum is invariant
      >>> {name: round(value, 4) for name, value in found.items()}
      {'equivariance/relative_error/quarter_turn_1': 0.0}
    """
    if not generators and not transforms:
        raise ValueError("expected a generator or a transform, got neither")
    given: measures.Options = {"batch_size": 64, **options}
    shared: measures.Options = {**given}
    shared.pop("stencil", None)
    values = {}
    if generators:
        errors = measures.local_equivariance_error(
            predict, images, generators, metric=metric, **given
        )
        for name, error in errors.items():
            values[f"equivariance/lie_{metric}/{_slug(name)}"] = float(error.mean())
    if transforms:
        estimate = measures.relative_error(predict, images, transforms, **shared)
        names = [_slug(name) for name in estimate.transforms]
        if len(set(names)) < len(names):
            raise ValueError(f"expected transforms of different names, got {names}")
        for name, error in zip(names, estimate.per_transform, strict=True):
            values[f"equivariance/relative_error/{name}"] = float(error)
    return values


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip("_")
