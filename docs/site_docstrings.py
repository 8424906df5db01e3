"""Docstrings as the site shows them: what a reader may paste stands in a block of code."""

import griffe


def fenced(text: str) -> str:
    """A docstring with a fence around each example (`>>>` up to the next empty line)."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if not inside and line.lstrip().startswith(">>> "):
            inside, indent = True, line[: len(line) - len(line.lstrip())]
            lines += ["", f"{indent}```pycon"]
        elif inside and not line.strip():
            inside = False
            lines.append(f"{indent}```")
        lines.append(line)
    return "\n".join([*lines, f"{indent}```"] if inside else lines)


class Examples(griffe.Extension):
    """Fences the examples of all docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring and ">>> " in obj.docstring.value:
            obj.docstring.value = fenced(obj.docstring.value)
