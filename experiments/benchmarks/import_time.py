r"""Time of ``import softeq_jax`` beside ``import jax``, in fresh processes, interleaved.

The package imports its parts when they are first used, so three things are timed: jax; jax, numpy
and the package as a script imports it; the same with every public name touched.

    python -m build --wheel && python3 -m venv build/bare && build/bare/bin/pip install dist/*.whl
    python -m experiments.benchmarks.import_time --python build/bare/bin/python

Run it on a quiet machine. Writes experiments/benchmarks/results/import_time.json.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys

from experiments.benchmarks import destinations
from experiments.shared.command import parser_of

PROBE = """
import time
start = time.perf_counter()
{statement}
stop = time.perf_counter()
import jax
print(stop - start, jax.__version__)
"""


STATEMENTS = {
    "jax": "import jax",
    "softeq_jax": "import jax, softeq_jax",
    "all of softeq_jax": (
        "import jax, softeq_jax; [getattr(softeq_jax, name) for name in softeq_jax.__all__]"
    ),
}


def once(python: str, statement: str) -> tuple[float, str]:
    """Seconds of one import in a fresh process, and the version of jax there."""
    done = subprocess.run(
        [os.path.abspath(python), "-c", PROBE.format(statement=statement)],
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
    parser = parser_of(__doc__, "experiments.benchmarks.import_time")
    parser.add_argument("--python", default=sys.executable, help="interpreter (default: this one)")
    parser.add_argument("--repeats", type=int, default=15, help="of every timing (default: 15)")
    parser.add_argument(
        "--out",
        type=destinations.file,
        default=pathlib.Path(__file__).parent / "results" / "import_time.json",
    )
    args = parser.parse_args()
    for statement in STATEMENTS.values():
        once(args.python, statement)
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(args.repeats):
        for name, statement in STATEMENTS.items():
            seconds, version = once(args.python, statement)
            times[name].append(seconds)
    median = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "jax": version,
        "cores": os.cpu_count(),
        "repeats": args.repeats,
        "median_seconds": median,
        "ratio": median["softeq_jax"] / median["jax"],
        "ratio of all": median["all of softeq_jax"] / median["jax"],
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
