"""Tables of names: which tensor of a PyTorch checkpoint is which array of a Flax model."""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

Shape = tuple[int, ...]

# Layout of a tensor: the axes in Flax's order. OIHW -> HWIO, [o, i] -> [i, o], or as it is.
_TO_FLAX: Mapping[str, Shape | None] = {"conv": (2, 3, 1, 0), "linear": (1, 0), "array": None}
_TO_TORCH = {
    layout: axes and tuple(int(a) for a in np.argsort(axes)) for layout, axes in _TO_FLAX.items()
}
_QKV = ("query", "key", "value")


class Prefix(NamedTuple):
    """What the names of a checkpoint start with.

    Attributes:
      wrapper: what one module around the network puts before all names, such as ``"module."``.
      own: what the format puts before all names but those of its head, such as ``"vit."``.
    """

    wrapper: str = ""
    own: str = ""

    def of(self, prefixed: bool) -> str:
        """What a name starts with that takes the format's prefix, or does not."""
        return self.wrapper + (self.own if prefixed else "")


def _prefix(given: Prefix | str) -> Prefix:
    """A prefix; a text is a format's own."""
    return given if isinstance(given, Prefix) else Prefix(own=given)


class TensorEntry(NamedTuple):
    """One tensor of a checkpoint, and the arrays of the model that it holds.

    Attributes:
      name: in the checkpoint.
      paths: the arrays it holds, ``"params/..."`` or ``"batch_stats/..."``; several for a fused
        tensor, which is cut along its first axis into equal parts.
      layout: ``"conv"``, ``"linear"`` or ``"array"``.
    """

    name: str
    paths: tuple[str, ...]
    layout: str

    def to_flax(self, tensor: np.ndarray) -> tuple[np.ndarray, ...]:
        """The arrays that a tensor holds, in the order of ``paths``."""
        axes = _TO_FLAX[self.layout]
        parts = np.split(tensor, len(self.paths)) if len(self.paths) > 1 else [tensor]
        return tuple(np.ascontiguousarray(p.transpose(axes) if axes else p) for p in parts)

    def to_torch(self, arrays: Iterable[np.ndarray]) -> np.ndarray:
        """The tensor that holds the arrays; the inverse of ``to_flax``."""
        axes = _TO_TORCH[self.layout]
        parts = [a.transpose(axes) if axes else a for a in arrays]
        return np.ascontiguousarray(np.concatenate(parts) if len(parts) > 1 else parts[0])

    def flax_shape(self, shape: Shape) -> Shape | None:
        """Shape of each array for the tensor's, or None if the tensor cannot hold such."""
        axes, parts = _TO_FLAX[self.layout], len(self.paths)
        if (axes and len(shape) != len(axes)) or (parts > 1 and (not shape or shape[0] % parts)):
            return None
        if parts > 1:
            shape = (shape[0] // parts, *shape[1:])
        return tuple(shape[a] for a in axes) if axes else shape

    def torch_shape(self, shape: Shape) -> Shape:
        """Shape of the tensor for that of each array."""
        axes = _TO_TORCH[self.layout]
        shape = tuple(shape[a] for a in axes) if axes else shape
        return (shape[0] * len(self.paths), *shape[1:]) if len(self.paths) > 1 else shape


# What one row stands for: end of the tensor's name, collection, ends of the arrays' paths, layout.
_KINDS: Mapping[str, tuple[tuple[str, str, tuple[str, ...], str], ...]] = {
    "array": (("", "params", ("",), "array"),),
    "conv": (
        (".weight", "params", ("/kernel",), "conv"),
        (".bias", "params", ("/bias",), "array"),
    ),
    "conv without bias": ((".weight", "params", ("/kernel",), "conv"),),
    "linear": (
        (".weight", "params", ("/kernel",), "linear"),
        (".bias", "params", ("/bias",), "array"),
    ),
    "norm": (
        (".weight", "params", ("/scale",), "array"),
        (".bias", "params", ("/bias",), "array"),
    ),
    "batch norm": (
        (".weight", "params", ("/scale",), "array"),
        (".bias", "params", ("/bias",), "array"),
        (".running_mean", "batch_stats", ("/mean",), "array"),
        (".running_var", "batch_stats", ("/var",), "array"),
    ),
    "fused qkv": (
        (".weight", "params", tuple(f"/{part}/kernel" for part in _QKV), "linear"),
        (".bias", "params", tuple(f"/{part}/bias" for part in _QKV), "array"),
    ),
}


class _Leaf(NamedTuple):
    """One kind of tensor: its name and paths with indices left open."""

    name: str
    paths: tuple[str, ...]
    layout: str
    prefixed: bool

    def entry(self, indices: Mapping[str, int], prefix: Prefix | str) -> TensorEntry:
        name = _prefix(prefix).of(self.prefixed) + _fill(self.name, indices)
        return TensorEntry(name, tuple(_fill(path, indices) for path in self.paths), self.layout)


class NameTable:
    """The names of one checkpoint format.

    Args:
      rows: lines ``tensor or module in PyTorch | array or module in Flax | kind``. Braces hold
        indices, ``{i}`` or ``{s+1}``; the same letter is the same number in both names. Kinds:
        ``array`` (a tensor as it is), ``linear``, ``conv``, ``conv without bias``, ``norm``,
        ``batch norm`` (modules) and ``fused qkv`` (one linear layer for three). A line of two cells
        that end in ``*`` is what the ``*`` at the start of the lines below it stands for. Names
        that start with ``/`` take no prefix.
    """

    def __init__(self, rows: str):
        self._leaves = tuple(leaf for row in _rows(rows) for leaf in _leaves(*row))
        patterns = {p: "|".join(self._patterns(p)) for p in (True, False)}
        self._prefixed, self._plain = (re.compile(patterns[p] or r"(?!)") for p in (True, False))

    def _patterns(self, prefixed: bool) -> list[str]:
        return [_pattern(x.name, groups=False) for x in self._leaves if x.prefixed == prefixed]

    def knows(self, name: str, prefix: Prefix | str = "") -> bool:
        """Whether a tensor of this name can belong to a checkpoint of this format."""
        for prefixed, pattern in ((False, self._plain), (True, self._prefixed)):
            start = _prefix(prefix).of(prefixed)
            if name.startswith(start) and pattern.fullmatch(name, len(start)):
                return True
        return False

    def entry_of_name(self, name: str, prefix: Prefix | str = "") -> TensorEntry | None:
        """What the tensor of this name is, or None if there is no such row."""
        for leaf in self._leaves:
            start = _prefix(prefix).of(leaf.prefixed)
            if not name.startswith(start):
                continue
            if match := _regex(leaf.name).fullmatch(name[len(start) :]):
                return leaf.entry(_indices(match), prefix)
        return None

    def entry_of_path(self, path: str, prefix: Prefix | str = "") -> TensorEntry:
        """Which tensor holds the array at this path.

        Raises:
          LookupError: the table has no such row: the model and the table do not fit together.
        """
        for leaf in self._leaves:
            for pattern in leaf.paths:
                if match := _regex(pattern).fullmatch(path):
                    return leaf.entry(_indices(match), prefix)
        raise LookupError(f"no row of the table of names is for {path}")

    def entries(self, paths: Iterable[str], prefix: Prefix | str = "") -> tuple[TensorEntry, ...]:
        """The tensors that hold the arrays at these paths, each once."""
        return tuple(dict.fromkeys(self.entry_of_path(path, prefix) for path in paths))


def _rows(text: str) -> Iterator[tuple[str, str, str]]:
    """The lines of a table of names, with what their stars stand for."""
    stem = ("", "")
    for line in filter(None, map(str.strip, text.splitlines())):
        name, path, *kind = (cell.strip() for cell in line.split("|"))
        if not kind:
            stem = (name.removesuffix("*"), path.removesuffix("*"))
            continue
        if name.startswith("*"):
            name, path = stem[0] + name[1:], stem[1] + path[1:]
        yield name, path, kind[0]


def _leaves(name: str, path: str, kind: str) -> list[_Leaf]:
    prefixed = not name.startswith("/")
    return [
        _Leaf(
            name.removeprefix("/") + end,
            tuple(f"{collection}/{path}{tail}" for tail in tails),
            layout,
            prefixed,
        )
        for end, collection, tails, layout in _KINDS[kind]
    ]


# As it is written: no other digits, no zeros before it, and not more than any network has.
_NUMBER = "(?:0|[1-9][0-9]{0,5})"
_INDEX = re.compile(r"\{(\w)(\+1)?\}")


def _fill(pattern: str, indices: Mapping[str, int]) -> str:
    return _INDEX.sub(lambda m: str(indices[m[1]] + (1 if m[2] else 0)), pattern)


def _pattern(pattern: str, groups: bool) -> str:
    parts, end = [], 0
    for match in _INDEX.finditer(pattern):
        parts.append(re.escape(pattern[end : match.start()]))
        name = match[1] + ("_next" if match[2] else "")
        parts.append(f"(?P<{name}>{_NUMBER})" if groups else _NUMBER)
        end = match.end()
    return "".join([*parts, re.escape(pattern[end:])])


@functools.cache
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(_pattern(pattern, groups=True))


def _indices(match: re.Match[str]) -> dict[str, int]:
    return {
        name[0]: int(value) - (1 if name.endswith("_next") else 0)
        for name, value in match.groupdict().items()
    }
