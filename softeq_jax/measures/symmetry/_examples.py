"""Examples and labels from what a user has: an array, a pair, or batches of either."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

LEAST = 40
"""Examples that are needed."""


def joined(
    source: Any, most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """At most so many examples, in random order, float64, with their labels.

    Raises:
      TypeError, ValueError: see ``data_report``.
    """
    pairs = [_pair(part) for part in _parts(source, most, rng)]
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


def _parts(source: Any, most: int, rng: np.random.Generator) -> list[Any]:
    """Batches, as many as are needed."""
    if hasattr(source, "shape") or isinstance(source, tuple | Mapping | str | bytes):
        return [source]
    if hasattr(source, "__getitem__") and hasattr(source, "__len__") and type(source) is not list:
        chosen = np.sort(rng.permutation(len(source))[:most])  # examples, not batches
        examples = [_pair(source[int(i)], "example") for i in chosen]
        labels = [y for _, y in examples if y is not None]
        if len(labels) not in (0, len(examples)):
            raise ValueError("some examples have labels and others have none")
        x = np.stack([x for x, _ in examples]) if examples else np.zeros((0, 1))
        return [(x, np.stack(labels) if labels else None)]
    if not isinstance(source, Iterable):
        return [source]
    parts, count = [], 0
    for batch in source:
        parts.append(batch)
        count += len(_pair(batch)[0])
        if count >= most:
            break
    return parts


def _pair(part: Any, what: str = "batch") -> tuple[Any, Any]:
    """Examples and their labels, None where there are none."""
    x, y = part, None
    if isinstance(part, Mapping) and "image" in part:
        x, y = part["image"], part.get("label")
    elif isinstance(part, tuple) and len(part) == 2:
        x, y = part
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        raise TypeError(
            f"source must be an array [n, ...], a pair of examples and labels, or hold such "
            f"batches or examples (also {{'image': ..., 'label': ...}}); a {what} is a "
            f"{type(x).__name__}"
        )
    return x, y
