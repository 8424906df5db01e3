"""The action on data: exact elements of the lattice, or an orthogonal one on images made ready.

Resampled copies are told from originals by their blur, so nothing here resamples. Other angles act
by ``reps.image``, on odd grids, where it is an exact homomorphism; a disc and a low-pass come
first, so that it is the rotation of the picture, too.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.measures._bandwidth import low_pass
from softeq_jax.measures.base._layouts import Fiber, Image, Tokens
from softeq_jax.measures.diagnosis._meanings import check_grid, declared
from softeq_jax.measures.diagnosis._widened import in_double
from softeq_jax.reps import Rep, image, tokens

_LEAST = 5
"""Least side of images that turn by any angle."""
_SIDE, _LARGEST = 25, 41
"""Sides of the grids on which they do: smaller ones are refined, larger ones averaged."""
_ENTRIES = 2**13
"""Largest number of entries of an image that turns by quarters; larger ones are averaged first."""
_SHARE = 0.7
"""Of the Nyquist frequency, what the low-pass leaves."""
_RIM, _FADE = 0.4, 0.8
"""Shares of its radius over which the disc fades, before and after the low-pass."""


@dataclasses.dataclass(frozen=True)
class Acting:
    """Examples made ready, and how a group acts on them.

    Attributes:
      group: the group.
      x: ``[n, ...]``, float64.
      words: what acts, and what was done to the examples.
      moves: applied one after the other, ``(g, x) -> g x``.
    """

    group: Group
    x: np.ndarray
    words: str
    moves: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...]

    def move(self, g: np.ndarray, x: np.ndarray) -> np.ndarray:
        """``g x`` for examples ``[m, ...]``, float64."""
        for step in self.moves:
            x = step(g, x)
        return x

    def each(self, elements: np.ndarray, which: np.ndarray, x: np.ndarray) -> np.ndarray:
        """``g_i x_i`` with ``g_i = elements[which[i]]``."""
        moved = np.empty_like(x)
        for k in np.unique(which):
            moved[which == k] = self.move(elements[k], x[which == k])
        return moved


def acting(x: np.ndarray, group: Group, given: Any) -> Acting:
    """How a group acts on examples, as declared (see ``measures.doctor``) or as their shape says.

    Raises:
      ValueError: it does not act on them, or leaves everything as it is.
    """
    meaning = declared(given, group, x.shape, "the data")
    if meaning.is_trivial:
        raise ValueError(
            f"nothing acts on data that are read as {meaning.words}, so that every distribution "
            f"is symmetric: declare how {group} acts on them, as input="
        )
    layout = meaning.layout
    check_grid(group, layout, x.shape, "the data")
    if isinstance(layout, Fiber):
        enter, leave = meaning.order or (None, None)
        return Acting(group, x, meaning.words, (_Step(layout.rep, layout.axes, enter, leave),))
    assert isinstance(group, PlanarGroup)
    exact = group.rotations in (1, 2, 4)
    if isinstance(layout, Tokens):
        if not exact:
            raise ValueError(
                f"{group} turns tokens by angles between the points of their lattice: give the "
                f"images, or a group of quarter turns and flips"
            )
        turn = tokens(group, layout.sides(x.shape), layout.prefix)
        return Acting(group, x, meaning.words, (_Step(turn, (layout.axis,)),))
    assert isinstance(layout, Image)
    small = _averaged(x, layout) if exact else _made_ready(x, layout)
    turn = image(group, layout.grid(small.shape))
    steps = [_Step(turn, layout.axes)]
    if layout.fiber is not None:
        steps.append(_Step(layout.fiber, (layout.channel,)))
    how = "after a disc and a low-pass"
    if exact:
        how = "pixels moved exactly" + ("" if small is x else _size(small, layout))
    return Acting(group, small, f"{meaning.words}, by {turn}, {how}", tuple(steps))


class _Step(NamedTuple):
    """A representation on some axes of an array, on every copy in a single axis.

    Attributes:
      rep: the representation.
      axes: it acts on.
      enter, leave: rearrange the entries before and after it; None: nothing.
    """

    rep: Rep
    axes: tuple[int, ...]
    enter: Callable[[Any], Any] | None = None
    leave: Callable[[Any], Any] | None = None

    def __call__(self, g: np.ndarray, x: np.ndarray) -> np.ndarray:
        y = x if self.enter is None else self.enter(x)
        axis, *others = self.axes
        if others:
            y = self.rep.apply(g, y, axes=self.axes)
        else:
            moved = np.moveaxis(y, axis, -1)
            split = moved.reshape(*moved.shape[:-1], -1, *self.rep.shape)
            acting = range(split.ndim - len(self.rep.shape), split.ndim)
            turned = self.rep.apply(g, split, axes=tuple(acting)).reshape(moved.shape)
            y = np.moveaxis(turned, -1, axis)
        return np.asarray(y if self.leave is None else self.leave(y))


def _size(x: np.ndarray, layout: Image) -> str:
    rows, cols = layout.grid(x.shape)
    return f" after averaging to {rows} x {cols}"


def _averaged(x: np.ndarray, layout: Image) -> np.ndarray:
    """Images averaged along both axes until they are small enough; quarter turns and flips of
    the result are those of the images."""
    while np.prod(x.shape[1:]) > _ENTRIES and min(layout.grid(x.shape)) > 4:
        for axis in layout.axes:
            x = _halved(x, axis)
    return x


def _made_ready(x: np.ndarray, layout: Image) -> np.ndarray:
    """Images on an odd grid of moderate size, low-passed, and faded out to the rim of a disc.

    A disc comes before the low-pass, so that no edge wraps around, and one that fades slowly
    comes after it, as what rings beyond the rim would not turn as the picture does.
    """
    import scipy.ndimage

    axes = tuple(axis % x.ndim for axis in layout.axes)
    if x.shape[axes[0]] < _LEAST:
        raise ValueError(
            f"images of {x.shape[axes[0]]} x {x.shape[axes[1]]} pixels are too small to turn by "
            f"any angle: give larger ones, or a group of quarter turns and flips"
        )
    while x.shape[axes[0]] > _LARGEST:
        for axis in axes:
            x = _halved(x, axis)
    old = x.shape[axes[0]]
    side = max(_SIDE, old - (old + 1) % 2)
    if side != old:  # the same picture on more points, so that turning them is more exact
        zoom = [side / old if axis in axes else 1.0 for axis in range(x.ndim)]
        x = np.asarray(scipy.ndimage.zoom(x, zoom, order=3, mode="nearest"))
    form = [side if axis in axes else 1 for axis in range(x.ndim)]
    with in_double():
        cut = jnp.asarray(x * _disc(side, _RIM).reshape(form))
        return np.asarray(low_pass(cut, _SHARE, layout)) * _disc(side, _FADE).reshape(form)


def _disc(side: int, fade: float) -> np.ndarray:
    """A disc in a square, 0 at its rim and 1 from a share of the radius inwards."""
    at = np.arange(side) - (side - 1) / 2
    depth = 1 - 2 * np.hypot(at[:, None], at[None]) / (side - 1)
    depth = np.clip(depth / fade, 0, 1)
    return depth**2 * (3 - 2 * depth)


def _between(x: np.ndarray, axis: int) -> np.ndarray:
    """Means of neighbors along an axis, one entry less, about the same center."""
    x = np.moveaxis(x, axis, 0)
    return np.moveaxis((x[1:] + x[:-1]) / 2, 0, axis)


def _halved(x: np.ndarray, axis: int) -> np.ndarray:
    """Every second mean of neighbors, which lie symmetrically about the center."""
    if x.shape[axis] % 2:
        x = _between(x, axis)
    x = np.moveaxis(_between(x, axis), axis, 0)
    return np.moveaxis(x[::2], 0, axis)
