"""What the parts of the data pipeline hand to each other."""

from collections.abc import Callable
from typing import Any, Protocol, SupportsIndex

import numpy as np

Example = dict[str, Any]
Batch = dict[str, np.ndarray]
Transform = Callable[[Example, np.random.Generator], Example]
Pairing = Callable[[Example, Example, np.random.Generator], tuple[Example, Example]]


class Source(Protocol):
    """Random access to examples, `{"image": [h, w, c], "label": integer, ...}` each.

    A source that also has `__getitems__(indices)`, returning a list, is read many at a time.
    With worker processes it must be picklable.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: SupportsIndex) -> Example: ...


class Check(Protocol):
    """From an example's index and its record to the example, or an error that says what is wrong.

    It may also have `finished(index, example) -> example`, which looks at the example again after
    the transforms.
    """

    def __call__(self, index: int, record: Example) -> Example: ...
