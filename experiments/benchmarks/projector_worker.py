"""One case and one builder of the projector benchmark, in a process of its own; prints JSON."""

import functools
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmarks.projector_cases import CASES, ProjectorCase

REPEATS = 9
SVD_LIMIT = 1400


def peak() -> int:
    """Peak resident set of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed(build: Callable[[], Any], reset: Callable[[], None], repeats: int) -> dict:
    """Cold time, median warm time and growth of the peak resident set of the first build."""
    before = peak()
    start = time.perf_counter()
    build()
    cold, memory = time.perf_counter() - start, peak() - before
    warm = []
    for _ in range(repeats):
        reset()
        start = time.perf_counter()
        build()
        warm.append(time.perf_counter() - start)
    return {"cold": cold, "warm": statistics.median(warm) if warm else None, "memory": memory}


def empty_caches() -> None:
    """Empties every ``functools.lru_cache`` of softeq_jax."""
    for name, module in list(sys.modules.items()):
        if name.startswith("softeq_jax"):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def ours(case: ProjectorCase) -> dict:
    """Build, compile and apply with softeq_jax; groups and representations are built anew."""
    import warnings

    import jax

    import softeq_jax as sq

    warnings.simplefilter("ignore")
    build_projector = sq.projector  # rooms are imported when they are reached: before the clock

    def build() -> Any:
        return build_projector(case.spec, case.reps(sq), cutoff=0.0)

    found = timed(build, empty_caches, REPEATS)
    projector = build()
    shape = [n for rep in case.reps(sq).values() for n in rep.shape]
    w = jax.numpy.asarray(np.random.default_rng(0).standard_normal(shape), "float32")
    apply = jax.jit(lambda p, w: p(w))
    start = time.perf_counter()
    jax.block_until_ready(apply(projector, w))
    first = time.perf_counter() - start
    times = []
    for _ in range(50):
        start = time.perf_counter()
        jax.block_until_ready(apply(projector, w))
        times.append(time.perf_counter() - start)
    found["apply"] = statistics.median(times)
    found["compile"] = first - found["apply"]
    return found | {"rank": projector.rank(), "dimension": projector.dim}


def emlp(case: ProjectorCase) -> dict:
    """The basis of equivariant maps by EMLP."""
    if case.emlp is None:
        raise SystemExit("EMLP has no such representation")
    import emlp.groups
    import emlp.reps
    from emlp.reps.representation import Rep

    def build() -> Any:
        source, target = case.emlp(emlp.groups, emlp.reps)
        basis = (source >> target).equivariant_basis()  # lazy for multiples of a representation
        return getattr(basis, "block_until_ready", lambda: basis)()

    found = timed(build, lambda: Rep.solcache.clear(), 0)
    repeats = 3 if found["cold"] < 20 else 1
    warm = timed(build, lambda: Rep.solcache.clear(), repeats)
    return found | {"warm": warm["warm"], "rank": int(build().shape[-1])}


def null_space(reps: list) -> np.ndarray:
    """Rows that span the invariants: a full SVD of the generators on the Kronecker product."""
    stack = []
    for lie in zip(*(rep.lie_matrices() for rep in reps), strict=True):
        total = np.zeros((1, 1))
        for matrix in lie:
            total = np.kron(total, np.eye(len(matrix))) + np.kron(np.eye(len(total)), matrix)
        stack.append(total)
    for discrete in zip(*(rep.discrete_matrices() for rep in reps), strict=True):
        total = functools.reduce(np.kron, discrete)
        stack.append(total - np.eye(len(total)))
    _, values, right = np.linalg.svd(np.concatenate(stack), full_matrices=False)
    return right[values < 1e-8 * values[0]]


def kronecker(case: ProjectorCase) -> dict:
    """The null space of the stacked generators on the Kronecker product, by a full SVD."""
    import warnings

    import softeq_jax as sq

    warnings.simplefilter("ignore")
    reps = list(case.reps(sq).values())
    n = int(np.prod([rep.dim for rep in reps]))
    if n > SVD_LIMIT:
        rows = len(reps[0].group.lie_generators) + len(reps[0].group.discrete_generators)
        size = rows * n * n * 8 / 2**30
        raise SystemExit(f"dense constraint matrix of {size:.3g} GiB not factored")

    def build() -> np.ndarray:
        return null_space(reps)

    found = timed(build, lambda: None, 1)
    return found | {"rank": len(build())}


if __name__ == "__main__":
    builder = {"ours": ours, "emlp": emlp, "kronecker": kronecker}[sys.argv[2]]
    print(json.dumps(builder(CASES[sys.argv[1]])))
