r"""Similarity of two sets of features of the same examples, whatever bases they are written in.

``a`` is ``[n, d]`` and ``b`` is ``[n, e]``: row i of both belongs to example i. No map from the one
to the other is known or fitted, so layers, networks and moved images compare. With centered
columns A, B (and the distances ``D^a_ij = ||a_i - a_j||``, centered to
``C^a = H D^a H, H = 1 - 1 1^T / n``)

==========================  =====================================================================
``linear_cka``              ``||A^T B||_F^2 / (||A^T A||_F ||B^T B||_F)``, the biased form
``svcca``                   ``mean_i sigma_i(U_a^T U_b)``, with U the left singular vectors that
                            hold 99 per cent of the variance
``rsa``                     ``corr_(i < j)(D^a_ij, D^b_ij)``
``distance_correlation``    ``sqrt(<C^a, C^b> / (||C^a||_F ||C^b||_F))``
==========================  =====================================================================

All are 1 for ``b = s a Q + t`` with a scale s, a shift t and an orthogonal Q; ``svcca`` does not
even see invertible maps where all directions are kept. All are above 0 for unrelated features,
by smoothness, by few examples (``svcca`` reaches 1 once ``n <= d + 1``; biased CKA grows with
``d / n``) or both, so they are read against a control: ``feature_similarity`` has one.

Sources: Kornblith et al. 2019 (CKA); Raghu et al. 2017 (SVCCA); Kriegeskorte, Mur & Bandettini 2008
(RSA); Székely, Rizzo & Bakirov 2007 (distance correlation).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import rankdata

from softeq_jax._checks import is_traced
from softeq_jax.measures.base._functions import Array

DISTANCES = ("euclidean", "squared_euclidean", "cosine", "correlation")
COMPARISONS = ("pearson", "spearman")
_ROUNDINGS = 16
"""A feature whose deviations are at most that many roundings of its size is constant."""


def linear_cka(a: Array, b: Array) -> jax.Array:
    r"""Linear centered kernel alignment, ``||A^T B||_F^2 / (||A^T A||_F ||B^T B||_F)``, biased.

    Directions count by their variance. Costs ``n d e`` or ``n^2 (d + e)`` products, whichever is
    less.

    Args:
      a: ``[n, d]``, real, n >= 2.
      b: ``[n, e]``.

    Returns:
      A number in [0, 1], float32 or wider; under a transformation NaN where one is constant.

    Raises:
      TypeError: complex numbers, or no array.
      ValueError: another number of axes, different n, fewer than two examples; unless they are
        traced: NaN or infinite entries, or features that are the same for all examples.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> a = np.random.default_rng(0).normal(size=(50, 3))
      >>> turned = 2 * a @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]) + 5
      >>> round(float(sq.measures.linear_cka(a, turned)), 5)
      1.0
    """
    return _checked(_cka, a, b)


def svcca(a: Array, b: Array, variance: float = 0.99) -> jax.Array:
    r"""Mean canonical correlation of the leading singular directions.

    Of each the least number k of singular directions is kept that holds the share ``variance`` of
    the sum of squares (never one below rounding); the mean runs over the ``min(k_a, k_b)``
    canonical correlations. Costs two singular value decompositions, ``n d min(n, d)`` and so for e.

    Args:
      a: see ``linear_cka``.
      b: see ``linear_cka``.
      variance: share of the variance that is kept, in (0, 1].

    Returns:
      See ``linear_cka``. Only with many more examples than kept directions it means something.

    Raises:
      TypeError: see ``linear_cka``.
      ValueError: see ``linear_cka``; or a share outside (0, 1].

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> a = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
      >>> mix = np.float32([[1, 2], [0, 1]])
      >>> round(float(sq.measures.svcca(a, a @ mix, variance=1.0)), 3)  # any invertible map
      1.0
    """
    if not 0 < variance <= 1:
        raise ValueError(f"variance must be a share in (0, 1], got {variance!r}")
    return _checked(_svcca, a, b, float(variance))


def rsa(a: Array, b: Array, distance: str = "euclidean", comparison: str = "pearson") -> jax.Array:
    """Representational similarity analysis: correlation of the distances between examples.

    Costs ``n^2 (d + e)`` products; one row of differences is held at a time.

    Args:
      a: see ``linear_cka``; n >= 3.
      b: see ``linear_cka``.
      distance: "euclidean", "squared_euclidean", or 1 minus the "cosine" or the (Pearson)
        "correlation" of two rows. The last two do not see scales of single rows, but shifts.
      comparison: "pearson", or "spearman" (ranks, ties sharing theirs).

    Returns:
      A number in [-1, 1], see ``linear_cka``. NaN under a transformation also where all distances
      are the same; a row without direction makes its "cosine" and "correlation" NaN.

    Raises:
      TypeError: see ``linear_cka``.
      ValueError: see ``linear_cka``; or an unknown name, fewer than three examples, distances that
        are undefined or all the same.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> a = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
      >>> turn = np.float32([[0, -1], [1, 0]])
      >>> round(float(sq.measures.rsa(a, a @ turn)), 4)  # distances stay
      1.0
    """
    for name, value, known in (
        ("distance", distance, DISTANCES),
        ("comparison", comparison, COMPARISONS),
    ):
        if value not in known:
            raise ValueError(f"no {name} is called {value!r}, choose from {list(known)}")
    return _checked(_rsa, a, b, distance, comparison)


def distance_correlation(a: Array, b: Array) -> jax.Array:
    r"""Distance correlation: 0 (as n grows) if and only if the features are independent.

    The V-statistic, ``sqrt(<C^a, C^b> / (||C^a|| ||C^b||))`` with doubly centered Euclidean
    distances; nonlinear dependence counts, too. Costs as ``rsa``.

    Args:
      a: see ``linear_cka``.
      b: see ``linear_cka``.

    Returns:
      See ``linear_cka``.

    Raises:
      TypeError: see ``linear_cka``.
      ValueError: see ``linear_cka``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> a = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
      >>> round(float(sq.measures.distance_correlation(a, 3 * a + 1)), 4)
      1.0
    """
    return _checked(_dcor, a, b)


def _checked(measure: Callable[..., jax.Array], a: Array, b: Array, *more: Any) -> jax.Array:
    least = 3 if measure is _rsa else 2
    given = {"a": a, "b": b}
    for name, x in given.items():
        if not hasattr(x, "shape") or not hasattr(x, "dtype"):
            raise TypeError(f"{name} must be an array [n, d], got {type(x).__name__}")
        if jnp.issubdtype(x.dtype, jnp.complexfloating):
            raise TypeError(f"{name} must be real, got {x.dtype}: stack real and imaginary parts")
        if len(x.shape) != 2 or 0 in x.shape:
            raise ValueError(
                f"{name} must be [n, d], one row of features per example, got shape "
                f"{tuple(x.shape)}; flatten maps, as in x.reshape(len(x), -1)"
            )
    if len(a) != len(b):
        raise ValueError(f"a and b must be of the same examples, got {len(a)} and {len(b)} of them")
    if len(a) < least:
        raise ValueError(f"similarity needs at least {least} examples, got {len(a)}")
    value = measure(jnp.asarray(a), jnp.asarray(b), *more)
    if not is_traced(value) and not np.isfinite(value):
        _explain(given)
    return value


def _explain(given: dict[str, Array]) -> None:
    """ValueError: why a similarity is undefined."""
    for name, x in given.items():
        if not np.isfinite(np.asarray(x)).all():
            raise ValueError(f"{name} holds NaN or infinite entries")
    for name, x in given.items():
        if not np.asarray(_centered(jnp.asarray(x))).any():
            raise ValueError(f"{name} is constant: all {len(x)} examples have the same features")
    raise ValueError(
        "the distances are undefined or all the same: a row has no direction, or the rows are the "
        "corners of a regular simplex"
    )


def _wide(x: jax.Array) -> jax.Array:
    """Floating point of at least 32 bits, in units of the largest magnitude."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    size = jnp.max(jnp.abs(x))
    return x / jnp.where(size > 0, size, 1)


