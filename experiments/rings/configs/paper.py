r"""The rings study: every way to be partly invariant, on one network, by one trainer.

    python -m experiments.rings --config experiments/rings/configs/paper.py --workdir outputs/rings

Settings of the paper where it states them: two rings of 350 points, waves of five periods and
amplitude 0 to 1, Adam with 3e-3, 200 epochs; of its grid lambda_G = 0 and 0.01 and lambda_perp from
0.001 to 0.1, and its first setting, (0.01, 1).
Twenty minutes on 2 cores; an interrupted study goes on at the run it was in.
Result: experiments/rings/results/rings.md
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.title = "Wavy rings, SO(2)"
    config.sigmas = (0.0, 0.25, 0.5, 0.75, 1.0)
    config.seeds = 5
    config.per_ring = 350  # training points
    config.held_per_ring = 350  # points that strengths are chosen by
    config.test_per_ring = 2000
    config.batch_size = 350
    config.epochs = 200
    config.learning_rate = 3e-3
    # What each method is tried with; the best by the held-out points is reported.
    config.strengths = ConfigDict(
        {
            "strict": (0.0,),
            "unconstrained": (0.0,),
            "MLP": (0.0,),
            # (lambda_G, lambda_perp)
            "penalty, power 2": (
                *((g, p) for g in (0.0, 1e-2) for p in (1e-3, 1e-2, 0.1)),
                (1e-2, 1.0),
            ),
            "penalty, power 1": ((0.0, 1e-2), (0.0, 0.1), (1e-2, 1.0)),
            # With Adam a step moves N w by up to rate * sqrt(entries) = 0.2, whatever the gradient:
            # only a decay of that size stops it.
            "prox": (30.0, 300.0),
            "Lie penalty": (1e-3, 1e-2, 0.1),
            "orbit, k = 1": (0.1, 1.0),
            "orbit, k = 4": (0.1, 1.0),
            "REMUL": (0.1, 1.0),
            "REMUL, adaptive": (1.0,),
            "RPP": ((1e-3, 0.1), (1e-3, 1.0)),
            "PER": (0.1, 1.0),
            "triangular": (0.1,),  # share of the run at exactly zero
            "ACE": ((0.03, 0.01),),  # primal and dual rate
            "ACE, resilient": ((0.03, 0.01, 10.0),),  # and rho
            "recurrent": (1e-2,),
        }
    )
    config.compared = ("strict", "unconstrained")
    return config
