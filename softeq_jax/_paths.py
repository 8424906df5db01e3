"""Paths of the leaves of a pytree, and glob patterns over them."""

import contextlib
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax


def leaf_paths(tree: Any) -> tuple[list[str], list[Any], Any]:
    """The leaves of a pytree with readable paths.

    Returns:
      (paths such as ``"stage1/conv1/kernel"``, leaves, treedef). Works on Flax Linen and Haiku
      dicts, ``nnx`` states, Equinox modules and any registered pytree.
    """
    with_paths, treedef = jax.tree_util.tree_flatten_with_path(tree)
    paths = ["/".join(filter(None, map(_entry, _trimmed(path)))) for path, _ in with_paths]
    return paths, [leaf for _, leaf in with_paths], treedef


def _trimmed(path: tuple[Any, ...]) -> tuple[Any, ...]:
    """The path without the ``value`` that an ``nnx`` variable adds below its own key."""
    *_, variable, value = (None, None, *path)
    boxed = isinstance(value, jax.tree_util.GetAttrKey) and value.name == "value"
    return path[:-1] if boxed and isinstance(variable, jax.tree_util.DictKey) else path


def _entry(key: Any) -> str:
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def matches(pattern: str, path: str) -> bool:
    """Whether a glob covers a path.

    ``*``, ``?`` and ``[23]`` or ``[!23]`` match within a segment, ``**`` any number of segments.
    """
    return _compiled(pattern).fullmatch(path) is not None


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = []
    for part in re.split(r"(\*\*/|/\*\*$|\*\*|\*|\?|\[!?[^]/]+\])", pattern):
        if re.fullmatch(r"\[!?[^]/]+\]", part):
            parts.append(part.replace("[!", "[^", 1))
        else:
            parts.append(_TOKENS.get(part) or re.escape(part))
    return re.compile("".join(parts))


_TOKENS = {
    "**/": r"(?:[^/]+/)*",
    "/**": r"(?:/[^/]+)*",
    "**": r".*",
    "*": r"[^/]*",
    "?": r"[^/]",
}


def first_matches(patterns: Iterable[str], paths: Sequence[str]) -> list[str | None]:
    """For each path the first glob that covers it, None where none does."""
    patterns = list(patterns)
    return [next((glob for glob in patterns if matches(glob, path)), None) for path in paths]


def refuse_idle(
    patterns: Iterable[str], used: Iterable[str | None], paths: Sequence[str], what: str
) -> None:
    """Refuses globs that decide about nothing.

    Args:
      patterns: the globs.
      used: those that decided.
      paths: what they could have decided about.
      what: they are, in the plural, with a word for the paths: ``"rules that match no parameter"``.

    Raises:
      ValueError: a glob is not among those used (names it, and the first paths).
    """
    used = set(used)
    idle = [glob for glob in patterns if glob not in used]
    if idle:
        raise ValueError(
            f"{what} (or only those an earlier one took): {idle}; "
            f"the paths are {list(paths[:8])}{' ...' if len(paths) > 8 else ''}"
        )


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Puts the path of a parameter before the message of a ValueError or TypeError."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if type(error) not in (ValueError, TypeError):
            raise
        raise type(error)(f"parameter {path!r}: {error}") from error
