"""Sources of images: arrays, folders of files, prepared TFDS data sets."""

import contextlib
import logging
import os
import re
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softeq_jax._text import plural

HELP = (
    "a prepared TFDS data set by name (cifar10:test) or by its folder, a folder of image files (in "
    "folders by class, if they have labels), or an .npy or .npz file of images [n, h, w, c], uint8 "
    "or in [0, 1] (npz: images, labels)"
)
# What Pillow registers, but reads no pixels of by itself.
_NO_PICTURES = ("BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF")
# What NumPy and zipfile raise over damaged files.
_BROKEN = (
    *(ValueError, EOFError, OSError, RuntimeError, LookupError, TypeError, MemoryError),
    *(ArithmeticError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
_SPLIT = re.compile(r"(.+):([^:\[\]/]+(?:\[[^\[\]]*\])?)?")  # name:train, name:train[:100]
_SPLITS = ("test", "validation", "train")


class Record(NamedTuple):
    """One image.

    Attributes:
      what: what to call it in messages.
      image: an array, ``[h, w]`` or ``[h, w, c]``.
      label: an integer, or None.
    """

    what: str
    image: Any
    label: int | None


class ImageSource(NamedTuple):
    """Images by number.

    Attributes:
      name: what to call it in messages.
      length: how many there are.
      get: from a number to the image.
      note: what was passed over, or nothing.
      classes: what labels mean, where they are folders of a folder, in the order of their names.
      count: of the classes, 0 without labels, or where nothing tells.
    """

    name: str
    length: int
    get: Callable[[int], Record]
    note: str = ""
    classes: tuple[str, ...] = ()
    count: int = 0


def open_images(data: str, data_dir: str | None) -> ImageSource:
    """Opens the images that ``data`` names.

    Args:
      data: see ``HELP``; ``:split`` or ``:split[:100]`` may follow the name or the folder of a TFDS
        data set.
      data_dir: where TFDS data sets are, and nothing else is looked at; None: where TFDS looks.

    Raises:
      FileNotFoundError: no such file, folder or data set, or a folder without images.
      ValueError: a file of another kind, an array of another kind, no such split, or a split of
        what has none.
      ImportError: Pillow or TFDS is needed and not installed.
    """
    found = _SPLIT.fullmatch(data)
    name, split = (found[1], found[2] or "") if found else (data, "")
    whole = Path(data).exists()
    path = Path(data) if whole else Path(name)
    if path.is_dir() and _versions(path) and data_dir is None:
        return _tfds(path, "" if whole else split)
    if path.exists() and data_dir is None:
        if split and not whole:
            raise ValueError(f"{path}: only TFDS data sets have splits, got {split!r}")
        return _arrays(path) if path.is_file() else _folder(path)
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    root = Path(data_dir or default).expanduser()
    if _versions(root / name):
        return _tfds(root / name, split)
    raise FileNotFoundError(
        f"{data}: no such file or folder, and no prepared TFDS data set {root / name}"
    )


def _arrays(path: Path) -> ImageSource:
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"{path}: expected an .npy or .npz file of images, or a folder")
    try:
        loaded = np.load(path, allow_pickle=False)
        names = ["images"] if isinstance(loaded, np.ndarray) else list(loaded)
        wanted = [name for name in ("images", "labels") if name in names]
        arrays = {n: loaded if isinstance(loaded, np.ndarray) else loaded[n] for n in wanted}
    except _BROKEN as error:
        raise ValueError(f"{path}: not a readable {path.suffix} file ({error})") from error
    if "images" not in arrays:
        raise ValueError(f"{path}: expected an array 'images', it has {', '.join(names)}")
    images, labels = arrays["images"], arrays.get("labels")
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(f"{path}: images must be [n, h, w, c], got shape {images.shape}")
    if labels is not None and (
        labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer)
    ):
        raise ValueError(
            f"{path}: labels must be {len(images)} integers, got {labels.dtype}{list(labels.shape)}"
        )

    def get(index: int) -> Record:
        label = None if labels is None else int(labels[index])
        return Record(f"{path}: image {index}", images[index], label)

    count = 0 if labels is None or not labels.size else int(labels.max()) + 1
    return ImageSource(str(path), len(images), get, count=count)


