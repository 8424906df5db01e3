"""The doctor: why a function is not equivariant, and what to do about it."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from softeq_jax.groups import Group, from_name
from softeq_jax.measures.base._functions import Array, Function, check_inputs
from softeq_jax.measures.base._layouts import Invariant
from softeq_jax.measures.diagnosis._diagnosis import Diagnosis
from softeq_jax.measures.diagnosis._elements import Trial, trials
from softeq_jax.measures.diagnosis._examination import Examination
from softeq_jax.measures.diagnosis._meanings import Meaning, check_grid, declared, frame_of, on_grid
from softeq_jax.measures.diagnosis._patient import Patient
from softeq_jax.measures.diagnosis._precision import tolerance_of
from softeq_jax.measures.diagnosis._several import (
    is_declared,
    is_several,
    joined,
    outputs,
    together,
)
from softeq_jax.reps import Rep


def doctor(
    f: Callable[..., Any],
    x: Any,
    group: Group | str | None = None,
    *,
    input: Any = None,
    output: Any = None,
) -> Diagnosis:
    r"""Why a function is not equivariant: ``f(rho_in(g) x) = rho_out(g) f(x)`` element by element.

    In this order it asks whether f is a function of each example (two calls, part of the batch);
    whether the equation holds for the generators, for maps those that permute the pixels; if not,
    whether it holds in float64, or under another meaning of the output or input (channels first,
    other orders of components and fields, turning the other way, the dual, axial, scalar, vector);
    at which operation it breaks first; and whether that one's positions or its weights are why.
    For sound maps it compares turns between the points of the lattice with resampling alone.

    Args:
      f: any function of ``[n, ...]`` to ``[n, ...]``, called outside ``jit``. Layers have names if
        Flax modules (see ``measures.linen``), ``jax.named_scope`` or ``measures.tap`` give some.
      x: at least two different examples, floating point; random ones show most. Or a tuple of
        positions ``[n, atoms, d]`` and species (``[n, atoms]`` or ``[atoms]``): f takes both, and
        may return energy and forces as a dictionary or tuple.
      group: that acts, or its name ("c4"); None: that of a representation below.
      input: a representation, a layout such as ``measures.Image(fiber=rep)``, "image", "tokens" or
        "vector". A representation acts on the axes that it fits; one of a planar group on the
        channels of maps ``[n, h, w, c]`` makes them fields. None: maps for a planar group and four
        axes, vectors where the last axis fits the group's matrices.
      output: as input, also "invariant"; None: as the input if the shapes are equal, maps for
        maps, else vectors or invariants. Of several outputs a dictionary or tuple like them.

    Returns:
      A ``Diagnosis``, from at most 30 forward passes for each output.

    Raises:
      TypeError: integers, or an output that is not one floating point array.
      ValueError: no group; one example; a representation or a grid that does not fit; an input on
        which nothing acts; an output whose shape changes with the element; NaN.

    Example:
      >>> import jax, numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype("float32")
      >>> print(sq.measures.doctor(lambda x: x.mean((1, 2)), x, "c4").verdict)
      f is equivariant under C4: errors of at most 1e-06 (tolerance 0.00012).
      >>> found = sq.measures.doctor(lambda x: x[:, ::2, ::2], x, "c4")
      >>> found.findings[0].kind
      'position'
    """
    group = group_of(group, input, *jax.tree.leaves(output, is_leaf=is_declared))
    if isinstance(x, tuple) or is_several(output):
        cloud = joined(x, group, input)
        return together(
            [
                (one.name, doctor(one.f, cloud.x, group, input=cloud.input, output=one.output))
                for one in outputs(f, cloud, output)
            ]
        )
    x = _examples(x)
    patient, problem = _patient(f, x, group, input, output)
    tolerance = tolerance_of(x.dtype)
    case = Examination(patient, tolerance, output is None and patient.first.shape != x.shape)
    if problem is not None:
        return case.unreadable(problem)
    return case.examine()


def group_of(group: Any, *given: Any) -> Group:
    """The group that was named, or that of a representation; ValueError where there is none."""
    if isinstance(group, str):
        return from_name(group)
    if group is None:
        reps = [getattr(layout, "fiber", getattr(layout, "rep", layout)) for layout in given]
        group = next((rep.group for rep in reps if isinstance(rep, Rep)), None)
    if not isinstance(group, Group):
        raise ValueError(
            f"group is missing: pass one (groups.cyclic(4), or 'c4'), or a representation as "
            f"input or output; got {group!r}"
        )
    return group


def _examples(x: Array) -> np.ndarray:
    check_inputs(x, "x")
    x = np.asarray(x, jax.dtypes.canonicalize_dtype(x.dtype))
    if len(x) < 2:
        raise ValueError(
            "x holds one example only: with two or more, different ones, one can tell whether "
            "examples are coupled, and which action fits"
        )
    return x


def _patient(
    f: Function, x: np.ndarray, group: Group, input: Any, output: Any
) -> tuple[Patient, ValueError | None]:
    """What is examined; with the error of a grid that only another layout would allow."""
    source = declared(input, group, x.shape, "the input")
    if source.is_trivial:
        raise ValueError(
            f"nothing acts on an input that is read as {source.words}, so that every function "
            f"passes: declare how {group} acts on it"
        )
    patient = Patient(f, x, group, source, source, frame_of(source, x.shape))
    first = patient.first
    if len(first) != len(x) or first.ndim < 1:
        raise ValueError(
            f"f must return one entry per example on axis 0: {len(x)} examples gave an output of "
            f"shape {first.shape}"
        )
    patient.target = declared(output, group, first.shape, "the output", (source, x.shape))
    problem, elements = None, _all_trials(patient)
    if not elements:
        raise ValueError(f"{group} has one element, under which every function is equivariant")
    for trial in elements:
        if problem is None:
            problem = _obstacle(patient, trial)
    return patient, problem


def _obstacle(patient: Patient, trial: Trial) -> ValueError | None:
    """Why an element cannot act as declared, or None.

    Raises:
      ValueError: the output has another shape at g x, so that no meaning of it can be right.
    """
    group, frame = patient.group, patient.frame
    try:
        check_grid(group, patient.source.layout, patient.x.shape, "the input")
        patient.source.check(group, trial.g, patient.x.shape, frame)
    except ValueError as error:
        return error
    shape = patient.first.shape
    try:
        check_grid(group, patient.target.layout, shape, "the output")
        patient.target.check(group, trial.g, shape, frame)
    except ValueError as error:
        moved = patient.run(patient.moved(trial), f"f({trial.name})")
        patient.error(trial, moved, patient.first, Meaning(Invariant(), "invariant"))
        return error
    return None


def _all_trials(patient: Patient) -> list[Trial]:
    exact, resampled = trials(patient.group, on_grid(patient.source))
    return exact + resampled
