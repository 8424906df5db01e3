"""Restrictions: representations of one group as those of another, by a homomorphism.

Subgroups, homomorphisms that a user gives, and the factors of direct products.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from softeq_jax.groups import Group, PermutationGroup, PlanarGroup, ProductGroup
from softeq_jax.reps._acting_group import check_group
from softeq_jax.reps._dualized import marked
from softeq_jax.reps._frequencies import Frequencies
from softeq_jax.reps._grid import Grid
from softeq_jax.reps._irreps import PlanarIrrep
from softeq_jax.reps._plain import PlaneVector, Trivial, Vector, vector
from softeq_jax.reps._planar import PlanarRep
from softeq_jax.reps._regular import Circle
from softeq_jax.reps._relations import derivative, deviation, random_elements
from softeq_jax.reps._rep import Composite, Dual, Real, Rep

_TOLERANCE = 1e-8


@dataclasses.dataclass(frozen=True, repr=False)
class PulledBack(Rep):
    """A representation of another group, reached through a homomorphism.

    Attributes:
      part: the representation of the other group.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> R = sq.reps.restrict(V, sq.groups.cyclic(2), lambda g: np.diag([g[0, 0], g[0, 0], 1]))
      >>> isinstance(R, sq.reps.PulledBack), R.dim
      (True, 3)
    """

    part: Rep

    def _image(self, g: np.ndarray) -> np.ndarray:
        """The element of the other group."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        return self.part.shape

    @property
    def is_complex(self) -> bool:
        return self.part.is_complex

    @property
    def is_orthogonal(self) -> bool:
        return self.part.is_orthogonal or super().is_orthogonal

    @property
    def is_permutation(self) -> bool:
        return self.part.is_permutation or super().is_permutation

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        return self.part._matrix(self._image(g))

    def signed_permutation(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        return self.part.signed_permutation(self._image(g))

    def _act(self, x: Any, g: np.ndarray) -> Any:
        return self.part._act(x, self._image(g))


@dataclasses.dataclass(frozen=True, repr=False)
class Restricted(PulledBack):
    """A representation restricted to a subgroup. Made by ``restrict``.

    Attributes:
      embed: from matrices of the subgroup to those of the group, None where they are the same.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> def upright(g):
      ...     return np.block([[g, np.zeros((2, 1))], [np.zeros((1, 2)), 1]])
      >>> R = sq.reps.restrict(sq.reps.vector(sq.groups.so(3)), sq.groups.so(2), upright)
      >>> R
      Res[V(SO(3))](SO(2))
      >>> R.lie_matrices().round(6).astype(int).tolist()  # the rotation about z
      [[[0, -1, 0], [1, 0, 0], [0, 0, 0]]]
    """

    embed: Callable[[np.ndarray], Any] | None = None

    @property
    def formula(self) -> str:
        return f"Res[{self.part!r}]"

    def _image(self, g: np.ndarray) -> np.ndarray:
        if isinstance(
            self.group, PlanarGroup
        ):  # of a rounded matrix, the element it is meant to be
            g = self.group.element(*self.group.parameters(g))
        if self.embed is not None:
            return self.part.group.concise(self.embed(self.group.dense(g)))
        return g if isinstance(self.part.group, PermutationGroup) else self.group.dense(g)

    def lie_matrices(self) -> np.ndarray:
        coordinates = _differential(self.part.group, self.group, self.embed)
        return np.tensordot(coordinates, self.part.lie_matrices(), 1)

    def frequencies(self) -> Frequencies | None:
        """Those of the unrestricted representation, if both groups are planar and act alike."""
        same = self.embed is None and isinstance(self.group, PlanarGroup)
        found = self.part.frequencies() if same else None
        return super().frequencies() if found is None else found


@dataclasses.dataclass(frozen=True, repr=False)
class OnFactor(PulledBack):
    """A representation of one factor of a direct product. Made by ``factor``.

    Attributes:
      position: which factor.

    Example:
      >>> import softeq_jax as sq
      >>> GH = sq.groups.product(sq.groups.so(3), sq.groups.cyclic(4))
      >>> sq.reps.factor(GH, 0, sq.reps.vector(sq.groups.so(3)))
      V(SO(3))@0(SO(3) × C4)
    """

    group: ProductGroup
    position: int = 0

    @property
    def formula(self) -> str:
        return f"{self.part!r}@{self.position}"

    @property
    def unmatched(self) -> np.ndarray:
        return self.part.unmatched

    def _image(self, g: np.ndarray) -> np.ndarray:
        return self.group.component(self.position, g)

    def lie_matrices(self) -> np.ndarray:
        found = np.zeros((len(self.group.lie_generators), self.dim, self.dim), self.dtype)
        start = sum(len(f.lie_generators) for f in self.group.factors[: self.position])
        matrices = self.part.lie_matrices()
        found[start : start + len(matrices)] = matrices
        return found


def restrict(rep: Rep, subgroup: Group, embed: Callable[[np.ndarray], Any] | None = None) -> Rep:
    """A representation as one of a subgroup, or pulled back along a homomorphism.

    Sums, tensor products, multiples and duals are restricted part by part, and a part becomes
    the subgroup's own representation of the same kind where the two act alike. That is not so
    for an image of even side under SO(2), restricted to C4: its unmatched patterns stay fixed,
    while C4's own ``image`` turns them.

    Args:
      rep: a representation of some group G.
      subgroup: the group H that is to act.
      embed: a homomorphism from matrices of H to matrices of G, such as
        ``lambda g: np.block([[g, 0], [0, 1]])``; None if H consists of elements of G. Two
        restrictions are equal if they have the same function object.

    Returns:
      A representation of H of the same shape, prints as ``Res[V(SO(3))](C4)`` where there is no
      simpler form. The Lie matrices follow from the differential of ``embed``, which is
      ``log(embed(exp(h A))) / h`` for small h: accurate to 1e-12, no finite difference.

    Raises:
      ValueError: a generator of H is not mapped into G, or ``embed`` is no homomorphism.
      TypeError: an argument is no representation or no group.

    Example:
      >>> import softeq_jax as sq
      >>> I = sq.reps.image(sq.groups.so(2), (3, 3))
      >>> C4 = sq.groups.cyclic(4)
      >>> sq.reps.restrict(I, C4) == sq.reps.image(C4, (3, 3))
      True
    """
    if not isinstance(rep, Rep):
        raise TypeError(f"restrict needs a representation, got {rep!r}")
    check_group(subgroup, "restrict")
    if embed is None and subgroup == rep.group:
        return rep
    if embed is not None and not callable(embed):
        raise TypeError(f"embed must be a function of matrices or None, got {embed!r}")
    _differential(rep.group, subgroup, embed)
    return _restricted(rep, subgroup, embed)


def _restricted(rep: Rep, subgroup: Group, embed: Callable[[np.ndarray], Any] | None) -> Rep:
    return marked(_restricted_parts(rep, subgroup, embed), rep.dualized)


def _restricted_parts(rep: Rep, subgroup: Group, embed: Callable[[np.ndarray], Any] | None) -> Rep:
    if isinstance(rep, Composite):
        parts = tuple(_restricted(part, subgroup, embed) for part in rep.parts)
        return dataclasses.replace(rep, group=subgroup, parts=parts)
    if isinstance(rep, Trivial):
        return Trivial(subgroup, rep.size)
    if isinstance(rep, Dual):
        return _restricted(rep.part, subgroup, embed).dual
    if isinstance(rep, Real):
        part = _restricted(rep.part, subgroup, embed)
        if part.is_complex:
            return Real(subgroup, part)
    if embed is None:
        if isinstance(rep, Restricted) and rep.embed is None:
            return _restricted(rep.part, subgroup, None)
        if isinstance(rep, Vector | PlaneVector) and rep.is_complex == subgroup.is_complex:
            return vector(subgroup)
        if isinstance(rep, PlanarRep) and isinstance(subgroup, PlanarGroup):
            return _planar(rep, subgroup)
    return Restricted(subgroup, rep, embed)


def _planar(rep: PlanarRep, subgroup: PlanarGroup) -> Rep:
    """The same kind of representation of the subgroup, if it has the same matrices."""
    if isinstance(rep, Grid | Circle):
        own = dataclasses.replace(rep, group=subgroup)
        restricted = Restricted(subgroup, rep)
        if own.unmatched.shape == rep.unmatched.shape:
            return own
        # permutations may turn the columns that interpolation leaves unmatched
        found, expected = own.discrete_matrices(), restricted.discrete_matrices()
        return own if np.allclose(found, expected, atol=_TOLERANCE) else restricted
    if isinstance(rep, PlanarIrrep):
        n, m, whole = subgroup.rotations, rep.frequency, rep.group.rotations
        flip = rep.flip if subgroup.has_flip else 0
        if rep.dim == 1:
            if m and n is not None and whole is not None and (whole // n) % 2:
                return PlanarIrrep(subgroup, n // 2, flip)
            return PlanarIrrep(subgroup, 0, flip)
        if n is None or 0 < m % n < n / 2:
            return PlanarIrrep(subgroup, m if n is None else m % n)
    return Restricted(subgroup, rep)


@functools.lru_cache(maxsize=128)
def _differential(
    group: Group, subgroup: Group, embed: Callable[[np.ndarray], Any] | None
) -> np.ndarray:
    """Coordinates of the subgroup's Lie generators in the basis of the group's, ``[k', k]``, once
    it is known that generators and random elements are mapped into the group."""
    where = f"{subgroup} is not in {group}" if embed is None else f"embed({subgroup})"
    if embed is None and subgroup.d != group.d:
        raise ValueError(
            f"{where} as it consists of {subgroup.d} x {subgroup.d} matrices, not of "
            f"{group.d} x {group.d}; give the map between them as embed="
        )

    def image(g: np.ndarray) -> np.ndarray:
        moved = np.asarray(g if embed is None else embed(g))
        if moved.shape != (group.d, group.d):
            raise ValueError(
                f"{where} must be {group.d} x {group.d} matrices, elements of {group}, got shape "
                f"{moved.shape}"
            )
        return moved

    for i, h in enumerate(map(subgroup.dense, subgroup.letters())):
        try:
            group.check(image(h))
        except ValueError as error:
            raise ValueError(f"{where}: discrete generator {i}: {error}") from None
    rows = []
    for k, a in enumerate(subgroup.lie_generators):
        b = a if embed is None else derivative(image, a, where, _TOLERANCE)
        row = group.coordinates(b) if len(group.lie_generators) else np.zeros(0)
        off = deviation(np.tensordot(row, group.lie_generators, 1), b)
        if off > _TOLERANCE:
            raise ValueError(
                f"{where}: Lie generator {k} leaves the Lie algebra of {group} by {off:.2g}"
            )
        rows.append(row)
    if embed is not None:
        lie, discrete = subgroup.lie_generators, subgroup.discrete_generators
        sampled = random_elements(lie, discrete, 4, subgroup.d)
        for g in sampled:
            for h in [*discrete, *sampled[:2]]:
                off = deviation(image(g @ h), image(g) @ image(h))
                if off > _TOLERANCE:
                    raise ValueError(
                        f"{where}: embed is no homomorphism, embed(g h) differs from "
                        f"embed(g) embed(h) by {off:.2g}"
                    )
    found = np.array(rows).reshape(len(subgroup.lie_generators), len(group.lie_generators))
    found.setflags(write=False)
    return found


def factor(group: ProductGroup, i: int, rep: Rep) -> Rep:
    """The representation of a direct product that acts through one of its factors.

    With it, ``factor(GH, 0, A) * factor(GH, 1, B)`` is the external tensor product.

    Args:
      group: a direct product, as ``groups.product`` makes it.
      i: which factor.
      rep: a representation of ``group.factors[i]``.

    Returns:
      A representation of ``group`` of the same shape; sums, tensor products, multiples and
      duals part by part. Prints as ``V(SO(3))@0(SO(3) × C4)``.

    Raises:
      ValueError: there is no such factor, or ``rep`` represents another group.
      TypeError: ``group`` is no direct product, or ``rep`` no representation.

    Example:
      >>> import softeq_jax as sq
      >>> GH = sq.groups.product(sq.groups.so(3), sq.groups.cyclic(4))
      >>> A = sq.reps.factor(GH, 0, sq.reps.vector(sq.groups.so(3)))
      >>> B = sq.reps.factor(GH, 1, sq.reps.regular(sq.groups.cyclic(4)))
      >>> A * B, (A * B).dim
      ((V(SO(3))@0⊗regular(C4)@1)(SO(3) × C4), 12)
    """
    if not isinstance(group, ProductGroup):
        raise TypeError(f"factor needs a direct product, as groups.product gives it, got {group!r}")
    if not isinstance(rep, Rep):
        raise TypeError(f"factor needs a representation, got {rep!r}")
    number = len(group.factors)
    if isinstance(i, bool) or not isinstance(i, int | np.integer) or not 0 <= i < number:
        raise ValueError(f"{group} has factors 0 to {number - 1}, got {i!r}")
    if rep.group != group.factors[i]:
        raise ValueError(
            f"factor {i} of {group} is {group.factors[i]}, but {rep} represents {rep.group}"
        )
    return _on_factor(group, int(i), rep)


def _on_factor(group: ProductGroup, i: int, rep: Rep) -> Rep:
    return marked(_on_factor_parts(group, i, rep), rep.dualized)


def _on_factor_parts(group: ProductGroup, i: int, rep: Rep) -> Rep:
    if isinstance(rep, Composite):
        parts = tuple(_on_factor(group, i, part) for part in rep.parts)
        return dataclasses.replace(rep, group=group, parts=parts)
    if isinstance(rep, Trivial):
        return Trivial(group, rep.size)
    if isinstance(rep, Dual):
        return _on_factor(group, i, rep.part).dual
    if isinstance(rep, Real):
        return Real(group, _on_factor(group, i, rep.part))
    return OnFactor(group, rep, i)
