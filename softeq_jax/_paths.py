"""Paths of the leaves of a pytree, and glob patterns over them."""

import contextlib
import functools
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax


def leaf_paths(tree: Any) -> tuple[list[str], list[Any], Any]:
    """The leaves of a pytree with their paths, which are what identifies them everywhere.

    A path joins keys by ``"/"``: names of attributes, keys of dicts (an integer as its digits, a
    tuple as what it joins), indices of lists. The boxes that Flax puts around arrays
    (``nnx.Variable``, ``nn.Partitioned``) add nothing to it; nor does the ``value`` of a tree of
    dicts in which every leaf is called so: a restored NNX state. Thus a module, its state, its pure
    dict, its flat dict and what is restored from any of them have the same paths. A "/" within a
    key, as Haiku has it, is a "/" of the path.

    Returns:
      (paths such as ``"stage1/conv1/kernel"``, leaves, treedef). Works on Flax Linen and Haiku
      dicts, ``nnx`` modules and states, Equinox modules and any registered pytree.

    Raises:
      ValueError: two leaves with one path (names it, and the keys that lead to both).
    """
    flatten = jax.tree_util.tree_flatten_with_path
    boxes = _boxes()
    found: list[tuple[tuple[Any, ...], tuple[Any, ...], Any]] = []  # keys, those shown, leaf
    for keys, node in flatten(tree, is_leaf=lambda node: isinstance(node, boxes))[0]:
        for inner, leaf in flatten(node)[0]:
            skipped = isinstance(node, boxes) and inner[:1] == (_BOXED,)
            found.append((keys + inner, keys + inner[skipped:], leaf))
    restored = bool(found) and all(len(ks) > 1 and ks[-1] == _RESTORED for ks, _, _ in found)
    keys_of: dict[str, tuple[Any, ...]] = {}
    for keys, shown, _ in found:
        path = "/".join(map(_entry, shown[: -1 if restored else None]))
        if path in keys_of:
            one, other = map(jax.tree_util.keystr, (keys_of[path], keys))
            raise ValueError(f"two leaves have the path {path!r}: tree{one} and tree{other}")
        keys_of[path] = keys
    return list(keys_of), [leaf for _, _, leaf in found], jax.tree.structure(tree)


_BOXED = jax.tree_util.GetAttrKey("value")
_RESTORED = jax.tree_util.DictKey("value")


def _boxes() -> tuple[type, ...]:
    """Flax's classes around one array, of what is imported of Flax."""
    places = (("flax.nnx", "Variable"), ("flax.core.meta", "AxisMetadata"))
    return tuple(getattr(sys.modules[m], name) for m, name in places if m in sys.modules)


def _entry(key: Any) -> str:
    value = next((getattr(key, a) for a in ("name", "key", "idx") if hasattr(key, a)), key)
    return "/".join(map(str, value)) if isinstance(value, tuple) else str(value)


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their paths, in the order of the tree; see ``leaf_paths``.

    Raises:
      ValueError: two leaves with one path.
    """
    paths, leaves, _ = leaf_paths(tree)
    return dict(zip(paths, leaves, strict=True))


def ordered(paths: Iterable[str]) -> list[str]:
    """Paths in an order of their own, whatever tree they come from: by segments, where numbers
    count as such, ``layers/2`` before ``layers/10``."""

    def key(path: str) -> tuple[list[str], str]:
        return re.sub(r"[0-9]+", lambda digits: digits[0].zfill(20), path).split("/"), path

    return sorted(paths, key=key)


def literal(path: str) -> str:
    """The glob that covers one path alone, or its beginning in a longer glob.

    A rule that is the path of a leaf, letter by letter, covers it as it is. What needs this
    function are globs over keys that hold ``*``, ``?`` or ``[``.

    Example:
      >>> import softeq_jax as sq
      >>> sq.literal("layer[0]") + "/*"
      'layer[[]0]/*'
    """
    return re.sub(r"([*?[])", r"[\1]", path)


def matches(pattern: str, path: str) -> bool:
    """Whether a glob covers a path.

    ``*``, ``?`` and ``[23]`` or ``[!23]`` match within a segment, ``**`` any number of segments.
    A path covers itself, also where it holds such letters.
    """
    return pattern == path or _compiled(pattern).fullmatch(path) is not None


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = []
    for part in re.split(r"(\*\*/|/\*\*$|\*\*|\*|\?|\[!?[^]/]+\])", pattern):
        among = re.fullmatch(r"\[(!?)([^]/]+)\]", part)
        parts.append(_letter(*among.groups()) if among else _TOKENS.get(part) or re.escape(part))
    return re.compile("".join(parts), re.DOTALL)


def _letter(negated: str, among: str) -> str:
    """One letter of ``among``, in which ``a-z`` is a range, or any other; never "/"."""
    spans = re.findall(r"(.)-(.)|(.)", among, re.DOTALL)
    chosen = [
        re.escape(single) or f"{re.escape(first)}-{re.escape(last)}"
        for first, last, single in spans
        if single or first <= last
    ]
    if not chosen:
        return _TOKENS["?"] if negated else "(?!)"
    return f"(?!/)[{'^' if negated else ''}{''.join(chosen)}]"


_TOKENS = {
    "**/": r"(?:[^/]*/)*",
    "/**": r"(?:/[^/]*)*",
    "**": r".*",
    "*": r"[^/]*",
    "?": r"[^/]",
}


def first_matches(patterns: Iterable[str], paths: Sequence[str]) -> list[str | None]:
    """For each path the first glob that covers it, None where none does.

    Raises:
      ValueError: a glob is one of the paths, letter by letter, and covers others as a glob.
    """
    patterns, known = list(patterns), set(paths)
    for glob in patterns:
        if glob in known and glob != literal(glob):
            others = [path for path in paths if path != glob and matches(glob, path)]
            if others:
                raise ValueError(
                    f"{glob!r} is the path of one leaf and, as a glob, covers {others[:3]}: write "
                    f"softeq_jax.literal({glob!r}) for the one, and globs of their own for the rest"
                )
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
        keys = any("[" in glob for glob in idle)
        raise ValueError(
            f"{what} (or only those an earlier one took): {idle}; "
            f"the paths are {list(paths[:8])}{' ...' if len(paths) > 8 else ''}"
            f"{'; a key that holds *, ? or [ is written softeq_jax.literal(key)' if keys else ''}"
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
