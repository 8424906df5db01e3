"""The main cases of one revision, in a process of its own that runs one when asked.

    python experiments/benchmarks/worker.py ROOT [CASE ...]

ROOT holds the `softeq_jax` that is measured; the cases are always those of this file. It first
writes a line of JSON: the seconds that each case took to get ready and for the first time, or why
it cannot run. Then, for each line with the name of a case, the seconds of one run.
"""

import functools
import json
import math
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

LEAST = 0.02
"""Seconds that a run takes at least: what is faster is repeated in it."""

Run = Callable[[], Any]


def _import(root: str) -> None:
    """Imports `softeq_jax` of one tree, and lets `experiments` be that of this file."""
    sys.path.insert(0, root)
    import softeq_jax

    sys.path[0] = str(pathlib.Path(__file__).parents[2])
    if not str(softeq_jax.__file__).startswith(root):
        raise SystemExit(f"softeq_jax was imported from {softeq_jax.__file__}, not from {root}")


def _start() -> Run:
    """A fresh process that imports the library."""
    import softeq_jax

    root = str(pathlib.Path(softeq_jax.__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {root!r}); import softeq_jax"
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


def _build(name: str) -> Run:
    """A projector built with every cache empty."""
    import softeq_jax as sq
    from experiments.benchmarks.projector_cases import CASES
    from experiments.benchmarks.projector_worker import empty_caches

    case = CASES[name]

    def build() -> None:
        empty_caches()
        sq.projector(case.spec, case.reps(sq), cutoff=0.0)

    return build


def _network(name: str) -> tuple[Any, Any, Any]:
    """(model, variables, images) with random weights."""
    import jax
    import numpy as np

    from softeq_jax import models

    if name == "ResNet-20":
        model, side, batch = models.CifarResNet(20), 32, 32
    else:
        model = models.ViT(image_size=64, patch_size=8, width=192, depth=6, heads=3)
        side, batch = 64, 16
    shape = (batch, side, side, 3)
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    init = jax.jit(lambda x: model.init(jax.random.key(0), x, train=False))
    return model, init(images[:1]), images


def _function(name: str) -> tuple[Any, Any]:
    """(`jax.tree_util.Partial` from images to logits, images)."""
    import jax

    model, variables, images = _network(name)

    def apply(variables: Any, x: Any) -> Any:
        return model.apply(variables, x, train=False)

    return jax.tree_util.Partial(apply, variables), images


def _forward(name: str) -> Run:
    import jax

    f, images = _function(name)
    program = jax.jit(lambda f, x: f(x))
    return lambda: jax.block_until_ready(program(f, images))


def _step(name: str) -> Run:
    """A step of the trainer."""
    import jax
    import numpy as np
    import optax

    from softeq_jax import training as tr
    from softeq_jax.training import objectives

    model, variables, images = _network(name)
    params = variables.pop("params")

    def apply(params: Any, state: Any, images: Any) -> Any:
        return model.apply({"params": params, **state}, images, train=True, mutable=["batch_stats"])

    optimizer = optax.sgd(0.01, momentum=0.9)
    step = tr.make_train_step(objectives.classification(apply), optimizer)
    batch = tr.shard({"image": images, "label": np.arange(len(images)) % 10})
    vote = tr.shard(np.zeros(jax.local_device_count(), np.float32))
    state = tr.replicate(tr.init_state(params, optimizer, variables))

    def run() -> None:
        nonlocal state
        state, metrics = step(state, batch, None, vote)
        jax.block_until_ready((state, metrics))

    return run


def _lee(count: int) -> Run:
    import jax

    import softeq_jax as sq
    from experiments.benchmarks.measures import GENERATORS

    f, images = _function("ResNet-20")
    lee = functools.partial(sq.measures.lie_errors, f, images, GENERATORS[:count])
    return lambda: jax.block_until_ready(lee(head="probabilities"))


def _shares() -> Run:
    import jax

    import softeq_jax as sq
    from experiments.benchmarks.measures import GENERATORS

    f, images = _function("ResNet-20")
    found = functools.partial(sq.measures.layerwise, f, images, GENERATORS[:1])
    return lambda: jax.block_until_ready(found(head="probabilities").shares)


def _plan(kind: str) -> Run:
    """The plan of `plan_apply` on a vision transformer: projection, or penalty with gradient."""
    import jax

    import softeq_jax as sq
    from experiments.benchmarks.plan_apply import rule

    params = _network("ViT")[1]["params"]
    plan = sq.plan(params, {"**": rule})
    if kind == "project":
        program = jax.jit(lambda plan, params: plan.project(params))
    else:
        program = jax.jit(jax.value_and_grad(lambda p, q: sq.regularizers.projection_penalty(q, p)))
        return lambda: jax.block_until_ready(program(params, plan))
    return lambda: jax.block_until_ready(program(plan, params))


CASES: dict[str, Callable[[], Run]] = {
    "import": _start,
    "build SO(3) 16 -> 16": functools.partial(_build, "SO(3) 16->16 vectors"),
    "build O(5) T2 -> T2": functools.partial(_build, "O(5) T2->T2"),
    "build Rubik's cube": functools.partial(_build, "Rubik's cube V->V"),
    "build SO(2) 37x37": functools.partial(_build, "SO(2) invariant, 37x37"),
    "project ViT": functools.partial(_plan, "project"),
    "penalize ViT": functools.partial(_plan, "penalize"),
    "forward ResNet-20": functools.partial(_forward, "ResNet-20"),
    "forward ViT": functools.partial(_forward, "ViT"),
    "step ResNet-20": functools.partial(_step, "ResNet-20"),
    "step ViT": functools.partial(_step, "ViT"),
    "LEE of 4": functools.partial(_lee, 4),
    "shares of 1": _shares,
}
"""Names, and what gets a run ready."""


def _seconds(run: Run, times: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


def _ready(names: list[str]) -> Iterator[tuple[str, Run | None, dict[str, Any]]]:
    for name in names:
        start = time.perf_counter()
        try:
            run = CASES[name]()
            run()
        except Exception as error:  # an older revision may lack what a case needs
            yield name, None, {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
        else:
            first = time.perf_counter() - start
            times = max(1, math.ceil(LEAST / max(_seconds(run), 1e-7)))
            yield name, functools.partial(_seconds, run, times), {"first": first}


def main(root: str, names: list[str]) -> None:
    """Gets the cases ready, then runs those that are asked for."""
    _import(root)
    runs, facts = {}, {}
    for name, run, fact in _ready(names or list(CASES)):
        runs[name], facts[name] = run, fact
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        print(runs[line.strip()](), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
