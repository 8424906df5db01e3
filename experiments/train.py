r"""Trains a network: on one CPU or on many hosts, resumed exactly wherever it was killed.

    python -m experiments.train --config experiments/configs/train_digits.py \
        --workdir outputs/train_digits

Any key of the config can be set with ``--config.optimizer.learning_rate=0.05``; the keys are in
``experiments/training_config.py``. Several hosts: ``experiments/launch/``. The work directory
ends with ``checkpoints/``, ``params.safetensors`` (folded), ``train.csv``, ``eval.csv``,
``tensorboard/`` and ``config.json``.
"""

import logging
from pathlib import Path

import jax
from absl import app, flags

from experiments import study_flags, training_config
from experiments.training_task import make_task
from softeq_jax import training as tr
from softeq_jax.training import config as run_config
from softeq_jax.training import hosts
from softeq_jax.training.export import save_params

_COORDINATOR = flags.DEFINE_string("coordinator", None, "address:port of process 0.")
_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
_PROCESS = flags.DEFINE_integer("process_id", None, "Which of them this is.")


def run(config, data_dir: Path | None, workdir: Path) -> tr.Outcome:
    """Trains to the end, or until a signal; exports the folded parameters at the end."""
    config = run_config.resolve_config(config, training_config.defaults())
    settings = tr.RunSettings(**config.run)
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
        may_change=training_config.MAY_CHANGE,
    )
    if outcome.finished and hosts.is_main():
        folded = task.plan if config.method.name == "project" else None
        save_params(workdir / "params.safetensors", tr.averaged(outcome.state)[0], plan=folded)
    return outcome


def table(outcome: tr.Outcome) -> str:
    """The last evaluation, one metric a line."""
    width = max(map(len, outcome.metrics), default=0)
    return "\n".join(f"{name:<{width}}  {value:.6g}" for name, value in outcome.metrics.items())


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("absl").setLevel(logging.WARNING)
    hosts.initialize(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    data_dir = study_flags.DATA_DIR.value
    workdir = Path(study_flags.WORKDIR.value)
    outcome = run(study_flags.CONFIG.value, Path(data_dir) if data_dir else None, workdir)
    if hosts.is_main():
        if not outcome.finished:
            print(f"stopped after step {outcome.step}; run the same command again to go on")
            return
        print(table(outcome), f"{jax.device_count()} devices; results are in {workdir}", sep="\n\n")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
