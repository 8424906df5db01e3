r"""From the squared norms of single parameters to one number.

With the squares q_i of the parameters i of a group, their sizes n_i and squared weights W_i,

.. math:: \sum_{groups} f \Big( \frac{\sum_i q_i}{d} \Big)^{p / 2}, \qquad
   d = 1, \; \sum_i W_i + \epsilon \; \text{(relative)}, \; \sum_i n_i \; \text{(mean)}.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import coefficient
from softeq_jax.projections import Plan
from softeq_jax.regularizers._groups import Grouping, ParameterGroup, parameter_groups
from softeq_jax.regularizers._norms import Array, safe_sqrt


class Form(NamedTuple):
    """What the terms of a penalty look like.

    Attributes:
      groups: whose joint norms the terms are.
      power: 1 or 2.
      relative: whether squares are divided by those of the whole weights.
      mean: whether squares are divided by the number of entries.
      eps: added to the squares of the whole weights.
      stop_gradient: whether the squares of the whole weights count as constants.
    """

    groups: list[ParameterGroup]
    power: int
    relative: bool
    mean: bool
    eps: Any
    stop_gradient: bool

    def denominator(
        self, group: ParameterGroup, whole: Mapping[str, Array], sizes: Mapping[str, int]
    ) -> Any:
        """d of a group."""
        if self.mean:
            return float(sum(sizes[path] for path in group.paths))
        if not self.relative:
            return 1.0
        total = sum(whole[path] for path in group.paths) + self.eps
        constant = self.stop_gradient and isinstance(total, jax.Array)
        return jax.lax.stop_gradient(total) if constant else total

    def term(self, group: ParameterGroup, squares: Mapping[str, Array], d: Any) -> Any:
        """``(sum_i q_i / d)^(p / 2)`` of a group, differentiable at 0."""
        total = sum(squares[path] for path in group.paths) / d
        return total if self.power == 2 else safe_sqrt(total)


def form(
    plan: Plan,
    *,
    groups: Grouping,
    weights: Mapping[str, Any] | None,
    power: int,
    relative: bool,
    mean: bool,
    eps: Any = 1e-12,
    stop_gradient: bool = True,
) -> Form:
    """A checked ``Form``.

    Raises:
      ValueError: a power other than 1 and 2, ``relative`` together with ``mean``, a negative
        ``eps``, or as ``parameter_groups``.
    """
    if relative and mean:
        raise ValueError("relative and mean are two normalizations, choose one of them")
    power, eps = check_power(power), coefficient(eps, "eps")
    return Form(parameter_groups(plan, groups, weights), power, relative, mean, eps, stop_gradient)


def scalar(total: Any, squares: Mapping[str, Array]) -> Any:
    """A total to which nothing was added as the zero of the squares' dtype; others as they are."""
    if type(total) is not float:
        return total
    like = next(iter(squares.values()), jnp.zeros((), jnp.float32))
    return np.zeros((), like.dtype)[()] if isinstance(like, np.generic) else jnp.zeros_like(like)


def check_power(power: Any) -> int:
    """The power, if it is 1 or 2.

    Raises:
      ValueError: it is something else.
    """
    if isinstance(power, bool) or power not in (1, 2):
        raise ValueError(f"power must be 1 (norms) or 2 (their squares), got {power!r}")
    return int(power)
