"""The two branches of relaxed layers: checks, weights, and plain models at the end."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from softeq_jax._checks import share
from softeq_jax._paths import by_path
from softeq_jax.nn._operations import Array
from softeq_jax.projections import Plan, Projector
from softeq_jax.relaxation import Branches, finish, mix

Tree = Any

_FREE = "free_"


def two_branches(params: Mapping[str, Any]) -> Branches:
    """Separates the free branches of all relaxed layers of a model.

    Args:
      params: nested dictionaries, as of Linen, or of NNX
        ``nnx.to_pure_dict(nnx.state(model, nnx.Param))``.

    Returns:
      The parameters of the plain model, for ``softeq_jax.plan``, and a tree like them with the
      free branches, None where a parameter has none.

    Raises:
      ValueError: a free branch without the parameter it belongs to (names it).

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> params = {"kernel": jnp.ones(2), "free_kernel": jnp.zeros(2), "bias": jnp.ones(2)}
      >>> both = sq.nn.two_branches(params)
      >>> both.free
      {'kernel': Array([0., 0.], dtype=float32), 'bias': None}
    """
    return Branches(*_separated(params, ""))


def fold(plan: Plan, params: Mapping[str, Any], theta: float = 0.0) -> Tree:
    """The plain strict model at the end: ``P (W_e + theta B)`` for every relaxed parameter.

    Args:
      plan: for the plain model's parameters, ``softeq_jax.plan(two_branches(params).equivariant,
        rules)``; it must cover what has a free branch.
      params: as for ``two_branches``.
      theta: the last theta, in [0, 1].

    Returns:
      Nested dictionaries for the model with ``Dense`` and ``Conv`` in place of the relaxed layers.

    Raises:
      ValueError: theta outside [0, 1]; a plan built for other parameters, or one that does not
        cover exactly what has a free branch (names the path).

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> P = sq.projector("i o", {"i": sq.reps.regular(sq.groups.cyclic(2))})
      >>> layer = sq.nn.RelaxedDense(3, P)
      >>> params = layer.init(jax.random.key(0), jnp.ones((1, 2)), theta=1.0)["params"]
      >>> plan = sq.plan(sq.nn.two_branches(params).equivariant, {"kernel": P})
      >>> sorted(params), sorted(sq.nn.fold(plan, params))
      (['bias', 'free_kernel', 'kernel'], ['bias', 'kernel'])
    """
    pair = two_branches(params)
    covered = {p for p, index in zip(plan.paths, plan.chosen, strict=True) if index >= 0}
    loose = [path for path in by_path(pair.free) if path not in covered]
    if loose:
        raise ValueError(f"the plan does not cover {loose}, which have a free branch")
    return finish(plan, pair, theta)


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
        p.refuse_smooth(f"relaxation (of {name})")
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
    """``P weight + theta free``, see ``relaxation.mix``."""
    even = weight if projector is None else projector.split(weight)[0]
    return even if free is None else mix(even, free, theta)


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


def _separated(params: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    stored: dict[str, Any] = {}
    free: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            stored[name], free[name] = _separated(value, f"{where}{name}/")
        elif not str(name).startswith(_FREE):
            stored[name], free[name] = value, params.get(f"{_FREE}{name}")
        elif str(name).removeprefix(_FREE) not in params:
            raise ValueError(f"{where}{name} has no parameter {str(name).removeprefix(_FREE)!r}")
    return stored, free
