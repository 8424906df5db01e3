"""Strict, free, and everything between, on rings whose symmetry is broken by degrees.

Settings of the paper where it states them: two rings of 350 points, waves of five periods and
amplitude 0 to 1, Adam with 3e-3, 200 epochs; of its grid lambda_G = 0 and 0.01 and lambda_perp from
0.001 to 0.1, and its first setting, (0.01, 1). Twenty minutes on 2 cores.
"""

from collections.abc import Mapping
from typing import Any

from experiments.rings import methods, report, run
from experiments.shared.claims import Better, Claim, NotWorse
from experiments.shared.studies import Metric, Preset, Settings, Study

# What each method is tried with; the best by the held-out points is compared.
STRENGTHS: dict[str, list[Any]] = {
    "strict": [0.0],
    "unconstrained": [0.0],
    "MLP": [0.0],
    # lambda_G, lambda_perp
    "penalty, power 2": [
        *([g, p] for g in (0.0, 1e-2) for p in (1e-3, 1e-2, 0.1)),
        [1e-2, 1.0],
    ],
    "penalty, power 1": [[0.0, 1e-2], [0.0, 0.1], [1e-2, 1.0]],
    # With Adam a step moves N w by up to rate * sqrt(entries) = 0.2, whatever the gradient:
    # only a decay of that size stops it.
    "prox": [30.0, 300.0],
    "Lie penalty": [1e-3, 1e-2, 0.1],
    "orbit, k = 1": [0.1, 1.0],
    "orbit, k = 4": [0.1, 1.0],
    "REMUL": [0.1, 1.0],
    "REMUL, adaptive": [1.0],
    "RPP": [[1e-3, 0.1], [1e-3, 1.0]],
    "PER": [0.1, 1.0],
    "triangular": [0.1],  # share of the run at exactly zero
    "ACE": [[0.03, 0.01]],  # primal and dual rate
    "ACE, resilient": [[0.03, 0.01, 10.0]],  # and rho
    "recurrent": [1e-2],
}

PAPER = {
    "per_ring": 350,  # training points
    "held_per_ring": 350,  # points that strengths are chosen by
    "test_per_ring": 2000,
    "batch_size": 350,
    "epochs": 200,
    "learning_rate": 3e-3,
    "save_every_epochs": 0,
}
GRID = {"amplitudes": [0.0, 0.25, 0.5, 0.75, 1.0], "tried": STRENGTHS}
TINY = PAPER | {"epochs": 10, "test_per_ring": 300, "save_every_epochs": 2}
TINY_GRID = {
    "amplitudes": [0.5],
    "tried": {
        "strict": [0.0],
        "unconstrained": [0.0],
        "penalty, power 2": [[0.0, 1e-3], [1e-2, 1.0]],
    },
}


def rows(settings: Settings) -> Mapping[str, Settings]:
    """Methods with their strengths at every amplitude."""
    return {
        f"{method}{said} at {sigma:g}": {"method": method, "strength": strength, "sigma": sigma}
        for method in methods.NAMES
        for strength, said in _said(settings["tried"].get(method, []))
        for sigma in settings["amplitudes"]
    }


def floors(settings: Settings) -> Mapping[str, Settings]:
    """The majority at every amplitude."""
    return {f"majority at {sigma:g}": {"sigma": sigma} for sigma in settings["amplitudes"]}


def _said(strengths: list[Any]) -> list[tuple[Any, str]]:
    """Strengths with what names them: nothing where there is one."""
    if len(strengths) == 1:
        return [(strengths[0], "")]
    numbers = [s if isinstance(s, list) else [s] for s in strengths]
    return [
        (strength, f" ({', '.join(f'{x:g}' for x in those)})")
        for strength, those in zip(strengths, numbers, strict=True)
    ]


STUDY = Study(
    name="rings",
    title="Wavy rings, SO(2): strict, free and everything between",
    claims=(
        Claim(
            "Where waves of 0.5 break the symmetry, the projection penalty is more accurate than "
            "a strict network",
            "penalty, power 2 at 0.5",
            "strict at 0.5",
            (Better("accuracy"),),
        ),
        Claim(
            "There it is more invariant than a free network, as accurate to half a point",
            "penalty, power 2 at 0.5",
            "unconstrained at 0.5",
            (Better("worst_error"), NotWorse("accuracy", 0.005)),
        ),
    ),
    presets={
        "tiny": Preset(TINY, 2, TINY_GRID, note="Seconds, for the tests."),
        "small": Preset(PAPER, 5, GRID, note="The published size."),
        "paper": Preset(
            PAPER, 5, GRID, note="The published size; `small` is the same and was run."
        ),
    },
    rows=rows,
    run=run.do,
    metrics=(
        Metric("accuracy", "accuracy (%)", "higher", scale=100, digits=1),
        Metric("worst_error", "worst-case error (probability)", "lower", digits=3),
    ),
    defect="worst_error",
    floors=floors,
    floor=run.majority,
    condition="sigma",
    choose=report.chosen_lines,
    sections=report.sections,
    draw=report.draw,
    step_cost=run.step_cost,
)
