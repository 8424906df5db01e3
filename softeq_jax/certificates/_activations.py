r"""Activations: which actions they commute with, and their Lipschitz constants.

A pointwise function commutes with a permutation of the entries; an odd one also with sign changes;
with nothing else in general. Functions of the norm commute with orthogonal actions.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from softeq_jax.certificates._composition import Activation
from softeq_jax.reps import Rep


class Pointwise(NamedTuple):
    """A function of one number.

    Attributes:
      lipschitz: the largest absolute derivative.
      at_zero: its value at 0.
      odd: whether ``f(-x) = -f(x)``.
    """

    lipschitz: float
    at_zero: float = 0.0
    odd: bool = False


def _largest(derivative: Callable[[np.ndarray], np.ndarray]) -> float:
    """Largest value on [0, 8], rounded up; the derivatives below are smooth and peak near 2.

    On a grid of step h around a smooth peak the largest sample is low by at most h^2/8 times the
    second derivative, here below 1e-7: the margin of 1e-6 covers that.
    """
    return float(derivative(np.linspace(0.0, 8.0, 80_001)).max()) + 1e-6


def _silu_slope(x: np.ndarray) -> np.ndarray:
    s = 1.0 / (1.0 + np.exp(-x))
    return s + x * s * (1.0 - s)


def _tanh_gelu_slope(x: np.ndarray) -> np.ndarray:
    c, a = math.sqrt(2.0 / math.pi), 0.044715
    t = np.tanh(c * (x + a * x**3))
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t**2) * c * (1.0 + 3.0 * a * x**2)


_SILU = _largest(_silu_slope)
# gelu(x) = x Phi(x) is steepest where its second derivative (2 - x^2) phi(x) vanishes, at sqrt 2:
# 1.12890; its usual approximation by tanh, which JAX takes by default, is steeper: 1.12899
_GELU = max(
    0.5 * (1.0 + math.erf(1.0)) + math.exp(-1.0) / math.sqrt(math.pi), _largest(_tanh_gelu_slope)
)

POINTWISE = {
    "relu": Pointwise(1.0),
    "leaky_relu": Pointwise(1.0),
    "elu": Pointwise(1.0),
    "gelu": Pointwise(_GELU),
    "silu": Pointwise(_SILU),
    "swish": Pointwise(_SILU),
    "sigmoid": Pointwise(0.25, 0.5),
    "softplus": Pointwise(1.0, math.log(2.0)),
    "abs": Pointwise(1.0),
    "tanh": Pointwise(1.0, odd=True),
    "hard_tanh": Pointwise(1.0, odd=True),
    "soft_sign": Pointwise(1.0, odd=True),
    "sin": Pointwise(1.0, odd=True),
}
"""Pointwise functions by name (leaky_relu with a slope up to 1, elu with alpha up to 1)."""

_OF_NORM = {
    # x max(|x| - b, 0) / |x|, b >= 0: the proximal map of b |x|, which is nonexpansive
    "norm_relu": 1.0,
    # x tanh(|x|) / |x|: derivative tanh' <= 1 along x, tanh(r)/r <= 1 across
    "norm_tanh": 1.0,
    # x sigmoid(|x|): derivative that of silu along x, sigmoid <= 1 across
    "norm_gate": _SILU,
}
_LOCAL = {
    "gate": "the product of features with a gate of other features is not globally Lipschitz",
    "attention": "softmax attention is not globally Lipschitz",
    "layernorm": "LayerNorm is not globally Lipschitz (its slope is one over the deviation)",
    "rmsnorm": "RMSNorm is not globally Lipschitz (its slope is one over the size)",
    "groupnorm": "GroupNorm is not globally Lipschitz (its slope is one over the deviation)",
    "batchnorm": "BatchNorm over a batch is not globally Lipschitz (its slope is one over the "
    "deviation; with stored statistics it is an affine layer, a Linear)",
    "softmax": "softmax weights multiply features (as in attention), which is not globally "
    "Lipschitz",
}
_ALIASES = {
    "layer_norm": "layernorm",
    "rms_norm": "rmsnorm",
    "group_norm": "groupnorm",
    "batch_norm": "batchnorm",
}


def activation(kind: str, rep: Rep) -> Activation:
    """Whether an activation commutes with an action, and its Lipschitz constant.

    * pointwise (``POINTWISE``): permutation representations; odd functions also signed
      permutations. Constants: relu, leaky_relu, elu, tanh, softplus 1; sigmoid 1/4; gelu 1.1290
      and silu 1.0998 (the maximum of the derivative).
    * ``"norm_relu"`` ``x max(|x| - b, 0)/|x|`` with ``b >= 0`` (1), ``"norm_tanh"``
      ``x tanh|x|/|x|`` (1), ``"norm_gate"`` ``x sigmoid(|x|)`` (1.0998): orthogonal (unitary)
      representations; the norm may be that of each summand.
    * ``"gate"``, ``"attention"``, ``"softmax"`` (taken for that of attention), ``"layernorm"``,
      ``"rmsnorm"``, ``"groupnorm"``, ``"batchnorm"`` (also ``"layer_norm"`` and so on): not
      certified, as no global Lipschitz constant exists. For given inputs pass an ``Activation``
      with a constant that holds on the features that occur (a posteriori).
    * ``"identity"``: every representation.

    Args:
      kind: one of these names.
      rep: representation of the features (all copies of it).

    Returns:
      An ``Activation`` for ``compose``, certified or with the reason why not.

    Raises:
      ValueError: an unknown name.

    Example:
      >>> import softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> gelu = sq.certificates.activation("gelu", V)
      >>> gelu.certified, gelu.reason
      (False, 'pointwise nonlinearity gelu on V(SO(3)), which is no permutation representation')
      >>> sq.certificates.activation("norm_relu", V).certified
      True
    """
    known = ["identity", *POINTWISE, *_OF_NORM, *_LOCAL, *_ALIASES]
    if kind not in known:
        raise ValueError(f"unknown activation {kind!r}: expected one of {', '.join(known)}")
    if kind == "identity":
        return Activation(1.0, name=kind, rep=rep)
    if (local := _ALIASES.get(kind, kind)) in _LOCAL:
        reason = f"{_LOCAL[local]}: a posteriori only, with a constant for the features that occur"
        return Activation(math.nan, False, reason, kind, math.nan, rep)
    if kind in _OF_NORM:
        if rep.is_orthogonal:
            return Activation(_OF_NORM[kind], name=kind, rep=rep)
        reason = (
            f"the norm is not invariant under {rep!r}, which is not orthogonal (and a gate by an "
            "invariant that is no norm, such as Minkowski's, is not globally Lipschitz)"
        )
        return Activation(_OF_NORM[kind], False, reason, kind, 0.0, rep)
    f = POINTWISE[kind]
    offset = abs(f.at_zero) * math.sqrt(rep.dim)
    if rep.is_permutation or (f.odd and _permutes_up_to_signs(rep)):
        return Activation(f.lipschitz, True, "", kind, offset, rep)
    needed = "signed permutation" if f.odd else "permutation"
    reason = f"pointwise nonlinearity {kind} on {rep!r}, which is no {needed} representation"
    return Activation(f.lipschitz, False, reason, kind, offset, rep)


def _permutes_up_to_signs(rep: Any) -> bool:
    if rep._has_lie_action():
        return False
    return all(rep.signed_permutation(g) is not None for g in rep.group.letters())
