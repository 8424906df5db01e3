"""Irreducible representations with names: of the groups of the plane, of SO(3) and of O(3)."""

import dataclasses
import functools
import math
import re
from typing import Any

import numpy as np

from softeq_jax.groups import Group, OrthogonalGroup, PlanarGroup, so
from softeq_jax.reps._acting_group import check_group
from softeq_jax.reps._frequencies import Frequencies, read_only
from softeq_jax.reps._planar import PlanarMatrices
from softeq_jax.reps._rep import Rep

_O2 = PlanarGroup("O(2)", rotations=None, has_flip=True)
_SO3 = so(3)


@dataclasses.dataclass(frozen=True, repr=False)
class PlanarIrrep(PlanarMatrices):
    """An irreducible representation of a group of the plane. Made by ``irrep``.

    Attributes:
      frequency: m; rotations by t turn the plane by m t, or are ``cos(m t)`` on a line.
      flip: 0 in two dimensions and where the group has no flip, else the value +-1 of the flip.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> G = sq.groups.so(2)
      >>> D = sq.reps.irrep(G, 2)  # turns twice as far
      >>> bool(np.allclose(D.matrix(G.element(0.3)), G.element(0.6)))
      True
    """

    frequency: int = 0
    flip: int = 0

    @property
    def formula(self) -> str:
        shown = f"{self.frequency},{self.flip:+d}" if self.flip else f"{self.frequency}"
        return f"irrep[{shown}]"

    @property
    def shape(self) -> tuple[int, ...]:
        n = self.group.rotations
        return (1 if self.frequency == 0 or 2 * self.frequency == n else 2,)

    def frequencies(self) -> Frequencies:
        return _irrep_frequencies(self.frequency, self.flip, self.dim)

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        angle, flip = self.group.parameters(g)
        if self.dim == 2:
            turned = self.frequency * angle
            within = turned if turned < 6.0 else math.remainder(turned, 2.0 * math.pi)
            return _O2.element(within, flip)
        value = float(round(math.cos(self.frequency * angle)))
        return np.array([[value * self.flip if flip else value]])


@functools.lru_cache(maxsize=256)
def _irrep_frequencies(m: int, flip: int, dim: int) -> Frequencies:
    no = np.zeros(dim, dtype=bool)
    if dim == 1:
        return read_only(np.eye(1), np.array([m]), no | (flip < 0), np.array([-1]), no)
    basis = np.array([[0.0, -1.0], [1.0, 0.0]])  # that of vectors: a = e_y, b = -e_x
    return read_only(basis, np.array([m, m]), np.array([False, True]), np.array([1, 0]), no)


@dataclasses.dataclass(frozen=True, repr=False)
class SphericalIrrep(Rep):
    """The real spherical harmonics of one degree. Made by ``irrep``.

    Attributes:
      degree: l; the order of the harmonics is m = -l .. l.
      parity: value +-1 of the inversion, 0 for SO(3), which has none.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> odd = sq.reps.irrep(sq.groups.o(3), "1o")
      >>> odd.dim, bool(np.allclose(odd.matrix(-np.eye(3)), -np.eye(3)))
      (3, True)
    """

    degree: int = 0
    parity: int = 0

    @property
    def formula(self) -> str:
        return f"irrep[{self.degree}{ {0: '', 1: 'e', -1: 'o'}[self.parity] }]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (2 * self.degree + 1,)

    @property
    def is_orthogonal(self) -> bool:
        return True

    def _matrix(self, g: np.ndarray) -> np.ndarray:
        turned = harmonic_rotation(self.degree, rotation_vector(g))
        return turned * self.parity if np.linalg.det(g) < 0 else turned

    def lie_matrices(self) -> np.ndarray:
        axes = rotation_axes(self.group.lie_generators)
        return np.tensordot(axes, harmonic_generators(self.degree), 1)


