"""Batches: the same from any threads, workers, hosts and resumption; evaluation counts all once."""

import itertools
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax.data import (
    ArraySource,
    BadExampleError,
    anything,
    eval_batches,
    open_source,
    segmentation,
    segmentation_pairs,
    train_batches,
)


@dataclass(frozen=True)
class Noise:
    """Draws twice, so that a wrong generator or a missed draw shows."""

    high: int = 50

    def __call__(self, example, rng):
        image = example["image"] + rng.integers(0, self.high, example["image"].shape, np.uint8)
        return {**example, "image": image, "draw": np.float32(rng.random())}


@dataclass(frozen=True)
class Blend:
    """Mixes two examples with a drawn share; labels become vectors."""

    num_classes: int = 10

    def __call__(self, first, second, rng):
        share = np.float32(rng.random())
        one, two = (np.eye(self.num_classes, dtype=np.float32)[e["label"]] for e in (first, second))
        image = (share * first["image"] + (1 - share) * second["image"]).astype(np.float32)
        mixed = {"image": image, "label": share * one + (1 - share) * two}
        return mixed, {**mixed, "image": image[::-1]}


@dataclass(frozen=True)
class BadLabel:
    """A source whose example `bad` has a label out of range."""

    bad: int

    def __len__(self):
        return 30

    def __getitem__(self, index):
        label = -1 if index == self.bad else 1
        return {"image": np.full((2, 2, 1), index, np.uint8), "label": label}


class Counting:
    """A source that counts what is read."""

    def __init__(self):
        self.read = 0

    def __len__(self):
        return 1000

    def __getitem__(self, index):
        self.read += 1
        return {"image": np.zeros((1, 1, 1)), "label": 0}


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(0)
    return ArraySource(rng.integers(0, 200, (23, 6, 5, 3), np.uint8), np.arange(23) % 10)


def _assert_equal(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        for field in x:
            assert x[field].dtype == y[field].dtype
            np.testing.assert_array_equal(x[field], y[field])


def _merged(per_host):
    return [
        {field: np.concatenate([part[field] for part in parts]) for field in parts[0]}
        for parts in zip(*per_host, strict=True)
    ]


@pytest.mark.slow
@examples(fast=25)
@given(
    share=st.sampled_from([2, 4, 6]),
    hosts=st.integers(1, 4),
    later_hosts=st.integers(1, 3),
    start=st.integers(0, 9),
    seed=st.integers(0, 2**32 - 1),
    threads=st.integers(0, 2),
    pairing=st.sampled_from([None, Blend()]),
)
def test_hosts_threads_and_resumption_do_not_matter(
    source, share, hosts, later_hosts, start, seed, threads, pairing
):
    batch = share * hosts * later_hosts
    kwargs = {"seed": seed, "transforms": [Noise(), Noise(3)], "pairing": pairing, "steps": 9}
    whole = list(train_batches(source, batch, num_threads=0, **kwargs))
    assert len(whole) == 9
    assert whole[0]["image"].shape == (batch, 6, 5, 3)
    assert whole[0]["label"].dtype == (np.int32 if pairing is None else np.float32)
    for count, first in ((hosts, 0), (later_hosts, start)):
        parts = [
            list(
                train_batches(
                    source,
                    batch,
                    num_threads=threads,
                    start_step=first,
                    host=host,
                    hosts=count,
                    **kwargs,
                )
            )
            for host in range(count)
        ]
        _assert_equal(_merged(parts), whole[first:])


def test_epochs_are_permutations_and_differ():
    identity = ArraySource(np.zeros((20, 2, 2, 1), np.uint8), np.arange(20))
    batches = train_batches(identity, 5, seed=1, epochs=3)
    assert batches.step == 0
    labels = [b["label"] for b in batches]
    assert batches.step == 12
    passes = np.concatenate(labels).reshape(3, 20)
    assert all(sorted(p) == list(range(20)) for p in passes)
    assert len({tuple(p) for p in passes}) == 3
    for step, label in enumerate(labels):
        np.testing.assert_array_equal(batches.examples(step), label)
        assert batches.position(step) == (step // 4, step, 1)
    other = [b["label"] for b in train_batches(identity, 5, seed=2, epochs=3)]
    assert not np.array_equal(labels, other)
    half = train_batches(identity, 10, seed=1, epochs=1.5, host=1, hosts=2, start_step=1)
    assert half.step == 1
    np.testing.assert_array_equal(next(half)["label"], passes.ravel()[15:20])
    assert half.examples(1).shape == (10,)
    assert len(list(half)) == 1


def test_transforms_draw_anew_every_time_and_pairs_once_each(source):
    draws = [b["draw"] for b in train_batches(source, 23, seed=0, steps=4, transforms=[Noise()])]
    assert len(np.unique(draws)) == 92
    mixed = list(train_batches(source, 46, seed=0, steps=3, pairing=Blend()))
    plain = list(train_batches(source, 46, seed=0, steps=3))
    shares = []
    for batch, unmixed in zip(mixed, plain, strict=True):
        np.testing.assert_array_equal(batch["image"][::2], batch["image"][1::2, ::-1])
        one, two = (unmixed["image"][row::2].astype(np.float32) for row in (0, 1))
        share = ((batch["image"][::2] - two) * (one - two)).sum((1, 2, 3)) / (
            np.square(one - two).sum((1, 2, 3))
        )
        np.testing.assert_allclose(
            batch["image"][::2],
            share[:, None, None, None] * (one - two) + two,
            atol=1e-3,
        )
        shares.extend(np.round(share, 5))
    assert len(set(shares)) == len(shares) == 69


def test_runs_forever_without_steps(source):
    assert len(list(itertools.islice(train_batches(source, 50, seed=0), 7))) == 7


def test_nothing_left_to_do(source):
    assert list(train_batches(source, 5, seed=0, steps=3, start_step=3, num_workers=1)) == []
    assert list(train_batches(source, 5, seed=0, steps=3, start_step=8)) == []


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"start_step": -1}, "start_step"),
        ({"seed": -1}, "seed"),
        ({"steps": 1, "epochs": 1}, "not both"),
        ({"hosts": 3}, "batch_size 4.*3 hosts"),
        ({"hosts": 2, "host": 2}, "host 2 of 2"),
        ({"pairing": Blend(), "hosts": 4}, "even number.*batch_size 4.*4 hosts"),
        ({"num_threads": -1}, "num_threads"),
        ({"num_workers": -2}, "num_workers"),
        ({"on_bad_example": "ignore"}, "on_bad_example.*'ignore'"),
    ],
)
def test_arguments_out_of_range(source, kwargs, words):
    with pytest.raises(ValueError, match=words):
        train_batches(source, **{"batch_size": 4, "seed": 0, **kwargs})


