r"""What an accelerator makes of the library, in ten minutes.

    python -m experiments.benchmarks.accelerator

On one device: training steps of ViT-B/16 and ResNet-50 in bfloat16 by the trainer (images per
second, share of the peak), the plan of `plan_apply`, the projection penalty and the proximal step
beside such a step, LEE and attribution of ViT-S/16 at batch 256, and projectors applied. Medians of
runs in turn, random weights, images 224 x 224. Floating point operations are those of the program
before XLA optimizes it. What does not fit into ``--minutes`` is left out and named. Writes
accelerator.json and accelerator.md to ``--out``. ``--preset tiny`` is the same with small networks,
for any machine.
"""

import dataclasses
import functools
import json
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import softeq_jax as sq
from experiments.benchmarks import destinations
from experiments.benchmarks.measures import GENERATORS, forward, interleaved
from experiments.benchmarks.plan_apply import RESULTS, rule, timed
from experiments.benchmarks.projector_cases import CASES
from experiments.shared.command import parser_of
from softeq_jax import models
from softeq_jax import regularizers as rg
from softeq_jax import training as tr
from softeq_jax.training import methods, objectives
from softeq_jax.training.pmap import lowered

RATE = 0.01
PEAKS = {
    "H200": 989.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "TPU v4": 275.0,
    "TPU v5 lite": 197.0,
    "TPU v5p": 459.0,
    "TPU v6 lite": 918.0,
}
"""Dense bfloat16 operations, in 10^12 a second, by a part of the device's name: data sheets."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """Networks and sizes.

    Attributes:
      networks: that are trained, by name.
      batch: of their steps.
      measured: name and network whose equivariance is measured.
      measured_batch: of it.
      side: of the images.
      projectors: names of cases of `projector_cases`.
      repeats: runs that a median is of.
    """

    networks: dict[str, Callable[[], Any]]
    batch: int
    measured: tuple[str, Callable[[], Any]]
    measured_batch: int
    side: int
    projectors: tuple[str, ...]
    repeats: int


class SmallNetwork(nn.Module):
    """Two dense layers: what compiles at once, for the tiny preset."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.relu(nn.Dense(16)(x.reshape(len(x), -1)))
        return nn.Dense(8)(x)


PRESETS = {
    "device": Preset(
        {
            "ViT-B/16": functools.partial(models.create, "vit_b16"),
            "ResNet-50": functools.partial(models.create, "resnet50"),
        },
        256,
        ("ViT-S/16", functools.partial(models.create, "vit_s16")),
        256,
        224,
        tuple(CASES),
        15,
    ),
    "tiny": Preset(
        {"two layers": SmallNetwork},
        4,
        ("two layers", SmallNetwork),
        2,
        8,
        ("SO(3) 16->16 vectors",),
        2,
    ),
}


class Network:
    """A network with random weights, its images and its plan."""

    def __init__(self, make: Callable[[], Any], batch: int, side: int):
        self.model = make()
        rng = np.random.default_rng(0)
        self.images = rng.standard_normal((batch, side, side, 3)).astype(np.float32)
        init = jax.jit(lambda x: self.model.init(jax.random.key(0), x, train=False))
        self.variables = init(self.images[:1])
        self.params = self.variables["params"]

    @functools.cached_property
    def plan(self) -> sq.Plan:
        """C4 on windows and hidden channels, see `plan_apply`."""
        return sq.plan(self.params, {"**": rule})

    def function(self) -> Callable[[jax.Array], jax.Array]:
        """Logits in test mode."""
        return jax.tree_util.Partial(
            functools.partial(self.model.apply, train=False), self.variables
        )


