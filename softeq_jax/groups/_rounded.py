"""Rounded generators of discrete groups: the nearest ones that generate a group, and how far.

A matrix that was written to a file with six decimals, or computed in float32, generates another
group than the one that was meant: a rotation by 120 degrees is no longer of order 3, and what the
group fixes is gone. There is one tolerance for all questions of that kind (orthogonal? of finite
order? equal?): a few units of the format that the entries were rounded to.
"""

import warnings
from typing import NamedTuple

import numpy as np

from softeq_jax.groups._group import LISTABLE
from softeq_jax.groups._listing import Matrices, are_unitary, explore, explored
from softeq_jax.groups._logarithms import nearest_unitary

NEGLIGIBLE = 1e-12  # a move of the last digits
QUIET = 1e-6
"""The largest move of a rounded generator that is made without a word: single precision."""
LARGEST = 1e-3  # a move that is made at all, with a warning: half precision, three decimals
DOUBTFUL = 0.03  # a distance up to which a matrix is taken for one that was rounded too much
_EXACT = 1e-12  # of entries in double precision
_UNITS = 8.0  # how many units of the last place an entry may be off
_FINE, _FEW = 3e-3, 1500  # where elements are told apart less sharply, few are told apart
COINCIDENCE = 0.04  # n^2 times the error of an angle that is called a multiple of 2 pi / n


class Rounded(NamedTuple):
    """Generators that were moved to the nearest ones of a group.

    Attributes:
      generators: ``[m, d, d]``.
      deviation: the largest change of an entry, in units of the largest entry if that exceeds 1.
      tolerance: up to which numbers that come from the given entries count as equal.
      finite: whether the group they generate was listed.
    """

    generators: np.ndarray
    deviation: float
    tolerance: float
    finite: bool

    @property
    def is_rounded(self) -> bool:
        """Whether the given matrices are less than double precision."""
        return self.tolerance > _UNITS * _EXACT


def resolution(values: np.ndarray) -> float:
    """The rounding error of the coarsest format that holds all entries to the bit: half and single
    precision, 3 to 12 decimals, else double precision. Numbers of two decimals and multiples of
    1/64 are taken to be meant.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> sq.groups.resolution(np.array([0.866])), sq.groups.resolution(np.array([1 / 3])) < 1e-15
      (0.0005, True)
    """
    x = np.concatenate([np.real(values).reshape(-1), np.imag(values).reshape(-1)])
    size = float(np.abs(x).max(initial=0.0))
    meant = np.array_equal(x, np.round(x, 2)) or np.array_equal(64.0 * x, np.round(64.0 * x))
    if meant:
        return size * 2.0**-53
    with np.errstate(over="ignore"):
        half, single = x.astype(np.float16), x.astype(np.float32)
    held = [size * 2.0**-12] * np.array_equal(x, half.astype(np.float64))
    held += [size * 2.0**-25] * np.array_equal(x, single.astype(np.float64))
    held += [0.5 * 10.0**-k for k in range(3, 13) if np.array_equal(x, np.round(x, k))]
    return max(held, default=size * 2.0**-53)


def tolerance_of(unit: float) -> float:
    """Up to which numbers count as equal that come from entries with this rounding error.

    Example:
      >>> import softeq_jax as sq
      >>> bool(sq.groups.tolerance_of(1e-3) > sq.groups.tolerance_of(1e-9))
      True
    """
    return min(_UNITS * unit, 4.0 * LARGEST)


def nearest(name: str, given: np.ndarray, exact: bool = False) -> Rounded:
    """The nearest generators of a group: orthogonal, of finite order, or as they are.

    Orthogonal (unitary) matrices are replaced by their polar factors; those of determinant +-1 are
    scaled to it. If the group is then finite, up to the tolerance, an average over its elements

    .. math:: s' = \\frac{1}{|G|} \\sum_g \\rho(g)^{-1} \\rho(g s)

    is taken until the relations hold: the error is squared each time (Grove, Karcher, Ruh). Clean
    double precision is left as it is, to the bit.

    Args:
      name: of the group, for messages.
      given: ``[m, d, d]``, invertible.
      exact: whether they are meant as they are: nothing is moved.

    Raises:
      ValueError: a matrix is too far from an orthogonal one for rounding, and too near for chance.
    """
    if exact:
        finite = _finite(given, _UNITS * _EXACT)
        return Rounded(given, 0.0, _UNITS * _EXACT, finite is given)
    defects = np.array([_orthogonality_defect(g) for g in given])
    _refuse_doubtful(name, defects)
    tolerance = _tolerance(given, defects)
    moved = np.array([_normalized(g, tolerance) for g in given]).reshape(given.shape)
    moved = _integral(moved, tolerance)
    if len(moved) and np.all((moved == 0) | (moved == 1)) and np.all(moved.sum(axis=2) == 1):
        return Rounded(moved, deviation_of(moved, given), tolerance, True)
    polished = _finite(moved, tolerance)
    generators = moved if polished is None else polished
    if polished is None and tolerance <= _UNITS * _EXACT:
        _tell_near_orders(name, generators)
    deviation = deviation_of(generators, given)
    return Rounded(generators, deviation, tolerance, polished is not None)


