"""The wheel with each extra alone: installed into a new environment, and what it promises imported.

    python -m experiments.install.extras                # without those that install PyTorch
    python -m experiments.install.extras --only models

Prints a line for each extra; the exit code is 1 if one of them fails.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

from experiments.install.environments import ROOT, Environment

_ONLY = flags.DEFINE_multi_string("only", None, "Extras to try; 'core' is none of them.")
_PINNED = flags.DEFINE_bool("pinned", False, "The versions of constraints.txt, not the newest.")

CORE = """
import softeq_jax as sq
P = sq.projector("h w", {"h w": sq.reps.image(sq.groups.so(2), (5, 5))}, cutoff=1.0)
assert P.rank() > 0 and sq.__version__[0].isdigit()
"""
WITHOUT = """
wanted = {"models.ViT": "models", "training.train": "train", "data.digits": "train"}
for name, extra in wanted.items():
    room, what = name.split(".")
    try:
        getattr(getattr(sq, room), what)
    except ImportError as error:
        assert f"softeq-jax[{extra}]" in str(error), error
    else:
        raise AssertionError(f"sq.{name} needs no extra")
"""
MODELS = """
import subprocess
sq.models.create("vit_ti16", image_size=32), sq.nn.BlurPool, sq.models.load
assert "vit_ti16" in subprocess.run(["softeq", "models"], capture_output=True, text=True).stdout
"""
TRAIN = "sq.training.train, sq.training.config, sq.training.checkpoints, sq.data.train_batches\n"
FIGURES = "import matplotlib; sq.measures.figures\n"
PROMISES = {
    "core": WITHOUT,
    "models": MODELS,
    "hub": "import huggingface_hub\n",
    "train": TRAIN,
    "figures": FIGURES,
    "experiments": MODELS + TRAIN + FIGURES + "import rich; sq.data.digits()\n",
    "medmnist": "import medmnist\n",
    "notebooks": "import jupyterlab; sq.data.digits()\n",
    "docs": "import mkdocs, mkdocs_jupyter, mkdocstrings, material\n",
    "dev": MODELS + TRAIN + FIGURES + "import pytest, hypothesis, equinox, chex, mkdocs, build\n",
    "torch": "import torch, timm, transformers\n",
}
HEAVY = ("torch", "medmnist")
"""Not tried unless they are named: both install PyTorch."""


def built(folder: Path) -> Path:
    """The wheel of this clone."""
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("softeq_jax-*.whl")
    return wheel


def tried(extra: str, wheel: Path, folder: Path) -> str:
    """What came of an extra: nothing, or what went wrong."""
    environment = Environment(folder / "environment")
    constraints = ["-c", str(ROOT / "constraints.txt")] if _PINNED.value else []
    try:
        environment.install(f"{wheel}[{extra}]" if extra != "core" else str(wheel), *constraints)
    except RuntimeError as error:
        return str(error)
    done = environment.run(["-c", CORE + PROMISES[extra]], cwd=folder)
    return done.stderr[-1500:] if done.returncode else ""


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    chosen = _ONLY.value or [extra for extra in PROMISES if extra not in HEAVY]
    if unknown := set(chosen) - set(PROMISES):
        raise app.UsageError(f"--only: {sorted(unknown)}; there are {', '.join(PROMISES)}")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        wheel = built(Path(folder))
        for extra in chosen:
            start = time.monotonic()
            with tempfile.TemporaryDirectory() as place:
                fault = tried(extra, wheel, Path(place))
            failed |= bool(fault)
            seconds = time.monotonic() - start
            print(f"{extra:12} {'FAILED' if fault else 'ok':7} {seconds:4.0f} s", flush=True)
            if fault:
                print(fault, file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    app.run(main)
