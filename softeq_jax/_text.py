"""Tables, short texts of records and counts: for reports, terminals, files and notebooks."""

import dataclasses
import decimal
import html
import math
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WIDTH = 99
"""Columns of a line of text: fewer than a hundred."""
_NARROW, _CELL = 16, 48


class TextTable(str):
    """A table as text, which a notebook shows as HTML and ``show`` by means of rich.

    Attributes:
      head: of each column.
      rows: of as many cells.
      right: see ``table``.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: str

    def _repr_html_(self) -> str:
        return html_table(self.head, self.rows)


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: str = "",
    rule: bool = False,
    width: int = WIDTH,
) -> TextTable:
    """Columns under their heads, in lines that are not too long.

    Long texts are folded, which loses nothing; columns for which there is still no room follow
    further down, under the first column once more.

    Args:
      head: of each column.
      rows: of as many cells.
      right: the columns that are aligned to the right, as ``"-r-r"`` for the second and fourth;
        marks of columns that are not there do nothing. These are not folded.
      rule: whether a line of dashes stands under the heads.
      width: of a line.
    """
    lines = [tuple(head), *(tuple(row) for row in rows)]
    right = right[: len(lines[0])].ljust(len(lines[0]), "-")
    widths = _narrowed([max(map(len, column)) for column in zip(*lines, strict=True)], right, width)
    blocks = (_block(lines, right, widths, columns, rule) for columns in _parted(widths, width))
    found = TextTable("\n\n".join(blocks))
    found.head, found.rows, found.right = lines[0], tuple(lines[1:]), right
    return found


def _narrowed(widths: list[int], right: str, width: int) -> list[int]:
    """The widths with those of texts cut, the widest first, until a line has room.

    The first column, by which a row is known, is cut last.
    """
    room, cut = width - 2 * (len(widths) - 1), widths
    texts = [column for column, side in enumerate(right) if side != "r"]
    for chosen in (texts[1:], texts):
        for most in range(max(widths), _NARROW - 1, -1):
            cut = [min(w, most) if i in chosen else w for i, w in enumerate(widths)]
            if sum(cut) <= room:
                return cut
    return cut


def _parted(widths: list[int], width: int) -> list[list[int]]:
    """The columns of each block: the first in all of them."""
    blocks = [[0]]
    for column in range(1, len(widths)):
        if len(blocks[-1]) > 1 and sum(widths[c] + 2 for c in [*blocks[-1], column]) - 2 > width:
            blocks.append([0])
        blocks[-1].append(column)
    return blocks


def _block(
    lines: list[tuple[str, ...]], right: str, widths: list[int], columns: list[int], rule: bool
) -> str:
    text = []
    for number, line in enumerate(lines):
        cells = [folded(line[c], widths[c]) for c in columns]
        for i in range(max(map(len, cells))):
            parts = (
                f"{cell[i] if i < len(cell) else '':{'>' if right[c] == 'r' else '<'}{widths[c]}}"
                for cell, c in zip(cells, columns, strict=True)
            )
            text.append("  ".join(parts).rstrip())
        if rule and number == 0:
            text.append("  ".join("-" * widths[c] for c in columns))
    return "\n".join(text)


def folded(text: str, width: int) -> list[str]:
    """A text in lines of a width, broken behind blanks and the marks of paths where there are."""
    if len(text) <= width:
        return [text]
    lines = [""]
    for piece in re.split(r"(?<=[ /.,_-])", text):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return [line.rstrip() for line in lines]


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in HTML, its texts escaped."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>"


def paragraph(text: str) -> str:
    """A text as a paragraph of HTML, its lines kept."""
    return f"<p>{html.escape(text).replace(chr(10), '<br/>')}</p>"


def show(*parts: str) -> None:
    """Prints texts and tables on standard output; in a terminal tables by means of rich.

    Without rich, and where the output goes to a file or another command, it is plain text, in lines
    of ``WIDTH`` or of what the environment variable ``COLUMNS`` says.
    """
    try:
        from rich.console import Console
        from rich.table import Table
    except ModuleNotFoundError:
        rich = False
    else:
        rich = sys.stdout.isatty()
    if not rich:
        columns = os.environ.get("COLUMNS", "")
        width = int(columns) if columns.isdigit() else WIDTH
        for part in parts:
            plain = not isinstance(part, TextTable)
            print(part if plain else table(part.head, part.rows, part.right, width=width))
        return
    console = Console(highlight=False, markup=False, emoji=False)
    for part in parts:
        if not isinstance(part, TextTable):
            console.print(part, soft_wrap=True)
            continue
        drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for name, side in zip(part.head, part.right, strict=True):
            drawn.add_column(
                name, justify="right" if side == "r" else "left", overflow="fold", no_wrap=False
            )
        for row in part.rows:
            drawn.add_row(*row)
        console.print(drawn)


def plural(number: int, what: str) -> str:
    """``1 tensor``, ``2,000 tensors``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def at_most(bound: float) -> str:
    """A bound with four digits, rounded up, so that it stays one."""
    if not math.isfinite(bound):
        return f"{bound}"
    context = decimal.Context(prec=4, rounding=decimal.ROUND_CEILING)
    return f"{context.create_decimal(bound):.4g}"


def clipped(text: str, width: int = WIDTH) -> str:
    """A text in one line, without its middle where it is too long."""
    text = " ".join(text.split())
    if len(text) <= width:
        return text
    end = (width - 3) // 2
    return f"{text[: width - 3 - end]}...{text[-end:]}"


def wrapped(text: str, indent: str = "   ") -> str:
    """A text in lines of ``WIDTH``, those after the first indented."""
    return textwrap.fill(text, WIDTH, subsequent_indent=indent)


def brief(self: Any) -> str:
    """A dataclass in a few short lines, as ``__repr__``.

    Numbers have four digits, arrays are a dtype and a shape, what is long is cut; fields at their
    defaults are left out.
    """
    shown = []
    for field in dataclasses.fields(self):
        value = getattr(self, field.name)
        if field.name[0] != "_" and not (
            isinstance(value, str | float | None) and value == field.default
        ):
            shown.append(f"{field.name}={_short(value)}")
    return wrapped(f"{type(self).__name__}({', '.join(shown)})")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, Mapping):
        return f"<{plural(len(value), 'entry').replace('entrys', 'entries')}>"
    if isinstance(value, tuple | list) and not all(isinstance(v, str | int | float) for v in value):
        return f"<{len(value)} of {type(value[0]).__name__}>"
    if isinstance(value, tuple) and any(isinstance(v, float) for v in value):
        return clipped("(" + ", ".join(map(_short, value)) + ")", _CELL)
    return clipped(repr(value), _CELL)
