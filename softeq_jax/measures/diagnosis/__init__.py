"""The doctor: why a function is not equivariant, and an assertion that says it."""

from softeq_jax.measures.diagnosis._assertion import assert_equivariant
from softeq_jax.measures.diagnosis._diagnosis import KINDS, Diagnosis, Finding
from softeq_jax.measures.diagnosis._doctor import doctor

__all__ = ["KINDS", "Diagnosis", "Finding", "assert_equivariant", "doctor"]


def __dir__() -> list[str]:
    return sorted(__all__)
