"""States divided among 8 virtual devices, and among 2 processes of 4, with a hard time limit."""

import json
import pathlib

import jax
import numpy as np
import processes
import pytest
import sharded_task as task

from softeq_jax import training as tr
from softeq_jax.training.sharded import sharded_axis

_WORKER = pathlib.Path(__file__).with_name("sharded_worker.py")
_LIMIT = 240  # seconds; far more than it takes


def _run(folder, devices: int, count: int = 1) -> list[dict]:
    """The results of all processes."""
    port, running, logs, outs = processes.free_port(), [], [], []
    for index in range(count):
        logs.append(folder / f"{count}x{devices}_{index}.log")
        outs.append(folder / f"{count}x{devices}_{index}.json")
        cluster = [f"127.0.0.1:{port}", count, index] if count > 1 else []
        command = [_WORKER, outs[-1], folder, *cluster]
        running.append(processes.start(command, logs[-1], processes.environment(devices)))
    codes = processes.finish(running, _LIMIT, logs)
    assert codes == [0] * count, "\n".join(log.read_text()[-4000:] for log in logs)
    return [json.loads(out.read_text()) for out in outs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def two(folder):
    """2 processes of 4 devices; the first to run, so that they write the checkpoint."""
    return _run(folder, 4, 2)


@pytest.fixture(scope="module")
def eight(folder, two):
    return _run(folder, 8)[0]


def _close(found, expected, rtol=1e-5):
    np.testing.assert_allclose(found, expected, rtol=rtol)


@pytest.mark.slow(25)
def test_losses_are_those_of_the_replicated_form(eight, two):
    """With batch norm over the devices, noise that differs on each of them, clipping, and a
    projection, a penalty and a proximal step, which see whole leaves."""
    expected = eight["history"]["replicated"]
    assert expected["loss"][-1] < expected["loss"][0] - 0.05
    assert min(expected["penalty"]) > 0.1
    assert min(expected["grad_norm"]) > 0.5
    for process in (eight, *two):
        found = process["history"]["full"]
        for name in ("loss", "penalty", "noise"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)
        _close(found["grad_norm"][0], expected["grad_norm"][0])
    np.testing.assert_allclose(two[0]["kernel"], eight["kernel"], atol=1e-5)


@pytest.mark.slow(5)
def test_half_precision_parts_and_rematerialization(eight):
    full, replicated = eight["half"]["full"], eight["half"]["replicated"]
    _close(full[0], replicated[0])
    _close(full, replicated, 5e-3)


@pytest.mark.slow(5)
def test_a_checkpoint_goes_on_in_any_form_on_any_devices(eight, two, folder):
    """Written by 2 processes of 4 devices; on these, on 8 devices, and on the 1 of this one."""
    expected = eight["history"]["replicated"]["loss"][task.HALF :]
    for process in (eight, *two):
        for losses in process["resumed"].values():
            _close(losses, expected)
    with tr.Checkpoints(folder / "checkpoints") as checkpoints:
        state = checkpoints.restore(task.start(True)).tree
    layout = tr.layout("full")
    jax.tree.map(np.testing.assert_array_equal, layout.collect(layout.place(state)), state)
    assert int(state.step) == task.HALF


@pytest.mark.slow(5)
def test_every_device_holds_its_part(eight, two):
    for process, devices in ((eight, 8), *((one, 4) for one in two)):
        assert process["parts"] == [[[task.WIDTH, 16 * task.WIDTH // 8]] * devices] * 3
        assert process["collected"]


@pytest.mark.slow(5)
def test_memory_falls_as_one_over_the_devices(eight):
    """By XLA's plan a device holds its share of the state.

    A layer is gathered for the forward pass and again for the backward pass. On CPU XLA makes one
    of the two and keeps it, so that whole parameters are in memory during a step.
    """
    full, replicated = eight["memory"]["full"], eight["memory"]["replicated"]
    held, layer = full["state"], 4 * task.SIDE**2
    assert replicated["step"] > held
    assert held / 8 < full["step"] < held / 8 + (task.LAYERS + 4) * layer
    assert task.memory("full")["step"] > held
    assert (full["gathered"], replicated["gathered"]) == (2 * task.LAYERS, 0)


@pytest.mark.slow(5)
def test_evaluation_is_the_same(eight, two):
    expected = eight["evaluated"]["replicated"]
    assert expected["count"] == task.BATCH
    for process in (eight, *two):
        _close(process["evaluated"]["full"]["cross_entropy"], expected["cross_entropy"])
        assert process["evaluated"]["full"]["accuracy"] == expected["accuracy"]


@pytest.mark.parametrize(
    ("shape", "devices", "axis"),
    [
        ((768, 3072), 8, 1),
        ((3072, 768), 8, 0),
        ((7, 7, 3, 64), 8, 3),
        ((1000, 768), 16, 1),
        ((1001, 77), 8, None),
        ((768,), 8, None),
        ((), 8, None),
    ],
)
def test_the_axis_that_is_divided(shape, devices, axis):
    assert sharded_axis(shape, devices) == axis


def test_one_device_holds_all_and_gives_it_back():
    layout = tr.layout("full")
    tree = {"w": np.arange(2048.0, dtype=np.float32), "n": np.int32(3)}
    placed = layout.place(tree)
    assert placed["w"].shape == (2048,)
    found = layout.collect(placed)
    jax.tree.map(np.testing.assert_array_equal, found, tree)
    assert found["w"].flags.owndata


def test_bad_names_and_states():
    with pytest.raises(ValueError, match=r"sharding must be one of \['full', 'replicated'\]"):
        tr.make_train_step(lambda *_: None, None, sharding="half")
    with pytest.raises(ValueError, match=r"\[.x.\] has shape \(\), expected a leading axis"):
        tr.layout("full").spread({"x": np.float32(1)})