def irrep(group: Group, label: Any) -> Rep:
    """An irreducible representation over the real numbers, by its name.

    * C_n, SO(2): the frequency ``m = 0, 1, ..`` (up to ``n / 2``), whose matrices are rotations
      by ``m t``; 0 is trivial and ``n / 2`` the sign, both of dimension 1.
    * D_n, O(2): the same where it has two dimensions, and then the flip is ``diag(-1, 1)``; of
      dimension 1 are ``(0, 1)`` (or 0), ``(0, -1)`` and, for even n, ``(n / 2, 1)`` and
      ``(n / 2, -1)``, with the value of the left-right flip as the second number.
    * SO(3): the degree ``l = 0, 1, ..`` of real spherical harmonics, in the order m = -l .. l, so
      that ``irrep(G, 1)`` acts on ``(y, z, x)``. O(3): ``(l, 1)`` or ``(l, -1)`` with the value
      of the inversion, also written ``"2e"`` and ``"1o"``.

    Two-dimensional ``irrep(G, 1)`` of a planar group has the matrices of ``vector(G)``.

    Args:
      group: a group of the plane, SO(3) or O(3).
      label: as above.

    Returns:
      A representation that prints as ``irrep[2](SO(2))``, ``irrep[1o](O(3))``.

    Raises:
      ValueError: the group has no irreducible representation of this name, or those of the group
        have no names. No names are needed to project: a projector splits any representation
        into isotypic components itself.
      TypeError: ``group`` is no group.

    Example:
      >>> import numpy as np
      >>> from softeq_jax import groups, reps
      >>> D = reps.irrep(groups.so(3), 2)
      >>> D.dim
      5
      >>> casimir = -sum(L @ L for L in D.lie_matrices())
      >>> np.diag(casimir).round(12)  # l (l + 1)
      array([6., 6., 6., 6., 6.])
    """
    check_group(group, "irrep")
    if isinstance(group, PlanarGroup):
        return _planar(group, label)
    if isinstance(group, OrthogonalGroup) and group.n == 3:
        return _spherical(group, label)
    raise ValueError(
        f"the irreducible representations of {group} have no names here, only those of C_n, D_n, "
        "SO(2), O(2), SO(3) and O(3); projector() needs no names, it splits any representation "
        "into isotypic components itself"
    )


def _planar(group: PlanarGroup, label: Any) -> PlanarIrrep:
    n = group.rotations
    pair = _pair(label)
    m, flip = pair if pair is not None else (_whole(label), 0)
    half = n is not None and m is not None and 2 * m == n
    single = m == 0 or half
    valid = m is not None and m >= 0 and (n is None or 2 * m <= n)
    valid = valid and (pair is None or (group.has_flip and single and flip in (1, -1)))
    if m is None or not valid or (group.has_flip and half and m and not flip):
        raise ValueError(f"{group} has no irreducible representation {label!r}; {_names(group)}")
    return PlanarIrrep(group, m, (flip or 1) if group.has_flip and single else 0)


def _names(group: PlanarGroup) -> str:
    n = group.rotations
    if not group.has_flip:
        return "its names are 0, 1, 2, ..." if n is None else f"its names are 0 to {n // 2}"
    names = ["(0, 1) (or 0)", "(0, -1)"]
    if n is None:
        names.append("1, 2, ...")
    elif (n - 1) // 2:
        names.append("1" if n < 5 else f"1 to {(n - 1) // 2}")
    if n is not None and n % 2 == 0:
        names += [f"({n // 2}, 1)", f"({n // 2}, -1)"]
    return "its names are " + ", ".join(names)


def _spherical(group: OrthogonalGroup, label: Any) -> SphericalIrrep:
    if group.special:
        degree, parity = _whole(label), 0
        expected = "a degree 0, 1, 2, ..."
    else:
        written = re.fullmatch(r"(\d+)([eo])", label) if isinstance(label, str) else None
        pair = (int(written[1]), 1 if written[2] == "e" else -1) if written else _pair(label)
        degree, parity = pair if pair is not None else (None, 0)
        degree = degree if parity in (1, -1) else None
        expected = "a degree and a parity, such as (1, -1) or '1o'"
    if degree is None or parity is None or degree < 0:
        raise ValueError(
            f"{group} has no irreducible representation {label!r}; its names are {expected}"
        )
    return SphericalIrrep(group, degree, parity)


def _whole(label: Any) -> int | None:
    is_int = isinstance(label, int | np.integer) and not isinstance(label, bool)
    return int(label) if is_int else None


def _pair(label: Any) -> tuple[int | None, int | None] | None:
    if not isinstance(label, tuple | list) or len(label) != 2:
        return None
    return _whole(label[0]), _whole(label[1])


