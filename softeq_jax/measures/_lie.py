r"""The Lie derivative of a function and the local equivariance error.

For a generator that acts on inputs by D and on outputs by D' (``_actions.act``),

    L f(x) = d/dt T'_{-t} f(T_t x) at t = 0 = J_f(x) D x - D' f(x),

which vanishes for every x and every generator of a basis iff f is equivariant under the
connected group. The derivative is exact: one ``jvp``, no step size; only the action of D on a
sampled image depends on a stencil. All generators share one evaluation of f and nothing is kept
for a backward pass. Source: Gruver et al. 2023; measures.md A.1, D.1 to D.3, C.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures._actions import act
from softeq_jax.measures._functions import (
    HEADS,
    Array,
    Function,
    Skeleton,
    check_inputs,
    check_outputs,
    compiled,
    one_array,
    split_callable,
    with_head,
)
from softeq_jax.measures._generators import (
    COLORS,
    FLOWS,
    Action,
    Generator,
    as_generator,
    as_list,
    lie_basis,
)
from softeq_jax.measures._layouts import Fiber, Image, Layout, Tokens, as_layout
from softeq_jax.measures._stencils import Stencil, as_stencil


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a Lie derivative depends on besides the function and the images; hashable."""

    generators: tuple[Generator, ...]
    input: Layout
    output: Layout
    stencil: Stencil
    head: str | Function
    border: int = 0

    @property
    def functions(self) -> tuple[Any, ...]:
        """What of it is a function of the user's, which may close over anything."""
        actions = (g.function for g in self.generators if isinstance(g, Action))
        return (self.head, *actions)

    def frame(self, shape: tuple[int, ...]) -> tuple[int, int] | None:
        """Rows and columns of the input, in whose pixels flows are given."""
        return frame_of(self.input, shape)


def lie_derivative(
    f: Function,
    images: Array,
    generator: Any,
    *,
    stencil: str | Stencil = "central",
    input: str | Layout | Any = "image",
    output: str | Layout | Any = None,
    head: str | Function = "logits",
) -> jax.Array | dict[str, jax.Array]:
    """``L f(x) = J_f(x) D x - D' f(x)`` at every image.

    Args:
      f: images ``[n, ...]`` to an array ``[n, ...]``, example by example (evaluation mode). A
        plain function is compiled at every call, since what it closes over may have changed; a
        ``jax.tree_util.Partial(apply, params)``, ``measures.linen`` or a module that is a pytree
        is compiled once for all parameters.
      images: floating point, ``[n, h, w, c]`` for images.
      generator: a name ("rotation", "translation_x", ...; per radian, per pixel), a ``Flow``,
        ``Color`` or ``LieElement``, the index of a Lie generator where a representation acts on
        the input, or a list of these.
      stencil: "central", "spectral", "spectral_mirror", "cubic", "lanczos", "forward" or a
        ``Stencil``.
      input: layout of the images: "image", "tokens", a ``Layout`` or a representation.
      output: layout of ``head(f(x))``: None for scores ``[n]`` or ``[n, c]``, on which nothing
        acts; larger outputs have to be declared: "invariant", "image", "tokens", a ``Layout`` or a
        representation.
      head: "logits" (f as it is), "probabilities", "log_probabilities" or a function.

    Returns:
      An array like ``head(f(images))``; for a list of generators a dict by name.

    Raises:
      TypeError: integer images, or something that is no generator or layout.
      ValueError: unknown names; shapes that the layouts cannot have; a generator that does not
        act on a layout; NaN from f.
    """
    single = isinstance(generator, str | Generator | int | np.integer)
    setting = make_setting(generator, input, output, stencil, head)
    images = check_inputs(images)
    arrays, skeleton = split_callable(f, *setting.functions)
    y, response, expected, _ = derivatives(arrays, images, skeleton=skeleton, setting=setting)
    check_outputs(y, "the function's output")
    check_outputs(response, "the derivative of the function", DERIVATIVE_HINT)
    values = response - expected
    if single:
        return values[0]
    return {g.name: value for g, value in zip(setting.generators, values, strict=True)}


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


def make_setting(
    generators: Any,
    input: Any,
    output: Any,
    stencil: str | Stencil,
    head: str | Function,
    border: int = 0,
) -> Setting:
    """The parsed and checked setting; see ``lie_errors``."""
    source, target = as_layout(input, "input"), as_layout(output, "output")
    group = source.rep.group if isinstance(source, Fiber) else None
    if isinstance(source, Image):
        source = dataclasses.replace(source, color=True)
    parsed = tuple(as_generator(generator, group) for generator in as_list(generators))
    names = [generator.name for generator in parsed]
    if not parsed or len(set(names)) < len(names):
        raise ValueError(f"generators must be given, each once, got {names}")
    if border < 0 or (border and not isinstance(target, Image)):
        raise ValueError(f"border {border} needs an image as output, got {target}")
    if not callable(head) and head not in HEADS:
        raise ValueError(f"no head is called {head!r}, choose from {list(HEADS)} or a function")
    if isinstance(source, Image) and source.rectangular and isinstance(target, Image):
        target = dataclasses.replace(target, rectangular=True)
    return Setting(parsed, source, target, as_stencil(stencil), head, border)


def frame_of(layout: Layout, shape: tuple[int, ...]) -> tuple[int, int] | None:
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
    arrays: Sequence[Array], images: Array, *, skeleton: Skeleton, setting: Setting
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """``f(x)``, and for each generator ``J D x``, ``D' f(x)`` and ``D x``."""
    x = jnp.asarray(images)
    f = with_head(skeleton(arrays), setting.head)
    frame = setting.frame(x.shape)
    directions = act(setting.generators, x, setting.input, frame, setting.stencil)
    try:
        with jax.default_matmul_precision("highest"):
            y, response = jax.vmap(lambda v: jax.jvp(f, (x,), (v,)), out_axes=(None, 0))(directions)
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
    setting.output.check(y.shape, "the function's output")
    expected = act(setting.generators, y, setting.output, frame, setting.stencil)
    return y, response, expected, directions


DERIVATIVE_HINT = (
    ": its value is finite but not its derivative, as of a square root or a norm at zero; add a "
    "small constant under the root"
)
