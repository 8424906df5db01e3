"""An assertion for test suites: a function is equivariant, or the failure says why not."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from softeq_jax._checks import coefficient, whole
from softeq_jax.measures.base._functions import Function, as_key
from softeq_jax.measures.diagnosis._doctor import doctor, group_of
from softeq_jax.measures.diagnosis._elements import drawn, trials
from softeq_jax.measures.diagnosis._meanings import declared, frame_of, on_grid
from softeq_jax.measures.diagnosis._patient import Patient
from softeq_jax.measures.diagnosis._precision import tolerance_of
from softeq_jax.measures.diagnosis._several import is_declared, is_several, joined, outputs


def assert_equivariant(
    f: Callable[..., Any],
    rep_in: Any,
    rep_out: Any,
    x: Any,
    *,
    key: Any = None,
    tolerance: float | None = None,
    n: int = 4,
) -> None:
    """Nothing, if ``f(rep_in(g) x) = rep_out(g) f(x)`` for generators and random elements g.

    Errors are ``||f(g x) - g f(x)|| / ||f(x)||``. Pixels are moved by turns and flips of the
    lattice alone, so that nothing is interpolated.

    Args:
      f: see ``doctor``.
      rep_in: a representation, or what else ``doctor`` takes as its input, with a group.
      rep_out: of the output, or of several a dictionary or tuple like them.
      x: at least two examples, or a tuple of positions and species.
      key: a JAX key or a seed, for random elements; None: seed 0.
      tolerance: of the relative error; None: by the dtype of x, 1,000 units of the last place.
      n: random elements, none of them on maps.

    Raises:
      AssertionError: it does not hold; the message is the diagnosis.
      TypeError, ValueError: see ``doctor``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
      >>> sq.measures.assert_equivariant(lambda x: x * (x**2).sum(-1, keepdims=True), V, V, x)
    """
    n = whole(n, "n", least=0)
    if isinstance(x, tuple) or is_several(rep_out):
        group = group_of(None, rep_in, *jax.tree.leaves(rep_out, is_leaf=is_declared))
        cloud = joined(x, group, rep_in)
        for one in outputs(f, cloud, rep_out):
            try:
                assert_equivariant(
                    one.f, cloud.input, one.output, cloud.x, key=key, tolerance=tolerance, n=n
                )
            except AssertionError as error:
                raise AssertionError(f"{one.name}: {error}") from None
        return
    limit = tolerance_of(np.asarray(x).dtype)
    if tolerance is not None:
        limit = float(coefficient(tolerance, "tolerance"))
    diagnosis = doctor(f, x, input=rep_in, output=rep_out)
    worst = max((e for name, e in diagnosis.errors if "degrees" not in name), default=0.0)
    kinds = {found.kind for found in diagnosis.findings}
    refused = tolerance is None and not diagnosis.equivariant
    if refused or worst > limit or kinds & {"state"}:
        raise AssertionError(
            f"f(g x) and g f(x) differ by {worst:.3g}, tolerance {limit:.3g}\n{diagnosis}"
        )
    if n:
        _assert_drawn(f, (rep_in, rep_out), np.asarray(x), as_key(key), n, limit)


def _assert_drawn(
    f: Function, reps: tuple[Any, Any], x: np.ndarray, key: Any, n: int, limit: float
) -> None:
    group = group_of(None, *reps)
    source = declared(reps[0], group, x.shape, "the input")
    patient = Patient(f, x, group, source, source, frame_of(source, x.shape))
    still = patient.run(x)
    target = declared(reps[1], group, still.shape, "the output", (source, x.shape))
    elements = trials(group, True)[0] if on_grid(source) else drawn(group, key, n)
    for trial in elements:
        error = patient.error(trial, patient.run(patient.moved(trial)), still, target)
        if error > limit:
            raise AssertionError(
                f"{trial.name} of {group}, {np.round(trial.g, 4).tolist()}, gives a relative "
                f"error of {error:.3g}, above the tolerance {limit:.3g}; the generators pass"
            )
