r"""The representation that a feature map carries by itself, fitted, with a check of its group law.

Nobody tells how a group acts on the channels of a trained network. If it does, there is an
orthogonal ``rho(g)`` for every element with ``F(g x) = rho(g) F(x)`` (positions, where there are
any, carried along), and these matrices multiply as the elements do. Both are measured:

    rho(g) = argmin_(R orthogonal) E || F(g x) - R F(x) ||^2     (Procrustes, by singular values)
    law(g, h) = || rho(g) rho(h) - rho(g h) ||_F / sqrt(2 k)

in the k leading principal directions of the features of all ``g x``, outside of which nothing
could be fitted. Random orthogonal matrices have a law of 1. What is left unexplained is told on
held-out images, beside that of the identity, and of fits to the features of other images, whose
law is the control. The traces ``chi(g) = tr rho(g)`` tell the type of the field.

The linear counterpart, without group law, is ``fitted_map_score`` (Lenc & Vedaldi, 2015);
Procrustes after Schönemann (1966).
"""

import dataclasses
import itertools
import math
from typing import Unpack

import numpy as np

from softeq_jax._checks import share
from softeq_jax._text import brief
from softeq_jax.groups import Group
from softeq_jax.measures._statistics import Estimate
from softeq_jax.measures.base._functions import Array
from softeq_jax.measures.features._evaluation import Evaluation, FeatureOptions, evaluation, pairs
from softeq_jax.measures.features._fitted import KINDS, formed, parts_of, training_sums
from softeq_jax.measures.features._moments import Moments
from softeq_jax.measures.features._taps import Features
from softeq_jax.measures.finite._families import group_transforms
from softeq_jax.reps import Rep

_ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True)
class FittedRepresentation:
    """The matrices of one feature; G elements, p entries of a row, k directions.

    The estimates are over all elements but the identity and all held-out images, as
    ``sum |y - prediction|^2 / sum |y - mean of the training y|^2``; ``per_transform`` tells the
    elements apart.

    Attributes:
      name: of the feature.
      group: the group.
      basis: float64 ``[p, k]``, orthonormal: the principal directions.
      matrices: float64 ``[G, k, k]``, ``rho(g)`` in this basis in the order of
        ``group.elements()``: ``basis.T @ F(g x) = rho(g) @ basis.T @ F(x)``.
      fitted: left unexplained by rho.
      identity: by the input itself: 0 for an invariant feature.
      control: by matrices fitted, and applied, to the features of other images.
      law: float64 ``[G, G]``, the defect of ``rho(g) rho(h) = rho(g h)``.
      law_control: that of the control.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype("float32")
      >>> C2, layouts = sq.groups.cyclic(2), {"*": "image"}
      >>> found = sq.measures.fitted_representation(lambda x: {"x": x}, x, C2, layouts=layouts)
      >>> found["x"].matrices.shape, round(found["x"].fitted.value, 4)
      ((2, 2, 2), 0.0)
    """

    name: str
    group: Group
    basis: np.ndarray
    matrices: np.ndarray
    fitted: Estimate
    identity: Estimate
    control: Estimate
    law: np.ndarray
    law_control: np.ndarray

    __repr__ = brief

    @property
    def law_defect(self) -> float:
        """Root mean square of the law over pairs without the identity; NaN of a zero feature."""
        return _summary(self.law, self._others)

    @property
    def law_defect_control(self) -> float:
        """The same of the control."""
        return _summary(self.law_control, self._others)

    @property
    def order_defects(self) -> np.ndarray:
        """``||rho(g)^m - 1||_F / sqrt(2 k)`` with the order m of g, float64 ``[G]``; for a rotation
        by ``2 pi / n`` it is n turns."""
        table, one = _products(self.group), self.group.index(np.eye(self.group.d))
        k, found = self.basis.shape[1], []
        for i, matrix in enumerate(self.matrices):
            power, order = i, 1
            while power != one:
                power, order = int(table[power, i]), order + 1
            found.append(_distance(np.linalg.matrix_power(matrix, order), np.eye(k)))
        return np.array(found)

    @property
    def characters(self) -> np.ndarray:
        """``tr rho(g)``, float64 ``[G]``."""
        return np.trace(self.matrices, axis1=1, axis2=2)

    def multiplicity(self, rep: Rep) -> float:
        """How often a real irreducible representation occurs: ``<chi, chi_rho> / <chi, chi>``.

        Raises:
          ValueError: it is of another group.
        """
        if rep.group != self.group:
            raise ValueError(f"{rep} is no representation of {self.group}")
        wanted = np.array([np.trace(rep.matrix(g)) for g in self.group.elements()])
        return float(wanted @ self.characters / (wanted @ wanted))

    @property
    def _others(self) -> np.ndarray:
        one = self.group.index(np.eye(self.group.d))
        return np.delete(np.arange(len(self.matrices)), one)


