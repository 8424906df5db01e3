"""One network and the images it is measured on: published files, and what is measured of them."""

import dataclasses
import functools
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from experiments.shared.network_inputs import as_taken
from experiments.shared.studies import Settings, StudyError
from softeq_jax import data, measures, models

Tree = Any
Row = dict[str, Any]

FLOWS = (
    *("translation_x", "translation_y", "rotation", "shear_x", "shear_y"),
    *("stretch_x", "stretch_y"),
)
EIGHT: tuple[Any, ...] = (*FLOWS, measures.color("contrast"))
"""The generators of the published end-to-end comparison; its "saturation" scales all values."""

TRANSLATIONS = ("translation_x", "translation_y")
CONTROLLED = (*TRANSLATIONS, "rotation")
"""Generators along which LEE is related to its controls."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network with images.

    Attributes:
      model: Linen module, called as `VisionModel`.
      variables: its variables.
      images: uint8 ``[n, side, side, 3]``.
      labels: int ``[n]``.
      mean: of the normalization, of values in [0, 1].
      std: of the same.
      classifies: whether the outputs are scores of the labels.
    """

    model: nn.Module
    variables: Mapping[str, Tree]
    images: np.ndarray
    labels: np.ndarray
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classifies: bool = True

    @property
    def function(self) -> Any:
        """Normalized images to outputs, with modules named; compiled once for all weights."""
        return measures.linen(self.model, self.variables, train=False)

    def inputs(self, start: int, stop: int) -> np.ndarray:
        """Images as the network takes them, float32."""
        mean, std = (np.array(x, np.float32) for x in (self.mean, self.std))
        return (self.images[start:stop] / np.float32(255) - mean) / std

    def outputs(self, batch_size: int) -> np.ndarray:
        """Of all images, float32 ``[n, c]``; the last batch is filled up."""
        apply = _forward(self.model)
        found = []
        for start in range(0, len(self.images), batch_size):
            part = self.inputs(start, start + batch_size)
            filled = np.resize(part, (batch_size, *part.shape[1:]))
            found.append(np.asarray(apply(self.variables, filled))[: len(part)])
        return np.concatenate(found)

    def accuracy(self, batch_size: int) -> float:
        """Per cent of the images whose largest output is the label; NaN for features."""
        if not self.classifies:
            return math.nan
        return float(100 * np.mean(self.outputs(batch_size).argmax(-1) == self.labels))

    def consistency(self, count: int, reach: int, batch_size: int) -> float:
        """Share of pairs of shifted crops that are classified alike; NaN for features.

        Args:
          count: images.
          reach: pixels that a crop moves at most, along both axes.
          batch_size: images at a time.
        """
        if not self.classifies:
            return math.nan
        found = measures.consistency(
            self.function,
            self.inputs(0, count),
            boundary="crop",
            max_shift=reach,
            batch_size=batch_size,
        )
        assert found.crop is not None, "it was asked for"
        return found.crop.value

    def parameters(self) -> int:
        """How many parameters the network has."""
        return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(self.variables["params"]))


@functools.lru_cache(maxsize=4)
def _forward(model: nn.Module) -> Any:
    return jax.jit(lambda variables, images: model.apply(variables, images, train=False))


def published(weights: Path, data_dir: Path, name: str, count: int, side: int = 0) -> Subject:
    """A network of a file, with images of a prepared TFDS data set.

    Args:
      weights: what `models.load` reads.
      data_dir: folder that holds `name/<version>/`.
      name: of the data set.
      count: images, of the test (or validation) part in a fixed random order; 0: all.
      side: of the images; 0: what the network was trained at.

    Raises:
      StudyError: the file or the data cannot be read.
    """
    try:
        found = models.load(weights)
        how = found.preprocess
        if side:
            how = dataclasses.replace(
                how, image_size=side, resize=round(side * how.resize / how.image_size)
            )
        images, labels = pictures(data_dir, name, count, how)
    except (OSError, ValueError) as error:
        raise StudyError(f"{weights} on {name}: {error}".splitlines()[0]) from error
    classes = getattr(found.model, "num_classes", 0)
    return Subject(
        found.model,
        jax.tree.map(np.asarray, found.variables),
        images,
        labels,
        how.mean,
        how.std,
        classifies=bool(classes) and int(labels.max()) < classes,
    )


@functools.lru_cache(maxsize=2)
def pictures(
    data_dir: Path, name: str, count: int, preprocess: models.Preprocess
) -> tuple[np.ndarray, np.ndarray]:
    """Images of the test (or validation) part as a network takes them, before normalization.

    Returns:
      uint8 ``[count, side, side, 3]``, int ``[count]``, in a fixed random order.

    Raises:
      FileNotFoundError: no such data.
      ValueError: it has neither part.
    """
    try:
        source = data.open_source(name, "test", data_dir)
    except ValueError:
        source = data.open_source(name, "validation", data_dir)
    chosen = np.random.default_rng(0).permutation(len(source))[: count or len(source)]
    return as_taken(source, chosen.tolist(), preprocess)


