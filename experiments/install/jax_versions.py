"""The fast tests on the oldest JAX that the library claims and on the newest of the registry.

    python -m experiments.install.jax_versions                      # 0.10.0, newest
    python -m experiments.install.jax_versions --versions newest -- -k projector

What follows ``--`` goes to pytest. All else has the versions of ``constraints.txt``. Prints a
line for each version; the exit code is 1 if one of them fails.
"""

import re
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

from experiments.install.environments import ROOT, Environment

_VERSIONS = flags.DEFINE_list("versions", ["0.10.0", "newest"], "Of jax.")

OWN = re.compile(r"^(jax|jaxlib|ml_dtypes)==")


def tested(version: str, folder: Path, pytest: list[str]) -> tuple[str, bool]:
    """(what was installed and the last line of the tests, whether they passed)."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pin for pin in pins if not OWN.match(pin)), encoding="utf-8")
    environment = Environment(folder / "environment")
    wanted = "jax" if version == "newest" else f"jax=={version}"
    environment.install("-e", f"{ROOT}[dev]", wanted, "-c", str(constraints))
    versions = "import jax, jaxlib; print(f'jax {jax.__version__}, jaxlib {jaxlib.__version__}')"
    installed = environment.run(["-c", versions]).stdout.strip()
    done = environment.run(["-m", "pytest", "-q", "-m", "not slow", *pytest], cwd=ROOT)
    lines = [line for line in done.stdout.splitlines() if line.strip()] or [done.stderr[-500:]]
    if done.returncode:
        print("\n".join(lines[-30:]), file=sys.stderr)
    return f"{installed}: {lines[-1]}", done.returncode == 0


def main(argv: list[str]) -> None:
    failed = False
    for version in _VERSIONS.value:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            line, passed = tested(version, Path(folder), argv[1:])
        failed |= not passed
        print(f"{line}, {time.monotonic() - start:.0f} s with installing", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    app.run(main)
