"""The CSV log: exact values, new columns, resumed and killed runs."""

import csv
import logging
import math
import os
import re
import signal
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax.training.watch import CsvWriter


def _table(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_rows_are_in_the_file_when_write_returns(tmp_path):
    path = tmp_path / "new" / "train.csv"
    with CsvWriter(path) as log:
        assert path.read_text() == "step\n"
        log.write(1, {"loss": 0.1, "top1": jnp.float32(0.1)})
        assert path.read_text() == "step,loss,top1\n1,0.1,0.10000000149011612\n"
        log.write(np.int64(3), {"top1": np.float64(1), "loss": math.nan})
        log.write(4, {})
    assert _table(path)[2:] == [["3", "nan", "1.0"], ["4", "", ""]]
    assert [p.name for p in path.parent.iterdir()] == ["train.csv"]


@pytest.mark.slow
@given(st.lists(st.floats(), min_size=1, max_size=5))
@examples(fast=100)
def test_values_are_read_back_as_they_were(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("log") / "x.csv"
    with CsvWriter(path) as log:
        for step, value in enumerate(values):
            log.write(step, {"v": value})
    read = np.array([float(row[1]) for row in _table(path)[1:]])
    np.testing.assert_array_equal(read, values)


def test_new_names_add_columns(tmp_path):
    path = tmp_path / "x.csv"
    with CsvWriter(path) as log:
        log.write(1, {"a": 1.0})
        log.write(2, {"b, quoted": 2.0, "a": 3.0})
        log.write(5, {'c "d"': 4.0})
    assert _table(path) == [
        ["step", "a", "b, quoted", 'c "d"'],
        ["1", "1.0", "", ""],
        ["2", "3.0", "2.0", ""],
        ["5", "", "", "4.0"],
    ]


def test_writes_of_one_step_share_its_row(tmp_path):
    path = tmp_path / "x.csv"
    with CsvWriter(path) as log:
        log.write(1, {"loss": 0.123456789})
        log.write(2, {"loss": 0.123456789})
        log.write(2, {"eval": 0.5})
        log.write(2, {"loss": 1.0})  # a shorter row than before
        log.write(3, {"loss": 2.0})
        log.write(3, {"other": 3.0})
    assert _table(path) == [
        ["step", "loss", "eval", "other"],
        ["1", "0.123456789", "", ""],
        ["2", "1.0", "0.5", ""],
        ["3", "2.0", "", "3.0"],
    ]


def test_a_resumed_run_goes_on_where_its_checkpoint_is(tmp_path):
    path = tmp_path / "x.csv"
    with CsvWriter(path) as log:
        for step in (1, 2, 10, 20):
            log.write(step, {"a": step / 10})
    with CsvWriter(path, resume_step=10) as log:
        assert [row[0] for row in _table(path)] == ["step", "1", "2", "10"]
        with pytest.raises(ValueError, match="step is 2, expected at least 10"):
            log.write(2, {"a": 0.0})
        log.write(10, {"b": 5.0})
        log.write(11, {"a": 6.0})
    assert _table(path)[3:] == [["10", "1.0", "5.0"], ["11", "6.0", ""]]
    with CsvWriter(path, resume_step=0) as log:
        log.write(0, {"a": 7.0})
    assert _table(path) == [["step", "a", "b"], ["0", "7.0", ""]]
    with CsvWriter(tmp_path / "absent.csv", resume_step=4) as log:
        log.write(4, {"a": 1.0})
    assert len(_table(tmp_path / "absent.csv")) == 2


def test_a_torn_last_line_is_dropped_wherever_it_ends(tmp_path):
    path = tmp_path / "x.csv"
    with CsvWriter(path) as log:
        log.write(1, {"a": 0.5, "b": 12.25})
        log.write(2, {"a": 0.5, "b": 13.25})
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        ends = np.cumsum([len(line) for line in lines])
        kept = max(int((ends <= size).sum()), 0)
        with CsvWriter(path, resume_step=5) as log:
            expected = b"".join(lines[:kept]) if kept else b"step\n"
            assert path.read_bytes() == expected
            log.write(6, {"a": 1.0, "b": 2.0})
        assert _table(path)[-1] == ["6", "1.0", "2.0"]


@pytest.mark.slow(8)
def test_a_killed_process_loses_no_row(tmp_path):
    path = tmp_path / "x.csv"
    script = (
        "import sys, itertools\n"
        "from softeq_jax.training.watch import CsvWriter\n"
        "log = CsvWriter(sys.argv[1])\n"
        "for step in itertools.count():\n"
        "    log.write(step, {'a': step / 7})\n"
        "    log.write(step, {'b': step / 3})\n"
        "    print(step, flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) >= 200:
                os.kill(process.pid, signal.SIGKILL)
                break
        rest = process.stdout.read().splitlines()
    reported = int(([line, *rest])[-1])
    CsvWriter(path, resume_step=reported).close()
    rows = _table(path)[1:]
    assert [int(row[0]) for row in rows] == list(range(reported + 1))
    assert all(float(row[1]) == int(row[0]) / 7 for row in rows)
    assert all(float(row[2]) == int(row[0]) / 3 for row in rows)


def test_a_new_run_never_replaces_a_log(tmp_path):
    path = tmp_path / "x.csv"
    CsvWriter(path).close()
    with pytest.raises(FileExistsError, match=r"x\.csv exists: pass resume_step"):
        CsvWriter(path)


def test_bad_writes(tmp_path):
    log = CsvWriter(tmp_path / "x.csv")
    log.write(3, {"a": 1.0})
    before = (tmp_path / "x.csv").read_bytes()
    for step, message in ((1.5, "step is 1.5"), (True, "step is True"), ("4", "step is '4'")):
        with pytest.raises(TypeError, match=message):
            log.write(step, {"a": 1.0})
    for step in (-1, 2):
        with pytest.raises(ValueError, match=f"step is {step}, expected at least 3"):
            log.write(step, {"a": 1.0})
    for value in (np.zeros(2), "1.0", None, 1j, jnp.zeros((1,))):
        with pytest.raises(TypeError, match="value 'b' is a .*expected a real scalar"):
            log.write(4, {"a": 1.0, "b": value})
    for name in ("two\nlines", "", 3, " "):
        with pytest.raises(TypeError, match="expected a name of one line"):
            log.write(4, {name: 1.0})
    with pytest.raises(ValueError, match="a value is called 'step'"):
        log.write(4, {"step": 1.0})
    assert (tmp_path / "x.csv").read_bytes() == before
    log.close()
    log.close()
    with pytest.raises(ValueError, match=r"x\.csv: the writer is closed"):
        log.write(4, {"a": 1.0})


@pytest.mark.parametrize(
    ("text", "kept", "words"),
    [
        (b"epoch,a\n1,2\n", b"step\n", "line 1 is"),
        (b"step,a,a\n1,2,3\n", b"step\n", "line 1 is"),
        (b"step,a\n1,2\n2\n3,4\n", b"step,a\n1,2\n", "line 3 is .*expected 2 cells"),
        (b"step,a\n1,2\n\n3,4\n", b"step,a\n1,2\n", "line 3 is .*expected 2 cells"),
        (b"step,a\n1,2\nx,4\n", b"step,a\n1,2\n", "line 3 is .*the first a step after 1"),
        (b"step,a\n2,2\n1,4\n", b"step,a\n2,2\n", "line 3 is .*the first a step after 2"),
        (b"step,a\n1,2\n1,2\n2,3\n", b"step,a\n1,2\n", "the first a step after 1"),
        (b"step,a\n" + b"9" * 5000 + b",2\n", b"step,a\n", "line 2 is"),
        (b"\xff\xfe\n", b"step\n", "no CSV table"),
        (b"step,a\n1,2\n" + bytes(4096) + b"\n", b"step,a\n1,2\n", "damaged"),
        (b'step,a\n1,2\n2,"3\n3,4\n', b"step,a\n1,2\n", "after line 2 it is no CSV table"),
        (b"step,a\n1,2\n2,loss\n", b"step,a\n1,2\n", "line 3 is"),
    ],
)
def test_a_damaged_log_is_set_aside_and_begun_again(tmp_path, caplog, text, kept, words):
    path = tmp_path / "x.csv"
    for number in ("", "2"):
        path.write_bytes(text)
        with caplog.at_level(logging.WARNING), CsvWriter(path, resume_step=9) as log:
            log.write(10, {"a": 5.0})
        assert re.search(words, caplog.text)
        assert path.read_bytes() == (kept if b"a" in kept else b"step,a\n") + b"10,5.0\n"
        assert (tmp_path / f"x.csv.damaged{number}").read_bytes() == text


def test_a_folder_in_the_place_of_a_log_is_set_aside(tmp_path):
    (tmp_path / "x.csv" / "inside").mkdir(parents=True)
    with CsvWriter(tmp_path / "x.csv", resume_step=9) as log:
        log.write(10, {"a": 5.0})
    assert (tmp_path / "x.csv.damaged" / "inside").is_dir()


def test_a_log_that_is_damaged_while_it_is_written_is_set_aside(tmp_path):
    path = tmp_path / "x.csv"
    with CsvWriter(path) as log:
        log.write(1, {"a": 1.0})
        path.write_bytes(b"step,a\n1,1.0\nsomebody else\n")
        log.write(2, {"b": 2.0})
    assert path.read_bytes() == b"step,a,b\n1,1.0,\n2,,2.0\n"
    assert (tmp_path / "x.csv.damaged").is_file()


def test_resume_steps_out_of_range(tmp_path):
    path = tmp_path / "x.csv"
    with pytest.raises(TypeError, match="resume_step is 1.5"):
        CsvWriter(path, resume_step=1.5)
    with pytest.raises(ValueError, match="resume_step is -1"):
        CsvWriter(path, resume_step=-1)
