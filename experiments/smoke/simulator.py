r"""Smoke in a closed square box: an incompressible flow that its smoke drives, in two dimensions.

Smoke of density s comes in at a place, is carried by the velocity w, and pushes it:

.. math:: \partial_t s + w \cdot \nabla s = q, \qquad
          \partial_t w + w \cdot \nabla w = - \nabla p + b(d) \, d \, s, \qquad
          \nabla \cdot w = 0, \quad w \cdot n = 0 \text{ at the walls},

with the inflow q and the direction d of buoyancy, a unit vector, which belong to a run as its first
velocity does. A step lets smoke in, carries everything (MacCormack's scheme on a midpoint
trace, cut to the extremes of the four neighbours: Selle et al. 2008), adds buoyancy and takes the
gradient of the pressure away, exactly, by a cosine transform. Velocities are on the faces of the
cells (Harlow & Welch 1965), so that the divergence of every cell vanishes to rounding.

**The symmetry, and the dial that breaks it.** Quarter turns map the box, its walls and its cells to
themselves. With

.. math:: b(d) = b \, \exp(a \, d \cdot e), \qquad e = (\cos 30^\circ, \sin 30^\circ)

and a = 0 nothing in the box prefers a direction: a run whose density, velocity, inflow and d are
turned is the turned run, to rounding. The dial a, ``asymmetry``, makes buoyancy weaker or
stronger by where it points in the box; at a = 1 its four quarter turns have 2.38, 1.65, 0.42 and
0.61 times b. The direction is seen, what it means is not: that breaks the symmetry.

Arrays are seen as pictures, rows from top to bottom; x points right and y up. The side of the box
is 1. Computed by JAX, all runs at once, in float64 or float32.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import fft

Array = Any

_OFFSETS = np.array([[[0.0], [0.0]], [[0.0], [-0.5]], [[-0.5], [0.0]]], np.float32)
"""Row and column, in cells, of the first entry of density, across and up; float32 widens none."""

PREFERRED = np.array([np.cos(np.pi / 6), np.sin(np.pi / 6)])
"""e, which the asymmetry is measured along."""


class SmokeBlewUp(ArithmeticError):
    """A simulation left what its scheme can compute; the message has run, step and setting."""


class Plume(NamedTuple):
    """Many runs at one time, on n x n cells.

    Attributes:
      density: ``[runs, n, n]``, in the cells.
      across: x-velocity ``[runs, n, n + 1]``, on the upright faces.
      up: y-velocity ``[runs, n + 1, n]``, on the level faces.
      inflow: q ``[runs, n, n]``.
      direction: d ``[runs, 2]``, x and y.
    """

    density: Array
    across: Array
    up: Array
    inflow: Array
    direction: Array


@dataclasses.dataclass(frozen=True)
class SmokeConstants:
    """Constants of the motion; the unit of length is the side of the box.

    Attributes:
      buoyancy: b, at least 0.
      asymmetry: a, at least 0; 0 is exactly symmetric.
      dt: length of a step, above 0.

    Raises:
      ValueError: a constant out of range, named.
    """

    buoyancy: float = 1.0
    asymmetry: float = 0.0
    dt: float = 0.05

    def __post_init__(self) -> None:
        for name in ("buoyancy", "asymmetry"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not self.dt > 0:
            raise ValueError(f"dt must be above 0, got {self.dt}")

    def force(self, direction: np.ndarray) -> np.ndarray:
        """``b(d) d`` for directions ``[..., 2]``."""
        strength = self.buoyancy * np.exp(self.asymmetry * (direction @ PREFERRED))
        return strength[..., None] * direction


def draw(rng: np.random.Generator, runs: int, side: int, *, stirring: float = 0.15) -> Plume:
    """Random runs at their start: no smoke, a slow stirring, inflow low down as buoyancy sees it.

    The four directions are the quarter turns, as evenly as the number of runs allows. Inflow is a
    Gaussian spot; the stirring is the curl of three times three sines that vanish at the walls.
    What is drawn does not depend on the side.

    Args:
      rng: the source of all randomness.
      runs: how many, at least 1.
      side: n, at least 4.
      stirring: deviation of the first velocity, roughly.

    Returns:
      float64 NumPy arrays.

    Raises:
      ValueError: fewer runs or cells.
    """
    if runs < 1 or side < 4:
        raise ValueError(f"draw needs runs >= 1 and side >= 4, got {runs} and {side}")
    turns = rng.permutation(np.arange(runs) % 4)
    direction = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])[turns]
    along, beside = rng.uniform(-0.05, 0.05, runs), rng.uniform(-0.2, 0.2, runs)
    radius, rate = rng.uniform(0.06, 0.1, runs), rng.uniform(0.8, 1.2, runs)
    waves = stirring / np.pi * rng.standard_normal((runs, 3, 3))
    normal = np.stack([-direction[:, 1], direction[:, 0]], -1)
    spot = 0.5 + (along - 0.25)[:, None] * direction + beside[:, None] * normal
    cells = (np.arange(side) + 0.5) / side
    x, y = cells[None, None, :], (1.0 - cells)[None, :, None]
    squared = (x - spot[:, 0, None, None]) ** 2 + (y - spot[:, 1, None, None]) ** 2
    inflow = rate[:, None, None] * np.exp(-0.5 * squared / radius[:, None, None] ** 2)
    # The sine is taken to 0 at both walls exactly, so that nothing flows through them.
    number = np.arange(1, 4)
    sine = np.sin(np.pi * np.outer(number, np.arange(side + 1) / side))
    sine[:, -1] = 0.0
    stream = np.einsum("rkl,ki,lj->rij", waves / np.hypot.outer(number, number), sine, sine)
    across = side * (stream[:, :-1] - stream[:, 1:])  # the derivative along y, which points up
    up = -side * (stream[:, :, 1:] - stream[:, :, :-1])
    return Plume(np.zeros((runs, side, side)), across, up, inflow, direction)


def turned(plume: Plume, quarters: int = 1) -> Plume:
    """The runs turned by quarter turns, counter-clockwise as they are seen."""
    for _ in range(quarters % 4):
        density, across, up, inflow = (
            np.rot90(np.asarray(field), axes=(-2, -1)) for field in plume[:4]
        )
        x, y = np.moveaxis(np.asarray(plume.direction), -1, 0)
        plume = Plume(density, -up, across, inflow, np.stack([-y, x], -1))
    return plume


def divergence(plume: Plume) -> Array:
    """Of every cell, ``[runs, n, n]``."""
    return _divergence(plume.across, plume.up)


def centred(plume: Plume) -> Array:
    """What is seen of the runs, ``[runs, n, n, 3]``: density, x- and y-velocity of the cells."""
    xp = np if isinstance(plume.density, np.ndarray) else jnp
    across = 0.5 * (plume.across[..., 1:] + plume.across[..., :-1])
    up = 0.5 * (plume.up[..., 1:, :] + plume.up[..., :-1, :])
    return xp.stack([plume.density, across, up], -1)


def evolve(plume: Plume, steps: int, constants: SmokeConstants | None = None, **how: Any) -> Plume:
    """The runs a number of steps later, as NumPy arrays.

    Args:
      plume: where they start.
      steps: at least 0.
      constants: None takes the defaults.
      how: ``dtype``, see ``simulate``.

    Raises:
      ValueError, SmokeBlewUp: see ``simulate``.
    """
    return _computed(plume, steps, constants, _last, **how)


def simulate(
    plume: Plume, frames: int, constants: SmokeConstants | None = None, **how: Any
) -> np.ndarray:
    """What is seen of the runs, a frame a step, the start left out.

    Args:
      plume: where they start.
      frames: how many, at least 1.
      constants: None takes the defaults.
      how: ``dtype``, float64 (the default) or float32, of the computation.

    Returns:
      ``[runs, frames, n, n, 3]``, see ``centred``, in that dtype.

    Raises:
      ValueError: negative frames, or arrays that do not fit each other.
      SmokeBlewUp: a number is no longer finite, or something crossed the box in one step.
    """
    return _computed(plume, frames, constants, _seen, **how)


def _computed(
    plume: Plume,
    steps: int,
    constants: SmokeConstants | None,
    compute: Callable[..., tuple[Any, Array]],
    *,
    dtype: Any = np.float64,
) -> Any:
    if steps < 0:
        raise ValueError(f"steps must be at least 0, got {steps}")
    constants = SmokeConstants() if constants is None else constants
    _check(plume)
    with jax.enable_x64(True):
        given = Plume(*(jnp.asarray(field, dtype) for field in plume))
        force = jnp.asarray(constants.force(np.asarray(plume.direction, np.float64)), dtype)
        found, way = compute(given, force, jnp.asarray(constants.dt, dtype), steps)
        _refuse_blow_up(np.asarray(way), constants)
        return jax.tree.map(np.asarray, found)


@partial(jax.jit, static_argnames="steps")
def _last(plume: Plume, force: Array, dt: Array, steps: int) -> tuple[Plume, Array]:
    """(the runs at the end, the longest way of every step in sides of the box)."""
    return jax.lax.scan(lambda now, _: _advanced(now, force, dt), plume, None, steps)


@partial(jax.jit, static_argnames="steps")
def _seen(plume: Plume, force: Array, dt: Array, steps: int) -> tuple[Array, Array]:
    def step(now: Plume, _: None) -> tuple[Plume, tuple[Array, Array]]:
        after, way = _advanced(now, force, dt)
        return after, (centred(after), way)

    frames, way = jax.lax.scan(step, plume, None, steps)[1]
    return jnp.moveaxis(frames, 0, 1), way


def _advanced(plume: Plume, force: Array, dt: Array) -> tuple[Plume, Array]:
    """One step of all runs, and how far each run's fastest face is carried; NaN where lost."""
    density, across, up = jax.vmap(partial(_step, dt=dt))(*plume[:4], force)
    fastest = jnp.maximum(jnp.abs(across).max((1, 2)), jnp.abs(up).max((1, 2)))
    lost = ~jnp.isfinite(density).all((1, 2))
    way = jnp.where(lost, jnp.nan, dt * fastest)
    return plume._replace(density=density, across=across, up=up), way


