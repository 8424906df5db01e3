"""One examination: the checks of a doctor, in the order in which they make sense."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from softeq_jax.measures.base._layouts import Image, Invariant
from softeq_jax.measures.diagnosis._candidates import candidates
from softeq_jax.measures.diagnosis._diagnosis import Diagnosis, Finding
from softeq_jax.measures.diagnosis._elements import Trial, trials
from softeq_jax.measures.diagnosis._interpolation import WORSE, between, resampling
from softeq_jax.measures.diagnosis._layers import inside
from softeq_jax.measures.diagnosis._meanings import Meaning, check_grid, frame_of, on_grid
from softeq_jax.measures.diagnosis._patient import MOST_PASSES, Patient
from softeq_jax.measures.diagnosis._positions import is_off_center, sizes_that_work
from softeq_jax.measures.diagnosis._precision import close_tolerance, rounding
from softeq_jax.measures.diagnosis._state import coupled, masked, unsteady

_EXACT = 1e-6
"""Relative error in float64 below which a function counts as equivariant, or a meaning as right."""


@dataclasses.dataclass
class Examination:
    """One examination.

    Attributes:
      patient: who is examined.
      tolerance: of relative errors in the dtype of the inputs.
      guessed: whether the output was read as its shape suggests, without being declared.
    """

    patient: Patient
    tolerance: float
    guessed: bool

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
        if size > self.tolerance and self.guessed:
            errors = self._as_scalars(outputs, still) or errors
            size = max((error for _, error in errors), default=0.0)
        if (mask := masked(patient, size)) is not None:
            findings.append(mask)
        elif size > close_tolerance(patient, self.tolerance):
            findings += self._broken(size, still, moved, outputs)
        elif self.resampled:
            return self._between(findings, errors)
        return self._diagnosis(findings, errors)

    def _as_scalars(
        self, outputs: Sequence[np.ndarray], still: np.ndarray
    ) -> list[tuple[str, float]]:
        """The errors of an output that nobody declared, read as invariant if that fits."""
        scalars = Meaning(Invariant(), "invariant")
        errors = [
            (trial.name, self.patient.error(trial, y, still, scalars))
            for trial, y in zip(self.exact, outputs, strict=True)
        ]
        if max(error for _, error in errors) > self.tolerance:
            return []
        self.patient.target = scalars
        return errors

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
        shape, frame = still.shape, patient.frame
        for kind, meaning in candidates(patient.target, patient.group, shape, frame):
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
                check_grid(patient.group, source.layout, shapes[0], "the input")
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
