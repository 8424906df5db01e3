"""Data, a small `pmap` trainer and verified checkpoints.

Needs the extra `train`: `pip install softeq-jax[train]`.
"""

try:
    import flax as _flax  # noqa: F401
    import grain as _grain  # noqa: F401
    import optax as _optax  # noqa: F401
    import orbax.checkpoint as _orbax  # noqa: F401
    import tensorflow_datasets as _tfds  # noqa: F401
    import tqdm as _tqdm  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        f"softeq_jax.training needs {error.name}: pip install softeq-jax[train]"
    ) from error

from softeq_jax.training.checkpoint import restore, save
from softeq_jax.training.data import (
    ArraySource,
    digits,
    load_arrays,
    normalize,
    open_source,
    random_crop_flip,
    train_batches,
)
from softeq_jax.training.objectives import projected_classification
from softeq_jax.training.pmap import (
    AXIS,
    TrainState,
    fit,
    init_state,
    make_predict,
    make_train_step,
    replicate,
    shard,
    unreplicate,
)

__all__ = [
    "AXIS",
    "ArraySource",
    "TrainState",
    "digits",
    "fit",
    "init_state",
    "load_arrays",
    "make_predict",
    "make_train_step",
    "normalize",
    "open_source",
    "projected_classification",
    "random_crop_flip",
    "replicate",
    "restore",
    "save",
    "shard",
    "train_batches",
    "unreplicate",
]
