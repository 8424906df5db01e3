r"""Norms of the Lie derivative over images: the local equivariance error and its relatives.

Source: Gruver et al. 2023; measures.md A.1, C (scale-free versions), D.8 to D.10, E.10.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures._functions import (
    Array,
    Function,
    Skeleton,
    batches,
    check_inputs,
    check_outputs,
    compiled,
    split_callable,
)
from softeq_jax.measures._layouts import Invariant, Layout, as_layout
from softeq_jax.measures._lie import (
    DERIVATIVE_HINT,
    Setting,
    default_generators,
    derivatives,
    make_setting,
)
from softeq_jax.measures._stencils import Stencil

METRICS = ("mean_sq", "mean_abs", "relative", "lipschitz", "null_normalized", "fisher")


@dataclasses.dataclass(frozen=True)
class LieErrors:
    """Norms of the Lie derivative along one generator; float64, one entry per image.

    d is the number of output entries of an image (the interior ones, if a border is set apart).

    Attributes:
      mean_sq: ``||L f||^2 / d``, the local equivariance error.
      mean_abs: ``||L f||_1 / d``.
      response_sq: ``||J_f D x||^2 / d``, how far the output moves.
      input_sq: ``||D x||^2``, how far the input moves; not divided.
      null_sq: ``||J_f D x - D' f(x')||^2 / d`` with x' the next image of the batch; NaN for
        batches of one.
      fisher: ``sum_k (L p_k)^2 / p_k`` of class probabilities p, the curvature of the KL
        divergence along the orbit; NaN where the output is not a row of class scores.
      border_mean_sq: ``mean_sq`` over the border that was set apart; NaN without one.
    """

    mean_sq: np.ndarray
    mean_abs: np.ndarray
    response_sq: np.ndarray
    input_sq: np.ndarray
    null_sq: np.ndarray
    fisher: np.ndarray
    border_mean_sq: np.ndarray
    entries: int

    @property
    def relative(self) -> np.ndarray:
        """``||L f|| / ||J_f D x||``: 1 for invariant outputs, in [0, 2] while D' f moves no
        further than f; 0 where nothing moves at all."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.sqrt(self.mean_sq / self.response_sq)
        return np.where(self.mean_sq == 0, 0.0, ratio)

    @property
    def lipschitz(self) -> np.ndarray:
        """``||L f|| / ||D x||``: per distance that the image itself moves; 0 where it does not."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.sqrt(self.mean_sq * self.entries / self.input_sq)
        return np.where(self.mean_sq == 0, 0.0, ratio)

    @property
    def null_normalized(self) -> np.ndarray:
        """``||L f||^2`` over the mean of ``null_sq``: the mean over images is 0 for an
        equivariant function and 1 for one no better than another image's."""
        return self.mean_sq / self.null_sq.mean()

    @property
    def floor(self) -> np.ndarray:
        """What float32 rounding alone may leave of ``mean_sq``: ``response_sq * eps^2``."""
        return self.response_sq * np.finfo(np.float32).eps ** 2


def lie_errors(
    f: Function,
    images: Array,
    generators: Sequence[Any] | None = None,
    *,
    stencil: str | Stencil = "central",
    input: str | Layout | Any = "image",
    output: str | Layout | Any = None,
    head: str | Function = "logits",
    border: int = 0,
    batch_size: int | None = 64,
) -> dict[str, LieErrors]:
    """Every norm of the Lie derivative, from one pass over the images.

    Costs about ``1 + G`` evaluations of f for G generators.

    Args:
      f: see ``lie_derivative``.
      images: see ``lie_derivative``.
      generators: a list; None: all flows and colors that act on the images, or the Lie basis of
        the group where a representation acts.
      stencil: see ``lie_derivative``.
      input: see ``lie_derivative``.
      output: see ``lie_derivative``.
      head: see ``lie_derivative``.
      border: rows and columns at each edge of an image-like output that are set apart, as
        zero-padded convolutions do not see there what the stencil sees.
      batch_size: images at a time (64 keep the tangents of 32x32 images in cache); None: all.

    Returns:
      By generator name, in order.

    Raises:
      TypeError: see ``lie_derivative``.
      ValueError: see ``lie_derivative``; or a border of an output that is no image, or that
        leaves no interior.
    """
    images = check_inputs(images)
    if generators is None:
        generators = default_generators(as_layout(input, "input"), images.shape)
    setting = make_setting(generators, input, output, stencil, head, border)
    arrays, skeleton = split_callable(f, *setting.functions)
    pieces = []
    for piece, real in batches(images, batch_size):
        norms = jax.device_get(_norms(arrays, piece, skeleton=skeleton, setting=setting))
        check_outputs(norms.pop("output")[:real], "the function's output")
        check_outputs(norms["response_sq"][:, :real], "the derivative", DERIVATIVE_HINT)
        pieces.append({name: value[..., :real] for name, value in norms.items()})
    entries = int(pieces[0].pop("entries").ravel()[0])
    joined = {
        name: np.concatenate([piece[name] for piece in pieces], axis=1).astype(np.float64)
        for name in pieces[0]
    }
    return {
        generator.name: LieErrors(**{k: v[i] for k, v in joined.items()}, entries=entries)
        for i, generator in enumerate(setting.generators)
    }


