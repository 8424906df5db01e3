"""Every key of a training config with its default; configs name what differs."""

from ml_collections import ConfigDict, config_dict


def defaults() -> ConfigDict:
    """A small network on the digits that ship inside scikit-learn."""
    config = ConfigDict()
    config.title = "training"
    config.seed = 0
    config.model = ConfigDict(
        {
            "name": "cifar_resnet",  # or "vit", or a preset: softeq_jax.models.PRESETS
            "weights": "",  # a published checkpoint instead, see softeq_jax.models.load
            "reset_head": False,  # start a new head, for num_classes classes
            "num_classes": 10,
            # of "cifar_resnet" and "vit"
            "depth": 8,
            "width": 8,
            # of "vit"
            "patch_size": 4,
            "heads": 2,
            "pool": "mean",
        }
    )
    config.data = ConfigDict(
        {
            "name": "digits",  # or a prepared TFDS data set in `folder` of --data_dir
            "folder": "tfds",
            "train": "train",
            "test": "test",
            "image_size": 8,
            "resize": False,  # stored images to image_size
            "mean": (0.5,),
            "std": (0.5,),
            "batch_size": 64,
            "eval_batch_size": 256,
            "num_threads": 1,
            "num_workers": 0,
            "on_bad_example": "raise",
        }
    )
    config.augment = ConfigDict(
        {
            "crop": 0,  # pixels of padding
            "flip": False,
            "rotation": 0.0,  # degrees
            "randaugment": config_dict.placeholder(tuple),  # (operations, magnitude)
            "erasing": 0.0,  # probability
            "mixup": 0.0,  # alpha
            "cutmix": 0.0,  # alpha
            "smoothing": 0.0,
        }
    )
    config.method = ConfigDict(
        {
            "name": "plain",  # or "project", "penalize"
            "group": "c4",
            # a glob over convolutions, or "soft": the rules of softeq_jax.models.soft_rules
            "rules": "**/kernel",
            "cutoff": config_dict.placeholder(float),  # strict without
            # of "soft", instead of the cutoff
            "softness": config_dict.placeholder(float),
            "position_softness": config_dict.placeholder(float),
            # of "project" (heat for a softness, else hard); "penalize" needs "hard"
            "mask": config_dict.placeholder(str),
            # of "penalize"
            "lambda_g": 0.0,
            "lambda_perp": 1e-3,
            "power": 2,
        }
    )
    config.optimizer = ConfigDict(
        {
            "algorithm": "sgd",
            "learning_rate": 0.1,
            "schedule": "cosine",
            "warmup": 0.1,
            "final": 0.0,
            "weight_decay": 1e-4,
            "decay_all": False,
            "momentum": 0.9,
            "betas": (0.9, 0.999),
            "clip": config_dict.placeholder(float),
            # globs from the input to the output, and the factor from one to the next
            "layers": (),
            "layer_decay": 1.0,
        }
    )
    config.step = ConfigDict(
        {
            "accumulate": 1,
            "compute_dtype": config_dict.placeholder(str),  # "bfloat16"
            "remat": config_dict.placeholder(str),
            "average_decay": config_dict.placeholder(float),
            "skip_nonfinite": False,
            "sharding": "replicated",  # or "full": the state divided among the devices
        }
    )
    config.run = ConfigDict(
        {
            "steps": 200,
            "log_every": 20,
            "evaluate_every": 100,
            "save_every": 100,
            "keep_newest": 2,
            "keep_best": 0,
            "best_metric": config_dict.placeholder(str),
            "best_mode": "max",
            "in_flight": config_dict.placeholder(int),
            "max_skipped": config_dict.placeholder(int),
            "profile": config_dict.placeholder(tuple),  # first and last step
            "tensorboard": True,
            "progress": "training",
        }
    )
    # What is measured at every evaluation besides accuracy, on this many test images; 0: nothing.
    config.curves = ConfigDict({"images": 64})
    return config


MAY_CHANGE = (
    "run.log_every",
    "run.evaluate_every",
    "run.save_every",
    "run.keep_newest",
    "run.keep_best",
    "run.best_*",
    "run.in_flight",
    "run.profile*",
    "run.tensorboard",
    "run.progress",
    "data.num_threads",
    "data.num_workers",
    "data.eval_batch_size",
    "curves.images",
    "step.sharding",
    "title",
)
"""Keys that change nothing in what a run computes but rounding, so that a resumed run may change
them."""
