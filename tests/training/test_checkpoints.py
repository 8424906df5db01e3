"""The checkpoints of a run: retention, damage, failed saves, full disks."""

import logging
import shutil
import signal

import jax.numpy as jnp
import numpy as np
import optax
import processes
import pytest
from broken_disk import break_disk
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax.training import (
    CheckpointFailed,
    Checkpoints,
    DamagedCheckpoint,
    init_state,
)


@pytest.fixture
def state():
    params = {"a": {"kernel": jnp.arange(6.0).reshape(2, 3)}, "b": jnp.ones(4, jnp.bfloat16)}
    return init_state(params, optax.adamw(1e-3), {"count": np.int32(3)}, average=True)


def _at(state, step):
    return state.replace(step=np.int32(step), params={**state.params, "b": jnp.full(4, step)})


def _save(checkpoints, state, steps, metrics=lambda step: None):
    for step in steps:
        checkpoints.save(step, _at(state, step), {"step": step}, metrics(step))


@pytest.mark.parametrize("asynchronous", [True, False])
def test_round_trip_of_the_newest_and_of_a_step(tmp_path, state, asynchronous):
    with Checkpoints(tmp_path / "c", keep_newest=3, asynchronous=asynchronous) as checkpoints:
        assert checkpoints.restore(state) is None
        _save(checkpoints, state, [1, 2, 5])
        found = checkpoints.restore(_at(state, 0))
        assert (found.step, found.meta) == (5, {"step": 5})
        assert found.tree.step == 5
        np.testing.assert_array_equal(found.tree.params["b"], np.full(4, 5))
        np.testing.assert_array_equal(found.tree.opt_state[0].mu["a"]["kernel"], np.zeros((2, 3)))
        assert checkpoints.restore(_at(state, 0), step=2).meta == {"step": 2}
        with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 3; it has \[1, 2, 5\]"):
            checkpoints.restore(state, step=3)
        with pytest.raises(ValueError, match="step 5 cannot follow checkpoint 5"):
            checkpoints.save(5, state, {})
        with pytest.raises(ValueError, match=r"leaf params/b .*float64"):
            checkpoints.restore(state.replace(params={**state.params, "b": np.zeros(4)}))
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["1", "2", "5"]


def test_the_saved_values_are_those_of_the_call(tmp_path):
    """Hashing and handing over are done when save returns, whatever the trainer does next."""
    tree = {"w": np.zeros(300_000, np.float32)}
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, tree, {})
        tree["w"] += 1
        assert checkpoints.restore(tree).tree["w"].max() == 0


@pytest.mark.slow
@examples(fast=6)
@given(
    scores=st.lists(st.sampled_from([0.1, 0.2, 0.3, np.nan, None]), min_size=1, max_size=7),
    newest=st.integers(1, 2),
    best=st.integers(0, 2),
    mode=st.sampled_from(["max", "min"]),
)
def test_newest_and_best_are_kept(tmp_path_factory, scores, newest, best, mode):
    """Retention is the union, also when the folder is opened anew for every save."""
    folder = tmp_path_factory.mktemp("kept") / "c"
    for step, score in enumerate(scores):
        options = {"best_metric": "accuracy", "best_mode": mode, "asynchronous": False}
        with Checkpoints(folder, keep_newest=newest, keep_best=best, **options) as checkpoints:
            metrics = None if score is None else {"accuracy": score, "other": 1.0}
            checkpoints.save(step, {"w": np.ones(1)}, {}, metrics)
            kept = checkpoints.steps()
    sign = 1 if mode == "max" else -1
    history, expected = {}, set()
    for step, score in enumerate(scores):
        history[step] = score
        counted = [s for s in history if history[s] is not None and not np.isnan(history[s])]
        counted = sorted(counted, key=lambda s, h=history: (sign * h[s], s))[-best:] if best else []
        expected = {*sorted(history)[-newest:], *counted}
        history = {s: history[s] for s in expected}
    assert set(kept) == expected


@pytest.fixture
def two(tmp_path, state):
    """A folder with checkpoints 1 and 2, and its path."""
    with Checkpoints(tmp_path / "c") as checkpoints:
        _save(checkpoints, state, [1, 2], lambda step: {"accuracy": 0.5})
    return tmp_path / "c"


def _files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)


