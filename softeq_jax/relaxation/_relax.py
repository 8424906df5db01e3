r"""Relaxed weights, between strict and free, and the projection at the end.

The same functions have two parametrizations, with different optimizer paths. With raw gradient g
of the loss in the network's weights v, one step of gradient descent at rate eta moves v by

* one weight, ``v = P w + theta N w`` :math:`= (1 - \theta) P w + \theta w`: the gradient in w is
  :math:`(P + \theta N) g` and v moves by :math:`-\eta (P + \theta^2 N) g`. Half the memory. At
  theta = 0 the stored N w is frozen, not zero: it returns if theta rises, and Adam keeps moving
  it unless masked (``freeze_residual``): by its moments, and because scaling entry by entry
  turns an equivariant gradient into a step that is not.
* two branches, ``v = P W_e + theta B``: the gradients are :math:`P g` and :math:`\theta g` and v
  moves by :math:`-\eta (P + \theta^2) g`, on the equivariant part the faster by
  :math:`1 + \theta^2`. At theta = 0 the whole of B is frozen, in the same sense.

Either way end with ``finish``, which also zeroes what is stored.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import coefficient, is_traced, is_zero, share
from softeq_jax.projections import Plan
from softeq_jax.regularizers import Per
from softeq_jax.relaxation import _trees
from softeq_jax.relaxation._trees import Array, Branches, Tree


def relax(plan: Plan, params: Tree | Branches, theta: float | Array, *, per: Per = "layer") -> Tree:
    """``P w + theta N w`` for every planned parameter; ``P W_e + theta B`` for two branches.

    Works under any transformation, with the plan as an argument. A theta that is concretely 0
    leaves the other branch out of the computation.

    Args:
      plan: the plan; hard masks (a level above 0 relaxes what is above that level).
      params: the parameters the plan was built for, or two branches of them.
      theta: in [0, 1], a scalar, or ``[len(factor_names(plan, per))]``. Traced values are not
        checked.
      per: which parameters share a theta, see ``factor_names``.

    Returns:
      Weights for the network, a tree like the parameters with their shapes and dtypes.

    Raises:
      ValueError: theta outside [0, 1] or of a wrong shape; a plan built for other parameters; a
        smooth mask; a free branch that does not fit (names the path).
      TypeError: ``plan`` is no Plan.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> params = {"kernel": np.diag([1.0, 2.0, 6.0])}
      >>> plan = sq.plan(params, {"kernel": sq.projector("i o", {"i": V, "o": V})})
      >>> for theta in (1.0, 0.5, 0.0):
      ...     print(np.diag(sq.relaxation.relax(plan, params, theta)["kernel"]))
      [1. 2. 6.]
      [2.  2.5 4.5]
      [3. 3. 3.]
    """
    share(theta, "theta")
    return mixed(plan, params, theta, per)


def mixed(plan: Plan, params: Tree | Branches, theta: float | Array, per: Per) -> Tree:
    """``relax`` for any real theta."""
    if isinstance(params, Branches):
        stored = params.equivariant
        even = [pair[0] for pair in _trees.split(plan, stored)]
        other = _trees.values_at(plan, stored, params.free, "the free branch")
    else:
        stored = params
        pairs = _trees.split(plan, stored)
        even, other = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    thetas = _per_parameter(plan, theta, per)
    parts = zip(even, other, thetas, strict=True)
    return _trees.replaced(plan, stored, [mix(e, o, t) for e, o, t in parts])


@overload
def mix(even: jax.Array, other: jax.Array, theta: Any) -> jax.Array: ...
@overload
def mix(even: Array, other: Array, theta: Any) -> Array: ...
def mix(even: Array, other: Array, theta: Any) -> Array:
    """``even + theta other``; other is left out of the computation where theta is concretely 0.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> sq.relaxation.mix(np.array([2.0, 2.0]), np.array([1.0, -1.0]), 0.5).tolist()
      [2.5, 1.5]
    """
    return even if is_zero(theta) else even + _times(theta, other)


def branches(plan: Plan, params: Tree, *, scale: float = 1.0) -> Branches:
    """Opens a second branch: ``W_e = P w`` and ``B = scale * N w``.

    Args:
      plan: the plan.
      params: the parameters it was built for.
      scale: 1 keeps the function at every theta, ``relax(plan, branches(plan, w), theta) ==
        relax(plan, w, theta)``; 0 starts with an empty branch, a small number with a branch that
        hardly acts.

    Raises:
      ValueError: as ``relax``; a negative, NaN or infinite scale.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"w": np.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> both = sq.relaxation.branches(plan, w)
      >>> both.equivariant["w"], both.free["w"]
      (array([2., 2.]), array([ 1., -1.]))
    """
    coefficient(scale, "scale")
    pairs = _trees.split(plan, params)
    free = [jnp.zeros_like(odd) if is_zero(scale) else _times(scale, odd) for _, odd in pairs]
    equivariant = _trees.replaced(plan, params, [even for even, _ in pairs])
    return Branches(equivariant, _trees.planned_only(plan, params, free))


def finish(
    plan: Plan, params: Tree | Branches, theta: float | Array = 0.0, *, per: Per = "layer"
) -> Tree:
    r"""The strict network at the end of a relaxed training.

    .. math:: P (P W_e + \theta B) = P W_e + \theta P B

    is the equivariant map nearest to the relaxed one, at the distance
    :math:`\theta \|B - P B\| \le \theta \|B\|`: in the Frobenius norm never further than dropping
    B, and so too in the norm weighted by a second moment of the inputs that commutes with the
    representation. One weight gives P w for every theta, its stored N w is gone. For the state of
    a control project the network's weights: ``finish(plan, control.weights(...))``.

    Args:
      plan: the plan.
      params: one weight or two branches.
      theta: the last theta; matters for two branches only.
      per: as in ``relax``.

    Returns:
      Plain parameters, a tree like those the plan was built for. ``branches(plan, ...)`` of them
      has an empty free branch.

    Raises:
      ValueError, TypeError: as ``relax``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> w = {"w": np.array([3.0, 1.0])}
      >>> plan = sq.plan(w, {"w": sq.projector("i", {"i": sq.reps.regular(sq.groups.cyclic(2))})})
      >>> sq.relaxation.finish(plan, w)
      {'w': array([2., 2.])}
    """
    if not isinstance(params, Branches):
        share(theta, "theta")
        return relax(plan, params, 0.0)
    stored = params.equivariant
    planned = _trees.planned(plan, stored)
    free = _trees.values_at(plan, stored, params.free, "the free branch")
    even = [projector(b) for (_, projector, _), b in zip(planned, free, strict=True)]
    folded = Branches(stored, _trees.planned_only(plan, stored, even))
    return relax(plan, folded, theta, per=per)


class Jump(NamedTuple):
    """What replacing some weights by others does.

    Attributes:
      before: loss with the former.
      after: loss with the latter.
      moved: relative distance ``||after - before|| / ||before||`` of the weights, in float64.

    Example:
      >>> import softeq_jax as sq
      >>> jump = sq.relaxation.Jump(before=0.5, after=0.75, moved=0.1)
      >>> jump.change
      0.25
    """

    before: float
    after: float
    moved: float

    @property
    def change(self) -> float:
        """``after - before``, positive where the loss rises."""
        return self.after - self.before


def jump(loss_fn: Callable[[Tree], Any], before: Tree, after: Tree) -> Jump:
    """The jump in loss from one set of the network's weights to another. Host-side.

    Args:
      loss_fn: `loss_fn(weights)`, a scalar.
      before: weights, such as ``relax(plan, params, theta)``.
      after: a tree of the same structure, such as ``finish(plan, params, theta)``.

    Raises:
      ValueError: the trees differ in structure or shapes, or the loss is no scalar.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> loss = lambda w: jnp.sum(w["w"] ** 2)
      >>> before, after = {"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([3.0, 0.0])}
      >>> sq.relaxation.jump(loss, before, after).change
      -16.0
    """
    former, structure = jax.tree.flatten(before)
    latter, other = jax.tree.flatten(after)
    if structure != other:
        raise ValueError(f"before and after differ in structure: {structure} and {other}")
    shapes = [(jnp.shape(a), jnp.shape(b)) for a, b in zip(former, latter, strict=True)]
    wrong = [pair for pair in shapes if pair[0] != pair[1]]
    if wrong:
        raise ValueError(f"before and after differ in shapes: {wrong[0][0]} and {wrong[0][1]}")
    numbers = [(_wide(a), _wide(b)) for a, b in zip(former, latter, strict=True)]
    size = math.sqrt(sum(float(np.sum(np.abs(a) ** 2)) for a, _ in numbers))
    distance = math.sqrt(sum(float(np.sum(np.abs(b - a) ** 2)) for a, b in numbers))
    moved = distance / size if size else (math.inf if distance else 0.0)
    return Jump(_loss(loss_fn, before), _loss(loss_fn, after), moved)


def _loss(loss_fn: Callable[[Tree], Any], weights: Tree) -> float:
    value = loss_fn(weights)
    if jnp.shape(value) != ():
        raise ValueError(f"loss_fn must return a scalar, got shape {jnp.shape(value)}")
    return float(value)


def _wide(leaf: Any) -> np.ndarray:
    if not hasattr(leaf, "dtype"):
        return np.zeros(())
    wide = jnp.issubdtype(leaf.dtype, jnp.complexfloating)
    return np.asarray(leaf).astype(np.complex128 if wide else np.float64)


def _per_parameter(plan: Plan, theta: Any, per: Per) -> list[Any]:
    """One scalar for every planned parameter."""
    index = _trees.factor_index(plan, per)
    shape = jnp.shape(theta)
    if shape == ():
        return [theta] * len(index)
    names = _trees.factor_names(plan, per)
    if shape != (len(names),):
        raise ValueError(
            f"theta must be a scalar or one number for each of the {len(names)} factors "
            f"{names[:4]}, got shape {shape}"
        )
    return [theta[i] for i in index]


def _times(theta: Any, x: Array) -> Array:
    """``theta * x`` in the dtype of x."""
    if is_traced(theta):
        real = jax.dtypes.canonicalize_dtype(jnp.finfo(x.dtype).dtype)
        return theta.astype(real) * x
    return float(theta) * x
