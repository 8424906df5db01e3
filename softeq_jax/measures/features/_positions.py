r"""The positions of a feature map at which a transform can be judged.

A position counts when (measures.md B) its pre-image is inside the map, both lie at least the
*crop* away from the edges, and so does everything within the crop around it: what the transform
brings in at the edge of the image has no influence there. The same positions serve both
arguments of a comparison.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax.measures.base._layouts import Image, Layout, Tokens
from softeq_jax.measures.features._footprints import Edges, Footprint, border_of
from softeq_jax.measures.finite._shifts import Shift
from softeq_jax.measures.finite._transform import Transform, grid_of, is_planar, placed

Frame = tuple[int, int]
Shape = tuple[int, ...]
Crop = Mapping[str, Any] | int | str | None
_INSIDE = 1 - 1e-4  # weights of masks above this count as inside


@dataclasses.dataclass(frozen=True)
class Site:
    """One feature: its layout, the shape of its arrays and what is cropped; hashable.

    Attributes:
      name: of the feature.
      layout: its layout.
      shape: of a batch of one.
      frame: rows and columns of the input.
      crop: entries at the (top, bottom, left, right) edge that are left out.
    """

    name: str
    layout: Layout
    shape: Shape
    frame: Frame
    crop: Edges

    @property
    def is_planar(self) -> bool:
        """Whether the feature has positions."""
        return is_planar(self.layout)

    @property
    def grid(self) -> Frame:
        """Rows and columns; (1, 1) without positions."""
        return grid_of(self.shape, self.layout) if is_planar(self.layout) else (1, 1)

    def check(self, transform: Transform) -> None:
        """ValueError, with the name of the feature, where the transform cannot act on it."""
        try:
            transform.check(self.shape, self.layout, self.frame)
        except ValueError as error:
            raise ValueError(f"feature {self.name!r}: {error}") from error

    def is_exact(self, transform: Transform) -> bool:
        """Whether the transform permutes the entries."""
        return transform.is_exact(self.shape, self.layout, self.frame)

    def act(self, transform: Transform, x: jax.Array) -> jax.Array:
        """The transform on the feature."""
        return transform(x, self.layout, self.frame)

    def positions(self, x: jax.Array) -> jax.Array:
        """``[n, positions, channels]``, float32 or wider; prefix tokens left out.

        A feature without positions is one vector per example: ``[n, 1, entries]``.
        """
        x = jnp.asarray(x)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if isinstance(self.layout, Image):
            x = jnp.moveaxis(x, self.layout.axes, (1, 2))
            return x.reshape(x.shape[0], x.shape[1] * x.shape[2], -1)
        if isinstance(self.layout, Tokens):
            x = jnp.moveaxis(x, self.layout.axis, 1)[:, self.layout.prefix :]
            return x.reshape(*x.shape[:2], -1)
        return x.reshape(x.shape[0], 1, -1)

    def valid(self, transform: Transform) -> jax.Array:
        """float32 ``[positions]``, 1 at the positions that count, else 0."""
        if not self.is_planar:
            return jnp.ones(1)
        inside = self._inside(transform)
        interior = self._interior()
        source = self._moved(transform, interior)
        return (interior * source * self._eroded(inside)).ravel()

    def valid_round_trip(self, transform: Transform) -> jax.Array:
        """float32 ``[positions]``: 1 where the transform forth and back loses nothing."""
        if not self.is_planar:
            return jnp.ones(1)
        back = transform.inverse
        forth = self._inside(transform)
        returned = self._moved(back, forth)
        return (self._interior() * self._inside(back) * returned).ravel()

    def _interior(self) -> jax.Array:
        rows, cols = self.grid
        top, bottom, left, right = self.crop
        inside = np.zeros((rows, cols), np.float32)
        inside[top : max(rows - bottom, 0), left : max(cols - right, 0)] = 1
        return jnp.asarray(inside)

    def _inside(self, transform: Transform) -> jax.Array:
        """``[rows, cols]``: whether the pre-image is inside the map."""
        if isinstance(transform, Shift) and transform.boundary == "circular" and not self._tiles():
            # The map does not close up where the input does, so nothing wraps around on it.
            transform = dataclasses.replace(transform, boundary="zero")
        mask = transform.mask(self.shape, self.layout, self.frame)
        whole = jnp.broadcast_to(mask, (1, *self.shape[1:]))
        weights = self.positions(whole)[0, :, 0]
        return (weights.reshape(self.grid) > _INSIDE).astype(jnp.float32)

    def _tiles(self) -> bool:
        assert is_planar(self.layout)
        grid, placement = placed(self.shape, self.layout, self.frame)
        sizes = (p * g for p, g in zip(placement.pitch, grid, strict=True))
        return all(abs(s - f) < 1e-6 for s, f in zip(sizes, self.frame, strict=True))

    def _moved(self, transform: Transform, weights: jax.Array) -> jax.Array:
        """``[rows, cols]``: where the pre-image has weight 1."""
        assert is_planar(self.layout)
        layout = Image(pitch=self.layout.pitch, origin=self.layout.origin)
        moved = transform(weights[None, :, :, None], layout, self.frame)[0, :, :, 0]
        # Lanczos taps overshoot: whatever is not close to 1 has seen a zero.
        return (jnp.abs(moved - 1) < 1 - _INSIDE).astype(jnp.float32)

    def _eroded(self, inside: jax.Array) -> jax.Array:
        """1 where everything within the crop around a position is inside; edges are no loss."""
        top, bottom, left, right = self.crop
        # An entry at distance d below a brought-in row is as safe as one d below the top edge.
        padded = jnp.pad(inside, ((top, bottom), (left, right)), constant_values=1.0)
        window = (top + bottom + 1, left + right + 1)
        return jax.lax.reduce_window(padded, jnp.inf, jax.lax.min, window, (1, 1), "VALID")


def crops(
    sites: Mapping[str, tuple[Layout, Shape]], crop: Crop, found: Mapping[str, Footprint] | None
) -> dict[str, Edges]:
    """Entries to leave out at the (top, bottom, left, right) edge of every feature.

    Args:
      sites: name to layout and shape, in the order of depth.
      crop: None for none; a number for all; "receptive" for what padding influences; or a
        mapping of names to a number, to four, to a ``Footprint`` or to "receptive" (a feature
        not in it: none).
      found: footprints, for "receptive".

    Raises:
      ValueError: an unknown name or word, a negative number, or "receptive" for a planar feature
        whose footprint was not measured.
    """
    if isinstance(crop, Mapping):
        unknown = [name for name in crop if name not in sites]
        if unknown:
            raise ValueError(f"crop names {unknown}, but the features are {list(sites)}")
    result: dict[str, Edges] = {}
    for name, (layout, shape) in sites.items():
        wanted = crop.get(name) if isinstance(crop, Mapping) else crop
        result[name] = (0, 0, 0, 0)
        if wanted is None or not is_planar(layout):
            continue
        if isinstance(wanted, Footprint):
            result[name] = border_of(wanted, grid_of(shape, layout))
            continue
        if isinstance(wanted, str):
            if wanted != "receptive":
                raise ValueError(f"crop must be entries or 'receptive', got {wanted!r}")
            if found is None or name not in found:
                raise ValueError(
                    f"the receptive field of feature {name!r} of shape {shape} was not measured: "
                    f"give its crop in entries, as crop={{{name!r}: 0}} for one that sees the "
                    f"whole image anyhow"
                )
            result[name] = border_of(found[name], grid_of(shape, layout))
            continue
        edges = (wanted,) * 4 if isinstance(wanted, int | np.integer) else tuple(wanted)
        if len(edges) != 4 or any(int(e) != e or e < 0 for e in edges):
            raise ValueError(f"the crop of {name!r} must be entries >= 0, one or four of them")
        top, bottom, left, right = (int(e) for e in edges)
        result[name] = (top, bottom, left, right)
    return result


def asks_receptive(crop: Crop, name: str) -> bool:
    """Whether the crop of a feature is to be measured."""
    return isinstance(crop.get(name) if isinstance(crop, Mapping) else crop, str)
