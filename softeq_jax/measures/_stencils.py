r"""Derivatives of sampled signals: linear operators along one axis of an array.

A stencil turns samples ``x_0 .. x_{n-1}`` into the derivative, at the same points and per sample
spacing, of what it takes to lie between them. In brackets: the response to a wave ``exp(i w p)``,
which the exact derivative multiplies by ``i w``.

======================  ==============================================================
``central``             ``(x[p+1] - x[p-1]) / 2``                          [``i sin w``]
``forward``             ``x[p+1] - x[p]``, the one-sided derivative of bilinear
                        interpolation at a sample; for parity with published numbers only
``backward``            ``x[p] - x[p-1]``
``cubic``               Catmull-Rom interpolation, whose derivative at the samples is
                        the central difference, exactly
``lanczos``             ``sum_k (-1)^k sinc(k/a) (x[p-k] - x[p+k]) / k``, k = 1 .. a-1
``spectral``            trigonometric interpolation of the periodic signal   [``i w``]
``spectral_mirror``     cosine interpolation: the signal mirrored at its edges (DCT-II)
======================  ==============================================================

Lanczos interpolation does not reproduce slopes: at the samples of a ramp of slope 1 it has slope
``2 sum_k (-1)^(k+1) sinc(k/a)``, 0.83 for a = 3. The Nyquist wave of an even number of samples has
no defined derivative; ``spectral`` gives zero. Local stencils read beyond the edge: ``reflect``
mirrors without repeating the edge sample, ``symmetric`` repeats it, ``edge`` continues it,
``wrap`` is periodic. Source: measures.md D.2, E.1, E.6.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

BOUNDARIES = ("reflect", "symmetric", "edge", "wrap")
LOCAL = ("central", "cubic", "forward", "backward", "lanczos")
GLOBAL = ("spectral", "spectral_mirror")


@dataclasses.dataclass(frozen=True)
class Stencil:
    """A way to differentiate samples.

    Attributes:
      name: one of the table above.
      boundary: what a local stencil reads beyond the edge; the spectral ones have their own.
      support: a of ``lanczos``, at least 2.
    """

    name: str = "central"
    boundary: str = "reflect"
    support: int = 3

    def __post_init__(self) -> None:
        if self.name not in LOCAL + GLOBAL:
            raise ValueError(
                f"no stencil is called {self.name!r}, choose from {list(LOCAL + GLOBAL)}"
            )
        if self.boundary not in BOUNDARIES:
            raise ValueError(
                f"no boundary is called {self.boundary!r}, choose from {list(BOUNDARIES)}"
            )
        if self.support < 2:
            raise ValueError(f"lanczos needs a support of at least 2, got {self.support}")

    @property
    def weights(self) -> dict[int, float]:
        """Offset -> weight of a local stencil.

        Raises:
          ValueError: a spectral stencil, which has none.
        """
        if self.name in ("central", "cubic"):
            return {-1: -0.5, 1: 0.5}
        if self.name == "forward":
            return {0: -1.0, 1: 1.0}
        if self.name == "backward":
            return {-1: -1.0, 0: 1.0}
        if self.name == "lanczos":
            steps = [k for k in range(1 - self.support, self.support) if k]
            return {k: -((-1.0) ** k) / k * float(np.sinc(k / self.support)) for k in steps}
        raise ValueError(f"{self.name} is no local stencil; see matrix(n)")

    def matrix(self, n: int) -> np.ndarray:
        """The stencil on n samples as a matrix, float64 ``[n, n]``; its rows sum to zero."""
        if self.name == "spectral":
            return _spectral(n)
        if self.name == "spectral_mirror":
            return _spectral_mirror(n)
        reach = max(abs(k) for k in self.weights)
        _check_length(self, n, reach)
        read = np.pad(np.eye(n), ((reach, reach), (0, 0)), mode=self.boundary)
        return sum(w * read[reach + k : reach + k + n] for k, w in self.weights.items())


def as_stencil(stencil: "str | Stencil") -> Stencil:
    """The stencil of a name; a ``Stencil`` is returned as it is."""
    return stencil if isinstance(stencil, Stencil) else Stencil(stencil)


def derivative(x: jax.Array, axis: int, stencil: Stencil) -> jax.Array:
    """The derivative along an axis, per sample spacing; the shape and dtype of ``x``.

    Args:
      x: floating point; 16-bit floats are computed in float32.
      axis: to differentiate along. An axis of one sample has derivative zero.
      stencil: how.

    Raises:
      ValueError: the axis is too short for the stencil's reach at this boundary.
    """
    n = x.shape[axis]
    if n == 1:
        return jnp.zeros_like(x)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if stencil.name in GLOBAL:
        matrix = jnp.asarray(stencil.matrix(n), wide.dtype)
        moved = jnp.moveaxis(wide, axis, -1)
        return jnp.moveaxis(jnp.matmul(moved, matrix.T, precision="highest"), -1, axis).astype(
            x.dtype
        )
    weights = stencil.weights
    reach = max(abs(k) for k in weights)
    _check_length(stencil, n, reach)
    pad = [(0, 0)] * x.ndim
    pad[axis % x.ndim] = (reach, reach)
    read = jnp.pad(wide, pad, mode=stencil.boundary)
    parts = (
        weight * jax.lax.slice_in_dim(read, reach + k, reach + k + n, axis=axis)
        for k, weight in weights.items()
    )
    return functools.reduce(jnp.add, parts).astype(x.dtype)


def _check_length(stencil: Stencil, n: int, reach: int) -> None:
    least = {"reflect": reach + 1, "edge": 1}.get(stencil.boundary, reach)
    if n < least:
        raise ValueError(
            f"{stencil.name} with boundary {stencil.boundary!r} reads {reach} samples beyond the "
            f"edge and needs an axis of at least {least}, got {n}"
        )


@functools.lru_cache(maxsize=64)
def _spectral(n: int) -> np.ndarray:
    """Trigonometric differentiation of n samples of spacing 1, skew to the last bit."""
    steps = np.arange(1, n)
    angle = math.pi * steps / n
    odd = 1.0 / np.sin(angle) if n % 2 else 1.0 / np.tan(angle)
    column = np.concatenate([[0.0], math.pi / n * (-1.0) ** steps * odd])
    column = np.concatenate([[0.0], (column[1:] - column[:0:-1]) / 2])
    matrix = column[(np.arange(n)[:, None] - np.arange(n)) % n]
    matrix.setflags(write=False)
    return matrix


@functools.lru_cache(maxsize=64)
def _spectral_mirror(n: int) -> np.ndarray:
    """Derivative at ``p + 1/2`` of ``sum_k c_k cos(pi k (p + 1/2) / n)``, from samples there."""
    k, p = np.arange(n), np.arange(n) + 0.5
    waves = np.cos(math.pi * np.outer(p, k) / n)
    analysis = waves.T * np.where(k == 0, 1.0, 2.0)[:, None] / n
    slopes = -(math.pi * k / n) * np.sin(math.pi * np.outer(p, k) / n)
    matrix = slopes @ analysis
    matrix.setflags(write=False)
    return matrix