def _centered(x: jax.Array) -> jax.Array:
    """``[n, d]`` minus the mean row; 0 in columns where nothing but rounding is left."""
    x = _wide(x)
    moved = x - jnp.mean(x, axis=0)
    return jnp.where(_beyond_rounding(moved, x, axis=0), moved, 0)


def _beyond_rounding(moved: jax.Array, x: jax.Array, axis: int) -> jax.Array:
    least = _ROUNDINGS * jnp.finfo(x.dtype).eps
    norms = (jnp.sqrt(jnp.sum(v**2, axis=axis, keepdims=True)) for v in (moved, x))
    return next(norms) > least * next(norms)


@jax.jit
def compact(x: jax.Array) -> jax.Array:
    """Rows ``[n, min(n, d)]`` with the same similarities of those here, by Euclidean distances."""
    return _reduced(_centered(x))


def _reduced(x: jax.Array) -> jax.Array:
    """Rows with the same inner products, and no more columns than rows."""
    return x if x.shape[1] <= x.shape[0] else jnp.linalg.qr(x.T, mode="r").T


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")


@jax.jit
def _cka(a: jax.Array, b: jax.Array) -> jax.Array:
    a, b = _centered(a), _centered(b)
    if len(a) <= max(a.shape[1], b.shape[1]):
        aa, bb = _product(a, a.T), _product(b, b.T)
        shared = jnp.sum(aa * bb)
    else:
        aa, bb = _product(a.T, a), _product(b.T, b)
        shared = jnp.sum(_product(a.T, b) ** 2)
    return shared / (jnp.linalg.norm(aa) * jnp.linalg.norm(bb))


