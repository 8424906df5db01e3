r"""Building and applying projectors, beside EMLP and a dense Kronecker construction.

    python3 -m venv build/emlp && build/emlp/bin/pip install "jax==0.10.2" emlp==1.0.3 six
    .venv/bin/python -m experiments.benchmarks.projectors --emlp_python build/emlp/bin/python

Run it on a quiet machine (about 15 minutes). Every (case, builder) is a process of its own, the
builders of a case follow each other. Cold is the first build in the process, after the imports;
warm the median of further builds with every cache of softeq_jax emptied before each; compile and
apply are of ``jax.jit`` on a float32 weight. Memory is the growth of the peak resident set during
the cold build. Writes projectors.json, projectors.md and projectors_growth.png to
experiments/benchmarks/results/.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys

from experiments.benchmarks import destinations, projector_growth
from experiments.benchmarks.projector_cases import CASES
from experiments.shared.command import parser_of

RESULTS = pathlib.Path(__file__).parent / "results"
LIMIT = 300
HEADER = (
    "case",
    "dimension",
    "rank",
    "ours cold",
    "ours warm",
    "EMLP cold",
    "EMLP warm",
    "Kronecker SVD",
    "target",
    "compile",
    "apply",
    "MiB ours / EMLP / SVD",
)


def measure(case: str, builder: str, python: str) -> dict:
    """Runs one (case, builder) in its own process; ``{"failed": reason}`` if it does not end."""
    command = [python, "-m", "experiments.benchmarks.projector_worker", case, builder]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "TQDM_DISABLE": "1"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"more than {LIMIT} s"}
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, found: dict[str, dict]) -> tuple[str, ...]:
    """One line of the table, times in milliseconds."""

    def cell(builder: str, key: str, scale: float = 1e3) -> str:
        value = found.get(builder, {}).get(key)
        return "-" if value is None else f"{scale * value:.3g}"

    ours = found["ours"]
    memory = " / ".join(cell(b, "memory", 2**-20) for b in ("ours", "emlp", "kronecker"))
    return (
        name,
        str(ours.get("dimension", "-")),
        str(ours.get("rank", "-")),
        cell("ours", "cold"),
        cell("ours", "warm"),
        cell("emlp", "cold"),
        cell("emlp", "warm"),
        cell("kronecker", "cold"),
        CASES[name].target,
        cell("ours", "compile"),
        cell("ours", "apply"),
        memory,
    )


def markdown(results: dict) -> str:
    """The table and how it was made."""
    lines = [
        "# Projectors: build and apply",
        "",
        f"jax {results['jax']}, {results['cores']} cores, CPU; times in ms, medians; "
        "command in `experiments/benchmarks/projectors.py`. A dash: not applicable, or reasons "
        "below.",
        "",
        "| " + " | ".join(HEADER) + " |",
        "|" + " --- |" * len(HEADER),
    ]
    lines += ["| " + " | ".join(row(n, f)) + " |" for n, f in results["cases"].items()]
    lines += [
        "",
        "EMLP cold includes the tracing and compilation that its first solve needs; its warm time "
        "empties its cache of solutions. Its Rubik's cube is its own generator table, which "
        "generates a larger group than that of the cube (order 1.9e47 instead of 4.3e19): 6 "
        "orbits of pairs there, as we find for the same table, and 9 for the cube.",
        "",
        "![growth](projectors_growth.png)",
        "",
        "Growth: build time is proportional to dimension to the power of",
        "",
    ]
    lines += [f"* {name}: {exponent:.2f}" for name, exponent in results["exponents"].items()]
    failures = [
        f"* {name}, {builder}: {found['failed']}"
        for name, each in results["cases"].items()
        for builder, found in each.items()
        if "failed" in found
    ]
    return "\n".join([*lines, "", "Not run:", "", *failures, ""])


def main() -> None:
    parser = parser_of(__doc__, "experiments.benchmarks.projectors")
    parser.add_argument("--emlp_python", help="an interpreter with EMLP; left out without it")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--out", type=destinations.folder, default=RESULTS)
    args = parser.parse_args()
    import jax

    builders = {"ours": sys.executable, "kronecker": sys.executable}
    if args.emlp_python:
        builders["emlp"] = os.path.abspath(args.emlp_python)
    results = {"jax": jax.__version__, "cores": os.cpu_count(), "cases": {}}
    for name in args.cases:
        found = {builder: measure(name, builder, python) for builder, python in builders.items()}
        results["cases"][name] = found
        print("  ".join(row(name, found)), flush=True)
    growth = projector_growth.measure()
    results["growth"] = growth
    results["exponents"] = {
        name: projector_growth.exponent(points) for name, points in growth.items()
    }
    (args.out / "projectors.json").write_text(json.dumps(results, indent=1) + "\n")
    (args.out / "projectors.md").write_text(markdown(results))
    projector_growth.figure(growth, args.out / "projectors_growth.png")
    slowest = statistics.median(f["ours"].get("warm", 0.0) for f in results["cases"].values())
    print(f"median warm build {1e3 * slowest:.3g} ms; written to {args.out}")


if __name__ == "__main__":
    main()
