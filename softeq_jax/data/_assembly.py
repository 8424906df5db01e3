"""Batches by number: a batch is a pure function of its number, wherever it is put together.

Examples stand in a shuffled, endless sequence that any process can address: position p is in epoch
p // n and holds example `permutation(epoch)[p % n]`; global batch i of size B holds positions
i B ... i B + B - 1. Every random draw comes from a generator of its own, so nothing depends on who
reads what, in which order, or where a run was resumed.

Putting a batch together raises nothing: an error is part of what a batch comes as, so that threads
and worker processes hand on the error itself, with the example it names.
"""

import enum
import functools
import pickle
import traceback
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypedDict

import numpy as np

from softeq_jax.data._examples import (
    BadExampleError,
    Batch,
    Check,
    Example,
    Layout,
    Pairing,
    Source,
    Transform,
    conformed,
    layout_of,
    named,
    read_records,
    stack,
)

BAD_IN_A_ROW = 100
"""Bad examples in a row after which a stream that skips them gives up: something else is wrong."""


class Position(NamedTuple):
    """Position of a run in its data; enough to resume with any number of hosts and workers.

    Attributes:
      epoch: the pass over the examples in which the batch starts.
      batch: index of the global batch, counted from the start of the run.
      seed: of the order and of the transforms.

    Example:
      >>> import softeq_jax as sq
      >>> sq.data.Position(epoch=1, batch=40, seed=0)._asdict()
      {'epoch': 1, 'batch': 40, 'seed': 0}
    """

    epoch: int
    batch: int
    seed: int


class Stream(enum.IntEnum):
    """Purpose of a random generator. Streams of one seed are independent of each other."""

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


class Parcel(TypedDict):
    """A batch on its way from a thread or worker process.

    Attributes:
      batch: the host's rows, empty if there is an error.
      skipped: (index, reason) of the bad examples met on the way.
      error: what went wrong, in a list of at most one.
    """

    batch: Batch
    skipped: list[tuple[int, str]]
    error: list[Exception]


