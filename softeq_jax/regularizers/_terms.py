r"""Terms of a penalty of weights: from the squared norms of single parameters to one number.

With the squares q_i of the parameters i that share a norm, their sizes n_i and squared weights W_i,

.. math:: \sum f \Big( \frac{\sum_i q_i}{d} \Big)^{p / 2}, \qquad
   d = 1, \; \sum_i W_i + \epsilon \; \text{(relative)}, \; \sum_i n_i \; \text{(mean)}.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import coefficient, is_traced, known_options
from softeq_jax._paths import first_matches, refuse_idle
from softeq_jax.projections import Plan
from softeq_jax.regularizers._parts import Array, safe_sqrt

Per = str | Callable[[str], str]
"""``"parameter"``, ``"layer"``, ``"all"``, or a function from a path to a name: parameters with
the same one belong together."""


class Terms(TypedDict, total=False):
    """The terms that a penalty of the weights is the sum of; all may be left out.

    Attributes:
      power: p, 1 (norms) or 2 (their squares). 2 by default for penalties, 1 for ``prox_step``
        and ``add_equivariance_decay``.
      relative: whether squared norms are divided by ``||w||^2 + eps``; False by default. In
        ``prox_step`` w are the given parameters.
      mean: whether squared norms are divided by the number of entries; False by default.
      weights: factors f by layer, from globs over paths (``{"stage1/**": 0.1}``); the first that
        covers a path decides, 1 where none does.
      per: the parameters whose norm is taken jointly: ``"parameter"`` (each alone, the default),
        ``"layer"`` (those with the same parent: a kernel and its bias), ``"all"``, or a function
        from a path to the name of what it belongs to. It matters for ``p = 1``, where they also
        shrink and vanish as one, for ``relative`` and for ``mean``.
      stop_gradient: whether the denominator of a relative penalty counts as a constant, True by
        default. Penalties alone have it: steps take no gradient.
      eps: of the denominator of a relative penalty, 1e-12 by default.
    """

    power: int
    relative: bool
    mean: bool
    weights: Mapping[str, Any] | None
    per: Per
    stop_gradient: bool
    eps: Any


class ParameterGroup(NamedTuple):
    """Planned parameters whose joint norm is one term of a penalty.

    Attributes:
      name: what they share, such as the path of their layer.
      paths: of the parameters.
      factor: what its term is multiplied by.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"dense": {"kernel": np.ones((2, 2)), "bias": np.ones(2)}}
      >>> R = sq.reps.regular(sq.groups.cyclic(2))
      >>> plan = sq.plan(w, {"*/bias": sq.projector("i", {"i": R})})
      >>> sq.regularizers.parameter_groups(plan)[0].paths
      ('dense/bias',)
    """

    name: str
    paths: tuple[str, ...]
    factor: Any

    def total(self, values: Mapping[str, Any]) -> Any:
        """The sum of the values of the parameters, given by path."""
        return sum(values[path] for path in self.paths)


def parameter_groups(
    plan: Plan, per: Per = "parameter", weights: Mapping[str, Any] | None = None
) -> list[ParameterGroup]:
    """The planned parameters that belong together, in the order of the plan.

    Args:
      plan: the plan.
      per: as of ``Terms``.
      weights: as of ``Terms``.

    Raises:
      ValueError: an unknown ``per``; a weight that is negative, NaN or infinite; a glob that
        decides about no planned parameter; different factors for parameters
        that belong together.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"dense": {"kernel": np.ones((2, 2)), "bias": np.ones(2)}}
      >>> R = sq.reps.regular(sq.groups.cyclic(2))
      >>> P, Q = sq.projector("i o", {"o": R}), sq.projector("o", {"o": R})
      >>> plan = sq.plan(w, {"*/kernel": P, "*/bias": Q})
      >>> sq.regularizers.parameter_groups(plan, per="layer")[0].paths
      ('dense/bias', 'dense/kernel')
    """
    paths = [path for path, index in zip(plan.paths, plan.chosen, strict=True) if index >= 0]
    weights = {} if weights is None else weights
    for pattern, value in weights.items():
        coefficient(value, f"weights[{pattern!r}]")
    rules = first_matches(weights, paths)
    refuse_idle(weights, rules, paths, "weights that decide about no planned parameter")
    members: dict[str, list[tuple[str, str | None]]] = {}
    for path, rule in zip(paths, rules, strict=True):
        members.setdefault(_name_of(path, per), []).append((path, rule))
    return [
        ParameterGroup(name, tuple(path for path, _ in each), _factor(name, each, weights))
        for name, each in members.items()
    ]


def _name_of(path: str, per: Per) -> str:
    if callable(per):
        return per(path)
    if per == "parameter":
        return path
    if per == "layer":
        return path.rpartition("/")[0]
    if per == "all":
        return ""
    raise ValueError(
        f"per must be 'parameter', 'layer', 'all' or a function of the path, got {per!r}"
    )


def _factor(name: str, each: list[tuple[str, str | None]], weights: Mapping[str, Any]) -> Any:
    found = list({rule: 1.0 if rule is None else weights[rule] for _, rule in each}.values())
    alike = not any(map(is_traced, found)) and len(set(map(float, found))) == 1
    if len(found) > 1 and not alike:
        shown = ", ".join(f"{path} by {rule!r}" for path, rule in each[:4])
        raise ValueError(
            f"weights must be the same for all parameters that share a norm, but {name!r} has "
            f"{shown}; choose per='parameter' or globs that cover all of them"
        )
    return found[0]


class Form(NamedTuple):
    """What the terms of a penalty look like.

    Attributes:
      members: the parameters whose joint norms the terms are.
      power: 1 or 2.
      relative: whether squares are divided by those of the whole weights.
      mean: whether squares are divided by the number of entries.
      eps: added to the squares of the whole weights.
      stop_gradient: whether the squares of the whole weights count as constants.
    """

    members: list[ParameterGroup]
    power: int
    relative: bool
    mean: bool
    eps: Any
    stop_gradient: bool

    def denominator(
        self, group: ParameterGroup, whole: Mapping[str, Array], sizes: Mapping[str, int]
    ) -> Any:
        """d of a group of parameters."""
        if self.mean:
            return float(group.total(sizes))
        if not self.relative:
            return 1.0
        total = group.total(whole) + self.eps
        constant = self.stop_gradient and isinstance(total, jax.Array)
        return jax.lax.stop_gradient(total) if constant else total

    def term(self, group: ParameterGroup, squares: Mapping[str, Array], d: Any) -> Any:
        """``(sum_i q_i / d)^(p / 2)`` of a group of parameters, differentiable at 0."""
        total = group.total(squares) / d
        return total if self.power == 2 else safe_sqrt(total)


def form(plan: Plan, what: str, terms: Terms, power: int) -> Form:
    """A checked ``Form``.

    Args:
      plan: the plan.
      what: takes the terms, for the error where one is unknown.
      terms: as they were given.
      power: if they leave it out.

    Raises:
      ValueError: a power other than 1 and 2, ``relative`` together with ``mean``, a negative
        ``eps``, ``eps`` or ``stop_gradient`` without ``relative``, or as ``parameter_groups``.
      TypeError: an unknown term.
    """
    known_options(terms, Terms, what)
    power = terms.get("power", power)
    relative, mean = terms.get("relative", False), terms.get("mean", False)
    if relative and mean:
        raise ValueError("relative and mean are two normalizations, choose one of them")
    idle = [name for name in ("eps", "stop_gradient") if name in terms and not relative]
    if isinstance(power, bool) or power not in (1, 2):
        raise ValueError(f"power must be 1 (norms) or 2 (their squares), got {power!r}")
    eps = coefficient(terms.get("eps", 1e-12), "eps")
    if idle:
        raise ValueError(f"{' and '.join(idle)}: of a relative penalty, and relative is False")
    members = parameter_groups(plan, terms.get("per", "parameter"), terms.get("weights"))
    return Form(members, int(power), relative, mean, eps, terms.get("stop_gradient", True))


def scalar(total: Any, squares: Mapping[str, Array]) -> Any:
    """A total to which nothing was added as the zero of the squares' dtype; others as they are."""
    if type(total) is not float:
        return total
    like = next(iter(squares.values()), jnp.zeros((), jnp.float32))
    return np.zeros((), like.dtype)[()] if isinstance(like, np.generic) else jnp.zeros_like(like)
