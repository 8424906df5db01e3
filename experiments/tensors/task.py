r"""Regression of a scalar from vectors: O(5) and Lorentz scattering, with a term that breaks both.

Data, networks, loss and scores. Inputs are divided by one number for all coordinates, targets are
standardised by the training set's mean and deviation, so that nothing but the breaking term sees
an axis.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from experiments.shared.invariant_tasks import lorentz_data, lorentz_targets, o5_data, o5_targets
from softeq_jax.measures import symmetric_relative_error
from softeq_jax.models import TensorMLP

Tree = Any


class Perceptron(nn.Module):
    """Dense layers on bare coordinates: the row that knows no symmetry.

    Attributes:
      widths: of the hidden layers.
    """

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[..., d]`` to ``[..., 1]``."""
        for width in self.widths:
            x = jax.nn.silu(nn.Dense(width)(x))
        return nn.Dense(1)(x)


class Constant(nn.Module):
    """The mean of the standardised targets, 0: the floor."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[..., d]`` to zeros ``[..., 1]``."""
        return jnp.zeros((*x.shape[:-1], 1), x.dtype)


@dataclasses.dataclass(frozen=True)
class Problem:
    """One of the two tasks.

    Attributes:
      data: ``data(n, seed, noise) -> (x [n, d], y [n, 1])``, float64.
      targets: ``targets(x, noise) -> y``, exact.
      scale: deviation of the inputs' entries.
      network: ``network(widths) -> TensorMLP``, not projecting itself.
    """

    data: Callable[[int, int, float], tuple[np.ndarray, np.ndarray]]
    targets: Callable[[np.ndarray, float], np.ndarray]
    scale: float
    network: Callable[[tuple[int, ...]], TensorMLP]


def _o5(widths: tuple[int, ...]) -> TensorMLP:
    return TensorMLP.o5(widths[0], len(widths), project=False)


def _lorentz(widths: tuple[int, ...]) -> TensorMLP:
    return TensorMLP.lorentz(widths, project=False)


PROBLEMS = {
    "o5": Problem(o5_data, o5_targets, 1.0, _o5),
    "lorentz": Problem(lorentz_data, lorentz_targets, 0.25, _lorentz),
}


@dataclasses.dataclass(frozen=True)
class TensorData:
    """Training, held-out and test sets of one seed, float32, scaled and standardised.

    Attributes:
      train: inputs and targets.
      held: those that strengths are chosen by.
      test: those of the tables.
      mean: of the training targets.
      deviation: of the training targets.
    """

    train: tuple[np.ndarray, np.ndarray]
    held: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    mean: float
    deviation: float


@functools.lru_cache(maxsize=4)
def tensor_data(problem: str, noise: float, seed: int, size: int) -> TensorData:
    """New draws for every seed, the same for all rows; ``size`` items a part."""
    made = PROBLEMS[problem]
    draws = [made.data(size, 3 * seed + part, noise) for part in range(3)]
    mean, deviation = float(draws[0][1].mean()), float(draws[0][1].std())
    train, held, test = (
        ((x / made.scale).astype(np.float32), ((y - mean) / deviation).astype(np.float32))
        for x, y in draws
    )
    return TensorData(train, held, test, mean, deviation)


def loss(network: nn.Module) -> Callable[..., Any]:
    """Mean square error of standardised targets, for the trainer."""

    def loss_fn(weights: Tree, state: Tree, batch: Tree, key: jax.Array, extra: Any) -> Any:
        del key, extra
        error = network.apply({"params": weights}, batch["x"]) - batch["y"]
        return jnp.mean(error**2), (state, {})

    return loss_fn


def elements(problem: str, count: int, seed: int, spread: float = 0.5) -> np.ndarray:
    """Matrices of random group elements ``[count, d, d]``, one for each test item.

    O(5): from Haar measure. Lorentz, which has none: ``exp`` of coordinates with deviation
    ``spread`` (rapidities and angles), times a random word of the time and space reflections.
    """
    group = PROBLEMS[problem].network((2,)).group
    key = jax.random.key(seed)
    if problem == "o5":
        return np.asarray(group.sample(key, count), np.float64)
    rng = np.random.default_rng(seed)
    moved = np.stack([group.exp(t) for t in spread * rng.standard_normal((count, 6))])
    for reflection in group.discrete_generators:
        taken = rng.integers(0, 2, count)[:, None, None]
        moved = np.where(taken, moved @ reflection, moved)
    return moved


@dataclasses.dataclass(frozen=True)
class TensorScores:
    """What a trained network is judged by, in the units of the task.

    Attributes:
      mse: mean square error over the variance of the training targets.
      relative_error: mean of ``|p - t| / (|p| + |t| + 1e-6)``.
      turned_error: the same on inputs moved by one random group element each, against the true
        values there.
      invariance: mean of ``|f(g x) - f(x)| / (|f(g x)| + |f(x)| + 1e-6)``.
      held_error: relative error on the held-out part.
    """

    mse: float
    relative_error: float
    turned_error: float
    invariance: float
    held_error: float


@functools.partial(jax.jit, static_argnums=0)
def _predict(network: nn.Module, weights: Tree, x: jax.Array) -> Any:
    return network.apply({"params": weights}, x)


def scores(
    network: nn.Module, weights: Tree, data: TensorData, problem: str, noise: float, seed: int
) -> TensorScores:
    """Scores of weights on the test part, and on the held-out one."""
    made = PROBLEMS[problem]

    def values(x: np.ndarray) -> np.ndarray:
        predicted = _predict(network, weights, x)
        return np.asarray(predicted, np.float64) * data.deviation + data.mean

    def mean_error(predicted: np.ndarray, true: np.ndarray) -> float:
        return float(symmetric_relative_error(predicted, true).mean())

    def truth(y: np.ndarray) -> np.ndarray:
        return np.asarray(y, np.float64) * data.deviation + data.mean

    x, y = data.test
    g = elements(problem, len(x), seed)
    vectors = np.asarray(x, np.float64).reshape(len(x), -1, g.shape[-1])
    turned = np.einsum("nij,nkj->nki", g, vectors).reshape(x.shape)
    seen, seen_turned = values(x), values(turned.astype(np.float32))
    return TensorScores(
        mse=float(np.mean((seen - truth(y)) ** 2)) / data.deviation**2,
        relative_error=mean_error(seen, truth(y)),
        turned_error=mean_error(seen_turned, made.targets(turned * made.scale, noise)),
        invariance=mean_error(seen_turned, seen),
        held_error=mean_error(values(data.held[0]), truth(data.held[1])),
    )
