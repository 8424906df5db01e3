"""Batches for training, which can be resumed exactly, and for evaluation, which count all once."""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import Literal, Self

import numpy as np

from softeq_jax.training.data._assembly import Assembly, EvalAssembly, Maker, TrainAssembly
from softeq_jax.training.data._checks import classification
from softeq_jax.training.data._examples import conformed, layout_of
from softeq_jax.training.data._order import Order, Position, Stream, generator
from softeq_jax.training.data._prefetch import Prefetch
from softeq_jax.training.data._types import Batch, Check, Pairing, Source, Transform

_FOREVER = 2**40
_logger = logging.getLogger(__name__)


class _Batches(Iterator[Batch]):
    """Batches of one host. Ends its threads and processes when closed, as a context manager too."""

    def __init__(
        self, assembly: Assembly, start: int, stop: int, num_threads: int, num_workers: int
    ):
        self._parcels = Prefetch(assembly, start, stop, num_threads, num_workers)
        self._skipped: dict[int, str] = {}
        self._error: Exception | None = None

    @property
    def skipped(self) -> dict[int, str]:
        """Bad examples passed over so far on this host, and why, by their index in the source."""
        return dict(self._skipped)

    def __next__(self) -> Batch:
        if self._error is not None:
            raise self._error
        parcel = next(self._parcels)
        for index, reason in parcel["skipped"]:
            if index not in self._skipped:
                self._skipped[index] = reason
                _logger.warning("skipping example %d: %s", index, reason)
        if parcel["error"]:
            (self._error,) = parcel["error"]
            self.close()
            raise self._error
        return parcel["batch"]

    def close(self) -> None:
        """Ends threads and worker processes; there are no more batches then."""
        self._parcels.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


class TrainBatches(_Batches):
    """The iterator that `train_batches` returns."""

    def __init__(
        self, assembly: TrainAssembly, start: int, stop: int, num_threads: int, num_workers: int
    ):
        super().__init__(assembly, start, stop, num_threads, num_workers)
        self._order = assembly.order
        self._batch_size = assembly.batch_size
        self._step = start

    @property
    def step(self) -> int:
        """Number of the next batch."""
        return self._step

    def __next__(self) -> Batch:
        batch = super().__next__()
        self._step += 1
        return batch

    def position(self, step: int) -> Position:
        """Where global batch number `step` starts."""
        return self._order.position(step, self._batch_size)

    def examples(self, step: int) -> np.ndarray:
        """Which examples global batch number `step` has, before any bad ones are replaced.

        Returns:
          Indices into the source, int64 `[batch_size]`, of all hosts.
        """
        return self._order.examples(step * self._batch_size, (step + 1) * self._batch_size)


class EvalBatches(_Batches):
    """The iterator that `eval_batches` returns; its length is the number of batches."""

    def __init__(self, assembly: EvalAssembly, num_threads: int, num_workers: int):
        super().__init__(assembly, 0, len(assembly), num_threads, num_workers)
        self._length = len(assembly)

    def __len__(self) -> int:
        return self._length


