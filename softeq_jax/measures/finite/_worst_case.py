r"""The largest error of equivariance, over samples and by ascent along a one-parameter family."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import Group
from softeq_jax.measures._functions import Function, Skeleton, batches, compiled, with_head
from softeq_jax.measures._layouts import Layout
from softeq_jax.measures.finite._deviation import error_norm, transforms_of
from softeq_jax.measures.finite._errors import names_of, squared
from softeq_jax.measures.finite._evaluator import Setting, evaluate, per_image, setting_of
from softeq_jax.measures.finite._program import Program, match, program_of
from softeq_jax.measures.finite._transform import Array, Transform

Family = Callable[[Any], Transform]


@dataclasses.dataclass(frozen=True, repr=False)
class WorstCase:
    r"""``max ||m (f(T x) - T' f(x))||`` over transforms and images; a lower bound of the sup.

    Attributes:
      errors: float64 ``[transforms, n]``, the norms.
      transforms: their names.
      truth_errors: those of the true function, likewise; None if it was not given.
      parameters: float64 ``[transforms]``, t of each; None without a family.
      ascended: float64 ``[n]``, the largest error of each image after the ascent in t, at least
        the largest sampled one; None without an ascent.
      ascended_at: float64 ``[n]``, the t where it is reached.
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
        return f"{'worst case':<28} {self.value:>12.5g} at {self.where}, image {self.image}{own}"

    def __repr__(self) -> str:
        return self.table()


def worst_case_error(
    f: Function,
    images: Array,
    group: Group | Sequence[Transform],
    *,
    truth: Function | None = None,
    n: int | None = None,
    key: jax.Array | None = None,
    input: str | Layout = "image",
    output: str | Layout | None = None,
    head: str | Function = "logits",
    batch_size: int | None = None,
    jit: bool = True,
) -> WorstCase:
    r"""``max_{g, x} ||f(T_g x) - T'_g f(x)||`` (Wang, Walters, Yu 2022; measures.md C).

    f is epsilon-approximately equivariant where this is at most epsilon; over samples of an
    infinite group it is a lower bound.

    Args:
      f: as of ``relative_error``.
      images: likewise.
      group: a finite group (every element), a compact one (n Haar samples), or transforms.
      truth: the function that the data follow, if it is known: its error says how equivariant f
        should be. It goes without the head.
      n: number of samples; None: every element of a finite group, 32 of an infinite one.
      key: a JAX key, needed for samples.
      input: as of ``relative_error``.
      output: likewise.
      head: likewise.
      batch_size: likewise.
      jit: likewise.

    Raises:
      TypeError, ValueError: see ``evaluate``.
    """
    transforms = transforms_of(group, n, key)

    def errors(function: Function, head: str | Function) -> np.ndarray:
        metric = per_image(_norms)
        return evaluate(
            function,
            images,
            transforms,
            [metric],
            input=input,
            output=output,
            head=head,
            batch_size=batch_size,
            jit=jit,
        )[0]["error"]

    own = None if truth is None else errors(truth, "logits")
    return WorstCase(errors(f, head), names_of(transforms), own)


def worst_case_along(
    f: Function,
    images: Array,
    family: Family,
    ts: Sequence[float],
    *,
    steps: int = 20,
    truth: Function | None = None,
    input: str | Layout = "image",
    output: str | Layout | None = None,
    head: str | Function = "logits",
    batch_size: int | None = None,
) -> WorstCase:
    """The worst case along a one-parameter family, from the best sample uphill in t.

    Each image goes its own way, within the range of the samples: steps in the direction of its
    derivative, taken only where the error grows, then longer ones after a success and half as
    long ones after a failure. So the result is at least the sampled maximum, at most the sup.

    Args:
      f: as of ``relative_error``; differentiable.
      images: likewise.
      family: t to a transform, such as ``rotation``, or ``lambda t: shift(t, 0.0,
        interpolation="lanczos")``; differentiable in t.
      ts: the samples.
      steps: of the ascent; each costs one gradient.
      truth: as of ``worst_case_error``.
      input: as of ``relative_error``.
      output: likewise.
      head: likewise.
      batch_size: likewise.

    Raises:
      TypeError, ValueError: see ``evaluate``; ValueError for fewer than two samples, or where
        the error has no finite derivative.
    """
    ts = np.asarray(ts, np.float64).ravel()
    if len(np.unique(ts)) < 2 or not np.all(np.isfinite(ts)):
        raise ValueError(f"the ascent needs two or more finite samples of t, got {ts.tolist()}")
    transforms = [family(float(t)) for t in ts]
    sampled = worst_case_error(
        f,
        images,
        transforms,
        truth=truth,
        input=input,
        output=output,
        head=head,
        batch_size=batch_size,
    )
    setting = setting_of(images, transforms, input, output)
    program = program_of(f, head)
    best = ts[sampled.errors.argmax(axis=0)]
    reached, at, start = sampled.errors.max(axis=0), best.copy(), 0
    for x, real in batches(images, batch_size):
        first = best[np.minimum(start + np.arange(len(x)), len(best) - 1)]
        values, t = _ascend(program, family, setting, x, first, (ts.min(), ts.max()), steps)
        kept = slice(start, start + real)
        higher = values[:real] > reached[kept]
        reached[kept] = np.where(higher, values[:real], reached[kept])
        at[kept] = np.where(higher, t[:real], at[kept])
        start += real
    return dataclasses.replace(sampled, parameters=ts, ascended=reached, ascended_at=at)


def _norms(outcome: Any) -> dict[str, jax.Array]:
    return {"error": error_norm(outcome)}


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
        head=program.head,
        family=family,
        setting=setting,
    )
    upright = program(match(family(float(t[0])), x, setting.layout, setting.frame))
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
    head: str | Function,
    family: Family,
    setting: Setting,
) -> tuple[jax.Array, jax.Array]:
    """Squared errors ``[n]`` at one t per image, and their derivatives."""
    layout, out, frame = setting
    one = (1, *upright.shape[1:])

    def expected(t: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        transform = family(t)
        return transform(y[None], out, frame)[0], transform.mask(one, out, frame)[0]

    def energies(t: jax.Array) -> tuple[jax.Array, jax.Array]:
        moved = jax.vmap(lambda t, x: family(t)(x[None], layout, frame)[0])(t, x)
        y = with_head(skeleton(arrays), head)(moved)
        y = jax.vmap(lambda t, y: family(t).match(y[None], out, frame)[0])(t, y)
        turned, mask = jax.vmap(expected)(t, upright)
        error = squared(y, turned, mask)
        return jnp.sum(error), error

    slope, error = jax.grad(energies, has_aux=True)(t)
    return error, slope
