"""Public names: what a package shows is what it promises, and all of it is there."""

import importlib
import pathlib
import subprocess
import sys

import pytest

import softeq_jax as sq

ROOT = pathlib.Path(sq.__file__).parent
PACKAGES = sorted(
    ".".join(("softeq_jax", *path.parent.relative_to(ROOT).parts))
    for path in ROOT.rglob("__init__.py")
    if "__all__" in path.read_text()
)
MISSING = """
import sys
sys.modules[{module!r}] = None
import softeq_jax as sq
try:
    sq.{package}.{name}
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_shows_its_public_names_and_nothing_else(name):
    package = importlib.import_module(name)
    more = ["__version__"] if package is sq else []
    assert dir(package) == sorted([*package.__all__, *more])
    assert len(set(package.__all__)) == len(package.__all__)
    for each in dir(package):
        assert getattr(package, each) is not None, each


def test_sub_packages_are_attributes_of_the_library():
    for path in ROOT.iterdir():
        if (path / "__init__.py").exists() and path.name not in ("cli", "projections"):
            assert path.name in sq.__all__
            assert getattr(sq, path.name) is importlib.import_module(f"softeq_jax.{path.name}")


def test_the_version_is_that_of_the_package():
    assert sq.__version__[0].isdigit()
    command = [sys.executable, "-m", "softeq_jax.cli", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert said == f"softeq {sq.__version__}\n"


@pytest.mark.slow(6)
@pytest.mark.parametrize(
    ("package", "module", "name", "extra"),
    [
        ("models", "flax", "ViT", "models"),
        ("nn", "flax", "BlurPool", "models"),
        ("training", "orbax", "save", "train"),
        ("data", "grain", "train_batches", "train"),
    ],
)
def test_a_missing_extra_is_named(package, module, name, extra):
    text = MISSING.format(module=module, package=package, name=name)
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=100, check=True
    )
    assert f"pip install softeq-jax[{extra}]" in done.stdout, done.stdout + done.stderr


def test_shortened_options_are_refused():
    command = [sys.executable, "-m", "softeq_jax.cli", "models", "--hel"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "unrecognized arguments: --hel" in done.stderr
