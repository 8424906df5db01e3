r"""Trains a network: on one CPU or on many hosts, resumed exactly wherever it was killed.

    python -m experiments.train --config experiments/train/configs/digits.py \
        --workdir outputs/train_digits

``--config`` and ``--workdir`` are needed. Any key of the config can be set with
``--config.optimizer.learning_rate=0.05``; the keys are in ``experiments/train/config.py``. Several
hosts: ``experiments/launch/``. The work directory ends with ``checkpoints/``,
``params.safetensors`` (folded), ``train.csv``, ``eval.csv``, ``tensorboard/`` and ``config.json``.
"""

import dataclasses
import logging
from pathlib import Path

from absl import app, flags

from experiments.shared import flags as shared_flags
from experiments.shared.studies import StudyError, require_data, tfds
from softeq_jax.training import allocator

_log = logging.getLogger("experiments.train")

flags.adopt_module_key_flags(shared_flags)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "address:port of process 0.")
_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
_RESTART = flags.DEFINE_bool(
    "restart_if_damaged",
    False,
    "Begin again at step 0 where there were checkpoints and none is whole.",
)
_PROCESS = flags.DEFINE_integer("process_id", None, "Which of them this is.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    logging.basicConfig(level=logging.INFO)
    for name in ("absl", "jax"):  # jax tells at INFO which accelerators are not there
        logging.getLogger(name).setLevel(logging.WARNING)
    if shared_flags.KEEP_MEMORY.value:
        allocator.keep_freed_memory()
    data_dir = Path(shared_flags.DATA_DIR.value) if shared_flags.DATA_DIR.value else None
    workdir = Path(shared_flags.WORKDIR.value)
    try:
        config = shared_flags.given_config()
        stored = config.data.name
        if stored != "digits":
            need = dataclasses.replace(tfds(stored), path=f"{config.data.folder}/{stored}")
            require_data(config.title, [need], data_dir)
    except StudyError as error:
        raise SystemExit(f"error: {error}") from None
    _log.info("%s, in %s", config.title, workdir)

    # What takes seconds to import, once the first line stands there.
    import jax

    from experiments.train.run import run, table
    from softeq_jax.training import hosts

    hosts.initialize(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    outcome = run(config, data_dir, workdir, restart_if_damaged=_RESTART.value)
    if hosts.is_main():
        if not outcome.finished:
            print(f"stopped after step {outcome.step}; run the same command again to go on")
            return
        print(table(outcome), f"{jax.device_count()} devices; results are in {workdir}", sep="\n\n")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
