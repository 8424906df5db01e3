"""The space of a weight: which representation acts on which of its axes, and its blocks."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._sizes import require_room
from softeq_jax._text import brief
from softeq_jax.groups import Group
from softeq_jax.reps import Rep, Term, is_dualized

_INPUT, _OUTPUT = ("i", "in"), ("o", "out")


class ActingAxes(NamedTuple):
    """A representation and the array axes it acts on, in the order of its shape."""

    positions: tuple[int, ...]
    rep: Rep


@dataclasses.dataclass(frozen=True)
class Space:
    """The tensor product of the representations on the axes of a weight array.

    Attributes:
      names: the names of all axes, in order.
      entries: the representations, in the order of their first axis.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> space = sq.projector("k i o", {"i": V, "o": 2 * V}).space
      >>> space.names, space.dim, space.positions
      (('k', 'i', 'o'), 18, (1, 2))
    """

    names: tuple[str, ...]
    entries: tuple[ActingAxes, ...]

    __repr__ = brief

    @property
    def group(self) -> Group:
        """The one group that acts."""
        return self.entries[0].rep.group

    @property
    def dim(self) -> int:
        """Dimension of the tensor product of the named representations."""
        return math.prod(entry.rep.dim for entry in self.entries)

    @property
    def is_complex(self) -> bool:
        """Whether weights must be complex."""
        return any(entry.rep.is_complex for entry in self.entries)

    @property
    def positions(self) -> tuple[int, ...]:
        """All acting positions, entry by entry."""
        return tuple(p for entry in self.entries for p in entry.positions)

    @functools.cached_property
    def layout(self) -> "Arrangement":
        """Where the blocks lie in the array, all that a compiled program depends on."""
        return Arrangement(
            self.positions, tuple(segments(entry.rep).axis for entry in self.entries)
        )

    def describe(self) -> str:
        """Axes and representations, as in ``h w: Image[7x7](C4)``."""
        axes = [" ".join(self.names[p] for p in entry.positions) for entry in self.entries]
        return ", ".join(f"{a}: {e.rep!r}" for a, e in zip(axes, self.entries, strict=True))

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises ValueError unless an array of this shape has these axes and actions."""
        expected: dict[int, int] = {}
        for positions, rep in self.entries:
            expected.update(zip(positions, rep.shape, strict=True))
        fits = len(shape) == len(self.names) and all(
            size == expected.get(i, size) and (name != "1" or size == 1)
            for i, (name, size) in enumerate(zip(self.names, shape, strict=True))
        )
        if not fits:
            wanted = [
                f"{n}={expected[i]}" if i in expected else n for i, n in enumerate(self.names)
            ]
            raise ValueError(
                f"a weight of shape {tuple(shape)} does not fit the axes ({', '.join(wanted)}) "
                f"of {self.describe()}"
            )

    def check_weight(self, w: jax.Array | np.ndarray) -> None:
        """As ``check``; TypeError unless w is floating-point, complex where the space is."""
        self.check(w.shape)
        if not jnp.issubdtype(w.dtype, jnp.complexfloating if self.is_complex else jnp.floating):
            kind = "complex" if self.is_complex else "real floating-point"
            raise TypeError(f"a weight of {self.describe()} is {kind}, got {w.dtype}")

    def act(self, g: Any, w: Any) -> Any:
        """``g w``, the joint action of a group element on an array with these axes."""
        self.check(w.shape)
        for positions, rep in self.entries:
            w = rep.apply(g, w, axes=positions)
        return w

    def blocks(self) -> list[tuple[int, tuple[Rep, ...]]]:
        """``(multiplicity, atoms)`` for each combination of the terms of the axes, last fastest."""
        each = itertools.product(*(segments(entry.rep).terms for entry in self.entries))
        return [
            (math.prod(t.multiplicity for t in terms), tuple(a for t in terms for a in t.atoms))
            for terms in each
        ]


