r"""What else could make a training step of ResNet-50 faster on a CPU: settings of XLA and layouts.

    python -m experiments.benchmarks.step_causes

Run it on a quiet machine (about 10 minutes on 2 cores). Every variant is a process of its own, as
XLA reads its flags when it starts, and takes turns with a process without it; the ratio is the
median over neighbors. Flags that this XLA does not know are said. Variants of the model: the
convolutions with a window computed on ``[n, c, h, w]``, and parameters and images in bfloat16.
Writes step_causes.json and step_causes.md to ``--out``.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import Any

from experiments.benchmarks import destinations
from experiments.shared.command import parser_of

RESULTS = pathlib.Path(__file__).parent / "results"
FLAGS = {
    "oneDNN": "--xla_cpu_use_onednn=true",
    "oneDNN custom calls": "--xla_cpu_experimental_onednn_custom_call=true",
    "XNNPACK": "--xla_cpu_use_xnnpack=true",
    "YNN: all libraries' fusions": "--xla_cpu_experimental_ynn_fusion_type="
    "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION",
    "YNN: none": "--xla_cpu_experimental_ynn_fusion_type=",
    "scheduler: not for concurrency": "--xla_cpu_enable_concurrency_optimized_scheduler=false",
    "fast math": "--xla_cpu_enable_fast_math=true",
    "vectors of 512 bits": "--xla_cpu_prefer_vector_width=512",
    "no fusion emitters": "--xla_cpu_use_fusion_emitters=false",
}
LAYOUTS = ("NCHW inside", "bfloat16")


class StepWorker:
    """A process that takes training steps when it is asked to."""

    def __init__(self, variant: str, batch: int):
        environment = dict(os.environ)
        if variant in FLAGS:
            environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {FLAGS[variant]}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, "--worker", variant, "--batch", str(batch)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def step(self) -> float:
        """Seconds of a step.

        Raises:
          RuntimeError: the process has ended; its last words.
        """
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("step\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            words = self.process.stderr.read().strip().splitlines() or ["nothing was said"]
            raise RuntimeError(words[-1][:200])
        return float(answer)

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(timeout=60)


def channels_first(call: Any, args: tuple, kwargs: dict, context: Any) -> Any:
    """Computes a Flax convolution with a window on ``[n, c, h, w]``."""
    import jax
    from flax import linen

    module = context.module
    if (
        not isinstance(module, linen.Conv)
        or context.method_name != "__call__"
        or module.kernel_size == (1, 1)
        or not module.has_variable("params", "kernel")
    ):
        return call(*args, **kwargs)
    kernel = module.variables["params"]["kernel"]
    y = jax.lax.conv_general_dilated(
        args[0].transpose(0, 3, 1, 2),
        kernel.transpose(3, 2, 0, 1),
        module.strides,
        module.padding,
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
    )
    return y.transpose(0, 2, 3, 1)


def work(variant: str, batch: int) -> None:
    """Answers every line on standard input by the seconds of a step."""
    from flax import linen

    from experiments.benchmarks.networks import programs

    first = variant == "NCHW inside"
    inside = linen.intercept_methods(channels_first) if first else contextlib.nullcontext()
    with inside:
        runs, _ = programs("resnet50", batch, "bfloat16" if variant == "bfloat16" else "float32")
    for _ in sys.stdin:
        print(runs["step"](), flush=True)


def compared(variant: str, batch: int, repeats: int) -> dict[str, Any]:
    """Times of steps with a variant and without, in turn; or why there are none."""
    workers = {"plain": StepWorker("plain", batch), "variant": StepWorker(variant, batch)}
    times: dict[str, list[float]] = {name: [] for name in workers}
    try:
        for i in range(repeats + 1):
            for name, worker in workers.items():
                taken = worker.step()
                if i:
                    times[name].append(taken)
    except RuntimeError as error:
        return {"failed": str(error)}
    finally:
        for worker in workers.values():
            worker.close()
    ratios = [v / p for v, p in zip(times["variant"], times["plain"], strict=True)]
    return {"times": times, "ratio": statistics.median(ratios)}


def page(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Training step of ResNet-50: what was tried",
        "",
        f"jax {found['jax']}, {found['cores']} cores, batch {found['batch']}, images 224 x 224, "
        "float32 unless said otherwise; command in `experiments/benchmarks/step_causes.py`. "
        "Medians of the ratio of neighbors; below 1 is faster.",
        "",
        "| variant | plain, s | with it, s | ratio |",
        "| --- | --- | --- | --- |",
    ]
    for name, row in found["variants"].items():
        if "failed" in row:
            lines.append(f"| {name} | | | not run: {row['failed']} |")
            continue
        plain, variant = (statistics.median(row["times"][key]) for key in ("plain", "variant"))
        lines.append(f"| {name} | {plain:.3f} | {variant:.3f} | {row['ratio']:.2f} |")
    lines += ["", "Flags:", "", *(f"* {name}: `{flag}`" for name, flag in FLAGS.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = parser_of(__doc__, "experiments.benchmarks.step_causes")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=(*FLAGS, *LAYOUTS), help="these variants")
    parser.add_argument(
        "--out", type=destinations.folder, default=RESULTS, help="folder of the results"
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.batch)
        return
    import jax

    found: dict[str, Any] = {"jax": jax.__version__, "cores": os.cpu_count(), "batch": args.batch}
    found["variants"] = {}
    for name in args.only or (*FLAGS, *LAYOUTS):
        found["variants"][name] = compared(name, args.batch, args.repeats)
        print(name, found["variants"][name].get("ratio", found["variants"][name]), flush=True)
    (args.out / "step_causes.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.out / "step_causes.md").write_text(page(found))


if __name__ == "__main__":
    main()