@functools.lru_cache(maxsize=64)
def harmonic_generators(l: int) -> np.ndarray:
    r"""How infinitesimal rotations about x, y and z act on real spherical harmonics of degree l.

    On functions ``(g f)(p) = f(g^-1 p)`` the rotation about axis k acts as ``-i L_k``. With

        L_z Y_m = m Y_m,    (L_x + i L_y) Y_m = sqrt(l (l + 1) - m (m + 1)) Y_{m+1}

    on the complex harmonics, the real ones are ``((-1)^m Y_m + Y_{-m}) / sqrt 2`` for m > 0
    (cosines of m phi), ``Y_0``, and ``((-1)^m Y_m - Y_{-m}) / (i sqrt 2)`` as number -m (sines).
    Their order is ``m = -l .. l``, so degree 1 is ``(y, z, x)``.

    Returns:
      float64 ``[3, 2 l + 1, 2 l + 1]``, skew, read-only.
    """
    n = 2 * l + 1
    m = np.arange(-l, l + 1)
    raising = np.diag(np.sqrt(l * (l + 1) - m[:-1] * (m[:-1] + 1.0)), -1)
    along = np.stack(
        [(raising + raising.T) / 2, (raising - raising.T) / 2j, np.diag(m).astype(complex)]
    )
    real = np.zeros((n, n), complex)  # rows: real harmonics in terms of the complex ones
    real[l, l] = 1.0
    for k in range(1, l + 1):
        sign = (-1.0) ** k
        real[l + k, [l + k, l - k]] = np.array([sign, 1.0]) / np.sqrt(2.0)
        real[l - k, [l + k, l - k]] = np.array([sign, -1.0]) / (1j * np.sqrt(2.0))
    found = (real.conj() @ (-1j * along) @ real.T).real
    found = (found - np.swapaxes(found, 1, 2)) / 2.0
    found.setflags(write=False)
    return found


def harmonic_rotation(l: int, axis_angle: np.ndarray) -> np.ndarray:
    """The matrix of a rotation on the real spherical harmonics of degree l.

    The generator about a unit axis has the eigenvalues ``-i m``, m = -l .. l, exactly; only its
    eigenvectors are computed, so that large angles cost no accuracy.

    Args:
      l: the degree.
      axis_angle: ``[3]``, the axis times the angle.

    Returns:
      float64 ``[2 l + 1, 2 l + 1]``.
    """
    angle = float(np.linalg.norm(axis_angle))
    if angle == 0.0 or l == 0:
        return np.eye(2 * l + 1)
    generator = np.tensordot(axis_angle / angle, harmonic_generators(l), 1)
    _, vectors = np.linalg.eigh(1j * generator)  # in ascending order: -l .. l
    phases = np.exp(-1j * angle * np.arange(-l, l + 1))
    return np.real((vectors * phases) @ vectors.conj().T)


def rotation_axes(generators: np.ndarray) -> np.ndarray:
    """The vectors n with ``A p = n x p`` for skew 3 x 3 matrices A; ``[k, 3]``."""
    return np.stack([generators[:, 2, 1], generators[:, 0, 2], generators[:, 1, 0]], axis=1)


def rotation_vector(g: np.ndarray) -> np.ndarray:
    """The axis times the angle of an orthogonal matrix times its determinant, ``[3]``."""
    (coordinates,) = _SO3._factor(g * np.sign(np.linalg.det(g))).tangents
    return coordinates @ rotation_axes(_SO3.lie_generators)


def harmonic_values(l: int, points: np.ndarray) -> np.ndarray:
    """The real spherical harmonics of degree l in the direction of each point (of the third axis
    at the origin), orthonormal over the sphere, in the order and with the signs of
    ``harmonic_generators``.

    Args:
      l: the degree.
      points: ``[n, 3]``.

    Returns:
      float64 ``[n, 2 l + 1]``.
    """
    from scipy.special import lpmv

    r = np.linalg.norm(points, axis=1)
    zenith = np.divide(points[:, 2], r, out=np.ones_like(r), where=r > 0.0)
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    found = np.empty((len(points), 2 * l + 1))
    for m in range(l + 1):
        quotient = math.factorial(l - m) / math.factorial(l + m)
        size = math.sqrt((2 * l + 1) / (4.0 * math.pi) * quotient * (2 if m else 1))
        values = (-1) ** m * size * lpmv(m, l, zenith)
        found[:, l - m], found[:, l + m] = (
            values * np.sin(m * azimuth),
            values * np.cos(m * azimuth),
        )
    return found
