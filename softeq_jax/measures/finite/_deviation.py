"""Deviations from equivariance over a group, and the KL consistency of a classifier."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from softeq_jax.groups import Group
from softeq_jax.measures._functions import Function
from softeq_jax.measures._layouts import Layout
from softeq_jax.measures._rotation import kl_divergence
from softeq_jax.measures.finite._errors import names_of, squared
from softeq_jax.measures.finite._evaluator import (
    BACK,
    Outcome,
    check_transforms,
    evaluate,
    per_image,
)
from softeq_jax.measures.finite._families import group_transforms, haar_transforms
from softeq_jax.measures.finite._statistics import Estimate, mean_of
from softeq_jax.measures.finite._transform import Array, Transform

_SAMPLES = 32


def error_norm(o: Outcome) -> jax.Array:
    """``||m (f(T x) - T' f(x))||`` per image."""
    return jnp.sqrt(squared(o.moved, o.expected, o.mask))


def _classes(y: jax.Array, what: str) -> jax.Array:
    if y.ndim != 2:
        raise ValueError(f"{what} compares class scores [n, classes], got shape {y.shape}")
    return y


def _kl(o: Outcome) -> jax.Array:
    return kl_divergence(_classes(o.expected, "kl"), _classes(o.moved, "kl"))


def _argmax(o: Outcome) -> jax.Array:
    expected, moved = (_classes(y, "argmax") for y in (o.expected, o.moved))
    return (jnp.argmax(expected, -1) != jnp.argmax(moved, -1)).astype(jnp.float32)


DISCREPANCIES: dict[str, Callable[[Outcome], jax.Array]] = {
    "l2": error_norm,
    "sq": lambda o: squared(o.moved, o.expected, o.mask),
    "kl": _kl,
    "argmax": _argmax,
}


@functools.lru_cache(maxsize=32)
def _measure(d: Callable[[Outcome], jax.Array]) -> Callable[[Outcome], dict[str, jax.Array]]:
    return lambda outcome: {"d": d(outcome)}


def equivariance_deviation(
    f: Function,
    images: Array,
    group: Group | Sequence[Transform],
    *,
    discrepancy: str | Callable[[Outcome], jax.Array] = "l2",
    n: int | None = None,
    key: jax.Array | None = None,
    input: str | Layout = "image",
    output: str | Layout | None = None,
    head: str | Function = "logits",
    batch_size: int | None = None,
    jit: bool = True,
) -> Estimate:
    r"""``E_x E_g d(f(g x), g f(x))``, g uniform on the group (Kvinge et al. 2022; measures.md C).

    With output="invariant" it is a deviation from invariance.

    Args:
      f: as of ``relative_error``.
      images: likewise.
      group: a finite group (every element), a compact one (n Haar samples), or transforms.
      discrepancy: d: "l2" (the norm of the difference), "sq" (its square), "kl" (of the softmax
        of ``g f(x)`` from that of ``f(g x)``, nats; the outputs must be logits), "argmax" (whether
        the top class differs) or a function of an ``Outcome`` that returns ``[n]``.
      n: number of samples; None: every element of a finite group, 32 of an infinite one.
      key: a JAX key, needed for samples.
      input: as of ``relative_error``.
      output: likewise.
      head: likewise.
      batch_size: likewise.
      jit: likewise.

    Raises:
      TypeError, ValueError: see ``evaluate``; ValueError for an unknown discrepancy, or samples
        without a key.
    """
    transforms = transforms_of(group, n, key)
    if callable(discrepancy):
        d, name = discrepancy, "deviation"
    elif discrepancy in DISCREPANCIES:
        d, name = DISCREPANCIES[discrepancy], f"deviation ({discrepancy})"
    else:
        raise ValueError(
            f"no discrepancy is called {discrepancy!r}, choose from {list(DISCREPANCIES)}"
        )
    names = names_of(transforms)
    metric = per_image(_measure(d), lambda v: mean_of(name, v["d"], names))
    return evaluate(
        f,
        images,
        transforms,
        [metric],
        input=input,
        output=output,
        head=head,
        batch_size=batch_size,
        jit=jit,
    )[0]


def transforms_of(group: Any, n: int | None = None, key: Any = None) -> list[Transform]:
    """The elements, or samples, of a group as transforms; a list of transforms as it is.

    Raises:
      ValueError: samples without a key, or ``n`` for a list of transforms.
    """
    if not isinstance(group, Group):
        if n is not None:
            raise ValueError("n counts samples of a group; a list of transforms has its own length")
        return check_transforms(group)
    if n is None and group.is_finite:
        return group_transforms(group)
    if key is None:
        raise ValueError(f"samples of {group} need key=jax.random.key(...)")
    return haar_transforms(group, key, _SAMPLES if n is None else n)


@dataclasses.dataclass(frozen=True, repr=False)
class KLConsistency:
    """How far a transform moves the predicted distribution, and resampling alone.

    Attributes:
      kl: ``KL(f(x) || f(T x))``, nats.
      floor: ``KL(f(x) || f(T^-1 T x))``, nats: interpolation and cut-off content without any net
        transform (about twice, as the image is resampled twice).
    """

    kl: Estimate
    floor: Estimate

    def table(self) -> str:
        """Two rows."""
        return f"{self.kl.table()}\n{self.floor.table()}"

    def __repr__(self) -> str:
        return self.table()


def _kl_pair(o: Outcome) -> dict[str, jax.Array]:
    upright = _classes(o.upright, "kl_consistency")
    return {"kl": kl_divergence(upright, o.moved), "floor": kl_divergence(upright, o.back)}


def kl_consistency(
    f: Function,
    images: Array,
    transforms: Sequence[Transform],
    *,
    input: str | Layout = "image",
    head: str | Function = "logits",
    batch_size: int | None = None,
    jit: bool = True,
) -> KLConsistency:
    """``E KL(f(x) || f(T x))`` of the predicted classes, with its interpolation floor.

    As ``rotation_report`` has it for rotations, for any transforms.

    Args:
      f: images to logits ``[n, classes]`` (with the head).
      images: as of ``relative_error``, and so for all others.
      transforms: likewise.
      input: likewise.
      head: must leave logits or log probabilities.
      batch_size: likewise.
      jit: likewise.

    Raises:
      TypeError, ValueError: see ``evaluate``; ValueError for outputs that are no class scores.
    """
    transforms = check_transforms(transforms)
    names = names_of(transforms)

    def compute(v: dict[str, Any]) -> KLConsistency:
        return KLConsistency(
            mean_of("KL(f(x) || f(Tx)) [nats]", v["kl"], names),
            mean_of("interpolation floor [nats]", v["floor"], names),
        )

    metric = per_image(_kl_pair, compute, frozenset({BACK}))
    return evaluate(
        f,
        images,
        transforms,
        [metric],
        input=input,
        output="invariant",
        head=head,
        batch_size=batch_size,
        jit=jit,
    )[0]
