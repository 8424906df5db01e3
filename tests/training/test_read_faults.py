"""Faults of the machine while a checkpoint is read: errors, after which all is where it was."""

import errno
import os
import shutil

import numpy as np
import orbax.checkpoint as ocp
import pytest

from softeq_jax.training import Checkpoints, DamagedCheckpoint, restore, save

TREE = {"w": np.arange(40.0), "b": np.ones(3, np.float32)}
FAULTS = {
    **{
        name: OSError(getattr(errno, name), os.strerror(getattr(errno, name)))
        for name in ("EIO", "EMFILE", "ENFILE", "ESTALE", "ENOSPC", "EACCES", "ETIMEDOUT", "EAGAIN")
    },
    "permission": PermissionError(errno.EACCES, "Permission denied"),
    "memory": MemoryError(),
    "tensorstore": ValueError('UNAVAILABLE: Error reading "a/b" [OS error 5: EIO]'),
    "words": ValueError("Error opening chunk: Too many open files"),
    "group": ExceptionGroup("many", [KeyError("x"), OSError(errno.EIO, "I/O")]),
}


@pytest.fixture
def folder(tmp_path):
    best = {"keep_best": 1, "best_metric": "accuracy"}
    with Checkpoints(tmp_path / "c", **best) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, TREE, {"step": step}, {"accuracy": 0.5})
    return tmp_path / "c"


def _untouched(folder):
    assert sorted(p.name for p in folder.parent.iterdir()) == ["c"]
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"]


@pytest.mark.parametrize("handler", [ocp.StandardCheckpointHandler, ocp.JsonCheckpointHandler])
@pytest.mark.parametrize("name", FAULTS)
def test_one_passing_fault_is_an_error_and_moves_nothing(folder, monkeypatch, name, handler):
    def broken(*args, **kwargs):
        raise FAULTS[name]

    with Checkpoints(folder) as checkpoints:
        with monkeypatch.context() as patch:
            patch.setattr(handler, "restore", broken)
            with pytest.raises(OSError, match=r"cannot be read now.*nothing was moved.*c/2'"):
                checkpoints.restore(TREE)
        _untouched(folder)
        assert checkpoints.restore(TREE).step == 2
    _untouched(folder)


def test_a_cause_counts_as_well(folder, monkeypatch):
    def broken(*args, **kwargs):
        try:
            raise OSError(errno.ESTALE, "stale")
        except OSError as error:
            raise KeyError("w") from error

    monkeypatch.setattr(ocp.StandardCheckpointHandler, "restore", broken)
    with Checkpoints(folder) as checkpoints, pytest.raises(OSError, match="cannot be read now"):
        checkpoints.restore(TREE)
    _untouched(folder)


@pytest.mark.parametrize("item", ["arrays", "record", "metrics"])
def test_a_file_that_gives_io_errors(folder, item):
    """Reading one's own memory at address 0 is EIO, in whatever way it is tried."""
    files = [p for p in (folder / "2" / item).rglob("*") if p.is_file()]
    file = max(files, key=lambda p: (p.name == "metrics", p.stat().st_size))
    file.unlink()
    file.symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match="nothing was moved"), Checkpoints(folder) as checkpoints:
        checkpoints.restore(TREE)
    _untouched(folder)


def test_a_fault_that_passes_at_once_is_not_damage(folder, monkeypatch):
    """An unknown error, once: the checkpoint is read again before it is called damaged."""
    read, calls = ocp.StandardCheckpointHandler.restore, []

    def once(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("who knows")
        return read(*args, **kwargs)

    monkeypatch.setattr(ocp.StandardCheckpointHandler, "restore", once)
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(TREE).step == 2
    _untouched(folder)


def test_what_is_missing_or_changed_is_still_damage(folder):
    shutil.rmtree(folder / "2" / "arrays")
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(TREE).step == 1
        assert checkpoints.damaged() == ["2"]


def test_a_changed_name_or_dtype_in_the_record_is_damage(folder):
    file = next(p for p in (folder / "2" / "record").rglob("*") if b"float32" in p.read_bytes())
    file.write_bytes(file.read_bytes().replace(b"float32", b"float31"))
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(DamagedCheckpoint, match="record does not match its digest"):
            checkpoints.restore(TREE, step=2)
        assert checkpoints.restore(TREE).step == 1


def test_one_checkpoint_alone(tmp_path, monkeypatch):
    save(tmp_path / "x", TREE, {})

    def broken(*args, **kwargs):
        raise FAULTS["EMFILE"]

    monkeypatch.setattr(ocp.StandardCheckpointHandler, "restore", broken)
    with pytest.raises(OSError, match="Too many open files") as error:
        restore(tmp_path / "x", TREE)
    assert error.value.errno == errno.EMFILE
