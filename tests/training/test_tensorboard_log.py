"""TensorBoard's event files, read back with tensorboardX's protocol buffers."""

import math
import struct
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c

from softeq_jax.training.watch import TensorBoardWriter


def _events(file):
    """The records of an event file, with their checksums verified."""
    data, events, at = file.read_bytes(), [], 0
    while len(data) - at > 16:
        head = data[at : at + 8]
        (length,) = struct.unpack("<Q", head)
        assert struct.unpack("<I", data[at + 8 : at + 12])[0] == masked_crc32c(head)
        body = data[at + 12 : at + 12 + length]
        (checksum,) = struct.unpack("<I", data[at + 12 + length : at + 16 + length])
        assert checksum == masked_crc32c(body)
        events.append(event_pb2.Event.FromString(body))
        at += 16 + length
    return events


def _scalars(file):
    return [
        (event.step, value.tag, value.simple_value)
        for event in _events(file)
        for value in event.summary.value
    ]


def test_scalars_return(tmp_path):
    with TensorBoardWriter(tmp_path / "a" / "b") as log:
        log.write(1, {"train/loss": 0.5, "lr": np.float32(0.25)})
        log.write(np.int64(2), {"train/loss": jnp.float32(2.0), "bad": math.inf})
    (file,) = (tmp_path / "a" / "b").iterdir()
    assert _scalars(file) == [
        (1, "train/loss", 0.5),
        (1, "lr", 0.25),
        (2, "train/loss", 2.0),
        (2, "bad", math.inf),
    ]


@pytest.mark.slow
def test_scalars_reach_the_file_of_a_running_writer(tmp_path):
    with TensorBoardWriter(tmp_path) as log:
        log.write(1, {"a": 1.0})
        log.write(2, {"a": 2.0})
        (file,) = tmp_path.iterdir()
        end = time.monotonic() + 20
        while len(_scalars(file)) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        assert _scalars(file) == [(1, "a", 1.0), (2, "a", 2.0)]


def test_a_resumed_run_purges_what_is_after_its_checkpoint(tmp_path):
    with TensorBoardWriter(tmp_path) as log:
        for step in (1, 2, 3):
            log.write(step, {"a": float(step)})
    with TensorBoardWriter(tmp_path, resume_step=2) as log:
        log.write(3, {"a": 30.0})
    with TensorBoardWriter(tmp_path, resume_step=0) as log:
        log.write(1, {"a": 100.0})
    first, second, third = sorted(tmp_path.iterdir())
    assert _scalars(first) == [(1, "a", 1.0), (2, "a", 2.0), (3, "a", 3.0)]
    assert _scalars(second) == [(3, "a", 30.0)]
    assert _scalars(third) == [(1, "a", 100.0)]
    start = event_pb2.SessionLog.START
    for file, step in ((second, 3), (third, 1)):
        purges = [event.step for event in _events(file) if event.session_log.status == start]
        assert purges == [step]
    assert not any(event.session_log.status == start for event in _events(first))


def test_bad_requests(tmp_path):
    log = TensorBoardWriter(tmp_path)
    log.write(5, {"a": 1.0})
    with pytest.raises(ValueError, match="step is 4, expected at least 5"):
        log.write(4, {"a": 1.0})
    with pytest.raises(TypeError, match="value 'a' is a ndarray of shape"):
        log.write(6, {"a": np.zeros(2)})
    log.close()
    log.close()
    with pytest.raises(ValueError, match="the writer is closed"):
        log.write(6, {"a": 1.0})
    with pytest.raises(FileExistsError, match="has 1 event files: pass resume_step"):
        TensorBoardWriter(tmp_path)
    with pytest.raises(ValueError, match="resume_step is -3"):
        TensorBoardWriter(tmp_path, resume_step=-3)


def test_the_missing_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"tensorboardX: pip install softeq-jax\[train\]"):
        TensorBoardWriter(tmp_path)
