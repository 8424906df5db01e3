"""Text for a terminal."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

_DELAY = 10.0


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: str = "") -> str:
    """Columns under their heads.

    Args:
      head: of each column.
      rows: of as many cells.
      right: the columns that are aligned to the right, as ``"-r-r"`` for the second and fourth.
    """
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = [">" if side == "r" else "<" for side in right.ljust(len(widths), "-")]
    cells = list(zip(sides, widths, strict=True))
    return "\n".join(
        "  ".join(
            f"{cell:{side}{width}}" for cell, (side, width) in zip(line, cells, strict=True)
        ).rstrip()
        for line in lines
    )


def plural(number: int, what: str) -> str:
    """``1 tensor``, ``2,000 tensors``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def shown(items: Sequence[T], unit: str) -> Iterator[T]:
    """The items, with a bar on standard error once they have taken ten seconds."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield from items
        return
    yield from tqdm(items, unit=unit, delay=_DELAY, leave=False)
