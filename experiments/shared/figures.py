"""How figures of all studies look, and how they are saved (no screen is needed)."""

import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def finish(figure: Figure, path: Path, title: str | None = None) -> None:
    """A light grid behind the curves, no frame above and to the right; then `save`."""
    for axis in figure.axes:
        axis.grid(color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    if title is not None:
        figure.suptitle(title)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Writes the figure and forgets it."""
    figure.savefig(path, dpi=150)
    plt.close(figure)
