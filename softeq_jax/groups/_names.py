"""Groups by the names that configs write."""

import re
from collections.abc import Callable

from softeq_jax.groups._classical import o, so, su, usp
from softeq_jax.groups._group import Group
from softeq_jax.groups._noncompact import lorentz, sp
from softeq_jax.groups._permutation import symmetric
from softeq_jax.groups._planar import cyclic, dihedral, trivial
from softeq_jax.groups._product import product
from softeq_jax.groups._zoo import icosahedral, octahedral, rubiks_cube

_WORDS: dict[str, Callable[[], Group]] = {
    "trivial": trivial,
    "1": trivial,
    "lorentz": lorentz,
    "icosahedral": icosahedral,
    "octahedral": octahedral,
    "rubik": rubiks_cube,
}
_FAMILIES: dict[str, Callable[[int], Group]] = {
    "c": cyclic,
    "d": dihedral,
    "s": symmetric,
    "so": so,
    "o": o,
    "su": su,
    "usp": usp,
}
_KNOWN = (
    "'trivial', 'c<n>' (c4), 'd<n>' (d4), 's<n>' (s8), 'so2' or 'SO(2)', 'o2' or 'O(2)', 'su2', "
    "'usp2', 'sp2' or 'Sp(4,R)', 'lorentz' or 'o13' or 'O(1,3)', 'SO(1,3)', 'O+(1,3)', "
    "'SO+(1,3)', 'icosahedral', 'octahedral', 'rubik', and products such as 'SO(2) x C4'"
)


def from_name(name: str) -> Group:
    """The group with a written name, as in configs; upper and lower case are the same.

    Args:
      name: ``trivial`` (or ``1``), ``c4``, ``d4``, ``s8``, ``so3`` or ``SO(3)``, ``o5``, ``su2``,
        ``usp2``, ``sp2`` or ``Sp(4,R)``, ``lorentz`` or ``O(1,3)`` or ``o13``, ``so13``,
        ``o+(1,3)``, ``so+(1,3)``, ``icosahedral``, ``octahedral``, ``rubik``; or some of these
        joined by `` x ``. SO(13) and O(13) are written with parentheses.

    Raises:
      ValueError: there is no such name, or no such group.
    """
    text = name.strip().lower() if isinstance(name, str) else ""
    parts = re.split(r"\s+[x\u00d7]\s+", text)
    found = [_single(part, name) for part in parts]
    return found[0] if len(found) == 1 else product(*found)


def _single(text: str, name: object) -> Group:
    if text in _WORDS:
        return _WORDS[text]()
    if match := re.fullmatch(r"(s?)o(\+?)(13|\(1, ?3\))", text):
        return lorentz(special=bool(match[1]), orthochronous=bool(match[2]))
    if match := re.fullmatch(r"sp(\d+)|sp\((\d+), ?r\)", text, flags=re.ASCII):
        size = int(match[1] or match[2])
        if match[2] and size % 2:
            raise ValueError(f"Sp(2n,R) has an even dimension, got {name!r}")
        return sp(size if match[1] else size // 2)
    match = re.fullmatch(r"(c|d|s|so|o|su|usp)(\d+|\(\d+\))", text, flags=re.ASCII)
    if match is None:
        raise ValueError(f"unknown group {name!r}; accepted names are {_KNOWN}")
    return _FAMILIES[match[1]](int(match[2].strip("()")))