def fitted_representation(
    features: Features,
    images: Array,
    group: Group,
    *,
    kind: str = "channels",
    transport: bool = True,
    energy: float = 0.999,
    split: float | tuple[Array, Array] = 0.5,
    **options: Unpack[FeatureOptions],
) -> dict[str, FittedRepresentation]:
    """An orthogonal matrix for every element of a finite group, and how well they multiply.

    Costs three forward passes for each element; sums are merged in double precision on the host.

    Args:
      features: images to ``{name: array}``.
      images: ``[n, h, w, c]``.
      group: finite, of the plane: ``groups.cyclic(n)`` for rotations by ``2 pi / n`` (bilinear
        but for quarter turns: mask the corners), ``groups.dihedral(n)``.
      kind: see ``fitted_map_score``.
      transport: see ``fitted_map_score``.
      energy: share of the sum of squares that the principal directions hold, in (0, 1].
      split: see ``fitted_map_score``.
      **options: see ``FeatureOptions``; the key shuffles the images before they are split.

    Returns:
      Name to fitted representation, in the order of depth.

    Raises:
      TypeError: see ``fitted_map_score``.
      ValueError: see ``fitted_map_score``; an infinite or trivial group, a share out of range, or
        fewer training rows than directions.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype("float32")
      >>> C2, layouts = sq.groups.cyclic(2), {"*": "image"}
      >>> found = sq.measures.fitted_representation(lambda x: {"x": x}, x, C2, layouts=layouts)
      >>> bool(np.allclose(found["x"].matrices[1], np.eye(2)))  # the half turn moves no channel
      True
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of map is called {kind!r}, choose from {list(KINDS)}")
    if not share(energy, "energy"):
        raise ValueError(f"energy must be above 0, got {energy!r}")
    if not group.is_finite or group.order == 1:
        raise ValueError(f"the group law is checked on all elements of a finite group, got {group}")
    moves = group_transforms(group)
    job = evaluation(features, images, moves, options, "fitted_representation")
    train, test, partners = parts_of(len(images), split, job.key)
    each = [job._replace(transforms=(move,)) for move in job.transforms]

    def rows(one: Evaluation, index: np.ndarray):
        for batch in pairs(one, index, partners, transport):
            yield {name: formed(name, value, kind) for name, value in batch.items()}

    sums = [training_sums(rows(one, train)) for one in each]
    bases = {name: _basis([s[name][0] for s in sums], energy, name) for name in sums[0]}
    fits = {
        name: [np.stack([_procrustes(s[name][i], basis) for s in sums]) for i in (0, 1)]
        for name, basis in bases.items()
    }
    one = group.index(np.eye(group.d))
    left: dict[str, list[list[np.ndarray]]] = {name: [] for name in bases}
    for g in (i for i in range(len(each)) if i != one):
        pieces: dict[str, list[np.ndarray]] = {name: [] for name in bases}
        for batch, name in itertools.product(rows(each[g], test), bases):
            value, basis = batch[name], bases[name]
            own, other = (basis @ fit[g].T @ basis.T for fit in fits[name])
            mean = sums[g][name][0].y
            predictions = value.carried @ own, value.carried, value.other @ other, mean
            errors = [((value.moved - p) ** 2).sum(axis=(1, 2)) for p in predictions]
            pieces[name].append(np.stack(errors))
        for name, parts in pieces.items():
            left[name].append(list(np.concatenate(parts, axis=1)))
    names = tuple(move.name for i, move in enumerate(moves) if i != one)
    result = {}
    for name, basis in bases.items():
        *residuals, total = np.array(left[name]).transpose(1, 0, 2)
        estimates = {
            which: Estimate(which, part, total, names)
            for which, part in zip(("fitted", "identity", "control"), residuals, strict=True)
        }
        own, other = fits[name]
        result[name] = FittedRepresentation(
            name,
            group,
            basis,
            own,
            **estimates,
            law=_law(group, own),
            law_control=_law(group, other),
        )
    return result


def _basis(sums: list[Moments], energy: float, name: str) -> np.ndarray:
    """``[p, k]``: the leading directions of the features under all elements together."""
    total = sum(m.yy + m.count * np.outer(m.y, m.y) for m in sums)
    values, vectors = np.linalg.eigh(total)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    if values[0] == 0:
        return np.zeros((len(values), 0))
    solid = values > _ROUNDING * values[0]
    before = (np.cumsum(values) - values) / values.sum()
    k = int((solid & (before < energy - _ROUNDING)).sum())
    if sums[0].count < k:
        raise ValueError(
            f"feature {name!r}: {sums[0].count} training rows do not determine a matrix in {k} "
            f"directions: give more images, a coarser kind, or a lower energy"
        )
    return vectors[:, :k]


def _procrustes(m: Moments, basis: np.ndarray) -> np.ndarray:
    """``[k, k]``, the orthogonal R with the least ``sum |y - R x|^2`` in the basis."""
    cross = m.xy + m.count * np.outer(m.x, m.y)
    u, _, v = np.linalg.svd(basis.T @ cross @ basis)
    return (u @ v).T


def _products(group: Group) -> np.ndarray:
    """int ``[G, G]``, the position of g h in ``group.elements()``."""
    elements = np.asarray(group.elements())
    return np.array([[group.index(g @ h) for h in elements] for g in elements])


def _law(group: Group, matrices: np.ndarray) -> np.ndarray:
    products = _products(group)
    return np.array(
        [
            [_distance(a @ b, matrices[products[i, j]]) for j, b in enumerate(matrices)]
            for i, a in enumerate(matrices)
        ]
    )


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b)) / math.sqrt(2 * len(a)) if len(a) else math.nan


def _summary(law: np.ndarray, others: np.ndarray) -> float:
    return float(np.sqrt(np.mean(law[np.ix_(others, others)] ** 2)))
