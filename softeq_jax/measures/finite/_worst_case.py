r"""The largest error of equivariance: over samples, by ascent along a family, and by its size.

The worst case over samples is a lower bound of the sup; along a one-parameter family the best
sample goes uphill. The Lipschitz constant along an orbit at finite size,
``LLC(r) = sup_{0 < |t| <= r} ||f(T_t x) - T'_t f(x)|| / |t|``, tends to the norm of the Lie
derivative as r goes to 0 (measures.md C); where the curve leaves it, "local" ends.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax._text import clipped
from softeq_jax.measures._statistics import mean_and_error
from softeq_jax.measures.base._functions import (
    Array,
    Function,
    Skeleton,
    batches,
    compiled,
    with_head,
)
from softeq_jax.measures.base._options import Options, Setting, resolved
from softeq_jax.measures.finite._errors import error_norm, squared
from softeq_jax.measures.finite._evaluator import (
    Program,
    Transforms,
    evaluate,
    match,
    names_of,
    places,
    program_of,
    setting_of,
    transforms_of,
)
from softeq_jax.measures.finite._metrics import Comparison, per_image
from softeq_jax.measures.finite._transform import Transform

Family = Callable[[Any], Transform]


@dataclasses.dataclass(frozen=True, repr=False)
class WorstCase:
    r"""``max ||m (f(T x) - T' f(x))||`` over transforms and images; a lower bound of the sup.

    Attributes:
      errors: float64 ``[transforms, n]``, the norms.
      transforms: their names.
      truth_errors: those of the true function; None if it was not given.
      parameters: float64 ``[transforms]``, t of each; None without a family.
      ascended: float64 ``[n]``, the largest error of each image after the ascent in t, at least
        the largest sampled one; None without an ascent.
      ascended_at: float64 ``[n]``, the t where it is reached.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> errors = np.array([[0.1, 0.2], [0.5, 0.3]])  # transforms and images
      >>> found = sq.measures.finite.WorstCase(errors, ("flip", "turn"))
      >>> found.value, found.where, found.image
      (0.5, 'turn', 0)
    """

    errors: np.ndarray
    transforms: tuple[str, ...]
    truth_errors: np.ndarray | None = None
    parameters: np.ndarray | None = None
    ascended: np.ndarray | None = None
    ascended_at: np.ndarray | None = None

    @property
    def per_image(self) -> np.ndarray:
        """The largest error of each image, ``[n]``."""
        return self.errors.max(axis=0) if self.ascended is None else self.ascended

    @property
    def value(self) -> float:
        """The largest error."""
        return float(self.per_image.max())

    @property
    def sampled(self) -> float:
        """The largest error among the samples, without the ascent."""
        return float(self.errors.max())

    @property
    def image(self) -> int:
        """The image with the largest error."""
        return int(self.per_image.argmax())

    @property
    def where(self) -> str:
        """The transform with the largest error."""
        if self.ascended_at is not None:
            return f"t = {self.ascended_at[self.image]:.5g}"
        return self.transforms[int(self.errors[:, self.image].argmax())]

    @property
    def truth(self) -> float | None:
        """The largest sampled error of the true function: how much is there to be broken."""
        return None if self.truth_errors is None else float(self.truth_errors.max())

    def table(self) -> str:
        """One row: the value, where it is reached, and the error of the true function."""
        own = "" if self.truth is None else f"   (true function: {self.truth:.5g})"
        at = f"{clipped(self.where, 20)}, image {self.image}"
        return f"{'worst case':<24} {self.value:>12.5g} at {at}{own}"

    def __repr__(self) -> str:
        return self.table()


def worst_case_error(
    f: Function,
    images: Array,
    group: Transforms,
    *,
    truth: Function | None = None,
    n: int | None = None,
    key: jax.Array | None = None,
    **options: Unpack[Options],
) -> WorstCase:
    r"""``max_{g, x} ||f(T_g x) - T'_g f(x)||`` (Wang, Walters, Yu 2022; measures.md C).

    f is epsilon-approximately equivariant where this is at most epsilon; over samples of an
    infinite group it is a lower bound.

    Args:
      f: see ``relative_error``.
      images: see ``relative_error``.
      group: a finite group (every element), a compact one (n Haar samples), or transforms.
      truth: the function that the data follow, if it is known: its error says how equivariant f
        should be. It goes without the head.
      n: number of samples; None: every element of a finite group, 32 of an infinite one.
      key: a JAX key, needed for samples.
      **options: all but stencil, see ``Options``.

    Raises:
      TypeError, ValueError: see ``evaluate``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.arange(32.0, dtype="float32").reshape(2, 4, 4, 1)
      >>> C4 = sq.groups.cyclic(4)
      >>> found = sq.measures.worst_case_error(lambda x: x[:, 0, 0], x, C4)  # reads a corner
      >>> found.value, found.image
      (15.0, 0)
    """
    transforms = transforms_of(group, n, key)

    def errors(function: Function, given: Options) -> np.ndarray:
        return evaluate(function, images, transforms, [per_image(_norms)], **given)[0]["error"]

    own = None if truth is None else errors(truth, {**options, "head": "logits"})
    return WorstCase(errors(f, options), names_of(transforms), own)


def worst_case_along(
    f: Function,
    images: Array,
    family: Family,
    ts: Sequence[float],
    *,
    steps: int = 20,
    truth: Function | None = None,
    **options: Unpack[Options],
) -> WorstCase:
    """The worst case along a one-parameter family: from the best sample uphill in t.

    Each image goes its own way, within the range of the samples: steps in the direction of its
    derivative, taken only where the error grows, then longer ones after a success and half as
    long ones after a failure. So the result is at least the sampled maximum, at most the sup.

    Args:
      f: see ``relative_error``; differentiable.
      images: see ``relative_error``.
      family: t to a transform, such as ``rotation``, or ``lambda t: shift(t, 0.0,
        interpolation="lanczos")``; differentiable in t.
      ts: the samples.
      steps: of the ascent; each costs one gradient.
      truth: see ``worst_case_error``.
      **options: all but jit and stencil, see ``Options``.

    Raises:
      TypeError, ValueError: see ``evaluate``; ValueError for fewer than two samples, or where
        the error has no finite derivative.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
      >>> f, turn = lambda x: x[:, 4, 4], sq.measures.rotation
      >>> found = sq.measures.worst_case_along(f, x, turn, [0.0, 0.5], steps=2)
      >>> found.value >= found.sampled  # the ascent can only add
      True
    """
    setting = resolved(options, "worst_case_along", without=("jit", "stencil"))
    samples = np.asarray(ts, np.float64).ravel()
    if len(np.unique(samples)) < 2 or not np.all(np.isfinite(samples)):
        raise ValueError(
            f"the ascent needs two or more finite samples of t, got {samples.tolist()}"
        )
    transforms = [family(float(t)) for t in samples]
    sampled = worst_case_error(f, images, transforms, truth=truth, **options)
    setting = setting_of(images, transforms, setting)
    program, limits = program_of(f, setting.head), (samples.min(), samples.max())
    best = samples[sampled.errors.argmax(axis=0)]
    reached, at, start = sampled.errors.max(axis=0), best.copy(), 0
    for x, real in batches(images, setting.batch_size):
        first = best[np.minimum(start + np.arange(len(x)), len(best) - 1)]
        values, t = _ascend(program, family, setting, x, first, limits, steps)
        kept = slice(start, start + real)
        higher = values[:real] > reached[kept]
        reached[kept] = np.where(higher, values[:real], reached[kept])
        at[kept] = np.where(higher, t[:real], at[kept])
        start += real
    return dataclasses.replace(sampled, parameters=samples, ascended=reached, ascended_at=at)


def _norms(comparison: Comparison) -> dict[str, jax.Array]:
    return {"error": error_norm(comparison)}


def _ascend(
    program: Program,
    family: Family,
    setting: Setting,
    x: Array,
    t: np.ndarray,
    limits: tuple[float, float],
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Errors ``[n]`` and parameters ``[n]`` after the ascent."""
    climb = functools.partial(
        _energy_and_slope,
        program.arrays,
        jnp.asarray(x),
        skeleton=program.skeleton,
        family=family,
        setting=setting,
    )
    layout, _, frame = places(setting)
    upright = program(match(family(float(t[0])), x, layout, frame))
    energy, slope = (np.asarray(part, np.float64) for part in climb(upright, t))
    if not np.all(np.isfinite(slope)):
        raise ValueError(
            "the error has no finite derivative in t: check that f and the family are "
            "differentiable, or use worst_case_error with more samples"
        )
    rate = np.full(len(t), (limits[1] - limits[0]) / 32)
    for _ in range(steps):
        trial = np.clip(t + rate * np.sign(slope), *limits)
        found, new_slope = (np.asarray(part, np.float64) for part in climb(upright, trial))
        better = found > energy
        energy, t = np.where(better, found, energy), np.where(better, trial, t)
        slope = np.where(better, new_slope, slope)
        rate = np.where(better, 1.3, 0.5) * rate
    return np.sqrt(energy), t


@compiled
def _energy_and_slope(
    arrays: list[Array],
    x: jax.Array,
    upright: jax.Array,
    t: jax.Array,
    *,
    skeleton: Skeleton,
    family: Family,
    setting: Setting,
) -> tuple[jax.Array, jax.Array]:
    """Squared errors ``[n]`` at one t per image, and their derivatives."""
    layout, out, frame = places(setting)
    one = (1, *upright.shape[1:])

    def expected(t: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        transform = family(t)
        return transform(y[None], out, frame)[0], transform.mask(one, out, frame)[0]

    def energies(t: jax.Array) -> tuple[jax.Array, jax.Array]:
        moved = jax.vmap(lambda t, x: family(t)(x[None], layout, frame)[0])(t, x)
        y = with_head(skeleton(arrays), setting.head)(moved)
        y = jax.vmap(lambda t, y: family(t).match(y[None], out, frame)[0])(t, y)
        turned, mask = jax.vmap(expected)(t, upright)
        error = squared(y, turned, mask)
        return jnp.sum(error), error

    slope, error = jax.grad(energies, has_aux=True)(t)
    return error, slope


@dataclasses.dataclass(frozen=True, repr=False)
class OrbitLipschitz:
    """Difference quotients along an orbit.

    Attributes:
      ts: float64 ``[t]``, in order of size.
      ratios: float64 ``[t, n]``, ``||f(T_t x) - T'_t f(x)|| / |t|``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> found = sq.measures.finite.OrbitLipschitz(np.array([1.0, 2.0]), np.array([[3.0], [1.0]]))
      >>> found.suprema
      array([[3.],
             [3.]])
    """

    ts: np.ndarray
    ratios: np.ndarray

    @property
    def radii(self) -> np.ndarray:
        """The sizes |t|, each once, growing."""
        return np.unique(np.abs(self.ts))

    @property
    def suprema(self) -> np.ndarray:
        """``LLC(r)`` of every image over the sampled t, ``[radii, n]``."""
        return np.stack([self.ratios[np.abs(self.ts) <= r].max(axis=0) for r in self.radii])

    def at(self, r: float) -> tuple[float, float]:
        """Mean of ``LLC(r)`` over images, and its standard error.

        Raises:
          ValueError: no sample of this size or below.
        """
        chosen = np.abs(self.ts) <= r * (1 + 1e-9)
        if not chosen.any():
            raise ValueError(f"no t up to {r} among the samples, the smallest is {self.radii[0]}")
        return mean_and_error(self.ratios[chosen].max(axis=0))

    def table(self) -> str:
        """One row per radius."""
        rows = (f"LLC({r:<10.4g}) {{:>12.5g}} +- {{:.2g}}".format(*self.at(r)) for r in self.radii)
        return "\n".join(rows)

    def __repr__(self) -> str:
        return self.table()


def orbit_lipschitz(
    f: Function,
    images: Array,
    family: Family,
    ts: Sequence[float],
    **options: Unpack[Options],
) -> OrbitLipschitz:
    """The Lipschitz constant along an orbit: difference quotients and their running supremum.

    Args:
      f: see ``relative_error``.
      images: see ``relative_error``.
      family: t to a transform, with ``family(0)`` the identity, such as ``rotation``.
      ts: sizes in the unit of the family, none 0; a lower bound of the sup between them.
      **options: all but stencil, see ``Options``.

    Raises:
      TypeError, ValueError: see ``evaluate``; ValueError for no t, or one that is 0.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
      >>> shift = lambda t: sq.measures.shift(t, 0)
      >>> found = sq.measures.orbit_lipschitz(lambda x: x.sum((1, 2)), x, shift, [1.0, 2.0])
      >>> float(found.suprema.max()) < 1e-4  # a sum does not move
      True
    """
    samples = np.asarray(ts, np.float64).ravel()
    if samples.size == 0 or not np.all(np.isfinite(samples)) or np.any(samples == 0):
        raise ValueError(f"ts must be finite and different from 0, got {samples.tolist()}")
    samples = samples[np.argsort(np.abs(samples), kind="stable")]
    transforms = [family(float(t)) for t in samples]
    errors = worst_case_error(f, images, transforms, **options).errors
    return OrbitLipschitz(samples, errors / np.abs(samples)[:, None])
