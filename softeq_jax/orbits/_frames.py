r"""Canonicalization: equivariance from choosing one element of the orbit of the input.

With weights on the group that move with the input, ``w_g(h x) = w_{gh}(x)``, the function

.. math:: F(x) = \sum_g w_g(x) \, \rho_{out}(g)^{-1} f(\rho_{in}(g) x)

is equivariant for every f (a *frame average*). Canonicalization puts all weight on the g that
maximizes a score of g x; where several do, as for symmetric x, they share it.
"""

from collections.abc import Callable
from typing import Any, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import known_options
from softeq_jax.orbits._average import weighted_sum
from softeq_jax.orbits._orbit import TreeAction, common_group, tree_action
from softeq_jax.orbits._tables import checked

_TIES = 64.0  # scores that differ by less than this many rounding errors are equal

Score = Callable[[Any], jax.Array]


class Choice(TypedDict, total=False):
    """How one element of an orbit is chosen; all may be left out.

    Attributes:
      score: from g x to a real scalar (16-bit floats come as float32), the largest wins; by
        default a fixed linear functional ``Re <c, g x>`` with normal c, a generic one: elements
        with different g x have different scores with probability one. It may close over
        parameters, which get gradients with ``straight_through`` only.
      elements: ``[n, d, d]``, the elements to choose from; by default the whole group, which must
        be finite. For an infinite group, as ``quadrature(SO(2), n - 1).elements``, the result is
        equivariant under the group that the elements form, here C_n.
      seed: of c; 0 by default.
      tolerance: scores within this share of the largest absolute score tie; by default 64
        rounding errors.
      straight_through: whether gradients see the softmax of the scores instead of the choice; the
        value stays the same. False by default.
      temperature: of that softmax; 1 by default.
    """

    score: Score | None
    elements: Any
    seed: int
    tolerance: float | None
    straight_through: bool
    temperature: float


def canonicalize(
    rep: Any, x: Any, *, axes: Any = None, **choice: Unpack[Choice]
) -> tuple[Any, jax.Array]:
    """The element of the orbit of x with the highest score, the same for all x in one orbit.

    x is one example: all its axes are moved and scored together. Use ``vmap`` for a batch. Where
    scores tie, the first maximizer is taken. With the default score ties mean that g x is the
    same, so the result is invariant for symmetric x too; with another score it is so without ties.

    Args:
      rep: a representation, or a pytree prefix of representations of one group, None for what is
        left alone.
      x: an array, or a pytree of arrays; may be traced.
      axes: as in ``orbit_tree``.
      choice: ``score``, ``elements``, ``seed``, ``tolerance``, ``straight_through`` and
        ``temperature``, see ``Choice``.

    Returns:
      ``(g x, index)``: with the structure and dtypes of x, and the position of g among the
      elements, an int32 scalar.

    Raises:
      ValueError: the group is infinite and there are no ``elements``; the score is no real scalar;
        the temperature is not positive; a seed beside a score; otherwise as ``orbit``.
      TypeError: as ``orbit``.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> R = sq.reps.regular(sq.groups.cyclic(3))
      >>> x, index = sq.orbits.canonicalize(R, jnp.array([1.0, 2.0, 5.0]), score=lambda x: x[0])
      >>> x, int(index)  # the largest entry in front
      (Array([5., 1., 2.], dtype=float32), 1)
    """
    select = _Selection(choice, "canonicalize")
    action = tree_action(rep, axes, checked(common_group(rep), choice.get("elements")))
    x = jax.tree.map(jnp.asarray, x)
    weights, soft = select(action, x)
    index = jnp.argmax(weights > 0).astype(jnp.int32)
    chosen = action.move(jax.tree.map(lambda a: jnp.asarray(a)[index], action.arrays), x)
    if soft is not None:
        change = soft - jax.lax.stop_gradient(soft)
        blend = weighted_sum(lambda one: action.move(one, x), change, action.arrays)
        chosen = jax.tree.map(jnp.add, chosen, blend)
    return chosen, index


