"""Pedestrians of ETH/UCY, one scene left out: data, network, loss, constant velocity, scores."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from softeq_jax import data
from softeq_jax.measures import ade, fde, trajectory_consistency
from softeq_jax.models import TrajectoryTransformer
from softeq_jax.models.trajectory import teacher_forced

Tree = Any
SCENES = ("eth", "hotel", "univ", "zara1", "zara2")
OBSERVED = PREDICTED = 10
TURN = 30.0  # degrees, largest rotation in training and in scores
TURNS = 4  # random rotations of every test window


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of tracks as arrays.

    Attributes:
      observed: ``[n, people, 10, 2]``, metres.
      future: ``[n, people, 10, 2]``.
      present: bool ``[n, people]``.
    """

    observed: np.ndarray
    future: np.ndarray
    present: np.ndarray

    @property
    def positions(self) -> np.ndarray:
        """All frames, ``[n, people, 20, 2]``."""
        return np.concatenate([self.observed, self.future], axis=2)
