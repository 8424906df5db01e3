"""The trainer on 1 and on 8 virtual devices, each in a process of its own with a time limit."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

_WORKER = pathlib.Path(__file__).with_name("pmap_worker.py")
_ROOT = _WORKER.parents[2]
_LIMIT = 150  # seconds; far more than it takes


def _run(devices: int, out: pathlib.Path) -> dict:
    """The worker's results; its whole process group is killed at the time limit."""
    env = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    process = subprocess.Popen(
        [sys.executable, str(_WORKER), str(out)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=_LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"{devices} devices: not done after {_LIMIT} s\n{output}")
    assert process.returncode == 0, output
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pmap")
    return {devices: _run(devices, folder / f"{devices}.json") for devices in (1, 8)}


@pytest.fixture(params=[1, 8])
def result(results, request):
    assert results[request.param]["devices"] == request.param
    return results[request.param]


def test_devices_do_not_change_the_losses(results):
    one, eight = results[1], results[8]
    assert len(one["loss"]) == 40
    np.testing.assert_allclose(eight["loss"], one["loss"], rtol=1e-5)
    np.testing.assert_allclose(eight["mean"], one["mean"], atol=1e-5)
    assert one["loss"][-1] < one["loss"][0]


def test_resuming_is_exact(result):
    assert result["resumed"]
    assert result["same_end"]
    assert result["seen"] == list(range(16, 41))
    assert result["seen_losses"]


def test_other_values_do_not_compile_again(result):
    assert result["traces"] == 1
    assert result["other_loss"][0] > result["loss"][0] + 0.1


def test_keys_depend_on_step_and_seed(result):
    assert len(set(result["noise"])) == 40
    assert not set(result["noise"][:3]) & set(result["keyed_noise"])


def test_keys_depend_on_the_device(results):
    """Averaged over 8 devices, independent uniform numbers spread less than one does."""
    assert np.std(results[8]["noise"]) < 0.6 * np.std(results[1]["noise"])


def test_predict_counts_every_example_once(result):
    for key, shape in result["shapes"].items():
        assert shape == [int(key.split(",")[1]), 10]
    assert result["logit_error"] < 1e-5


def test_errors(result):
    assert result["errors"]["nan"].startswith("step 1: the loss is nan")
    assert "0 of 2 steps" in result["errors"]["short"]
    if result["devices"] == 8:
        assert "['image'] has shape (9, 2)" in result["errors"]["shard"]


def test_replicate_and_back(result):
    assert result["replicated"]
