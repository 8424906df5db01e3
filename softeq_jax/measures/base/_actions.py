r"""The infinitesimal action ``D a`` of a generator on a sampled array with a layout.

Flow v on a grid at ``p_ij = origin + pitch (i, j)`` (y, x):

    (D a)_ij = v_x(p_ij) (d_x a)_ij / pitch_x + v_y(p_ij) (d_y a)_ij / pitch_y - turn * dF a_ij

with d the stencil per sample, and dF the generator of the fiber of a planar group on the
channels (none for scalar channels): an element turns the plane and the vectors on it
together. On a class token, a score or a pooled feature every generator acts as zero. Sources:
measures.md A.1 to A.3, D.1, D.6, D.7.

A *stencil* turns samples ``x_0 .. x_{n-1}`` into the derivative, at the same points and per sample
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
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import PlanarGroup
from softeq_jax.measures.base._generators import Action, Color, Flow, Generator, LieElement
from softeq_jax.measures.base._layouts import (
    Fiber,
    Frame,
    Image,
    Invariant,
    Layout,
    Placement,
    Tokens,
)
from softeq_jax.reps import Rep

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

    Example:
      >>> import softeq_jax as sq
      >>> sq.measures.Stencil("central").weights
      {-1: -0.5, 1: 0.5}
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
        around: Any = self.boundary
        read = np.pad(np.eye(n), ((reach, reach), (0, 0)), mode=around)
        result = np.zeros((n, n))
        for k, weight in self.weights.items():
            result += weight * read[reach + k : reach + k + n]
        return result


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


def act(
    generators: Sequence[Generator],
    a: jax.Array,
    layout: Layout,
    frame: Frame | None,
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
    frame: Frame | None,
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
    flow: Flow, placement: Placement, grid: tuple[int, int], frame: Frame
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
    frame: Frame | None,
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
            assert frame is not None
            results.append(_flow_on_image(_as_flow(generator), a, layout, frame, slopes))
    return jnp.stack(results)


def _as_flow(generator: Generator) -> Flow:
    if not isinstance(generator, Flow):
        raise TypeError(f"{generator.name} is no Flow, Color, LieElement or Action")
    return generator


def _flow_on_image(
    flow: Flow, a: jax.Array, layout: Image, frame: Frame, slopes: dict[int, jax.Array]
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
    frame: Frame | None,
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
    if isinstance(generator, Color) or _as_flow(generator).is_translation:
        return jnp.zeros_like(a)
    if len(rep.shape) > 1:
        raise ValueError(
            f"{generator.name} is a flow of the plane; declare a grid that it acts on as "
            f"measures.Image(...), not by the representation {rep}"
        )
    turned = _turn_fiber(_as_flow(generator), a, rep, layout.axes[0])
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
