"""Invariant bilinear forms, and the norms that nonlinearities may depend on."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import METRIC, LorentzGroup, SymplecticGroup, symplectic_form
from softeq_jax.reps import Dual, OnFactor, Product, Rep, Restricted, Vector

Array = jax.Array


def invariant_form(rep: Rep) -> np.ndarray:
    """A symmetric matrix B with ``rho(g)^T B rho(g) = B`` for every element.

    The identity for orthogonal representations, ``diag(1, -1, -1, -1)`` for vectors of the Lorentz
    groups, the inverse for a dual, the Kronecker product for a tensor product (for tensors
    T(p, q): the induced form; symmetric for an even number of symplectic factors).

    Args:
      rep: real.

    Returns:
      float64 ``[dim, dim]``.

    Raises:
      ValueError: no form is known, or it is skew, as for vectors of Sp(2n, R): then ``<v, v>``
        vanishes, and there is no norm.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.lorentz())
      >>> np.diag(sq.nn.equivariant.invariant_form(V))
      array([ 1., -1., -1., -1.])
    """
    form = _form(rep)
    if not np.array_equal(form, form.T):
        raise ValueError(
            f"the invariant form of {rep!r} is skew, so that <v, v> = 0 and vectors have no "
            "invariant norm: gate them by scalars (Gated), or use tensors of even rank"
        )
    return form


@functools.lru_cache(maxsize=64)
def _form(rep: Rep) -> np.ndarray:
    if rep.is_orthogonal and not rep.is_complex:
        return np.eye(rep.dim)
    if isinstance(rep, Vector) and isinstance(rep.group, LorentzGroup):
        return METRIC
    if isinstance(rep, Vector) and isinstance(rep.group, SymplecticGroup):
        return symplectic_form(rep.group.n)
    if isinstance(rep, Dual):
        return np.linalg.inv(_form(rep.part)).T + 0.0
    if isinstance(rep, Product):
        return functools.reduce(np.kron, [_form(part) for part in rep.parts])
    if isinstance(rep, Restricted | OnFactor):
        return _form(rep.part)
    raise ValueError(f"no invariant bilinear form of {rep!r} is known, as it is not orthogonal")


def inner(u: Array, v: Array, form: np.ndarray | None = None) -> Array:
    """``<u, v> = u^T B v`` on the last axis, the dot product if there is no form."""
    if form is not None and not _is_identity(form):
        u = jnp.matmul(u, form.astype(u.dtype), precision="highest")
    return jnp.sum(u * v, axis=-1)


def norms(v: Array, form: np.ndarray | None = None) -> Array:
    """Invariant sizes of vectors.

    For the Euclidean form the norm, whose derivative is taken to be 0 at 0. For an indefinite
    form, with ``q = <v, v>``, the signed root smoothed at 0, ``q / (q^2 + 1)^(1/4)``: positive for
    timelike vectors, negative for spacelike ones.

    Args:
      v: ``[..., dim]``.
      form: ``[dim, dim]`` as of ``invariant_form``; None is the Euclidean one.

    Returns:
      ``[...]``.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> v = jnp.array([[3.0, 4.0], [0.0, 0.0]])
      >>> sq.nn.equivariant.norms(v)
      Array([5., 0.], dtype=float32)
    """
    q = inner(v, v, form)
    if form is None or _is_identity(form):
        present = q > 0
        return jnp.where(present, jnp.sqrt(jnp.where(present, q, 1.0)), 0.0)
    return q / jnp.sqrt(jnp.sqrt(q * q + 1.0))


def require_euclidean(reps: Sequence[Rep], what: str) -> None:
    """ValueError unless every representation is orthogonal."""
    for rep in reps:
        if not rep.is_orthogonal:
            raise ValueError(
                f"{what} divides by norms, and those of {rep!r} are not definite: "
                "it needs orthogonal representations"
            )


def _is_identity(form: np.ndarray) -> bool:
    return np.array_equal(form, np.eye(len(form)))
