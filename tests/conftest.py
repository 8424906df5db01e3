"""Fixtures shared by all tests: where the real data and the golden arrays are."""

import os
import pathlib

import pytest


def _required() -> bool:
    return os.environ.get("SOFTEQ_REQUIRE_DATA") == "1"


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """Folder of the real data (``SOFTEQ_DATA_DIR``); skips where a user has none."""
    folder = os.environ.get("SOFTEQ_DATA_DIR")
    if folder and pathlib.Path(folder).is_dir():
        return pathlib.Path(folder)
    message = f"SOFTEQ_DATA_DIR={folder!r} is not a folder"
    if _required():
        pytest.fail(f"{message}, and SOFTEQ_REQUIRE_DATA=1 asks for it")
    return pytest.skip(message)


@pytest.fixture(scope="session")
def golden_dir(data_dir: pathlib.Path) -> pathlib.Path:
    """Folder of the golden arrays, beside the data."""
    folder = data_dir.parent / "golden"
    if folder.is_dir():
        return folder
    if _required():
        pytest.fail(f"{folder} is missing, and SOFTEQ_REQUIRE_DATA=1 asks for it")
    return pytest.skip(f"{folder} is missing")
