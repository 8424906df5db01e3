"""Choice of strengths, tables, figures and the animation of the smoke study."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.ticker import MultipleLocator, NullFormatter, StrMethodFormatter

from experiments.shared import strengths
from experiments.shared.figures import finish, plt, save
from experiments.shared.scatter import GRAY, at_edge, exact_edge, mark_edge
from experiments.shared.studies import Line, Metric, Tables
from experiments.smoke import simulator
from softeq_jax._atomic import replacing
from softeq_jax._text import plural

CONDITION = "asymmetry"
ROLLOUT = Metric("rollout", "rollout error (standard deviations)", "lower", log=True)
HELD_OUT = Metric("validation_rollout", "on held-out runs", "lower", log=True)
DEFECT = Metric("defect", "defect under C4", "lower", log=True, least=1e-7)
_SHOWN = (0.0, 1.0)  # asymmetries of the pictures
_SIDE, _FRAMES = 32, 48
_COLORS = {
    "strict": "#1b6ca8",
    "penalty": "#c1553b",
    "CNN": "#3a3a3a",
    "relaxed group convolution": "#5a9a4b",
}


def chosen_lines(lines: list[Line]) -> list[Line]:
    """At every asymmetry every method at the strength with the smallest error on held-out runs,
    named by the method; and the floors."""
    return strengths.at_the_best(lines, HELD_OUT, CONDITION)


def sections(lines: list[Line], tables: Tables) -> list[str]:
    """What the columns are, and all strengths that were tried."""
    del tables
    parts = [
        "Rollout error: root mean square over frames, cells and channels of rollouts from several "
        "frames of 16 test runs, new ones for every seed, in standard deviations of density and "
        "velocity. Defect: root mean square of f(g x) - g f(x) over C4, relative to f, the "
        "predicted change of a frame. Where several strengths were tried, the best on the held-out "
        "runs is compared.",
    ]
    return parts + strengths.table(lines, (HELD_OUT, ROLLOUT, DEFECT), CONDITION)


def draw(lines: list[Line], tables: Tables, path: Path, title: str) -> None:
    """Error against defect at every asymmetry; beside it frames of the smoke, and an animation."""
    del tables
    scatter(chosen_lines(lines), path, title)
    frames = _pictured()
    stem = path.with_suffix("").name
    picture(frames, path.with_name(f"{stem}_frames.png"))
    animation(frames, path.with_name(f"{stem}_frames.gif"))


def scatter(lines: list[Line], path: Path, title: str) -> None:
    """All compared runs, a panel an asymmetry; the methods of the claims have colors, others are
    gray. Networks that are equivariant to rounding stand together at the left edge."""
    asymmetries = sorted({line["asymmetry"] for line in lines})
    families = list(dict.fromkeys(line["family"] for line in lines if not line.get("floor")))
    figure, axes = plt.subplots(
        1, len(asymmetries), figsize=(3.6 * len(asymmetries) + 1, 4.6), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    edge = exact_edge([line["defect"] for line in lines if not line.get("floor")])
    for axis, asymmetry in zip(axes[0], asymmetries, strict=True):
        here = [line for line in lines if line["asymmetry"] == asymmetry]
        for family in families:
            those = [line for line in here if line.get("family") == family]
            strong = family in _COLORS
            axis.plot(
                [at_edge(line["defect"], edge) for line in those],
                [line["rollout"] for line in those],
                "o",
                color=_COLORS.get(family, GRAY),
                label=family if strong else None,
                alpha=0.85,
                ms=8 if strong else 5,
                zorder=3 if strong else 2,
            )
        floors = [line["rollout"] for line in here if line.get("floor")]
        if floors:
            axis.axhline(np.mean(floors), color="0.5", ls=":", lw=1)
        axis.set(xscale="log", yscale="log", xlabel=DEFECT.title)
        if edge is not None:
            mark_edge(axis, edge)
        axis.yaxis.set_major_locator(MultipleLocator(0.05))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:.2f}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_title(f"asymmetry {asymmetry:g} (dotted: persistence)", fontsize=9)
    others = sum(family not in _COLORS for family in families)
    if others:
        axes[0, 0].plot([], [], "o", color=GRAY, ms=5, label=f"{plural(others, 'other method')}")
    axes[0, 0].set_ylabel("rollout error (standard deviations)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    finish(figure, path, title)


def picture(frames: np.ndarray, path: Path) -> None:
    """The last frame with its velocities: a row an asymmetry, a column a direction."""
    figure, _ = _panels(frames, arrows=True)
    title = "One start turned to four directions: turned copies at 0, four different plumes at 1"
    save(figure, path, title)


def animation(frames: np.ndarray, path: Path) -> None:
    """The same as an animation, every second frame."""
    figure, images = _panels(frames, arrows=False)
    figure.set_layout_engine("none")
    writer = PillowWriter(fps=12)
    with tempfile.TemporaryDirectory() as folder, replacing(path) as partial:
        made = Path(folder) / "shown.gif"
        with writer.saving(figure, str(made), dpi=60):
            for frame in range(0, frames.shape[1], 2):
                for image, run in zip(images, frames, strict=True):
                    image.set_data(run[frame, ..., 0])
                writer.grab_frame()
        partial.write_bytes(made.read_bytes())
    plt.close(figure)


def _pictured() -> np.ndarray:
    """Frames of one start in four directions, at every shown asymmetry, ``[runs, frames, ...]``."""
    one = simulator.draw(np.random.default_rng(7), 1, _SIDE)
    four = [simulator.turned(one, quarters) for quarters in range(4)]
    start = simulator.Plume(*(np.concatenate(fields) for fields in zip(*four, strict=True)))
    constants = [simulator.SmokeConstants(asymmetry=a) for a in _SHOWN]
    return np.concatenate([simulator.simulate(start, _FRAMES, each) for each in constants])


def _panels(frames: np.ndarray, *, arrows: bool) -> tuple[Any, list[Any]]:
    figure, axes = plt.subplots(len(_SHOWN), 4, figsize=(8, 4.4), layout="constrained")
    images = []
    for number, (axis, run) in enumerate(zip(axes.flat, frames, strict=True)):
        last = run[-1]
        images.append(axis.imshow(last[..., 0], cmap="magma", vmin=0, vmax=frames[..., 0].max()))
        axis.set_axis_off()
        axis.set_title(f"asymmetry {_SHOWN[number // 4]:g}", fontsize=8)
        if arrows:
            places = np.arange(1, _SIDE, 3)
            across, up = last[1::3, 1::3, 1], last[1::3, 1::3, 2]
            axis.quiver(places, places, across, up, color="w", scale=8, width=0.006)
    return figure, images