def local_equivariance_error(
    f: Function,
    images: Array,
    generators: Sequence[Any] | None = None,
    *,
    metric: str = "mean_sq",
    **settings: Any,
) -> dict[str, np.ndarray]:
    """The local equivariance error (LEE) of every image: ``||L_X f(x)||^2 / dim`` by default.

    Args:
      f: see ``lie_derivative``.
      images: see ``lie_derivative``.
      generators: see ``lie_errors``.
      metric: "mean_sq", "mean_abs" (the published end-to-end code averages ``|L|``), or a
        scale-free one of ``LieErrors``: "relative", "lipschitz", "null_normalized", "fisher".
      **settings: stencil, input, output, head, border, batch_size of ``lie_errors``.

    Returns:
      float64 ``[n]`` for each generator name; see ``mean_and_error`` and ``bootstrap``.

    Raises:
      TypeError: see ``lie_derivative``.
      ValueError: see ``lie_errors``; or an unknown metric, or one that this output does not have.
    """
    if metric not in METRICS:
        raise ValueError(f"no metric is called {metric!r}, choose from {list(METRICS)}")
    errors = lie_errors(f, images, generators, **settings)
    return {name: _metric(error, metric) for name, error in errors.items()}


def _metric(errors: LieErrors, metric: str) -> np.ndarray:
    values = getattr(errors, metric)
    if np.isnan(values).any():
        need = {
            "fisher": "class scores: an invariant output [n, classes] and a named head",
            "null_normalized": "at least two images in every batch",
        }
        raise ValueError(f"{metric} needs {need.get(metric, 'finite values')}")
    return values


@compiled
def _norms(
    arrays: Sequence[Array], images: Array, *, skeleton: Skeleton, setting: Setting
) -> Mapping[str, jax.Array]:
    """The sums of ``LieErrors``, each ``[G, n]``."""
    y, response, expected, directions = derivatives(
        arrays, images, skeleton=skeleton, setting=setting
    )
    lie, null = response - expected, response - jnp.roll(expected, -1, axis=1)
    inside = _interior(y.shape, setting)
    mean = functools.partial(_mean, mask=inside)
    alone = y.shape[0] == 1
    nothing = jnp.full(lie.shape[:2], jnp.nan)
    return {
        "mean_sq": mean(jnp.abs(lie) ** 2),
        "mean_abs": mean(jnp.abs(lie)),
        "response_sq": mean(jnp.abs(response) ** 2),
        "input_sq": jnp.sum(jnp.abs(directions) ** 2, axis=tuple(range(2, directions.ndim))),
        "null_sq": nothing if alone else mean(jnp.abs(null) ** 2),
        "fisher": _fisher(y, lie, setting) if _has_classes(y, setting) else nothing,
        "border_mean_sq": nothing if inside is None else _mean(jnp.abs(lie) ** 2, 1 - inside),
        "entries": jnp.full(lie.shape[:2], _entries(y.shape, inside)),
        "output": jnp.mean(jnp.abs(y), axis=tuple(range(1, y.ndim))),
    }


def _mean(values: jax.Array, mask: np.ndarray | None) -> jax.Array:
    axes = tuple(range(2, values.ndim))
    if mask is None:
        return jnp.mean(values, axis=axes)
    weights = np.broadcast_to(mask, values.shape[1:])[0]
    return jnp.sum(values * weights.astype(values.dtype), axis=axes) / weights.sum()


def _entries(shape: tuple[int, ...], mask: np.ndarray | None) -> int:
    if mask is None:
        return int(np.prod(shape[1:]))
    return int(np.broadcast_to(mask, shape)[0].sum())


def _interior(shape: tuple[int, ...], setting: Setting) -> np.ndarray | None:
    """1 inside, 0 on the border, broadcastable against the output; None without a border."""
    if not setting.border:
        return None
    mask = np.ones((1,) * len(shape))
    for axis in setting.output.axes:
        n, axis = shape[axis], axis % len(shape)
        if 2 * setting.border >= n:
            raise ValueError(f"a border of {setting.border} leaves no interior of {n} entries")
        line = np.zeros(n)
        line[setting.border : n - setting.border] = 1
        mask = mask * line.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return mask


def _has_classes(y: jax.Array, setting: Setting) -> bool:
    known = isinstance(setting.head, str)
    return known and isinstance(setting.output, Invariant) and y.ndim == 2 and y.shape[1] > 1


def _fisher(y: jax.Array, lie: jax.Array, setting: Setting) -> jax.Array:
    """``sum_k (L p_k)^2 / p_k`` from the derivative of scores, log-probabilities or
    probabilities; for scores it is their variance under p."""
    if setting.head == "probabilities":
        return jnp.sum(jnp.where(y > 0, lie**2 / jnp.where(y > 0, y, 1), 0), axis=-1)
    p = jax.nn.softmax(y, axis=-1)
    center = jnp.sum(p * lie, axis=-1, keepdims=True)
    return jnp.sum(p * (lie - center) ** 2, axis=-1)
