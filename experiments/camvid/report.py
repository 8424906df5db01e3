"""Differences of mIoU with intervals over stretches of the test drives."""

import numpy as np

from experiments.shared.report import markdown_table
from experiments.shared.statistics import block_interval
from experiments.shared.studies import Line, Tables

REFERENCE = "free, augmented"


def sections(lines: list[Line], tables: Tables) -> list[str]:
    """Every row against the augmented unfiltered one, the stretches drawn again."""
    counted = tables.get("blocks", [])
    if not counted:
        return []
    blocks = list(dict.fromkeys(line["block"] for line in counted))
    cells = []
    for row in dict.fromkeys(line["row"] for line in counted):
        family, network = row.split(" on ")
        reference = f"{REFERENCE} on {network}"
        mine, theirs = _sums(counted, row, blocks), _sums(counted, reference, blocks)
        seeds = sorted(mine.keys() & theirs.keys())
        if family == REFERENCE or not seeds:
            continue

        def gain(chosen: np.ndarray) -> float:
            pairs = [(mine[seed], theirs[seed]) for seed in seeds]  # noqa: B023
            return float(np.mean([_iou(a, chosen) - _iou(b, chosen) for a, b in pairs]))

        found = block_interval(gain, blocks)
        value = f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
        cells.append((row, reference, str(len(seeds)), value))
    head = ("row", "against", "seeds", "mIoU, points")
    said = (
        f"Mean over seeds; 95 % intervals over {len(blocks)} stretches of ten seconds of the test "
        "drives, drawn again 2,000 times with these networks. They tell how much the test images "
        "decide, the intervals of the table how much the seeds do."
    )
    return ["## Test drives drawn again", markdown_table(head, *cells), said]


def _sums(
    counted: list[Line], row: str, blocks: list[str]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Seed to pixels ``[block, class]`` that are a class and called it, and that are either."""
    mine = [line for line in counted if line["row"] == row]
    classes = 1 + max(int(line["class"]) for line in counted)
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for line in mine:
        empty = (np.zeros((len(blocks), classes)), np.zeros((len(blocks), classes)))
        both, either = found.setdefault(int(line["seed"]), empty)
        where = blocks.index(line["block"]), int(line["class"])
        both[where], either[where] = line["both"], line["either"]
    return found


def _iou(sums: tuple[np.ndarray, np.ndarray], chosen: np.ndarray) -> float:
    """Mean IoU in per cent over the classes that occur in the chosen blocks."""
    both, either = (part[chosen].sum(axis=0) for part in sums)
    return float(100 * np.mean(both[either > 0] / either[either > 0]))
