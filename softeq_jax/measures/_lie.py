r"""The Lie derivative of a function, its norms and the local equivariance error.

For a generator that acts on inputs by D and on outputs by D' (``base._actions.act``),

    L f(x) = d/dt T'_{-t} f(T_t x) at t = 0 = J_f(x) D x - D' f(x),

which vanishes for every x and every generator of a basis iff f is equivariant under the
connected group. The derivative is exact: one ``jvp``, no step size; only the action of D on a
sampled image depends on a stencil. All generators share one evaluation of f and nothing is kept
for a backward pass. Source: Gruver et al. 2023; measures.md A.1, C (scale-free versions), D.1 to
D.3, D.8 to D.10, E.10.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures._lie_norms import METRICS, LieErrors
from softeq_jax.measures.base._actions import act
from softeq_jax.measures.base._functions import (
    Array,
    Function,
    Skeleton,
    batches,
    check_inputs,
    check_outputs,
    compiled,
    one_array,
    split_callable,
    with_head,
)
from softeq_jax.measures.base._generators import (
    COLORS,
    FLOWS,
    Generator,
    as_generators,
    is_single,
    lie_basis,
    own_functions,
)
from softeq_jax.measures.base._layouts import Fiber, Frame, Image, Invariant, Layout, Tokens
from softeq_jax.measures.base._options import Options, Setting, resolved
from softeq_jax.measures.base._pushes import push_forward


def lie_derivative(
    f: Function, images: Array, generator: Any, **options: Unpack[Options]
) -> jax.Array | dict[str, jax.Array]:
    """The Lie derivative ``L f(x) = J_f(x) D x - D' f(x)`` at every image.

    Args:
      f: images ``[n, ...]`` to an array ``[n, ...]``, example by example (evaluation mode). A
        plain function is compiled at every call, since what it closes over may have changed; a
        ``jax.tree_util.Partial(apply, params)``, ``measures.linen`` or a module that is a pytree
        is compiled once for all parameters.
      images: floating point, ``[n, h, w, c]`` for images.
      generator: a name ("rotation", "translation_x", ...; per radian, per pixel), a ``Flow``,
        ``Color`` or ``LieElement``, the index of a Lie generator where a representation acts on
        the input, or a list of these.
      **options: input, output, head and stencil, see ``Options``.

    Returns:
      An array like ``head(f(images))``; for a list of generators a dict by name.

    Raises:
      TypeError: integer images, or something that is no generator, layout or option.
      ValueError: unknown names; shapes that the layouts cannot have; a generator that does not
        act on a layout; NaN from f.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> ramp = np.tile(np.arange(8.0), (1, 8, 1))[..., None]  # grows by 1 per pixel
      >>> float(sq.measures.lie_derivative(lambda x: x[:, 4, 4], ramp, "translation_x")[0, 0])
      1.0
    """
    setting = resolved(options, "lie_derivative", without=("batch_size", "jit"))
    images = check_inputs(images)
    generators, setting = lie_setting(generator, setting, images.shape)
    arrays, skeleton = split_callable(f, setting.head, *own_functions(generators))
    y, response, expected, _ = derivatives(
        arrays, images, skeleton=skeleton, generators=generators, setting=setting
    )
    check_outputs(y, "the function's output")
    check_outputs(response, "the derivative of the function", DERIVATIVE_HINT)
    values = response - expected
    if is_single(generator):
        return values[0]
    return {g.name: value for g, value in zip(generators, values, strict=True)}


def default_generators(layout: Layout, shape: tuple[int, ...]) -> tuple[Generator, ...]:
    """All generators that act on an input: the Lie basis of a representation's group, or every
    flow, brightness and contrast, and for three channels saturation and hue."""
    if isinstance(layout, Fiber):
        return lie_basis(layout.rep.group)
    if isinstance(layout, Tokens):
        return tuple(FLOWS.values())
    if not isinstance(layout, Image):
        raise ValueError("nothing acts on an invariant input; name a layout or a representation")
    rgb = len(shape) > 3 and shape[layout.channel] == 3
    square = layout.rectangular or len({shape[axis] for axis in layout.axes}) == 1
    colors = COLORS if rgb else {name: COLORS[name] for name in ("brightness", "contrast")}
    flows = [flow for flow in FLOWS.values() if square or not flow.swaps_axes]
    return (*flows, *colors.values())


def lie_setting(
    generators: Any, setting: Setting, shape: tuple[int, ...]
) -> tuple[tuple[Generator, ...], Setting]:
    """The generators, and the setting of Lie derivatives along them.

    Colors act on the channels of images, and an output may be rectangular where the input is.

    Raises:
      TypeError: something that is no generator.
      ValueError: unknown generators, or a layout that does not fit the shape of the images.
    """
    source, target = setting.input, setting.output
    if isinstance(source, Image):
        source = dataclasses.replace(source, color=True)
        if source.rectangular and isinstance(target, Image):
            target = dataclasses.replace(target, rectangular=True)
    frame = frame_of(source, shape)
    setting = dataclasses.replace(setting, input=source, output=target, frame=frame)
    return as_generators(generators, source), setting


def frame_of(layout: Layout, shape: tuple[int, ...]) -> Frame | None:
    """Rows and columns of an input with this layout and shape; None if it has no grid."""
    layout.check(shape, "the input")
    if isinstance(layout, Image):
        return layout.grid(shape)
    if isinstance(layout, Tokens):
        return layout.sides(shape)
    if isinstance(layout, Fiber) and len(layout.axes) == 2:
        return shape[layout.axes[0]], shape[layout.axes[1]]
    return None


@compiled
def derivatives(
    arrays: Sequence[Array],
    images: Array,
    *,
    skeleton: Skeleton,
    generators: tuple[Generator, ...],
    setting: Setting,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """``f(x)``, and for each generator ``J D x``, ``D' f(x)`` and ``D x``."""
    x = jnp.asarray(images)
    f = with_head(skeleton(arrays), setting.head)
    setting.input.check(x.shape, "the input")
    frame = setting.frame
    directions = act(generators, x, setting.input, frame, setting.stencil)
    y, response = responses(f, x, directions)
    setting.output.check(y.shape, "the function's output")
    expected = act(generators, y, setting.output, frame, setting.stencil)
    return y, response, expected, directions


