"""What a run is resumed with: whole checkpoints, the same data, the same state, as many devices."""

import dataclasses
import errno
import functools
import logging
import shutil

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import processes
import pytest

from softeq_jax import data
from softeq_jax import training as tr
from softeq_jax.data import Mixup, Normalize, RandomFlip
from softeq_jax.training import objectives, workdir

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 4, 4, 1), np.uint8)
LABELS = RNG.integers(0, 3, 50).astype(np.int32)
SGD = optax.sgd(0.1)


def _apply(params, state, x):
    return x.reshape(len(x), -1) @ params["w"], state


STEP = tr.make_train_step(objectives.classification(_apply), SGD)
PARAMS = {"w": np.zeros((16, 3), np.float32)}


def _batches(images=IMAGES, labels=LABELS, size=8, **reading):
    source = reading.pop("source", None) or data.ArraySource(images, labels)
    options = {"seed": 3, "transforms": (Normalize((0.5,), (0.5,)),), "num_threads": 0}
    return lambda start: data.train_batches(
        source, size, start_step=start, **{**options, **reading}
    )


def _train(folder, batches=None, steps=4, **more):
    settings = tr.RunSettings(steps, log_every=1, save_every=2, tensorboard=False, progress=None)
    state = more.pop("state", None) or tr.init_state(PARAMS, SGD)
    return tr.train(STEP, state, batches or _batches(), settings, folder, **more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert _train(folder).step == 4
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def _damage(run, *steps):
    for step in steps:
        shutil.rmtree(run / "checkpoints" / str(step) / "record")


def test_a_run_that_is_under_way_is_not_begun_again(run):
    with workdir.locked(run), pytest.raises(tr.WorkdirInUse, match="is in use by process"):
        _train(run)
    assert _train(run, steps=5).step == 5
    assert not (run / "lock").exists()


def test_a_run_whose_lock_was_taken_over_saves_nothing(run):
    def evaluate(step, state):
        (run / "lock").write_text((run / "lock").read_text().replace('"token": "', '"token": "x'))
        return {}

    with pytest.raises(tr.WorkdirInUse, match="was taken over"):
        _train(run, steps=6, evaluate=evaluate)
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["2", "4"]


def test_a_passing_fault_ends_the_run_and_costs_nothing(run, monkeypatch):
    with monkeypatch.context() as patch:

        def broken(*args, **kwargs):
            raise OSError(errno.EIO, "Input/output error")

        patch.setattr(ocp.StandardCheckpointHandler, "restore", broken)
        with pytest.raises(OSError, match="cannot be read now"):
            _train(run)
    assert not (run / "damaged").exists()
    assert _train(run).step == 4


def test_beginning_again_where_checkpoints_were_is_asked_for(run, caplog):
    _damage(run, 2, 4)
    for _ in range(2):  # the second time there is nothing left but what was set aside
        with pytest.raises(tr.DamagedCheckpoint, match=r"none is whole: 2, 4.*restart_if_damaged"):
            _train(run)
    assert _train(run, restart_if_damaged=True).step == 4
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["2", "4"]
    assert _train(run, steps=6).step == 6


def test_one_damaged_checkpoint_goes_aside_and_the_one_before_is_resumed(run, caplog):
    _damage(run, 4)
    with caplog.at_level(logging.INFO, "softeq_jax"):
        assert _train(run, restart_if_damaged=True).step == 4
    assert "resuming at step 2" in caplog.text
    assert [p.name for p in (run / "damaged").iterdir()] == ["4"]


@pytest.mark.parametrize("text", ["step,a\n1,2\nx\n", "\0" * 100 + "\n", "step\n9\n1\n"])
def test_a_damaged_log_is_no_reason_not_to_go_on(run, text):
    for name in ("train.csv", "eval.csv"):
        (run / name).write_text(text)
    assert _train(run, steps=6).step == 6
    assert (run / "train.csv.damaged").read_text() == text
    assert (run / "train.csv").read_text().splitlines()[-1].startswith("6,")


@dataclasses.dataclass(frozen=True)
class _Scale:
    """A transform with an array among its fields, and one that is a function."""

    by: np.ndarray
    then: object = abs

    def __call__(self, example, rng):
        return {**example, "image": self.by * example["image"]}


class _Records:
    """A source of named records of several kinds."""

    def __init__(self, **changes):
        self.changes = changes

    def __len__(self):
        return 50

    def __getitem__(self, index):
        record = {"image": IMAGES[index], "label": LABELS[index], "id": f"n{index}"}
        return record | self.changes


OTHERS = {
    "images": ({"images": IMAGES + 1}, r"batches.records.0 was '\w{16}', is '\w{16}'.*in all"),
    "labels": ({"labels": (LABELS + 1) % 3}, "batches.records.0 was"),
    "order": ({"images": IMAGES[::-1], "labels": LABELS[::-1]}, "batches.records.0 was"),
    "number": ({"images": IMAGES[:49], "labels": LABELS[:49]}, "batches.examples was 50, is 49"),
    "dtype": ({"images": IMAGES.astype(np.float32)}, "batches.records.0 was"),
    "kind": ({"source": _Records()}, "batches.records.0 was"),
    "size": ({"size": 16}, r"\(batches.batch_size was 8, is 16\)"),
    "seed": ({"seed": 4}, r"\(batches.seed was 3, is 4\)"),
    "flip": (
        {"transforms": (RandomFlip(), Normalize((0.5,), (0.5,)))},
        r"\(batches.transforms was .*Normalize.*, is .*RandomFlip",
    ),
    "mean": ({"transforms": (Normalize((0.4,), (0.5,)),)}, r"\(batches.transforms was .*0\.4"),
    "pairing": ({"pairing": Mixup(0.2, num_classes=3)}, "batches.fields.*batches.pairing was"),
    "check": ({"check": data.classification(3)}, r"\(batches.check was"),
    "bad": ({"on_bad_example": "skip"}, r"\(batches.on_bad_example was 'raise', is 'skip'"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_data_are_refused_and_named(run, name):
    options, words = OTHERS[name]
    with pytest.raises(ValueError, match=f"(?s)on other data.*{words}"):
        _train(run, _batches(**options), steps=6)


def test_who_reads_makes_no_difference_and_a_change_may_be_allowed(run):
    assert _train(run, _batches(num_threads=2), steps=5).step == 5
    flipped = _batches(transforms=(RandomFlip(), Normalize((0.5,), (0.5,))))
    assert _train(run, flipped, steps=6, may_change=["batches.transforms"]).step == 6


def test_a_fingerprint_is_the_same_in_every_process():
    """No addresses, no order of dictionaries, arrays by their bytes."""

    def made(by, key=1, then=abs):
        transforms = (_Scale(by, then), functools.partial(lambda e, rng, k: e, k=key))
        return _batches(source=_Records(), transforms=transforms)(0).fingerprint()

    one = np.linspace(0.0, 1.0, 2000).astype(np.float32)[:, None, None, None].mean(0)
    assert made(one) == made(one.copy())
    assert made(one) != made(one + 1e-6)
    assert made(one) != made(one, key=2)
    assert made(one) != made(one, then=round)
    assert "0x" not in str(made(one, then=_Records()))
    ids = _batches(source=_Records(id="other"))(0).fingerprint()
    assert ids["records"] != _batches(source=_Records())(0).fingerprint()["records"]
    assert len(ids["records"]) == 32
    assert {"0", "49"} <= set(ids["records"])


def test_a_record_that_cannot_be_read_for_now_is_no_other_data(tmp_path, caplog):
    class Faulty(_Records):
        broken = True

        def __getitem__(self, index):
            if self.broken and index == 0:
                raise OSError(errno.EIO, "Input/output error")
            return super().__getitem__(index)

    source = Faulty()
    for steps in (2, 4):
        batches = _batches(source=source, on_bad_example="skip")
        assert _train(tmp_path / "run", batches, steps).step == steps
        source.broken = False
    assert "not in the fingerprint of the data: example 0: cannot be read" in caplog.text
    with pytest.raises(ValueError, match="batches.records.0 was"):
        _train(tmp_path / "run", _batches(source=_Records(id="x"), on_bad_example="skip"), 6)


def test_records_that_are_never_the_same_are_told(tmp_path, caplog):
    class Random(_Records):
        def __getitem__(self, index):
            return super().__getitem__(index) | {"id": str(RNG.random())}

    for steps in (2, 4):
        assert _train(tmp_path / "run", _batches(source=Random()), steps).step == steps
    assert "record 0 is another at every reading" in caplog.text


class _Bare:
    """Batches of one's own, which have no fingerprint."""

    skipped: dict = {}  # noqa: RUF012

    def __init__(self, start, size=8):
        self.size = size

    def __iter__(self):
        while True:
            yield {"image": np.ones((self.size, 4, 4, 1), np.float32), "label": LABELS[: self.size]}

    def position(self, step):
        return data.Position(0, step, 0)

    def examples(self, step):
        return np.arange(self.size)

    def close(self):
        pass


def test_batches_without_a_fingerprint_are_compared_by_their_size(tmp_path):
    assert _train(tmp_path / "run", _Bare).step == 4
    assert _train(tmp_path / "run", _Bare, steps=5).step == 5
    with pytest.raises(ValueError, match=r"\(batches.batch_size was 8, is 16\)"):
        _train(tmp_path / "run", lambda start: _Bare(start, 16), steps=6)


def _changed_meta(run, change):
    """The last checkpoint written anew, with other metadata."""
    template = tr.init_state(PARAMS, SGD)
    with tr.Checkpoints(run / "checkpoints") as checkpoints:
        found = checkpoints.restore(template)
        change(found.meta)
        checkpoints.save(found.step + 1, found.tree.replace(step=np.int32(5)), found.meta)


def test_another_number_of_devices_is_told(run, caplog):
    def change(meta):
        meta["devices"] = 64
        meta["position"] = {"epoch": 0, "batch": 5, "seed": 3}

    _changed_meta(run, change)
    with caplog.at_level(logging.WARNING):
        assert _train(run, steps=6).step == 6
    assert f"with other devices than before (64, now {jax.device_count()})" in caplog.text


def test_checkpoints_of_before_and_of_no_run(run, tmp_path, caplog):
    def of_before(meta):
        meta["position"] = {"epoch": 0, "batch": 5, "seed": 3}
        del meta["batches"]

    _changed_meta(run, of_before)
    with caplog.at_level(logging.WARNING):
        assert _train(run, steps=6).step == 6
    assert "checkpoint 5 does not say of what data" in caplog.text
    with tr.Checkpoints(tmp_path / "other" / "checkpoints") as checkpoints:
        checkpoints.save(1, tr.init_state(PARAMS, SGD), {"mine": 1})
    with pytest.raises(ValueError, match="checkpoint 1 is not one of a run, its metadata lack"):
        _train(tmp_path / "other")


def test_a_replicated_state_is_refused(tmp_path):
    state = tr.replicate(tr.init_state(PARAMS, SGD))
    with pytest.raises(ValueError, match=r"the state is replicated, its step has shape \(1,\)"):
        _train(tmp_path / "run", state=state)
    with pytest.raises(ValueError, match="the state is replicated"):
        tr.fit(STEP, state, [], 1)
    assert not (tmp_path / "run").exists()


def test_a_state_that_is_not_replicated_is_refused():
    state = tr.init_state(PARAMS, SGD)
    batch = tr.shard({"image": np.ones((8, 4, 4, 1), np.float32), "label": LABELS[:8]})
    with pytest.raises(ValueError, match=r"state\.step has shape \(\), expected .* replicate"):
        STEP(state, batch, None, np.zeros((1, 1), np.float32))
    evaluate = tr.make_evaluate(lambda w, s, batch, e: {"a": batch["x"] + w["w"].sum()})
    with pytest.raises(ValueError, match=r"params\['w'\] has shape \(16, 3\), expected a first"):
        evaluate(PARAMS, {}, [{"x": np.ones(8, np.float32), "weight": np.ones(8)}])
    with pytest.raises(ValueError, match=r"unreplicate\['w'\] has shape \(16, 3\), expected a"):
        tr.unreplicate(PARAMS)


_MANY = """
import numpy as np, optax
from softeq_jax import training as tr
from softeq_jax.training import pmap
for name, value in (("batch", {"x": np.zeros((12, 2))}), ("none", {"x": np.float32(1)})):
    try:
        tr.shard(value)
    except ValueError as error:
        print(name, error)
f = pmap.over_devices(lambda params, batch: params["w"] * batch, in_axes=(0, 0))
for w in (np.ones((16, 3)), np.ones(())):
    try:
        f({"w": w}, np.ones((8, 3)))
    except ValueError as error:
        print("step", error)
"""


@pytest.mark.slow(4)
def test_messages_on_many_devices(tmp_path):
    log = tmp_path / "log"
    process = processes.start(["-c", _MANY], log, processes.environment(8))
    assert processes.finish([process], 120, [log]) == [0]
    words = log.read_text()
    assert "batch['x'] has shape (12, 2), expected a leading axis that 8 devices divide" in words
    assert "step params['w'] has shape (16, 3), expected a first axis of length 8, that of" in words
    assert "step params['w'] has shape (), expected a first axis of length 8" in words
