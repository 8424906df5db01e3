"""Where results go, checked before anything is measured."""

import argparse
import os
import pathlib


def file(text: str) -> pathlib.Path:
    """A file to write results to, as the type of an argument; its folder is made.

    Raises:
      argparse.ArgumentTypeError: it is a folder, or its folder cannot be made or written in.
    """
    path = pathlib.Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(
            f"{path} is a folder, expected a file such as {path}/x.json"
        )
    _require_folder(path.parent)
    return path


def folder(text: str) -> pathlib.Path:
    """A folder to write results to, as the type of an argument; it is made.

    Raises:
      argparse.ArgumentTypeError: it is a file, or it cannot be made or written in.
    """
    path = pathlib.Path(text)
    _require_folder(path)
    return path


def _require_folder(path: pathlib.Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise argparse.ArgumentTypeError(f"{path} is a file, expected a folder") from None
    except NotADirectoryError:
        raise argparse.ArgumentTypeError(f"{path}: a file is in the way of this folder") from None
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from None
    if not os.access(path, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path}: nothing can be written in this folder")
