"""A network as the functions of images that are measured."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from softeq_jax.cli._progress import shown

if TYPE_CHECKING:
    from softeq_jax.measures import LieErrors

GENERATORS = ("translation_x", "translation_y", "rotation", "scale")


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network with fixed variables.

    Attributes:
      f: images to outputs.
      features: images to pooled features ``[n, c]``, None where outputs are maps.
      classes: how many, where outputs are their logits, else 0.
      output: layout of the outputs, ``"image"`` or ``"invariant"``.
    """

    f: Any
    features: Any
    classes: int
    output: str

    @property
    def unit(self) -> str:
        """What local errors are measured of."""
        return "probabilities" if self.classes else "outputs"


def subject(model: Any, variables: Any, pixels: np.ndarray) -> Subject:
    """A network on images like these.

    Raises:
      ValueError: it does not take them.
    """
    import jax

    from softeq_jax import measures

    f = measures.linen(model, variables)
    shape = jax.eval_shape(f, pixels).shape
    scores = len(shape) == 2 and bool(getattr(model, "num_classes", 0))
    pooled = measures.linen(model.clone(num_classes=0), variables) if scores else f
    features = pooled if len(shape) == 2 else None
    output = "image" if len(shape) == 4 else "invariant"
    return Subject(f, features, shape[1] if scores else 0, output)


def lie_errors(subject: Subject, pixels: np.ndarray, batch_size: int) -> "dict[str, LieErrors]":
    """``measures.lie_errors`` in batches, so that there is something to show in between."""
    from softeq_jax import measures

    head = "probabilities" if subject.classes else "logits"
    found: list[dict[str, Any]] = []
    for piece, real in shown(list(measures.batches(pixels, batch_size)), "batch"):
        errors = measures.lie_errors(subject.f, piece, GENERATORS, output=subject.output, head=head)
        found.append({name: (error, real) for name, error in errors.items()})
    return {name: _joined([piece[name] for piece in found]) for name in GENERATORS}


def _joined(pieces: "list[tuple[LieErrors, int]]") -> "LieErrors":
    first = pieces[0][0]
    arrays = {
        field.name: np.concatenate([getattr(errors, field.name)[:real] for errors, real in pieces])
        for field in dataclasses.fields(first)
        if field.name != "entries"
    }
    return dataclasses.replace(first, **arrays)
