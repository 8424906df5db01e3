r"""Group means of functions: the Reynolds operator, whose value is the equivariant part.

.. math:: (R f)(x) = \int_G \rho_{out}(g)^{-1} f(\rho_{in}(g) x) \, dg

It is equivariant, ``R R = R``, and ``R f = f`` iff f is equivariant.
"""

from collections.abc import Callable
from typing import Any, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._checks import is_traced, known_options, whole
from softeq_jax._sizes import require_room
from softeq_jax.groups import Group
from softeq_jax.orbits._orbit import common_group, tree_action
from softeq_jax.orbits._quadrature import (
    Quadrature,
    is_listable,
    polynomial_degree,
    quadrature,
    require_mean,
)

POLYNOMIAL = 4
"""The degree in x of the functions whose mean is exact by default, for infinite groups."""


class Sampling(TypedDict, total=False):
    """Which elements a group mean takes, and how many at a time; all may be left out.

    Attributes:
      degree: for infinite groups, of the integrand, as in ``quadrature``; by default
        ``polynomial_degree(rep_in, rep_out, 4)``.
      samples: draw this many elements from the Haar distribution instead: an unbiased estimate
        for any compact group that can be sampled, equivariant in the limit only.
      key: a JAX PRNG key, for ``samples``. The elements are drawn now, once.
      batch_size: how many elements at a time; by default all at once. It bounds the memory, also
        that of gradients, for which f is then computed twice.
    """

    degree: int | tuple[int, ...] | None
    samples: int | None
    key: Any
    batch_size: int | None


def average(
    f: Callable[..., Any],
    rep_in: Any,
    rep_out: Any,
    *,
    axes_in: Any = None,
    axes_out: Any = None,
    **sampling: Unpack[Sampling],
) -> Callable[..., Any]:
    r"""The group mean of a function, ``x -> sum_i w_i rho_out(g_i)^-1 f(rho_in(g_i) x)``.

    For a finite group, without ``samples``, it is exact: equivariant to rounding whatever f is.
    For SO(2), O(2), SO(3) and O(3) and products the rule of ``quadrature`` is used, and gives the
    Haar mean iff the integrand has at most this degree in g (``polynomial_degree``):

    * a linear or affine f: ``m_in + m_out``, the largest frequencies (degrees l) of the two;
    * a polynomial of degree p: ``p m_in + m_out``;
    * ReLU, softmax and the like: no degree is enough, but the error falls as it grows.

    By default the degree is that of a polynomial of degree ``POLYNOMIAL = 4``.

    With M equispaced angles of SO(2) the result is exactly C_M-equivariant for every f.

    Args:
      f: from an array, or a pytree of arrays, to another; more arguments are passed on to it.
        It is called with everything but x unchanged, under ``vmap`` over the elements.
      rep_in: what acts on x: a representation, or a pytree prefix of representations of one
        group; None for what is left alone. All axes of x that are not acted on are batch axes.
      rep_out: the same for ``f(x)``; None (or a trivial one) averages to an invariant.
      axes_in: the axes of x to act on, as in ``Rep.apply``; structured like ``rep_in``.
      axes_out: the axes of ``f(x)``, structured like ``rep_out``.
      sampling: ``degree``, ``samples``, ``key`` and ``batch_size``, see ``Sampling``.

    Returns:
      A pure function of the arguments of f, which works under ``jit``, ``grad`` and ``vmap`` and
      returns what f does, in the same dtypes. Sums are in float32 at least.

    Raises:
      ValueError: the representations are of different groups; the group is not compact (there is
        no Haar mean); ``degree`` and ``samples`` are both given; no quadrature is known;
        ``batch_size`` or ``samples`` is no positive integer.
      TypeError: no representations or no function; the key is traced; and, when the result is
        called, f returns integers.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> C4 = sq.groups.cyclic(4)
      >>> I, one = sq.reps.image(C4, (3, 3)), sq.reps.trivial(C4, 1)
      >>> corners = sq.orbits.average(lambda x: x[..., :1, 0], I, one)
      >>> float(corners(np.arange(9.0).reshape(3, 3))[0])  # the mean of 0, 2, 6 and 8
      4.0
    """
    if not callable(f):
        raise TypeError(f"average needs a function, got {f!r}")
    known_options(sampling, Sampling, "average")
    degree, samples = sampling.get("degree"), sampling.get("samples")
    group = common_group(rep_in, rep_out)
    every = samples is None and is_listable(group)
    if degree is None and samples is None and group.is_compact and not every:
        degree = polynomial_degree(rep_in, rep_out, POLYNOMIAL)
    rule = _rule(group, degree, samples, sampling.get("key"), every)
    elements = None if every else np.asarray(rule.elements, group.dtype)
    size = sampling.get("batch_size")
    size = None if size is None else whole(size, "batch_size")
    enter = tree_action(rep_in, axes_in, elements)
    leave = tree_action(rep_out, axes_out, elements, inverse=True)

    def averaged(x: Any, *args: Any, **kwargs: Any) -> Any:
        x = jax.tree.map(jnp.asarray, x)
        at_once = min(len(rule.weights), size or len(rule.weights))
        taken = 2 * at_once * sum(leaf.nbytes for leaf in jax.tree.leaves(x))
        require_room(taken, f"{at_once} elements of {group} at once", "give batch_size=")

        def term(one: tuple[Any, Any]) -> Any:
            return leave.move(one[1], f(enter.move(one[0], x), *args, **kwargs))

        return weighted_sum(term, rule.weights, (enter.arrays, leave.arrays), size)

    return averaged


