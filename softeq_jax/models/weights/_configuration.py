"""The JSON files beside a checkpoint: the network's configuration, and how its images are made."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from softeq_jax.models.weights import _checkpoint

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_PILLOW = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # by Pillow's number


@dataclasses.dataclass(frozen=True)
class Config:
    """The contents of ``config.json``, with checks of what it says against the network.

    Attributes:
      where: what to call it in messages.
      format: ``"hugging face"``, ``"timm"``, or None if there is no file.
      values: Hugging Face's keys, or timm's ``model_args``.
      all: the whole file.
    """

    where: str
    format: str | None
    values: Mapping[str, Any]
    all: Mapping[str, Any]

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def number(self, key: str, default: float) -> float:
        """A number.

        Raises:
          ValueError: there is something else.
        """
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{self.where}: {key} is {value!r}, expected a number")
        return value

    def side(self, key: str) -> int | None:
        """A square size, given as one integer or as two equal ones; None if there is none."""
        value = self.values.get(key)
        if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"{self.where}: {key} is {value!r}, expected a square size")
        return value

    def integers(self, key: str, stages: int) -> tuple[int, ...] | None:
        """One integer for each stage; None if there is no such key."""
        value = self.values.get(key)
        if value is None:
            return None
        if (
            not isinstance(value, list)
            or len(value) != stages
            or any(isinstance(v, bool) or not isinstance(v, int) for v in value)
        ):
            raise ValueError(f"{self.where}: {key} is {value!r}, expected {stages} integers")
        return tuple(value)

    def classes(self) -> int | None:
        """Length of the logits, or None where the file does not say.

        Hugging Face's files have labels for networks without a head, too.
        """
        if self.format == "timm":
            return self.all.get("num_classes")
        architectures = self.all.get("architectures") or [""]
        if architectures[0].endswith("Model"):
            return 0
        if "num_labels" in self:
            return self.values["num_labels"]
        labels = self.values.get("id2label")
        return len(labels) if architectures[0] and isinstance(labels, dict) else None

    def expect(self, key: str, *allowed: Any) -> None:
        """Checks a setting that the model has in one way only.

        Raises:
          ValueError: it is set to something else.
        """
        if key in self.values and self.values[key] not in allowed:
            raise ValueError(
                f"{self.where}: {key} is {self.values[key]!r}, expected {_either(allowed)}"
            )

    def known(self, free: tuple[str, ...], fixed: Mapping[str, tuple[Any, ...]]) -> None:
        """Checks timm's ``model_args``: any value for some keys, given ones for others, no more.

        Raises:
          ValueError: another key, or another value.
        """
        for key, value in self.values.items():
            if key in free:
                continue
            if key not in fixed:
                raise ValueError(
                    f"{self.where}: model_args has {key} = {value!r}, which is not supported"
                )
            self.expect(key, *fixed[key])

    def agree(self, **facts: Any) -> None:
        """Checks numbers that the tensors have told.

        Raises:
          ValueError: the file says something else.
        """
        for key, fact in facts.items():
            value = self.values.get(key)
            said = tuple(value) if isinstance(value, list) else value
            if value is not None and said not in (fact, (fact, fact)):
                raise ValueError(f"{self.where}: {key} is {value!r}, the tensors have {fact!r}")


def _either(values: tuple[Any, ...]) -> str:
    return " or ".join(repr(v) for v in values)


def parse_config(text: str | None, source: str) -> Config:
    """Reads the text of ``config.json``.

    Raises:
      ValueError: not JSON, or neither of the two formats.
    """
    where = f"{source}: {_checkpoint.CONFIG}"
    if text is None:
        return Config(where, None, {}, {})
    whole = _checkpoint.json_object(text, where)
    if "model_type" in whole:
        return Config(where, "hugging face", whole, whole)
    if "architecture" in whole:
        args = whole.get("model_args") or {}
        if not isinstance(args, dict):
            raise ValueError(f"{where}: model_args is {args!r}, expected an object")
        return Config(where, "timm", args, whole)
    raise ValueError(f"{where}: has neither 'model_type' (Hugging Face) nor 'architecture' (timm)")


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """How images are made for a network: resize, crop the middle, scale to [0, 1], normalize.

    Attributes:
      mean: of each channel, for values in [0, 1]; normalized is ``(x - mean) / std``.
      std: of each channel, for values in [0, 1].
      image_size: side of the square that the network sees, in pixels.
      resize: what the image is resized to before the crop: its short side, or both sides if
        ``keep_aspect`` is false.
      keep_aspect: whether resizing keeps the shape of the image.
      interpolation: ``"bilinear"``, ``"bicubic"``, ... as Pillow calls them.
      source: where this is from: a file, or "default of ...".
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    resize: int
    keep_aspect: bool
    interpolation: str
    source: str


