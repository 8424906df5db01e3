r"""Filtering every dense and convolution kernel of a network, beside one training step.

    .venv/bin/python -m experiments.benchmarks.plan_apply

ViT-S/16 and ResNet-50 with random weights, images 224 x 224, batch 32 (on an accelerator ViT-B/16
at batch 256). C4 acts on the window of every kernel larger than 1 x 1 and on all hidden channels
as copies of its regular representation; a soft level is kept, so that no shortcut for strict
projection is taken. One training step is forward, backward and SGD with momentum; it and the plan
are timed in turn, with ``block_until_ready``, medians. Folded for inference the plan costs nothing:
its result is a tree of plain parameters. Writes plan_apply.json to experiments/benchmarks/results/.
"""

import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import softeq_jax as sq
from experiments.benchmarks import destinations
from experiments.shared.command import parser_of
from softeq_jax import models

RESULTS = pathlib.Path(__file__).parent / "results"
GROUP = sq.groups.cyclic(4)


def rule(path: str, weight: Any) -> sq.Projector | None:
    """The projector of a dense or convolution kernel by its shape."""
    if path.rsplit("/", 1)[-1] != "kernel":
        return None
    regular = sq.reps.regular(GROUP)

    def channels(n: int) -> sq.reps.Rep:
        free = n in (3, 1000) or n % regular.dim != 0  # colors and classes
        return sq.reps.trivial(GROUP, n) if free else (n // regular.dim) * regular

    shape = weight.shape
    if len(shape) == 4:
        window = {} if shape[0] == 1 else {"h w": sq.reps.image(GROUP, shape[:2])}
        ends = {"i": channels(shape[2]), "o": channels(shape[3])}
        return sq.projector("h w i o", window | ends, softness=0.5)
    i, o = channels(shape[0]), channels(shape[1])
    return sq.projector("i o", {"i": i, "o": o}, softness=0.5)


def make_step(model: nn.Module, rest: Any) -> tuple[Callable, Callable]:
    """A jitted training step on the parameters, and its optimizer's initialization."""
    optimizer = optax.sgd(0.01, momentum=0.9)

    def loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        variables = {"params": params, **rest}
        logits = model.apply(variables, images, train=True, mutable=["batch_stats"])[0]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def step(params: Any, state: Any, images: jax.Array, labels: jax.Array) -> tuple:
        value, gradient = jax.value_and_grad(loss)(params, images, labels)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    return step, optimizer.init


def timed(function: Callable, *args: Any) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    return time.perf_counter() - start


def measure(model: nn.Module, batch: int, repeats: int) -> dict:
    """Times of one network in seconds."""
    images = jnp.asarray(np.random.default_rng(0).standard_normal((batch, 224, 224, 3)), "float32")
    labels = jnp.arange(batch) % 1000
    variables = jax.jit(model.init)(jax.random.key(0), images[:1])
    params = variables["params"]
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    start = time.perf_counter()
    plan = sq.plan(params, {"**": rule})
    build = time.perf_counter() - start
    project = jax.jit(lambda plan, params: plan.project(params))
    step, init = make_step(model, rest)
    state = init(params)
    compile_plan = timed(project, plan, params)
    compile_step = timed(step, params, state, images, labels)
    steps, plans = [], []
    for _ in range(repeats):
        steps.append(timed(step, params, state, images, labels))
        plans += [timed(project, plan, params) for _ in range(3)]
    found = {
        "batch": batch,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "filtered": sum(w.size for _, _, w in plan.planned(params)),
        "plan_build": build,
        "plan_first_call": compile_plan,
        "step_first_call": compile_step,
        "step": statistics.median(steps),
        "plan": statistics.median(plans),
    }
    return found | {"share": found["plan"] / found["step"]}


def main() -> None:
    parser = parser_of(__doc__, "experiments.benchmarks.plan_apply")
    parser.add_argument("--repeats", type=int, default=5, help="of every timing (default: 5)")
    parser.add_argument("--out", type=destinations.file, default=RESULTS / "plan_apply.json")
    args = parser.parse_args()
    on_cpu = jax.default_backend() == "cpu"
    networks = {
        "ViT-S/16": (models.create("vit_s16"), 32),
        "ResNet-50": (models.create("resnet50"), 32),
    }
    if not on_cpu:
        networks["ViT-B/16"] = (models.create("vit_b16"), 256)
    results = {
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "networks": {},
    }
    for name, (model, batch) in networks.items():
        found = measure(model, batch, args.repeats)
        results["networks"][name] = found
        print(
            f"{name:10s} step {found['step']:.3f} s  plan {1e3 * found['plan']:.1f} ms  "
            f"share {100 * found['share']:.2f} %  build {found['plan_build']:.2f} s",
            flush=True,
        )
    args.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
