"""The first layer at which equivariance breaks: what every operation hands on, element by element.

A variable ``v`` inside a network is *unbroken* if some plausible action relates ``v(g x)`` to
``v(x)`` for all examples: the pixels turn or stay, axes that the group's matrices fit are moved
by them, and the channels stay, are permuted with signs (scalars, regular representations), or mix
by one orthogonal matrix. The break arises where what is read is unbroken and what is written is
not, on the way to the broken output.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from softeq_jax.groups import PlanarGroup
from softeq_jax.measures.base._layouts import Fiber, Image, Tokens
from softeq_jax.measures.diagnosis._elements import Trial
from softeq_jax.measures.diagnosis._patient import Patient, relative
from softeq_jax.measures.diagnosis._widened import in_double
from softeq_jax.measures.finite._elements import element
from softeq_jax.reps import GridImage, GridTokens, voxels

CLOSE = 1e-6
"""Relative error up to which two arrays in float64 count as equal."""
_MIXED = 128
"""Channels up to which an orthogonal matrix is looked for; of more, what it would keep."""
_ROWS = 1024
"""Samples of which inner products are compared."""
_WIDE = 2048
"""Channels up to which permutations of them are looked for."""


@dataclasses.dataclass(frozen=True)
class FirstBreak:
    """Where equivariance breaks.

    Attributes:
      index: of the operation in the graph.
      layer: its name, see ``Patient.layer``.
      spatial: axes of what it reads that lie on the grid.
      error: of what it writes, against the best action.
    """

    index: int
    layer: str | None
    spatial: tuple[int, ...]
    error: float


class Inside:
    """The variables of a network at x and at g x, for a few elements."""

    def __init__(self, patient: Patient, elements: list[Trial], moved: list[np.ndarray]):
        self.patient = patient
        self.elements = elements
        still = patient.in_double(np.asarray(patient.x, np.float64))
        runs = [patient.in_double(x) for x in moved]
        assert still is not None
        self._still = still[1]
        self._moved = [run[1] for run in runs if run is not None]
        self._known: dict[int, tuple[float, tuple[int, ...]] | None] = {}

    def status(self, variable: int) -> tuple[float, tuple[int, ...]] | None:
        """Error and spatial axes under the best action; None if it cannot be read."""
        if variable not in self._known:
            a = np.asarray(self._still[variable])
            readable = a.ndim > 0 and a.dtype.kind == "f" and a.shape[0] == len(self.patient.x)
            pairs = [np.asarray(values[variable]) for values in self._moved] if readable else []
            readable = readable and all(np.all(np.isfinite(b)) for b in (a, *pairs))
            self._known[variable] = self.compare(a, pairs) if readable else None
        return self._known[variable]

    def compare(self, still: np.ndarray, moved: list[np.ndarray]) -> tuple[float, tuple[int, ...]]:
        """The error of ``v(g x)`` against ``v(x)`` under the best action, and its spatial axes."""
        with in_double():
            return self._compare(still, moved)

    def _compare(self, still: np.ndarray, moved: list[np.ndarray]) -> tuple[float, tuple[int, ...]]:
        best, axes = math.inf, ()
        if any(b.shape != still.shape for b in moved):
            return best, axes
        for spatial, actions in self._actions(still):
            error = 0.0
            for trial, b in zip(self.elements, moved, strict=True):
                error = max(error, _channels_apart(actions(trial.g), b, spatial))
                if error >= best:
                    break
            if error < best:
                best, axes = error, spatial
            if best < CLOSE:
                break
        return best, axes

    def _actions(self, a: np.ndarray) -> Iterator[tuple[tuple[int, ...], Any]]:
        group, frame = self.patient.group, self.patient.frame
        source = self.patient.source.layout
        rep = source.rep if isinstance(source, Fiber) else None
        pixels = isinstance(source, Image | Tokens) or isinstance(rep, GridImage | GridTokens)
        on_grid = isinstance(group, PlanarGroup) and pixels
        if on_grid:
            for layout, spatial in _grids(a.shape):

                def turn(g: np.ndarray, layout: Any = layout) -> np.ndarray:
                    return np.asarray(element(group, g)(a, layout, frame))

                if all(_acts(group, trial.g, layout, a.shape, frame) for trial in self.elements):
                    yield spatial, turn
        elif isinstance(source, Fiber) and len(source.rep.shape) > 1:
            dims = source.rep.shape
            if len(dims) == 3 and a.ndim > 3 and len(set(a.shape[1:4])) == 1:
                cube = voxels(group, a.shape[1:4])
                yield (1, 2, 3), lambda g: cube.apply(g, a, axes=(1, 2, 3))
            elif a.shape[1 : 1 + len(dims)] == dims:
                axes = tuple(range(1, 1 + len(dims)))
                yield (), lambda g: source.rep.apply(g, a, axes=axes)
        yield (), lambda g: a
        fits = [i for i in range(1, a.ndim) if a.shape[i] == group.d and not on_grid]
        for count in (1, 2, 3):
            for axes in itertools.combinations(fits, count):
                yield (), lambda g, axes=axes: _along(a, g, axes)
                if not group.is_orthogonal:
                    yield (), lambda g, axes=axes: _along(a, np.linalg.inv(g).T, axes)
        if rep is not None and len(rep.shape) == 1 and rep.dim != group.d:
            for i in (i for i in range(1, a.ndim) if a.shape[i] == rep.dim):
                yield (), lambda g, i=i: _along(a, rep.matrix(g), (i,))

    def first_break(self) -> FirstBreak | None:
        """The first operation, on the way to the output, that breaks equivariance."""
        graph, patient = self.patient.graph, self.patient
        assert graph is not None
        makers = {v: k for k, op in enumerate(graph.operations) for v in op.outputs}
        origins: list[int] = []
        seen, todo = set(), [graph.output]
        while todo:
            variable = todo.pop()
            if variable in seen or variable not in makers:
                continue
            seen.add(variable)
            read = self._read(makers, variable)
            broken = [v for v in read if not _sound(self.status(v))]
            todo += broken
            if not broken:
                origins.append(makers[variable])
        if not origins:
            return None
        index = min(origins)
        operation = graph.operations[index]
        read = self._read(makers, operation.outputs[0])
        spatial = next((s[1] for v in read if (s := self.status(v)) and s[1]), ())
        written = self.status(operation.outputs[0])
        error = written[0] if written is not None and math.isfinite(written[0]) else 1.0
        return FirstBreak(index, patient.layer(index), spatial, error)

    def _read(self, makers: dict[int, int], variable: int) -> list[int]:
        """The variables that one is computed from; behind what cannot be read, what that is."""
        graph, patient = self.patient.graph, self.patient
        assert graph is not None
        found, seen, todo = [], set(), [variable]
        while todo:
            for v in graph.operations[makers[todo.pop()]].inputs:
                if not isinstance(v, int) or v in seen or not patient.dependent[v]:
                    continue
                seen.add(v)
                if self.status(v) is None and v in makers:
                    todo.append(v)
                else:
                    found.append(v)
        return found

    def values(self, variable: int) -> list[Any]:
        """A variable at x and at every g x."""
        return [values[variable] for values in (self._still, *self._moved)]


def inside(patient: Patient, elements: list[Trial], moved: list[np.ndarray]) -> Inside | None:
    """The variables at x and at the moved inputs; None where f cannot be traced."""
    runs = [patient.in_double(x) for x in (np.asarray(patient.x, np.float64), *moved)]
    return None if any(run is None for run in runs) else Inside(patient, elements, moved)


def _sound(status: tuple[float, tuple[int, ...]] | None) -> bool:
    """Whether a variable is known to be unbroken."""
    return status is not None and status[0] < CLOSE


def _grids(shape: tuple[int, ...]) -> Iterator[tuple[Any, tuple[int, ...]]]:
    for i, j in zip(range(1, len(shape)), range(2, len(shape)), strict=False):
        if shape[i] > 1 and shape[j] > 1:
            yield Image((i, j)), (i, j)
    for i in range(1, len(shape)):
        for prefix in (0, 1):
            side = math.isqrt(max(shape[i] - prefix, 0))
            if side > 1 and side * side == shape[i] - prefix:
                yield Tokens(prefix=prefix, axis=i), (i,)


def _acts(group: Any, g: np.ndarray, layout: Any, shape: tuple[int, ...], frame: Any) -> bool:
    try:
        element(group, g).check(shape, layout, frame)
    except ValueError:
        return False
    return True


def _along(a: np.ndarray, matrix: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    for axis in axes:
        a = np.moveaxis(np.moveaxis(a, axis, -1) @ matrix.T, -1, axis)
    return a


def _channels_apart(a: np.ndarray, b: np.ndarray, spatial: tuple[int, ...]) -> float:
    """The error of b against a whose channels stay, are permuted with signs, or mixed."""
    a = np.asarray(a)
    best = relative(b, a)
    rest = [i for i in range(1, a.ndim) if i not in spatial]
    for axes in [rest[-1:], rest] if len(rest) > 1 else [rest]:
        if best < CLOSE or not axes:
            break
        flat = [_columns(c, axes) for c in (a, b)]
        mixed = _mixed(*flat) if len(axes) == 1 or len(flat[0]) > 2 * flat[0].shape[1] else best
        best = min(best, _permuted(*flat), mixed)
    return best


def _columns(a: np.ndarray, axes: list[int]) -> np.ndarray:
    last = np.moveaxis(a, axes, range(a.ndim - len(axes), a.ndim))
    return last.reshape(-1, math.prod(a.shape[i] for i in axes))


def _permuted(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape[1] > _WIDE or a.shape[0] < 2:
        return math.inf
    norms = np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0)
    cosine = (a.T @ b) / np.maximum(np.outer(*norms), 1e-300)
    gap = np.abs(norms[0][:, None] - norms[1]) / np.maximum(norms[1], 1e-300)
    match = np.argmax(np.abs(cosine) - np.minimum(gap, 1.0), axis=0)
    sign = np.sign(cosine[match, np.arange(a.shape[1])])
    return relative(a[:, match] * sign, b)


def _mixed(a: np.ndarray, b: np.ndarray) -> float:
    """The error of the best orthogonal matrix: by Procrustes, or by what it keeps.

    An orthogonal matrix that relates samples exists if and only if their inner products are the
    same, which is cheaper to see where channels are many.
    """
    if a.shape[0] < 2:
        return math.inf
    if a.shape[1] > min(a.shape[0], _MIXED):
        a, b = a[:_ROWS], b[:_ROWS]
        return relative(b @ b.T, a @ a.T)
    u, _, v = np.linalg.svd(a.T @ b)
    return relative(a @ (u @ v), b)
