r"""Forward pass and training step of whole networks, beside PyTorch: ViT-S/16, two ResNets.

    python3 -m venv build/torch && build/torch/bin/pip install torch==2.13.0 transformers==5.23
    .venv/bin/python -m experiments.benchmarks.networks --torch_python build/torch/bin/python

Run it on a quiet machine. ViT-S/16 and ResNet-50 on images 224 x 224, their peers those of
``transformers``; ResNet-20 on CIFAR's 32 x 32, eight times the batch, its peer written for this.
Random weights, float32, the same number of threads on
both sides; a step is forward, backward and SGD with momentum, with batch statistics. The peers are
processes of their own that compute when asked, one for each memory layout of the convolutions;
runs that are compared take turns; medians. Our step donates its state, as the trainer's does.
Compilation is reported apart. With ``--keep_memory`` the C library keeps freed memory on both sides
(see ``softeq_jax.training.allocator``). On an accelerator
(``--batch 256``) the peer is left out and the share of the device's peak is given: floating point
operations as XLA counts them, over ``--peak_tflops``. Writes networks.json and networks.md to
experiments/benchmarks/results/.
"""

import json
import os
import pathlib
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks import destinations
from experiments.shared.command import parser_of
from softeq_jax import models
from softeq_jax.training import allocator

RESULTS = pathlib.Path(__file__).parent / "results"
NETWORKS = {"ViT-S/16": "vit_s16", "ResNet-50": "resnet50", "ResNet-20": "cifar_resnet20"}
SMALL, TIMES = "cifar_resnet20", 8
"""The network of small images, and its batch in units of the others'."""
KEPT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}
"""What ``allocator.keep_freed_memory`` sets, as environment of a process."""


