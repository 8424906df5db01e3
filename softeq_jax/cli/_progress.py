"""A progress bar for loops of the command line that may take long."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

_DELAY = 10.0


def shown(items: Sequence[T], unit: str) -> Iterator[T]:
    """The items, with a bar on standard error once they have taken ten seconds."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield from items
        return
    yield from tqdm(items, unit=unit, delay=_DELAY, leave=False)