def test_options_of_another_name_are_refused(source):
    with pytest.raises(TypeError, match="train_batches got .*'workers'; it takes .*num_workers"):
        train_batches(source, 4, seed=0, workers=2)
    with pytest.raises(TypeError, match="eval_batches got .*'seed'; it takes transforms, check"):
        eval_batches(source, 4, seed=0)


def test_empty_source():
    empty = ArraySource(np.zeros((0, 2, 2, 1)), np.zeros(0, int))
    for batches in (lambda: train_batches(empty, 2, seed=0), lambda: eval_batches(empty, 2)):
        with pytest.raises(ValueError, match="no examples"):
            batches()


def test_reads_a_bounded_number_ahead_and_stops_when_closed():
    source = Counting()
    with train_batches(source, 10, seed=0, num_threads=2) as batches:
        for _ in range(3):
            next(batches)
        time.sleep(0.2)
        # Example 0 for the layout, three batches handed out, four ahead.
        assert source.read == 1 + 10 * (3 + 4)
    time.sleep(0.1)
    stopped = source.read
    assert next(batches, None) is None
    time.sleep(0.1)
    assert source.read == stopped <= 1 + 10 * (3 + 4)


@pytest.mark.slow(15)
def test_worker_processes(source):
    """Everything about workers in one test, since each takes a second to start."""
    kwargs = {"seed": 3, "transforms": [Noise()], "pairing": Blend(), "steps": 14}
    whole = list(train_batches(source, 8, **kwargs))
    before = set(multiprocessing.active_children())

    def warn(workers):
        # A scheduler's warning goes to all processes, but the parent decides when to stop.
        for worker in workers:
            os.kill(worker.pid, signal.SIGTERM)
            os.kill(worker.pid, signal.SIGINT)

    def warn_at_birth():
        warned = set()
        while len(warned) < 2:
            born = set(multiprocessing.active_children()) - before - warned
            warn(born)
            warned |= born
        return warned

    with (
        ThreadPoolExecutor() as thread,
        train_batches(source, 8, num_workers=2, start_step=1, **kwargs) as batches,
    ):
        warned = thread.submit(warn_at_birth)
        found = [next(batches)]
        workers = set(multiprocessing.active_children()) - before
        assert len(workers) == 2
        assert warned.result() == workers
        warn(workers)
        time.sleep(0.2)
        found += [next(batches) for _ in range(9)]
        _assert_equal(found, whole[1:11])
        on_device = jax.device_put(found[0]["image"])
        copy = np.array(found[0]["image"])
        del found
        np.testing.assert_array_equal(on_device, copy)
    assert set(multiprocessing.active_children()) == before
    assert next(batches, None) is None


