"""Examples: what a source holds, how they are read, named when they are bad, and checked."""

import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, SupportsIndex

import numpy as np

from softeq_jax._checks import whole

Example = dict[str, Any]
"""One record: fields by name."""
Batch = dict[str, np.ndarray]
"""Many examples: fields by name, stacked."""
Transform = Callable[[Example, np.random.Generator], Example]
"""A change of one example, drawn from a generator."""
Pairing = Callable[[Example, Example, np.random.Generator], tuple[Example, Example]]
"""A change of two examples at once, such as mixup."""
Layout = dict[str, tuple[tuple[int, ...], np.dtype]]

IDENTITY_FIELDS = ("id", "file_name")
_NUMBERS = "biufcV"  # V: bfloat16 and its kind
_INEXACT = "fcV"


class Source(Protocol):
    """Random access to examples, `{"image": [h, w, c], "label": integer, ...}` each.

    A source that also has `__getitems__(indices)`, returning a list, is read many at a time.
    With worker processes it must be picklable.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: SupportsIndex) -> Example: ...


class Check(Protocol):
    """Check of a record: from its index and the record to the example, or an error with the reason.

    It may also have `finished(index, example) -> example`, which looks at the example again after
    the transforms.
    """

    def __call__(self, index: int, record: Example) -> Example: ...


class ArraySource:
    """Examples held in memory.

    Attributes:
      images: `[n, h, w, c]`, any dtype.
      labels: `[n]`, integers.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> source = sq.data.ArraySource(np.zeros((5, 2, 2, 1), np.float32), np.arange(5))
      >>> len(source), int(source[3]["label"])
      (5, 3)
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        """Wraps the arrays without copying.

        Raises:
          ValueError: shapes or dtype other than described.
        """
        self.images = np.asarray(images)
        self.labels = np.asarray(labels)
        if self.images.ndim != 4:
            raise ValueError(f"images must be [n, h, w, c], got shape {self.images.shape}")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must have shape {self.images.shape[:1]}, got {self.labels.shape}"
            )
        if not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(f"labels must be integers, got dtype {self.labels.dtype}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        return {"image": self.images[index], "label": self.labels[index]}


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


def _field(index: int, example: Example, field: str) -> Any:
    if not isinstance(example, Mapping):
        raise BadExampleError(index, f"{type(example).__name__}, expected named fields")
    if field not in example:
        raise BadExampleError(index, f"no field {field!r}; it has {', '.join(map(str, example))}")
    return example[field]


def _image(index: int, example: Example) -> Any:
    """The image `[h, w, c]`, or the bytes that encode it."""
    image = _field(index, example, "image")
    if isinstance(image, bytes):
        return image
    image = numbers(index, "image", image)
    if image.ndim != 3:
        raise BadExampleError(index, f"image of shape {image.shape}, expected [h, w, c]")
    return image


@dataclass(frozen=True)
class _Classification:
    num_classes: int | None

    def __call__(self, index: int, record: Example) -> Example:
        image = _image(index, record)
        label = np.asarray(_field(index, record, "label"))
        if label.ndim or not np.issubdtype(label.dtype, np.integer):
            raise BadExampleError(index, f"label {shortened(label)}, expected one integer")
        if label < 0 or (self.num_classes is not None and label >= self.num_classes):
            most = "" if self.num_classes is None else f" < {self.num_classes}"
            raise BadExampleError(index, f"label {label}, expected 0 <= label{most}")
        return {"image": image, "label": label.astype(np.int32)}

    def finished(self, index: int, example: Example) -> Example:
        _image(index, example)
        return example


@dataclass(frozen=True)
class _Segmentation:
    num_classes: int
    ignore: tuple[int, ...]

    def __call__(self, index: int, record: Example) -> Example:
        image = _image(index, record)
        mask = record.get("mask")
        if isinstance(image, bytes) or mask is None or isinstance(mask, bytes):
            return {**record}
        return {**record, "image": image, "mask": self._mask(index, image, mask)}

    def finished(self, index: int, example: Example) -> Example:
        image, mask = _image(index, example), _field(index, example, "mask")
        if isinstance(image, bytes) or isinstance(mask, bytes):
            return {"image": image, "mask": mask}
        return {"image": image, "mask": self._mask(index, image, mask)}

    def _mask(self, index: int, image: np.ndarray, mask: Any) -> np.ndarray:
        mask = np.asarray(mask)
        if mask.ndim == 3 and mask.shape[2] == 1:
            mask = mask[..., 0]
        if mask.shape != image.shape[:2]:
            reason = f"mask of shape {mask.shape}, expected {image.shape[:2]} as the image"
            raise BadExampleError(index, reason)
        if not np.issubdtype(mask.dtype, np.integer):
            raise BadExampleError(index, f"mask of dtype {mask.dtype}, expected integers")
        wrong = (mask < 0) | (mask >= self.num_classes)
        strange = sorted(set(np.unique(mask[wrong]).tolist()) - set(self.ignore))
        if strange:
            also = f" or one of {self.ignore}" if self.ignore else ""
            reason = f"mask with values {strange[:5]}, expected 0 <= value < {self.num_classes}"
            raise BadExampleError(index, reason + also)
        return mask.astype(np.int32)


@dataclass(frozen=True)
class _Anything:
    def __call__(self, index: int, record: Example) -> Example:
        if not isinstance(record, Mapping):
            raise BadExampleError(index, f"{type(record).__name__}, expected named fields")
        return {
            field: numbers(index, field, value)
            for field, value in record.items()
            if field not in IDENTITY_FIELDS
        }


def classification(num_classes: int | None = None) -> Check:
    """The check of images with one label each.

    Args:
      num_classes: labels must be below this number, if given.

    Returns:
      A function of an example's index and its record that returns `{"image": [h, w, c] or encoded
      bytes, "label": int32 scalar}`, leaving out all else, or raises `BadExampleError`. What came
      encoded must be `[h, w, c]` after the transforms.

    Raises:
      ValueError: `num_classes` below 1.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> check = sq.data.classification(num_classes=10)
      >>> example = check(0, {"image": np.zeros((2, 2, 1)), "label": 3, "id": "a"})
      >>> sorted(example), example["label"].dtype
      (['image', 'label'], dtype('int32'))
    """
    return _Classification(None if num_classes is None else whole(num_classes, "num_classes"))


def segmentation(num_classes: int, ignore: int | Sequence[int] | None = None) -> Check:
    """The check of images with one class per pixel.

    Args:
      num_classes: values of the mask must be below this number,
      ignore: or equal to this one (or one of these), which mark pixels that do not count.

    Returns:
      A function of an example's index and its record that raises `BadExampleError` for a bad one.
      The record may hold encoded bytes, or a mask of another name that the transforms turn into
      "mask"; finished examples are `{"image": [h, w, c], "mask": int32 [h, w]}`, checked again.

    Raises:
      ValueError: `num_classes` below 1.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> check = sq.data.segmentation(num_classes=3, ignore=255)
      >>> example = {"image": np.zeros((1, 2, 3)), "mask": np.array([[2, 255]])}
      >>> check(0, example)["mask"]
      array([[  2, 255]], dtype=int32)
    """
    return _Segmentation(
        whole(num_classes, "num_classes"),
        () if ignore is None else tuple(np.atleast_1d(ignore).tolist()),
    )


def anything() -> Check:
    """The check of examples of any fields, such as trajectories.

    Returns:
      A function of an example's index and its record that returns all fields but "id" and
      "file_name" as arrays of finite numbers, or raises `BadExampleError`.

    Example:
      >>> import softeq_jax as sq
      >>> check = sq.data.anything()
      >>> check(0, {"x": [1.0, 2.0], "file_name": "a.txt"})
      {'x': array([1., 2.])}
    """
    return _Anything()
