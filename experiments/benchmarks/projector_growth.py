"""How build time grows with dimension: the families, the fit and the figure."""

import pathlib
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np

import softeq_jax as sq
from experiments.benchmarks.projector_worker import empty_caches, null_space

Points = list[tuple[int, float]]


def _tokens(group: sq.groups.Group) -> Callable[[int], dict]:
    def reps(k: int) -> dict:
        tokens = sq.reps.tokens(group, (k, k))
        return {"i": tokens, "o": tokens}

    return reps


def _tensors(group: Callable[[int], sq.groups.Group]) -> Callable[[int], dict]:
    def reps(n: int) -> dict:
        t = sq.reps.tensor(group(n), 2)
        return {"i": t.dual, "o": t}

    return reps


FAMILIES = {
    "SO(2) tokens k x k -> k x k": (_tokens(sq.groups.so(2)), (4, 6, 8, 12, 16, 20, 24)),
    "C4 tokens k x k -> k x k": (_tokens(sq.groups.cyclic(4)), (4, 6, 8, 12, 16, 20, 24)),
    "S_n T2 -> T2": (_tensors(sq.groups.symmetric), (4, 5, 6, 8, 10, 12, 16, 20)),
    "O(n) T2 -> T2": (_tensors(sq.groups.o), (3, 4, 5, 6, 7, 8)),
}


def measure(repeats: int = 5, limit: int = 1300) -> dict[str, Points]:
    """``(dimension, median seconds)`` of every family, and of the dense construction of O(n)."""
    warnings.simplefilter("ignore")
    found: dict[str, Points] = {}
    for name, (reps, sizes) in FAMILIES.items():
        found[name] = []
        for size in sizes:
            times = []
            for _ in range(repeats):
                empty_caches()
                start = time.perf_counter()
                projector = sq.projector("i o", reps(size), cutoff=0.0)
                times.append(time.perf_counter() - start)
            found[name].append((projector.dim, statistics.median(times)))
    name = "dense Kronecker SVD, O(n) T2 -> T2"
    found[name] = []
    for size in FAMILIES["O(n) T2 -> T2"][1]:
        reps = FAMILIES["O(n) T2 -> T2"][0](size)
        if size**4 <= limit:
            start = time.perf_counter()
            null_space(list(reps.values()))
            found[name].append((size**4, time.perf_counter() - start))
    return found


def exponent(points: Points) -> float:
    """Slope of log time against log dimension, over the larger half of the dimensions."""
    logs = np.log(np.array(points[len(points) // 2 - 1 :]))
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def figure(growth: dict[str, Points], path: pathlib.Path) -> None:
    """Build time against dimension on logarithmic axes, with the fitted exponents."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure_, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name, points in growth.items():
        label = f"{name}: dimension^{exponent(points):.2f}"
        style = "--" if name.startswith("dense") else "-"
        axes.loglog(*zip(*points, strict=True), style, marker="o", markersize=4, label=label)
    axes.set_xlabel("dimension of the weight space")
    axes.set_ylabel("build, seconds")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure_.savefig(path, dpi=150)
