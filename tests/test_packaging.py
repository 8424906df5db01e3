"""The wheel: what it holds, and that importing it needs nothing but jax and numpy."""

import email
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PROBE = """
import sys
import jax, numpy
before = set(sys.modules)
import softeq_jax
extras = {"data", "models", "nn", "training"}
parts = [getattr(softeq_jax, name) for name in softeq_jax.__all__ if name not in extras]
assert set(softeq_jax.__all__) <= set(dir(softeq_jax)) and not hasattr(softeq_jax, "nothing")
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(softeq_jax.__file__)
print(sorted(name for name in new if name not in ("softeq_jax", "jax", "jaxlib", "numpy")
             and name not in sys.stdlib_module_names))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    env = os.environ | {"PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (path,) = folder.glob("softeq_jax-*.whl")
    return path


@pytest.mark.slow(10)
def test_the_wheel_holds_the_library_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith("/METADATA")]
        (scripts,) = [name for name in names if name.endswith("/entry_points.txt")]
        assert "softeq = softeq_jax.cli:main" in archive.read(scripts).decode()
        fields = email.message_from_bytes(archive.read(metadata))
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"softeq_jax"}
    present = {str(pathlib.PurePosixPath(name).parent) for name in names}
    sources = {str(path.parent.relative_to(ROOT)) for path in (ROOT / "softeq_jax").rglob("*.py")}
    assert sources <= present
    assert "softeq_jax/py.typed" in names
    assert fields["Name"] == "softeq-jax"
    assert fields["Author"] == "The softeq_jax developers"
    assert {"jax", "equivariance", "symmetry"} <= set(fields["Keywords"].split(","))
    assert "Typing :: Typed" in fields.get_all("Classifier")
    assert "Apache-2.0" in (fields["License-Expression"], fields["License"])
    named = "models train figures hub experiments medmnist notebooks docs torch dev"
    extras = set(named.split())
    assert set(fields.get_all("Provides-Extra")) == extras
    bare = [need for need in fields.get_all("Requires-Dist") if "extra" not in need]
    assert {need.split(">")[0] for need in bare} == {"jax", "numpy", "scipy"}


@pytest.mark.slow
def test_importing_the_installed_wheel_needs_jax_and_numpy_only(wheel, tmp_path):
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True, timeout=120)
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    location, others = done.stdout.splitlines()
    assert location.startswith(str(target))
    assert others == "[]"