def responses(f: Function, x: jax.Array, directions: jax.Array) -> tuple[Any, jax.Array]:
    """``f(x)``, and ``J_f(x) d`` for each direction d of ``[G, n, ...]``.

    Raises:
      TypeError: f has no derivative in forward mode, or returns something else than an array.
      ValueError: f does not return one entry per example, or integers.
    """
    try:
        with jax.default_matmul_precision("highest"):
            y, response = push_forward(f, x, directions)
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
        raise TypeError(
            "the function has a derivative rule for reverse mode only (jax.custom_vjp), but the "
            "Lie derivative is taken in forward mode: give it a jax.custom_jvp, or take the total "
            "of measures.layerwise, which differentiates what is inside the rule"
        ) from error
    if one_array(y).ndim == 0 or y.shape[0] != x.shape[0]:
        raise ValueError(
            f"the function must return one array [n, ...] for {x.shape[0]} images, got {y.shape}"
        )
    if not jnp.issubdtype(y.dtype, jnp.inexact):
        raise ValueError(f"the function returned {y.dtype}, which has no derivative")
    return y, response


DERIVATIVE_HINT = (
    ": its value is finite but not its derivative, as of a square root or a norm at zero; add a "
    "small constant under the root"
)


def lie_errors(
    f: Function,
    images: Array,
    generators: Sequence[Any] | None = None,
    *,
    border: int = 0,
    **options: Unpack[Options],
) -> dict[str, LieErrors]:
    """Norms of the Lie derivative along every generator, from one pass over the images.

    Costs about ``1 + G`` evaluations of f for G generators.

    Args:
      f: see ``lie_derivative``.
      images: see ``lie_derivative``.
      generators: a list; None: all flows and colors that act on the images, or the Lie basis of
        the group where a representation acts.
      border: rows and columns at each edge of an image-like output that are set apart, as
        zero-padded convolutions do not see there what the stencil sees.
      **options: all but jit, see ``Options``; 64 images at a time unless said otherwise (that
        keeps the tangents of 32x32 images in cache).

    Returns:
      By generator name, in order.

    Raises:
      TypeError: see ``lie_derivative``.
      ValueError: see ``lie_derivative``; or a border of an output that is no image, or that
        leaves no interior.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
      >>> found = sq.measures.lie_errors(lambda x: x.mean((1, 2)), x, ["brightness"])
      >>> found["brightness"].mean_sq.round(4)
      array([1., 1.])
    """
    setting = resolved(options, "lie_errors", without=("jit",), batch_size=64)
    images = check_inputs(images)
    if generators is None:
        generators = default_generators(setting.input, images.shape)
    chosen, setting = lie_setting(generators, setting, images.shape)
    if border < 0 or (border and not isinstance(setting.output, Image)):
        raise ValueError(f"border {border} needs an image as output, got {setting.output}")
    arrays, skeleton = split_callable(f, setting.head, *own_functions(chosen))
    run = functools.partial(
        _norms, arrays, skeleton=skeleton, generators=chosen, setting=setting, border=border
    )
    pieces = []
    for piece, real in batches(images, setting.batch_size):
        norms = jax.device_get(run(piece))
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
        for i, generator in enumerate(chosen)
    }


