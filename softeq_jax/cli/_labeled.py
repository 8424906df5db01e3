"""Labeled images to train on: their classes, what cannot be read, and what is held out."""

import dataclasses
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from softeq_jax._text import plural
from softeq_jax.cli._image_sources import ImageSource
from softeq_jax.cli._preparation import cropped
from softeq_jax.cli._progress import shown

if TYPE_CHECKING:
    from softeq_jax.models.weights import Preprocess

_NAMED = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Labeled:
    """Some images of a source, as ``softeq_jax.data`` reads them.

    Attributes:
      source: of the images.
      indices: which.
      meaning: from a label of the source to a class; None: they are the same.
      preprocess: how they are resized and cropped; they are not normalized.
    """

    source: ImageSource
    indices: np.ndarray
    meaning: np.ndarray | None
    preprocess: "Preprocess"

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """``image``, float32 ``[side, side, c]`` in [0, 1], and ``label``.

        Raises:
          ValueError: it cannot be read or prepared, or has no label; the message names it.
        """
        record = self.source.get(int(self.indices[int(index)]))
        if record.label is None:
            raise ValueError(f"{record.what}: has no label")
        try:
            image = cropped(record.image, self.preprocess)
        except ValueError as error:
            raise ValueError(f"{record.what}: {error}") from error
        label = record.label if self.meaning is None else self.meaning[record.label]
        return {"image": image, "label": np.int32(label)}


def check_classes(source: ImageSource, where: str) -> None:
    """Checks that a source has labels, of two classes at least.

    Raises:
      ValueError: it has not; the message says what was expected.
    """
    if not source.count:
        raise ValueError(
            f"{where} {source.name}: tells of no classes; expected a folder with a folder of "
            "images for each class and no images beside these, a TFDS data set with labels, or an "
            ".npz file with images and labels"
        )
    if source.count < 2:
        named = f" ({source.classes[0]})" if source.classes else ""
        raise ValueError(f"{where} {source.name}: has one class only{named}; expected two at least")


def readable(source: ImageSource, where: str, skip: bool) -> tuple[np.ndarray, str]:
    """The images of a folder that can be read, all of which are tried.

    Args:
      source: of the images; those of arrays and TFDS are taken for readable.
      where: the option that named it.
      skip: whether those that cannot be read are left out.

    Returns:
      Their indices, and a line about those that were left out, or nothing.

    Raises:
      ValueError: there are some that cannot be read, and they are not left out; or a class has none
        that can.
    """
    if not source.length:
        raise ValueError(f"{where} {source.name}: holds no images")
    if not source.classes:
        return np.arange(source.length), ""
    good, bad, seen = [], [], set()
    for index in shown(range(source.length), "image"):
        try:
            seen.add(source.get(index).label)
            good.append(index)
        except (ValueError, OSError) as error:
            bad.append(str(error))
    more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    named = f"{'; '.join(bad[:_NAMED])}{more}"
    count = f"{where} {source.name}: {len(bad)} of {plural(source.length, 'image')}"
    if bad and not skip:
        raise ValueError(
            f"{count} cannot be read: {named}. Repair or remove them, or leave them out with "
            "--skip-unreadable"
        )
    if empty := [name for number, name in enumerate(source.classes) if number not in seen]:
        raise ValueError(f"{count} cannot be read, none is left of {', '.join(empty)}: {named}")
    return np.array(good), f"{count} cannot be read and are left out: {named}" if bad else ""


def split(indices: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images to train on, and images that are held out: a share of them, one at least.

    Raises:
      ValueError: nothing is left to train on.
    """
    held = max(1, round(share * len(indices)))
    if held >= len(indices):
        raise ValueError(
            f"{plural(len(indices), 'image')} with {held} of them held out leave nothing to train "
            "on; give more images, or others to test on with --test"
        )
    order = np.random.default_rng(seed).permutation(indices)
    return np.sort(order[held:]), np.sort(order[:held])


def same_classes(train: ImageSource, test: ImageSource) -> np.ndarray | None:
    """From a label of images to test on to one of those to train on; None: they are the same.

    Raises:
      ValueError: there are others.
    """
    if not train.classes and not test.classes and test.count <= train.count:
        return None
    if test.classes and set(test.classes) <= set(train.classes):
        return np.array([train.classes.index(name) for name in test.classes])
    names = [", ".join(source.classes[:_NAMED]) or "no names" for source in (test, train)]
    raise ValueError(
        f"--test {test.name}: has {test.count} classes ({names[0]}), expected those of --data, "
        f"{train.count} ({names[1]})"
    )