@pytest.mark.slow(13)
def test_errors_and_skips_of_workers():
    batches = train_batches(BadLabel(7), 30, seed=0, num_workers=1)
    with pytest.raises(BadExampleError, match=r"example 7: label -1, expected 0 <= label") as found:
        next(batches)
    assert (found.value.index, found.value.id) == (7, None)
    with pytest.raises(BadExampleError, match="example 7"):
        next(batches)
    batches = eval_batches(BadLabel(7), 8, num_workers=1, on_bad_example="skip")
    assert sum(b["weight"].sum() for b in batches) == 29
    assert list(batches.skipped) == [7]
    assert "label -1" in batches.skipped[7]


ABANDONED = """
import multiprocessing, time
import numpy as np
from softeq_jax.data import ArraySource, train_batches
source = ArraySource(np.zeros((8, 2, 2, 1)), np.zeros(8, int))
batches = train_batches(source, 4, seed=0, num_workers=1)
next(batches)
print(multiprocessing.active_children()[0].pid, flush=True)
time.sleep(60)
"""


def _running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = pathlib.Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.slow(9)
def test_workers_end_with_a_killed_parent():
    parent = subprocess.Popen(
        [sys.executable, "-c", ABANDONED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        worker = int(parent.stdout.readline())
        assert _running(worker)
    finally:
        parent.kill()
        parent.communicate()
    deadline = time.monotonic() + 10
    while _running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _running(worker)


@examples(fast=25)
@given(share=st.integers(1, 9), hosts=st.integers(1, 5), threads=st.integers(0, 2))
def test_evaluation_counts_every_example_once(source, share, hosts, threads):
    batch = share * hosts
    kwargs = {"transforms": [Noise()], "num_threads": threads}
    iterators = [eval_batches(source, batch, host=h, hosts=hosts, **kwargs) for h in range(hosts)]
    assert [len(it) for it in iterators] == [-(-23 // batch)] * hosts
    batches = _merged([list(it) for it in iterators])
    assert len(batches) == -(-23 // batch)
    rows = {field: np.concatenate([b[field] for b in batches]) for field in batches[0]}
    assert rows["weight"].dtype == np.float32
    np.testing.assert_array_equal(rows["weight"], np.arange(len(rows["weight"])) < 23)
    np.testing.assert_array_equal(rows["label"][:23], source.labels)
    for field in ("image", "label", "draw"):
        assert not rows[field][23:].any()
    (all_at_once,) = eval_batches(source, 23, **kwargs)
    np.testing.assert_array_equal(rows["image"][:23], all_at_once["image"])
    assert len(np.unique(rows["draw"][:23])) == 23


def test_evaluation_needs_the_name_weight(source):
    class Weighted(ArraySource):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "weight": 1.0}

    weighted = Weighted(source.images, source.labels)
    with pytest.raises(ValueError, match='"weight"'):
        eval_batches(weighted, 4, check=anything())


def test_cifar10(data_dir):
    source = open_source("cifar10", "test", data_dir / "tfds")
    kwargs = {"seed": 3, "transforms": [Noise()], "steps": 4}
    batches = train_batches(source, 32, **kwargs)
    whole = list(batches)
    _assert_equal(whole[2:], list(train_batches(source, 32, start_step=2, **kwargs)))
    index = int(batches.examples(1)[5])
    assert whole[1]["label"][5] == source[index]["label"]


def test_camvid_pairs(data_dir):
    check = segmentation(11, ignore=255)
    found = []
    for decode in (True, False):
        source = open_source("camvid", "train[:6]", data_dir / "tfds", decode=decode)
        batches = train_batches(
            source, 3, seed=0, epochs=1, transforms=[segmentation_pairs()], check=check
        )
        found.append(list(batches))
    _assert_equal(*found)
    batch = found[0][0]
    assert (batch["image"].shape, batch["image"].dtype) == ((3, 180, 240, 3), np.uint8)
    assert (batch["mask"].shape, batch["mask"].dtype) == ((3, 180, 240), np.int32)
    assert batch.keys() == {"image", "mask"}
    with pytest.raises(BadExampleError, match=r"example \d \(id .+\): mask with values \[255\]"):
        list(
            train_batches(
                source,
                3,
                seed=0,
                epochs=1,
                transforms=[segmentation_pairs()],
                check=segmentation(11),
            )
        )
