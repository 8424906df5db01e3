r"""Charged N-body systems: constraint relaxation in a size for two CPU cores.

    python -m experiments.nbody --config experiments/nbody/configs/small.py --workdir outputs/nbody

The task of the paper (5 charged particles, 3,000 training systems, positions after 1,000 steps)
with a smaller network and fewer epochs; paper.py has the paper's size. About 25 minutes on 2
quiet cores; an interrupted study goes on at its last checkpoint.
Result: experiments/nbody/results/nbody.md
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.title = "Charged N-body systems, O(3)"
    config.command = (
        "python -m experiments.nbody --config experiments/nbody/configs/small.py "
        "--workdir outputs/nbody"
    )
    config.seeds = 3
    config.data_seed = 1  # strengths were tried on systems of other seeds
    config.systems = ConfigDict({"train": 3000, "validation": 1000, "test": 2000})
    config.rotations = 4  # of every test system, for the equivariance error
    config.width = 32  # entries of a node's features
    config.layers = 3
    config.epochs = 90
    config.batch_size = 100
    config.learning_rate = 2e-3
    config.schedule = "cosine"
    config.weight_decay = 1e-12
    config.augment = True  # random rotations of the training systems, for all methods
    config.hold = 0.1  # share of a run at the end with theta = 0
    config.free_std = 1e-2  # of the free branches' first entries
    config.save_every_epochs = 20
    # What each method is tried with; the best by the validation systems is reported.
    config.strengths = ConfigDict(
        {
            "strict": (0.0,),
            "relaxed": (1e-2, 1e-1),  # weight of the Lie and norm penalties
            "ACE": ((0.03, 1e-3),),  # primal and dual rate
            # and the augmented term: about 2 sqrt(dual / primal), where swings die out fastest
            "ACE, augmented": ((0.03, 1e-3, 0.4), (3e-3, 1e-4, 0.4)),
            "ACE, resilient": ((0.1, 1e-3, 10.0),),  # and rho
            "penalized": (1e-4, 1e-2),  # lambda_perp
            "unconstrained": (0.0,),
        }
    )
    return config
