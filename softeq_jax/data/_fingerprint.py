"""Fingerprint of training data: enough to notice that a resumed run would read others."""

import dataclasses
import functools
import hashlib
import logging
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from softeq_jax.data._assembly import TrainAssembly
from softeq_jax.data._examples import BadExampleError, Source, read_records

_log = logging.getLogger(__name__)

SAMPLE = 32
"""How many records are read, spread evenly over the source, the first and the last included."""


def fingerprint(assembly: TrainAssembly) -> dict[str, Any]:
    """What the batches are made of, as JSON: equal for equal data, on any hosts and workers.

    Returns:
      The number of examples, the seed, digests of `SAMPLE` records by their index (without those
      that cannot be read), the fields of finished examples, and how they are made: check,
      transforms, pairing, what becomes of bad ones.
    """
    maker, size = assembly.maker, assembly.order.size
    chosen = np.unique(np.linspace(0, size - 1, min(SAMPLE, size)).round().astype(int)).tolist()
    layout = sorted(assembly.layout.items())
    first, digests = (_digests(maker.source, indices) for indices in ([chosen[0]], chosen))
    if first.get("0") != digests.get("0"):
        _log.warning("record 0 is another at every reading: a resumed run cannot tell other data")
        digests = {}
    return {
        "examples": size,
        "seed": assembly.order.seed,
        "records": digests,
        "fields": {name: f"{dtype}{list(shape)}" for name, (shape, dtype) in layout},
        "check": described(maker.check),
        "transforms": described(maker.transforms),
        "pairing": described(assembly.pairing),
        "on_bad_example": "skip" if maker.skip else "raise",
    }


def _digests(source: Source, indices: list[int]) -> dict[str, str]:
    """Digests of the records that can be read, 16 hexadecimal digits each."""
    found = {}
    for index, record in zip(indices, read_records(source, indices), strict=True):
        if isinstance(record, BadExampleError):
            _log.warning("not in the fingerprint of the data: %s", record)
        else:
            found[str(index)] = hashlib.sha256(described(record).encode()).hexdigest()[:16]
    return found


def described(value: Any) -> str:
    """A value in words that are the same in every process: no addresses, arrays by digest."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return described(value.tolist())
    if isinstance(value, np.ndarray | np.generic):
        state = hashlib.sha256(np.ascontiguousarray(value).tobytes())
        return f"{value.dtype}{list(value.shape)} {state.hexdigest()}"
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, Mapping):
        pairs = sorted((str(key), described(entry)) for key, entry in value.items())
        return "{" + ", ".join(f"{key}: {entry}" for key, entry in pairs) + "}"
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(described, value)) + ")"
    if isinstance(value, functools.partial):
        return f"partial{described((value.func, value.args, value.keywords))}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        entries = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return type(value).__qualname__ + described(entries)
    name = getattr(value, "__qualname__", None)
    if name is not None:
        return str(name)
    if hasattr(value, "__array__"):
        return described(np.asarray(value))
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
