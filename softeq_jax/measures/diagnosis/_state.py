"""State: functions whose output depends on more than the example, such as chance or the batch."""

import numpy as np

from softeq_jax.measures.diagnosis._diagnosis import Finding
from softeq_jax.measures.diagnosis._patient import Patient, relative

_RANDOM = ("random_bits", "threefry2x32", "rng_bit_generator", "rng_uniform")
_ELEMENTWISE = ("add", "sub", "mul", "div", "select_n", "and")


def unsteady(patient: Patient, first: np.ndarray, tolerance: float) -> Finding | None:
    """Two calls outside ``jit`` that differ."""
    second = patient.run(patient.x, "f(x), called again,")
    size = relative(second, first) if second.shape == first.shape else 1.0
    if size <= tolerance / 100:
        return None
    random = _random(patient)
    drawn = random is not None
    return Finding(
        "state",
        patient.layer(random) if random is not None else None,
        size,
        f"two calls with the same input differ by {size:.2g}"
        + (", and f draws random numbers" if drawn else ""),
        "switch dropout and other noise off (evaluation mode), or pass a fixed key; let f keep "
        "nothing from one call to the next",
    )


def masked(patient: Patient, size: float) -> Finding | None:
    """Random numbers of a fixed key with one entry per entry of the input, as dropout draws."""
    random = _random(patient)
    if random is None:
        return None
    return Finding(
        "state",
        patient.layer(random),
        size,
        "f draws random numbers for every example from a fixed key, such as a dropout mask, and "
        "the mask does not move with the input",
        "switch dropout off (evaluation mode, deterministic=True)",
    )


def coupled(patient: Patient, first: np.ndarray, tolerance: float) -> Finding | None:
    """Outputs of some examples that change when the others are left out."""
    half = (len(patient.x) + 1) // 2
    try:
        alone = patient.run(patient.x[:half], "f(part of x)")
    except Exception:  # f takes no other number of examples, and says so in its own way
        return None
    if alone.shape != (half, *first.shape[1:]):
        return None
    size = relative(alone, first[:half])
    if size <= tolerance:
        return None
    index = _over_examples(patient)
    index = _random(patient) if index is None else index
    return Finding(
        "state",
        None if index is None else patient.layer(index),
        size,
        f"the output of an example changes by {size:.2g} when others leave the batch",
        "use the running statistics of batch normalization (evaluation mode, "
        "use_running_average=True), or normalize each example by itself",
    )


def _random(patient: Patient) -> int | None:
    """The first operation that draws numbers, one or more per example, that reach the output."""
    graph = patient.graph
    if graph is None:
        return None
    alive = {graph.output}
    for operation in reversed(graph.operations):
        if alive.intersection(operation.outputs):
            alive.update(v for v in operation.inputs if isinstance(v, int))
    drawn: dict[int, int] = {}
    for index, operation in enumerate(graph.operations):
        inputs = [v for v in operation.inputs if isinstance(v, int)]
        source = next((drawn[v] for v in inputs if v in drawn), None)
        if operation.primitive in _RANDOM and source is None:
            source = index
        meets = [v for v in inputs if patient.dependent[v]]
        if source is not None and meets:
            shapes = [graph.shapes[v].shape for v in inputs if v in drawn]
            like = [graph.shapes[v].shape for v in meets]
            elementwise = operation.primitive in _ELEMENTWISE
            if elementwise and set(shapes) & set(like) and alive.intersection(operation.outputs):
                return source
            continue
        if source is not None:
            drawn.update(dict.fromkeys(operation.outputs, source))
    return None


def _over_examples(patient: Patient) -> int | None:
    """The first operation that reduces the axis of the examples."""
    graph = patient.graph
    if graph is None:
        return None
    for index, operation in enumerate(graph.operations):
        v = operation.inputs[0] if operation.inputs else None
        if not isinstance(v, int) or not patient.dependent[v]:
            continue
        axes = operation.equation.params.get("axes", ())
        reduces = operation.primitive.startswith(("reduce_", "arg")) and 0 in tuple(axes)
        if reduces and graph.shapes[v].shape[:1] == (len(patient.x),):
            return index
    return None
