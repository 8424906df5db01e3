"""Files that are written as a whole: mode, bytes, full disks, what killed writers leave."""

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from softeq_jax._atomic import replacing, write_tensors


@pytest.fixture
def umask():
    """Sets the umask, and puts the old one back."""
    old = os.umask(0o022)
    yield os.umask
    os.umask(old)


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def _write(path, text="new"):
    with replacing(path) as partial:
        partial.write_text(text)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_mode_of_a_new_file_is_what_the_umask_leaves(tmp_path, umask, mask, mode):
    umask(mask)
    _write(tmp_path / "text")
    with replacing(tmp_path / "tensors") as partial:
        write_tensors(partial, {"a": np.ones(2)})
    with replacing(tmp_path / "moved") as partial:  # a writer that makes its own file, as some do
        other = tmp_path / "other"
        other.write_text("")
        other.chmod(0o600)
        other.replace(partial)
    assert [_mode(tmp_path / name) for name in ("text", "tensors", "moved")] == [mode] * 3


@pytest.mark.parametrize("mode", [0o664, 0o600, 0o444, 0o755])
def test_the_mode_of_an_old_file_is_kept(tmp_path, mode):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    _write(path)
    assert (_mode(path), path.read_text()) == (mode, "new")


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "model.safetensors"
    child = (
        "import os, signal, sys; from softeq_jax._atomic import replacing\n"
        "with replacing(sys.argv[1]) as partial:\n"
        "    partial.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", child, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".model.safetensors.*.partial"))) == 1
    alive = tmp_path / f".model.safetensors.{os.getppid()}.partial"
    others = [alive, tmp_path / ".model.json.1.partial", tmp_path / ".model.safetensors.x.partial"]
    for other in others:
        other.write_text("of another writer")
    (tmp_path / ".model.safetensors.partial").write_text("of an earlier version")
    _write(path)
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])


def test_an_exception_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted():
        with replacing(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_errors_of_writing_name_the_file(tmp_path, number):
    with pytest.raises(OSError, match="file.csv") as info, replacing(tmp_path / "file.csv"):
        raise OSError(number, os.strerror(number))
    assert info.value.errno == number
    assert not list(tmp_path.iterdir())
    with (
        pytest.raises(FileNotFoundError, match=r"gone\.txt") as info,
        replacing(tmp_path / "file.csv"),
    ):
        (tmp_path / "gone.txt").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_names_the_file(tmp_path):

    def on_a_full_disk():
        with replacing(tmp_path / "model.safetensors") as partial:
            partial.unlink()
            partial.symlink_to("/dev/full")
            write_tensors(partial, {"a": np.ones(100_000)})

    with pytest.raises(OSError, match=r"No space left.*model\.safetensors"):
        on_a_full_disk()
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder"):
        _write(tmp_path / "folder")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="file"):
        _write(tmp_path / "file" / "below")


_NAMES = ("float32", "float16", "float64", "int8", "uint8", "int64", "bool", "complex64", "uint16")


def _tensors(order=1):
    kinds = [*map(np.dtype, _NAMES), np.dtype(ml_dtypes.bfloat16), np.dtype(ml_dtypes.float8_e5m2)]
    rng = np.random.default_rng(0)
    made = {f'{kind.name} é"{i}': rng.random((3, i)).astype(kind) for kind in kinds for i in (2, 0)}
    made["scalar"] = np.array(3, np.float32)
    return dict(list(made.items())[::order])


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}])
def test_tensors_are_the_bytes_that_safetensors_writes(tmp_path, metadata):
    save_file(_tensors(), tmp_path / "theirs", metadata or None)
    write_tensors(tmp_path / "ours", _tensors(), metadata)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_the_same_tensors_give_the_same_bytes_in_any_order(tmp_path):
    notes = {str(i): "é" for i in range(20)}
    write_tensors(tmp_path / "a", _tensors(), notes)
    write_tensors(tmp_path / "b", _tensors(-1), dict(reversed(notes.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_values_of_any_layout_and_byte_order_are_kept(tmp_path):
    wanted = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    odd = {"big": wanted.astype(">f4"), "turned": np.asfortranarray(wanted), "cut": wanted[:, ::2]}
    write_tensors(tmp_path / "a", odd)
    found = load_file(tmp_path / "a")
    for name, value in odd.items():
        np.testing.assert_array_equal(found[name], value)
    with pytest.raises(ValueError, match="tensor a has dtype complex128"):
        write_tensors(tmp_path / "b", {"a": np.ones(2, complex)})
