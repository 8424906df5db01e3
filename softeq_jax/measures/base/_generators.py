r"""One-parameter groups that act on images, colors and representations, at t = 0.

A *flow* of the plane acts on an image by ``(T_t x)(p) = x(p + t v(p) + O(t^2))``, so that

    D x = v . grad x,        v(p) = A p + b,   p = (x, y) in pixels from the center, y downwards.

Source: the velocity table of measures.md A.3, with translations per pixel instead of per half
image. At t > 0 content moves against v: translations move it to smaller x (y), ``rotation`` (that
is v = (y, -x)) turns it clockwise as seen, ``scale`` enlarges it. So ``rotation`` is minus the
generator of ``reps.image(groups.so(2), ...)``, whose elements turn counter-clockwise; squared or
absolute errors do not tell. A *color* generator acts on the values at every pixel by an affine
map, a *Lie element* by the derivative of a representation.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from softeq_jax.groups import Group
from softeq_jax.measures.base._layouts import Fiber, Layout

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luma of Rec. 601."""


@dataclasses.dataclass(frozen=True)
class Generator:
    """What the derivative is taken along.

    Attributes:
      name: as it appears in tables.

    Example:
      >>> import softeq_jax as sq
      >>> isinstance(sq.measures.flow("rotation"), sq.measures.Generator)
      True
    """

    name: str


@dataclasses.dataclass(frozen=True)
class Flow(Generator):
    """A velocity field ``v(p) = A p + b`` on the plane, p = (x, y) in pixels of the input.

    Attributes:
      matrix: A, two rows of two.
      shift: b, pixels.
      border: the velocity is multiplied by a window that is 0 up to this many pixels from the
        edge of the input and rises linearly to 1 within as many again; 0: no window. The flow
        then leaves the border in place, at every layer alike.

    Example:
      >>> import softeq_jax as sq
      >>> shear = sq.measures.Flow("shear", matrix=((0.0, 1.0), (0.0, 0.0)))
      >>> shear.is_translation, shear.is_similarity
      (False, False)
    """

    matrix: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))
    shift: tuple[float, float] = (0.0, 0.0)
    border: float = 0.0

    @property
    def turn(self) -> float:
        """Angular speed: the part of A along ``((0, 1), (-1, 0))``."""
        return (self.matrix[0][1] - self.matrix[1][0]) / 2

    @property
    def is_translation(self) -> bool:
        """Whether A = 0."""
        return not np.any(self.matrix)

    @property
    def is_similarity(self) -> bool:
        """Whether A is a rotation plus a multiple of the identity."""
        (a, b), (c, d) = self.matrix
        return a == d and b == -c

    @property
    def swaps_axes(self) -> bool:
        """Whether the flow carries the x axis towards y and back: needs square grids."""
        return self.matrix[0][1] != 0 and self.matrix[1][0] != 0


