"""A network measured under rotations before and after its weights were changed."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from softeq_jax._text import plural, table
from softeq_jax.cli import _comparison, _images
from softeq_jax.cli._image_sources import ImageSource

if TYPE_CHECKING:
    from softeq_jax.models.weights import Pretrained


@dataclasses.dataclass(frozen=True)
class BeforeAfter:
    """A table of both, on the same images.

    Attributes:
      images: which.
      rows: under ``head``.
    """

    images: str
    rows: list[list[str]]
    head = ("measure", "degrees", "before", "after", "change", "standard error")

    def text(self) -> str:
        """The table for a terminal."""
        return f"{self.images}\n{table(self.head, self.rows, right='-rrrrr')}"


def before_and_after(
    arguments: argparse.Namespace, source: ImageSource, before: "Pretrained", after: "Pretrained"
) -> BeforeAfter:
    """Measures two states of a network on the same images.

    Raises:
      ValueError, ImportError: see ``_images.read_for``.
    """
    images, _ = _images.read_for(after, source, arguments)
    first, second = (
        _comparison.measured(network, images, arguments, local=False) for network in (before, after)
    )
    n, side = images.pixels.shape[:2]
    name = Path(arguments.data).name
    text = (
        f"{n:,} of {plural(source.length, 'image')} of {name}, {side} x {side} pixels; the "
        "standard error of the change is over images"
    )
    return BeforeAfter(text, _comparison.cells(_comparison.paired(first, second, arguments.angles)))
