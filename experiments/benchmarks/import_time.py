r"""Time of ``import softeq_jax`` beside ``import jax``, in fresh processes, interleaved.

    python -m build --wheel && python3 -m venv build/bare && build/bare/bin/pip install dist/*.whl
    python -m experiments.benchmarks.import_time --python build/bare/bin/python

Run it on a quiet machine. Writes experiments/benchmarks/results/import_time.json.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

PROBE = """
import time
start = time.perf_counter()
import {module}
stop = time.perf_counter()
import jax
print(stop - start, jax.__version__)
"""


def once(python: str, module: str) -> tuple[float, str]:
    """Seconds of one import in a fresh process, and the version of jax there."""
    done = subprocess.run(
        [os.path.abspath(python), "-c", PROBE.format(module=module)],
        cwd="/",
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    seconds, version = done.stdout.split()
    return float(seconds), version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path(__file__).parent / "results" / "import_time.json",
    )
    args = parser.parse_args()
    modules = ("jax", "softeq_jax")
    for module in modules:
        once(args.python, module)
    times: dict[str, list[float]] = {module: [] for module in modules}
    for _ in range(args.repeats):
        for module in modules:
            seconds, version = once(args.python, module)
            times[module].append(seconds)
    median = {module: statistics.median(values) for module, values in times.items()}
    result = {
        "jax": version,
        "cores": os.cpu_count(),
        "repeats": args.repeats,
        "median_seconds": median,
        "ratio": median["softeq_jax"] / median["jax"],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
