"""The allocator's setting: page faults, batches of threads and workers, where it is none."""

import ctypes
import subprocess
import sys

import jax
import numpy as np
import pytest

from softeq_jax.training import allocator

_FAULTS = """
import resource, sys, threading
from softeq_jax.training import allocator

done = allocator.keep_freed_memory() if sys.argv[1] == "kept" else None
import numpy as np

def allocate():
    for _ in range(8):
        np.ones(2**23, np.float32)

allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread = threading.Thread(target=allocate)
thread.start()
thread.join()
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

_BATCHES = """
import hashlib
import numpy as np
from softeq_jax.training import allocator

if __name__ == "__main__":
    assert allocator.keep_freed_memory()
    import jax
    from softeq_jax import data

    class Squares:
        def __len__(self):
            return 40

        def __getitem__(self, index):
            image = np.full((16, 16, 3), index, np.float32) ** 2
            return {"image": image, "label": np.int32(index % 10)}

    found = set()
    for options in ({}, {"num_threads": 4}, {"num_threads": 2, "num_workers": 2}):
        digest = hashlib.sha256()
        moved = (data.RandomFlip(), data.RandomCrop(2))
        with data.train_batches(
            Squares(), 8, seed=0, steps=10, transforms=moved, **options
        ) as batches:
            for batch in batches:
                total = jax.jit(lambda x: (x * x).sum())(batch["image"])
                digest.update(batch["image"].tobytes() + np.asarray(total).tobytes())
        found.add(digest.hexdigest())
    print(len(found))
"""


def _is_glibc() -> bool:
    return hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


def _run(script: str, path, *arguments: str) -> list[str]:
    file = path / "script.py"
    file.write_text(script)
    done = subprocess.run(
        [sys.executable, str(file), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow(4)
@pytest.mark.skipif(not _is_glibc(), reason="another C library")
def test_blocks_of_threads_are_used_again_without_page_faults(tmp_path):
    pages = 8 * 2**25 / 4096  # of what the thread allocates
    done, kept = _run(_FAULTS, tmp_path, "kept")
    _, freed = _run(_FAULTS, tmp_path, "freed")
    assert done == "True"
    assert int(kept) < 0.05 * pages
    assert int(freed) > 5 * int(kept)


@pytest.mark.slow(8)
@pytest.mark.skipif(not _is_glibc(), reason="another C library")
def test_threads_and_workers_of_the_data_give_the_same_batches_with_it(tmp_path):
    assert _run(_BATCHES, tmp_path) == ["1"]


class _Library:
    """A C library with what is named, whose ``mallopt`` takes or refuses everything."""

    def __init__(self, *names: str, takes: bool = True):
        self.calls: list[tuple[int, int]] = []
        if "gnu" in names:
            self.gnu_get_libc_version = None
        if "mallopt" in names:
            self.mallopt = lambda key, value: self.calls.append((key, value)) or int(takes)


@pytest.mark.parametrize("names", [(), ("gnu",), ("mallopt",)])
def test_other_libraries_are_left_alone(names, monkeypatch):
    library = _Library(*names)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert not allocator.keep_freed_memory()
    assert library.calls == []


def test_a_refusal_is_said(monkeypatch, caplog):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: _Library("gnu", "mallopt", takes=False))
    assert not allocator.keep_freed_memory()
    assert "mallopt refused the parameters [-8, -4, -1, -2]" in caplog.text


@pytest.mark.parametrize(("platforms", "expected"), [("cpu", True), ("cuda,cpu", False)])
def test_it_is_for_cpus(platforms, expected, monkeypatch):
    library = _Library("gnu", "mallopt")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    former = jax.config.jax_platforms
    jax.config.update("jax_platforms", platforms)
    try:
        assert allocator.keep_freed_memory() is expected
    finally:
        jax.config.update("jax_platforms", former)
    assert bool(library.calls) is expected
    assert np.all([value >= 0 for _, value in library.calls])
