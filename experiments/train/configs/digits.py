r"""A small ResNet on the digits that ship inside scikit-learn, trained through a C4 projection.

    python -m experiments.train --config experiments/train/configs/digits.py \
        --workdir outputs/train_digits

About 20 seconds on 2 cores, no data needed. Expected: 97 to 99 % of 360 test digits.
Kill it at any moment and run the same command again: it goes on where it was.
"""

from experiments.train.config import defaults


def get_config():
    config = defaults()
    config.title = "digits, ResNet-8, C4 projection"
    config.data.batch_size = 64
    config.augment.crop = 1
    config.method.update(name="project", group="c4", rules="**/conv?/kernel", cutoff=1.0)
    config.run.update(steps=300, log_every=20, evaluate_every=50, save_every=50)
    config.run.update(keep_best=1, best_metric="accuracy")
    return config
