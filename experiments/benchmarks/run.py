r"""The main cases of two revisions in turn: what became faster, what slower.

    python -m experiments.benchmarks.run --compare HEAD~1
    python -m experiments.benchmarks.run --compare v1.0 --cases "step ViT" "LEE of 4"

Run it on a quiet machine (about 6 minutes). REV is checked out into a folder of its own for as
long as this runs; the other side is this working tree, with what is not committed. Each side is a
process (`worker.py`) with its compiled programs; a round runs a case once on each side, the first
one changing from round to round. The ratio is the median of this tree over that of REV, below 1
faster; its interval (95 %) is that of the median of the rounds' ratios by their order alone, which
takes six rounds at least. A case that REV has no functions for is named.
"""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.stats import binom
from tqdm import tqdm

from experiments.benchmarks import destinations
from experiments.benchmarks.worker import CASES
from experiments.shared.children import ended_by_signals, started
from experiments.shared.command import parser_of
from softeq_jax._text import table

ROOT = pathlib.Path(__file__).parents[2]
SIDES = ("before", "now")


class Worker:
    """One side: a process that gets all cases ready and runs one when asked."""

    def __init__(self, process: subprocess.Popen, name: str):
        self._process, self._name = process, name
        self.facts: dict[str, dict[str, Any]] = json.loads(self._line())

    def run(self, case: str) -> float:
        """Seconds of a case."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{case}\n")
        self._process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"error: the process of {self._name} ended, see above")
        return line


@contextlib.contextmanager
def checked_out(revision: str) -> Iterator[tuple[pathlib.Path, str]]:
    """(folder, commit) of a revision, gone after the block.

    Raises:
      SystemExit: there is no such revision.
    """
    commit = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if commit is None:
        raise SystemExit(f"error: --compare {revision}: no such revision in {ROOT}")
    with tempfile.TemporaryDirectory(prefix="softeq-revision-") as folder:
        tree = pathlib.Path(folder) / "tree"
        if _git("worktree", "add", "--detach", str(tree), commit) is None:
            raise SystemExit(f"error: git cannot check out {commit} into {tree}")
        try:
            yield tree, commit
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> str | None:
    """What git prints in this tree, None where it fails."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def compare(roots: dict[str, pathlib.Path], cases: Sequence[str], rounds: int) -> dict[str, Any]:
    """Times of every case on every side in seconds, in turn, or why a side cannot run it."""
    script = pathlib.Path(__file__).with_name("worker.py")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with contextlib.ExitStack() as stack:
        workers = {}
        for side, root in roots.items():
            command = [sys.executable, "-P", str(script), str(root), *cases]
            workers[side] = Worker(stack.enter_context(started(command, **pipes)), str(root))
        found: dict[str, Any] = {}
        for case in cases:
            facts = {side: worker.facts[case] for side, worker in workers.items()}
            failed = {side: fact["failed"] for side, fact in facts.items() if "failed" in fact}
            found[case] = (
                {"failed": failed}
                if failed
                else {
                    "first": {side: fact["first"] for side, fact in facts.items()},
                    "times": {side: [] for side in workers},
                }
            )
        running = [case for case in cases if "times" in found[case]]
        for number in tqdm(range(rounds), desc="rounds", unit="round", disable=rounds < 3):
            sides = list(workers) if number % 2 else list(reversed(workers))
            for case in running:
                for side in sides:
                    found[case]["times"][side].append(workers[side].run(case))
    for case in running:
        if len(roots) > 1:
            found[case]["ratio"] = ratio(*(found[case]["times"][side] for side in SIDES))
    return found


def ratio(before: Sequence[float], now: Sequence[float]) -> list[float]:
    """[ratio of the medians, now over before, and the ends of its 95 % interval].

    The interval is of the median of the ratios round by round, from one of their order statistics
    to another (Conover, Practical Nonparametric Statistics, ch. 3): the k-th lies above it with
    the probability of fewer than k heads in n throws, whatever the noise. Fewer than six rounds
    have no such interval, and only the ratio is returned.
    """
    value = float(np.median(now) / np.median(before))
    ratios = np.sort(np.divide(now, before))
    rank = int(binom.ppf(0.025, len(ratios), 0.5))
    return [value, float(ratios[rank - 1]), float(ratios[-rank])] if rank else [value]


def page(found: dict[str, Any]) -> str:
    """The results as text: times in ms, the ratio with its interval, what changed."""
    rows, notes = [], []
    for case, entry in found.items():
        if "failed" in entry:
            notes += [f"{case}: not run, {side}: {why}" for side, why in entry["failed"].items()]
            continue
        medians = {side: statistics.median(times) for side, times in entry["times"].items()}
        cells = [f"{1e3 * medians[side]:.3g}" if side in medians else "" for side in SIDES]
        value, *ends = [f"{x:.2f}" for x in entry.get("ratio", ())] or [""]
        low, high = entry["ratio"][1:] if ends else (0.0, 2.0)
        told = "slower" if low > 1 else "faster" if high < 1 else ""
        rows.append((case, *cells, value, " to ".join(ends), told))
    head = ("case, ms", *SIDES, "ratio", "95 %", "")
    return "\n".join([table(head, rows, right="-rrr"), *notes])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = parser_of(__doc__, "experiments.benchmarks.run")
    parser.add_argument("--compare", metavar="REV", help="without it, this tree alone")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=destinations.file, help="JSON of all times")
    args = parser.parse_args(arguments)
    if args.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {args.rounds}")
    results: dict[str, Any] = {"cores": os.cpu_count(), "rounds": args.rounds}
    with contextlib.ExitStack() as stack:
        stack.enter_context(ended_by_signals())
        roots = {"now": ROOT}
        if args.compare:
            tree, results["before"] = stack.enter_context(checked_out(args.compare))
            roots = {"before": tree, "now": ROOT}
        results["cases"] = compare(roots, args.cases, args.rounds)
    print(page(results["cases"]))
    if args.out:
        args.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