def default_preprocess(
    name: str,
    normalization: tuple[tuple[float, ...], tuple[float, ...]],
    image_size: int,
    *,
    resize: int | None = None,
    keep_aspect: bool = True,
    interpolation: str = "bilinear",
) -> Preprocess:
    """The preprocessing that a family's published weights are used with."""
    mean, std = normalization
    return Preprocess(
        mean,
        std,
        image_size,
        resize or image_size,
        keep_aspect,
        interpolation,
        f"default of {name}",
    )


def resolve_preprocess(
    fallback: Preprocess, config: Config, preprocessor: str | None, side: int | None
) -> Preprocess:
    """The preprocessing of a checkpoint.

    Args:
      fallback: what the family's weights are used with.
      config: with timm's ``pretrained_cfg``, if it is timm's.
      preprocessor: text of ``preprocessor_config.json``, or None.
      side: the image size that the network is fixed to, or None if it takes any.

    Raises:
      ValueError: a file has something that is not understood; the message names the key.
    """
    if preprocessor is not None:
        where = config.where.replace(_checkpoint.CONFIG, _checkpoint.PREPROCESSOR)
        return _of_preprocessor(_checkpoint.json_object(preprocessor, where), where, fallback)
    if config.format == "timm":
        given = config.all.get("pretrained_cfg") or config.all
        if "mean" in given:
            return _of_pretrained_cfg(given, f"{config.where}: pretrained_cfg", fallback)
    if side is None or side == fallback.image_size:
        return fallback
    scale = fallback.resize / fallback.image_size
    return dataclasses.replace(fallback, image_size=side, resize=round(side * scale))


def _of_preprocessor(values: Mapping[str, Any], where: str, fallback: Preprocess) -> Preprocess:
    mean, std = fallback.mean, fallback.std
    if values.get("do_normalize", True):
        mean = _channels(values.get("image_mean", mean), f"{where}: image_mean")
        std = _channels(values.get("image_std", std), f"{where}: image_std")
    else:
        mean, std = (0.0,) * len(mean), (1.0,) * len(std)
    scale = 255 * values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 255
    mean, std = tuple(m / scale for m in mean), tuple(s / scale for s in std)
    size, keep = _size(values.get("size", fallback.resize), f"{where}: size")
    crop = size
    if values.get("do_center_crop") and "crop_size" in values:
        crop, _ = _size(values["crop_size"], f"{where}: crop_size")
    elif fraction := values.get("crop_pct"):  # has an effect on small images only
        keep = size < 384
        size = int(size / fraction) if keep else size
    number = values.get("resample", _PILLOW.index(fallback.interpolation))
    if number not in range(len(_PILLOW)):
        raise ValueError(f"{where}: resample is {number!r}, expected Pillow's number, 0 to 5")
    return Preprocess(mean, std, crop, size, keep, _PILLOW[number], where)


def _size(value: Any, where: str) -> tuple[int, bool]:
    """A size, and whether it is that of the short side only."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, False
    if isinstance(value, Mapping):
        if isinstance(short := value.get("shortest_edge"), int):
            return short, True
        height, width = value.get("height"), value.get("width")
        if isinstance(height, int) and height == width:
            return height, False
    raise ValueError(f"{where} is {value!r}, expected a square size or a shortest_edge")


def _of_pretrained_cfg(values: Mapping[str, Any], where: str, fallback: Preprocess) -> Preprocess:
    shape = values.get("input_size", (3, fallback.image_size, fallback.image_size))
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(f"{where}: input_size is {shape!r}, expected [channels, side, side]")
    side = int(shape[1])
    return Preprocess(
        _channels(values["mean"], f"{where}: mean"),
        _channels(values.get("std", fallback.std), f"{where}: std"),
        side,
        int(side / values.get("crop_pct", fallback.image_size / fallback.resize)),
        values.get("crop_mode", "center") != "squash",
        str(values.get("interpolation", fallback.interpolation)),
        where,
    )


def _channels(value: Any, where: str) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, int | float) for v in value):
        raise ValueError(f"{where} is {value!r}, expected one number for each channel")
    return tuple(float(v) for v in value)