def train_batches(
    source: Source,
    batch_size: int,
    *,
    seed: int,
    transforms: Sequence[Transform] = (),
    pairing: Pairing | None = None,
    check: Check | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    start_step: int = 0,
    num_threads: int = 2,
    num_workers: int = 0,
    host: int = 0,
    hosts: int = 1,
    on_bad_example: Literal["raise", "skip"] = "raise",
) -> TrainBatches:
    """Shuffled training batches; batch i depends on the seed and i only.

    Examples are reshuffled every epoch and transformed anew every time. Batches run on across the
    ends of epochs, so that none is short and every example is used equally often. Neither threads,
    worker processes, hosts nor the step at which a run was resumed make a difference.

    Args:
      source: a TFDS data source, an `ArraySource`, or anything of that kind.
      batch_size: examples in a global batch, of all hosts.
      seed: of the order, the transforms and the pairing, 0 <= seed < 2**32.
      transforms: from an example and a NumPy generator to an example, applied in turn. Finished
        examples must all have the fields, shapes and dtypes of the first one of the source.
      pairing: from two finished examples and a generator to two examples, such as mixup; applied
        to rows (0, 1), (2, 3), ... of the global batch.
      check: of the records, such as `classification(10)`, which is also the default without a
        number of classes. What comes encoded is checked once the transforms have decoded it.
      steps: number of the step to stop before; None runs forever (or `epochs`).
      epochs: stop after this many passes; give this or `steps`, not both.
      start_step: number of the first batch to deliver. A run resumed at step k sees the very
        batches that an unbroken run would have seen from there on.
      num_threads: threads that read ahead (in each worker); 0 reads when a batch is asked for.
      num_workers: worker processes; 0 for none. They are spawned, so that a script that asks for
        them needs its `if __name__ == "__main__":`. Batches travel through shared memory
        (/dev/shm), which must hold 4 of them for each worker and those in use; a worker has up to
        `num_threads + 4` ready or under way.
      host: number of this host.
      hosts: how many hosts read; each has `batch_size / hosts` rows of every batch.
      on_bad_example: "raise", or "skip" to put the next good example of the order, with the
        generator of the bad one's position, in the place of a bad one.

    Returns:
      An iterator of `{"image": [batch_size / hosts, h, w, c], "label": int32 [batch_size / hosts]}`
      or whatever the check and the transforms make, with `step`, `position`, `examples`, `skipped`
      and `close`.

    Raises:
      ValueError: at once for arguments out of range.
      BadExampleError: naming the example, at once for the first one of the source and while
        iterating for others: it cannot be read or transformed, its label is out of range, its
        shapes differ or it holds NaN or infinite values. With "skip", after 100 of them in a row.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in [0, 2**32), got {seed}")
    if start_step < 0:
        raise ValueError(f"start_step must be at least 0, got {start_step}")
    if steps is not None and epochs is not None:
        raise ValueError(f"give steps or epochs, not both; got {steps} and {epochs}")
    rows = _host_rows(source, batch_size, host, hosts)
    if pairing is not None and (rows[1] - rows[0]) % 2:
        raise ValueError(
            f"a pairing needs an even number of examples per host, got batch_size {batch_size} "
            f"for {hosts} hosts"
        )
    _require_reading(num_threads, num_workers)
    if epochs is not None:
        steps = int(epochs * len(source)) // batch_size
    stop = _FOREVER if steps is None else steps
    maker = _maker(source, check, transforms, on_bad_example)
    layout, first = maker.find_layout(seed)
    paired_layout = layout
    if pairing is not None:
        paired, _ = pairing(first, dict(first), generator(Stream.LAYOUT, seed, len(source)))
        paired_layout = layout_of(conformed(0, paired, None))
    assembly = TrainAssembly(
        maker=dataclasses.replace(maker, layout=layout),
        order=Order(len(source), seed),
        batch_size=batch_size,
        rows=rows,
        pairing=pairing,
        layout=paired_layout,
        length=stop,
    )
    return TrainBatches(assembly, start_step, stop, num_threads, num_workers)


def eval_batches(
    source: Source,
    batch_size: int,
    *,
    transforms: Sequence[Transform] = (),
    check: Check | None = None,
    num_threads: int = 2,
    num_workers: int = 0,
    host: int = 0,
    hosts: int = 1,
    on_bad_example: Literal["raise", "skip"] = "raise",
) -> EvalBatches:
    """All examples once, in their order, in batches of one size.

    Args:
      source: as for `train_batches`, with all that follows.
      batch_size: examples in a global batch, of all hosts.
      transforms: their generators depend on the example's index alone.
      check: of the records.
      num_threads: threads that read ahead.
      num_workers: worker processes.
      host: number of this host.
      hosts: how many hosts read; all of them get the same number of batches.
      on_bad_example: "raise", or "skip" to leave bad examples out.

    Returns:
      An iterator, with `len`, `skipped` and `close`, of batches with one more field "weight",
      float32 `[batch_size / hosts]`: 1 for an example, 0 for rows of zeros, which fill up the last
      batch and stand in for bad examples. Over all batches of all hosts, the weights sum to the
      number of good examples.

    Raises:
      ValueError: at once for arguments out of range.
      BadExampleError: as for `train_batches`.
    """
    rows = _host_rows(source, batch_size, host, hosts)
    _require_reading(num_threads, num_workers)
    maker = _maker(source, check, transforms, on_bad_example)
    layout, _ = maker.find_layout(0)
    if "weight" in layout:
        raise ValueError('the examples have a field "weight" already, which is that of the batches')
    assembly = EvalAssembly(dataclasses.replace(maker, layout=layout), batch_size, rows)
    return EvalBatches(assembly, num_threads, num_workers)


def _maker(
    source: Source, check: Check | None, transforms: Sequence[Transform], on_bad_example: str
) -> Maker:
    if on_bad_example not in ("raise", "skip"):
        raise ValueError(f'on_bad_example must be "raise" or "skip", got {on_bad_example!r}')
    return Maker(
        source=source,
        check=classification() if check is None else check,
        transforms=tuple(transforms),
        skip=on_bad_example == "skip",
    )


def _host_rows(source: Source, batch_size: int, host: int, hosts: int) -> tuple[int, int]:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not 0 <= host < hosts:
        raise ValueError(f"expected 0 <= host < hosts, got host {host} of {hosts}")
    if batch_size % hosts:
        raise ValueError(f"batch_size {batch_size} does not divide among {hosts} hosts")
    if len(source) < 1:
        raise ValueError("the source has no examples")
    share = batch_size // hosts
    return host * share, (host + 1) * share


def _require_reading(num_threads: int, num_workers: int) -> None:
    if num_threads < 0 or num_workers < 0:
        raise ValueError(
            f"expected num_threads >= 0 and num_workers >= 0, got {num_threads} and {num_workers}"
        )
