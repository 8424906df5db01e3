"""Batches for training, which can be resumed exactly, and for evaluation, which count all once."""

import dataclasses
import importlib.util
import logging
import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from typing import Any, Literal, Self, TypedDict, Unpack

import numpy as np

from softeq_jax._checks import known_options, whole
from softeq_jax.data._assembly import (
    Assembly,
    EvalAssembly,
    Maker,
    Order,
    Parcel,
    Position,
    Stream,
    TrainAssembly,
    generator,
)
from softeq_jax.data._examples import (
    Batch,
    Check,
    Pairing,
    Source,
    Transform,
    classification,
    conformed,
    layout_of,
)
from softeq_jax.data._fingerprint import fingerprint

for _needed in ("grain", "absl"):
    if importlib.util.find_spec(_needed) is None:
        raise ImportError(f"softeq_jax.data needs {_needed}: pip install softeq-jax[train]")

_FOREVER = 2**40
_STOPPING = (signal.SIGINT, signal.SIGTERM)
_logger = logging.getLogger(__name__)


class Prefetch(Iterator[Parcel]):
    """Parcels start ... stop - 1 of an assembly, in order.

    Threads alone hold up to `2 num_threads` batches ahead, each worker process up to
    `num_threads + 4`. The position is the caller's business: Grain's own state, which depends on
    the number of workers, is not used. Grain is imported when the first parcel is asked for.
    """

    def __init__(
        self, assembly: Assembly, start: int, stop: int, num_threads: int, num_workers: int
    ):
        # The finalizer can empty a list: Grain's iterators complain if they live to the very end.
        self._batches: list[Iterator[Parcel]] = []
        self._finalizer = weakref.finalize(self, _close_all, self._batches)
        self._reading = (assembly, start, stop, num_threads, num_workers)
        self._ended = start >= stop

    def __next__(self) -> Parcel:
        if self._ended:
            raise StopIteration
        if not self._batches:
            self._batches.append(_opened(*self._reading))
            *_, num_workers = self._reading
            if num_workers:
                return _next_that_starts_workers(self._batches[0])
        return next(self._batches[0])

    def close(self) -> None:
        """Ends threads and worker processes."""
        self._ended = True
        self._finalizer()


def _opened(
    assembly: Assembly, start: int, stop: int, num_threads: int, num_workers: int
) -> Iterator[Parcel]:
    import grain
    from absl import flags

    ahead = num_threads if num_workers else 2 * num_threads
    reading = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=ahead)
    batches = grain.MapDataset.source(assembly)[start:stop].to_iter_dataset(reading)
    if num_workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        batches = batches.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=min(num_workers, stop - start)),
            worker_init_fn=live_as_long_as_the_parent,
        )
    return iter(batches)


def _close_all(batches: list) -> None:
    while batches:
        batches.pop().close()


