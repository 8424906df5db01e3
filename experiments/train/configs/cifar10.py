r"""ResNet-20 on CIFAR-10 with the augmentation of its paper.

    python -m experiments.train --config experiments/train/configs/cifar10.py \
        --data_dir DATA --workdir outputs/train_cifar10

64,000 steps of 128 images as in the paper take 10 hours on 2 cores; the first command to try is
the same with `--config.run.steps=200`. DATA holds CIFAR-10 as TFDS prepares it, in `tfds/`.
"""

from experiments.train.config import defaults


def get_config():
    config = defaults()
    config.title = "CIFAR-10, ResNet-20"
    config.model.update(depth=20, width=16)
    config.data.update(name="cifar10", image_size=32, batch_size=128, num_threads=2)
    config.data.update(mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616))
    config.augment.update(crop=4, flip=True)
    config.optimizer.update(learning_rate=0.1, weight_decay=1e-4, warmup=400)
    config.run.update(steps=64000, log_every=50, evaluate_every=1000, save_every=1000)
    config.run.update(keep_best=1, best_metric="accuracy")
    return config
