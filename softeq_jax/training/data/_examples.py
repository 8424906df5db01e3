"""Single examples: reading them, comparing them, and saying which one is bad."""

import re
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softeq_jax.training.data._types import Batch, Example, Source

Layout = dict[str, tuple[tuple[int, ...], np.dtype]]

IDENTITY_FIELDS = ("id", "file_name")
_NUMBERS = "biufcV"  # V: bfloat16 and its kind
_INEXACT = "fcV"


class BadExampleError(ValueError):
    """An example that cannot be used.

    Attributes:
      index: of the example in its source.
      reason: what came and what was expected.
      id: the record's "id" or "file_name", if it has one.
    """

    def __init__(self, index: int, reason: str, id: str | None = None):
        self.index = int(index)
        self.reason = reason
        self.id = id
        name = f"example {self.index}" if id is None else f"example {self.index} (id {id})"
        super().__init__(f"{name}: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.index, self.reason, self.id), self.__dict__


def named(index: int, record: Any, error: Exception) -> BadExampleError:
    """An error about an example as one that gives its index and id.

    The traceback of an unexpected one travels as a note, since other processes do not pass on more.
    """
    id = _identity(record)
    if isinstance(error, BadExampleError):
        return error if id is None else BadExampleError(index, error.reason, id)
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return _explained(index, f"{kind}{error}", id, error)


def _explained(index: int, reason: str, id: str | None, error: Exception) -> BadExampleError:
    # An object's address would make the same reason another one in every process.
    bad = BadExampleError(index, re.sub(r" ?<[^<>]* at 0x[0-9a-fA-F]+>", "", reason), id)
    bad.add_note("".join(traceback.format_exception(error)))
    return bad


def _identity(record: Any) -> str | None:
    if isinstance(record, Mapping):
        for field in IDENTITY_FIELDS:
            if field in record:
                value = record[field]
                return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return None


def read_records(source: Source, indices: Sequence[int]) -> list[Example | BadExampleError]:
    """Reads records, many at a time where the source can, and gives an error for each bad one."""
    indices = [int(index) for index in indices]
    read_many = getattr(source, "__getitems__", None)
    if read_many is not None and len(indices) > 1:
        try:
            return list(read_many(indices))
        except MemoryError:
            raise
        except Exception:
            # One by one then, to find out which of them is bad.
            return [_read(source, index) for index in indices]
    return [_read(source, index) for index in indices]


def _read(source: Source, index: int) -> Example | BadExampleError:
    try:
        return source[index]
    except MemoryError:
        raise
    except Exception as error:
        reason = f"cannot be read: {type(error).__name__}: {error}"
        return _explained(index, reason, None, error)


def shortened(value: Any) -> str:
    """The value's `repr`, cut off at 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def numbers(index: int, field: str, value: Any) -> np.ndarray:
    """The value as an array of finite numbers.

    Raises:
      BadExampleError: it is none.
    """
    array = np.asarray(value)
    if array.dtype.kind not in _NUMBERS:
        hint = "; encoded images need a transform that decodes" if isinstance(value, bytes) else ""
        raise BadExampleError(index, f"{field} {shortened(value)}, expected numbers{hint}")
    if array.dtype.kind in _INEXACT and not np.isfinite(array).all():
        count = array.size - np.count_nonzero(np.isfinite(array))
        raise BadExampleError(
            index, f"{field} with {count} NaN or infinite values, expected finite ones"
        )
    return array


def conformed(index: int, example: Example, layout: Layout | None) -> Example:
    """The example as arrays of finite numbers, of the fields, shapes and dtypes of `layout`.

    Raises:
      BadExampleError: it is not so.
    """
    arrays = {field: numbers(index, field, value) for field, value in example.items()}
    if layout is None:
        return arrays
    if arrays.keys() != layout.keys():
        reason = f"has fields {sorted(arrays)}, expected {sorted(layout)} as the first one"
        raise BadExampleError(index, reason)
    for field, (shape, dtype) in layout.items():
        array = arrays[field]
        if array.shape != shape:
            axes = " [h, w, c]" if field == "image" else ""
            reason = f"{field} of shape {array.shape}, expected {shape}{axes} as the first one"
            raise BadExampleError(index, reason)
        if array.dtype != dtype:
            reason = f"{field} of dtype {array.dtype}, expected {dtype} as the first one"
            raise BadExampleError(index, reason)
    return arrays


def layout_of(example: Example) -> Layout:
    """Shapes and dtypes of an example's fields."""
    return {field: (value.shape, value.dtype) for field, value in example.items()}


def stack(examples: Sequence[Example | None], layout: Layout) -> Batch:
    """Examples along a new leading axis; zeros where there is none."""
    batch = {}
    for field, (shape, dtype) in layout.items():
        batch[field] = np.empty((len(examples), *shape), dtype)
        for row, example in enumerate(examples):
            batch[field][row] = 0 if example is None else example[field]
    return batch
