"""Data: sources, transforms of examples, and batches that resume exactly on any hosts and workers.

`train_batches` and `eval_batches` turn a source (`open_source`, `ArraySource`, or anything with a
length and indices) into batches: read, checked (`classification`, `segmentation`, `anything`),
transformed, and for training mixed in pairs. A transform is called as `transform(example, rng)`, a
pairing as `pairing(first, second, rng)`; both are frozen dataclasses.
"""

from softeq_jax.training.data._assembly import BAD_IN_A_ROW
from softeq_jax.training.data._batches import (
    EvalBatches,
    TrainBatches,
    eval_batches,
    train_batches,
)
from softeq_jax.training.data._checks import anything, classification, segmentation
from softeq_jax.training.data._decode import (
    Decode,
    RandomResizedCrop,
    imagenet_eval,
    imagenet_train,
)
from softeq_jax.training.data._erasing import RandomErasing
from softeq_jax.training.data._examples import BadExampleError
from softeq_jax.training.data._geometry import (
    CenterCrop,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomScaleCrop,
    Resize,
)
from softeq_jax.training.data._mixing import Cutmix, Mixup, MixupOrCutmix, soft_label
from softeq_jax.training.data._normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize
from softeq_jax.training.data._order import Position
from softeq_jax.training.data._randaugment import RandAugment
from softeq_jax.training.data._segmentation import segmentation_pairs
from softeq_jax.training.data._sources import (
    ArraySource,
    digits,
    load_arrays,
    normalize,
    open_source,
)
from softeq_jax.training.data._trajectories import RotateTrajectories, open_trajectories
from softeq_jax.training.data._types import Batch, Check, Example, Pairing, Source, Transform

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
    "segmentation",
    "segmentation_pairs",
    "soft_label",
    "train_batches",
]
