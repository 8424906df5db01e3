"""Trains with sharded states on the devices and processes that there are; writes JSON.

Run by `test_sharded.py`: `sharded_worker.py OUT SHARED [COORDINATOR COUNT INDEX]`.
"""

import json
import pathlib
import sys

import jax
import numpy as np
import optax
import sharded_task as task

from softeq_jax import training as tr
from softeq_jax.training import hosts


def main(out: str, shared: pathlib.Path) -> None:
    """Trains in both forms (one process) or the sharded one, saves or restores, evaluates."""
    alone = jax.process_count() == 1
    forms = ("full", "replicated") if alone else ("full",)
    found: dict = {name: {} for name in ("history", "half", "memory", "evaluated", "resumed")}
    checkpoints = tr.Checkpoints(shared / "checkpoints")
    if not checkpoints.steps():
        checkpoints.save(task.HALF, task.run(task.start(True), task.HALF, True, "full")[0], {})
    restored = checkpoints.restore(task.start(True)).tree
    checkpoints.close()
    for form in forms:
        end, history = task.run(task.start(True), task.STEPS, True, form)
        found["history"][form] = {name: values.tolist() for name, values in history.items()}
        found["kernel"] = end.params["body"]["kernel"].ravel()[:64].tolist()
        rest = task.run(restored, task.STEPS - task.HALF, True, form)[1]
        found["resumed"][form] = rest["loss"].tolist()
        found["evaluated"][form] = task.evaluate(restored, form)
        if alone:
            found["half"][form] = task.half_precision(form)
            found["memory"][form] = task.memory(form)
    layout = tr.layout("full")
    placed = layout.place(restored)
    pairs = zip(*map(jax.tree.leaves, (restored, layout.collect(placed))), strict=True)
    found["collected"] = all(np.array_equal(a, b) for a, b in pairs)
    moments = optax.tree.get(placed.opt_state, "mu")
    found["parts"] = [
        [part.data.shape for part in tree["body"]["kernel"].addressable_shards]
        for tree in (placed.params, placed.average["params"], moments)
    ]
    pathlib.Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[3:]:
        hosts.initialize(sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), timeout=60)
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
