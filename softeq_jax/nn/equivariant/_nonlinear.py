"""Nonlinearities that commute with a representation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from softeq_jax.nn.equivariant._fields import fields, join, split
from softeq_jax.nn.equivariant._forms import invariant_form, norms
from softeq_jax.reps import Rep, trivial

Array = jax.Array
Function = Callable[[Array], Array]

_PROBES = np.array([0.0, 0.1, 0.3, 0.7, 1.0, 1.7, 3.0, 6.0], np.float32)


def pointwise(f: Function, rep: Rep, *, odd: bool = False) -> Function:
    """A function of each entry, once it is known to commute with the representation.

    Args:
      f: elementwise, such as ``jax.nn.relu``.
      rep: of the features; the group must permute their entries (trivial, regular and grid
        representations do).
      odd: whether ``f(-x) = -f(x)``; then the group may change signs as well.

    Returns:
      ``f``.

    Raises:
      ValueError: the group mixes entries, or changes signs and ``f`` is not declared odd; ``f``
        is declared odd and is not, at a few points.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> relu = sq.nn.equivariant.pointwise(jax.nn.relu, sq.reps.regular(sq.groups.cyclic(4)))
      >>> relu(jnp.array([-1.0, 2.0]))
      Array([0., 2.], dtype=float32)
    """
    if rep.is_permutation:
        return f
    moves = [rep.signed_permutation(g) for g in rep.group.letters()]
    if rep._has_lie_action() or any(move is None for move in moves):
        raise ValueError(
            f"a function of each entry does not commute with {rep!r}, which mixes entries: "
            "use NormGate or Gated"
        )
    if not odd:
        raise ValueError(
            f"{rep!r} changes signs of entries: only odd functions commute with it (odd=True)"
        )
    with jax.ensure_compile_time_eval():
        sums = np.asarray(f(jnp.asarray(-_PROBES)) + f(jnp.asarray(_PROBES)))
    if not np.all(np.abs(sums) < 1e-5):
        raise ValueError(f"f is not odd: f(x) + f(-x) reaches {np.abs(sums).max():.3g}")
    return f


def norm_gate(
    x: Array,
    copies: int,
    dim: int,
    bias: Array | float,
    act: Function,
    invariant: np.ndarray | None = None,
) -> Array:
    """``act(||v|| + b) v`` for each vector: multiplied by, not normalized ("EQNonLin", section 3
    of the specification of "Tunable Soft Equivariance with Guarantees").

    Args:
      x: ``[..., copies * dim]``, vectors after one another.
      copies: number of vectors.
      dim: length of a vector.
      bias: ``[copies]``, or one number for all.
      act: of the norms.
      invariant: bilinear form ``[dim, dim]`` that replaces the Euclidean one, see
        ``invariant_form`` and ``norms``.

    Returns:
      As ``x``.

    Raises:
      ValueError: the last axis does not have length ``copies * dim``.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> x = jnp.array([3.0, 4.0, 0.0, 1.0])  # two vectors of the plane
      >>> sq.nn.equivariant.norm_gate(x, 2, 2, 0.0, lambda n: 2 * n)
      Array([30., 40.,  0.,  2.], dtype=float32)
    """
    if x.shape[-1] != copies * dim:
        raise ValueError(
            f"{copies} vectors of length {dim} need [..., {copies * dim}], got {tuple(x.shape)}"
        )
    v = x.reshape(*x.shape[:-1], copies, dim)
    return (act(norms(v, invariant) + bias)[..., None] * v).reshape(x.shape)


class NormGate(linen.Module):
    """``norm_gate`` on every copy that the group moves, the activation itself on scalars.

    Scalars x become ``act(x)``, without a further bias (the layer before has one). For
    representations that are not orthogonal the norm is the smoothed signed root of the invariant
    form (for the Lorentz group that of Minkowski, for tensors the induced one): the Euclidean
    norm would not be invariant. Products with a norm are not Lipschitz on the whole space.

    Variables: ``bias`` ``[copies]``, one for each copy, if there are any.

    Attributes:
      rep: of the features, real.
      act: of norms and scalars.
      scalar_act: of scalars, instead of ``act``.
      bias_init: initializer.
      param_dtype: of the bias.

    Call:
      x: ``[..., rep.dim]``; the result is like it.

    Raises:
      ValueError: no invariant norm of a part is known (vectors of Sp(2n, R) have none), or the
        last axis has another length.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> layer = sq.nn.equivariant.NormGate(V, act=lambda x: x)
      >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.array([3.0, 0.0, 4.0]))
      >>> y, variables["params"]["bias"].shape  # times the norm
      (Array([15.,  0., 20.], dtype=float32), (1,))
    """

    rep: Rep
    act: Function = jax.nn.relu
    scalar_act: Function | None = None
    bias_init: Callable[..., Array] = linen.initializers.zeros
    param_dtype: Any = jnp.float32

    @linen.compact
    def __call__(self, x: Array) -> Array:
        scalars, moved = split(self.rep, x)
        found, start, gated = fields(self.rep), 0, []
        if found.copies:
            bias = self.param("bias", self.bias_init, (found.copies,), self.param_dtype)
        for field, v in zip(found.moved, moved, strict=True):
            own = bias[start : start + field.copies]
            size = norms(v, invariant_form(field.rep))
            gated.append(self.act(size + own)[..., None] * v)
            start += field.copies
        return join(self.rep, (self.scalar_act or self.act)(scalars), gated)


def gated_input(rep: Rep) -> Rep:
    """``rep`` followed by one scalar for each copy that the group moves: what ``Gated`` takes.

    Example:
      >>> import softeq_jax as sq
      >>> R = 2 * sq.reps.vector(sq.groups.so(3))
      >>> sq.nn.equivariant.gated_input(R), sq.nn.equivariant.gated_input(R).dim
      ((2·V + 2·1)(SO(3)), 8)
    """
    gates = fields(rep).copies
    return rep + trivial(rep.group, gates) if gates else rep


class Gated(linen.Module):
    """Every copy that the group moves, times a function of its own scalar gate.

    ``v -> gate(a) v`` for vectors and tensors, ``x -> act(x)`` for scalars. It is equivariant for
    every representation, orthogonal or not, and has no variables.

    Attributes:
      rep: of the outputs, real.
      act: of scalars.
      gate: of gates.

    Call:
      x: ``[..., gated_input(rep).dim]``, the gates last, in the order of ``fields(rep)``.

    Returns:
      ``[..., rep.dim]``.

    Raises:
      ValueError: the last axis has another length.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> G = sq.groups.so(3)
      >>> layer = sq.nn.equivariant.Gated(sq.reps.vector(G))
      >>> layer.apply({}, jnp.array([1.0, 2.0, 4.0, 0.0]))  # sigmoid(0) of a vector
      Array([0.5, 1. , 2. ], dtype=float32)
    """

    rep: Rep
    act: Function = jax.nn.silu
    gate: Function = jax.nn.sigmoid

    @linen.compact
    def __call__(self, x: Array) -> Array:
        found, wanted = fields(self.rep), gated_input(self.rep)
        if x.shape[-1] != wanted.dim:
            raise ValueError(
                f"gated features of {self.rep!r} must be [..., {wanted.dim}] ({self.rep.dim} and "
                f"{found.copies} gates), got shape {tuple(x.shape)}"
            )
        scalars, moved = split(self.rep, x[..., : self.rep.dim])
        gates, start, out = self.gate(x[..., self.rep.dim :]), 0, []
        for v in moved:
            out.append(gates[..., start : start + v.shape[-2], None] * v)
            start += v.shape[-2]
        return join(self.rep, self.act(scalars), out)