def _next_that_starts_workers(batches: Iterator[Parcel]) -> Parcel:
    """The first parcel of worker processes, which start with the stopping signals held back.

    A process inherits the blocked signals of the thread that starts it. Without this a signal that
    comes before a worker could say what to do with it would end the worker, and the run with it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        return next(batches)
    # The first process of all starts the tracker too, which would unblock them in that thread.
    resource_tracker.ensure_running()
    thread = ThreadPoolExecutor(
        1, "start-workers", signal.pthread_sigmask, (signal.SIG_BLOCK, _STOPPING)
    )
    try:
        return thread.submit(next, batches).result()
    finally:
        thread.shutdown(wait=False)


def live_as_long_as_the_parent(worker: int, workers: int) -> None:
    """Ties a worker process to its parent: it outlives signals meant to stop the parent, not it.

    A signal to the whole group of processes, such as Ctrl-C or a scheduler's SIGTERM, leaves it to
    the parent when to stop. When the parent is gone, killed for example, the worker ends at once.

    Args:
      worker: number of the worker, unused.
      workers: how many there are, unused.
    """
    del worker, workers
    for stopping in _STOPPING:
        signal.signal(stopping, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)

    parent = multiprocessing.parent_process()
    if parent is None:
        return
    wait = parent.join

    def end_with_parent() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


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
    """The iterator that `train_batches` returns.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> source = sq.data.ArraySource(np.zeros((5, 2, 2, 1), np.float32), np.arange(5))
      >>> batches = sq.data.train_batches(source, 2, seed=0, steps=3)
      >>> [batch["image"].shape for batch in batches]
      [(2, 2, 2, 1), (2, 2, 2, 1), (2, 2, 2, 1)]
      >>> batches.step
      3
    """

    def __init__(
        self, assembly: TrainAssembly, start: int, stop: int, num_threads: int, num_workers: int
    ):
        super().__init__(assembly, start, stop, num_threads, num_workers)
        self._assembly = assembly
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

    def fingerprint(self) -> dict[str, Any]:
        """What the batches are made of, as JSON: a resumed run checks that it is the same.

        Sizes, digests of a few records of the source, and what is done to them; not who reads
        them: hosts, threads and workers make no difference. Reads these records.
        """
        return fingerprint(self._assembly)

    def examples(self, step: int) -> np.ndarray:
        """Which examples global batch number `step` has, before any bad ones are replaced.

        Returns:
          Indices into the source, int64 `[batch_size]`, of all hosts.
        """
        return self._order.examples(step * self._batch_size, (step + 1) * self._batch_size)


class EvalBatches(_Batches):
    """The iterator that `eval_batches` returns; its length is the number of batches.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> source = sq.data.ArraySource(np.zeros((5, 2, 2, 1), np.float32), np.arange(5))
      >>> batches = sq.data.eval_batches(source, 2)
      >>> len(batches)  # the last one is filled up
      3
    """

    def __init__(self, assembly: EvalAssembly, num_threads: int, num_workers: int):
        super().__init__(assembly, 0, len(assembly), num_threads, num_workers)
        self._length = len(assembly)

    def __len__(self) -> int:
        return self._length


class Reading(TypedDict, total=False):
    """Options of reading batches, for training and for evaluation.

    Attributes:
      transforms: from an example and a NumPy generator to an example, applied in turn. Finished
        examples must all have the fields, shapes and dtypes of the first one of the source.
      check: of the records, such as `classification(10)`, which is also the default without a
        number of classes. What comes encoded is checked once the transforms have decoded it.
      num_threads: threads that read ahead (in each worker), 2 by default; 0 reads when a batch is
        asked for.
      num_workers: worker processes; 0, the default, for none. They are spawned, so that a script
        that asks for them needs its `if __name__ == "__main__":`. Batches travel through shared
        memory (/dev/shm), which must hold 4 of them for each worker and those in use; a worker has
        up to `num_threads + 4` ready or under way.
      host: number of this host, 0 by default.
      hosts: how many hosts read, 1 by default; each has `batch_size / hosts` rows of every batch.
      on_bad_example: "raise", the default, or "skip": training puts the next good example of the
        order, with the generator of the bad one's position, in the place of a bad one; evaluation
        leaves it out.
    """

    transforms: Sequence[Transform]
    check: Check | None
    num_threads: int
    num_workers: int
    host: int
    hosts: int
    on_bad_example: Literal["raise", "skip"]


def train_batches(
    source: Source,
    batch_size: int,
    *,
    seed: int,
    pairing: Pairing | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    start_step: int = 0,
    **reading: Unpack[Reading],
) -> TrainBatches:
    """Shuffled training batches; batch i depends on the seed and i only.

    Examples are reshuffled every epoch and transformed anew every time. Batches run on across the
    ends of epochs, so that none is short and every example is used equally often. Neither threads,
    worker processes, hosts nor the step at which a run was resumed make a difference.

    Args:
      source: a TFDS data source, an `ArraySource`, or anything of that kind.
      batch_size: examples in a global batch, of all hosts.
      seed: of the order, the transforms and the pairing, 0 <= seed < 2**32.
      pairing: from two finished examples and a generator to two examples, such as mixup; applied
        to rows (0, 1), (2, 3), ... of the global batch.
      steps: number of the step to stop before; None runs forever (or `epochs`).
      epochs: stop after this many passes; give this or `steps`, not both.
      start_step: number of the first batch to deliver. A run resumed at step k sees the very
        batches that an unbroken run would have seen from there on.
      **reading: see `Reading`.

    Returns:
      An iterator of `{"image": [batch_size / hosts, h, w, c], "label": int32 [batch_size / hosts]}`
      or whatever the check and the transforms make, with `step`, `position`, `examples`, `skipped`,
      `fingerprint` and `close`.

    Raises:
      TypeError: an option of another name.
      ValueError: at once for arguments out of range.
      BadExampleError: naming the example, at once for the first one of the source and while
        iterating for others: it cannot be read or transformed, its label is out of range, its
        shapes differ or it holds NaN or infinite values. With "skip", after 100 of them in a row.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> source = sq.data.ArraySource(np.zeros((4, 2, 2, 1), np.float32), np.arange(4))
      >>> batches = sq.data.train_batches(source, 2, seed=0, epochs=1)
      >>> sorted(label for batch in batches for label in batch["label"].tolist())
      [0, 1, 2, 3]
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in [0, 2**32), got {seed}")
    whole(start_step, "start_step", 0)
    if steps is not None and epochs is not None:
        raise ValueError(f"give steps or epochs, not both; got {steps} and {epochs}")
    maker, rows, ahead = _understood(source, batch_size, reading, "train_batches")
    if pairing is not None and (rows[1] - rows[0]) % 2:
        raise ValueError(
            f"a pairing needs an even number of examples per host, got batch_size {batch_size} "
            f"for {reading.get('hosts', 1)} hosts"
        )
    if epochs is not None:
        steps = int(epochs * len(source)) // batch_size
    stop = _FOREVER if steps is None else steps
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
    return TrainBatches(assembly, start_step, stop, *ahead)