class Assembly(Protocol):
    """Random access to parcels, as Grain wants it."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Parcel: ...


@dataclass(frozen=True)
class Maker:
    """Maker of finished examples from records.

    Attributes:
      source: of the records.
      check: of the records.
      transforms: applied in turn, with one generator for all of them.
      skip: whether bad examples are passed over.
      layout: what finished examples look like; None while that is being found out.
    """

    source: Source
    check: Check
    transforms: tuple[Transform, ...]
    skip: bool
    layout: Layout | None = None

    def make(
        self, index: int, record: Example | BadExampleError, rng: np.random.Generator | None
    ) -> Example:
        """The example, checked and transformed; `rng` may be None if there are no transforms.

        Raises:
          BadExampleError: it is bad.
        """
        if isinstance(record, BadExampleError):
            raise record
        try:
            example = self.check(index, record)
            for transform in self.transforms:
                assert rng is not None
                example = transform(example, rng)
            finished = getattr(self.check, "finished", None)
            if finished is not None:
                example = finished(index, example)
            return conformed(index, example, self.layout)
        except MemoryError:
            raise
        except Exception as error:
            bad = named(index, record, error)
        raise bad

    def find_layout(self, seed: int) -> tuple[Layout, Example]:
        """What the first good example looks like, and this example.

        Raises:
          BadExampleError: it is bad; with `skip`, `BAD_IN_A_ROW` of them are.
        """
        for index in range(min(len(self.source), BAD_IN_A_ROW)):
            (record,) = read_records(self.source, [index])
            try:
                example = self.make(index, record, generator(Stream.LAYOUT, seed, index))
            except BadExampleError as error:
                last = error
                if not self.skip:
                    raise
            else:
                return layout_of(example), example
        raise _given_up(last)


def _given_up(last: BadExampleError) -> BadExampleError:
    reason = f"the last of too many bad examples in a row: {last.reason}"
    return BadExampleError(last.index, reason, last.id)


@dataclass(frozen=True)
class TrainAssembly:
    """Shuffled batches.

    Attributes:
      maker: of examples.
      order: of examples.
      batch_size: of the global batch.
      rows: first and last (exclusive) row of the global batch that this host has.
      pairing: applied to rows (0, 1), (2, 3), ... of the global batch, if given.
      layout: of the examples of a batch, which a pairing may change.
      length: number of batches.
    """

    maker: Maker
    order: Order
    batch_size: int
    rows: tuple[int, int]
    pairing: Pairing | None
    layout: Layout
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Parcel:
        skipped: list[tuple[int, str]] = []
        try:
            return _parcel(self._batch(index, skipped), skipped)
        except Exception as error:
            return _parcel({}, skipped, error)

    def _batch(self, step: int, skipped: list[tuple[int, str]]) -> Batch:
        start, stop = (step * self.batch_size + row for row in self.rows)
        indices = self.order.examples(start, stop).tolist()
        records = read_records(self.maker.source, indices)
        examples = [
            self._example(position, index, record, skipped)
            for position, index, record in zip(range(start, stop), indices, records, strict=True)
        ]
        if self.pairing is not None:
            for row in range(0, len(examples), 2):
                both = slice(row, row + 2)
                examples[both] = self._paired(
                    self.pairing, start + row, indices[both], examples[both]
                )
        return stack(examples, self.layout)

    def _example(
        self,
        position: int,
        index: int,
        record: Example | BadExampleError,
        skipped: list[tuple[int, str]],
    ) -> Example:
        """The example of a position, or the next good one of the order in its place."""
        for attempt in range(BAD_IN_A_ROW):
            if attempt:
                (index,) = self.order.examples(position + attempt, position + attempt + 1).tolist()
                (record,) = read_records(self.maker.source, [index])
            rng = None
            if self.maker.transforms:
                rng = generator(Stream.TRANSFORM, self.order.seed, position)
            try:
                return self.maker.make(index, record, rng)
            except BadExampleError as error:
                if not self.maker.skip:
                    raise
                last = error
                skipped.append((index, error.reason))
        raise _given_up(last)

    def _paired(
        self, pairing: Pairing, position: int, indices: list[int], examples: list[Example]
    ) -> list[Example]:
        first, second = examples
        rng = generator(Stream.PAIRING, self.order.seed, position)
        try:
            pair = pairing(first, second, rng)
        except Exception as error:
            error.add_note(f"while pairing examples {indices[0]} and {indices[1]}")
            raise
        return [
            conformed(index, example, self.layout)
            for index, example in zip(indices, pair, strict=True)
        ]


@dataclass(frozen=True)
class EvalAssembly:
    """Batches in the order of the source, every example once.

    Attributes:
      maker: of examples; its layout is set.
      batch_size: of the global batch.
      rows: first and last (exclusive) row of the global batch that this host has.
    """

    maker: Maker
    batch_size: int
    rows: tuple[int, int]

    def __len__(self) -> int:
        return -(-len(self.maker.source) // self.batch_size)

    def __getitem__(self, index: int) -> Parcel:
        skipped: list[tuple[int, str]] = []
        try:
            return _parcel(self._batch(index, skipped), skipped)
        except Exception as error:
            return _parcel({}, skipped, error)

    def _batch(self, number: int, skipped: list[tuple[int, str]]) -> Batch:
        start, stop = (number * self.batch_size + row for row in self.rows)
        indices = range(start, min(stop, len(self.maker.source)))
        examples: list[Example | None] = [None] * (stop - start)
        for row, record in enumerate(read_records(self.maker.source, indices) if indices else ()):
            rng = None
            if self.maker.transforms:
                rng = generator(Stream.EVALUATION, 0, indices[row])
            try:
                examples[row] = self.maker.make(indices[row], record, rng)
            except BadExampleError as error:
                if not self.maker.skip:
                    raise
                skipped.append((indices[row], error.reason))
        layout = self.maker.layout
        assert layout is not None
        weight = np.array([example is not None for example in examples], np.float32)
        return {**stack(examples, layout), "weight": weight}


def _parcel(batch: Batch, skipped: list[tuple[int, str]], error: Exception | None = None) -> Parcel:
    return {
        "batch": batch,
        "skipped": skipped,
        "error": [] if error is None else [_portable(error)],
    }


def _portable(error: Exception) -> Exception:
    """The error, or one like it if it cannot travel between processes."""
    try:
        copy: Any = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = None
    if type(copy) is type(error) and str(copy) == str(error):
        return error
    portable = RuntimeError(f"{type(error).__name__}: {error}")
    portable.add_note("".join(traceback.format_exception(error)))
    return portable
