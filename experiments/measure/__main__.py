r"""Measures published files: one row a network, with CSV, scatter and page.

    python -m experiments.measure --weights A.safetensors B.safetensors --data DATA/tfds/cifar10

Files are what `softeq_jax.models.load` reads, images the test (or validation) part of a prepared
TFDS data set. Killed and started again it goes on, and further files join the table.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import run as command
from experiments.measure import files
from experiments.shared import runs
from experiments.shared.command import parser_of
from experiments.shared.studies import StudyError


def parser() -> argparse.ArgumentParser:
    """Every flag that is needed."""
    found = parser_of(__doc__, "experiments.measure")
    add = found.add_argument
    add("--weights", type=Path, nargs="+", required=True, help="files, or folders with one")
    add(
        "--data",
        required=True,
        help="a prepared TFDS data set: its folder, or its name in tfds/ of the variable "
        "SOFTEQ_DATA_DIR",
    )
    add("--workdir", type=Path, default=Path("outputs/measured"), help="where runs are kept")
    add("--results", type=Path, help="where table, figure and page go (default: --workdir)")
    for name, text in {
        "images": "that LEE is the mean of",
        "consistency_images": "that prediction consistency is the mean of",
        "accuracy_images": "that accuracy is of; 0: all",
        "batch_size": "images at a time",
        "side": "of the images in pixels; 0: what a network was trained at",
    }.items():
        default = files.MEASURED[name]
        add(f"--{name}", type=int, default=default, help=f"{text} (default: {default})")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0 if all is done, 1 if files failed, 2 if it cannot be done."""
    arguments = parser().parse_args(argv)
    for name in ("absl", "softeq_jax"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        settings = {key: getattr(arguments, key, value) for key, value in files.MEASURED.items()}
        low = [key for key in ("images", "consistency_images", "batch_size") if settings[key] < 1]
        if low:
            raise StudyError(f"--{low[0]} must be at least 1, got {settings[low[0]]}")
        study = files.study_of(
            arguments.weights, _data(arguments.data), settings, arguments.workdir
        )
        chosen = runs.Chosen(study, files.PRESET, arguments.workdir)
        return command.carry_out(chosen, arguments.results or arguments.workdir)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130


def _data(given: str) -> Path:
    """A folder, or the name of one in the data folder."""
    root = os.environ.get("SOFTEQ_DATA_DIR")
    if root and not Path(given).exists():
        return Path(root) / "tfds" / given
    return Path(given)


if __name__ == "__main__":
    raise SystemExit(main())
