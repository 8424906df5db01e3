r"""The spectrum of features by irreducible type: energy in each isotypic component.

With the orthogonal projector ``Pi_lambda`` on all copies of the irreducible representation lambda,

    share(lambda) = E ||Pi_lambda F(x)||^2 / E ||F(x)||^2,

which no group element changes, and no equivariant linear map moves from one type to another
(Schur). On pixels under SO(2) lambda is the angular frequency m of a pattern about the center;
under O(3) it is the degree l of spherical harmonics and the parity. The projectors are those of
``softeq_jax.projector``: a level belongs to one type, or to few, which elements that are +-1 on
them separate (the inversion of O(3), flips of dihedral groups).
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from softeq_jax._text import TextTable, table
from softeq_jax.groups import Group, OrthogonalGroup, PlanarGroup
from softeq_jax.measures._statistics import Estimate, given
from softeq_jax.measures.base._functions import Array, check_inputs

_FLIPPED = 2 / math.pi
"""The level of what rotations fix and a flip or reflection negates."""
_ABSENT = 1e-9
"""A type with less than this share of a random array does not occur."""
UNMATCHED = "unmatched"


class LevelProjector(Protocol):
    """What the spectrum asks of a ``softeq_jax.Projector``."""

    @property
    def space(self) -> Any:
        """Axes and representations."""
        ...

    @property
    def dim(self) -> int:
        """Dimension of what the group acts on."""
        ...

    @property
    def convention(self) -> str:
        """Of the levels."""
        ...

    def levels(self) -> np.ndarray:
        """The distinct levels, ascending."""
        ...

    def dimensions(self) -> np.ndarray:
        """Their dimensions."""
        ...

    def at(self, **dials: Any) -> Any:
        """The projector on the levels up to a cutoff."""
        ...

    def act(self, g: Array, w: Array) -> Any:
        """A group element on an array."""
        ...


@dataclasses.dataclass(frozen=True, repr=False)
class IrrepSpectrum:
    """The result of ``irrep_spectrum``.

    Attributes:
      labels: names of the types as ``reps.irrep`` takes them ("2", "(0, -1)", "1o"), "level 1.41"
        where types have no names; last "unmatched" if the action leaves patterns out of account.
      energies: float64 ``[n, labels]``, squared norms; a row sums to that of the example.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> found = sq.measures.IrrepSpectrum(("0", "1"), np.array([[3.0, 1.0]]))
      >>> found.share("1").value
      0.25
    """

    labels: tuple[str, ...]
    energies: np.ndarray

    def share(self, label: str) -> Estimate:
        """The share of a type in the energy, a ratio of means over the examples.

        Raises:
          ValueError: no type has this name.
        """
        if label not in self.labels:
            raise ValueError(f"no type is called {label!r}, choose from {list(self.labels)}")
        energy = self.energies[:, self.labels.index(label)]
        return Estimate(label, energy[None], self.energies.sum(axis=1)[None], ("share",))

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary of plain numbers per type."""
        found = map(self.share, self.labels)
        return [{"type": e.name, "share": e.value, "share_se": e.standard_error} for e in found]

    def table(self) -> TextTable:
        """Shares of the types with their standard errors over examples."""
        cells = [
            (row["type"], given(row["share"], ".4f"), given(row["share_se"], ".2g"))
            for row in self.rows()
        ]
        return table(("type", "share", "+-"), cells, right="-rr")

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def irrep_spectrum(x: Array, projector: LevelProjector) -> IrrepSpectrum:
    """The energy of features in each isotypic component of the group that acts on them.

    Costs one application of the projector for each of its levels.

    Args:
      x: ``[n, ...]``, floating point, one axis for each in the projector's specification.
      projector: ``softeq_jax.projector`` of arrays like x, at any setting of its dials; on the
        axes that are named in its representations, as in ``projector("n h w c", {"h w":
        reps.image(groups.so(2), (8, 8))})`` for maps of scalar channels.

    Raises:
      TypeError: x is no floating point array.
      ValueError: x does not fit the projector, has NaN or infinite entries, or no example; the
        projector acts on axis 0 or has the levels of another convention.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.o(3))
      >>> P = sq.projector("n a b", {"a": V, "b": V})
      >>> v = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
      >>> spectrum = sq.measures.irrep_spectrum(v[:, :, None] * v[:, None], P)
      >>> for label in spectrum.labels:  # a symmetric matrix: its trace, and the rest
      ...     print(label, round(spectrum.share(label).value, 3))
      0e 0.333
      1e 0.0
      2e 0.667
    """
    x = check_inputs(x, "x")
    if projector.convention != "central":
        raise ValueError(
            f"types are told by the central levels, got the convention {projector.convention!r}"
        )
    if 0 in projector.space.positions:
        raise ValueError(f"axis 0 counts the examples, but {projector.space.describe()} acts on it")
    parts, probe = _parts(projector, x), _parts(projector, _probe(projector.space))
    size = sum(_energy(part).sum() for _, part in probe)
    energies: dict[str, np.ndarray] = {}
    for (label, part), (_, drawn) in zip(parts, probe, strict=True):
        if _energy(drawn).sum() > _ABSENT * size:  # else there is no such type in these axes
            energies[label] = _energy(part)
    return IrrepSpectrum(tuple(energies), np.stack(list(energies.values()), axis=1))


