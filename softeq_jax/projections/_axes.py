"""Reading an axis specification such as ``"h w i o"`` and finding the acting axes in it."""

from collections.abc import Mapping
from typing import NamedTuple

from softeq_jax.groups import Group
from softeq_jax.reps import Rep


class Axes(NamedTuple):
    """Which axes of an array a representation acts on.

    Attributes:
      names: the names of all axes, in order.
      acting: positions of the acting axes, in the order of ``rep.shape``.
    """

    names: tuple[str, ...]
    acting: tuple[int, ...]

    def check(self, shape: tuple[int, ...], rep: Rep) -> None:
        """Raises ValueError unless an array of this shape has these axes and this action."""
        expected = dict(zip(self.acting, rep.shape, strict=True))
        wanted = [
            f"{name}={expected[i]}" if i in expected else name for i, name in enumerate(self.names)
        ]
        fits = len(shape) == len(self.names) and all(
            size == expected.get(i, size) and (name != "1" or size == 1)
            for i, (name, size) in enumerate(zip(self.names, shape, strict=True))
        )
        if not fits:
            raise ValueError(
                f"a weight of shape {tuple(shape)} does not fit the axes ({', '.join(wanted)}) "
                f"of {rep!r}"
            )


def parse(spec: str, reps: Mapping[str, Rep]) -> tuple[Axes, Rep]:
    """Splits a specification into its axes and the one representation that acts.

    Args:
      spec: axis names separated by spaces; ``1`` is an axis of size one.
      reps: representation of each named axis, or group of axes (``"h w"``) for one that acts on
        several at once. Axes that are not named here are acted on trivially.

    Returns:
      (axes, rep).

    Raises:
      ValueError: a name that occurs twice or is unknown, a representation with another number of
        axes, representations of different groups, no acting axis, or more than one that is not
        trivial.
    """
    names = tuple(spec.split())
    plain = [name for name in names if name != "1"]
    if not names or len(set(plain)) != len(plain):
        raise ValueError(f"axis names must be present and distinct, got {spec!r}")
    entries: dict[tuple[int, ...], Rep] = {}
    for key, rep in reps.items():
        entries[_positions(key, names, spec)] = _checked(rep, key)
    used = [position for positions in entries for position in positions]
    if len(set(used)) != len(used):
        raise ValueError(f"an axis of {spec!r} is named in two entries of {list(reps)}")
    if not entries:
        raise ValueError(f"no axis of {spec!r} is acted on: give at least one representation")
    _same_group(reps)
    acting = {axes: rep for axes, rep in entries.items() if not _is_trivial(rep)}
    if len(acting) > 1:
        raise ValueError(
            f"representations act on {len(acting)} groups of axes of {spec!r}; this version "
            "projects weights with one acting group of axes (others may be trivial)"
        )
    axes, rep = next(iter((acting or entries).items()))
    return Axes(names, axes), rep


def _positions(key: str, names: tuple[str, ...], spec: str) -> tuple[int, ...]:
    parts = key.split()
    unknown = [part for part in parts if part not in names or part == "1"]
    if unknown or not parts:
        raise ValueError(f"axes {key!r} are not among the named axes of {spec!r}")
    return tuple(names.index(part) for part in parts)


def _checked(rep: Rep, key: str) -> Rep:
    if not isinstance(rep, Rep):
        raise ValueError(f"axes {key!r} need a representation, got {type(rep).__name__}")
    if len(rep.shape) != len(key.split()):
        raise ValueError(
            f"{rep!r} acts on {len(rep.shape)} axes, but {key!r} names {len(key.split())}"
        )
    return rep


def _is_trivial(rep: Rep) -> bool:
    if rep.group.order == 1:
        return True
    frequencies = rep.frequencies()
    return not (frequencies.frequency.any() or frequencies.odd.any())


def _same_group(reps: Mapping[str, Rep]) -> Group:
    groups = {rep.group for rep in reps.values()}
    if len(groups) > 1:
        found = ", ".join(f"{key!r}: {rep.group!r}" for key, rep in reps.items())
        raise ValueError(f"all axes of a weight need one group, got {found}")
    return groups.pop()
