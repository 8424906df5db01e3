"""Examples and labels from what a user has: an array, a pair, or batches of either."""

from collections.abc import Iterable
from typing import Any

import numpy as np

LEAST = 40
"""Examples that are needed."""


def joined(
    source: Any, most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """At most so many examples, in random order, float64, with their labels."""
    if hasattr(source, "shape") or _is_pair(source):
        parts = [source]
    elif isinstance(source, Iterable) and not isinstance(source, str | bytes | dict):
        parts, count = [], 0
        for batch in source:
            parts.append(batch)
            count += len(batch[0] if _is_pair(batch) else batch)
            if count >= most:
                break
    else:
        parts = [source]
    pairs = [part if _is_pair(part) else (part, None) for part in parts]
    for x, _ in pairs:
        if not hasattr(x, "shape") or not hasattr(x, "dtype"):
            raise TypeError(
                f"source must be an array [n, ...], a pair of examples and labels, or an iterable "
                f"of batches of either, got {type(x).__name__}"
            )
    labelled = [y is not None for _, y in pairs]
    if any(labelled) and not all(labelled):
        raise ValueError("some batches have labels and others have none")
    x = np.concatenate([np.asarray(x) for x, _ in pairs]) if pairs else np.zeros((0, 1))
    if x.dtype.kind not in "fiub" or x.ndim < 2:
        raise TypeError(f"examples must be real numbers [n, ...], got {x.dtype} {x.shape}")
    if len(x) < LEAST:
        raise ValueError(
            f"{len(x)} examples are too few: at least {LEAST} are needed, half of which teach the "
            f"classifier, and some hundreds to see a weak asymmetry"
        )
    x = x.astype(np.float64)
    if not np.all(np.isfinite(x)) or not x.size:
        raise ValueError("the examples hold NaN or infinite entries, or none")
    order = rng.permutation(len(x))[:most]
    if not all(labelled):
        return x[order], None
    y = np.concatenate([np.asarray(y) for _, y in pairs])
    if len(y) != len(x):
        raise ValueError(f"{len(x)} examples came with {len(y)} labels")
    return x[order], y[order]


def _is_pair(source: Any) -> bool:
    return isinstance(source, tuple | list) and len(source) == 2 and hasattr(source[0], "shape")
