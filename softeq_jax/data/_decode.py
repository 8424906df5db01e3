"""Encoded images and masks: decoding, crops that decode no more than they need, usual recipes."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from softeq_jax.data._examples import Example, Transform
from softeq_jax.data._geometric import CenterCrop, RandomFlip, Resize
from softeq_jax.data._photometric import IMAGENET_MEAN, IMAGENET_STD, Normalize, RandomErasing
from softeq_jax.data._pictures import PIL_ERRORS, eight_bits
from softeq_jax.data._pixels import (
    RESAMPLING,
    check_range,
    check_resample,
    check_size,
    image_of,
    mask_of,
    random_box,
    replaced,
    resized,
)
from softeq_jax.data._randaugment import RandAugment


@dataclass(frozen=True)
class Decode:
    """Encoded bytes (JPEG, PNG, ...) to an RGB image `[h, w, 3]`, uint8.

    Arrays are passed on as they are. Gray of 16 bits is scaled, see `read_picture`. An orientation
    noted in the file is not applied. Damage in the middle of compressed data may go unnoticed: JPEG
    decoders conceal it.

    Raises:
      ValueError: when called, the bytes are truncated or not an image, or one of floats or of
        integers without a known range.

    Example:
      >>> import softeq_jax as sq
      >>> import io
      >>> from PIL import Image
      >>> file = io.BytesIO()
      >>> Image.new("RGB", (4, 3), "white").save(file, "png")
      >>> sq.data.Decode()({"image": file.getvalue()}, None)["image"].shape
      (3, 4, 3)
    """

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if not isinstance(example.get("image"), bytes):
            image_of(example)
            return dict(example)
        return {**example, "image": decoded(example["image"], "image", _rgb)}


def read_picture(data: bytes, field: str = "image") -> np.ndarray:
    """Pixels of an encoded picture, uint8: `[h, w]` if it is gray, else RGB `[h, w, 3]`.

    Gray of 16 bits is scaled to 8, alpha is left out.

    Args:
      data: the bytes, in any format that Pillow reads.
      field: what to call them in messages.

    Raises:
      ValueError: they are truncated or not an image, or one of floats or of integers without a
        known range.

    Example:
      >>> import softeq_jax as sq
      >>> import io
      >>> from PIL import Image
      >>> file = io.BytesIO()
      >>> Image.new("L", (4, 3), 128).save(file, "png")
      >>> sq.data.read_picture(file.getvalue()).shape  # height and width
      (3, 4)
    """
    return decoded(data, field, eight_bits)


def decoded(
    data: bytes, field: str, converted: Callable[[Image.Image], Image.Image] = lambda p: p
) -> np.ndarray:
    """Pixels of an encoded picture, converted before.

    Raises:
      ValueError: the bytes are truncated or not an image; the message names `field`.
    """
    picture = opened(data, field)
    try:
        picture.load()
        return np.array(converted(picture))
    except PIL_ERRORS as error:
        raise _unreadable(data, field, error) from error


def _rgb(picture: Image.Image) -> Image.Image:
    return eight_bits(picture).convert("RGB")


def opened(data: bytes, field: str) -> Image.Image:
    """A picture of which only the header has been read; raises as `decoded`."""
    try:
        return Image.open(io.BytesIO(data))
    except PIL_ERRORS as error:
        raise _unreadable(data, field, error) from error


def _unreadable(data: bytes, field: str, error: Exception) -> ValueError:
    reason = str(error).split(" <_io")[0]
    return ValueError(f"{field}: {len(data)} bytes that cannot be decoded: {reason}")


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cuts out a part of random area and aspect, and resamples it to one size.

    The share of the image's area is uniform in `area`, width over height uniform in its logarithm
    in `aspect`, the place uniform; of ten draws the first that fits is used. If none does, it is
    the largest part in the middle whose aspect is allowed. Encoded JPEG images are decoded at 1/2,
    1/4 or 1/8 of their size where the part is that much larger than the result. A mask is cut and
    resampled with the nearest pixel.

    Attributes:
      size: (height, width) of the result, or both at once.
      area: smallest and largest share of the area.
      aspect: smallest and largest width over height.
      resample: "bicubic", "bilinear" or "nearest".

    Raises:
      ValueError: a field is out of its range; when called, encoded bytes that cannot be decoded.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> crop, rng = sq.data.RandomResizedCrop(8), np.random.default_rng(0)
      >>> crop({"image": np.zeros((20, 30, 3), np.uint8)}, rng)["image"].shape
      (8, 8, 3)
    """

    size: int | tuple[int, int]
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    resample: str = "bicubic"

    def __post_init__(self):
        check_size("size", self.size)
        check_range("area", self.area, 0, 1)
        check_range("aspect", self.aspect, 0)
        check_resample(self.resample)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        size = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        data = example.get("image")
        if isinstance(data, bytes):
            picture = opened(data, "image")
            full = (picture.size[1], picture.size[0])
        else:
            image = image_of(example)
            full = (image.shape[0], image.shape[1])
        mask = mask_of(example, full)
        box = self._box(full, rng)
        if isinstance(data, bytes):
            try:
                image = _cut(picture, box, size, self.resample)
            except PIL_ERRORS as error:
                raise _unreadable(data, "image", error) from error
        else:
            image = resized(image, size, self.resample, box)
        if mask is not None:
            mask = resized(mask, size, "nearest", box)
        return replaced(example, image, mask)

    def _box(
        self, size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[float, float, float, float]:
        """(left, upper, right, lower), whole pixels, of the part to use."""
        height, width = size
        inverse = (1 / self.aspect[1], 1 / self.aspect[0])
        found = random_box(size, self.area, inverse, rng)
        if found is None:
            rows = min(height, max(1, round(width / self.aspect[0])))
            cols = min(width, max(1, round(height * self.aspect[1])))
            found = (height - rows) // 2, (width - cols) // 2, rows, cols
        top, left, rows, cols = found
        return left, top, left + cols, top + rows


def _cut(
    picture: Image.Image, box: tuple[float, ...], size: tuple[int, int], resample: str
) -> np.ndarray:
    """The part of a picture in `box`, as RGB of this size, decoded no larger than needed."""
    width, height = picture.size
    smaller = int(min((box[2] - box[0]) / size[1], (box[3] - box[1]) / size[0]))
    if smaller > 1:
        picture.draft("RGB", (-(-width // smaller), -(-height // smaller)))
    picture.load()
    picture = _rgb(picture)
    across, down = picture.size[0] / width, picture.size[1] / height
    box = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    return np.array(picture.resize((size[1], size[0]), RESAMPLING[resample], box=box))


def imagenet_train(
    size: int = 224,
    *,
    randaugment: RandAugment | None = None,
    erasing: float = 0.0,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> tuple[Transform, ...]:
    """The usual training transforms for ImageNet, from encoded bytes or uint8 arrays.

    A random resized crop, a random flip, `randaugment`, normalization and random erasing.

    Args:
      size: height and width of the result.
      randaugment: its settings; None leaves it out.
      erasing: probability of erasing; 0 leaves it out.
      mean: of the channels, in units of 255.
      std: of the channels, in units of 255.

    Returns:
      The transforms in order; the result is float32 `[size, size, 3]`.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> import softeq_jax as sq
      >>> transforms = sq.data.imagenet_train(32, randaugment=sq.data.RandAugment())
      >>> [type(each).__name__ for each in transforms]
      ['RandomResizedCrop', 'RandomFlip', 'RandAugment', 'Normalize']
    """
    transforms = [RandomResizedCrop(size), RandomFlip()]
    if randaugment is not None:
        transforms.append(randaugment)
    transforms.append(Normalize(mean, std))
    if erasing:
        transforms.append(RandomErasing(erasing))
    return tuple(transforms)


def imagenet_eval(
    size: int = 224,
    resize: int = 256,
    *,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> tuple[Transform, ...]:
    """The usual transforms for evaluation on ImageNet: the middle of the resized image.

    Args:
      size: height and width of the result.
      resize: length of the short side that the image is resized to, bicubically, before.
      mean: of the channels, in units of 255.
      std: of the channels, in units of 255.

    Returns:
      The transforms in order; the result is float32 `[size, size, 3]`.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> example = {"image": np.full((300, 400, 3), 255, np.uint8)}
      >>> for transform in sq.data.imagenet_eval(size=32, resize=36):
      ...     example = transform(example, None)
      >>> example["image"].shape, example["image"].dtype
      ((32, 32, 3), dtype('float32'))
    """
    if resize < size:
        raise ValueError(f"resize must be at least size = {size}, got {resize}")
    return Decode(), Resize(resize, "bicubic"), CenterCrop(size), Normalize(mean, std)


def segmentation_pairs(
    mask_key: str = "segmentation_mask", void: int | None = 11, ignore: int = 255
) -> Transform:
    """A transform from a record of a segmentation data set to "image" and "mask".

    Records may be decoded, or hold encoded bytes (TFDS's `SkipDecoding`) of either. The defaults
    are CamVid's. Other entries are passed on.

    Args:
      mask_key: name of the mask in the record, `[h, w]` or `[h, w, 1]`, integers; a record
        without it may call it "mask".
      void: class of the pixels that belong to none; None if there is no such class.
      ignore: number that takes its place, for the loss to leave out.

    Returns:
      A picklable transform. The image is uint8 `[h, w, 3]`, the mask int32 `[h, w]`, without
      `mask_key`. It raises ValueError for a record without a mask, and for a mask of another size
      than the image or not of integers.

    Raises:
      ValueError: `mask_key` is empty or "image".

    Example:
      >>> import numpy as np, softeq_jax as sq
      >>> mask = np.array([[0, 11], [3, 4]])
      >>> record = {"image": np.zeros((2, 2, 3), np.uint8), "segmentation_mask": mask}
      >>> sq.data.segmentation_pairs()(record, None)["mask"]
      array([[  0, 255],
             [  3,   4]], dtype=int32)
    """
    return _SegmentationPairs(mask_key, void, ignore)


@dataclass(frozen=True)
class _SegmentationPairs:
    mask_key: str
    void: int | None
    ignore: int

    def __post_init__(self):
        if not self.mask_key or self.mask_key == "image":
            raise ValueError(f"mask_key must be the mask's name, got {self.mask_key!r}")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        key = self.mask_key if self.mask_key in example else "mask"
        if key not in example:
            raise ValueError(f"the record has no {self.mask_key!r}; it has {sorted(example)}")
        image = image_of(Decode()(example, rng))
        mask = example[key]
        if isinstance(mask, bytes):
            mask = decoded(mask, key)
        mask = np.asarray(mask)
        if mask.ndim == 3 and mask.shape[2] == 1:
            mask = mask[..., 0]
        if mask.shape != image.shape[:2] or not np.issubdtype(mask.dtype, np.integer):
            raise ValueError(
                f"{key} must be integers of the image's size {image.shape[:2]}; got shape "
                f"{mask.shape}, {mask.dtype}"
            )
        mask = mask.astype(np.int32)
        if self.void is not None:
            mask[mask == self.void] = self.ignore
        rest = {name: value for name, value in example.items() if name != key}
        return {**rest, "image": image, "mask": mask}
