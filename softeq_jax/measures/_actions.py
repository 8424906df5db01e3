r"""The infinitesimal action ``D a`` of a generator on an array with a layout.

Flow v on a grid at ``p_ij = origin + pitch (i, j)`` (y, x):

    (D a)_ij = v_x(p_ij) (d_x a)_ij / pitch_x + v_y(p_ij) (d_y a)_ij / pitch_y - turn * dF a_ij

with d the stencil per sample, and dF the generator of the fiber of a planar group on the
channels (none for scalar channels): an element turns the plane and the vectors on it
together. On a class token, a score or a pooled feature every generator acts as zero. Sources:
measures.md A.1 to A.3, D.1, D.6, D.7.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import PlanarGroup
from softeq_jax.measures._generators import Action, Color, Flow, Generator, LieElement
from softeq_jax.measures._layouts import Fiber, Image, Invariant, Layout, Placement, Tokens
from softeq_jax.measures._stencils import Stencil, derivative
from softeq_jax.reps import Rep


def act(
    generators: Sequence[Generator],
    a: jax.Array,
    layout: Layout,
    frame: tuple[int, int] | None,
    stencil: Stencil,
) -> jax.Array:
    """``D a`` for each generator.

    Args:
      generators: G of them.
      a: ``[n, ...]``, floating point.
      layout: of ``a``.
      frame: rows and columns of the input image, in whose pixels flows are given; None where
        the input is no image.
      stencil: the spatial derivative.

    Returns:
      ``[G, n, ...]``, the dtype of ``a``. Every spatial derivative is computed once, whatever G.

    Raises:
      ValueError: a generator that does not act on this layout (a rotation of a grid that is not
        square, hue of other than three channels, a group other than that of the representation).
    """
    layout.check(a.shape, "the array")
    if any(isinstance(generator, Action) for generator in generators):
        return jnp.stack([_one(generator, a, layout, frame, stencil) for generator in generators])
    if isinstance(layout, Tokens):
        return _on_tokens(generators, a, layout, frame, stencil)
    if isinstance(layout, Image):
        return _on_image(generators, a, layout, frame, stencil)
    if isinstance(layout, Fiber):
        return jnp.stack([_on_fiber(generator, a, layout) for generator in generators])
    if isinstance(layout, Invariant):
        return jnp.zeros((len(generators), *a.shape), a.dtype)
    raise TypeError(f"no generator acts on a layout of type {type(layout).__name__}")


def _one(
    generator: Generator,
    a: jax.Array,
    layout: Layout,
    frame: tuple[int, int] | None,
    stencil: Stencil,
) -> jax.Array:
    if not isinstance(generator, Action):
        return act((generator,), a, layout, frame, stencil)[0]
    moved = generator.function(a, layout)
    if moved.shape != a.shape:
        raise ValueError(
            f"{generator.name} must return an array like the one it acts on, {a.shape}, got "
            f"{moved.shape}"
        )
    return moved.astype(a.dtype)


def velocity(
    flow: Flow, placement: Placement, grid: tuple[int, int], frame: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """v_x and v_y at every entry of a grid, in input pixels; float64, each ``[h, w]``."""
    y, x = placement.coordinates(grid)
    y, x = np.meshgrid(y, x, indexing="ij")
    (xx, xy), (yx, yy) = flow.matrix
    window = _window(flow.border, y, frame[0]) * _window(flow.border, x, frame[1])
    return (xx * x + xy * y + flow.shift[0]) * window, (yx * x + yy * y + flow.shift[1]) * window


def _window(border: float, position: np.ndarray, side: int) -> np.ndarray | float:
    if not border:
        return 1.0
    return np.clip((side / 2 - np.abs(position)) / border - 1, 0, 1)


def _on_image(
    generators: Sequence[Generator],
    a: jax.Array,
    layout: Image,
    frame: tuple[int, int] | None,
    stencil: Stencil,
) -> jax.Array:
    rows, cols = (axis % a.ndim for axis in layout.axes)
    flows = [generator for generator in generators if isinstance(generator, Flow)]
    for flow in flows:
        _check_square(flow, layout.grid(a.shape), layout.rectangular)
    if flows and frame is None:
        raise ValueError(
            f"{flows[0].name} is a flow in pixels of an input image, but the input is none"
        )
    slopes = {}
    if any(not _is_flat(flow, 0) for flow in flows):
        slopes[0] = derivative(a, cols, stencil)
    if any(not _is_flat(flow, 1) for flow in flows):
        slopes[1] = derivative(a, rows, stencil)
    results = []
    for generator in generators:
        if isinstance(generator, Color):
            results.append(_recolor(generator, a, layout))
        elif isinstance(generator, LieElement):
            raise ValueError(
                f"{generator.name} acts by a representation, but the array is declared as an "
                f"image: declare the representation, such as measures.Fiber(reps.image(group, "
                f"(h, w)), axes=(1, 2)), or use a flow such as 'rotation'"
            )
        else:
            results.append(_flow_on_image(generator, a, layout, frame, slopes))
    return jnp.stack(results)


def _flow_on_image(
    flow: Flow, a: jax.Array, layout: Image, frame: tuple[int, int], slopes: dict[int, jax.Array]
) -> jax.Array:
    grid = layout.grid(a.shape)
    placement = layout.placement(a.shape, frame)
    speeds = velocity(flow, placement, grid, frame)
    wide = jnp.promote_types(a.dtype, jnp.float32)
    shape = [1] * a.ndim
    for axis, n in zip(layout.axes, grid, strict=True):
        shape[axis] = n
    order = layout.axes[0] % a.ndim < layout.axes[1] % a.ndim
    total = None
    for component, pitch in ((0, placement.pitch[1]), (1, placement.pitch[0])):
        if _is_flat(flow, component):
            continue
        speed = speeds[component] / pitch
        field = jnp.asarray((speed if order else speed.T).reshape(shape), wide)
        part = field * slopes[component].astype(wide)
        total = part if total is None else total + part
    if layout.fiber is not None:
        turned = _turn_fiber(flow, a, layout.fiber, layout.channel)
        if turned is not None:
            total = -turned if total is None else total - turned
    return jnp.zeros_like(a) if total is None else total.astype(a.dtype)


def _is_flat(flow: Flow, component: int) -> bool:
    """Whether a component of the velocity is zero everywhere."""
    return flow.shift[component] == 0 and not any(flow.matrix[component])


def _check_square(flow: Flow, grid: tuple[int, int], rectangular: bool) -> None:
    if flow.swaps_axes and grid[0] != grid[1] and not rectangular:
        raise ValueError(
            f"{flow.name} needs a square grid, got {grid[0]}x{grid[1]}: crop or pad the images, or "
            f"pass a layout measures.Image(rectangular=True) to differentiate in pixel "
            f"coordinates all the same"
        )


def _on_tokens(
    generators: Sequence[Generator],
    a: jax.Array,
    layout: Tokens,
    frame: tuple[int, int] | None,
    stencil: Stencil,
) -> jax.Array:
    axis, grid = layout.axis % a.ndim, layout.sides(a.shape)
    head, body = jnp.split(a, [layout.prefix], axis=axis)
    unrolled = body.reshape(*a.shape[:axis], *grid, *a.shape[axis + 1 :])
    image = Image(
        (axis, axis + 1),
        0,
        pitch=layout.pitch,
        origin=layout.origin,
        rectangular=layout.rectangular,
    )
    if unrolled.ndim < 3:
        raise ValueError(f"tokens of shape {a.shape} have no axis that counts the examples")
    moved = _on_image(generators, unrolled, image, frame, stencil)
    still = jnp.zeros((len(generators), *head.shape), a.dtype)
    return jnp.concatenate([still, moved.reshape(len(generators), *body.shape)], axis=axis + 1)


def _on_fiber(generator: Generator, a: jax.Array, layout: Fiber) -> jax.Array:
    rep = layout.rep
    if isinstance(generator, LieElement):
        if generator.group != rep.group:
            raise ValueError(
                f"{generator.name} is an element of the Lie algebra of {generator.group}, but "
                f"{rep} represents {rep.group}"
            )
        matrix = np.tensordot(np.array(generator.coefficients), rep.lie_matrices(), 1)
        return _mix(matrix, a, layout.axes)
    if isinstance(generator, Color) or generator.is_translation:
        return jnp.zeros_like(a)
    if len(rep.shape) > 1:
        raise ValueError(
            f"{generator.name} is a flow of the plane; declare a grid that it acts on as "
            f"measures.Image(...), not by the representation {rep}"
        )
    turned = _turn_fiber(generator, a, rep, layout.axes[0])
    return jnp.zeros_like(a) if turned is None else -turned


def _turn_fiber(flow: Flow, a: jax.Array, rep: Rep, axis: int) -> jax.Array | None:
    """``turn * dF a`` on the channels; None where the flow does not turn."""
    if not flow.is_similarity:
        raise ValueError(f"{rep} says how rotations act on the channels, not how {flow.name} does")
    if not flow.turn:
        return None
    if not isinstance(rep.group, PlanarGroup) or not len(rep.group.lie_generators):
        raise ValueError(
            f"{flow.name} needs a representation of so(2) or o(2) on the channels, got {rep}"
        )
    return _mix(flow.turn * rep.lie_matrices()[0], a, (axis,))


def _mix(matrix: np.ndarray, a: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """A matrix on the row-major flattening of some axes, or on every copy along a single one."""
    last = tuple(range(a.ndim - len(axes), a.ndim))
    moved = jnp.moveaxis(a, axes, last)
    flat = moved.reshape(*moved.shape[: a.ndim - len(axes)], -1, len(matrix))
    wide = flat.astype(jnp.promote_types(a.dtype, jnp.float32))
    kind = jnp.promote_types(wide.dtype, jnp.complex64) if np.iscomplexobj(matrix) else wide.dtype
    mixed = jnp.matmul(wide, jnp.asarray(matrix.T, kind), precision="highest")
    return jnp.moveaxis(mixed.astype(a.dtype).reshape(moved.shape), last, axes)


def _recolor(generator: Color, a: jax.Array, layout: Image) -> jax.Array:
    if generator.name == "contrast":
        return a
    if not layout.color:
        return jnp.zeros_like(a)
    matrix, offset = generator.affine(a.shape[layout.channel])
    wide = a.astype(jnp.promote_types(a.dtype, jnp.float32))
    moved = jnp.moveaxis(wide, layout.channel, -1)
    mixed = jnp.matmul(moved, jnp.asarray(matrix.T, wide.dtype), precision="highest")
    colored = mixed + jnp.asarray(offset, wide.dtype)
    return jnp.moveaxis(colored, -1, layout.channel).astype(a.dtype)
