"""Quarter turns and flips: the transforms of the plane that permute a centered square grid."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures.base._functions import Array
from softeq_jax.measures.base._layouts import Frame, Image, Layout, Shape, Tokens
from softeq_jax.measures.finite._transform import (
    Transform,
    act_on_fiber,
    is_planar,
    ones_mask,
    placed,
    planar_element,
    plane_of,
)

_FLIPS = {"left-right": 0.0, "up-down": math.pi}  # the rotation after F = left-right
_WHOLE = 1e-6


@functools.partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["turns", "flip"])
@dataclasses.dataclass(frozen=True)
class QuarterTurn(Transform):
    """``R(turns * pi / 2) F^flip``: made by ``quarter_turn`` and ``flip``.

    Attributes:
      turns: quarter turns counter-clockwise, 0 to 3.
      flip: whether the left-right flip acts before them.

    Example:
      >>> import softeq_jax as sq
      >>> turn = sq.measures.finite.QuarterTurn(turns=3)
      >>> turn.name, turn.inverse.turns
      ('quarter turn 3', 1)
    """

    turns: int = 0
    flip: bool = False

    @property
    def name(self) -> str:
        """See ``Transform.name``."""
        flips = {0: "flip left-right", 2: "flip up-down"}
        if self.flip:
            return flips.get(self.turns, f"flip and quarter turn {self.turns}")
        return f"quarter turn {self.turns}"

    @property
    def inverse(self) -> "QuarterTurn":
        """The turn back; a flip with any turns is its own inverse."""
        return self if self.flip else QuarterTurn(-self.turns % 4)

    def check(self, shape: Shape, layout: Layout, frame: Frame) -> None:
        """ValueError unless the grid is mapped to itself, and the fiber's group has the turn."""
        layout.check(shape, "the array")
        planar_element(layout, self.turns * math.pi / 2, self.flip, self.name)
        if is_planar(layout):
            self.check_grid(shape, layout, frame)

    def check_grid(self, shape: Shape, layout: Image | Tokens, frame: Frame) -> None:
        """ValueError unless a grid is mapped to itself."""
        grid, placement = placed(shape, layout, frame)
        swaps = bool(self.turns % 2)
        if swaps and grid[0] != grid[1]:
            raise ValueError(
                f"{self.name} needs a square grid, got {grid[0]} x {grid[1]}: crop or pad it"
            )
        if swaps and abs(placement.pitch[0] - placement.pitch[1]) > _WHOLE:
            raise ValueError(
                f"{self.name} needs the same pitch along rows and columns, got {placement.pitch} "
                f"on a {frame[0]} x {frame[1]} input: crop or pad the input to a square"
            )
        middle = (
            o + p * (n - 1) / 2
            for o, p, n in zip(placement.origin, placement.pitch, grid, strict=True)
        )
        offset = tuple(0.0 if abs(m) <= _WHOLE else m for m in middle)
        moved = {(0, False): (), (0, True): (1,), (2, True): (0,)}.get(
            (self.turns, self.flip), (0, 1)
        )
        if any(offset[axis] for axis in moved):
            raise ValueError(
                f"{self.name} turns about the center of the input, but the middle of the "
                f"{grid[0]} x {grid[1]} map lies {offset} pixels off it, so that entries do not "
                f"go to entries: measure rotation({self.turns} * pi / 2), which resamples, or "
                f"an input of a size whose maps are centered"
            )

    def __call__(self, x: Array, layout: Layout, frame: Frame) -> jax.Array:
        """See ``Transform.__call__``."""
        self.check(x.shape, layout, frame)
        x = jnp.asarray(x)
        g = planar_element(layout, self.turns * math.pi / 2, self.flip, self.name)
        return act_on_fiber(layout, g, turned(x, self.turns, self.flip, layout))

    def mask(self, shape: Shape, layout: Layout, frame: Frame) -> jax.Array:
        """Ones: nothing is cut off."""
        return ones_mask(shape)

    def is_exact(self, shape: Shape, layout: Layout, frame: Frame) -> bool:
        """Whether the grid is centered on the input and square."""
        try:
            self.check(shape, layout, frame)
        except ValueError:
            return False
        return True


def turned(x: jax.Array, turns: int, flip: bool, layout: Layout) -> jax.Array:
    """The pixels of a planar layout flipped and turned, its fiber left alone."""
    if not is_planar(layout):
        return x
    plane = plane_of(x, layout)
    values = jnp.flip(plane.values, plane.axes[1]) if flip else plane.values
    return plane.restore(jnp.rot90(values, turns, plane.axes))


def quarter_turn(k: int = 1) -> QuarterTurn:
    """The rotation by k times 90 degrees counter-clockwise as seen, ``np.rot90(x, k)``.

    It turns about the center of the input, so a feature map must be centered there: square with
    equal pitches. Fibers of planar groups turn along: ``(T f)(p) = rho(R) f(R^-1 p)``.

    Args:
      k: any integer.

    Raises:
      ValueError: k is no integer.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.arange(4.0, dtype="float32").reshape(1, 2, 2, 1)
      >>> sq.measures.quarter_turn()(x, sq.measures.Image(), (2, 2))[0, ..., 0]
      Array([[1., 3.],
             [0., 2.]], dtype=float32)
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise ValueError(f"quarter_turn needs a whole number of quarter turns, got {k!r}")
    return QuarterTurn(int(k) % 4)


def flip(kind: str = "left-right") -> QuarterTurn:
    """A reflection about the middle column or the middle row of the input.

    Args:
      kind: "left-right" (reverses each row) or "up-down".

    Raises:
      ValueError: an unknown kind.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> x = np.arange(4.0, dtype="float32").reshape(1, 2, 2, 1)
      >>> sq.measures.flip()(x, sq.measures.Image(), (2, 2))[0, ..., 0]
      Array([[1., 0.],
             [3., 2.]], dtype=float32)
    """
    if kind not in _FLIPS:
        raise ValueError(f"no flip is called {kind!r}, choose from {list(_FLIPS)}")
    return QuarterTurn(round(_FLIPS[kind] / (math.pi / 2)), True)