def _step(
    density: Array, across: Array, up: Array, inflow: Array, force: Array, dt: Array
) -> tuple[Array, Array, Array]:
    fields = density + dt * inflow, across, up
    places = [_places(field, at) for field, at in zip(fields, _OFFSETS, strict=True)]
    ends = np.cumsum([each.shape[1] for each in places])[:-1]
    traced = _traced(across, up, jnp.concatenate(places, 1), density.shape[0] * dt)
    back, forth = (jnp.split(found, ends, 1) for found in traced)
    density, across, up = (
        _carried(field, start - at, end - at)
        for field, start, end, at in zip(fields, back, forth, _OFFSETS, strict=True)
    )
    across = across.at[:, 1:-1].add(0.5 * dt * force[0] * (density[:, 1:] + density[:, :-1]))
    up = up.at[1:-1].add(0.5 * dt * force[1] * (density[1:] + density[:-1]))
    return density, *_without_divergence(across, up)


def _places(field: Array, offset: Array) -> Array:
    """Rows and columns, in cells, of all entries of a field, ``[2, entries]``."""
    return jnp.indices(field.shape, field.dtype).reshape(2, -1) + offset


def _traced(across: Array, up: Array, places: Array, reach: Array) -> tuple[Array, Array]:
    """Where what is at the places comes from and goes to in a step; a velocity of 1 leads
    ``reach`` cells far."""

    def velocity(at: Array) -> Array:
        down, right = (at - offset for offset in _OFFSETS[:0:-1])
        return jnp.stack([-_sampled(up, down)[0], _sampled(across, right)[0]])

    here = velocity(places)
    back, forth = (places + way * velocity(places + 0.5 * way * here) for way in (-reach, reach))
    return back, forth