def _damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "flipped":
        data[len(data) // 2] ^= 0x10
    elif how == "first flipped":
        data[0] ^= 0x01
    elif how == "truncated":
        data = data[: len(data) // 2]
    else:
        data = bytearray()
    path.write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flipped", "first flipped", "truncated", "emptied"])
def test_damage_anywhere_is_noticed_or_harmless(two, state, how):
    """Whatever file of the newest checkpoint is hit: what is restored is what was saved."""
    whole = two.parent / "whole"
    shutil.copytree(two, whole)
    outcomes = []
    for path in _files(two / "2"):
        shutil.rmtree(two)
        shutil.copytree(whole, two)
        _damage(path, how)
        with Checkpoints(two) as checkpoints:
            found = checkpoints.restore(_at(state, 0))
        assert found.step in (1, 2), path
        assert found.meta == {"step": found.step}
        np.testing.assert_array_equal(found.tree.params["b"], np.full(4, found.step))
        outcomes.append(found.step)
        shutil.rmtree(two.parent / "damaged", ignore_errors=True)
    assert 1 in outcomes


def test_a_damaged_checkpoint_is_set_aside_with_a_message(two, state, caplog):
    data = max(_files(two / "2" / "arrays" / "d"), key=lambda path: path.stat().st_size)
    _damage(data, "flipped")
    with Checkpoints(two) as checkpoints:
        with pytest.raises(DamagedCheckpoint, match="does not match its digest|cannot be read"):
            checkpoints.restore(_at(state, 0), step=2)
        with caplog.at_level(logging.WARNING):
            assert checkpoints.restore(_at(state, 0)).step == 1
        assert "skipping checkpoint 2: " in caplog.text
        assert checkpoints.steps() == [1]
        checkpoints.save(2, _at(state, 2), {"step": 2, "again": True})
        assert checkpoints.restore(_at(state, 0)).meta["again"]
    assert (two.parent / "damaged" / "2").is_dir()


def test_a_reader_leaves_a_save_of_another_process_alone(two, state):
    """What is half written is removed by who saves next, not by who opens the folder."""
    begun = two / "3.orbax-checkpoint-tmp-7" / "arrays"
    begun.mkdir(parents=True)
    with Checkpoints(two) as reader:
        assert reader.steps() == [1, 2]
        assert reader.restore(_at(state, 0)).step == 2
    assert begun.is_dir()
    with Checkpoints(two) as checkpoints:
        _save(checkpoints, state, [3])
    assert sorted(p.name for p in two.iterdir()) == ["2", "3"]


def test_all_damaged_is_none(two, state):
    for step in (1, 2):
        shutil.rmtree(two / str(step) / "record")
    with Checkpoints(two) as checkpoints:
        assert checkpoints.restore(_at(state, 0)) is None
        assert checkpoints.steps() == []


def test_a_save_that_fails_in_the_background_is_never_offered(tmp_path, state, monkeypatch):
    folder = tmp_path / "c"
    with Checkpoints(folder) as checkpoints:
        _save(checkpoints, state, [1])
        checkpoints.wait()
        with monkeypatch.context() as patch:
            break_disk(patch)
            _save(checkpoints, state, [2])
            with pytest.raises(CheckpointFailed, match=r"No space left.*complete one is of step 1"):
                checkpoints.wait()
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.steps() == [1]
        assert checkpoints.restore(_at(state, 0)).step == 1


_FULL_DISK = """
import resource, signal, sys
import numpy as np
from softeq_jax.training import Checkpoints, CheckpointFailed
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
rng = np.random.default_rng(0)
with Checkpoints(sys.argv[1]) as checkpoints:
    checkpoints.save(1, {"w": rng.random(1000)}, {})
    checkpoints.wait()
    try:
        checkpoints.save(2, {"w": rng.random(4_000_000)}, {})
        checkpoints.wait()
    except CheckpointFailed as error:
        print("FAILED:", error)
"""


@pytest.mark.slow
def test_a_file_that_cannot_grow_leaves_the_last_checkpoint(tmp_path):
    """A limit on the size of files stands for a full disk: writes fail with an OSError."""
    log = tmp_path / "log"
    arguments = ["-c", _FULL_DISK, tmp_path / "c"]
    process = processes.start(arguments, log, processes.environment())
    codes = processes.finish([process], 120, [log])
    output = log.read_text()
    assert codes != [-signal.SIGKILL], output
    assert "FAILED:" in output
    assert "the last complete one is of step 1" in output
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.steps() == [1]
        template = {"w": np.zeros(1000)}
        assert checkpoints.restore(template).step == 1


def test_bad_arguments(tmp_path, state):
    for options, words in [
        ({"keep_newest": 0}, "keep_newest must be a positive integer"),
        ({"keep_best": 1}, "needs best_metric"),
        ({"best_mode": "most"}, "'max' or 'min'"),
    ]:
        with pytest.raises(ValueError, match=words):
            Checkpoints(tmp_path / "c", **options)
    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(TypeError, match="leaf w"):
            checkpoints.save(1, {"w": "text"}, {})
        with pytest.raises(TypeError, match="JSON"):
            checkpoints.save(1, {"w": np.zeros(1)}, {"f": print})
        assert checkpoints.steps() == []
