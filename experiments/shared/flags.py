"""The command line that every study shares."""

import os

from absl import flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "The study.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Where results, tables and figures go.")
DATA_DIR = flags.DEFINE_string(
    "data_dir",
    os.environ.get("SOFTEQ_DATA_DIR"),
    "Folder with tfds/ and pretrained/ (default: the variable SOFTEQ_DATA_DIR).",
)
