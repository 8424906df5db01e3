r"""What the Lie derivative and its attribution cost, in forward passes and beside PyTorch.

    python3 -m venv build/torch && build/torch/bin/pip install torch==2.13.0 numpy
    .venv/bin/python -m experiments.benchmarks.measures --torch_python build/torch/bin/python

Run it on a quiet machine (about 8 minutes). Networks of six 3x3 convolutions (c c 2c 2c 4c 4c
channels with c 16 or 32, two strides of 2, random weights, 10 classes) and a CIFAR ResNet-20;
images 32x32x3, batch 32, float32, all times through the public functions, host side included. Runs
that are compared take turns; medians. First calls (compilation included) are reported apart. Memory
is XLA's own count of temporary buffers. The peer is the double-backward method in PyTorch, a
process of its own that computes when asked. Writes measures.json and measures.md to
experiments/benchmarks/results/.
"""

import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import softeq_jax as sq
from experiments.benchmarks import destinations
from experiments.shared.command import parser_of
from softeq_jax.models import CifarResNet

RESULTS = pathlib.Path(__file__).parent / "results"
GENERATORS = (
    "translation_x",
    "translation_y",
    "rotation",
    "scale",
    "shear_x",
    "shear_y",
    "stretch_x",
    "stretch_y",
)
STRIDES = (1, 1, 2, 1, 2, 1)
CLASSES = 10


def plain(weights: list[tuple[Any, Any]], head: Any, x: jax.Array) -> jax.Array:
    """Logits of the plain convolution network."""
    for (kernel, bias), stride in zip(weights, STRIDES, strict=True):
        x = jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jax.nn.relu(x + bias)
    return x.mean((1, 2)) @ head


def plain_weights(width: int) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    rng = np.random.default_rng(0)
    widths = (3, width, width, 2 * width, 2 * width, 4 * width, 4 * width)
    layers = [
        (
            rng.standard_normal((3, 3, i, o)).astype("float32") * np.float32((2 / (9 * i)) ** 0.5),
            rng.standard_normal(o).astype("float32") * np.float32(0.1),
        )
        for i, o in itertools.pairwise(widths)
    ]
    return layers, rng.standard_normal((widths[-1], CLASSES)).astype("float32")


def networks() -> dict[str, Callable]:
    """Networks with their parameters as a pytree, by name and channels."""
    model = CifarResNet(20)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)

    def resnet(variables: Any, x: jax.Array) -> jax.Array:
        return model.apply(variables, x, train=False)

    return {
        "6 convolutions, 16": jax.tree_util.Partial(plain, *plain_weights(16)),
        "6 convolutions, 32": jax.tree_util.Partial(plain, *plain_weights(32)),
        "ResNet-20": jax.tree_util.Partial(resnet, variables),
    }


def images(batch: int, side: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).standard_normal((batch, side, side, 3)), "float32")


