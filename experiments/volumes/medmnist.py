"""Volumes of MedMNIST 3-D (Yang et al. 2023) from its published file, turned by a cube's rotations.

A file has integers of 8 bits ``[n, 28, 28, 28]`` and labels ``[n, 1]`` for each of its parts. A
layer of zeros at the end of every axis makes the side odd, so that there is a middle voxel to turn
about; views are turned by drawn rotations that permute the voxels, exactly.
"""

import functools
from pathlib import Path

import numpy as np

import softeq_jax as sq
from experiments.shared.studies import Need, StudyError
from experiments.volumes.task import TURNS

PARTS = ("train", "val", "test")


def need(name: str, flag: str) -> Need:
    """The file of a data set, and how to get it.

    Args:
      name: of the file, "organmnist3d" for example.
      flag: name of the class in the package ``medmnist``.
    """
    how = (
        "pip install softeq-jax[medmnist], then python -c 'import medmnist; "
        f'medmnist.{flag}("train", download=True, root="DATA/medmnist")\''
    )
    return Need(f"medmnist/{name}.npz", how)


@functools.lru_cache(maxsize=6)
def volumes(
    path: Path, part: int, count: int, seed: int, turns: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Volumes from 0 to 1 of a part of the file, and their labels int32 ``[count]``.

    Args:
      path: of the file.
      part: 0 to train with, 1 held out, 2 to judge by.
      count: the first so many.
      seed: of the rotations.
      turns: how many turned views of every volume; 0 for the one in the file.

    Returns:
      float32 ``[count, max(turns, 1), side, side, side, 1]``, side odd, and the labels.

    Raises:
      StudyError: arrays that are not there, of another kind, or fewer volumes than asked for.
    """
    images, labels = _arrays(path, PARTS[part])
    if len(images) < count:
        raise StudyError(f"{path}: {count} volumes of {PARTS[part]} wanted, it has {len(images)}")
    scaled = images[:count].astype(np.float32)[..., None] / 255
    if images.shape[1] % 2 == 0:
        scaled = np.pad(scaled, [(0, 0), *[(0, 1)] * 3, (0, 0)])
    labels = labels[:count].reshape(-1).astype(np.int32)
    if not turns:
        return scaled[:, None], labels
    acting = sq.reps.voxels(TURNS, scaled.shape[1:4])
    elements = TURNS.elements()
    drawn = np.random.default_rng((seed, part)).integers(0, len(elements), (count, turns))
    views = np.empty((count, turns, *scaled.shape[1:]), np.float32)
    for number, element in enumerate(elements):
        those, view = np.nonzero(drawn == number)
        if len(those):
            views[those, view] = acting.apply(element, scaled[those], axes=(1, 2, 3))
    return views, labels


def _arrays(path: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as file:
        names = f"{part}_images", f"{part}_labels"
        missing = [name for name in names if name not in file]
        if missing:
            raise StudyError(f"{path} has no {' and '.join(missing)}, it has {sorted(file)}")
        images, labels = (file[name] for name in names)
    cube = images.ndim == 4 and len(set(images.shape[1:])) == 1
    if not cube or images.dtype != np.uint8 or labels.size != len(images):
        raise StudyError(
            f"{path}: expected uint8 [n, side, side, side] and n labels, got "
            f"{images.dtype} {list(images.shape)} and labels {list(labels.shape)}"
        )
    return images, labels
