r"""Layouts of arrays on the plane of the input: which axes are rows and columns, and where.

Physical coordinates are pixels of the *input* image, measured from its center; x points along
the columns to the right, y along the rows downwards. An entry of a feature map at index
``(i, j)`` sits at ``(y, x) = origin + pitch * (i, j)``, so a map behind a stride s has pitch s
and sees exactly the velocity divided by s. Nothing is guessed from a shape: whoever hands over an
array says how it is laid out.
"""

import abc
import dataclasses
import fnmatch
import math
from typing import Any

import numpy as np

from softeq_jax.reps import Rep

Pair = tuple[float, float]
Shape = tuple[int, ...]
Frame = tuple[int, int]
"""Rows and columns of an input."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the entries of a grid lie, in pixels of the input from its center.

    Attributes:
      origin: (y, x) of the entry (0, 0).
      pitch: (y, x) from an entry to the next.
    """

    origin: Pair
    pitch: Pair

    def coordinates(self, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """float64 y ``[h]`` and x ``[w]`` of the rows and columns."""
        y, x = (o + p * np.arange(n) for o, p, n in zip(self.origin, self.pitch, grid, strict=True))
        return y, x


def centered(grid: tuple[int, int], pitch: Pair) -> Placement:
    """The placement whose grid has the input's center in its middle."""
    y, x = (-p * (n - 1) / 2 for p, n in zip(pitch, grid, strict=True))
    return Placement((y, x), pitch)


@dataclasses.dataclass(frozen=True)
class Layout(abc.ABC):
    """How an array ``[n, ...]`` of one entry per image is to be read.

    Example:
      >>> import softeq_jax as sq
      >>> isinstance(sq.measures.Image(), sq.measures.Layout)
      True
    """

    @abc.abstractmethod
    def check(self, shape: Shape, what: str) -> None:
        """Raises ValueError, naming ``what``, where an array of this shape cannot be so read."""


@dataclasses.dataclass(frozen=True)
class Invariant(Layout):
    """Nothing acts on the array: class scores, pooled features; any shape.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype("float32")
      >>> turn, invariant = sq.measures.quarter_turn(), sq.measures.Invariant()
      >>> sq.measures.relative_error(lambda x: x.max((1, 2)), x, turn, output=invariant).value
      0.0
    """

    def check(self, shape: Shape, what: str) -> None:
        """Every shape will do."""


@dataclasses.dataclass(frozen=True)
class Undeclared(Invariant):
    """An output that nobody declared: scores or pooled features, ``[n]``, ``[n, c]``."""

    def check(self, shape: Shape, what: str) -> None:
        """See ``Layout.check``."""
        if len(shape) > 2:
            raise ValueError(
                f"{what} has shape {shape} and no layout: pass output='image' (or "
                f"measures.Image(...)) for a map, measures.Tokens(...) for tokens, a "
                f"representation for what a group acts on, or 'invariant' if nothing acts on it"
            )


@dataclasses.dataclass(frozen=True)
class Image(Layout):
    """A feature map on a pixel grid; channels last unless the axes say otherwise.

    Attributes:
      axes: the row and the column axis.
      channel: the channel axis.
      pitch: pixels of the input from a row (column) to the next; a number serves both axes. None:
        the map spans the input, ``input size / map size`` (half-pixel centered).
      origin: (y, x) of the first entry, in pixels of the input from its center; None: the grid
        is centered. A 3x3 convolution of stride 2 and padding 1 on 32 pixels has origin
        (-15.5, -15.5) and pitch 2.
      fiber: a representation of a planar group on the channels, for maps of vectors or higher
        frequencies; its copies fill the channel axis. None: every channel is a scalar field.
      color: whether the channels are color values, on which brightness, saturation and hue act.
      rectangular: allows rotations (and hyperbolic ones) of grids that are not square.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> layout = sq.measures.Image(axes=(2, 3), channel=1)  # channels first
      >>> x = np.arange(4.0, dtype="float32").reshape(1, 1, 2, 2)
      >>> sq.measures.quarter_turn()(x, layout, (2, 2))[0, 0]
      Array([[1., 3.],
             [0., 2.]], dtype=float32)
    """

    axes: tuple[int, int] = (1, 2)
    channel: int = -1
    pitch: float | Pair | None = None
    origin: Pair | None = None
    fiber: Rep | None = None
    color: bool = False
    rectangular: bool = False

    def check(self, shape: Shape, what: str) -> None:
        """See ``Layout.check``."""
        rank = len(shape)
        wanted = (*self.axes, self.channel) if rank > 3 or self.fiber else self.axes
        if rank < 3 or not all(-rank <= axis < rank for axis in wanted):
            raise ValueError(
                f"{what} has shape {shape}; as an image it needs axes [n, h, w, c] (or "
                f"[n, h, w]) with rows and columns on axes {self.axes}. Declare another layout: "
                f"measures.Image(axes=...), measures.Tokens(...) or 'invariant'"
            )
        if len({axis % rank for axis in wanted}) != len(wanted):
            raise ValueError(f"{what}: axes {wanted} of shape {shape} are not distinct")
        if self.fiber is not None and shape[self.channel] % self.fiber.dim:
            raise ValueError(
                f"{what} has {shape[self.channel]} channels, no multiple of the dimension "
                f"{self.fiber.dim} of its fiber {self.fiber}"
            )

    def grid(self, shape: Shape) -> tuple[int, int]:
        """Rows and columns of an array of this shape."""
        return shape[self.axes[0]], shape[self.axes[1]]

    def placement(self, shape: Shape, frame: Frame) -> Placement:
        """Where the entries lie, for an input of ``frame`` rows and columns."""
        return _placement(self.grid(shape), frame, self.pitch, self.origin)


@dataclasses.dataclass(frozen=True)
class Tokens(Layout):
    """A sequence of tokens that covers a grid row by row, after some that stay in place.

    Attributes:
      grid: rows and columns; None: square, from the length of the sequence.
      prefix: tokens in front of the grid (class tokens, registers), on which nothing acts.
      axis: the token axis.
      pitch: see ``Image``.
      origin: see ``Image``.
      rectangular: see ``Image``.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> layout = sq.measures.Tokens(prefix=1)
      >>> x = np.array([9.0, 0, 1, 2, 3], "float32").reshape(1, 5, 1)  # a class token, 2 x 2
      >>> sq.measures.quarter_turn()(x, layout, (8, 8)).ravel()
      Array([9., 1., 3., 0., 2.], dtype=float32)
    """

    grid: tuple[int, int] | None = None
    prefix: int = 0
    axis: int = 1
    pitch: float | Pair | None = None
    origin: Pair | None = None
    rectangular: bool = False

    def check(self, shape: Shape, what: str) -> None:
        """See ``Layout.check``."""
        if len(shape) < 2 or not -len(shape) <= self.axis < len(shape):
            raise ValueError(f"{what} has shape {shape}, without a token axis {self.axis}")
        length = shape[self.axis] - self.prefix
        if self.grid is None and (length < 1 or math.isqrt(length) ** 2 != length):
            raise ValueError(
                f"{what} has {shape[self.axis]} tokens; without the {self.prefix} in front that "
                f"is no square grid. Declare measures.Tokens(grid=(rows, columns), prefix=...)"
            )
        if self.grid is not None and math.prod(self.grid) != length:
            raise ValueError(
                f"{what} has {shape[self.axis]} tokens, but the prefix {self.prefix} and the "
                f"grid {self.grid} need {self.prefix + math.prod(self.grid)}"
            )

    def sides(self, shape: Shape) -> tuple[int, int]:
        """Rows and columns of the grid in an array of this shape."""
        side = math.isqrt(max(shape[self.axis] - self.prefix, 0))
        return self.grid if self.grid is not None else (side, side)

    def placement(self, shape: Shape, frame: Frame) -> Placement:
        """Where the grid tokens lie, for an input of ``frame`` rows and columns."""
        return _placement(self.sides(shape), frame, self.pitch, self.origin)


@dataclasses.dataclass(frozen=True)
class Fiber(Layout):
    """A representation of a group acts on some axes, every other axis being a batch axis.

    Attributes:
      rep: the representation.
      axes: the axes it acts on, one per entry of ``rep.shape``; copies of it may fill a single
        axis (its length is then a multiple of ``rep.dim``).

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.arange(6.0, dtype="float32").reshape(2, 3)  # two examples, three entries
      >>> R = sq.reps.regular(sq.groups.cyclic(3))
      >>> cycle = sq.measures.element(R.group, R.group.elements()[1])
      >>> cycle(x, sq.measures.Fiber(R), (1, 1))
      Array([[2., 0., 1.],
             [5., 3., 4.]], dtype=float32)
    """

    rep: Rep
    axes: tuple[int, ...] = (-1,)

    def check(self, shape: Shape, what: str) -> None:
        """See ``Layout.check``."""
        rank, axes = len(shape), self.axes
        if rank < 2 or any(not -rank <= axis < rank or axis % rank == 0 for axis in axes):
            raise ValueError(
                f"{what} has shape {shape}, in which {self.rep} cannot act on the axes {axes} "
                f"(axis 0 counts the examples)"
            )
        lengths = tuple(shape[axis] for axis in axes)
        fits = lengths == self.rep.shape
        if len(axes) == 1:
            fits = fits or (lengths[0] > 0 and lengths[0] % self.rep.dim == 0)
        if not fits:
            raise ValueError(
                f"{what} has shape {shape}: its axes {axes} have lengths {lengths}, but "
                f"{self.rep} acts on {self.rep.shape}"
            )


def as_layout(layout: Any, what: str) -> Layout:
    """The layout that a user named.

    Args:
      layout: a ``Layout``, one of "image", "tokens" and "invariant", a representation (which then
        acts on the last axis, or for a grid representation on axes 1 and 2), or None for an
        output that is a row of scores.
      what: whose layout, for the message.

    Raises:
      ValueError: an unknown name.
      TypeError: anything else.
    """
    named = {"image": Image(), "tokens": Tokens(), "invariant": Invariant()}
    if layout is None:
        return Undeclared()
    if isinstance(layout, Layout):
        return layout
    if isinstance(layout, Rep):
        return Fiber(layout, (1, 2) if len(layout.shape) == 2 else (-1,))
    if isinstance(layout, str):
        if layout not in named:
            raise ValueError(f"{what}: no layout is called {layout!r}, choose from {list(named)}")
        return named[layout]
    raise TypeError(
        f"{what} must be {list(named)}, a measures.Layout or a representation, got {layout!r}"
    )


def covers(pattern: str, name: str) -> bool:
    """Whether a pattern covers the name of an array inside a network.

    ``*`` stands for any letters, "/" among them: unlike parameters, whose paths are patterns of
    segments, arrays are named by tests of a beginning or an end, as in ``"stage1*"``. A name covers
    itself, also where it holds brackets.
    """
    return pattern == name or fnmatch.fnmatchcase(name, pattern)


def _placement(
    grid: tuple[int, int],
    frame: Frame,
    pitch: float | Pair | None,
    origin: Pair | None,
) -> Placement:
    if pitch is None:
        pitch = (frame[0] / grid[0], frame[1] / grid[1])
    elif not isinstance(pitch, tuple):
        pitch = (float(pitch), float(pitch))
    return centered(grid, pitch) if origin is None else Placement(origin, pitch)
