r"""A-priori certificates: the sup of ``||g P w - P w||`` over all weights with ``||w|| = 1``.

The operator ``(g - 1) P`` is block diagonal, one block for each combination of the terms of the
axes. Blocks up to dimension 512 are written out and their norms computed. For larger ones, with
orthogonal actions, levels ``sigma_j`` and mask values ``f_j``,

.. math::
   \|(e^B - 1) P\| \le \max_{j > 0} f_j \min(2, |t| \sigma_j), \qquad
   \|(g - 1) P\| \le 2 \max_{j > 0} f_j ,

because ``||B w_j||^2 <= |t|^2 <w_j, L^* L w_j> <= |t|^2 sigma_j^2 ||w_j||^2`` and level 0 is
fixed. On a level where a connected group acts, the second one is attained: some element has the
eigenvalue -1 there. ``||w||`` is that of the *unfiltered* weight.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from softeq_jax.projections._certificate import ROUNDING, Certificate
from softeq_jax.projections._choose import Splitting
from softeq_jax.projections.backends import Atoms, generators, kronecker
from softeq_jax.projections.movement._general import ELEMENTS, gains_of
from softeq_jax.projections.movement._question import Inquiry
from softeq_jax.projections.movement._speeds import (
    are_stable,
    growth,
    is_isometric,
    operator_norm,
    stretch_rate,
)

_DENSE = 512
_WORK = 10_000_000_000
_COVERS = "holds for every weight, relative to the norm of the unfiltered one"


class _DenseBlock(NamedTuple):
    """A combination of terms.

    Attributes:
      atoms: whose tensor product it is.
      mask: the operator P on it, ``[n, n]``.
      levels: for each level present ``(mask value, projector on it)``.
    """

    atoms: Atoms
    mask: np.ndarray
    levels: tuple[tuple[float, np.ndarray], ...]

    def operator(self, g: np.ndarray) -> np.ndarray:
        """``g - 1``."""
        each = [atom.matrix(g) for atom in self.atoms]
        return functools.reduce(np.kron, each) - np.eye(len(self.mask))

    def casimir(self) -> np.ndarray:
        """``sum_k A_k^* A_k``."""
        lie = kronecker([generators(atom) for atom in self.atoms]).lie
        return np.einsum("kab,kac->bc", lie.conj(), lie)


def certificate(parts: Splitting, dropped: np.ndarray, inquiry: Inquiry) -> Certificate:
    """What a projector guarantees before any weight is seen.

    Args:
      parts: its splitting.
      dropped: one minus its mask on each level.
      inquiry: about which group elements.
    """
    gains = gains_of(parts.space)
    masked = _Masked.of(parts, 1.0 - dropped, written_out=not gains)
    if gains:
        fine = all(atom.part.is_orthogonal for atom in gains) or masked.kept == 0.0
        bound = whole = 2.0 * masked.kept if fine else math.nan
    else:
        whole = masked.over_group()
        if inquiry.scope == "global":
            bound = whole
        elif inquiry.element is not None:
            bound = masked.under(inquiry.element)
        elif inquiry.elements is not None:
            bound = max(map(masked.under, inquiry.elements))
        elif not len(parts.space.group.lie_generators):
            bound = whole  # there are too many elements within the angle to be listed
        else:
            bound = masked.within(inquiry.radius or 0.0)
        bound = min(bound, whole) if math.isfinite(whole) else bound
    certified = math.isfinite(bound)
    margin = ROUNDING if gains else _margin(parts, inquiry)
    return Certificate(
        bound=bound + margin,
        supremum=whole + ROUNDING,
        weight_norm=1.0,
        norm="frobenius",
        certified=certified,
        reason=_COVERS if certified else _refusal(parts, inquiry),
        **inquiry.fields,
    )


def _margin(parts: Splitting, inquiry: Inquiry) -> float:
    if is_isometric(parts.space):
        return ROUNDING
    if inquiry.element is not None:
        return ROUNDING * (1.0 + operator_norm(parts.space, inquiry.element))
    radius = inquiry.radius or 0.0
    return ROUNDING * (1.0 + math.exp(min(radius * stretch_rate(parts.space), 700.0)))


def _refusal(parts: Splitting, inquiry: Inquiry) -> str:
    group = parts.space.group
    if inquiry.scope == "global":
        kind = "is not compact" if not group.is_compact else "does not act by orthogonal matrices"
        return f"not certified: {group} {kind}: no bound over the whole group"
    return (
        f"not certified: a block of {parts.space.describe()} is too large to be written out "
        "and the action is not orthogonal"
    )


class _Masked(NamedTuple):
    """A splitting under a mask.

    Attributes:
      parts: the splitting.
      mask: float64 ``[levels + 1]``.
      kept: the largest mask value above level 0.
      dense: the distinct blocks, None if one has more than 512 dimensions.
    """

    parts: Splitting
    mask: np.ndarray
    kept: float
    dense: list[_DenseBlock] | None

    @classmethod
    def of(cls, parts: Splitting, mask: np.ndarray, written_out: bool) -> "_Masked":
        kept = float(np.max(mask[1:][parts.levels.sizes[1:] > 0], initial=0.0))
        return cls(parts, mask, kept, _dense(parts, mask) if written_out else None)

    def under(self, g: np.ndarray) -> float:
        """A bound for one element."""
        if self.dense is not None:
            return max((_norm(b.operator(g) @ b.mask) for b in self.dense), default=0.0)
        space = self.parts.space
        if not is_isometric(space):
            return self.kept * (1.0 + operator_norm(space, g))
        if space.group.is_finite or not are_stable(self.parts):
            return 2.0 * self.kept
        factored = space.group.factor(g)
        if factored.word:
            return 2.0 * self.kept
        return self._by_levels(math.fsum(float(np.linalg.norm(t)) for t in factored.tangents))

    def within(self, radius: float) -> float:
        """A bound over ``|t| <= radius``."""
        space, stable = self.parts.space, are_stable(self.parts)
        if not is_isometric(space):
            return self._stretched(radius * growth(radius * stretch_rate(space)))
        if self.dense is None:
            return self._by_levels(radius) if stable else 2.0 * self.kept
        if not stable:
            return min(2.0 * self.kept, radius * self._fastest())
        found = 0.0
        for block in self.dense:
            casimir = block.casimir()
            for factor, part in block.levels:
                rate = math.sqrt(max(_norm(part @ casimir @ part), 0.0))
                found = max(found, factor * min(2.0, radius * rate))
        return found

    def over_group(self) -> float:
        """A bound over the whole group; NaN where there is none."""
        group = self.parts.space.group
        if group.order is not None and group.order <= ELEMENTS and self.dense is not None:
            work = group.order * sum(len(block.mask) ** 3 for block in self.dense)
            if work <= _WORK:
                return max(map(self.under, group.listed()))
        return 2.0 * self.kept if is_isometric(self.parts.space) else math.nan

    def _by_levels(self, radius: float) -> float:
        sigma = np.array([*self.parts.levels.values, math.inf])
        reach = np.where(np.isinf(sigma), 2.0, np.minimum(2.0, radius * np.minimum(sigma, 1e300)))
        return float(np.max((self.mask * reach)[self.parts.levels.sizes > 0], initial=0.0))

    def _stretched(self, factor: float) -> float:
        """As ``within`` for actions that are not orthogonal; NaN where there is no bound."""
        if self.kept == 0.0:
            return 0.0
        if self.dense is not None:
            bound = factor * self._fastest()
        elif are_stable(self.parts) and self.parts.levels.complete:
            bound = factor * float(np.max(np.array(self.parts.levels.values) * self.mask[:-1]))
        else:
            return math.nan
        return bound if math.isfinite(bound) else math.nan

    def _fastest(self) -> float:
        return max(map(_masked_speed, self.dense or []), default=0.0)


def _dense(parts: Splitting, mask: np.ndarray) -> list[_DenseBlock] | None:
    """The distinct blocks, None if one has more than 512 dimensions."""
    sizes = parts.levels.sizes
    found: dict[Atoms, _DenseBlock] = {}
    for filter_, (_, atoms) in zip(parts.filters, parts.space.blocks(), strict=True):
        n = math.prod(atom.dim for atom in atoms)
        if not atoms or atoms in found:
            continue
        if n > _DENSE:
            return None
        one = np.eye(n, dtype=np.result_type(*(atom.dtype for atom in atoms)))
        levels = []
        for j in np.flatnonzero(sizes):
            part = np.asarray(filter_.removed(one, np.eye(len(sizes))[j]))
            if np.trace(part).real > 0.5:
                levels.append((float(mask[j]), part))
        kept = one - np.asarray(filter_.removed(one, 1.0 - mask))
        found[atoms] = _DenseBlock(atoms, kept, tuple(levels))
    return list(found.values())


def _norm(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix, 2))


def _masked_speed(block: _DenseBlock) -> float:
    inside = block.mask.conj().T @ block.casimir() @ block.mask
    return math.sqrt(max(_norm(inside), 0.0))
