r"""Scores of networks on vectors: errors of trajectories and of tensor regressions.

Source of the metrics: sections 4 and 9 of the specification of "Tunable Soft Equivariance with
Guarantees". Host side, float64, but for ``ade`` and ``fde``, which also run under ``jit``.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import is_traced
from softeq_jax._text import plural
from softeq_jax.groups import Group
from softeq_jax.measures._statistics import given, mean_and_error
from softeq_jax.measures.base._functions import Array
from softeq_jax.measures.finite._task_scores import Scores, scores_of
from softeq_jax.reps import Rep

Predict = Callable[[Array], Array]


def ade(
    predicted: Array, true: Array, mask: Array | None = None, *, total: bool = False
) -> jax.Array:
    r"""Average displacement error, in the unit of the positions (meters).

    For every person the mean over the steps of ``||p_t - q_t||``, then the mean over all people
    who are there. The published code sums over the steps (``total``), its tables only make sense as
    means in units of 0.1 m (section 9).

    Args:
      predicted: ``[..., steps, d]``, say ``[n, people, steps, 2]``.
      true: of the same shape.
      mask: bool ``[...]``, which people count, or ``[..., steps]``, at which steps; None: all.
      total: the sum over the steps in the place of the mean.

    Returns:
      A scalar; NaN under ``jit`` where nobody counts.

    Raises:
      ValueError: shapes that do not fit, or nobody counts.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> true = np.zeros((1, 1, 2, 2))
      >>> predicted = true + np.array([[3.0, 4.0], [0.0, 1.0]])
      >>> ade = sq.measures.ade
      >>> float(ade(predicted, true)), float(ade(predicted, true, total=True))
      (3.0, 6.0)
    """
    distance, counted = _distances(predicted, true, mask)
    each = jnp.sum(distance, axis=-1)
    steps = jnp.sum(counted, axis=-1)
    there = steps > 0
    each = each if total else each / jnp.where(there, steps, 1)
    return _mean_over(each, there)


def fde(predicted: Array, true: Array, mask: Array | None = None) -> jax.Array:
    r"""Final displacement error ``||p_T - q_T||`` at the last step, in the unit of the positions.

    Arguments, result and errors as those of ``ade``; the mean is over the people who count at the
    last step.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> true = np.zeros((1, 1, 2, 2))
      >>> float(sq.measures.fde(true + np.array([[3.0, 4.0], [0.0, 1.0]]), true))
      1.0
    """
    distance, counted = _distances(predicted, true, mask)
    return _mean_over(distance[..., -1], counted[..., -1])


@dataclasses.dataclass(frozen=True)
class TrajectoryScores:
    """Displacement errors as they are and turned, and the consistency.

    Attributes:
      ade: average displacement errors, joined by the arithmetic mean.
      fde: final ones.
      consistency: mean over people and steps of ``||g f(x) - f(g x)||``, for every element; in
        the unit of the positions.

    Example:
      >>> import softeq_jax as sq
      >>> ade = sq.measures.Scores("ADE", 0.5, (0.7,), ("rotation",), mean="arithmetic")
      >>> scores = sq.measures.TrajectoryScores(ade, ade, consistency=(0.1,))
      >>> scores.ade.combined
      0.6
    """

    ade: Scores
    fde: Scores
    consistency: tuple[float, ...]

    def __repr__(self) -> str:
        elements = plural(len(self.consistency), "element")
        mean = float(np.mean(self.consistency)) if self.consistency else math.nan
        return f"{self.ade!r}\n{self.fde!r}\nconsistency: {mean:.5g}, mean over {elements}"


def trajectories_under(
    predict: Predict,
    observed: Array,
    future: Array,
    elements: Group | Array,
    mask: Array | None = None,
    *,
    total: bool = False,
) -> TrajectoryScores:
    r"""Displacement errors on tracks and on turned tracks, and equivariant consistency.

    Observed and true tracks are turned by every element g about the origin of their coordinates.
    Combined as published, ``(ADE + ADE') / 2``.

    Args:
      predict: ``[n, people, steps seen, d]`` to ``[n, people, steps, d]``.
      observed: what it is given.
      future: what came, ``[n, people, steps, d]``.
      elements: matrices ``[k, d, d]``, such as ``group.sample(key, k)``, or a finite group.
      mask: see ``ade``.
      total: see ``ade``.

    Raises:
      ValueError: shapes that do not fit, an infinite group, predictions that are not finite, or
        nobody counts.

    Example:
      >>> import numpy as np
      >>> from softeq_jax import groups, measures
      >>> tracks = np.arange(6.0).reshape(1, 1, 3, 2)
      >>> still = lambda x: x[:, :, -1:]
      >>> found = measures.trajectories_under(
      ...     still, tracks[:, :, :2], tracks[:, :, 2:], groups.cyclic(4)
      ... )
      >>> found.ade, max(found.consistency) < 1e-6
      (ADE (mean over steps): 2.8284, under 4 transforms 2.8284, combined 2.8284, True)
    """
    matrices = _matrices(elements, np.shape(observed)[-1])
    observed, future = np.asarray(observed, np.float64), np.asarray(future, np.float64)
    dtype = jnp.zeros(()).dtype
    plain = _predicted(predict, observed.astype(dtype))
    ades, fdes, apart = [], [], []
    for g in matrices:
        moved = _predicted(predict, (observed @ g.T).astype(dtype))
        ades.append(_host(ade, moved, future @ g.T, mask, total=total))
        fdes.append(_host(fde, moved, future @ g.T, mask))
        apart.append(_host(ade, moved, plain @ g.T, mask))
    names = tuple(f"element {k}" for k in range(len(matrices)))
    unit = "sum" if total else "mean"
    return TrajectoryScores(
        Scores(
            f"ADE ({unit} over steps)",
            _host(ade, plain, future, mask, total=total),
            tuple(ades),
            names,
            "arithmetic",
        ),
        Scores("FDE", _host(fde, plain, future, mask), tuple(fdes), names, "arithmetic"),
        tuple(apart),
    )


def symmetric_relative_error(predicted: Array, true: Array, eps: float = 1e-6) -> np.ndarray:
    r"""``||p - t|| / (||p|| + ||t|| + eps)`` of every example, in [0, 1]; no unit.

    Args:
      predicted: ``[n, ...]``; norms are over all but the first axis.
      true: of the same shape.
      eps: keeps 0 against 0 at 0.

    Returns:
      float64 ``[n]``.

    Raises:
      ValueError: other shapes.

    Example:
      >>> import softeq_jax as sq
      >>> error = sq.measures.symmetric_relative_error
      >>> error([[3.0, 0.0], [2.0, 2.0]], [[1.0, 0.0], [2.0, 2.0]]).round(3)
      array([0.5, 0. ])
    """
    p, t = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if p.shape != t.shape or p.ndim < 1:
        raise ValueError(
            f"predictions have shape {p.shape}, targets {t.shape}: both must be [n, ...]"
        )
    p, t = p.reshape(len(p), math.prod(p.shape[1:])), t.reshape(len(t), math.prod(t.shape[1:]))
    norms = [np.linalg.norm(x, axis=1) for x in (p - t, p, t)]
    return norms[0] / (norms[1] + norms[2] + eps)


@dataclasses.dataclass(frozen=True)
class RegressionScores:
    """Relative errors of a regression as it is and under group elements, and the consistency.

    Attributes:
      error: symmetric relative errors; the moved ones are of one element for each example.
      consistency: mean of ``||rho(g) f(x) - f(g x)||`` relative to the sum of their norms.
      consistency_error: its standard error over examples.

    Example:
      >>> import softeq_jax as sq
      >>> error = sq.measures.Scores("error", 0.1, (0.2,), ("rotation",))
      >>> sq.measures.RegressionScores(error, consistency=0.05, consistency_error=0.01).error.plain
      0.1
    """

    error: Scores
    consistency: float
    consistency_error: float

    def __repr__(self) -> str:
        error = given(self.consistency_error, ".2g")
        return f"{self.error!r}\nconsistency: {self.consistency:.5g} +- {error}"


def regression_under(
    predict: Predict,
    inputs: Array,
    targets: Array,
    elements: Array,
    rep_in: Rep,
    rep_out: Rep | None = None,
) -> RegressionScores:
    r"""Relative error of a regression of tensors, on its data and moved by group samples.

    Errors are ``mean ||p - t|| / (||p|| + ||t|| + 1e-6)``; example i is moved by its own element
    ``g_i``, ``x_i -> rho_in(g_i) x_i`` and ``t_i -> rho_out(g_i) t_i``. Consistency is the same
    quotient of ``f(g_i x_i)`` and ``rho_out(g_i) f(x_i)``.

    Args:
      predict: ``[n, rep_in.dim]`` to ``[n, ...]``.
      inputs: ``[n, rep_in.dim]``.
      targets: as ``predict`` returns them; ``[n, rep_out.dim]`` with a representation.
      elements: ``[n, d, d]``, such as ``group.sample(key, n)``.
      rep_in: acts on the inputs.
      rep_out: acts on the targets; None: nothing does.

    Raises:
      ValueError: shapes that do not fit, elements that are not of the group, or predictions that
        are not finite.

    Example:
      >>> import jax, numpy as np
      >>> from softeq_jax import groups, measures, reps
      >>> group = groups.o(5)
      >>> x = np.eye(5)
      >>> elements = group.sample(jax.random.key(0), 5)
      >>> vector = reps.vector(group)
      >>> found = measures.regression_under(lambda x: 3 * x, x, x, elements, vector, vector)
      >>> found.error, found.consistency < 1e-6
      (relative error: 0.5, under 1 transform 0.5, combined 0.5, True)
    """
    x, t = np.asarray(inputs, np.float64), np.asarray(targets, np.float64)
    elements = np.asarray(elements)
    if x.shape != (len(x), rep_in.dim) or len(t) != len(x):
        raise ValueError(
            f"inputs must be [n, {rep_in.dim}] with as many targets, got shapes {x.shape} and "
            f"{t.shape}"
        )
    if elements.ndim != 3 or len(elements) != len(x):
        raise ValueError(
            f"{len(x)} examples need one element each, [{len(x)}, d, d], got shape {elements.shape}"
        )

    def act(rep: Rep | None, values: np.ndarray) -> np.ndarray:
        if rep is None:
            return values
        if values.shape != (len(x), rep.dim):
            raise ValueError(f"{rep} acts on [n, {rep.dim}], not on an array of {values.shape}")
        return np.stack([rep.matrix(g) @ v for g, v in zip(elements, values, strict=True)])

    dtype = jnp.zeros(()).dtype
    plain = _predicted(predict, x.astype(dtype))
    moved = _predicted(predict, act(rep_in, x).astype(dtype))
    if plain.shape != t.shape:
        raise ValueError(f"predictions have shape {plain.shape}, targets {t.shape}")
    error = scores_of(
        "relative error",
        symmetric_relative_error(plain, t),
        symmetric_relative_error(moved, act(rep_out, t))[None],
        ("one element an example",),
        "arithmetic",
    )
    apart = symmetric_relative_error(moved, act(rep_out, plain))
    return RegressionScores(error, *mean_and_error(apart))


def _distances(predicted: Array, true: Array, mask: Array | None) -> tuple[jax.Array, jax.Array]:
    """Distances ``[..., steps]``, 0 where nothing counts, and what counts."""
    p, t = jnp.asarray(predicted), jnp.asarray(true)
    if p.shape != t.shape or p.ndim < 2 or 0 in p.shape[-2:]:
        raise ValueError(
            f"tracks must be [..., steps, d] of one shape, got shapes {p.shape} and {t.shape}"
        )
    steps = p.shape[:-1]
    counted = jnp.ones(steps, bool)
    if mask is not None:
        given = jnp.asarray(mask).astype(bool)
        if given.shape == steps[:-1]:
            given = given[..., None]
        elif given.shape != steps:
            raise ValueError(
                f"the mask must be {list(steps[:-1])} or {list(steps)}, got shape {given.shape}"
            )
        counted = jnp.broadcast_to(given, steps)
    apart = jnp.where(counted[..., None], p - t, 0.0)
    square = jnp.sum(apart**2, axis=-1)
    # The root has no derivative at 0, where masked entries are.
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0), counted


def _mean_over(values: jax.Array, counted: jax.Array) -> jax.Array:
    """The mean over what counts."""
    if not is_traced(counted) and not bool(jnp.any(counted)):
        raise ValueError("nobody counts: the mask leaves no one, or there are no tracks")
    return jnp.sum(jnp.where(counted, values, 0.0)) / jnp.sum(counted)


def _host(measure: Callable[..., jax.Array], *args: Array | None, **more: bool) -> float:
    return float(measure(*args, **more))


def _predicted(predict: Predict, x: np.ndarray) -> np.ndarray:
    """Predictions in float64, once they are known to be finite."""
    found = np.asarray(predict(x), np.float64)
    if not np.all(np.isfinite(found)):
        raise ValueError("the predictions hold NaN or infinite values")
    return found


def _matrices(elements: Group | Array, d: int) -> np.ndarray:
    """The elements as matrices ``[k, d, d]``."""
    if isinstance(elements, Group):
        if not elements.is_finite:
            raise ValueError(f"{elements} is infinite: give elements, {elements}.sample(key, n)")
        elements = elements.elements()
    found = np.asarray(elements, np.float64)
    if found.ndim != 3 or found.shape[1:] != (d, d) or not len(found):
        raise ValueError(f"elements must be [k, {d}, {d}], got shape {found.shape}")
    return found
