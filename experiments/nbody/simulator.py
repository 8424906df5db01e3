r"""Charged particles in space: the standard N-body task, simulated anew.

Particles of unit mass and charges :math:`q_i = \pm 1` move freely (no walls) in the softened
Coulomb potential

.. math:: U = \sum_{i<j} \frac{k\, q_i q_j}{\sqrt{r_{ij}^2 + \epsilon^2}}, \qquad
          F_i = \sum_{j \ne i} k\, q_i q_j \frac{x_i - x_j}{(r_{ij}^2 + \epsilon^2)^{3/2}},

which Plummer softening keeps finite at a collision; the set-up that is in common use (Kipf et al.
2018, Satorras et al. 2021) cuts each component of the force instead, which conserves neither energy
nor, under rotations, the task. Steps are those of velocity Verlet, a leapfrog: second order,
symplectic, and exact in momentum and angular momentum. All is float64 NumPy, many systems at once.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

_CHUNK = 250  # systems that are stepped together: their arrays stay in the cache
TRAIN, VALIDATION, TEST = "train", "validation", "test"
_PARTS = (TRAIN, VALIDATION, TEST)
PARTICLES = 5


class State(NamedTuple):
    """Many systems at one time, float64.

    Attributes:
      positions: ``[n, particles, 3]``.
      velocities: ``[n, particles, 3]``.
      charges: ``[n, particles]``, +1 or -1.
    """

    positions: np.ndarray
    velocities: np.ndarray
    charges: np.ndarray


@dataclasses.dataclass(frozen=True)
class Physics:
    """Constants of the motion, in the units of the task.

    Attributes:
      strength: k, at least 0.
      softening: epsilon, above 0.
      dt: length of a step, above 0.

    Raises:
      ValueError: a constant out of range, named.
    """

    strength: float = 1.0
    softening: float = 0.1
    dt: float = 1e-3

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise ValueError(f"strength must be at least 0, got {self.strength}")
        for name in ("softening", "dt"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")


def draw(
    rng: np.random.Generator,
    count: int,
    particles: int = PARTICLES,
    *,
    position_std: float = 1.0,
    speed: float = 0.5,
) -> State:
    """Random systems: normal positions, directions of motion uniform on the sphere, fair charges.

    Args:
      rng: the source of all randomness.
      count: n.
      particles: of each system.
      position_std: standard deviation of each coordinate.
      speed: of every particle.
    """
    positions = position_std * rng.standard_normal((count, particles, 3))
    velocities = rng.standard_normal((count, particles, 3))
    velocities *= speed / np.linalg.norm(velocities, axis=-1, keepdims=True)
    charges = rng.choice([-1.0, 1.0], size=(count, particles))
    return State(positions, velocities, charges)


def evolve(state: State, steps: int, physics: Physics | None = None) -> State:
    """The systems a number of steps later.

    Args:
      state: where they start.
      steps: at least 0.
      physics: constants; None takes the defaults.

    Raises:
      ValueError: negative steps, or shapes that do not fit.
    """
    if steps < 0:
        raise ValueError(f"steps must be at least 0, got {steps}")
    _check(state)
    physics = Physics() if physics is None else physics
    parts = [
        _evolve_chunk(State(*(a[i : i + _CHUNK] for a in state)), steps, physics)
        for i in range(0, len(state.positions), _CHUNK)
    ]
    x, v = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return State(x, v, state.charges)


def energy(state: State, physics: Physics | None = None) -> np.ndarray:
    """Kinetic plus potential energy, ``[n]``."""
    physics = Physics() if physics is None else physics
    first, second = _pairs(state.positions.shape[1])
    distance = state.positions[:, first] - state.positions[:, second]
    softened = np.sqrt((distance**2).sum(-1) + physics.softening**2)
    product = state.charges[:, first] * state.charges[:, second]
    kinetic = 0.5 * (state.velocities**2).sum((1, 2))
    return kinetic + physics.strength * (product / softened).sum(1)


def momentum(state: State) -> np.ndarray:
    """Total momentum, ``[n, 3]``."""
    return state.velocities.sum(1)


def angular_momentum(state: State) -> np.ndarray:
    """Total angular momentum about the origin, ``[n, 3]``."""
    return np.cross(state.positions, state.velocities).sum(1)


def trajectories(
    part: str,
    count: int,
    *,
    seed: int = 0,
    particles: int = PARTICLES,
    warm_up: int = 3000,
    horizon: int = 1000,
    position_std: float = 1.0,
    speed: float = 0.5,
    physics: Physics | None = None,
) -> dict[str, np.ndarray]:
    """One part of the task: systems after ``warm_up`` steps, and ``horizon`` steps after that.

    The defaults are those of the common set-up: positions of standard deviation 1, speed 0.5,
    k = 1, steps of 0.001, 3,000 of them before the input is taken and 1,000 to the target.

    Args:
      part: ``"train"``, ``"validation"`` or ``"test"``; they share no system. The first systems of
        a part do not depend on ``count``.
      count: number of systems.
      seed: of the task, at least 0.
      particles: of each system.
      warm_up: steps from the random start to the input.
      horizon: steps from the input to the target.
      position_std: see ``draw``.
      speed: see ``draw``.
      physics: constants; None takes the defaults.

    Returns:
      float32 ``position``, ``velocity``, ``target`` ``[count, particles, 3]`` and ``charge``
      ``[count, particles]``.

    Raises:
      ValueError: another part, or no system.
    """
    if part not in _PARTS:
        raise ValueError(f"part must be one of {_PARTS}, got {part!r}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    blocks = []
    for start in range(0, count, _CHUNK):
        rng = np.random.default_rng([seed, _PARTS.index(part), start])
        blocks.append(draw(rng, _CHUNK, particles, position_std=position_std, speed=speed))
    first = State(*(np.concatenate(arrays)[:count] for arrays in zip(*blocks, strict=True)))
    seen = evolve(first, warm_up, physics)
    later = evolve(seen, horizon, physics)
    arrays = {
        "position": seen.positions,
        "velocity": seen.velocities,
        "charge": seen.charges,
        "target": later.positions,
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _pairs(particles: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(particles, 1)


def _check(state: State) -> None:
    shape = state.positions.shape
    if len(shape) != 3 or shape[2] != 3 or state.velocities.shape != shape:
        raise ValueError(
            f"positions and velocities must be [n, particles, 3], got {shape} and "
            f"{state.velocities.shape}"
        )
    if state.charges.shape != shape[:2]:
        raise ValueError(f"charges must be {list(shape[:2])}, got shape {state.charges.shape}")


def _evolve_chunk(state: State, steps: int, physics: Physics) -> tuple[np.ndarray, np.ndarray]:
    """(positions, velocities) after the steps; arrays are [3, particles or pairs, n] inside."""
    x, v = (np.array(a.transpose(2, 1, 0), np.float64, order="C") for a in state[:2])
    particles = x.shape[1]
    first, second = _pairs(particles)
    strength = physics.strength * (state.charges[:, first] * state.charges[:, second]).T
    # Row i adds the forces of the pairs that i is the first of and subtracts those of the others.
    signs = np.zeros((particles, len(first)))
    signs[first, np.arange(len(first))] = 1.0
    signs[second, np.arange(len(first))] = -1.0

    def force(x: np.ndarray) -> np.ndarray:
        apart = x[:, first] - x[:, second]
        squared = np.einsum("cpn,cpn->pn", apart, apart) + physics.softening**2
        return signs @ (apart * (strength / (squared * np.sqrt(squared))))

    half = 0.5 * physics.dt
    f = force(x)
    for _ in range(steps):
        v += half * f
        x += physics.dt * v
        f = force(x)
        v += half * f
    return x.transpose(2, 1, 0), v.transpose(2, 1, 0)
