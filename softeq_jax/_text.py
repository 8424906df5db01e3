"""Tables and counts as plain text: aligned columns for reports, terminals and files."""

from collections.abc import Iterable, Sequence


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], right: str = "", rule: bool = False
) -> str:
    """Columns under their heads.

    Args:
      head: of each column.
      rows: of as many cells.
      right: the columns that are aligned to the right, as ``"-r-r"`` for the second and fourth;
        marks of columns that are not there do nothing.
      rule: whether a line of dashes stands under the heads.
    """
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    cells = [(">" if right[i : i + 1] == "r" else "<", width) for i, width in enumerate(widths)]
    if rule:
        lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(
            f"{cell:{side}{width}}" for cell, (side, width) in zip(line, cells, strict=True)
        ).rstrip()
        for line in lines
    )


def plural(number: int, what: str) -> str:
    """``1 tensor``, ``2,000 tensors``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
