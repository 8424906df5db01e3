"""Functions on a finite group, and signals on a circle."""

import dataclasses
import functools
import math

import numpy as np

from softeq_jax._checks import whole
from softeq_jax.groups import LISTABLE, Group, PermutationGroup, PlanarGroup
from softeq_jax.reps._acting_group import check_group
from softeq_jax.reps._frequencies import Frequencies, read_only, require_basis
from softeq_jax.reps._matrices import permutation_matrix
from softeq_jax.reps._planar import PlanarRep, check_planar
from softeq_jax.reps._rep import Rep


@dataclasses.dataclass(frozen=True, repr=False)
class Regular(Rep):
    """Functions on a finite group. Made by ``regular``.

    Example:
      >>> import softeq_jax as sq
      >>> R = sq.reps.regular(sq.groups.dihedral(4))
      >>> R, R.dim, R.is_permutation
      (regular(D4), 8, True)
    """

    @property
    def formula(self) -> str:
        return "regular"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.group.order or 0,)

    @property
    def is_orthogonal(self) -> bool:
        return True

    @property
    def is_permutation(self) -> bool:
        return True

    @property
    def is_trivial(self) -> bool:
        return self.group.order == 1

    @property
    def is_cyclic_shift(self) -> bool:
        """Whether the generator of the group shifts the entries by one, cyclically (C_n)."""
        return isinstance(self.group, PlanarGroup) and not self.group.has_flip

    def frequencies(self) -> Frequencies | None:
        return (
            _circle_frequencies(self.dim, False) if self.is_cyclic_shift else super().frequencies()
        )

    @property
    def unmatched(self) -> np.ndarray:
        return np.zeros((self.dim, 0))

    def signed_permutation(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        group, none = self.group, np.ones(self.dim, np.int8)
        if isinstance(group, PermutationGroup):
            inverse = np.argsort(group.concise(g))
            return group.places(inverse[group.listed()]), none
        inverse = group.elements()[group.index(np.linalg.inv(g))]
        return group.indices(inverse @ group.elements()), none

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        return permutation_matrix(self, self.signed_permutation(g)[0])

    def lie_matrices(self) -> np.ndarray:
        return np.zeros((0, self.dim, self.dim))


def regular(group: Group) -> Regular:
    """Functions on a finite group, ``(g f)(x) = f(g^-1 x)``, in the order of ``elements()``.

    Every irreducible representation occurs in it. For C_n the generator is ``np.roll(f, 1)``.

    Args:
      group: a finite group whose elements can be listed.

    Returns:
      A representation by permutations, of shape ``(order,)``, that prints as ``regular(D4)``.

    Raises:
      ValueError: the group is infinite, or has more than 50 000 elements.
      TypeError: ``group`` is no group.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> R = sq.reps.regular(sq.groups.cyclic(4))
      >>> R.apply(R.group.elements()[1], np.arange(4))
      array([3, 0, 1, 2])
    """
    order = check_group(group, "regular").order
    if order is None or order > LISTABLE:
        count = "infinitely many" if order is None else order
        raise ValueError(
            f"regular needs a finite group of at most {LISTABLE} elements, and {group} has {count}"
        )
    return Regular(group)


@dataclasses.dataclass(frozen=True, repr=False)
class Circle(PlanarRep):
    """Signals sampled at equally spaced angles. Made by ``circle``.

    Attributes:
      size: number n of samples.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> C = sq.reps.circle(sq.groups.cyclic(4), 8)
      >>> C.apply(C.group.elements()[1], np.arange(8))
      array([6, 7, 0, 1, 2, 3, 4, 5])
    """

    size: int = 1

    @property
    def formula(self) -> str:
        return f"Circle[{self.size}]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.size,)

    @property
    def turns_samples(self) -> bool:
        """Whether the rotations of the group map samples to samples."""
        return self.group.rotations is not None and self.size % self.group.rotations == 0

    @property
    def is_permutation(self) -> bool:
        flips = not self.group.has_flip or self.size % 2 == 0
        return self.size == 1 or (self.turns_samples and flips)

    @property
    def is_cyclic_shift(self) -> bool:
        """Whether the generator of the group shifts the entries by one, cyclically (C_n)."""
        return self.group.rotations == self.size and not self.group.has_flip

    def frequencies(self) -> Frequencies:
        return _circle_frequencies(self.size, not self.turns_samples)

    @property
    def unmatched(self) -> np.ndarray:
        matched = self.turns_samples or self.size % 2
        return np.zeros((self.size, 0)) if matched else super().unmatched

    def _permutation(self, angle: float, flip: bool) -> np.ndarray | None:
        samples = np.arange(self.size, dtype=np.int32)
        if self.size == 1:
            return samples
        if (angle and not self.turns_samples) or (flip and self.size % 2):
            return None
        # (g f)(theta) = f(g^-1 theta): turned back, and then theta -> pi - theta
        index = samples - round(angle * self.size / (2.0 * math.pi))
        return (self.size // 2 - index if flip else index) % self.size


@functools.lru_cache(maxsize=64)
def _circle_frequencies(n: int, interpolates: bool) -> Frequencies:
    """``sqrt(2/n) cos(m theta)`` and ``sin``; the flip theta -> pi - theta makes cosines of even m
    and sines of odd m even. The last cosine, for even n, vanishes at the angles in between."""
    require_basis(n, f"{n} samples of a circle")
    m = np.arange(1, (n - 1) // 2 + 1)
    # of exact integers, as m * theta loses digits
    angles = 2.0 * np.pi * (np.arange(n)[:, None] * m % n) / n
    cos, sin = np.cos(angles) * math.sqrt(2.0 / n), np.sin(angles) * math.sqrt(2.0 / n)
    swapped = m % 2 == 1
    singles = [np.full(n, math.sqrt(1.0 / n))]
    frequency, odd, unmatched = [0], [False], [False]
    if n % 2 == 0:
        singles.append(np.where(np.arange(n) % 2, -1.0, 1.0) * math.sqrt(1.0 / n))
        frequency.append(-1 if interpolates else n // 2)
        odd.append(n // 2 % 2 == 1)
        unmatched.append(interpolates)
    s, p = len(singles), len(m)
    even_half = np.where(swapped, sin, cos)
    odd_half = np.where(swapped, -cos, sin)
    pairs = np.arange(s, s + p)
    return read_only(
        np.concatenate([np.stack(singles, axis=1), even_half, odd_half], axis=1),
        np.concatenate([frequency, m, m]).astype(np.int64),
        np.concatenate([odd, np.zeros(p, bool), np.ones(p, bool)]),
        np.concatenate([np.full(s, -1), pairs + p, pairs]).astype(np.int64),
        np.concatenate([unmatched, np.zeros(2 * p, bool)]),
    )


def circle(group: PlanarGroup, n: int) -> Circle:
    """Signals sampled at the angles ``2 pi j / n``, j = 0 .. n-1, that rotate and flip.

    The rotation by t is ``(g f)(theta) = f(theta - t)`` and the flip ``theta -> pi - theta``, as
    for points of the plane. For C_m and D_m with m dividing n (and even n, where there are flips)
    it permutes the samples. Otherwise it acts on the trigonometric interpolant, of frequencies
    up to ``(n - 1) // 2``: exactly orthogonal, exactly a homomorphism, and right to rounding for
    signals of these frequencies. For even n the pattern ``(-1)^j``, of frequency n / 2, has no
    partner to turn into (its sine vanishes at all samples); where rotations are no
    permutations, all of them leave it fixed, and it is *unmatched*, as for ``image``.

    Args:
      group: a group of rotations of the plane.
      n: number of samples.

    Returns:
      A representation of shape ``(n,)`` that prints as ``Circle[16](SO(2))``.

    Raises:
      ValueError: n is no positive integer.
      TypeError: ``group`` is no group of the plane.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> C = sq.reps.circle(sq.groups.so(2), 9)
      >>> angles = 2 * np.pi / 9 * np.arange(9)
      >>> turned = C.apply(C.group.element(0.1), np.cos(angles))
      >>> bool(np.allclose(turned, np.cos(angles - 0.1)))  # of any angle, exact
      True
    """
    return Circle(check_planar(group, "circle"), whole(n, "the number of samples"))