def parse(spec: str, reps: Mapping[str, Rep]) -> Space:
    """The space that axis names (see ``projector``) and representations describe.

    Raises:
      ValueError: a name twice or unknown, a representation of another number of axes, of another
        group, or none, or a dual forgotten: axes called ``i`` (``in``) and ``o`` (``out``) are
        taken for a linear map, which lives in ``V_in.dual`` and ``V_out``, so what acts on ``i``
        and is not real orthogonal must have been made by ``.dual`` (``reps.is_dualized``).
    """
    names = tuple(spec.split())
    plain = [name for name in names if name != "1"]
    if not names or len(set(plain)) != len(plain):
        raise ValueError(f"axis names must be present and distinct, got {spec!r}")
    entries = [_acting(key, rep, names, spec) for key, rep in reps.items()]
    used = [position for entry in entries for position in entry.positions]
    if len(set(used)) != len(used):
        raise ValueError(f"an axis of {spec!r} is named in two entries of {list(reps)}")
    if not entries:
        raise ValueError(f"no axis of {spec!r} is acted on: give at least one representation")
    if len({rep.group for rep in reps.values()}) > 1:
        found = ", ".join(f"{key!r}: {rep.group!r}" for key, rep in reps.items())
        raise ValueError(f"all axes of a weight need one group, got {found}")
    _refuse_forgotten_dual(names, reps)
    return Space(names, tuple(sorted(entries, key=lambda entry: entry.positions)))


def _acting(key: str, rep: Rep, names: tuple[str, ...], spec: str) -> ActingAxes:
    parts = key.split()
    if not parts or any(part not in names or part == "1" for part in parts):
        raise ValueError(f"axes {key!r} are not among the named axes of {spec!r}")
    if not isinstance(rep, Rep):
        raise ValueError(f"axes {key!r} need a representation, got {type(rep).__name__}")
    if len(rep.shape) != len(parts):
        raise ValueError(f"{rep!r} acts on {len(rep.shape)} axes, but {key!r} names {len(parts)}")
    return ActingAxes(tuple(names.index(part) for part in parts), rep)


def _refuse_forgotten_dual(names: tuple[str, ...], reps: Mapping[str, Rep]) -> None:
    """Raises ValueError where the axes are those of a linear map, and what acts on its input has
    not been dualized."""
    target = next((name for name in names if name in _OUTPUT), None)
    for key, rep in reps.items():
        if target is None or is_dualized(rep) or not any(part in _INPUT for part in key.split()):
            continue
        kind = "unitary, not real orthogonal" if rep.is_orthogonal else "not orthogonal"
        raise ValueError(
            f"{rep!r} on the input axis {key!r} is {kind}: a linear map lives in V_in.dual, so "
            f"pass .dual of the representation of the input there; for a bilinear form call the "
            f"axes by other names than {key!r} and {target!r}"
        )


class Piece(NamedTuple):
    """A segment of the entries of one acting axis: copies of a product of atoms.

    Attributes:
      copies: how many.
      dims: dimension of each atom.
    """

    copies: int
    dims: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its length."""
        return self.copies * math.prod(self.dims)


class Axis(NamedTuple):
    """How the flattened entries of a representation divide into segments.

    Attributes:
      pieces: the segments, one for each term.
      permuted: the int64 index ``[dim]``, as bytes, that brings the entries into the order of the
        segments; None where that is the given order.
    """

    pieces: tuple[Piece, ...]
    permuted: bytes | None

    @property
    def dim(self) -> int:
        """Number of entries."""
        return sum(piece.size for piece in self.pieces)

    @property
    def order(self) -> np.ndarray | None:
        """``permuted`` as an array."""
        return None if self.permuted is None else np.frombuffer(self.permuted, np.int64)


class Arrangement(NamedTuple):
    """Where the blocks of a space lie in a weight array: spaces of different groups may share it.

    Attributes:
      positions: all acting positions, entry by entry.
      axes: of each entry.
    """

    positions: tuple[int, ...]
    axes: tuple[Axis, ...]


class Segments:
    """The terms of a representation, and how its flattened entries divide into them."""

    def __init__(self, rep: Rep) -> None:
        what = f"the index of the {rep.dim} entries of {rep!r}"
        require_room(24 * rep.dim, what, "leave axes on which little acts unnamed")
        found = rep.terms()
        self.terms: tuple[Term, ...] = tuple(term for term, _ in found)
        order = np.concatenate([index.reshape(-1) for _, index in found]).astype(np.int64)
        natural = bool(np.all(order == np.arange(rep.dim)))
        pieces = (Piece(t.multiplicity, tuple(atom.dim for atom in t.atoms)) for t in self.terms)
        self.axis = Axis(tuple(pieces), None if natural else order.tobytes())


segments = functools.lru_cache(maxsize=1024)(Segments)
