"""The symmetry of data: whether a group leaves a distribution as it is, and how far not."""

from softeq_jax.measures.symmetry._bands import Bands, bands
from softeq_jax.measures.symmetry._data_report import DataReport, data_report
from softeq_jax.measures.symmetry._pairs import PairTest
from softeq_jax.measures.symmetry._suggestion import Suggestion

__all__ = ["Bands", "DataReport", "PairTest", "Suggestion", "bands", "data_report"]


def __dir__() -> list[str]:
    return sorted(__all__)
