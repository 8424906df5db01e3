"""Paths of the leaves of a pytree, and glob patterns over them."""

import functools
import re
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
    boxed = len(path) > 1 and isinstance(path[-1], jax.tree_util.GetAttrKey)
    boxed = boxed and path[-1].name == "value" and isinstance(path[-2], jax.tree_util.DictKey)
    return path[:-1] if boxed else path


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