def _tell_near_orders(name: str, generators: np.ndarray) -> None:
    """Warns of clean matrices of infinite order that are very near to one of finite order, as a
    rotation by an angle of a few digits is."""
    for i, g in enumerate(generators):
        if _orthogonality_defect(g) <= _EXACT and order_of(g) is None:
            order = order_of(g, LARGEST, coincidence=1e-3)
            if order is not None and order > 1:
                warnings.warn(
                    f"discrete[{i}] of {name} is nearly of order {order}, but is not rounded: its "
                    "angles are; it is taken as it is, of infinite order. Compute its entries from "
                    "exact angles if the finite group is meant",
                    stacklevel=4,
                )


def tell(name: str, deviation: float, unknown_order: bool = False) -> None:
    """Warns of generators that were moved by more than single precision, or whose group is not
    known to be finite though they were rounded."""
    if unknown_order:
        warnings.warn(
            f"{name} is not known to be finite: its generators are rounded (to about "
            f"{deviation:.2g}), and no finite group is that near to them; give them in double "
            "precision, or exact=True if they are meant as they are",
            stacklevel=3,
        )
    elif deviation > QUIET:
        warnings.warn(
            f"the generators of {name} are rounded: they were moved by up to {deviation:.2g} to "
            "the nearest ones that generate a group of the kind; exact=True takes them as they are",
            stacklevel=3,
        )


def deviation_of(found: np.ndarray, given: np.ndarray) -> float:
    """Largest difference of an entry, in units of the largest entry if that exceeds 1.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> sq.groups.deviation_of(np.array([4.0, 1.5]), np.array([4.0, 1.0]))
      0.125
    """
    scale = max(1.0, float(np.abs(given).max(initial=0.0)))
    return float(np.abs(found - given).max(initial=0.0)) / scale


def order_of(
    g: np.ndarray, tolerance: float = 1e-11, coincidence: float = COINCIDENCE
) -> int | None:
    """The least n up to 50 000 with ``g^n = 1`` as far as entries within a tolerance tell.

    ``|n theta - 2 pi k| <= n tolerance`` for all eigenvalues ``e^(i theta)``, and so much less that
    it is no coincidence: among all fractions k / n some are within 1 / n^2 of any angle.
    """
    values, vectors = np.linalg.eig(g)
    slack = tolerance * min(float(np.linalg.cond(vectors)), 100.0)
    if np.abs(np.abs(values) - 1.0).max() > slack:
        return None
    angles, step = np.angle(values), 1000
    for start in range(1, LISTABLE + 1, step):
        n = np.arange(start, start + step)[:, None]
        off = np.abs(np.angle(np.exp(1j * n * angles))).max(axis=1)
        fits = (off <= n[:, 0] * slack) & (off * n[:, 0] <= coincidence)
        if fits.any():
            order = start + int(np.argmax(fits))
            power = np.linalg.matrix_power(g, order)
            near = np.abs(power - np.eye(len(g))).max() <= max(1e-6, 100.0 * order * slack)
            return order if near else None  # a shear has the eigenvalues of the identity
    return None