@dataclasses.dataclass(frozen=True)
class Color(Generator):
    """``D x = M x + o`` on the channel values of every pixel.

    ``contrast`` scales about zero and acts on every grid, whatever its channels; the others act
    where a layout says ``color=True`` (the input always is) and trivially elsewhere.

    Attributes:
      mean: of the normalization ``(pixel - mean) / std`` that the network's inputs went through,
        one per channel, or a number for all.
      std: of the same normalization.

    Example:
      >>> import softeq_jax as sq
      >>> made = sq.measures.color("brightness", mean=[0.5], std=[0.25])
      >>> made == sq.measures.Color("brightness", mean=(0.5,), std=(0.25,))
      True
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def affine(self, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """M float64 ``[c, c]`` and o ``[c]``, in the units of the normalized values.

        In pixel values, brightness is ``1``, saturation ``x - luma(x)`` and hue the rotation
        about the gray axis, ``(1, 1, 1) x pixel / sqrt(3)`` per radian (green after red).

        Raises:
          ValueError: saturation or hue of other than three channels, or mean and std of another
            number of channels.
        """
        mean, std = (_per_channel(values, channels, self) for values in (self.mean, self.std))
        if self.name == "contrast":
            return np.eye(channels), np.zeros(channels)
        if self.name == "brightness":
            return np.zeros((channels, channels)), 1 / std
        if channels != 3:
            raise ValueError(f"{self.name} needs red, green and blue, got {channels} channels")
        gray = np.ones(3) / np.sqrt(3)
        pixel = {
            "saturation": np.eye(3) - np.outer(np.ones(3), LUMA),
            "hue": np.cross(gray, np.eye(3)).T,
        }[self.name]
        return pixel * std / std[:, None], pixel @ mean / std


@dataclasses.dataclass(frozen=True)
class LieElement(Generator):
    """An element ``sum_k c_k X_k`` of the Lie algebra of a group, in its basis.

    Attributes:
      group: the group.
      coefficients: c, one per ``group.lie_generators``.

    Example:
      >>> import softeq_jax as sq
      >>> X = sq.measures.lie_element(sq.groups.so(3), [0, 0, 2])
      >>> X.name, X.coefficients
      ('SO(3)[0.0, 0.0, 2.0]', (0.0, 0.0, 2.0))
    """

    group: Group
    coefficients: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Action(Generator):
    """An infinitesimal action of one's own.

    Attributes:
      function: ``(a, layout) -> D a``, an array like ``a``, for the input and for every layout
        at which the function is to be compared (zero on ``Invariant`` ones, as a rule).

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> double = sq.measures.Action("double", lambda a, layout: 2 * a)
      >>> x = np.ones((1, 4, 4, 1), "float32")
      >>> found = sq.measures.lie_derivative(lambda x: x**2, x, double, output="image")
      >>> found[0, 0, 0]  # 2 x * 2 x, and 2 x^2 of it are expected
      Array([2.], dtype=float32)
    """

    function: Callable[[Any, Any], Any]


FLOWS = {
    flow.name: flow
    for flow in (
        Flow("translation_x", shift=(1.0, 0.0)),
        Flow("translation_y", shift=(0.0, 1.0)),
        Flow("rotation", ((0.0, 1.0), (-1.0, 0.0))),
        Flow("scale", ((-1.0, 0.0), (0.0, -1.0))),
        Flow("shear_x", ((0.0, 1.0), (0.0, 0.0))),
        Flow("shear_y", ((0.0, 0.0), (1.0, 0.0))),
        Flow("stretch_x", ((1.0, 0.0), (0.0, 0.0))),
        Flow("stretch_y", ((0.0, 0.0), (0.0, 1.0))),
        Flow("hyperbolic_rotation", ((0.0, 1.0), (1.0, 0.0))),
    )
}
COLORS = {name: Color(name) for name in ("brightness", "contrast", "saturation", "hue")}


def flow(name: str, *, border: float = 0.0) -> Flow:
    """The named flow, held still near the edge of the input.

    Args:
      name: "translation_x", "translation_y" (per pixel), "rotation" (per radian), "scale" (per
        unit of log scale), "shear_x", "shear_y", "stretch_x", "stretch_y" (per unit of relative
        change) or "hyperbolic_rotation" (per unit of rapidity).
      border: see ``Flow``; pixels.

    Raises:
      ValueError: an unknown name or a negative border.

    Example:
      >>> import softeq_jax as sq
      >>> sq.measures.flow("translation_x").shift, sq.measures.flow("rotation").matrix
      ((1.0, 0.0), ((0.0, 1.0), (-1.0, 0.0)))
    """
    if name not in FLOWS:
        raise ValueError(f"no flow is called {name!r}, choose from {list(FLOWS)}")
    if border < 0:
        raise ValueError(f"border must be at least 0 pixels, got {border}")
    return dataclasses.replace(FLOWS[name], border=float(border))


def color(name: str, *, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)) -> Color:
    """The named color generator for normalized inputs.

    Args:
      name: "brightness", "contrast", "saturation" or "hue".
      mean: of the normalization, one per channel or one for all.
      std: of the same: pixel = std * value + mean.

    Raises:
      ValueError: an unknown name, or a std that is not positive.

    Example:
      >>> import softeq_jax as sq
      >>> made = sq.measures.color("contrast", mean=[0.5], std=[0.25])
      >>> made.name, made.mean, made.std
      ('contrast', (0.5,), (0.25,))
    """
    if name not in COLORS:
        raise ValueError(f"no color generator is called {name!r}, choose from {list(COLORS)}")
    if not all(value > 0 for value in std):
        raise ValueError(f"std must be positive, got {tuple(std)}")
    return Color(name, tuple(map(float, mean)), tuple(map(float, std)))


def lie_element(group: Group, coefficients: int | Sequence[float]) -> LieElement:
    """An element of the Lie algebra of a group.

    Args:
      group: with Lie generators ``X_k``.
      coefficients: the index k of one of them, or all coefficients of a combination.

    Raises:
      ValueError: a group without such a generator, or another number of coefficients.

    Example:
      >>> import softeq_jax as sq
      >>> X = sq.measures.lie_element(sq.groups.so(3), 1)
      >>> X.name, [float(c) for c in X.coefficients]
      ('SO(3)[1]', [0.0, 1.0, 0.0])
    """
    k = len(group.lie_generators)
    if isinstance(coefficients, int | np.integer):
        if not 0 <= coefficients < k:
            raise ValueError(f"{group} has {k} Lie generators, none of index {coefficients}")
        name = f"{group}[{coefficients}]"
        return LieElement(name, group, tuple(np.eye(k)[coefficients]))
    values = tuple(float(value) for value in coefficients)
    if len(values) != k:
        raise ValueError(f"{group} has {k} Lie generators, got {len(values)} coefficients")
    return LieElement(f"{group}{[round(value, 4) for value in values]}", group, values)


def lie_basis(group: Group) -> tuple[LieElement, ...]:
    """Every Lie generator of a group.

    Raises:
      ValueError: the group is finite: its Lie derivative says nothing; measure its elements.

    Example:
      >>> import softeq_jax as sq
      >>> [X.name for X in sq.measures.lie_basis(sq.groups.so(3))]
      ['SO(3)[0]', 'SO(3)[1]', 'SO(3)[2]']
    """
    k = len(group.lie_generators)
    if not k:
        raise ValueError(
            f"{group} has no Lie generators: its elements are measured by the finite measures, "
            f"such as measures.relative_error"
        )
    return tuple(lie_element(group, index) for index in range(k))


def is_single(generators: Any) -> bool:
    """Whether this is one generator, rather than several."""
    return isinstance(generators, str | Generator | int | np.integer)


def as_generator(generator: Any, group: Group | None = None) -> Generator:
    """The generator that a user named.

    Args:
      generator: a ``Generator``, a name, or with a group the index of one of its Lie generators.
      group: of the representation that acts on the input, if one does.

    Raises:
      ValueError: an unknown name or index.
      TypeError: anything else.
    """
    if isinstance(generator, Generator):
        return generator
    names = [*FLOWS, *COLORS]
    if isinstance(generator, str):
        if generator not in names:
            raise ValueError(f"no generator is called {generator!r}, choose from {names}")
        return FLOWS.get(generator) or COLORS[generator]
    if group is not None and isinstance(generator, int | np.integer):
        return lie_element(group, int(generator))
    raise TypeError(
        f"a generator is a name ({', '.join(names)}), a measures.Flow, Color or LieElement, or "
        f"the index of a Lie generator if a representation acts on the input; got {generator!r}"
    )


def as_generators(given: Any, layout: Layout) -> tuple[Generator, ...]:
    """The generators that a user named, for inputs of a layout.

    Raises:
      TypeError: nothing is given, or something that is no generator.
      ValueError: an unknown name or index; none, or two of one name.
    """
    if given is None:
        raise TypeError("name a generator, such as 'rotation', or several")
    group = layout.rep.group if isinstance(layout, Fiber) else None
    items = [given] if is_single(given) else list(given)
    chosen = tuple(as_generator(item, group) for item in items)
    names = [generator.name for generator in chosen]
    if not chosen or len(set(names)) < len(names):
        raise ValueError(f"generators must be given, each once, got {names}")
    return chosen


def own_functions(generators: Sequence[Generator]) -> tuple[Callable[..., Any], ...]:
    """What of the generators is a function of the user's, which may close over anything."""
    return tuple(generator.function for generator in generators if isinstance(generator, Action))


def _per_channel(values: tuple[float, ...], channels: int, what: Color) -> np.ndarray:
    if len(values) not in (1, channels):
        raise ValueError(
            f"{what.name} is normalized for {len(values)} channels, the images have {channels}"
        )
    return np.broadcast_to(np.asarray(values, dtype=np.float64), (channels,))
