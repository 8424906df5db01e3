"""New virtual environments, each in a folder of its own, and programs run in them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Environment:
    """A virtual environment with nothing in it."""

    def __init__(self, folder: Path):
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        self.python = folder / "bin" / "python"

    def install(self, *arguments: str) -> None:
        """``pip install`` with these arguments.

        Raises:
          RuntimeError: pip failed, with the end of what it said.
        """
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = self.run([*pip, *arguments])
        if done.returncode:
            raise RuntimeError(f"pip install {' '.join(arguments)}: {done.stderr[-1500:]}")

    def run(
        self, arguments: Sequence[str], cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Python with these arguments, and no other place to import from than the environment."""
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        variables["PATH"] = f"{self.python.parent}{os.pathsep}{variables['PATH']}"
        return subprocess.run(
            [str(self.python), *arguments], cwd=cwd, env=variables, capture_output=True, text=True
        )