def _probe(space: Any) -> np.ndarray:
    """A random array of the least size with these axes: it has a part in every type."""
    sizes = {p: n for e in space.entries for p, n in zip(e.positions, e.rep.shape, strict=True)}
    shape = [sizes.get(axis, 1) for axis in range(len(space.names))]
    return np.random.default_rng(0).standard_normal(shape)


def _parts(projector: LevelProjector, x: Any) -> list[tuple[str, Any]]:
    """Names of types that there may be, and the part of x in each."""
    found, below = [], 0.0
    for level in projector.levels():
        kept = projector.at(cutoff=float(level), mask="hard")(x)
        found += _types(projector, float(level), kept - below)
        below = kept
    if projector.dimensions().sum() < projector.dim:
        found.append((UNMATCHED, x - below))
    return found


def _energy(x: Any) -> np.ndarray:
    flat = np.abs(np.asarray(x).astype(np.result_type(np.asarray(x), np.float64)))
    return (flat.reshape(len(flat), -1) ** 2).sum(axis=1)


def _types(projector: LevelProjector, level: float, x: Any) -> list[tuple[str, Any]]:
    """The types on a level, and the parts of x that belong to them."""
    name, signs = _names(projector.space.group, level)
    parts: dict[tuple[int, ...], Any] = {(): x}
    for g in signs:
        moved = {key: projector.act(g, part) for key, part in parts.items()}
        parts = {
            (*key, sign): (part + sign * moved[key]) / 2
            for key, part in parts.items()
            for sign in (1, -1)
        }
    return [(name(*key), part) for key, part in parts.items()]


def _names(group: Group, level: float) -> tuple[Any, Sequence[np.ndarray]]:
    """A name for each choice of signs, and the elements that have these signs on the types."""
    if isinstance(group, OrthogonalGroup) and group.n == 3:
        degree = round((math.sqrt(1 + 4 * level**2) - 1) / 2)
        if group.special:
            return lambda: str(degree), ()
        if degree == 0:
            only = "0o" if level else "0e"
            return lambda: only, ()
        return lambda sign: f"{degree}{'e' if sign > 0 else 'o'}", (-np.eye(3),)
    if not isinstance(group, PlanarGroup):
        return lambda: f"level {level:.4g}", ()
    n = group.rotations
    if n == 2 and group.has_flip and level:
        elements = group.element(math.pi), group.element(flip=True)
        return lambda turn, flip: _pair((1 - turn) // 2, flip), elements
    if group.has_flip and (level == 0 or abs(level - _FLIPPED) < 1e-6):
        return lambda: _pair(0, -1 if level else 1), ()
    m = round(level if n is None else n / math.pi * math.asin(min(math.pi * level / n, 1.0)))
    if group.has_flip and n == 2 * m:
        return lambda flip: _pair(m, flip), (group.element(flip=True),)
    return lambda: str(m), ()


def _pair(frequency: int, flip: int) -> str:
    return f"({frequency}, {flip})"