def eval_batches(source: Source, batch_size: int, **reading: Unpack[Reading]) -> EvalBatches:
    """All examples once, in their order, in batches of one size.

    Args:
      source: a TFDS data source, an `ArraySource`, or anything of that kind.
      batch_size: examples in a global batch, of all hosts.
      **reading: see `Reading`; the generators of the transforms depend on the example's index
        alone, and all hosts get the same number of batches.

    Returns:
      An iterator, with `len`, `skipped` and `close`, of batches with one more field "weight",
      float32 `[batch_size / hosts]`: 1 for an example, 0 for rows of zeros, which fill up the last
      batch and stand in for bad examples. Over all batches of all hosts, the weights sum to the
      number of good examples.

    Raises:
      TypeError: an option of another name.
      ValueError: at once for arguments out of range.
      BadExampleError: as for `train_batches`.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> source = sq.data.ArraySource(np.zeros((3, 2, 2, 1), np.float32), np.arange(3))
      >>> for batch in sq.data.eval_batches(source, 2):
      ...     print(batch["label"], batch["weight"])
      [0 1] [1. 1.]
      [2 0] [1. 0.]
    """
    maker, rows, ahead = _understood(source, batch_size, reading, "eval_batches")
    layout, _ = maker.find_layout(0)
    if "weight" in layout:
        raise ValueError('the examples have a field "weight" already, which is that of the batches')
    assembly = EvalAssembly(dataclasses.replace(maker, layout=layout), batch_size, rows)
    return EvalBatches(assembly, *ahead)


def _understood(
    source: Source, batch_size: int, reading: Reading, what: str
) -> tuple[Maker, tuple[int, int], tuple[int, int]]:
    """Checked options with their defaults.

    Returns:
      What makes the examples, first and last (exclusive) row of a global batch on this host, and
      the numbers of threads and of worker processes.
    """
    known_options(reading, Reading, what)
    whole(batch_size, "batch_size")
    host, hosts = reading.get("host", 0), reading.get("hosts", 1)
    if not 0 <= host < hosts:
        raise ValueError(f"expected 0 <= host < hosts, got host {host} of {hosts}")
    if batch_size % hosts:
        raise ValueError(f"batch_size {batch_size} does not divide among {hosts} hosts")
    if len(source) < 1:
        raise ValueError("the source has no examples")
    each = batch_size // hosts
    ahead = (
        whole(reading.get("num_threads", 2), "num_threads", 0),
        whole(reading.get("num_workers", 0), "num_workers", 0),
    )
    on_bad_example = reading.get("on_bad_example", "raise")
    if on_bad_example not in ("raise", "skip"):
        raise ValueError(f'on_bad_example must be "raise" or "skip", got {on_bad_example!r}')
    check = reading.get("check")
    maker = Maker(
        source=source,
        check=classification() if check is None else check,
        transforms=tuple(reading.get("transforms", ())),
        skip=on_bad_example == "skip",
    )
    return maker, (host * each, (host + 1) * each), ahead
