"""Runs in a work directory: resumed, stopped, watched, refused."""

import csv
import json
import logging
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from broken_disk import break_disk

from softeq_jax import data
from softeq_jax import training as tr
from softeq_jax.data import Normalize, RandomFlip
from softeq_jax.training import methods, objectives

RNG = np.random.default_rng(0)
SOURCE = data.ArraySource(
    RNG.integers(0, 256, (50, 4, 4, 1), np.uint8), RNG.integers(0, 3, 50).astype(np.int32)
)
ADAM = optax.adam(0.05)


def _apply(params, state, x):
    return x.reshape(len(x), -1) @ params["w"] + params["b"], state


LOSS = objectives.classification(_apply)
STEP = tr.make_train_step(LOSS, ADAM, average_decay=0.9)
PARAMS = {"w": np.zeros((16, 3), np.float32), "b": np.zeros(3, np.float32)}
CONFIG = {"optimizer": {"rate": 0.05}, "run": {"log_every": 5}, "rules": ("a", "b")}
TRANSFORMS = (RandomFlip(), Normalize((0.5,), (0.5,)))


def _state(seed=0):
    return tr.init_state(PARAMS, ADAM, {}, seed=seed, average=True)


def _batches(seed=3, size=8, opened=None):
    def batches(start_step):
        stream = data.train_batches(
            SOURCE, size, seed=seed, transforms=TRANSFORMS, start_step=start_step, num_threads=1
        )
        if opened is not None:
            opened.append(stream)
        return stream

    return batches


MEASURE = tr.make_evaluate(
    lambda w, s, batch, e: {
        "accuracy": _apply(w, s, batch["image"])[0].argmax(-1) == batch["label"]
    }
)


def _evaluate(step, state):
    batches = data.eval_batches(SOURCE, 16, transforms=TRANSFORMS[1:], num_threads=0)
    return MEASURE(*tr.averaged(state), batches)


def _settings(**more):
    options = {"log_every": 5, "evaluate_every": 10, "save_every": 10, "progress": None}
    return tr.RunSettings(**{"steps": 30, "tensorboard": False, **options, **more})


def _train(workdir, *, settings=None, **more):
    options = {"evaluate": _evaluate, "config": CONFIG, "learning_rate": lambda step: 0.05}
    step, state = more.pop("step_fn", STEP), more.pop("state", _state())
    batches = more.pop("batches", _batches())
    return tr.train(step, state, batches, settings or _settings(), workdir, **{**options, **more})


def _same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "straight"
    return _train(workdir), workdir


@pytest.mark.slow
def test_a_run_leaves_its_logs_and_checkpoints(straight):
    outcome, workdir = straight
    assert (outcome.step, outcome.finished, outcome.stopped_by) == (30, True, None)
    assert sorted(p.name for p in workdir.iterdir()) == [
        "checkpoints",
        "config.json",
        "eval.csv",
        "train.csv",
    ]
    assert json.loads((workdir / "config.json").read_text()) == json.loads(json.dumps(CONFIG))
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["20", "30"]
    train = list(csv.DictReader((workdir / "train.csv").open()))
    assert [int(row["step"]) for row in train] == [5, 10, 15, 20, 25, 30]
    assert float(train[-1]["train/loss"]) < float(train[0]["train/loss"])
    assert float(train[1]["train/learning_rate"]) == 0.05
    assert float(train[1]["rate/examples_per_second"]) > 0
    assert float(train[0]["memory/host_rss_bytes"]) > 1e7
    evaluated = list(csv.DictReader((workdir / "eval.csv").open()))
    assert [int(row["step"]) for row in evaluated] == [10, 20, 30]
    assert float(evaluated[-1]["eval/accuracy"]) == outcome.metrics["accuracy"]
    assert float(evaluated[-1]["eval/count"]) == 50