def weighted_sum(
    term: Callable[[Any], Any], weights: Any, arrays: Any, batch_size: int | None = None
) -> Any:
    """``sum_i weights_i term(arrays_i)``, by ``vmap`` over batches of elements, in float32 or more.

    Args:
      term: from the entries of one element to a pytree of floating-point arrays.
      weights: ``[n]``.
      arrays: pytree of arrays ``[n, ...]``.
      batch_size: how many at a time; None for all. Batches are recomputed for gradients.

    Returns:
      What ``term`` returns, in its dtypes.

    Example:
      >>> import jax.numpy as jnp, softeq_jax as sq
      >>> w = jnp.array([0.25, 0.75])
      >>> float(sq.orbits.weighted_sum(lambda x: 2 * x, w, jnp.array([1.0, 5.0])))
      8.0
    """

    def batch(entries: tuple[Any, Any]) -> Any:
        ys = jax.vmap(lambda _, one: term(one))(*entries)  # there may be no arrays but weights
        return jax.tree.map(lambda y: _contracted(entries[0], y), ys)

    n = len(weights)
    if batch_size is None or batch_size >= n:
        total = batch((weights, arrays))
    else:
        count = n // batch_size
        end = count * batch_size
        entries = jax.tree.map(
            lambda a: a[:end].reshape(count, batch_size, *a.shape[1:]), (weights, arrays)
        )
        once = jax.checkpoint(batch)
        zeros = jax.tree.map(
            lambda y: jnp.zeros(y.shape, y.dtype), jax.eval_shape(batch, _first(entries))
        )
        total, _ = jax.lax.scan(
            lambda sums, e: (jax.tree.map(jnp.add, sums, once(e)), None), zeros, entries
        )
        if end < n:
            rest = once(jax.tree.map(lambda a: a[end:], (weights, arrays)))
            total = jax.tree.map(jnp.add, total, rest)
    kinds = jax.eval_shape(term, _first(arrays))
    return jax.tree.map(lambda y, kind: y.astype(kind.dtype), total, kinds)


def _first(arrays: Any) -> Any:
    return jax.tree.map(lambda a: a[0], arrays)


def _contracted(weights: Any, y: jax.Array) -> jax.Array:
    """``sum_i weights_i y_i``, in float32 at least."""
    if not jnp.issubdtype(y.dtype, jnp.inexact):
        raise TypeError(f"a mean needs floating-point values, but the function returns {y.dtype}")
    wide = y.astype(jnp.promote_types(y.dtype, jnp.float32))
    weights = jnp.asarray(weights, jnp.finfo(wide.dtype).dtype)
    return jnp.sum(weights.reshape(-1, *(1,) * (y.ndim - 1)) * wide, axis=0)


def _rule(group: Group, degree: Any, samples: Any, key: Any, every: bool) -> Quadrature:
    """The elements and weights that ``average`` was asked for; no elements if it takes all."""
    require_mean(group)
    if samples is None:
        if key is not None:
            raise ValueError("key= is for samples=, which is missing; quadrature draws nothing")
        if every:
            return Quadrature(np.zeros(0), np.full(group.order or 0, 1.0 / (group.order or 1)))
        return quadrature(group, 0 if degree is None else degree)
    if degree is not None:
        raise ValueError(f"choose degree= or samples=, got {degree} and {samples}")
    n = whole(samples, "samples")
    if key is None:
        raise ValueError("samples= needs key=, a JAX PRNG key such as jax.random.key(0)")
    drawn = group.sample(key, n)  # refuses more of them than there is room for
    require_room(4 * 8 * drawn.size, f"{n} elements of {group}", "draw fewer samples")
    if is_traced(drawn):
        raise TypeError("elements are drawn outside jit: key= is being traced; call average there")
    return Quadrature(np.asarray(drawn), np.full(n, 1.0 / n))
