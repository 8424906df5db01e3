"""The classes of images as those of a network, which may need a new head."""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np

from softeq_jax.cli import _arguments, _images
from softeq_jax.cli._image_sources import ImageSource
from softeq_jax.cli._provenance import Provenance

if TYPE_CHECKING:
    from softeq_jax.models.weights import Origin, Pretrained


@dataclasses.dataclass(frozen=True, eq=False)
class Headed:
    """A network whose classes are those of images.

    Attributes:
      network: with a head that fits.
      meaning: from a label of the images to a class; None: they are the same.
      names: of the classes, where they are known.
      said: what became of the head.
    """

    network: "Pretrained"
    meaning: np.ndarray | None
    names: tuple[str, ...]
    said: str

    @property
    def fresh(self) -> tuple[str, ...]:
        """Paths of the parameters that were started anew."""
        return tuple(row.path.removeprefix("params/") for row in self.network.report.reset)


def headed(
    arguments: argparse.Namespace,
    network: "Pretrained",
    source: ImageSource,
    made: Provenance | None,
) -> Headed:
    """Keeps the head of a network if it has the classes of the images; else it gets a new one.

    Raises:
      ValueError: the network is no classifier.
    """
    count = getattr(network.model, "num_classes", None)
    if count is None:
        raise ValueError(
            f"{arguments.weights}: {network.report.model} has a class for every pixel; expected a "
            "network of whole images"
        )
    known = () if made is None else tuple(made.classes)
    meaning = _images.meaning(source, made, count) if source.classes else None
    fits = meaning is not None if source.classes else source.count == count
    if fits and not arguments.new_head:
        order = ", in the order of the folders' names" if source.classes and not known else ""
        said = f"the head for {count} classes is kept{order}"
        return Headed(network, meaning, known or source.classes, said)
    new = _arguments.load(arguments, num_classes=source.count, reset_head=True, seed=arguments.seed)
    place = f"in place of that for {count}" if count else "since there was none"
    new = dataclasses.replace(new, origin=_named(new, source.classes))
    return Headed(new, None, source.classes, f"a new head for {source.count} classes, {place}")


def _named(network: "Pretrained", names: tuple[str, ...]) -> "Origin":
    """The origin with the names of the classes in a ``config.json`` that has room for them."""
    origin = network.origin
    config = None if origin.config is None else json.loads(origin.config)
    if not names or not config or "id2label" not in config:
        return origin
    config["id2label"] = dict(enumerate(names))
    config["label2id"] = {name: number for number, name in enumerate(names)}
    return dataclasses.replace(origin, config=json.dumps(config, indent=2) + "\n")