@pytest.mark.slow
def test_what_a_checkpoint_remembers(straight):
    _, workdir = straight
    with tr.Checkpoints(workdir / "checkpoints") as checkpoints:
        found = checkpoints.restore(_state())
    assert found.meta["position"] == {"epoch": 4, "batch": 30, "seed": 3}
    assert found.meta["config"]["optimizer"] == {"rate": 0.05}
    assert found.meta["versions"]["jax"] == jax.__version__
    assert (found.meta["devices"], found.meta["hosts"]) == (1, 1)
    assert found.meta["metrics"]["count"] == 50


def test_a_finished_run_is_not_trained_again(straight):
    outcome, workdir = straight
    opened = []
    again = _train(workdir, batches=_batches(opened=opened))
    assert (again.step, again.finished, again.metrics) == (30, True, outcome.metrics)
    assert _same(again.state, outcome.state)
    assert [stream.step for stream in opened] == [30]


def test_a_longer_run_goes_on(straight, tmp_path):
    outcome, workdir = straight
    whole = _train(tmp_path / "whole", settings=_settings(steps=45))
    shutil.copytree(workdir, tmp_path / "longer")
    longer = _train(tmp_path / "longer", settings=_settings(steps=45))
    assert _same(longer.state, whole.state)
    assert not _same(longer.state, outcome.state)
    rows = (tmp_path / "longer" / "train.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == [str(n) for n in range(5, 46, 5)]


def test_sigterm_saves_and_the_run_goes_on_exactly(straight, tmp_path):
    seen = []

    def evaluate(step, state):
        if step == 10 and not seen:
            seen.append(os.kill(os.getpid(), signal.SIGTERM))
        return _evaluate(step, state)

    stopped = _train(tmp_path / "run", evaluate=evaluate, settings=_settings(save_every=0))
    assert (stopped.finished, stopped.stopped_by) == (False, signal.SIGTERM)
    assert 10 <= stopped.step < 15
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == [str(stopped.step)]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    done = _train(tmp_path / "run", settings=_settings(save_every=0))
    assert done.finished
    assert _same(done.state, straight[0].state)


def test_a_crash_between_saves_goes_back_to_the_last(straight, tmp_path):
    def evaluate(step, state):
        if step == 20:
            raise KeyboardInterrupt
        return _evaluate(step, state)

    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "run", evaluate=evaluate)
    rows = (tmp_path / "run" / "train.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["5", "10", "15", "20"]
    done = _train(tmp_path / "run")
    assert _same(done.state, straight[0].state)
    left, right = ((folder / "eval.csv").read_text() for folder in (tmp_path / "run", straight[1]))
    assert left == right


def test_another_config_seed_or_batch_is_refused(straight, tmp_path):
    shutil.copytree(straight[1], tmp_path / "run")
    changed = {**CONFIG, "optimizer": {"rate": 0.1}}
    with pytest.raises(ValueError, match=r"optimizer\.rate was 0\.05, is 0\.1"):
        _train(tmp_path / "run", config=changed)
    changed = {**CONFIG, "run": {"log_every": 7}}
    with pytest.raises(ValueError, match=r"run\.log_every was 5, is 7"):
        _train(tmp_path / "run", config=changed)
    assert _train(tmp_path / "run", config=changed, may_change=["run.*"]).finished
    with pytest.raises(ValueError, match=r"on other data \(batches.seed was 3, is 4\)"):
        _train(tmp_path / "run", batches=_batches(seed=4))
    with pytest.raises(ValueError, match=r"on other data \(batches.batch_size was 8, is 16\)"):
        _train(tmp_path / "run", batches=_batches(size=16))
    other = tr.init_state({"w": PARAMS["w"]}, ADAM, {}, average=True)
    with pytest.raises(ValueError, match="'params/b'"):
        _train(tmp_path / "run", state=other)


def test_other_versions_are_told(straight, tmp_path, monkeypatch, caplog):
    shutil.copytree(straight[1], tmp_path / "run")
    versions = {**tr.run.library_versions(), "jax": "0.0.1"}
    monkeypatch.setattr(tr.run, "library_versions", lambda: versions)
    with caplog.at_level(logging.WARNING):
        _train(tmp_path / "run")
    assert "resumed with other versions" in caplog.text
    assert "'jax': " in caplog.text


def test_the_best_checkpoint_is_kept(tmp_path):
    scores = {10: 0.9, 20: 0.1, 30: 0.2, 40: 0.3}
    settings = _settings(steps=40, keep_newest=1, keep_best=1, best_metric="score")
    _train(tmp_path / "run", settings=settings, evaluate=lambda n, s: {"score": scores[n]})
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == ["10", "40"]


@pytest.mark.slow
def test_a_run_that_goes_wrong_keeps_what_was_saved(tmp_path):
    def loss(params, state, batch, key, extra):
        value, (state, metrics) = LOSS(params, state, batch, key, extra)
        return jnp.where(jnp.sum(params["w"] ** 2) > 0.3, jnp.nan, value), (state, metrics)

    step = tr.make_train_step(loss, ADAM, average_decay=0.9)
    with pytest.raises(tr.NonFiniteLoss, match="holds examples") as error:
        _train(tmp_path / "run", step_fn=step, settings=_settings(save_every=1))
    kept = sorted(int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == [error.value.step - 2, error.value.step - 1]
    with tr.Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        assert np.isfinite(checkpoints.restore(_state()).tree.params["w"]).all()


def test_a_full_disk_stops_the_run_and_the_last_checkpoint_is_whole(
    straight, tmp_path, monkeypatch
):
    def evaluate(step, state):
        if step == 20:
            break_disk(patch)
        return _evaluate(step, state)

    with (
        monkeypatch.context() as patch,
        pytest.raises(tr.CheckpointFailed, match=r"No space left on device.* is of step 10$"),
    ):
        _train(tmp_path / "run", evaluate=evaluate)
    assert [p.name for p in (tmp_path / "run" / "checkpoints").glob("?0")] == ["10"]
    done = _train(tmp_path / "run")
    assert _same(done.state, straight[0].state)


def test_skipped_examples_are_counted_in_the_log(tmp_path):
    images, labels = SOURCE.images, SOURCE.labels.copy()
    labels[7] = -1
    bad = data.ArraySource(images, labels)

    def batches(start_step, on_bad_example="skip"):
        return data.train_batches(
            bad,
            8,
            seed=3,
            transforms=TRANSFORMS,
            start_step=start_step,
            num_threads=0,
            on_bad_example=on_bad_example,
        )

    _train(tmp_path / "run", batches=batches, evaluate=None)
    rows = list(csv.DictReader((tmp_path / "run" / "train.csv").open()))
    assert float(rows[-1]["data/skipped"]) == 1
    with pytest.raises(data.BadExampleError, match="example 7: label -1"):
        _train(tmp_path / "raise", batches=lambda step: batches(step, "raise"), evaluate=None)


def test_the_profiler_and_tensorboard(tmp_path):
    settings = _settings(steps=12, profile=(3, 4), tensorboard=True)
    _train(tmp_path / "run", settings=settings)
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))


@pytest.mark.slow
def test_a_penalty_is_a_metric(tmp_path):
    method = methods.Method(
        lambda params, extra, step: params,
        lambda params, extra, step: extra * jnp.sum(params["w"] ** 2),
    )
    step = tr.make_train_step(LOSS, ADAM, method=method, average_decay=0.9)
    _train(tmp_path / "run", step_fn=step, extra=np.float32(0.1))
    rows = list(csv.DictReader((tmp_path / "run" / "train.csv").open()))
    assert float(rows[-1]["train/penalty"]) > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps must be a positive integer, got 0"),
        ({"log_every": 0}, "log_every must be a positive integer"),
        ({"save_every": -1}, "save_every must be an integer of at least 0"),
        (
            {"keep_best": 1, "best_metric": "a", "save_every": 15},
            "multiple of evaluate_every, got 15 and 10",
        ),
    ],
)
def test_settings_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        _settings(**options)
