"""A training run from its config to the exported weights."""

import sys
from pathlib import Path

from experiments.train.config import MAY_CHANGE, defaults
from experiments.train.task import make_task
from softeq_jax import training as tr
from softeq_jax.training import config as run_config
from softeq_jax.training import hosts
from softeq_jax.training.export import save_params


def run(
    config, data_dir: Path | None, workdir: Path, *, restart_if_damaged: bool = False
) -> tr.Outcome:
    """Trains to the end, or until a signal; exports the folded parameters at the end."""
    config = run_config.resolve_config(config, defaults())
    settings = tr.RunSettings(**config.run)
    if settings.progress and hosts.is_main():
        print(f"{config.title}: building data, network and filters", file=sys.stderr, flush=True)
    task = make_task(config, data_dir)
    outcome = tr.train(
        task.step,
        task.state,
        task.batches,
        settings,
        workdir,
        extra=task.plan,
        evaluate=task.evaluate,
        learning_rate=task.learning_rate,
        config=config.to_dict(),
        may_change=MAY_CHANGE,
        restart_if_damaged=restart_if_damaged,
    )
    if outcome.finished and hosts.is_main():
        folded = task.plan if config.method.name == "project" else None
        save_params(workdir / "params.safetensors", tr.averaged(outcome.state)[0], plan=folded)
    return outcome


def table(outcome: tr.Outcome) -> str:
    """The last evaluation, one metric a line."""
    width = max(map(len, outcome.metrics), default=0)
    return "\n".join(f"{name:<{width}}  {value:.6g}" for name, value in outcome.metrics.items())