def frame_average(
    f: Callable[..., Any],
    rep_in: Any,
    rep_out: Any,
    *,
    axes_in: Any = None,
    axes_out: Any = None,
    every_maximizer: bool = False,
    **choice: Unpack[Choice],
) -> Callable[..., Any]:
    r"""The canonicalized function ``x -> rho_out(g)^-1 f(rho_in(g) x)``, g maximizing a score.

    It is equivariant whatever f is, and needs one evaluation of f where ``average`` needs one
    for each element; but it jumps where the maximizer changes. Maximizers that tie share the
    weight: ``[sum_g w_g rho_out(g)^-1] f(sum_g w_g rho_in(g) x)``, which is equivariant for
    symmetric x too. Tied elements of the default score have the same g x, so nothing is blended.

    Args:
      f: from an array or a pytree to another; more arguments are passed on to it.
      rep_in: as in ``average``. x is one example, as in ``canonicalize``.
      rep_out: as in ``average``.
      axes_in: as in ``average``.
      axes_out: as in ``average``.
      every_maximizer: evaluate f on the whole orbit and average over the maximizers, ``sum_g w_g
        rho_out(g)^-1 f(rho_in(g) x)``. Differs for scores that tie without x being symmetric;
        then an equivariant f comes back unchanged, as it does in any case without such ties.
      choice: as in ``canonicalize``, see ``Choice``. With ``straight_through`` gradients see the
        softmax of the scores as weights.

    Returns:
      A pure function of the arguments of f, for ``jit``, ``grad`` and ``vmap``.

    Raises:
      ValueError, TypeError: as ``canonicalize`` and ``average``.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> R = sq.reps.regular(sq.groups.cyclic(3))
      >>> f = sq.orbits.frame_average(lambda x: x * jnp.arange(3), R, R, score=lambda x: x[0])
      >>> x = jnp.array([1.0, 2.0, 5.0])
      >>> f(x), f(jnp.roll(x, 1))  # equivariant
      (Array([1., 4., 0.], dtype=float32), Array([0., 1., 4.], dtype=float32))
    """
    if not callable(f):
        raise TypeError(f"frame_average needs a function, got {f!r}")
    select = _Selection(choice, "frame_average")
    common_group(rep_in)  # something must act on x, or nothing tells its orbit
    listed = checked(common_group(rep_in, rep_out), choice.get("elements"))
    enter = tree_action(rep_in, axes_in, listed)
    leave = tree_action(rep_out, axes_out, listed, inverse=True)

    def canonicalized(x: Any, *args: Any, **kwargs: Any) -> Any:
        x = jax.tree.map(jnp.asarray, x)
        weights, soft = select(enter, x)
        if soft is not None:
            weights = weights + (soft - jax.lax.stop_gradient(soft))
        if every_maximizer:

            def term(one: tuple[Any, Any]) -> Any:
                return leave.move(one[1], f(enter.move(one[0], x), *args, **kwargs))

            return weighted_sum(term, weights, (enter.arrays, leave.arrays))
        moved = weighted_sum(lambda one: enter.move(one, x), weights, enter.arrays)
        y = f(moved, *args, **kwargs)
        return weighted_sum(lambda one: leave.move(one, y), weights, leave.arrays)

    return canonicalized


class _Selection:
    """Which elements maximize a score."""

    def __init__(self, choice: Choice, what: str):
        known_options(choice, Choice, what)
        score, tolerance = choice.get("score"), choice.get("tolerance")
        temperature = choice.get("temperature", 1.0)
        if score is not None and not callable(score):
            raise TypeError(f"score must be a function of the moved input, got {score!r}")
        if score is not None and "seed" in choice:
            raise ValueError("seed: of the default score, and another score is given")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature!r}")
        if tolerance is not None and not 0 <= tolerance < 1:
            raise ValueError(f"tolerance must be in [0, 1), got {tolerance!r}")
        self._score, self._seed, self._tolerance = score, choice.get("seed", 0), tolerance
        self._soft, self._temperature = choice.get("straight_through", False), temperature

    def __call__(self, action: TreeAction, x: Any) -> tuple[jax.Array, jax.Array | None]:
        """Weights ``[n]``, equal on the maximizers and 0 elsewhere, without gradient, and the
        softmax of the scores if it is asked for."""
        x = jax.tree.map(_widened, x)
        score = self._score or _generic_score(action, x, self._seed)
        scores = jax.vmap(lambda one: jnp.asarray(score(action.move(one, x))))(action.arrays)
        if scores.ndim != 1 or not jnp.issubdtype(scores.dtype, jnp.floating):
            raise ValueError(
                f"score must return a real scalar, got shape {scores.shape[1:]}, {scores.dtype}"
            )
        tolerance = self._tolerance
        if tolerance is None:
            tolerance = _TIES * float(jnp.finfo(scores.dtype).eps)
        fixed = jax.lax.stop_gradient(scores)
        ties = fixed >= jnp.max(fixed) - tolerance * jnp.max(jnp.abs(fixed))
        weights = ties / jnp.sum(ties).astype(fixed.dtype)
        return weights, jax.nn.softmax(scores / self._temperature) if self._soft else None


def _widened(x: jax.Array) -> jax.Array:
    if jnp.issubdtype(x.dtype, jnp.inexact) and x.dtype.itemsize < 4:
        return x.astype(jnp.float32)
    return x


def _generic_score(action: TreeAction, x: Any, seed: int) -> Score:
    """``Re <c, x>`` over all arrays that something acts on, with a normal c."""
    rng, fixed = np.random.default_rng(seed), []
    for leaf in action.moving(x):
        c = rng.normal(size=(2, *leaf.shape))
        is_complex = jnp.issubdtype(leaf.dtype, jnp.complexfloating)
        fixed.append(c[0] + 1j * c[1] if is_complex else c[0])

    def score(moved: Any) -> jax.Array:
        pairs = zip(fixed, action.moving(moved), strict=True)
        total: Any = 0
        for c, leaf in pairs:
            total = total + jnp.sum(jnp.asarray(c) * leaf).real
        return total

    return score
