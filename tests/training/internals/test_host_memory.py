"""Memory of this process where the system does not tell the present one."""

import sys

import pytest

from softeq_jax.training import watch
from softeq_jax.training.watch import _meters


def test_memory_without_proc(monkeypatch, tmp_path):
    present = watch.device_memory()["memory/host_rss_bytes"]
    monkeypatch.setattr(_meters, "_STATM", tmp_path / "absent")
    peak = watch.device_memory()["memory/host_rss_bytes"]
    assert 0.9 * present < peak < 2**40
    monkeypatch.setattr(sys, "platform", "darwin")  # there it is in bytes, not in KiB
    assert watch.device_memory()["memory/host_rss_bytes"] == pytest.approx(peak / 1024, rel=0.1)
