r"""What training towards equivariance costs beside a plain training step.

    .venv/bin/python -m experiments.benchmarks.regularizers

Run it on a quiet machine. On a CPU ViT-Ti/16 and ResNet-18 at batch 32, on an accelerator ViT-S/16
and ResNet-50 at batch 256 (``--preset``); random weights and images 224 x 224, the plan of
``plan_apply``: C4 acts on the window of every kernel larger than 1 x 1 and on all hidden channels
as copies of its regular representation, and a soft level is kept. A step is forward, backward and
SGD with momentum. The steps of all methods take turns; overheads are medians of the ratios to the
plain step of the same round. ``alone`` is the penalty with its gradient, or the proximal step, as a
program of its own: less noisy, and without what XLA hides behind the network. Memory is XLA's own
count of temporary buffers. Writes regularizers.json and regularizers.md to
experiments/benchmarks/results/.
"""

import json
import os
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import softeq_jax as sq
from experiments.benchmarks import destinations
from experiments.benchmarks.plan_apply import GROUP, RESULTS, rule, timed
from experiments.shared.command import parser_of
from softeq_jax import models
from softeq_jax import regularizers as rg

RATE = 0.01
LIMITS = {"projection": 3.0, "prox": 2.0}
"""Largest allowed overhead in per cent."""


class Preset(NamedTuple):
    """Networks, the batch and the side of the images."""

    networks: dict[str, nn.Module]
    batch: int
    side: int


def preset(name: str) -> Preset:
    if name == "cpu":
        networks = {"ViT-Ti/16": models.create("vit_ti16"), "ResNet-18": models.create("resnet18")}
        return Preset(networks, 32, 224)
    if name == "accelerator":
        networks = {"ViT-S/16": models.create("vit_s16"), "ResNet-50": models.create("resnet50")}
        return Preset(networks, 256, 224)
    vit = models.ViT(image_size=32, patch_size=8, width=32, depth=2, heads=2, num_classes=1000)
    return Preset({"small ViT": vit, "small ResNet": models.create("resnet18", width=8)}, 4, 32)


class PenaltyBench(NamedTuple):
    """What the methods work on.

    Attributes:
      logits: ``(params, images) -> logits``.
      plan: of the parameters.
      image: the representation on the images.
    """

    logits: Callable[[Any, jax.Array], jax.Array]
    plan: sq.Plan
    image: sq.reps.Rep


Penalty = Callable[[sq.Plan, Any, jax.Array, jax.Array], jax.Array]


def penalties(setting: PenaltyBench) -> dict[str, Penalty]:
    """Functions of (plan, params, images, key), by the name of the method."""

    def orbit(samples: int) -> Penalty:
        def penalty(plan: sq.Plan, params: Any, images: jax.Array, key: jax.Array) -> jax.Array:
            f = partial(setting.logits, params)
            return rg.orbit_penalty(f, images, setting.image, None, key, samples)

        return penalty

    return {
        "projection": lambda plan, params, images, key: rg.projection_penalty(plan, params),
        "projection, power 1": lambda plan, params, images, key: rg.projection_penalty(
            plan, params, power=1
        ),
        "Lie": lambda plan, params, images, key: rg.lie_penalty(plan, params),
        "orbit, k = 1": orbit(1),
        "orbit, k = 4": orbit(4),
    }


