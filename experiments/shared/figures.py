"""How figures of all studies look, and how they are saved (no screen is needed)."""

import os
import textwrap
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from softeq_jax._atomic import replacing


def finish(figure: Figure, path: Path, title: str | None = None) -> None:
    """A light grid behind the curves, no frame above and to the right; then `save`."""
    for axis in figure.axes:
        axis.grid(color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    save(figure, path, title)


def save(figure: Figure, path: Path, title: str | None = None) -> None:
    """Writes the figure, its message in its title, and forgets it."""
    if title is not None:
        width = int(11 * figure.get_figwidth())  # letters in a line
        figure.suptitle("\n".join(textwrap.wrap(title, width)), fontsize=11)
    with replacing(path) as partial:
        figure.savefig(partial, format=path.suffix[1:], dpi=150)
    plt.close(figure)


def waiting(path: Path, title: str, what: str) -> None:
    """A figure without data, which says what it waits for."""
    figure, axis = plt.subplots(figsize=(7, 2), layout="constrained")
    axis.text(0.5, 0.5, what, ha="center", va="center")
    axis.set_axis_off()
    save(figure, path, title)