def lie_rows(subject: Subject, settings: Settings) -> list[Row]:
    """LEE along the eight generators by head, stencil and share of the Nyquist frequency.

    Args:
      subject: the network.
      settings: `images`, `batch_size`, `stencils`, `low_pass` (1: images as they are), and `heads`,
        of which features have "logits" alone: themselves.
    """
    x, rows = subject.inputs(0, settings["images"]), []
    heads = settings["heads"] if subject.classifies else ["logits"]
    for share in settings["low_pass"]:
        seen = x if share == 1 else measures.low_pass(x, share, boundary="symmetric")
        for head in heads:
            for stencil in settings["stencils"]:
                found = measures.lie_errors(
                    subject.function,
                    np.asarray(seen),
                    list(EIGHT),
                    stencil=stencil,
                    head=head,
                    batch_size=settings["batch_size"],
                )
                for name, errors in found.items():
                    row = {"low_pass": share, "head": head, "stencil": stencil, "generator": name}
                    for metric in ("mean_sq", "mean_abs", "lipschitz"):
                        values = getattr(errors, metric)
                        row[metric], row[f"{metric}_se"] = measures.mean_and_error(values)
                    rows.append(row)
    return rows


def picked(rows: Sequence[Row], metric: str = "mean_sq", **values: Any) -> float:
    """The value of a row, or the mean over generators where several fit; NaN where none does."""
    generators = values.pop("generators", None)
    chosen = [
        row[metric]
        for row in rows
        if all(row[key] == value for key, value in values.items())
        and (generators is None or row["generator"] in generators)
    ]
    return float(np.mean(chosen)) if chosen else math.nan


def headline(rows: Sequence[Row], classifies: bool) -> dict[str, float]:
    """LEE of translations and of rotation, of probabilities (of features themselves)."""
    wanted = {"stencil": "central", "low_pass": 1.0}
    head = "probabilities" if classifies else "logits"
    return {
        "lee_translation": picked(rows, head=head, generators=TRANSLATIONS, **wanted),
        "lee_rotation": picked(rows, head=head, generators=("rotation",), **wanted),
    }


def control_rows(subject: Subject, settings: Settings, begun: Any = None) -> list[Row]:
    """LEE over what randomised phases give and, with variables before training, over that of those.

    Randomised phases: of the outputs as they are, whose scale cancels. Untrained: of probabilities
    (of features themselves).

    Args:
      subject: the network.
      settings: `images`, `batch_size` and `draws` of phases.
      begun: variables before training.
    """
    x, rows = subject.inputs(0, settings["images"]), []
    cases: dict[str, tuple[Any, str]] = {"phases": ("phases", "logits")}
    if begun is not None:
        head = "probabilities" if subject.classifies else "logits"
        cases["untrained"] = (measures.linen(subject.model, begun, train=False), head)
    for name, (control, head) in cases.items():
        found = measures.relative_lie_errors(
            subject.function,
            x,
            list(CONTROLLED),
            control=control,
            draws=settings["draws"],
            head=head,
            batch_size=settings["batch_size"],
        )
        for generator, errors in found.items():
            ratio = {"ratio": errors.ratio.value, "ratio_se": errors.ratio.standard_error}
            rows.append({"control": name, "head": head, "generator": generator} | ratio)
    return rows


def control_headline(rows: Sequence[Row]) -> dict[str, float]:
    """The ratios of translations, by control."""
    return {
        name: picked(rows, "ratio", control=name, generators=TRANSLATIONS)
        for name in dict.fromkeys(row["control"] for row in rows)
    }


def lee_in_forwards(subject: Subject, count: int, batch_size: int, repeats: int = 5) -> Row:
    """What LEE of the eight generators takes in units of the forward pass of the same images.

    Medians of repetitions in turn, after a first one of each that compiles.

    Args:
      subject: the network.
      count: images.
      batch_size: at a time.
      repeats: timed ones.
    """
    x, taken = subject.inputs(0, count), {"forward": [], "lee": []}
    apply = _forward(subject.model)

    def forward() -> None:
        for start in range(0, len(x), batch_size):
            jax.block_until_ready(apply(subject.variables, x[start : start + batch_size]))

    def lee() -> None:
        measures.lie_errors(subject.function, x, list(EIGHT), batch_size=batch_size)

    for number in range(repeats + 1):
        for name, what in (("forward", forward), ("lee", lee)):
            begun = time.perf_counter()
            what()
            if number:
                taken[name].append(time.perf_counter() - begun)
    one, other = (float(np.median(taken[name])) for name in ("forward", "lee"))
    planned = apply.lower(subject.variables, x[:batch_size]).compile().memory_analysis()
    held = (
        planned.argument_size_in_bytes + planned.output_size_in_bytes + planned.temp_size_in_bytes
    )
    return {"forward_ms": 1e3 * one, "lee_ms": 1e3 * other, "ratio": other / one, "bytes": held}