def timed(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def interleaved(runs: dict[str, Callable[[], float]], repeats: int) -> dict[str, dict]:
    """First call, median and spread of each run in seconds, the runs taking turns."""
    found = {name: {"first": run(), "times": []} for name, run in runs.items()}
    for _ in range(repeats):
        for name, run in runs.items():
            found[name]["times"].append(run())
    for entry in found.values():
        times = sorted(entry.pop("times"))
        entry |= {"median": statistics.median(times), "least": times[0], "most": times[-1]}
    return found


@jax.jit
def forward(f: Callable, x: jax.Array) -> jax.Array:
    return jax.nn.softmax(f(x))


def lie_runs(f: Callable, x: jax.Array) -> dict[str, Callable[[], float]]:
    """Forward pass, and LEE of 1, 4 and 8 generators."""

    def lee(count: int) -> Callable[[], float]:
        return lambda: timed(
            lambda: sq.measures.lie_errors(f, x, GENERATORS[:count], head="probabilities")
        )

    runs = {"forward": lambda: timed(lambda: forward(f, x))}
    return runs | {f"lee {count}": lee(count) for count in (1, 4, 8)}


def costs(f: Callable, x: jax.Array, repeats: int) -> dict[str, dict]:
    """Also the attribution of 1 and 4."""

    def shares(count: int) -> Callable[[], float]:
        return lambda: timed(
            lambda: sq.measures.layerwise(f, x, GENERATORS[:count], head="probabilities").shares
        )

    runs = lie_runs(f, x) | {f"shares {count}": shares(count) for count in (1, 4)}
    return interleaved(runs, repeats)


def memory(depths: tuple[int, ...], batch: int = 32) -> dict[str, list[float]]:
    """MiB of temporary buffers against depth: jvp of 4 generators, and a reverse pass."""
    kernel = jnp.asarray(np.random.default_rng(2).standard_normal((3, 3, 16, 16)) / 12, "float32")
    stem = jnp.asarray(np.random.default_rng(3).standard_normal((3, 3, 3, 16)) / 5, "float32")
    x = images(batch, 32)
    found = {"depth": list(depths), "jvp": [], "vjp": []}

    def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)

    def four(f: Callable, x: jax.Array) -> dict[str, jax.Array]:
        return sq.measures.lie_derivative(f, x, GENERATORS[:4], output="invariant")

    for depth in depths:

        def net(kernels: list[jax.Array], x: jax.Array, depth: int = depth) -> jax.Array:
            x = conv(x, kernels[0])
            for _ in range(depth):
                x = jnp.tanh(conv(x, kernels[1]))
            return x.mean((1, 2))

        f = jax.tree_util.Partial(net, [stem, kernel])
        jvp = jax.jit(four).lower(f, x).compile()
        vjp = jax.jit(jax.grad(lambda x, net=net: net([stem, kernel], x).sum())).lower(x).compile()
        for name, compiled in (("jvp", jvp), ("vjp", vjp)):
            found[name].append(compiled.memory_analysis().temp_size_in_bytes / 2**20)
    return found