@functools.partial(jax.jit, static_argnums=2)
def _svcca(a: jax.Array, b: jax.Array, variance: float) -> jax.Array:
    (u, k), (v, m) = _leading(_centered(a), variance), _leading(_centered(b), variance)
    cosines = jnp.linalg.svd(_product(u.T, v), compute_uv=False)
    return jnp.sum(jnp.minimum(cosines, 1)) / jnp.minimum(k, m)


def _leading(x: jax.Array, variance: float) -> tuple[jax.Array, jax.Array]:
    """Left singular vectors, those that are not kept 0, and the number of those that are."""
    vectors, values, _ = jnp.linalg.svd(_reduced(x), full_matrices=False)
    squares = values**2
    eps = jnp.finfo(x.dtype).eps
    before = (jnp.cumsum(squares) - squares) / jnp.sum(squares)
    solid = values > max(x.shape) * eps * values[0]
    kept = solid & (before < variance - _ROUNDINGS * eps)
    return jnp.where(kept, vectors, 0), jnp.sum(kept)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _rsa(a: jax.Array, b: jax.Array, distance: str, comparison: str) -> jax.Array:
    upper = np.triu_indices(len(a), 1)
    lines = [_distances(x, distance)[upper] for x in (a, b)]
    if comparison == "spearman":
        lines = [jnp.where(jnp.isnan(x).any(), jnp.nan, rankdata(x)) for x in lines]
    x, y = (_centered(line[:, None])[:, 0] for line in lines)
    return jnp.sum(x * y) / (jnp.linalg.norm(x) * jnp.linalg.norm(y))


@jax.jit
def _dcor(a: jax.Array, b: jax.Array) -> jax.Array:
    x, y = (_doubly_centered(_distances(x, "euclidean")) for x in (a, b))
    shared = jnp.sum(x * y) / (jnp.linalg.norm(x) * jnp.linalg.norm(y))
    return jnp.sqrt(jnp.maximum(shared, 0))


def _doubly_centered(d: jax.Array) -> jax.Array:
    means = jnp.mean(d, axis=0)
    return d - means - means[:, None] + jnp.mean(means)


def _distances(x: jax.Array, distance: str) -> jax.Array:
    """``[n, n]``, from differences, which do not cancel as inner products do.

    Of directions, ``1 - <u, v> = ||u - v||^2 / 2``.
    """
    if distance in ("cosine", "correlation"):
        x = _wide(x)
        rows = x - jnp.mean(x, axis=1, keepdims=True) if distance == "correlation" else x
        norms = jnp.linalg.norm(rows, axis=1, keepdims=True)
        rows = jnp.where(_beyond_rounding(rows, x, axis=1), rows / norms, jnp.nan)
    else:
        rows = _centered(x)
    rows = _reduced(rows)
    squares = jax.lax.map(lambda row: jnp.sum((rows - row) ** 2, axis=1), rows)
    if distance == "euclidean":
        return jnp.sqrt(squares)
    return squares if distance == "squared_euclidean" else squares / 2