class Step:
    """A training step in bfloat16 by the trainer; a run is one step, waited for."""

    def __init__(self, network: Network, name: str):
        rest = {name: tree for name, tree in network.variables.items() if name != "params"}
        optimizer = optax.with_extra_args_support(optax.sgd(RATE, momentum=0.9))
        method = methods.plain()
        if name == "penalty":
            method = methods.penalize(rg.projection_penalty)
        if name == "prox":
            optimizer = optax.chain(optimizer, rg.add_equivariance_decay(network.plan, RATE))

        def apply(params: Any, state: Any, images: jax.Array) -> Any:
            variables = {"params": params, **state}
            return network.model.apply(variables, images, train=True, mutable=list(state))

        loss = objectives.classification(apply)
        self._step = tr.make_train_step(loss, optimizer, method=method, compute_dtype=jnp.bfloat16)
        labels = np.arange(len(network.images), dtype=np.int32) % 8
        count = jax.local_device_count()
        self._rest = (
            tr.shard({"image": network.images, "label": labels}),
            network.plan if name == "penalty" else None,
            tr.shard(np.zeros(count, np.float32)),
        )
        self._state = tr.replicate(tr.init_state(network.params, optimizer, rest))

    def flops(self) -> float:
        """Floating point operations of a step, before XLA optimizes it."""
        return lowered(self._step, self._state, *self._rest).cost_analysis()["flops"]

    def __call__(self) -> float:
        start = time.perf_counter()
        self._state, metrics = self._step(self._state, *self._rest)
        jax.block_until_ready((self._state, metrics))
        return time.perf_counter() - start


def training(preset: Preset, network: Network) -> dict[str, Any]:
    """Steps, and beside them the plan, the penalty and the proximal step."""
    start = time.perf_counter()
    plan, params = network.plan, network.params
    build = time.perf_counter() - start
    steps = {name: Step(network, name) for name in ("plain", "penalty", "prox")}
    project = jax.jit(lambda plan, params: plan.project(params))
    penalty = jax.jit(jax.value_and_grad(lambda params, plan: rg.projection_penalty(plan, params)))
    prox = jax.jit(lambda plan, params: rg.prox_step(plan, params, RATE))
    alone = {
        "plan alone": lambda: timed(project, plan, params),
        "penalty alone": lambda: timed(penalty, params, plan),
        "prox alone": lambda: timed(prox, plan, params),
    }
    found = interleaved({**steps, **alone}, preset.repeats)
    plain = found["plain"]["median"]
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "planned": sum(w.size for _, _, w in plan.planned(params)),
        "plan_build": build,
        "images_per_second": len(network.images) / plain,
        "flops": steps["plain"].flops(),
        "over_step": {name: found[name]["median"] / plain for name in found if name != "plain"},
        "times": found,
    }


def measures(preset: Preset, network: Network) -> dict[str, Any]:
    """LEE and attribution of four generators, in forward passes."""
    f, x = network.function(), jnp.asarray(network.images)
    of = {"head": "probabilities"}
    four = GENERATORS[:4]
    found = interleaved(
        {
            "forward": lambda: timed(forward, f, x),
            "LEE of 4": lambda: timed(lambda: sq.measures.lie_errors(f, x, four, **of)),
            "shares of 4": lambda: timed(lambda: sq.measures.layerwise(f, x, four, **of).shares),
        },
        preset.repeats,
    )
    base = found["forward"]["median"]
    return {
        "images_per_second": len(x) / base,
        "over_forward": {name: entry["median"] / base for name, entry in found.items()},
        "times": found,
    }


def projectors(preset: Preset) -> dict[str, Any]:
    """Projectors applied to a float32 weight, compiled."""
    apply = jax.jit(lambda p, w: p(w))
    found = {}
    for name in preset.projectors:
        case = CASES[name]
        reps = case.reps(sq)
        projector = sq.projector(case.spec, reps, cutoff=0.0)
        shape = [n for rep in reps.values() for n in rep.shape]
        w = jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
        timed(apply, projector, w)
        times = [timed(apply, projector, w) for _ in range(3 * preset.repeats)]
        found[name] = {"entries": w.size, "seconds": statistics.median(times)}
    return found


