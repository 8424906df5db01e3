r"""Charged N-body systems in the paper's size: 4 layers of width 64, 1,000 epochs.

    python -m experiments.nbody --config experiments/nbody/configs/paper.py \
        --workdir outputs/nbody_paper

3,000 training systems, batches of 100, Adam with 5e-4 and weight decay 1e-12, random rotations,
penalty weight 0.01. Runs of 30,000 steps each; it has not been run.
"""

from ml_collections import ConfigDict

from experiments.nbody.configs import small


def get_config() -> ConfigDict:
    config = small.get_config()
    config.title = "Charged N-body systems, O(3), in the paper's size"
    config.command = (
        "python -m experiments.nbody --config experiments/nbody/configs/paper.py "
        "--workdir outputs/nbody_paper"
    )
    config.systems.validation = 2000
    config.width = 64
    config.layers = 4
    config.epochs = 1000
    config.learning_rate = 5e-4
    config.schedule = "constant"
    config.strengths.relaxed = (1e-2,)
    return config
