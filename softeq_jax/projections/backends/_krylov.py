r"""Matrix-free projection on level 0 by a Chebyshev filter of ``L* L``.

With the non-zero eigenvalues of ``L* L`` in [a, b] and ``x(s) = (b + a - 2 s) / (b - a)``,

.. math:: p(s) = T_N(x(s)) / T_N(x(0))

is 1 at s = 0 and at most ``2 exp(-2 N sqrt(a / b))`` on [a, b]; L acts axis by axis.
"""

import math
from collections.abc import Sequence

import jax
import numpy as np

from softeq_jax.projections._filter import (
    Array,
    StrictFilter,
    along,
    as_dtype,
    filter_class,
    static,
)
from softeq_jax.projections.backends._atoms import (
    STRICT,
    Atoms,
    BuiltBlock,
    Generators,
    generators,
    strict,
)

_TARGET = 1e-14
_STEPS = 400
_LARGEST_RANK = 512


@filter_class
class ChebyshevFilter(StrictFilter):
    """Level 0 of a tensor product, from the generators of its atoms.

    Attributes:
      lie: for each atom ``[k, d, d]``.
      discrete: for each atom ``[m, d, d]``.
      interval: float64 ``[2]``, smallest and largest non-zero eigenvalue of ``L* L``.
      index: int ``[2]``: level 0, and everything else.
      degree: N.
      dims: dimension of each atom.
    """

    lie: tuple[Array, ...]
    discrete: tuple[Array, ...]
    interval: Array
    index: Array
    degree: int = static()
    dims: tuple[int, ...] = static()

    def invariant(self, w: Array) -> Array:
        """``p(L* L) w``."""
        tensor = w.reshape(*self.dims, -1)
        lie = [as_dtype(one, tensor) for one in self.lie]
        discrete = [as_dtype(one, tensor) for one in self.discrete]
        low, high = as_dtype(self.interval, tensor)
        center, radius = (high + low) / 2, (high - low) / 2
        start = center / radius

        def scaled(x: Array) -> Array:
            return (center * x - normal(lie, discrete, x)) / radius

        def step(_: int, state: tuple) -> tuple:
            before, now, rho = state
            after = 1 / (2 * start - rho)
            return now, 2 * after * scaled(now) - after * rho * before, after

        state = (tensor, scaled(tensor) / start, 1 / start)
        if isinstance(w, np.ndarray):
            for i in range(1, self.degree):
                state = step(i, state)
        else:
            state = jax.lax.fori_loop(1, self.degree, step, state)
        return state[1].reshape(w.shape)


def block(atoms: Atoms, complete: bool) -> BuiltBlock:
    """Level 0 of a tensor product of any dimension."""
    if complete:
        raise ValueError("the matrix-free filter gives level 0 only; leave the choice open")
    found, rank = chebyshev([generators(atom) for atom in atoms])
    return strict(found, rank, math.prod(atom.dim for atom in atoms))


def normal(lie: Sequence[Array], discrete: Sequence[Array], x: Array) -> Array:
    """``L* L x`` for the tensor product, one axis at a time."""
    total = 0 * x
    for k in range(lie[0].shape[0]):
        moved = 0 * x
        for axis, one in enumerate(lie):
            moved = moved + along(one[k], x, axis)
        for axis, one in enumerate(lie):
            total = total + along(one[k].conj().T, moved, axis)
    for m in range(discrete[0].shape[0]):
        moved = x
        for axis, one in enumerate(discrete):
            moved = along(one[m], moved, axis)
        moved = moved - x
        back = moved
        for axis, one in enumerate(discrete):
            back = along(one[m].conj().T, back, axis)
        total = total + back - moved
    return total


def chebyshev(parts: list[Generators]) -> tuple[ChebyshevFilter, int]:
    """The filter of a tensor product, and its rank.

    Raises:
      ValueError: the spectrum of ``L* L`` could not be resolved in 400 Lanczos steps, or there
        are more than 512 invariants.
    """
    dims = tuple(part.dim for part in parts)
    low, high = spectrum_ends(parts)
    ratio = math.sqrt(high / low)
    degree = max(4, math.ceil(math.log(2.0 / _TARGET) * ratio / 2.0))
    lie = tuple(part.lie for part in parts)
    discrete = tuple(part.discrete for part in parts)
    # a spectrum that is a single point needs a radius
    interval = np.array([low * (1 - 1e-6), high * (1 + 1e-6)])
    filter_ = ChebyshevFilter(lie, discrete, interval, STRICT, degree, dims)
    return filter_, _rank(filter_, math.prod(dims), np.result_type(*lie, *discrete))


def _rank(filter_: ChebyshevFilter, n: int, dtype: np.dtype) -> int:
    """Number of invariants: the rank of the images of random vectors, more until it is below."""
    count = 8
    kept_only = np.array([0.0, 1.0])
    while True:
        rng = np.random.default_rng(count)
        x = rng.standard_normal((n, min(count, n))).astype(dtype)
        image = x - filter_.removed(x, kept_only)
        rank = int(np.sum(np.linalg.svd(image, compute_uv=False) > 1e-6 * math.sqrt(n)))
        if rank < count or count >= n:
            return rank
        if count >= _LARGEST_RANK:
            raise ValueError(
                f"more than {_LARGEST_RANK} invariants in dimension {n}: too many to be counted "
                "by the matrix-free filter"
            )
        count *= 4


def spectrum_ends(parts: list[Generators]) -> tuple[float, float]:
    """The smallest and the largest non-zero eigenvalue of ``L* L``, by Lanczos.

    Lanczos from a random vector ends exactly once every distinct eigenvalue was met.
    """
    dims = tuple(part.dim for part in parts)
    n = math.prod(dims)
    lie, discrete = [part.lie for part in parts], [part.discrete for part in parts]
    dtype = np.result_type(*(part.lie for part in parts))
    rng = np.random.default_rng(0)
    v = rng.standard_normal(n).astype(dtype)
    vectors = [v / np.linalg.norm(v)]
    alphas: list[float] = []
    betas: list[float] = []
    for _ in range(min(n, _STEPS)):
        w = np.asarray(normal(lie, discrete, vectors[-1].reshape(*dims, 1))).reshape(-1)
        alphas.append(float(np.vdot(vectors[-1], w).real))
        basis = np.array(vectors)
        for _ in range(2):
            w = w - basis.T @ (basis.conj() @ w)
        beta = float(np.linalg.norm(w))
        if beta <= 1e-10 * max(1.0, max(alphas)):
            ritz = np.linalg.eigvalsh(np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1))
            positive = ritz[ritz > 1e-9 * max(1.0, ritz[-1])]
            if not len(positive):
                return 1.0, 1.0
            return float(positive[0]), float(positive[-1])
        betas.append(beta)
        vectors.append(w / beta)
    raise ValueError(
        f"L* L of dimension {n} has more than {_STEPS} distinct eigenvalues: no gap above its "
        "kernel could be proven. Representations that are not orthogonal are projected up to "
        "dimension 2500, or beyond it with few eigenvalues; write them in an orthogonal basis"
    )
