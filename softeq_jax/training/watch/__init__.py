"""Watching a run: tables, TensorBoard, rates, memory, traces, curves of equivariance."""

from softeq_jax.training.watch._curves import certificate_values, equivariance_values
from softeq_jax.training.watch._meters import Profiler, Rates, device_memory
from softeq_jax.training.watch._writers import (
    CsvWriter,
    NullWriter,
    TensorBoardWriter,
    Writer,
    Writers,
)

__all__ = [
    "CsvWriter",
    "NullWriter",
    "Profiler",
    "Rates",
    "TensorBoardWriter",
    "Writer",
    "Writers",
    "certificate_values",
    "device_memory",
    "equivariance_values",
]


def __dir__() -> list[str]:
    return sorted(__all__)
