r"""What a mask guarantees for every weight: the sup of ``||g P w - P w||`` over ``||w|| = 1``.

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
from typing import Any, NamedTuple

import numpy as np

from softeq_jax.projections._asked import Asked
from softeq_jax.projections._build import blocks, generators
from softeq_jax.projections._certificate import ROUNDING, Certificate
from softeq_jax.projections._isotypic import kronecker
from softeq_jax.projections._speed import (
    are_stable,
    growth,
    host_filters,
    is_isometric,
    operator_norm,
    stretch_rate,
)
from softeq_jax.reps import Rep

_DENSE = 512
_ELEMENTS = 2_000
_WORK = 10_000_000_000
_COVERS = "holds for every weight, relative to the norm of the unfiltered one"


class _Block(NamedTuple):
    """A combination of terms.

    Attributes:
      atoms: whose tensor product it is.
      mask: the operator P on it, ``[n, n]``.
      levels: for each level present ``(mask value, projector on it)``.
    """

    atoms: tuple[Rep, ...]
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


def certificate(projector: Any, asked: Asked, gains: list[Any]) -> Certificate:
    """The a-priori certificate of a projector; see ``Projector.certificate``."""
    kept = _kept(projector)
    if gains:
        fine = all(atom.part.is_orthogonal for atom in gains) or kept == 0.0
        whole = 2.0 * kept if fine else math.nan
        bound = whole
    else:
        dense = _dense(projector)
        whole = _over_group(projector, dense, kept)
        if asked.scope == "global":
            bound = whole
        elif asked.scope == "element":
            bound = _element(projector, dense, kept, asked.element)
        elif asked.elements is not None:
            bound = max(_element(projector, dense, kept, g) for g in asked.elements)
        else:
            bound = _within(projector, dense, kept, asked.radius)
        bound = min(bound, whole) if math.isfinite(whole) else bound
    certified = math.isfinite(bound)
    return Certificate(
        bound=bound + _margin(projector, asked, gains),
        supremum=whole + ROUNDING,
        weight_norm=1.0,
        norm="frobenius",
        certified=certified,
        reason=_COVERS if certified else _refusal(projector, asked),
        **asked.fields,
    )


def _kept(projector: Any) -> float:
    """The largest mask value above level 0."""
    sizes = np.array([*projector.known.dimensions, projector.known.infinite])
    return float(np.max((1.0 - projector.host_dropped())[1:][sizes[1:] > 0], initial=0.0))


def _margin(projector: Any, asked: Asked, gains: list[Any]) -> float:
    if gains or is_isometric(projector.space):
        return ROUNDING
    if asked.element is not None:
        return ROUNDING * (1.0 + operator_norm(projector.space, asked.element))
    radius = asked.radius or 0.0
    return ROUNDING * (1.0 + math.exp(min(radius * stretch_rate(projector.space), 700.0)))


def _refusal(projector: Any, asked: Asked) -> str:
    group = projector.space.group
    if asked.scope == "global":
        kind = "is not compact" if not group.is_compact else "does not act by orthogonal matrices"
        return f"not certified: {group} {kind}: no bound over the whole group"
    return (
        f"not certified: a block of {projector.space.describe()} is too large to be written out "
        "and the action is not orthogonal"
    )


def _dense(projector: Any) -> list[_Block] | None:
    """The distinct blocks, None if one has more than 512 dimensions."""
    dropped = projector.host_dropped()
    sizes = [*projector.known.dimensions, projector.known.infinite]
    found: dict[tuple[Rep, ...], _Block] = {}
    parts = zip(host_filters(projector), blocks(projector.space), strict=True)
    for filter_, (_, atoms) in parts:
        n = math.prod(atom.dim for atom in atoms)
        if not atoms or atoms in found:
            continue
        if n > _DENSE:
            return None
        one = np.eye(n, dtype=np.result_type(*(atom.dtype for atom in atoms)))
        levels = []
        for j in (j for j, size in enumerate(sizes) if size):
            part = filter_.removed(one, np.eye(len(sizes))[j])
            if np.trace(part).real > 0.5:
                levels.append((1.0 - float(dropped[j]), part))
        found[atoms] = _Block(atoms, one - filter_.removed(one, dropped), tuple(levels))
    return list(found.values())


def _norm(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix, 2))


def _element(projector: Any, dense: list[_Block] | None, kept: float, g: np.ndarray) -> float:
    if dense is not None:
        return max((_norm(block.operator(g) @ block.mask) for block in dense), default=0.0)
    space = projector.space
    if not is_isometric(space):
        return kept * (1.0 + operator_norm(space, g))
    if space.group.is_finite or not are_stable(projector):
        return 2.0 * kept
    factored = space.group.factor(g)
    if factored.word:
        return 2.0 * kept
    return _by_levels(projector, math.fsum(float(np.linalg.norm(t)) for t in factored.tangents))


def _by_levels(projector: Any, radius: float) -> float:
    sizes = np.array([*projector.known.dimensions, projector.known.infinite])
    sigma = np.array([*projector.known.values, math.inf])
    reach = np.where(np.isinf(sigma), 2.0, np.minimum(2.0, radius * np.minimum(sigma, 1e300)))
    return float(np.max(((1.0 - projector.host_dropped()) * reach)[sizes > 0], initial=0.0))


def _within(projector: Any, dense: list[_Block] | None, kept: float, radius: float) -> float:
    space = projector.space
    stable = are_stable(projector)
    if not is_isometric(space):
        factor = radius * growth(radius * stretch_rate(space))
        if dense is None:
            known = stable and projector.known.complete
            values = np.array(projector.known.values) * (1.0 - projector.host_dropped()[:-1])
            bound = factor * float(values.max()) if known else math.nan
        else:
            bound = factor * max(map(_masked_speed, dense), default=0.0)
        return 0.0 if kept == 0.0 else bound if math.isfinite(bound) else math.nan
    if dense is None:
        return _by_levels(projector, radius) if stable else 2.0 * kept
    if not stable:
        return min(2.0 * kept, radius * max(map(_masked_speed, dense), default=0.0))
    found = 0.0
    for block in dense:
        casimir = block.casimir()
        for factor, part in block.levels:
            rate = math.sqrt(max(_norm(part @ casimir @ part), 0.0))
            found = max(found, factor * min(2.0, radius * rate))
    return found


def _masked_speed(block: _Block) -> float:
    inside = block.mask.conj().T @ block.casimir() @ block.mask
    return math.sqrt(max(_norm(inside), 0.0))


def _over_group(projector: Any, dense: list[_Block] | None, kept: float) -> float:
    group = projector.space.group
    if group.is_finite and group.order <= _ELEMENTS and dense is not None:
        work = group.order * sum(len(block.mask) ** 3 for block in dense)
        if work <= _WORK:
            return max(_element(projector, dense, kept, g) for g in group.elements())
    return 2.0 * kept if is_isometric(projector.space) else math.nan
