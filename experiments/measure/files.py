"""Measures of any list of published files, one row a network, as a study made on the fly."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.measure import subject as of
from experiments.shared.report import markdown_table
from experiments.shared.runs import data_digest, file_digest
from experiments.shared.studies import (
    Line,
    Metric,
    Preset,
    Record,
    Run,
    Settings,
    Study,
    StudyError,
    Tables,
)

PRESET = "files"
MEASURED: dict[str, Any] = {
    "images": 128,
    "stencils": ["central"],
    "low_pass": [1.0, 0.5],
    "heads": ["probabilities", "logits"],
    "draws": 2,
    "consistency_images": 512,
    "accuracy_images": 0,
    "batch_size": 16,
    "side": 0,
}
"""What is measured, unless said otherwise."""


def names_of(weights: Sequence[Path]) -> dict[str, Path]:
    """A name for every file or folder: its own, or of `model.safetensors` that of its folder.

    Raises:
      StudyError: one is not there, or given twice.
    """
    found: dict[str, Path] = {}
    seen: set[Path] = set()
    for path in weights:
        whole = path.resolve()
        if not path.exists():
            raise StudyError(
                f"{path} is not there: expected a .safetensors file, or a folder of one"
            )
        if whole in seen:
            raise StudyError(f"{path} is given twice")
        seen.add(whole)
        name = whole.parent.name if whole.stem == "model" else whole.stem
        found[str(path) if name in found else name] = path
    return found


def study_of(weights: Sequence[Path], data: Path, settings: Settings, workdir: Path) -> Study:
    """The study of these files; those that the work directory has measured stay in its table.

    Args:
      weights: what `models.load` reads.
      data: a prepared TFDS data set, the folder `.../name`.
      settings: as `MEASURED`.
      workdir: of the study.

    Raises:
      StudyError: files or data that are not there.
    """
    if not any(data.glob("*/dataset_info.json")):
        raise StudyError(
            f"{data} is no prepared data set: expected {data}/<version>/dataset_info.json"
        )
    rows: dict[str, Settings] = earlier(workdir)
    for name, path in names_of(weights).items():
        digest = data_digest(path) if path.is_dir() else file_digest(path)
        rows[name] = {"weights": str(path.resolve()), "digest": digest}
    own = {**settings, "data": str(data.resolve()), "data_digest": data_digest(data)}
    given = " ".join(map(str, weights))
    return Study(
        name="measure",
        title=f"{data.name}: {len(rows)} networks measured",
        claims=(),
        presets={PRESET: Preset(own, 1, {"rows": rows}, note="")},
        rows=lambda settings: settings["rows"],
        run=measure,
        metrics=METRICS,
        defect="lee_translation",
        sections=sections,
        command=f"python -m experiments.measure --weights {given} --data {data}",
    )


def earlier(workdir: Path) -> dict[str, Settings]:
    """Rows that a work directory has measured, with their own settings."""
    found = {}
    for path in sorted(workdir.glob("runs/*/0.json")):
        try:
            made_with = json.loads(path.read_text())["made_with"]
        except (json.JSONDecodeError, KeyError) as error:
            raise StudyError(f"{path} is no record of a run ({error}): remove it") from error
        own = made_with["settings"]
        found[made_with["row"]] = {key: own[key] for key in ("weights", "digest")}
    return found


METRICS = (
    Metric("accuracy", "accuracy (%)", "higher", digits=2),
    Metric("consistency", "prediction consistency", "higher", digits=4),
    Metric("lee_translation", "LEE of translations (per pixel^2)", "lower", log=True),
    Metric("lee_rotation", "LEE of rotation (per radian^2)", "lower", log=True),
    Metric("phases", "translations over randomised phases", "lower", log=True),
    Metric("parameters", "parameters", "", digits=0),
)


def measure(run: Run) -> Record:
    """All measures of one file."""
    settings = run.settings
    data = Path(settings["data"])
    subject = of.published(
        Path(settings["weights"]),
        data.parent,
        data.name,
        settings["accuracy_images"],
        settings["side"],
    )
    lie = of.lie_rows(subject, settings)
    controls = of.control_rows(subject, settings)
    side = subject.images.shape[1]
    found = {
        "accuracy": subject.accuracy(settings["batch_size"]),
        "consistency": subject.consistency(
            settings["consistency_images"], max(1, side // 8), settings["batch_size"]
        ),
        **of.headline(lie, subject.classifies),
        **of.control_headline(controls),
        "parameters": subject.parameters(),
        "images": len(subject.images),
    }
    kept = {key: value for key, value in found.items() if math.isfinite(value)}
    return Record(kept, {"lie": lie, "controls": controls})


def sections(lines: list[Line], tables: Tables) -> list[str]:
    """LEE of every network by generator."""
    rows = [
        row for row in tables.get("lie", []) if row["low_pass"] == 1 and row["stencil"] == "central"
    ]
    if not rows:
        return []
    heads: Mapping[str, str] = {
        line["row"]: "probabilities" if "accuracy" in line else "logits" for line in lines
    }
    generators = list(dict.fromkeys(row["generator"] for row in rows))
    cells = []
    for name, head in heads.items():
        mine = {
            row["generator"]: f"{row['mean_sq']:.3g} ± {row['mean_sq_se']:.1g}"
            for row in rows
            if (row["row"], row["head"]) == (name, head)
        }
        cells.append((name, *(mine.get(generator, "-") for generator in generators)))
    head = ("network", *(generator.replace("_", " ") for generator in generators))
    said = (
        "Mean squares of probabilities (of features themselves, where a network has no classes), "
        "per pixel or radian, with standard errors over images. Of networks with other numbers of "
        "classes or images of another size the numbers are no counterparts."
    )
    return ["## Local equivariance error by generator", said, markdown_table(head, *cells)]
