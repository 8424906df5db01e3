"""Data: sources, transforms of examples, and batches that resume exactly on any hosts and workers.

`train_batches` and `eval_batches` turn a source (`open_source`, `ArraySource`, or anything with a
length and indices) into batches: read, checked (`classification`, `segmentation`, `anything`),
transformed, and for training mixed in pairs. How they read is said by `Reading`. A transform is
called as `transform(example, rng)`, a pairing as `pairing(first, second, rng)`; both are frozen
dataclasses. Needs the extra `train`: `pip install softeq-jax[train]`.
"""

from softeq_jax.data._assembly import BAD_IN_A_ROW, Position
from softeq_jax.data._batches import (
    EvalBatches,
    Reading,
    TrainBatches,
    eval_batches,
    train_batches,
)
from softeq_jax.data._datasets import digits, load_arrays, open_source
from softeq_jax.data._decode import (
    Decode,
    RandomResizedCrop,
    imagenet_eval,
    imagenet_train,
    read_picture,
    segmentation_pairs,
)
from softeq_jax.data._examples import (
    ArraySource,
    BadExampleError,
    Batch,
    Check,
    Example,
    Pairing,
    Source,
    Transform,
    anything,
    classification,
    segmentation,
)
from softeq_jax.data._geometric import (
    CenterCrop,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomScaleCrop,
    Resize,
)
from softeq_jax.data._mixing import Cutmix, Mixup, MixupOrCutmix, soft_label
from softeq_jax.data._photometric import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalize,
    RandomErasing,
    normalize,
)
from softeq_jax.data._randaugment import RandAugment
from softeq_jax.data._trajectories import RotateTrajectories, open_trajectories

__all__ = [
    "BAD_IN_A_ROW",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ArraySource",
    "BadExampleError",
    "Batch",
    "CenterCrop",
    "Check",
    "Cutmix",
    "Decode",
    "EvalBatches",
    "Example",
    "Mixup",
    "MixupOrCutmix",
    "Normalize",
    "Pairing",
    "Position",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomScaleCrop",
    "Reading",
    "Resize",
    "RotateTrajectories",
    "Source",
    "TrainBatches",
    "Transform",
    "anything",
    "classification",
    "digits",
    "eval_batches",
    "imagenet_eval",
    "imagenet_train",
    "load_arrays",
    "normalize",
    "open_source",
    "open_trajectories",
    "read_picture",
    "segmentation",
    "segmentation_pairs",
    "soft_label",
    "train_batches",
]


def __dir__() -> list[str]:
    return sorted(__all__)
