"""Which example stands where: a shuffled, endless sequence that any process can address.

Position p of the sequence is in epoch p // n and holds example `permutation(epoch)[p % n]`; global
batch i of size B holds positions i B ... i B + B - 1. Every random draw comes from a generator of
its own, so nothing depends on who reads what, in which order, or where a run was resumed.
"""

import enum
import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Position(NamedTuple):
    """Where a run stands in its data; enough to go on with any number of hosts and workers.

    Attributes:
      epoch: the pass over the examples in which the batch starts.
      batch: index of the global batch, counted from the start of the run.
      seed: of the order and of the transforms.
    """

    epoch: int
    batch: int
    seed: int


class Stream(enum.IntEnum):
    """What a generator is for. Streams of one seed are independent of each other."""

    ORDER = 0
    TRANSFORM = 1
    PAIRING = 2
    EVALUATION = 3
    LAYOUT = 4


def _bits(stream: Stream, seed: int, number: int) -> np.random.Philox:
    return np.random.Philox(key=np.array([stream << 32 | seed, number], np.uint64))


def generator(stream: Stream, seed: int, number: int) -> np.random.Generator:
    """The generator of one position (or pair, or epoch): a function of its arguments alone.

    Args:
      stream: what for.
      seed: 0 <= seed < 2**32.
      number: of the position, 0 <= number < 2**64.
    """
    return np.random.Generator(_bits(stream, seed, number))


@functools.lru_cache(maxsize=4)
def permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    """The order of one epoch, the last few being kept: int64 `[size]`, read-only.

    It sorts the raw bits of the epoch's generator, which NumPy promises never to change.
    """
    order = np.argsort(_bits(Stream.ORDER, seed, epoch).random_raw(size), kind="stable")
    order.flags.writeable = False
    return order


@dataclass(frozen=True)
class Order:
    """The endless shuffled sequence.

    Attributes:
      size: number of examples n, at least 1.
      seed: 0 <= seed < 2**32.
    """

    size: int
    seed: int

    def examples(self, start: int, stop: int) -> np.ndarray:
        """Examples at positions start ... stop - 1: int64 `[stop - start]`."""
        positions = np.arange(start, stop)
        epochs, within = np.divmod(positions, self.size)
        out = np.empty(len(positions), np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            out[here] = permutation(self.size, self.seed, int(epoch))[within[here]]
        return out

    def position(self, batch: int, batch_size: int) -> Position:
        """Where global batch number `batch` starts."""
        return Position(batch * batch_size // self.size, batch, self.seed)
