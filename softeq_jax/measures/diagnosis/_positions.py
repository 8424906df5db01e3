"""Positions of windows: whether paddings, strides and pools lie symmetrically on the grid.

A window of k entries every s entries from ``-p`` on covers ``-p .. -p + (m - 1) s + k - 1``. Turns
and flips map its places to each other only if first plus last is n - 1; else equivariance breaks
whatever the weights are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from softeq_jax.measures.base._layouts import Image
from softeq_jax.measures.diagnosis._elements import Trial
from softeq_jax.measures.diagnosis._layers import CLOSE, FirstBreak, Inside
from softeq_jax.measures.diagnosis._patient import MOST_PASSES, Patient
from softeq_jax.measures.diagnosis._widened import bind, in_double, wide

_ENOUGH = 2
"""Sizes that are suggested."""
Window = tuple[int, int, int]
"""Entries of an axis, the first one that is covered, the last one."""


def is_off_center(inside: Inside, origin: FirstBreak) -> bool:
    """Whether it is the positions of an operation, not its weights, that break equivariance."""
    graph = inside.patient.graph
    assert graph is not None
    operation = graph.operations[origin.index]
    equation = operation.equation
    windows = _windows(equation, origin.spatial)
    users = [op.primitive for op in graph.operations if operation.outputs[0] in op.inputs]
    if users == ["concatenate"]:  # what is cut is put back elsewhere: a shift, not a window
        return False
    if not any(first + last != n - 1 for n, first, last in windows):
        return False
    if equation.primitive.name != "conv_general_dilated":
        return True
    return _sound_everywhere(inside, origin)


def _windows(equation: Any, spatial: Sequence[int]) -> list[Window]:
    params, shape = equation.params, equation.invars[0].aval.shape
    name = equation.primitive.name
    if name == "conv_general_dilated":
        numbers = params["dimension_numbers"]
        kernel = equation.invars[1].aval.shape
        return [
            _window(
                (shape[axis] - 1) * params["lhs_dilation"][i] + 1,
                (kernel[numbers.rhs_spec[i + 2]] - 1) * params["rhs_dilation"][i] + 1,
                params["window_strides"][i],
                params["padding"][i],
            )
            for i, axis in enumerate(numbers.lhs_spec[2:])
        ]
    if name.startswith("reduce_window") and "window_strides" in params:
        dilations = params.get("window_dilation") or (1,) * len(shape)
        base = params.get("base_dilation") or (1,) * len(shape)
        sides = zip(shape, params["window_dimensions"], params["window_strides"], strict=True)
        return [
            _window((n - 1) * base[i] + 1, (k - 1) * dilations[i] + 1, s, params["padding"][i])
            for i, (n, k, s) in enumerate(sides)
        ]
    if name == "slice":
        strides = params["strides"] or (1,) * len(shape)
        found = []
        for axis in spatial:
            first, end = params["start_indices"][axis], params["limit_indices"][axis]
            count = -(-(end - first) // strides[axis])
            found.append((shape[axis], first, first + (count - 1) * strides[axis]))
        return found
    if name == "pad":
        pads = [params["padding_config"][axis] for axis in spatial]
        return [
            (shape[axis], -low, shape[axis] - 1 + high)
            for axis, (low, high, _) in zip(spatial, pads, strict=True)
        ]
    return []


def _window(n: int, size: int, stride: int, padding: tuple[int, int]) -> Window:
    low, high = padding
    count = (n + low + high - size) // stride + 1
    return n, -low, -low + (count - 1) * stride + size - 1


def _sound_everywhere(inside: Inside, origin: FirstBreak) -> bool:
    """Whether a convolution is equivariant if it steps by one entry and pads nothing."""
    graph = inside.patient.graph
    assert graph is not None
    operation = graph.operations[origin.index]
    equation: Any = operation.equation
    read = operation.inputs
    if not all(isinstance(v, int) for v in read):
        return True
    rank = len(equation.params["window_strides"])
    params = {
        **equation.params,
        "window_strides": (1,) * rank,
        "padding": ((0, 0),) * rank,
        "preferred_element_type": np.dtype(np.float64),
    }
    kernel = equation.invars[1].aval.shape
    numbers = equation.params["dimension_numbers"]
    inner = equation.invars[0].aval.shape
    if any(
        inner[a] < kernel[b]
        for a, b in zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], strict=True)
    ):
        return True
    results = []
    with in_double():
        pairs = zip(*(inside.values(v) for v in read if isinstance(v, int)), strict=True)
        for pair in pairs:
            results.append(np.asarray(bind(equation, [wide(v) for v in pair], params)[0]))
    return inside.compare(results[0], results[1:])[0] < CLOSE


def sizes_that_work(patient: Patient, trial: Trial, tolerance: float) -> list[int]:
    """Sides of square images near the given ones on which f is equivariant, as far as it runs."""
    layout = patient.source.layout
    if not isinstance(layout, Image) or patient.frame[0] != patient.frame[1]:
        return []
    side, found = patient.frame[0], []
    for size in (side + 1, side - 1, side + 2, side + 3):
        if len(found) == _ENOUGH or size < 1 or patient.passes + 2 > MOST_PASSES:
            continue
        x = patient.x
        for axis in layout.axes:
            x = np.take(x, np.arange(size) % side, axis)
        other = Patient(patient.f, x, patient.group, patient.source, patient.target, (size, size))
        try:
            still, moved = other.run(x), other.run(other.moved(trial))
            error = other.error(trial, moved, still, patient.target)
        except Exception:  # f says in its own way that it does not take this size
            patient.passes += other.passes
            continue
        patient.passes += other.passes
        if error < tolerance:
            found.append(size)
    return sorted(found)