def local_equivariance_error(
    f: Function,
    images: Array,
    generators: Sequence[Any] | None = None,
    *,
    metric: str = "mean_sq",
    border: int = 0,
    **options: Unpack[Options],
) -> dict[str, np.ndarray]:
    """The local equivariance error (LEE) of every image: ``||L_X f(x)||^2 / dim`` by default.

    Args:
      f: see ``lie_derivative``.
      images: see ``lie_derivative``.
      generators: see ``lie_errors``.
      metric: "mean_sq", "mean_abs" (the published end-to-end code averages ``|L|``), or a
        scale-free one of ``LieErrors``: "relative", "lipschitz", "null_normalized", "fisher".
      border: see ``lie_errors``.
      **options: see ``lie_errors``.

    Returns:
      float64 ``[n]`` for each generator name; see ``mean_and_error`` and ``bootstrap``.

    Raises:
      TypeError: see ``lie_derivative``.
      ValueError: see ``lie_errors``; or an unknown metric, or one that this output does not have.

    Example:
      >>> import jax.numpy as jnp, numpy as np, softeq_jax as sq
      >>> V = sq.reps.vector(sq.groups.so(3))
      >>> x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
      >>> cross = lambda x: jnp.cross(x[:, :3], x[:, 3:])  # turns with its arguments
      >>> error = sq.measures.local_equivariance_error(cross, x, input=2 * V, output=V)
      >>> bool(max(values.max() for values in error.values()) < 1e-10)
      True
    """
    if metric not in METRICS:
        raise ValueError(f"no metric is called {metric!r}, choose from {list(METRICS)}")
    errors = lie_errors(f, images, generators, border=border, **options)
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
    arrays: Sequence[Array],
    images: Array,
    *,
    skeleton: Skeleton,
    generators: tuple[Generator, ...],
    setting: Setting,
    border: int,
) -> Mapping[str, jax.Array]:
    """The sums of ``LieErrors``, each ``[G, n]``; of 16-bit floats in float32."""
    found = derivatives(arrays, images, skeleton=skeleton, generators=generators, setting=setting)
    y, response, expected, directions = (
        x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in found
    )
    lie, null = response - expected, response - jnp.roll(expected, -1, axis=1)
    inside = _interior(y.shape, setting.output, border)
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


def _interior(shape: tuple[int, ...], layout: Layout, border: int) -> np.ndarray | None:
    """1 inside, 0 on the border, broadcastable against the output; None without a border."""
    if not border or not isinstance(layout, Image):
        return None
    mask = np.ones((1,) * len(shape))
    for axis in layout.axes:
        n, axis = shape[axis], axis % len(shape)
        if 2 * border >= n:
            raise ValueError(f"a border of {border} leaves no interior of {n} entries")
        line = np.zeros(n)
        line[border : n - border] = 1
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