class TransformersPeer:
    """The PyTorch process."""

    def __init__(self, python: str, batch: int, *options: str, keep_memory: bool = False):
        script = pathlib.Path(__file__).with_name("networks_torch.py")
        self.process = subprocess.Popen(
            [python, str(script), str(os.cpu_count()), str(batch), *options],
            env=os.environ | (KEPT if keep_memory else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.versions = json.loads(self.process.stdout.readline())

    def run(self, network: str, run: str) -> float:
        """Seconds of a run."""
        self.process.stdin.write(f"{network} {run}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait(timeout=60)


def batch_of(network: str, batch: int) -> int:
    """Images in a step of a network."""
    return TIMES * batch if NETWORKS[network] == SMALL else batch


def timed(function: Callable, *args: Any) -> float:
    """Seconds until the result is there."""
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    return time.perf_counter() - start


def programs(
    name: str, batch: int, dtype: str = "float32"
) -> tuple[dict[str, Callable[[], float]], dict[str, Any]]:
    """Timed runs of a network, and what compiling them took and counted.

    Args:
      name: of the model.
      batch: images in a step.
      dtype: of images and parameters; statistics stay float32.
    """
    model, side = models.create(name), 32 if name == SMALL else 224
    images = jnp.asarray(np.random.default_rng(0).standard_normal((batch, side, side, 3)), dtype)
    labels = jnp.arange(batch) % (10 if name == SMALL else 1000)
    variables = jax.jit(model.init)(jax.random.key(0), images[:1])
    params = jax.tree.map(lambda p: p.astype(dtype), variables["params"])
    rest = {k: v for k, v in variables.items() if k != "params"}
    optimizer = optax.sgd(0.01, momentum=0.9)

    def loss(params: Any, images: jax.Array) -> Any:
        logits, new = model.apply(
            {"params": params, **rest}, images, train=True, mutable=["batch_stats"]
        )
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), new

    def step(params: Any, state: Any, images: jax.Array) -> Any:
        (value, new), gradient = jax.value_and_grad(loss, has_aux=True)(params, images)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, new, value

    def forward(params: Any, images: jax.Array) -> jax.Array:
        return model.apply({"params": params, **rest}, images)

    def compiled(function: Callable, *args: Any, donated: tuple[int, ...] = ()) -> Callable:
        start = time.perf_counter()
        program = jax.jit(function, donate_argnums=donated).lower(*args).compile()
        facts[function.__name__] = {
            "compile": time.perf_counter() - start,
            "flops": program.cost_analysis()["flops"],
            "temporary": program.memory_analysis().temp_size_in_bytes,
        }
        return program

    facts: dict[str, Any] = {}
    run_forward = compiled(forward, params, images)
    run_step = compiled(step, params, optimizer.init(params), images, donated=(0, 1))
    trained = [jax.tree.map(jnp.copy, params), optimizer.init(params)]

    def one_step() -> Any:
        trained[0], trained[1], new, value = run_step(*trained, images)
        return trained, new, value

    runs = {"forward": lambda: timed(run_forward, params, images), "step": lambda: timed(one_step)}
    return runs, facts


def measure(network: str, batch: int, repeats: int, peers: dict[str, TransformersPeer]) -> dict:
    """Times of one network in seconds, all sides in turn."""
    runs, facts = programs(NETWORKS[network], batch_of(network, batch))
    for kind, run in runs.items():
        sides = {"jax": run} | {
            name: lambda peer=peer, kind=kind: peer.run(network, kind)
            for name, peer in peers.items()
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for i in range(repeats + 1):
            for name, side in sides.items():
                taken = side()
                if i:
                    times[name].append(taken)
        facts[kind]["times"] = times
        facts[kind]["medians"] = {name: statistics.median(v) for name, v in times.items()}
    return facts


def table(results: dict) -> str:
    """The results as markdown."""
    versions = ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    lines = [
        "# Forward pass and training step of whole networks",
        "",
        f"{versions}; {results['device']}, {results['cores']} cores, batch {results['batch']}, "
        f"images 224 x 224 (ResNet-20: {TIMES} times the batch, 32 x 32), float32, freed memory "
        f"{'kept' if results['keep_memory'] else 'given back'} on both sides; command and method "
        "in `experiments/benchmarks/networks.py`. "
        "Medians; ratio: ours over the faster PyTorch layout (below 1 is faster).",
        "",
        "| network | run | ours, s | images/s | compile, s | temporary, MiB | PyTorch, s | "
        "PyTorch channels last, s | ratio | of peak |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for network, facts in results["networks"].items():
        for kind, entry in facts.items():
            ours = entry["medians"]["jax"]
            others = [entry["medians"].get(name) for name in ("torch", "torch channels last")]
            known = [t for t in others if t is not None]
            ratio = f"{ours / min(known):.2f}" if known else ""
            shown = " | ".join("" if t is None else f"{t:.3f}" for t in others)
            peak = results["peak_tflops"]
            share = f"{100 * entry['flops'] / ours / (1e12 * peak):.0f} %" if peak else ""
            rate = batch_of(network, results["batch"]) / ours
            memory = f"{entry['temporary'] / 2**20:.0f}"
            lines.append(
                f"| {network} | {kind} | {ours:.3f} | {rate:.1f} | "
                f"{entry['compile']:.1f} | {memory} | {shown} | {ratio} | {share} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = parser_of(__doc__, "experiments.benchmarks.networks")
    parser.add_argument("--torch_python", help="interpreter with torch; left out without one")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5, help="of every timing (default: 5)")
    parser.add_argument("--peak_tflops", type=float, help="of the device, in 10^12 per second")
    parser.add_argument("--out", type=destinations.file, default=RESULTS / "networks.json")
    parser.add_argument("--keep_memory", action="store_true", help="on both sides")
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    args = parser.parse_args()
    if args.keep_memory and not allocator.keep_freed_memory():
        parser.error("--keep_memory: this C library cannot")
    peers, versions = {}, {"jax": jax.__version__}
    if args.torch_python:
        peers["torch"] = TransformersPeer(
            args.torch_python, args.batch, keep_memory=args.keep_memory
        )
        peers["torch channels last"] = TransformersPeer(
            args.torch_python, args.batch, "--channels_last", keep_memory=args.keep_memory
        )
        versions |= peers["torch"].versions
    results = {
        "versions": versions,
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "batch": args.batch,
        "keep_memory": args.keep_memory,
        "peak_tflops": args.peak_tflops,
        "networks": {},
    }
    for network in args.networks:
        results["networks"][network] = measure(network, args.batch, args.repeats, peers)
        for kind, entry in results["networks"][network].items():
            print(network, kind, {k: round(v, 3) for k, v in entry["medians"].items()}, flush=True)
    for peer in peers.values():
        peer.close()
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(table(results))


if __name__ == "__main__":
    main()