def homomorphism(
    parents: tuple[np.ndarray, np.ndarray], step: np.ndarray, images: np.ndarray
) -> np.ndarray | None:
    """Images of generators of a listed group, moved until its relations hold to rounding.

    Args:
      parents: element ``i`` is ``parents[0][i]`` times generator ``parents[1][i]``, each parent
        before its children; the identity, the first element, has none.
      step: int ``[order, m]``, which element element ``i`` times generator ``k`` is.
      images: of the generators, ``[m, n, n]``, nearly a representation.

    Returns:
      ``[m, n, n]``, the same array if they hold already; None if there is no representation near.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> words = sq.groups.cyclic(2).words()
      >>> step = np.array([[1], [0]])  # the generator undoes itself
      >>> nearly = np.array([[[-1.001]]])
      >>> sq.groups.homomorphism((words.parent, words.generator), step, nearly)
      array([[[-1.]]])
    """
    unitary = are_unitary(images)
    for _ in range(9):
        table = _products(parents, images)
        targets = [table[step[:, k]] for k in range(len(images))]
        scale = max(1.0, float(np.abs(table).max()))
        off = max(
            float(np.abs(table @ h - target).max())
            for h, target in zip(images, targets, strict=True)
        )
        if off <= 1e-14 * scale * (100 + 2 * len(table) ** 0.5):
            return images
        if not off <= 0.5 * scale:
            return None
        inverse = np.swapaxes(table.conj(), 1, 2) if unitary else np.linalg.inv(table)
        images = np.array([np.mean(inverse @ target, axis=0) for target in targets])
        if unitary:
            images = np.array([nearest_unitary(h) for h in images])
    return None


def _products(parents: tuple[np.ndarray, np.ndarray], images: np.ndarray) -> np.ndarray:
    """The products along the words, generation by generation."""
    parent, letter = parents
    table = np.empty((len(parent), *images.shape[1:]), images.dtype)
    table[0] = np.eye(images.shape[1])
    depth = np.zeros(len(parent), int)
    for i in range(1, len(parent)):
        depth[i] = depth[parent[i]] + 1
    for level in range(1, int(depth.max(initial=0)) + 1):
        at = np.flatnonzero(depth == level)
        table[at] = table[parent[at]] @ images[letter[at]]
    return table


def _finite(moved: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Generators of the finite group that some matrices generate up to a tolerance, or None."""
    if any(order_of(g, tolerance) is None for g in moved):
        return None
    if tolerance <= _UNITS * _EXACT:
        found = explored(Matrices(moved))
    else:
        same = 2.0 * tolerance**0.5
        found = explore(moved, same, LISTABLE if same <= _FINE else _FEW)
    if found is None:
        return None
    parents, step = found.parents, found.step
    if any(len(np.unique(step[:, k])) < len(step) for k in range(step.shape[1])):
        return None
    polished = homomorphism(parents, step, moved) if len(moved) else moved
    if polished is None or deviation_of(polished, moved) > 2.0 * tolerance:
        return None
    return polished


def _orthogonality_defect(g: np.ndarray) -> float:
    return float(np.abs(g.conj().T @ g - np.eye(len(g))).max())


def _refuse_doubtful(name: str, defects: np.ndarray) -> None:
    for i, defect in enumerate(defects):
        if 2.0 * LARGEST < defect <= DOUBTFUL:
            raise ValueError(
                f"discrete[{i}] of {name} is orthogonal to {defect:.2g} only: more than rounding "
                f"({LARGEST:g}), and too little to be meant; give more digits, or exact=True if it "
                "is meant as it is"
            )


def _tolerance(given: np.ndarray, defects: np.ndarray) -> float:
    near = defects <= 2.0 * LARGEST
    if near.all() and defects.max(initial=0.0) <= _EXACT:
        return _UNITS * _EXACT
    values, vectors = np.linalg.eig(given)
    moduli = np.abs(np.abs(values) - 1.0)[np.linalg.cond(vectors) < 100.0]  # no shears
    unit = max(resolution(given), *defects[near], *moduli[moduli <= LARGEST], _EXACT)
    return tolerance_of(unit)


def _normalized(g: np.ndarray, tolerance: float) -> np.ndarray:
    """The polar factor of what is nearly orthogonal, and determinant +-1 where it is nearly that;
    the matrix itself where that changes nothing but the last digits."""
    if _orthogonality_defect(g) <= 2.0 * LARGEST:
        found = nearest_unitary(g)
    else:
        size = abs(np.linalg.det(g))
        near = abs(size - 1.0) <= tolerance * len(g) * max(1.0, float(np.abs(g).max()))
        found = g / size ** (1.0 / len(g)) if near else g
    return g if np.abs(found - g).max() <= 1e-15 * max(1.0, np.abs(g).max()) else found


def _integral(generators: np.ndarray, tolerance: float) -> np.ndarray:
    """Signed permutations without dust, if all of them are near to some."""
    whole = np.rint(np.real(generators)).astype(generators.dtype)
    near = np.abs(generators - whole).max(initial=0.0) <= tolerance
    signed = all(_orthogonality_defect(g) == 0.0 for g in whole)
    return whole if near and signed else generators
