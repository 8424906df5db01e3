"""What a run shows of itself: tables, TensorBoard, rates, memory, traces, equivariance."""

from softeq_jax.training.watch._csv import CsvWriter
from softeq_jax.training.watch._curves import certificate_values, equivariance_values
from softeq_jax.training.watch._memory import device_memory
from softeq_jax.training.watch._profiler import Profiler
from softeq_jax.training.watch._rates import Rates
from softeq_jax.training.watch._tensorboard import TensorBoardWriter
from softeq_jax.training.watch._writers import NullWriter, Writer, Writers

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
