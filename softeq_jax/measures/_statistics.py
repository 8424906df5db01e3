"""Estimates over images: ratios of expectations, their standard errors and intervals."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from softeq_jax._text import clipped, html_table, paragraph

DECIBELS = 10 / math.log(10)
_DRAWN = 2**22  # indices that are drawn at once


def mean_and_error(values: ArrayLike) -> tuple[float, float]:
    """Mean and its standard error over independent examples; host side, float64.

    The error is ``std / sqrt(n)`` with the unbiased standard deviation (0 for one example).

    Example:
      >>> import softeq_jax as sq
      >>> sq.measures.mean_and_error([1.0, 3.0])
      (2.0, 1.0)
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    if values.size == 0:
        raise ValueError("no values to average")
    spread = values.std(ddof=1) if values.size > 1 else 0.0
    return float(values.mean()), float(spread / np.sqrt(values.size))


def weighted_means(shares: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of shares with the weights ``||L||^2``, a ratio of expectations, and their errors.

    Args:
      shares: ``[layers, n]``; images with a NaN are left out.
      squares: ``[n, ...]``, summing to the weight of each image.

    Returns:
      Means and standard errors (delta method), each ``[layers]``; NaN where they are undefined.
    """
    weights = squares.reshape(len(squares), -1).sum(axis=1)
    weights = np.where(np.isfinite(shares).all(axis=0), weights, 0.0)
    count = int(np.count_nonzero(weights))
    if not count:
        nothing = np.full(len(shares), np.nan)
        return nothing, nothing
    kept = np.where(weights > 0, shares, 0.0)
    mean = kept @ weights / weights.sum()
    if count < 2:
        return mean, np.full(len(shares), np.nan)
    spread = ((kept - mean[:, None]) * weights) ** 2
    variance = spread.sum(axis=1) * count / (count - 1)
    return mean, np.sqrt(variance) / weights.sum()


def given_means(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over the last axis of what is finite, and their standard errors."""
    given = np.isfinite(values)
    count = given.sum(axis=-1)
    kept = np.where(given, values, 0.0)
    nothing = np.full(count.shape, np.nan)
    mean = np.divide(kept.sum(axis=-1), count, out=nothing.copy(), where=count > 0)
    spread = np.where(given, values - mean[..., None], 0.0)
    variance = np.divide(
        np.sum(spread**2, axis=-1), count * (count - 1), out=nothing, where=count > 1
    )
    return mean, np.sqrt(variance)


def bootstrap(
    statistic: Callable[[np.ndarray], float], n: int, key: jax.Array, samples: int = 1000
) -> np.ndarray:
    """A statistic over images drawn again with replacement.

    Args:
      statistic: from int ``[n]`` image indices (with repetitions) to a number.
      n: number of images.
      key: a JAX key; the same key gives the same draws.
      samples: number of draws.

    Returns:
      float64 ``[samples]``, sorted.

    Raises:
      ValueError: no image, or no draw.

    Example:
      >>> import jax, numpy as np, softeq_jax as sq
      >>> x = np.array([1.0, 2.0, 3.0])
      >>> mean = lambda index: x[index].mean()
      >>> draws = sq.measures.bootstrap(mean, len(x), jax.random.key(0), samples=50)
      >>> draws.shape, bool(1 <= draws[0] <= draws[-1] <= 3)
      ((50,), True)
    """
    if n < 1 or samples < 1:
        raise ValueError(f"bootstrap needs images and draws, got n={n} and samples={samples}")
    keys, chunk = jax.random.split(key, samples), max(_DRAWN // n, 1)
    values = [
        statistic(index)
        for start in range(0, samples, chunk)
        for index in np.asarray(_indices(keys[start : start + chunk], n))
    ]
    return np.sort(np.array(values, np.float64))


@functools.partial(jax.jit, static_argnames="n")
def _indices(keys: jax.Array, n: int) -> jax.Array:
    return jax.vmap(lambda key: jax.random.randint(key, (n,), 0, n))(keys)


@dataclasses.dataclass(frozen=True, repr=False)
class Estimate:
    r"""A ratio of means over images and transforms, ``E a / E b``, or its PSNR in decibels.

    Everything is float64. With ``span`` the value is ``20 log10 span - 10 log10(E a / E b)``,
    infinite where ``a = 0``. ``0 / 0``, as of errors relative to outputs that are all zero, is
    undefined: NaN, and a dash in tables.

    Attributes:
      name: as it appears in tables.
      numerators: a, ``[transforms, n]``.
      denominators: b, ``[transforms, n]``; ones for a plain mean.
      transforms: their names, one per row.
      span: the range of the outputs, for decibels; None: the plain ratio.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> numerators = np.array([[1.0, 3.0]])  # one transform, two images
      >>> estimate = sq.measures.Estimate("error", numerators, np.ones((1, 2)), ("flip",))
      >>> estimate.value, estimate.standard_error, estimate.per_image
      (2.0, 1.0, array([1., 3.]))
    """

    name: str
    numerators: np.ndarray
    denominators: np.ndarray
    transforms: tuple[str, ...]
    span: float | None = None

    @property
    def value(self) -> float:
        """The estimate."""
        return self._of(self.numerators.sum(), self.denominators.sum())

    @property
    def per_image(self) -> np.ndarray:
        """The same for every image, ``[n]``; its mean is the value only for plain means."""
        return self._each(self.numerators.sum(axis=0), self.denominators.sum(axis=0))

    @property
    def per_transform(self) -> np.ndarray:
        """The same for every transform, ``[transforms]``."""
        return self._each(self.numerators.sum(axis=1), self.denominators.sum(axis=1))

    @property
    def standard_error(self) -> float:
        """Over images, by the delta method; NaN for a single image."""
        a, b = self.numerators.mean(axis=0), self.denominators.mean(axis=0)
        if a.size < 2 or b.mean() == 0:
            return math.nan
        ratio = a.mean() / b.mean()
        error = float((a - ratio * b).std(ddof=1) / math.sqrt(a.size) / b.mean())
        if self.span is None or error == 0:
            return error
        return DECIBELS * error / ratio

    def interval(
        self, key: jax.Array, samples: int = 1000, level: float = 0.95
    ) -> tuple[float, float]:
        """The percentile bootstrap interval over images.

        Args:
          key: a JAX key.
          samples: number of draws.
          level: probability of the interval.

        Raises:
          ValueError: a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}")
        a, b = self.numerators.sum(axis=0), self.denominators.sum(axis=0)
        drawn = bootstrap(lambda i: self._of(a[i].sum(), b[i].sum()), a.size, key, samples)
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], method="nearest")
        return float(low), float(high)

    def table(self) -> str:
        """One row: name, value, standard error, images and transforms; "-" for what is NaN."""
        unit = "" if self.span is None else " dB"
        rows, n = self.numerators.shape
        value = given(self.value, ".5g")
        why = "; undefined: 0 / 0" if value == "-" else ""
        return (
            f"{clipped(self.name, 28):<28} {value:>12} +- {given(self.standard_error, '.2g')}{unit}"
            f"   ({n} images, {rows} transforms{why})"
        )

    def __repr__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        """The value under every transform."""
        errors = [mean_and_error(values)[1] for values in self.numerators]
        plain = self.span is None and bool(np.all(self.denominators == 1))
        rows = [
            (name, given(float(value), ".5g"), given(error, ".2g") if plain else "")
            for name, value, error in zip(self.transforms, self.per_transform, errors, strict=True)
        ]
        return paragraph(self.table()) + html_table(("transform", self.name, "+-"), rows)

    def _of(self, a: Any, b: Any) -> float:
        return float(self._each(np.asarray(a, np.float64), np.asarray(b, np.float64)))

    def _each(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = a / b
            if self.span is None:
                return ratio
            return 20 * np.log10(self.span) - 10 * np.log10(ratio)


def given(value: float, form: str) -> str:
    """A number in a table, "-" where it is NaN."""
    return "-" if math.isnan(value) else f"{value:{form}}"


def mean_of(name: str, values: np.ndarray, transforms: tuple[str, ...]) -> Estimate:
    """The plain mean of values ``[transforms, n]``."""
    values = np.asarray(values, np.float64)
    return Estimate(name, values, np.ones_like(values), transforms)