def _folder(path: Path) -> ImageSource:
    """All image files at any depth, in the order of their paths, but for hidden ones.

    Those are what systems leave beside images, such as ``._1.jpg`` or what is in ``__MACOSX``. If
    all images lie in folders of the folder, these are classes.
    """
    from PIL import Image

    from softeq_jax.data import read_picture

    kinds = {k for k, f in Image.registered_extensions().items() if f not in _NO_PICTURES}
    kinds &= {k for k, f in Image.registered_extensions().items() if f in Image.OPEN}
    inside = sorted(file for file in path.rglob("*") if file.is_file())
    seen = [file for file in inside if not _is_hidden(file.relative_to(path))]
    files = [file for file in seen if file.suffix.lower() in kinds]
    note = _passed_over(len(inside) - len(seen), len(seen) - len(files))
    if not files:
        raise FileNotFoundError(
            f"{path}: holds no image files and no prepared TFDS data set"
            f"{f' ({note})' if note else ''}"
        )

    places = [file.relative_to(path).parts for file in files]
    flat = any(len(parts) == 1 for parts in places)
    classes = () if flat else tuple(sorted({parts[0] for parts in places}))
    numbers = {name: number for number, name in enumerate(classes)}

    def get(index: int) -> Record:
        try:
            pixels = read_picture(files[index].read_bytes())
        except ValueError as error:
            raise ValueError(f"{files[index]}: not a readable image ({error})") from error
        return Record(str(files[index]), pixels, numbers.get(places[index][0]))

    return ImageSource(str(path), len(files), get, note, classes, len(classes))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _passed_over(hidden: int, others: int) -> str:
    """What of a folder is not looked at, in words."""
    parts = []
    if hidden:
        parts.append(plural(hidden, "hidden file"))
    if others:
        parts.append(
            "1 file that is no image" if others == 1 else f"{others:,} files that are no images"
        )
    return f"passed over {' and '.join(parts)}" if parts else ""


@contextlib.contextmanager
def _naming(what: str) -> Iterator[None]:
    """Puts words before whatever other packages raise over damaged files."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(f"{what} ({type(error).__name__}: {error})") from error


def _versions(path: Path) -> list[Path]:
    """The prepared data sets in a folder: itself, or its versions, the newest last."""
    if (path / "dataset_info.json").is_file():
        return [path]
    found = [info.parent for info in path.glob("*/dataset_info.json")]
    return sorted(found, key=lambda folder: _numbers(folder.name))


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _tfds(path: Path, split: str) -> ImageSource:
    logging.getLogger("absl").setLevel(logging.ERROR)  # it advises to install OpenCV
    import tensorflow_datasets as tfds

    folder = _versions(path)[-1]
    with _naming(f"{folder}: no prepared TFDS data set"):
        builder: Any = tfds.builder_from_directory(folder)
        have, features = builder.info.splits, builder.info.features
        fields = list(features)
    chosen = split or next((name for name in _SPLITS if name in have), "")
    name = f"{path}:{chosen}" if chosen else str(path)
    if chosen.split("[")[0] not in have:
        raise ValueError(f"{name}: no such split; it has {', '.join(sorted(have)) or 'none'}")
    if "image" not in fields:
        raise ValueError(
            f"{name}: expected a field 'image', its examples have {', '.join(map(str, fields))}"
        )
    with _naming(f"{name}: cannot be read at random"):
        examples = builder.as_data_source(chosen)

    def get(index: int) -> Record:
        with _naming(f"{name}: example {index} cannot be read"):
            example = examples[index]
        label = example.get("label")
        known = isinstance(label, int | np.integer) and label >= 0  # TFDS has -1 for "hidden"
        return Record(f"{name}: example {index}", example["image"], int(label) if known else None)

    label = features["label"] if "label" in fields else None
    count = int(getattr(label, "num_classes", None) or 0)
    return ImageSource(name, len(examples), get, count=count)