class DoubleBackwardPeer:
    """The PyTorch process; ``run`` asks for one run and returns its seconds."""

    def __init__(self, python: str, width: int, x: jax.Array):
        layers, head = plain_weights(width)
        arrays = {f"w{i}": kernel for i, (kernel, _) in enumerate(layers)}
        arrays |= {f"b{i}": bias for i, (_, bias) in enumerate(layers)}
        arrays |= {"head": head, "images": np.asarray(x), "strides": STRIDES}
        self.folder = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.folder.name) / "network.npz"
        np.savez(path, **arrays)
        script = pathlib.Path(__file__).with_name("double_backward.py")
        self.process = subprocess.Popen(
            [python, str(script), str(path), str(os.cpu_count())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.hello = json.loads(self.process.stdout.readline())

    def run(self, name: str) -> float:
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.folder.cleanup()


def beside_torch(python: str, width: int, batch: int, repeats: int) -> dict:
    """Four generators and one, both frameworks in turn, and how far their numbers are apart."""
    x, f = images(batch, 32), networks()[f"6 convolutions, {width}"]
    peer = DoubleBackwardPeer(python, width, x)

    def ours(count: int) -> Callable[[], float]:
        return lambda: timed(
            lambda: sq.measures.lie_errors(
                f, x, GENERATORS[:count], head="probabilities", stencil="forward"
            )
        )

    found = interleaved(
        {
            "forward": lambda: timed(lambda: forward(f, x)),
            "torch forward": lambda: peer.run("forward"),
            "one": ours(1),
            "torch one": lambda: peer.run("one"),
            "four": ours(4),
            "torch four": lambda: peer.run("four"),
        },
        repeats,
    )
    lie = sq.measures.lie_derivative(
        f, x, list(GENERATORS[:4]), head="probabilities", stencil="forward"
    )
    apart = {}
    for name, values in lie.items():
        unit = (x.shape[1] - 1) / 2 if name.startswith("translation") else 1.0
        theirs = np.array(peer.hello["found"][name])
        apart[name] = float(
            np.linalg.norm(unit * np.asarray(values) - theirs) / np.linalg.norm(theirs)
        )
    peer.close()
    return {
        "torch": peer.hello["torch"],
        "width": width,
        "batch": batch,
        "relative_difference": apart,
        "times": found,
    }


def table(found: dict) -> str:
    """The results as Markdown."""
    lines = [
        "# Measures: what they cost",
        "",
        f"jax {found['jax']}, {found['device']}, {found['cores']} cores; command and networks in "
        "`experiments/benchmarks/measures.py`. Times in ms, medians of runs in turn, host side "
        "included; in brackets in units of the forward pass beside them.",
        "",
        "## Cost in forward passes, batch 32 of 32x32x3",
        "",
        "| network | forward | LEE, 1 generator | 4 | 8 | shares of all layers, 1 | 4 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, times in found["costs"].items():
        base = times["forward"]["median"]
        cells = [
            f"{1e3 * times[key]['median']:.1f} ({times[key]['median'] / base:.1f})"
            for key in ("lee 1", "lee 4", "lee 8", "shares 1", "shares 4")
        ]
        lines.append(f"| {name} | {1e3 * base:.1f} | {' | '.join(cells)} |")
    lines += [
        "| limit: 1.6 (1 + G), 3 G |  | (3.2) | (8.0) | (14.4) | (3.0) | (12.0) |",
        "",
        "First calls, compilation included, in s: "
        + "; ".join(
            f"{name} "
            + ", ".join(f"{key} {times[key]['first']:.1f}" for key in times if key != "forward")
            for name, times in found["costs"].items()
        )
        + ".",
        "",
        "## Against batch and image size, 6 convolutions; LEE over (1 + generators) forwards",
        "",
        "| channels | batch | side | forward | 1 generator | 4 | 8 | images/s (4) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in found["sizes"]:
        base, lee = entry["forward"]["median"], entry["lee 4"]["median"]
        cells = [
            f"{1e3 * entry[f'lee {count}']['median']:.1f} "
            f"({entry[f'lee {count}']['median'] / base / (1 + count):.2f})"
            for count in (1, 4, 8)
        ]
        lines.append(
            f"| {entry['width']} | {entry['batch']} | {entry['side']} | {1e3 * base:.1f} | "
            f"{' | '.join(cells)} | {entry['batch'] / lee:.0f} |"
        )
    lines += ["", "## Temporary memory against depth, MiB, 16 channels, batch 32", ""]
    depth = found["memory"]["depth"]
    lines += [
        f"| method | {' | '.join(f'{d} layers' for d in depth)} |",
        f"| --- |{' --- |' * len(depth)}",
    ]
    for name, label in (("jvp", "jvp, 4 generators"), ("vjp", "one reverse pass")):
        lines.append(f"| {label} | {' | '.join(f'{v:.0f}' for v in found['memory'][name])} |")
    for peer in found["peers"]:
        times = peer["times"]
        lines += [
            "",
            f"## Beside the double-backward method in PyTorch {peer['torch']}, "
            f"{peer['width']} channels, batch {peer['batch']}",
            "",
            "| run | ours | PyTorch | ratio | ratio in units of each one's forward |",
            "| --- | --- | --- | --- | --- |",
        ]
        bases = times["forward"]["median"], times["torch forward"]["median"]
        for name in ("forward", "one", "four"):
            a, b = times[name]["median"], times[f"torch {name}"]["median"]
            units = (b / bases[1]) / (a / bases[0])
            lines.append(f"| {name} | {1e3 * a:.1f} | {1e3 * b:.1f} | {b / a:.2f} | {units:.2f} |")
        worst = max(peer["relative_difference"].values())
        lines += ["", f"Both give the same numbers: relative difference at most {worst:.1e}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = parser_of(__doc__, "experiments.benchmarks.measures")
    parser.add_argument("--torch_python", help="interpreter with torch; left out without one")
    parser.add_argument("--repeats", type=int, default=21, help="of every timing (default: 21)")
    parser.add_argument("--out", type=destinations.folder, default=RESULTS)
    args = parser.parse_args()
    found = {
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "costs": {name: costs(f, images(32, 32), args.repeats) for name, f in networks().items()},
    }
    made = networks()
    found["sizes"] = [
        {"width": width, "batch": batch, "side": side}
        | interleaved(
            lie_runs(made[f"6 convolutions, {width}"], images(batch, side)),
            max(5, args.repeats // 4),
        )
        for width in (16, 32)
        for batch, side in ((1, 32), (32, 32), (256, 32), (8, 224))
    ]
    found["memory"] = memory((4, 8, 16, 32))
    found["peers"] = []
    if args.torch_python:
        for width, batch in ((16, 32), (16, 256), (32, 32)):
            repeats = max(5, 32 * args.repeats // batch)
            found["peers"].append(beside_torch(args.torch_python, width, batch, repeats))
    (args.out / "measures.json").write_text(json.dumps(found, indent=1) + "\n")
    text = table(found)
    (args.out / "measures.md").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
