"""The trainer on 1 to 8 virtual devices and on 2 processes, each with a hard time limit."""

import json
import pathlib

import numpy as np
import processes
import pytest

pytestmark = pytest.mark.slow(60)

_WORKER = pathlib.Path(__file__).with_name("pmap_worker.py")
_LIMIT = 240  # seconds; far more than it takes
_STEPS = 24


def _run(folder, devices: int, count: int = 1, cluster: str = "flags") -> list[dict]:
    """The results of all processes."""
    port, running, logs, outs = processes.free_port(), [], [], []
    for index in range(count):
        logs.append(folder / f"{count}x{devices}_{index}.log")
        outs.append(folder / f"{count}x{devices}_{index}.json")
        more, arguments = _cluster(cluster, port, count, index)
        env = processes.environment(devices, **more)
        command = [_WORKER, outs[-1], folder, *(arguments if count > 1 else [])]
        running.append(processes.start(command, logs[-1], env))
    codes = processes.finish(running, _LIMIT, logs)
    assert codes == [0] * count, "\n".join(log.read_text()[-4000:] for log in logs)
    return [json.loads(out.read_text()) for out in outs]


def _cluster(kind: str, port: int, count: int, index: int) -> tuple[dict[str, str], list]:
    """(variables, arguments) that tell a process of the others."""
    if kind == "flags":
        return {}, [f"127.0.0.1:{port}", count, index]
    variables = {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": str(count),
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_PROCID": str(index),
        "SLURM_LOCALID": str(index),
        "JAX_COORDINATOR_PORT": str(port),
    }
    return variables, []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pmap")


@pytest.fixture(scope="module")
def two(folder):
    """2 processes of 4 devices; the first to run, so that they write the checkpoint."""
    return _run(folder, 4, 2, "slurm")


@pytest.fixture(scope="module")
def results(folder, two):
    return {devices: _run(folder, devices)[0] for devices in (1, 2, 4, 8)}


def test_devices_do_not_change_the_losses(results):
    one = results[1]
    assert len(one["loss"]) == _STEPS
    assert np.mean(one["loss"][-5:]) < np.mean(one["loss"][:5]) - 0.01
    for devices in (2, 4, 8):
        assert results[devices]["devices"] == devices
        np.testing.assert_allclose(results[devices]["loss"], one["loss"], rtol=1e-5)
        for key in ("mean", "kernel", "average"):
            np.testing.assert_allclose(results[devices][key], one[key], atol=1e-5)


def test_two_processes_are_one(results, two):
    eight = results[8]
    for index, process in enumerate(two):
        assert (process["devices"], process["processes"]) == (8, 2)
        np.testing.assert_allclose(process["loss"], eight["loss"], rtol=1e-6)
        np.testing.assert_allclose(process["kernel"], eight["kernel"], atol=1e-6)
        np.testing.assert_allclose(process["noise"], eight["noise"], rtol=1e-6)
        assert process["gathered"] == [{"index": 0}, {"index": 1}]
        assert process["broadcast"] == 7
        for mine, theirs in zip(process["evaluated"], eight["evaluated"], strict=True):
            assert mine["count"] == 97
            np.testing.assert_allclose(mine["accuracy"], theirs["accuracy"], atol=1e-12)
            np.testing.assert_allclose(mine["cross_entropy"], theirs["cross_entropy"], rtol=1e-5)
        assert index in (0, 1)
    assert two[0]["loss"] == two[1]["loss"]


def test_resuming_is_exact(results, two):
    for result in (*results.values(), *two):
        assert result["resumed"]
        assert result["same_end"]


def test_a_checkpoint_of_two_processes_goes_on_anywhere(results, two):
    for result in (*results.values(), *two):
        assert result["saved_by"] == 2
        np.testing.assert_allclose(result["moved_kernel"], result["kernel"], atol=1e-5)
    assert all(process["same_restored"] for process in two)


def test_other_values_do_not_compile_again(results, two):
    """One shape of training batch and two of evaluation batches."""
    for result in (*results.values(), *two):
        assert result["traces"] == {"step": 1, "evaluate": 2}
        assert result["other_loss"][0] > result["loss"][0] + 0.1


def test_keys_depend_on_step_and_device(results):
    assert len(set(results[1]["noise"])) == _STEPS
    # Averaged over 8 devices, independent uniform numbers spread less than one does.
    assert np.std(results[8]["noise"]) < 0.6 * np.std(results[1]["noise"])


def test_every_example_counts_once(results):
    for result in results.values():
        first, again, larger = result["evaluated"]
        assert first == again
        assert first["count"] == larger["count"] == 97
        np.testing.assert_allclose(first["accuracy"], larger["accuracy"], atol=1e-12)
        np.testing.assert_allclose(first["cross_entropy"], larger["cross_entropy"], rtol=1e-6)


def test_hosts_stop_after_the_same_step(results, two):
    assert results[1]["stopped_at"] == results[8]["stopped_at"] == 4
    assert two[0]["stopped_at"] == two[1]["stopped_at"]
    assert 5 <= two[0]["stopped_at"] < 10


def test_hosts_that_differ_are_named(results, two):
    assert results[1]["differs"] == ""
    for process in two:
        assert process["differs"] == (
            "the config of process 1 differs from that of process 0: seed is 1, not 0"
        )


def test_errors(results, two):
    for result in (*results.values(), *two):
        assert result["errors"]["nan"].startswith("step 1: the loss is nan")
        assert len(result["errors"]["nan_examples"]) == 32
        assert "0 of 2 steps" in result["errors"]["short"]
    assert "['image'] has shape (9, 2)" in results[8]["errors"]["shard"]


def test_processes_of_one_run_share_a_work_directory(results, two):
    assert {result["trained_to"] for result in [*results.values(), *two]} == {3}
