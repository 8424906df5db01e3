"""The doctor: why a function is not equivariant, and what to do about it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from softeq_jax.groups import Group, PlanarGroup, from_name
from softeq_jax.measures.base._functions import Array, Function, check_inputs
from softeq_jax.measures.base._layouts import Image, Invariant, Layout, Tokens
from softeq_jax.measures.doctor._candidates import candidates
from softeq_jax.measures.doctor._diagnosis import Diagnosis, Finding
from softeq_jax.measures.doctor._elements import Trial, trials
from softeq_jax.measures.doctor._interpolation import WORSE, between, resampling
from softeq_jax.measures.doctor._layers import inside
from softeq_jax.measures.doctor._meanings import Meaning, declared, frame_of
from softeq_jax.measures.doctor._patient import MOST_PASSES, Patient
from softeq_jax.measures.doctor._positions import is_off_center, sizes_that_work
from softeq_jax.measures.doctor._precision import close_tolerance, rounding, tolerance_of
from softeq_jax.measures.doctor._state import coupled, masked, unsteady
from softeq_jax.reps import GridImage, GridTokens, Rep, grid_obstacle

_EXACT = 1e-6
"""Relative error in float64 below which a function counts as equivariant, or a meaning as right."""


def doctor(
    f: Function,
    x: Array,
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
      x: at least two different examples, floating point; random ones show most.
      group: that acts, or its name ("c4"); None: that of a representation below.
      input: a representation, a layout such as ``measures.Image(fiber=rep)``, "image", "tokens" or
        "vector". A representation acts on the axes that it fits; one of a planar group on the
        channels of maps ``[n, h, w, c]`` makes them fields. None: maps for a planar group and four
        axes, vectors where the last axis fits the group's matrices.
      output: as input, also "invariant"; None: as the input if the shapes are equal, maps for
        maps, else vectors or invariants.

    Returns:
      A ``Diagnosis``, from at most 30 forward passes.

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
    group, x = group_of(group, input, output), _examples(x)
    patient, problem = _patient(f, x, group, input, output)
    tolerance = tolerance_of(x.dtype)
    case = _Case(patient, tolerance)
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
    problem = None
    for trial in _all_trials(patient):
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
        _check_grid(group, patient.source.layout, patient.x.shape, "the input")
        patient.source.check(group, trial.g, patient.x.shape, frame)
    except ValueError as error:
        return error
    shape = patient.first.shape
    try:
        _check_grid(group, patient.target.layout, shape, "the output")
        patient.target.check(group, trial.g, shape, frame)
    except ValueError as error:
        moved = patient.run(patient.moved(trial), f"f({trial.name})")
        patient.error(trial, moved, patient.first, Meaning(Invariant(), "invariant"))
        return error
    return None


def _check_grid(group: Group, layout: Layout, shape: tuple[int, ...], what: str) -> None:
    if not isinstance(layout, Image | Tokens):
        return
    if not isinstance(group, PlanarGroup):
        raise ValueError(
            f"{group} does not act on the pixels of {what}: choose a group of the plane, or "
            f"declare a representation"
        )
    grid = layout.grid(shape) if isinstance(layout, Image) else layout.sides(shape)
    if obstacle := grid_obstacle(group, grid):
        raise ValueError(f"{what} of shape {shape}: {obstacle}")


def on_grid(meaning: Meaning) -> bool:
    """Whether pixels move, so that elements off the lattice interpolate."""
    layout = meaning.layout
    rep = getattr(layout, "rep", None)
    return isinstance(layout, Image | Tokens) or isinstance(rep, GridImage | GridTokens)


def _all_trials(patient: Patient) -> list[Trial]:
    exact, resampled = trials(patient.group, on_grid(patient.source))
    return exact + resampled


@dataclasses.dataclass
class _Case:
    """One examination.

    Attributes:
      patient: who is examined.
      tolerance: of relative errors in the dtype of the inputs.
    """

    patient: Patient
    tolerance: float

    def __post_init__(self) -> None:
        self.exact, self.resampled = trials(self.patient.group, on_grid(self.patient.source))

    def examine(self) -> Diagnosis:
        """All checks, in the order in which one makes sense after the other."""
        patient = self.patient
        still = patient.first
        state = unsteady(patient, still, self.tolerance)
        if state is not None:
            verdict = "f cannot be judged: two calls with the same input differ."
            return self._diagnosis([state], [], verdict)
        findings = [found for found in [coupled(patient, still, self.tolerance)] if found]
        moved = [patient.moved(trial) for trial in self.exact]
        outputs = [patient.run(x, f"f({t.name})") for t, x in zip(self.exact, moved, strict=True)]
        errors = [
            (trial.name, patient.error(trial, y, still, patient.target))
            for trial, y in zip(self.exact, outputs, strict=True)
        ]
        size = max((error for _, error in errors), default=0.0)
        if (mask := masked(patient, size)) is not None:
            findings.append(mask)
        elif size > close_tolerance(patient, self.tolerance):
            findings += self._broken(size, still, moved, outputs)
        elif self.resampled:
            return self._between(findings, errors)
        return self._diagnosis(findings, errors)

    def _between(self, findings: list[Finding], errors: list[tuple[str, float]]) -> Diagnosis:
        """A function that is sound on the lattice, at an element off it."""
        trial, sound = self.resampled[0], not findings
        error, floor = between(self.patient, trial)
        errors = [*errors, (trial.name, error)]
        excess = error > max(WORSE * floor, self.tolerance)
        if excess and not self.exact:
            findings = [*findings, self._true_break(error, [])]
        elif error > self.tolerance:
            findings = [*findings, resampling(error, floor, trial, bool(self.exact))]
        sound = sound and not excess
        return self._diagnosis(findings, errors, equivariant=sound)

    def _broken(
        self,
        size: float,
        still: np.ndarray,
        moved: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
    ) -> list[Finding]:
        """Why the equation fails at exact elements."""
        patient = self.patient
        wide = [patient.in_double(x) for x in (np.asarray(patient.x, np.float64), *moved)]
        limit = self.tolerance
        if all(run is not None for run in wide):
            rounded, (still, *outputs) = still, [run[0] for run in wide if run is not None]
            if np.linalg.norm(still) < _EXACT * np.linalg.norm(rounded):
                return []  # f is zero, and what it gives is rounding
            pairs = zip(self.exact, outputs, strict=True)
            exact = max(patient.error(trial, y, still, patient.target) for trial, y in pairs)
            if exact <= max(_EXACT, 1e-4 * size):
                return [rounding(patient, size, exact)]
            size, limit = exact, _EXACT
        misread = self._misread(size, still, outputs, limit)
        return misread or [self._true_break(size, moved)]

    def _misread(
        self, size: float, still: np.ndarray, outputs: Sequence[np.ndarray], limit: float
    ) -> list[Finding]:
        """Other meanings under which the equation holds; the first of each kind."""
        found: dict[str, Finding] = {}
        patient = self.patient
        for kind, meaning in candidates(patient.target, patient.group, still.shape):
            if kind not in found and self._fits(meaning, still, outputs, limit):
                found[kind] = _misreading(kind, size, "output", patient.target, meaning)
        if found:
            return list(found.values())
        for kind, source in candidates(patient.source, patient.group, patient.x.shape):
            if source.is_trivial or patient.passes + 2 > MOST_PASSES - 8:
                continue
            outputs = self._outputs(source, self.exact[:1])
            both = [patient.target]
            if patient.target.words == patient.source.words:
                both.append(source)
            for target in both:
                if not outputs or not self._fits(target, still, outputs, limit):
                    continue
                rest = self._outputs(source, self.exact[1:])
                if self._fits(target, still, [*outputs, *rest], limit):
                    side = "input" if target is patient.target else "input and output"
                    return [_misreading(kind, size, side, patient.source, source)]
        return []

    def _outputs(self, source: Meaning, elements: Sequence[Trial]) -> list[np.ndarray]:
        """``f(g x)``, g acting by another meaning; none where it cannot."""
        found = []
        for trial in elements:
            try:
                x = self.patient.moved(trial, source)
            except ValueError:
                return []
            run = self.patient.in_double(x)
            found.append(run[0] if run is not None else self.patient.run(x))
        return found

    def _fits(
        self, target: Meaning, still: np.ndarray, outputs: Sequence[np.ndarray], limit: float
    ) -> bool:
        try:
            errors = [
                self.patient.error(trial, y, still, target)
                for trial, y in zip(self.exact, outputs, strict=False)
            ]
        except ValueError:
            return False
        return bool(errors) and max(errors) <= limit

    def _true_break(self, size: float, moved: Sequence[np.ndarray]) -> Finding:
        """The layer at which it breaks, by its positions or by its weights."""
        patient, origin, off_center = self.patient, None, True
        seen = inside(patient, self.exact[:2], list(moved[:2])) if moved else None
        if seen is not None and (origin := seen.first_break()) is not None:
            off_center = is_off_center(seen, origin)
        layer = None if origin is None else origin.layer
        sizes: list[int] = []
        if off_center and moved:
            sizes = sizes_that_work(patient, self.exact[0], self.tolerance)
        at = "" if layer is None else f", from {layer} on"
        if (origin is not None and off_center) or sizes:
            rows, cols = patient.frame
            works = ", ".join(f"{n} x {n}" for n in sizes)
            return Finding(
                "position",
                layer,
                size,
                f"the windows of a padding, stride or pool do not lie symmetrically on a "
                f"{rows} x {cols} input{at}",
                (f"sizes that work: {works}; or " if works else "")
                + "pad both sides alike and choose sizes n with (n + padding - window) divisible "
                "by the stride, or blur before the stride (nn.BlurPool)",
            )
        operation = "" if origin is None else f" ({_operation(patient, origin.index)})"
        return Finding(
            "model",
            layer,
            size,
            f"the equation fails by {size:.2g}{at}{operation}, also in float64, and no other "
            f"reading of the input or output fits",
            "tie or project the weights of this layer (sq.projector, sq.plan), drop what depends "
            "on places or components (biases, embeddings, pointwise functions of vectors), or "
            "soften it by a level",
        )

    def unreadable(self, problem: ValueError) -> Diagnosis:
        """A grid on which the group cannot act as declared: the layouts on which it would.

        Raises:
          ValueError: the problem, where no other layout makes f equivariant.
        """
        patient = self.patient
        declared_source, declared_target = patient.source, patient.target
        shapes = patient.x.shape, patient.first.shape
        for kind, source in candidates(declared_source, patient.group, shapes[0]):
            if kind != "layout" or not isinstance(source.layout, Image):
                continue
            targets = [declared_target]
            targets += [r for k, r in candidates(declared_target, patient.group, shapes[1])]
            for target in targets:
                found = self._try(source, target, shapes)
                if found is not None:
                    misreading = _misreading(kind, 1.0, "input", declared_source, source)
                    evidence = f"{problem}; {misreading.evidence}"
                    finding = dataclasses.replace(misreading, evidence=evidence)
                    return self._diagnosis([finding], found)
        raise problem

    def _try(
        self, source: Meaning, target: Meaning, shapes: tuple[Any, Any]
    ) -> list[tuple[str, float]] | None:
        """The errors under two meanings, if they make f equivariant."""
        patient = self.patient
        frame = frame_of(source, shapes[0])
        other = Patient(patient.f, patient.x, patient.group, source, target, frame)
        try:
            for trial in self.exact:
                _check_grid(patient.group, source.layout, shapes[0], "the input")
                source.check(patient.group, trial.g, shapes[0], frame)
                target.check(patient.group, trial.g, shapes[1], frame)
        except ValueError:
            return None
        if patient.passes + 1 + len(self.exact) > MOST_PASSES:
            return None
        still, errors = other.run(other.x), []
        for trial in self.exact:
            error = other.error(trial, other.run(other.moved(trial)), still, target)
            errors.append((trial.name, error))
            if error > self.tolerance:
                break
        patient.passes += other.passes
        good = bool(errors) and max(error for _, error in errors) <= self.tolerance
        return errors if good else None

    def _diagnosis(
        self,
        findings: list[Finding],
        errors: list[tuple[str, float]],
        verdict: str | None = None,
        equivariant: bool | None = None,
    ) -> Diagnosis:
        sound = not findings if equivariant is None else equivariant
        findings = sorted(findings, key=lambda found: -found.size)
        verdict = verdict or self._verdict(sound, findings, errors)
        passes = self.patient.passes
        return Diagnosis(sound, tuple(findings), verdict, tuple(errors), self.tolerance, passes)

    def _verdict(
        self, sound: bool, findings: list[Finding], errors: list[tuple[str, float]]
    ) -> str:
        group = self.patient.group
        names = {trial.name for trial in self.exact}
        size = max((error for name, error in errors if name in names), default=0.0)
        if sound and not findings:
            return (
                f"f is equivariant under {group}: errors of at most {max(size, 1e-6):.2g} "
                f"(tolerance {self.tolerance:.2g})."
            )
        if sound:
            return (
                f"f is equivariant under {group} up to resampling: what is exact on the lattice "
                f"holds to {max(size, 1e-6):.2g}, and between its points f is no worse than "
                f"interpolation."
            )
        first = findings[0]
        where = f" at {first.layer}" if first.layer else ""
        reasons = {
            "model": "the network itself breaks it",
            "representation": "another representation fits",
            "layout": "another layout fits",
            "interpolation": "it breaks between the points of the lattice",
            "position": "windows lie off the center",
            "precision": "it is rounding",
            "state": "its output depends on more than the example",
        }
        return f"f is not equivariant under {group} as declared: {reasons[first.kind]}{where}."


def _misreading(kind: str, size: float, side: str, old: Meaning, new: Meaning) -> Finding:
    return Finding(
        kind,
        None,
        size,
        f"the {side} was read as {old.words}; the equation holds if it is read as {new.words}",
        f"declare the {side} as {new.words}, or change what f returns",
    )


def _operation(patient: Patient, index: int) -> str:
    assert patient.graph is not None
    return patient.graph.operations[index].name