def _carried(field: Array, back: Array, forth: Array) -> Array:
    """MacCormack's step of a field, in whose rows and columns the traces are."""
    once, low, high = _sampled(field, back)
    again = _sampled(once.reshape(field.shape), forth)[0]
    moved = once + 0.5 * (field.reshape(-1) - again)
    return jnp.clip(moved, low, high).reshape(field.shape)


def _sampled(field: Array, places: Array) -> tuple[Array, Array, Array]:
    """Bilinear values at places, clamped to the field, with the extremes of their neighbours."""
    (above, down), (left, right) = map(_between, places, field.shape)
    corners = jnp.stack([field[above + i, left + j] for i in (0, 1) for j in (0, 1)])
    top, bottom = corners[::2] + right * (corners[1::2] - corners[::2])
    return top + down * (bottom - top), corners.min(0), corners.max(0)


def _between(places: Array, count: int) -> tuple[Array, Array]:
    """(index of the entry before each place, share of the one after it)."""
    places = jnp.clip(places, 0.0, count - 1.0)
    before = jnp.clip(jnp.floor(places), 0, count - 2)
    return before.astype(jnp.int32), places - before


def _without_divergence(across: Array, up: Array) -> tuple[Array, Array]:
    """The nearest velocity without divergence and without flow through the walls."""
    across = across.at[:, 0].set(0.0).at[:, -1].set(0.0)
    up = up.at[0].set(0.0).at[-1].set(0.0)
    n = across.shape[0]
    along = 2.0 * (jnp.cos(jnp.pi * jnp.arange(n, dtype=across.dtype) / n) - 1.0)
    square = (along[:, None] + along[None, :]).at[0, 0].set(1.0)
    waves = fft.dctn(_divergence(across, up) / n, norm="ortho") / square
    pressure = fft.idctn(waves.at[0, 0].set(0.0), norm="ortho")
    across = across.at[:, 1:-1].add(pressure[:, :-1] - pressure[:, 1:])
    return across, up.at[1:-1].add(pressure[1:] - pressure[:-1])


def _divergence(across: Array, up: Array) -> Array:
    n = up.shape[-1]
    return n * (across[..., 1:] - across[..., :-1] + up[..., :-1, :] - up[..., 1:, :])


def _refuse_blow_up(way: np.ndarray, constants: SmokeConstants) -> None:
    """SmokeBlewUp for the first step that a run left finite numbers or the box in."""
    bad = np.argwhere(~(way <= 1.0))
    if len(bad):
        step, run = (int(i) for i in bad[0])
        reason = "a number is not finite"
        if np.isfinite(way[step, run]):
            reason = f"the smoke is carried {way[step, run]:.3g} sides of the box in one step"
        raise SmokeBlewUp(f"run {run}, step {step}: {reason}, with {constants}")


def _check(plume: Plume) -> None:
    shape = np.shape(plume.density)
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(f"density must be [runs, n, n], got shape {shape}")
    runs, n, _ = shape
    wanted = Plume(shape, (runs, n, n + 1), (runs, n + 1, n), shape, (runs, 2))
    for name, field, expected in zip(Plume._fields, plume, wanted, strict=True):
        if np.shape(field) != expected:
            raise ValueError(f"{name} must have shape {expected}, got {np.shape(field)}")
