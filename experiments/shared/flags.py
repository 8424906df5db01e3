"""The command line that every study shares."""

import os

from absl import flags
from ml_collections import ConfigDict, config_flags

from experiments.shared.studies import StudyError

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Needed: a file such as experiments/train/configs/digits.py.", lock_config=True
)
WORKDIR = flags.DEFINE_string("workdir", None, "Needed: where the run and its results are kept.")
DATA_DIR = flags.DEFINE_string(
    "data_dir",
    os.environ.get("SOFTEQ_DATA_DIR"),
    "Folder with tfds/ and pretrained/ (default: the variable SOFTEQ_DATA_DIR).",
)

KEEP_MEMORY = flags.DEFINE_bool(
    "keep_memory",
    True,
    "On CPUs: freed memory stays with the process, see softeq_jax.training.allocator.",
)


def given_config() -> ConfigDict:
    """The config of the command line.

    Raises:
      StudyError: there is no such file, or it holds none.
    """
    config = CONFIG.value
    if isinstance(config, ConfigDict):
        return config
    try:
        found = list(config)  # the error of a file that cannot be read comes when it is used
    except (OSError, TypeError) as error:
        path = config_flags.get_config_filename(flags.FLAGS[CONFIG.name]).partition(":")[0]
        if not os.path.isfile(path):
            what = "is a folder" if os.path.isdir(path) else "is not there"
            raise StudyError(f"--config {path} {what}, expected a Python file") from error
        raise StudyError(f"--config cannot be read: {' '.join(str(error).split())}") from error
    raise StudyError(f"--config holds no ConfigDict: {found}")
