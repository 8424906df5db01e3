"""Precision: errors that are gone in float64."""

import jax.numpy as jnp
import numpy as np

from softeq_jax.measures.diagnosis._diagnosis import Finding
from softeq_jax.measures.diagnosis._patient import Patient, relative

_FACTOR = 1000
"""Rounding errors that a sound network may pile up, in units of the last place."""
_NARROW = 100
"""The same where it rounds to 16 bits on the way, so that one has to look closely."""
_JUMP = 30


def tolerance_of(dtype: np.dtype) -> float:
    """The relative error below which a function of inputs of this type counts as equivariant.

    A thousand units of the last place; a relative 0.06 for 16-bit floats.
    """
    eps = float(jnp.finfo(dtype).eps)
    return _FACTOR * eps if eps < 1e-4 else min(0.06, 16 * eps)


def rounds(patient: Patient) -> int | None:
    """The first operation that writes floats narrower than the inputs; None: there is none."""
    graph = patient.graph
    if graph is None:
        return None
    own = float(jnp.finfo(patient.x.dtype).eps)
    for index, operation in enumerate(graph.operations):
        for v in operation.outputs:
            narrow = graph.is_smooth(v) and float(jnp.finfo(graph.shapes[v].dtype).eps) > 4 * own
            if narrow and patient.dependent[v]:
                return index
    return None


def close_tolerance(patient: Patient, tolerance: float) -> float:
    """The tolerance, a tenth of it where the function rounds to a narrower type."""
    return tolerance if rounds(patient) is None else tolerance * _NARROW / _FACTOR


def rounding(patient: Patient, size: float, exact: float) -> Finding:
    """The finding that an error is one of rounding, with the operation that loses the digits."""
    index = rounds(patient)
    kind = "rounds to 16 bits"
    if index is None:
        index, kind = _loses(patient), "loses digits, as differences of nearly equal numbers do"
    where = "" if index is None else f"; {_name(patient, index)} {kind}"
    return Finding(
        "precision",
        None if index is None else patient.layer(index),
        size,
        f"the error is {size:.2g} as f runs, and {exact:.1g} when all of it runs in float64{where}",
        "compute this step in float32 with jax.default_matmul_precision('highest') (TF32 and "
        "bfloat16 products have 3 digits), or rearrange it so that no digits cancel",
    )


def _name(patient: Patient, index: int) -> str:
    assert patient.graph is not None
    return patient.graph.operations[index].name


def _loses(patient: Patient) -> int | None:
    """The first operation whose result is much less precise than what it reads."""
    found = patient.in_double(np.asarray(patient.x, np.float64))
    if found is None or patient.graph is None:
        return None
    narrow, wide = patient.as_traced(), found[1]
    eps = float(jnp.finfo(patient.x.dtype).eps)
    errors: dict[int, float] = {}
    for index, operation in enumerate(patient.graph.operations):
        before = max(
            (errors.get(v, 0.0) for v in operation.inputs if isinstance(v, int)), default=0
        )
        for v in operation.outputs:
            if patient.graph.is_smooth(v) and patient.dependent[v]:
                values = np.asarray(narrow[v], np.float64), np.asarray(wide[v], np.float64)
                errors[v] = relative(*values)
                if errors[v] > _JUMP * max(before, _JUMP * eps):
                    return index
    return None