def make_step(
    setting: PenaltyBench, penalty: Penalty | None, prox: bool
) -> tuple[Callable, Callable]:
    """A jitted training step, the plan being an argument, and the optimizer's initialization."""
    optimizer = optax.with_extra_args_support(optax.sgd(RATE, momentum=0.9))
    if prox:
        optimizer = optax.chain(optimizer, rg.add_equivariance_decay(setting.plan, RATE))

    def loss(params: Any, plan: sq.Plan, images: jax.Array, labels: jax.Array, key: Any) -> Any:
        logits = setting.logits(params, images)
        value = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return value if penalty is None else value + penalty(plan, params, images, key)

    @jax.jit
    def step(
        params: Any, state: Any, plan: sq.Plan, images: jax.Array, labels: jax.Array, key: jax.Array
    ) -> tuple[Any, Any, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(params, plan, images, labels, key)
        updates, state = optimizer.update(gradient, state, params, plan=plan)
        return optax.apply_updates(params, updates), state, value

    return step, optimizer.init


def alone(name: str, penalty: Penalty | None) -> Callable | None:
    """The part of a method that looks at weights only, as a program of (plan, params)."""
    if name == "prox":
        return jax.jit(lambda plan, params: rg.prox_step(plan, params, RATE))
    if penalty is None or name.startswith("orbit"):
        return None
    value_and_grad = jax.value_and_grad(penalty, 1)
    return jax.jit(lambda plan, params: value_and_grad(plan, params, None, None))


def measure(model: nn.Module, batch: int, side: int, repeats: int) -> dict:
    """Seconds, overheads and memory of all methods on one network."""
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.standard_normal((batch, side, side, 3)), jnp.float32)
    labels = jnp.arange(batch) % 1000
    variables = jax.jit(model.init)(jax.random.key(0), images[:1])
    params = variables["params"]
    rest = {name: tree for name, tree in variables.items() if name != "params"}

    def logits(params: Any, images: jax.Array) -> jax.Array:
        variables = {"params": params, **rest}
        return model.apply(variables, images, train=True, mutable=["batch_stats"])[0]

    setting = PenaltyBench(
        logits, sq.plan(params, {"**": rule}), sq.reps.image(GROUP, (side, side))
    )
    methods: dict[str, Penalty | None] = {"none": None, **penalties(setting), "prox": None}
    runs, found = {}, {}
    for name, penalty in methods.items():
        step, init = make_step(setting, penalty, name == "prox")
        args = (params, init(params), setting.plan, images, labels, jax.random.key(1))
        try:
            program = step.lower(*args).compile()
            memory = program.memory_analysis().temp_size_in_bytes / 2**20
            first = timed(program, *args)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            found[name] = {"failed": "out of memory"}
            continue
        runs[name] = partial(timed, program, *args)
        found[name] = {"memory_mib": memory, "first_run": first, "times": [], "overheads": []}
        single = alone(name, penalty)
        if single is not None:
            timed(single, setting.plan, params)
            times = [timed(single, setting.plan, params) for _ in range(4 * repeats)]
            found[name]["alone"] = statistics.median(times)
    # The sampled penalties come last: what follows gigabytes that were just given back to the
    # system pays for them in page faults.
    cheap = [name for name in runs if not name.startswith("orbit")]
    sampled = ["none", *(name for name in runs if name.startswith("orbit"))]
    for names, rounds in ((cheap, repeats), (sampled, max(2, repeats // 4))):
        for _ in range(rounds):
            plain = None
            for name in names:
                time = runs[name]()
                plain = time if plain is None else plain
                if not (name == "none" and names is sampled):
                    found[name]["times"].append(time)
                    found[name]["overheads"].append(time / plain)
    for entry in found.values():
        if "times" in entry:
            entry["median"] = statistics.median(entry["times"])
            entry["overhead_percent"] = 100 * (statistics.median(entry.pop("overheads")) - 1)
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    planned = sum(w.size for _, _, w in setting.plan.planned(params))
    return {"parameters": sum(sizes), "planned": planned, "batch": batch, "methods": found}


def table(results: dict) -> str:
    """The results as markdown."""
    lines = [
        "# Training towards equivariance: what a step costs",
        "",
        f"jax {results['jax']}, {results['device']}, {results['cores']} cores; networks, plan and "
        "command in `experiments/benchmarks/regularizers.py`. Times in ms, medians of steps in "
        "turn; overhead is the median of ratios to the plain step of the same round; memory is "
        "XLA's count of temporary buffers, in MiB.",
    ]
    for name, network in results["networks"].items():
        lines += [
            "",
            f"## {name}, batch {network['batch']}, images {results['side']} x {results['side']}",
            "",
            f"{network['parameters']} parameters, {network['planned']} of them planned.",
            "",
            "| method | step | overhead | limit | alone | alone / plain step | memory |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        plain = network["methods"]["none"]
        for method, entry in network["methods"].items():
            if "failed" in entry:
                lines.append(f"| {method} | {entry['failed']} | | | | | |")
                continue
            limit = f"{LIMITS[method]:.0f} %" if method in LIMITS else ""
            single = share = ""
            if "alone" in entry:
                single = f"{1e3 * entry['alone']:.1f}"
                share = f"{100 * entry['alone'] / plain['median']:.2f} %"
            overhead = "" if method == "none" else f"{entry['overhead_percent']:+.1f} %"
            lines.append(
                f"| {method} | {1e3 * entry['median']:.1f} | {overhead} | {limit} | {single} | "
                f"{share} | {entry['memory_mib']:.0f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = parser_of(__doc__, "experiments.benchmarks.regularizers")
    parser.add_argument("--preset", choices=("auto", "cpu", "accelerator", "tiny"), default="auto")
    parser.add_argument("--repeats", type=int, default=9, help="of every timing (default: 9)")
    parser.add_argument("--out", type=destinations.file, default=RESULTS / "regularizers.json")
    args = parser.parse_args()
    on_cpu = jax.default_backend() == "cpu"
    name = ("cpu" if on_cpu else "accelerator") if args.preset == "auto" else args.preset
    networks, batch, side = preset(name)
    results = {
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "preset": name,
        "side": side,
        "networks": {},
    }
    for network, model in networks.items():
        found = measure(model, batch, side, args.repeats)
        results["networks"][network] = found
        for method, entry in found["methods"].items():
            shown = entry.get("failed") or (
                f"step {entry['median']:.3f} s  overhead {entry['overhead_percent']:+.2f} %"
            )
            print(f"{network:10s} {method:20s} {shown}", flush=True)
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(table(results))


if __name__ == "__main__":
    main()
