"""Meanings of arrays: how the elements of a group act on ``[n, ...]``, as declared or guessed."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.measures.base._layouts import (
    Fiber,
    Frame,
    Image,
    Invariant,
    Layout,
    Shape,
    Tokens,
    as_layout,
)
from softeq_jax.measures.finite._elements import element
from softeq_jax.reps import GridImage, GridTokens, Rep, Trivial, Voxels, grid_obstacle, vector

Twist = Callable[[np.ndarray], np.ndarray]
Move = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Meaning:
    """How a group acts on an array: ``S^-1 chi(g) A(tau(g)) S`` with A of a layout.

    Attributes:
      layout: A.
      words: how it reads.
      twist: tau, an automorphism of the group; None: the identity.
      signed: whether chi is the determinant; else it is 1.
      order: S, a rearrangement of the entries, and its inverse; None: none.
      pixels_alone: whether tau acts on the pixels alone (True), on the fiber alone (False) or on
        both (None).
    """

    layout: Layout
    words: str
    twist: Twist | None = None
    signed: bool = False
    order: tuple[Move, Move] | None = None
    pixels_alone: bool | None = None

    def check(self, group: Group, g: np.ndarray, shape: Shape, frame: Frame) -> None:
        """ValueError where the element cannot act on an array of this shape."""
        inner = jnp.zeros(shape) if self.order is None else self.order[0](jnp.zeros(shape))
        element(group, g).check(inner.shape, self.layout, frame)

    def move(self, group: Group, g: np.ndarray, x: Any, frame: Frame) -> np.ndarray:
        """The element on an array; in float64 where JAX computes in it."""
        y = jnp.asarray(x)
        y = y if self.order is None else self.order[0](y)
        if self.twist is not None and self.pixels_alone is not None:
            y = self._apart(group, g, y, frame)
        else:
            h = g if self.twist is None else self.twist(g)
            y = element(group, h)(y, self.layout, frame)
        y = y * np.sign(np.linalg.det(g)) if self.signed else y
        return np.asarray(y if self.order is None else self.order[1](y))

    def _apart(self, group: Group, g: np.ndarray, y: Any, frame: Frame) -> Any:
        """Pixels and fiber of a map moved by different elements."""
        assert isinstance(self.layout, Image)
        assert self.twist is not None
        twisted = self.twist(g)
        on_pixels, on_fiber = (twisted, g) if self.pixels_alone else (g, twisted)
        bare = dataclasses.replace(self.layout, fiber=None)
        y = element(group, on_pixels)(y, bare, frame)
        if self.layout.fiber is None:
            return y
        return element(group, on_fiber)(y, Fiber(self.layout.fiber, (self.layout.channel,)), frame)

    @property
    def is_trivial(self) -> bool:
        """Whether nothing moves."""
        if isinstance(self.layout, Invariant):
            return not self.signed
        return isinstance(self.layout, Fiber) and self.layout.rep.is_trivial and not self.signed


def flattened(shape: Shape) -> tuple[Move, Move]:
    """The rearrangement that flattens each example."""
    return lambda y: y.reshape(y.shape[0], -1), lambda y: y.reshape(y.shape[0], *shape[1:])


def declared(given: Any, group: Group, shape: Shape, what: str, source: Any = None) -> Meaning:
    """The meaning that a user declared, or the one that the shape suggests.

    Args:
      given: a layout, its name (also "vector", "scalar"), a representation, or None.
      group: that acts.
      shape: of the array.
      what: "the input" or "the output".
      source: the meaning and the shape of the input, for an output.

    Raises:
      ValueError: it does not fit the shape, or nothing can be told from the shape.
    """
    if given is None:
        given = _suggested(group, shape, what, source)
    if isinstance(given, str):
        named = {"vector": vector(group), "scalar": "invariant", "trivial": "invariant"}
        given = named.get(given, given)
    if isinstance(given, Rep):
        return _of_rep(given, group, shape, what)
    layout = as_layout(given, what)
    layout.check(shape, what)
    if isinstance(layout, Fiber):
        return Meaning(layout, f"{layout.rep} on axes {layout.axes}")
    return Meaning(layout, _layout_words(layout))


def _layout_words(layout: Layout) -> str:
    if isinstance(layout, Image):
        fiber = f" of {layout.fiber}" if layout.fiber is not None else ""
        return f"maps{fiber} with rows and columns on axes {layout.axes}"
    return "tokens" if isinstance(layout, Tokens) else "invariant"


def _suggested(group: Group, shape: Shape, what: str, source: Any) -> Any:
    planar = isinstance(group, PlanarGroup)
    if source is not None:
        meaning, input_shape = source
        if shape == input_shape:
            layout = meaning.layout
            return layout if meaning.order is None else getattr(layout, "rep", layout)
        if isinstance(meaning.layout, Image) and len(shape) == 4:
            return Image()
        if isinstance(meaning.layout, Image | Tokens) and len(shape) == 3:
            return _map_of_three_axes(meaning, shape, input_shape)
        acts = isinstance(meaning.layout, Fiber) and len(shape) > 1 and shape[-1] == group.d
        return vector(group) if acts else "invariant"
    if planar and len(shape) == 4:
        return Image()
    if len(shape) > 1 and shape[-1] == group.d:
        return vector(group)
    if planar and len(shape) == 3:
        return Image()
    raise ValueError(
        f"{what} has shape {shape}, from which one cannot tell how {group} acts on it: declare a "
        f"representation (as in input=reps.vector(group)) or a layout (measures.Image(...))"
    )


def _map_of_three_axes(source: Meaning, shape: Shape, input_shape: Shape) -> Layout:
    """Maps without channels ``[n, h, w]``, or tokens, with a class token in front or without."""
    if isinstance(source.layout, Image) and shape[1:] == source.layout.grid(input_shape):
        return Image()
    for prefix in (0, 1):
        if math.isqrt(shape[1] - prefix) ** 2 == shape[1] - prefix > 1:
            return Tokens(prefix=prefix)
    return Invariant()


def _of_rep(rep: Rep, group: Group, shape: Shape, what: str) -> Meaning:
    """A representation on the axes of an array that it fits."""
    rank, dims = len(shape), rep.shape
    lattice = isinstance(rep.group, PlanarGroup) and rep.group.rotations in (1, 2, 4)
    if isinstance(rep, GridImage):
        for axes, channel in (((1, 2), -1), ((2, 3), 1)):
            if rank > axes[1] and tuple(shape[a] for a in axes) == dims:
                layout = Image(axes, channel) if lattice else Fiber(rep, axes)
                return Meaning(layout, f"{rep} on axes {axes}")
    elif isinstance(rep, GridTokens) and rank > 1 and shape[1] == rep.dim and lattice:
        return Meaning(Tokens((rep.height, rep.width), rep.prefix), f"{rep} on axis 1")
    elif len(dims) > 1:
        if shape[1 : 1 + len(dims)] == dims:
            axes = tuple(range(1, 1 + len(dims)))
            return Meaning(Fiber(rep, axes), f"{rep} on axes {axes}")
    elif isinstance(rep.group, PlanarGroup) and rank == 4 and shape[-1] % rep.dim == 0:
        fiber = None if isinstance(rep, Trivial) and rep.dim == 1 else rep
        layout = Image(fiber=fiber)
        if _square_enough(group, shape) or not _flat_fits(rep, shape):
            return Meaning(layout, _layout_words(layout))
    elif isinstance(rep, Trivial) and rep.dim == 1:
        return Meaning(Invariant(), "invariant")
    if len(dims) == 1 and rank > 1:
        if shape[-1] == rep.dim or (shape[-1] and shape[-1] % rep.dim == 0):
            return Meaning(Fiber(rep, (-1,)), f"{rep} on axis -1")
        fits = [a for a in range(1, rank) if shape[a] == rep.dim]
        if len(fits) == 1:
            return Meaning(Fiber(rep, (fits[0],)), f"{rep} on axis {fits[0]}")
    if _flat_fits(rep, shape):
        axes = (1,) if len(dims) == 1 else tuple(range(1, 1 + len(dims)))
        forth, back = flattened(shape)
        if len(dims) > 1:
            return Meaning(
                Fiber(rep, axes),
                f"{rep} on the flat examples",
                order=(lambda y: y.reshape(y.shape[0], *dims), back),
            )
        return Meaning(Fiber(rep, (1,)), f"{rep} on the flat examples", order=(forth, back))
    raise ValueError(
        f"{what} has shape {shape}, but {rep} acts on {dims}, {rep.dim} entries: declare a "
        f"representation of the dimension of an axis"
    )


def _square_enough(group: Group, shape: Shape) -> bool:
    return isinstance(group, PlanarGroup) and grid_obstacle(group, (shape[1], shape[2])) is None


def _flat_fits(rep: Rep, shape: Shape) -> bool:
    return len(shape) > 1 and math.prod(shape[1:]) == rep.dim and not isinstance(rep, Voxels)


def frame_of(meaning: Meaning, shape: Shape) -> Frame:
    """Rows and columns of an input; (1, 1) where there are none."""
    if isinstance(meaning.layout, Image):
        return meaning.layout.grid(shape)
    return meaning.layout.sides(shape) if isinstance(meaning.layout, Tokens) else (1, 1)


def check_grid(group: Group, layout: Layout, shape: tuple[int, ...], what: str) -> None:
    """ValueError where a group cannot act on the pixels that a layout says there are."""
    if not isinstance(layout, Image | Tokens):
        return
    if not isinstance(group, PlanarGroup):
        raise ValueError(
            f"{group} does not act on the pixels of {what}: choose a group of the plane, or "
            f"declare a representation"
        )
    grid = layout.grid(shape) if isinstance(layout, Image) else layout.sides(shape)
    if obstacle := grid_obstacle(group, grid):
        raise ValueError(f"{what} of shape {shape}: {obstacle}")


def on_grid(meaning: Meaning) -> bool:
    """Whether pixels move, so that elements off the lattice interpolate."""
    layout = meaning.layout
    rep = getattr(layout, "rep", None)
    return isinstance(layout, Image | Tokens) or isinstance(rep, GridImage | GridTokens)
