"""From the pullbacks of all batches to an attribution; on the host, in float64."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from softeq_jax.measures._functions import check_outputs
from softeq_jax.measures._generators import Generator
from softeq_jax.measures.attribution._attribution import Attribution
from softeq_jax.measures.attribution._estimators import Host

TOLERATED = 1e-3
"""Of the sum of ``||L f||^2``, what images may hold whose contributions do not sum to L f."""
NEGLIGIBLE = 0.1
"""Shares are undefined where rounding may make up more than this part of L f."""


def check_finite(host: Host, generators: Sequence[Generator]) -> None:
    """ValueError where f or L f of a batch is not finite."""
    check_outputs(host["size"], "the output of f", ": L f cannot be shared out")
    for g, generator in enumerate(generators):
        check_outputs(
            host["total"][:, g], f"L f for {generator.name}", "; is f differentiable there?"
        )


def without_shares(host: Host, generators: Sequence[Generator]) -> np.ndarray:
    """Images whose derivative is too small to be shared out, or whose sum over the layers fails.

    Too small: ``||L f|| <= eps ||f(x)||``, so that a unit of the generator does not move the last
    bit of the output (of saturated probabilities, for instance). The sum fails where it misses L f
    by more than rounding explains; the pullbacks of an image count jointly.

    Args:
      host: results of ``Stages.run`` for all images.
      generators: for the message.

    Returns:
      bool ``[n, G]``.

    Raises:
      ArithmeticError: the sum fails for images that hold more than ``TOLERATED`` of the sum of
        ``||L f||^2``.
    """
    gap, allowed = (host[name].astype(np.float64) for name in ("gap", "allowed"))
    if gap.ndim == 3:
        gap, allowed = (np.linalg.norm(values, axis=1) for values in (gap, allowed))
    total = np.abs(host["total"])
    weights = np.sum(total.astype(np.float64).reshape(*total.shape[:2], -1) ** 2, axis=-1)
    resolution = float(jnp.finfo(total.dtype).eps) * host["size"].astype(np.float64)
    small = np.sqrt(weights) <= resolution[:, None]
    bad = ~(gap <= allowed) & ~small
    for g, generator in enumerate(generators):
        if weights[bad[:, g], g].sum() > TOLERATED * weights[:, g].sum():
            excess = np.where(bad[:, g], gap[:, g] / np.maximum(allowed[:, g], 1e-300), 0)
            worst = int(np.argmax(excess * weights[:, g]))
            raise ArithmeticError(
                f"{generator.name}: the contributions of the layers miss L f by "
                f"{excess[worst]:.3g} times what rounding explains, at image {worst}. Is f "
                f"deterministic, and does it treat every image by itself (batch norm and "
                f"dropout in evaluation mode)? If its output is saturated, measure the logits, or "
                f"in float64"
            )
    return bad | small


def summarize(
    host: Host,
    layers: tuple[str, ...],
    shapes: tuple[tuple[int, ...], ...],
    layouts: tuple[str, ...],
    generators: Sequence[Generator],
    estimator: str,
) -> Attribution:
    """Per-image results by generator; see ``Attribution``.

    Raises:
      ArithmeticError: see ``without_shares``.
    """
    names = tuple(generator.name for generator in generators)
    totals = host["total"]
    flat = totals.astype(np.float64).reshape(*totals.shape[:2], -1)
    size = np.linalg.norm(flat, axis=-1)
    pulled = host["layers"].astype(np.float64)
    rounding = host["rounding"].astype(np.float64)
    norms = errors = cosines = entries = None
    if estimator == "shares":
        shares = np.moveaxis(pulled, 1, -1)
        relative = rounding
    elif estimator == "exact":
        entries = np.moveaxis(host["layers"], 1, -1)
        exact = np.moveaxis(pulled, 1, -1)
        norms = np.sum(exact**2, axis=-1)
        along = np.einsum("nlgk,ngk->nlg", exact, flat)
        shares = _ratio(along, size[:, None] ** 2)
        cosines = _ratio(along, np.sqrt(norms) * size[:, None])
        relative = _ratio(np.linalg.norm(rounding, axis=1), size)
        entries = entries.reshape(*entries.shape[:3], *totals.shape[2:])
    else:
        squares = pulled**2
        norms = squares.mean(axis=1)
        errors = squares.std(axis=1, ddof=1) / math.sqrt(squares.shape[1])
        mixed = np.einsum("nklg,nkg->nlg", pulled, host["wanted"].astype(np.float64))
        shares = _ratio(mixed, mixed.sum(axis=1, keepdims=True))
        relative = _ratio(np.sqrt(np.mean(rounding**2, axis=1)), size)
    undefined = ~(relative <= NEGLIGIBLE) | (size == 0) | without_shares(host, generators)
    shares = np.where(undefined[:, None], np.nan, shares)
    cosines = None if cosines is None else np.where(undefined[:, None], np.nan, cosines)

    def per_generator(values: np.ndarray | None) -> dict[str, np.ndarray] | None:
        """From axes (image, layer, generator, ...) to (layer, image, ...) for each generator."""
        if values is None:
            return None
        return {name: np.swapaxes(values[:, :, g], 0, 1) for g, name in enumerate(names)}

    return Attribution(
        layers,
        shapes,
        layouts,
        names,
        estimator,
        {name: totals[:, g] for g, name in enumerate(names)},
        per_generator(shares),
        per_generator(norms),
        per_generator(errors),
        per_generator(cosines),
        per_generator(entries),
        {name: int(undefined[:, g].sum()) for g, name in enumerate(names)},
    )


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    nothing = np.full(np.broadcast_shapes(a.shape, b.shape), math.nan)
    return np.divide(a, b, out=nothing, where=b != 0)