def measure(preset: Preset, minutes: float, tell: Callable[[str], None]) -> dict[str, Any]:
    """All parts in turn, as long as there is time."""
    end = time.monotonic() + 60 * minutes
    name, make = preset.measured
    parts: dict[str, Callable[[], Any]] = {
        f"training of {key}": lambda make=make_: training(
            preset, Network(make, preset.batch, preset.side)
        )
        for key, make_ in preset.networks.items()
    }
    parts[f"measures of {name}"] = lambda: measures(
        preset, Network(make, preset.measured_batch, preset.side)
    )
    parts["projectors"] = lambda: projectors(preset)
    found: dict[str, Any] = {"left_out": []}
    for part, run in parts.items():
        if time.monotonic() > end:
            found["left_out"].append(part)
            continue
        start = time.monotonic()
        found[part] = run()
        tell(f"{part}: {time.monotonic() - start:.0f} s")
    return found


def peak_of(device: str) -> float | None:
    """Peak of a device by its name, in 10^12 operations a second; None where it is not known."""
    named = [name for name in PEAKS if name in device]
    return PEAKS[max(named, key=len)] if named else None


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    peak = results["peak_tflops"]
    lines = [
        "# One accelerator",
        "",
        f"{results['device']}, jax {results['jax']}, preset {results['preset']}; command and "
        "method in `experiments/benchmarks/accelerator.py`. Medians; peak: "
        + (f"{peak:g} TFLOP/s in bfloat16." if peak else "not known."),
    ]
    for part, found in results["parts"].items():
        lines += ["", f"## {part[0].upper()}{part[1:]}", ""]
        if part.startswith("training"):
            lines += _training_lines(found, peak)
        elif part.startswith("measures"):
            lines += ["| run | ms | forward passes |", "| --- | --- | --- |"]
            lines += [
                f"| {name} | {1e3 * entry['median']:.3g} | {found['over_forward'][name]:.2f} |"
                for name, entry in found["times"].items()
            ]
        else:
            lines += ["| projector | entries | us |", "| --- | --- | --- |"]
            lines += [
                f"| {name} | {entry['entries']} | {1e6 * entry['seconds']:.0f} |"
                for name, entry in found.items()
            ]
    if results["left_out"]:
        lines += ["", f"No time was left for: {', '.join(results['left_out'])}."]
    return "\n".join(lines) + "\n"


def _training_lines(found: dict[str, Any], peak: float | None) -> list[str]:
    plain = found["times"]["plain"]["median"]
    share = f", {100 * found['flops'] / plain / (1e12 * peak):.1f} % of the peak" if peak else ""
    rows = [
        f"| {name} | {1e3 * entry['median']:.3g} | {entry['median'] / plain:.4f} |"
        for name, entry in found["times"].items()
    ]
    return [
        f"{found['images_per_second']:.0f} images/s{share}; {found['parameters']} parameters, "
        f"{found['planned']} of them planned in {found['plan_build']:.1f} s.",
        "",
        "| run | ms | over the plain step |",
        "| --- | --- | --- |",
        *rows,
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = parser_of(__doc__, "experiments.benchmarks.accelerator")
    parser.add_argument("--preset", choices=PRESETS, default="device")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--peak_tflops", type=float, help="of the device, in 10^12 per second")
    parser.add_argument("--out", type=destinations.folder, default=RESULTS)
    args = parser.parse_args(arguments)
    device = jax.devices()[0].device_kind
    found = measure(PRESETS[args.preset], args.minutes, functools.partial(print, flush=True))
    results = {
        "jax": jax.__version__,
        "device": device,
        "preset": args.preset,
        "peak_tflops": args.peak_tflops or peak_of(device),
        "left_out": found.pop("left_out"),
        "parts": found,
    }
    out: pathlib.Path = args.out
    (out / "accelerator.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "accelerator.md").write_text(page(results))
    print(page(results))


if __name__ == "__main__":
    main()
