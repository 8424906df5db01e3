"""Grain's threads and worker processes, reading a bounded number of batches ahead."""

import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Iterator

import grain
from absl import flags

from softeq_jax.training.data._assembly import Assembly, Parcel


class Prefetch(Iterator[Parcel]):
    """Parcels start ... stop - 1 of an assembly, in order.

    Threads alone hold up to `2 num_threads` batches ahead, each worker process up to
    `num_threads + 4`. The position is the caller's business: Grain's own state, which depends on
    the number of workers, is not used.
    """

    def __init__(
        self, assembly: Assembly, start: int, stop: int, num_threads: int, num_workers: int
    ):
        # The finalizer can empty a list: Grain's iterators complain if they live to the very end.
        self._batches: list[Iterator[Parcel]] = []
        self._finalizer = weakref.finalize(self, _close_all, self._batches)
        if start >= stop:
            return
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
        self._batches.append(iter(batches))

    def __next__(self) -> Parcel:
        if not self._batches:
            raise StopIteration
        return next(self._batches[0])

    def close(self) -> None:
        """Ends threads and worker processes."""
        self._finalizer()


def _close_all(batches: list) -> None:
    while batches:
        batches.pop().close()


def live_as_long_as_the_parent(worker: int, workers: int) -> None:
    """Ties a worker process to its parent: it outlives signals meant to stop the parent, not it.

    A signal to the whole group of processes, such as Ctrl-C or a scheduler's SIGTERM, leaves it to
    the parent when to stop. When the parent is gone, killed for example, the worker ends at once.

    Args:
      worker: number of the worker, unused.
      workers: how many there are, unused.
    """
    del worker, workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=end_with_parent, daemon=True).start()
