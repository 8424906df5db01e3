"""Images of a data set as a published network takes them, before normalization."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from softeq_jax import data, models


def as_taken(
    source: Any, indices: Sequence[int], preprocess: models.Preprocess
) -> tuple[np.ndarray, np.ndarray]:
    """Examples of a source, resized and cropped as the preprocessing says, and their labels.

    Returns:
      uint8 ``[n, side, side, 3]``, int ``[n]``.
    """
    size = preprocess.resize
    short = size if preprocess.keep_aspect else (size, size)
    steps = (
        data.Resize(short, preprocess.interpolation),
        data.CenterCrop(preprocess.image_size),
    )
    side, unused = preprocess.image_size, np.random.default_rng(0)
    images = np.empty((len(indices), side, side, 3), np.uint8)
    labels = np.empty(len(indices), np.int64)
    for i, index in enumerate(indices):
        record = source[index]
        example = {"image": record["image"]}
        for step in steps:
            example = step(example, unused)
        images[i], labels[i] = example["image"], record["label"]
    return images, labels
