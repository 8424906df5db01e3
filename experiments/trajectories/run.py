"""A run of the trajectory study: a row's recipe on the transformer, one scene left out."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import softeq_jax as sq
from experiments.shared import recipes
from experiments.shared.studies import Run, Settings, StepCost
from experiments.trajectories import task
from softeq_jax import data
from softeq_jax.models import TrajectoryTransformer, soft_rules
from softeq_jax.models.trajectory import teacher_forced
from softeq_jax.training import objectives

Tree = Any
GROUP = sq.groups.so(2)


@dataclasses.dataclass(frozen=True)
class TrackTrainer:
    """A row's network with its compiled step."""

    network: TrajectoryTransformer
    row: recipes.RowTrainer
    source: Any

    def begin(self, run: Run) -> tuple[Any, Any]:
        """State and training windows of a run."""
        starts = (_init(self.network, run.seed), _init(self.network, 1000 + run.seed))
        return self.row.begin(starts, run.seed), self.source


def trainer(run: Run) -> TrackTrainer:
    """The trainer of a run; runs of a row on one scene share it."""
    return _trainer(recipes.settings_of_step(run), _folder(run))


@functools.lru_cache(maxsize=1)
def _trainer(shared: str, folder: Path | None) -> TrackTrainer:
    settings = json.loads(shared)
    source, _, _, people = task.sources(folder, settings["scene"], settings["stride"])
    steps = settings["epochs"] * len(source) // settings["batch_size"]
    rate = optax.cosine_decay_schedule(settings["learning_rate"], steps)
    budget = recipes.Budget(steps, rate, settings["weight_decay"])
    network = TrajectoryTransformer(
        people,
        width=settings["width"],
        depth=settings["depth"],
        mlp_width=4 * settings["width"],
        dropout=settings["dropout"],
        max_length=task.OBSERVED + task.PREDICTED,
        project=False,
        coordinates=settings["coordinates"],
    )

    def apply(weights: Tree, state: Tree, seen: jax.Array, present: jax.Array, key: jax.Array):
        drawn = {"dropout": key}
        next_frames: Any = network.apply({"params": weights}, seen, present, train=True, rngs=drawn)
        return next_frames, state

    loss = objectives.trajectories(apply, keyed=True)
    chosen = _recipe(settings, network)
    return TrackTrainer(network, recipes.RowTrainer(chosen, budget, loss), source)


def _recipe(settings: Settings, network: TrajectoryTransformer) -> recipes.Recipe:
    if settings["dials"] is None:
        return recipes.free()
    rules = soft_rules(network, GROUP, **settings["dials"])
    return recipes.projected(sq.plan(_init(network, 0), rules))


def do(run: Run) -> dict[str, float]:
    """Trains a row without a scene and judges it there, see ``task.track_scores``."""
    own = trainer(run)
    state, source = own.begin(run)
    transforms = (data.RotateTrajectories(task.DEGREES), teacher_forced)
    weights = own.row.train(run, state, source, transforms=transforms)
    predict = task.in_batches(functools.partial(_rollout, own.network, weights))
    return task.track_scores(predict, _test(run), run.seed)


@functools.partial(jax.jit, static_argnums=0)
def _rollout(
    network: TrajectoryTransformer, weights: Tree, seen: jax.Array, present: jax.Array
) -> jax.Array:
    return network.rollout({"params": weights}, seen, task.PREDICTED, present)


def constant_velocity(run: Run) -> dict[str, float]:
    """The floor: everybody goes on with the last step."""
    return task.track_scores(task.straight_on, _test(run), run.seed)


def step_cost(run: Run) -> StepCost:
    """Time and memory of a training step."""
    own = trainer(run)
    state, source = own.begin(run)
    examples = [teacher_forced(source[i]) for i in range(run.settings["batch_size"])]
    batch = {key: np.stack([e[key] for e in examples]) for key in examples[0]}
    return own.row.step_cost(state, batch)


def _test(run: Run) -> task.Windows:
    source = task.sources(_folder(run), run.settings["scene"], run.settings["stride"])[2]
    return task.windows(source)


def _folder(run: Run) -> Path | None:
    drawn = run.settings["source"] == "drawn"
    return None if drawn else Path(run.data_dir or ".") / "eth_ucy"


def _init(network: TrajectoryTransformer, seed: int) -> Tree:
    seen = jnp.zeros((1, network.people, task.OBSERVED, 2))
    variables = network.init(jax.random.key(seed), seen)
    return jax.tree.map(np.asarray, variables["params"])
