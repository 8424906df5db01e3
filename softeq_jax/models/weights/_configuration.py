"""The JSON files beside a checkpoint: the network's configuration, and how its images are made."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from softeq_jax._text import brief
from softeq_jax.models.weights import _checkpoint, _settings
from softeq_jax.models.weights._headers import json_object
from softeq_jax.models.weights._settings import shown

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


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

    def check(self, family: str) -> None:
        """Checks that every setting is what it may be in a family; see ``_settings``.

        Raises:
          ValueError: one is not; the message names it.
        """
        if self.format == "hugging face":
            _settings.check(self.all, self.where, _settings.HUGGING_FACE[family])
        elif self.format == "timm":
            kinds = _settings.MODEL_ARGS[family]
            whole = {**_settings.TIMM, "global_pool": kinds["global_pool"]}
            _settings.check(self.all, self.where, whole)
            _settings.check(self.values, self.where, kinds, closed="model_args")
            for key in set(_settings.TIMM) & set(kinds):
                here, there = self.all.get(key), self.values.get(key)
                if None not in (here, there) and here != there:
                    raise ValueError(
                        f"{self.where}: {key} is {here!r}, but {there!r} in model_args"
                    )
            _settings.check(
                self.recipe(), f"{self.where}: pretrained_cfg", _settings.PRETRAINED_CFG
            )

    def recipe(self) -> Mapping[str, Any]:
        """timm's ``pretrained_cfg``, whose settings are those of the file itself in old ones."""
        return self.all.get("pretrained_cfg") or self.all

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def get(self, key: str, default: Any = None) -> Any:
        """A setting, or the default where it is not set."""
        value = self.values.get(key)
        return default if value is None else value

    def side(self, key: str) -> int | None:
        """A square size, given as one integer or as two equal ones; None if there is none."""
        return _side(self.values.get(key))

    def for_stages(self, key: str, stages: int) -> tuple[int, ...] | None:
        """One integer for each stage; None if there is no such key.

        Raises:
          ValueError: there are more or fewer.
        """
        value = self.values.get(key)
        if value is not None and len(value) != stages:
            raise ValueError(f"{self.where}: {key} is {shown(value)}, expected {stages} integers")
        return None if value is None else tuple(value)

    def classes(self) -> int | None:
        """Length of the logits, or None where the file does not say.

        Hugging Face's files have labels for networks without a head, too.

        Raises:
          ValueError: it says two things.
        """
        if self.format == "timm":
            return self.all.get("num_classes")
        architectures = self.all.get("architectures") or [""]
        if architectures[0].endswith("Model"):
            return 0
        count, labels = self.values.get("num_labels"), self.values.get("id2label")
        if count is not None and labels is not None and len(labels) != count:
            raise ValueError(
                f"{self.where}: num_labels is {count}, but id2label has {len(labels)} labels"
            )
        if count is not None:
            return count
        return len(labels) if architectures[0] and labels is not None else None

    def agree(self, **facts: Any) -> None:
        """Checks numbers that the tensors have told.

        Raises:
          ValueError: the file says something else.
        """
        for key, fact in facts.items():
            value = self.values.get(key)
            said = tuple(value) if isinstance(value, list) else value
            if value is not None and said not in (fact, (fact, fact)):
                raise ValueError(
                    f"{self.where}: {key} is {shown(value)}, the tensors have {fact!r}"
                )

    def agree_on_features(self, count: int) -> None:
        """Checks the channels before the head that timm tells besides its ``model_args``.

        Raises:
          ValueError: the file says something else.
        """
        said = self.all.get("num_features")
        if self.format == "timm" and said not in (None, count):
            raise ValueError(f"{self.where}: num_features is {said}, the tensors have {count}")

    def agree_on_hidden(self, key: str, hidden: Mapping[str, tuple[int, int]]) -> None:
        """Checks ratios of hidden channels to channels that the tensors have told.

        Args:
          key: of one ratio, or of one for each perceptron.
          hidden: by name, the channels of a perceptron and its hidden ones.

        Raises:
          ValueError: the file says something else.
        """
        value: Any = self.values.get(key)
        if value is None:
            return
        said = value if isinstance(value, list) else [value] * len(hidden)
        fits = [int(width * r) == h for r, (width, h) in zip(said, hidden.values(), strict=False)]
        if len(said) != len(hidden) or not all(fits):
            have = " and ".join(f"{h} hidden of {w} channels" for w, h in hidden.values())
            raise ValueError(f"{self.where}: {key} is {shown(value)}, the tensors have {have}")


def _side(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def parse_config(text: str | None, source: str) -> Config:
    """Reads the text of ``config.json``.

    Raises:
      ValueError: not JSON, or neither of the two formats.
    """
    where = f"{source}: {_checkpoint.CONFIG}"
    if text is None:
        return Config(where, None, {}, {})
    whole = json_object(text, where)
    if "model_type" in whole:
        kinds = _settings.HUGGING_FACE["vit"]
        _settings.check(whole, where, {"model_type": kinds["model_type"]}, required=("model_type",))
        return Config(where, "hugging face", whole, whole)
    if "architecture" in whole:
        _settings.check(whole, where, _settings.TIMM, required=("architecture",))
        return Config(where, "timm", whole.get("model_args") or {}, whole)
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

    Example:
      >>> import softeq_jax as sq
      >>> plain = sq.models.Preprocess((0.5,), (0.5,), 28, 32, True, "bilinear", "by hand")
      >>> (1 - plain.mean[0]) / plain.std[0]  # white
      1.0
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    resize: int
    keep_aspect: bool
    interpolation: str
    source: str

    __repr__ = brief


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


class Takes(NamedTuple):
    """What images a network takes.

    Attributes:
      channels: of the images.
      side: the one size that it takes, or None if it takes all multiples of ``patch``.
      patch: side of its patches, 1 if it has none.
      made_for: a size that it was made for, or None if it was for none.
    """

    channels: int
    side: int | None
    patch: int = 1
    made_for: int | None = None

    @property
    def native(self) -> int | None:
        """The size that is shown to a network without patches, which takes any."""
        return self.made_for if self.patch == 1 else None


def resolve_preprocess(
    fallback: Preprocess, config: Config, preprocessor: str | None, takes: Takes
) -> Preprocess:
    """The preprocessing of a checkpoint.

    Args:
      fallback: what the family's weights are used with.
      config: with timm's ``pretrained_cfg``, if it is timm's.
      preprocessor: text of ``preprocessor_config.json``, or None.
      takes: what the network takes.

    A network of timm that was made with another ``img_size`` keeps the recipe of its original:
    images then have the size that its ``model_args`` say.

    Raises:
      ValueError: a file has something that is not understood, or that contradicts the network; the
        message names the key.
    """
    fallback = _of_channels(fallback, takes.channels)
    recipe = config.recipe() if config.format == "timm" and preprocessor is None else {}
    if preprocessor is not None:
        where = config.where.replace(_checkpoint.CONFIG, _checkpoint.PREPROCESSOR)
        values = json_object(preprocessor, where)
        _settings.check(values, where, _settings.PREPROCESSOR)
        found = _of_preprocessor(values, where, fallback)
    elif any(recipe.get(key) is not None for key in _RECIPE):
        own = takes.native if takes.side is None else config.side("img_size")
        found = _of_pretrained_cfg(recipe, f"{config.where}: pretrained_cfg", fallback, own)
        if recipe.get("input_size") and recipe["input_size"][0] != takes.channels:
            raise ValueError(
                f"{found.source}: input_size is {recipe['input_size']}, but the network takes "
                f"images of {takes.channels} channels"
            )
    elif takes.side is None and fallback.image_size % takes.patch:
        return _of_side(fallback, takes.made_for)
    else:
        return _of_side(fallback, takes.side or takes.native)
    _check_fit(found, takes)
    return found


_RECIPE = ("mean", "std", "input_size", "crop_pct", "crop_mode", "interpolation")


def _check_fit(found: Preprocess, takes: Takes) -> None:
    """Checks that images made by a file's preprocessing are such as the network takes.

    Raises:
      ValueError: they are not; the message names the file.
    """
    side = found.image_size
    for word, numbers in (("mean", found.mean), ("std", found.std)):
        if len(numbers) != takes.channels:
            raise ValueError(
                f"{found.source}: has {len(numbers)} numbers for the {word}, but the network takes "
                f"images of {takes.channels} channels"
            )
    if takes.side not in (None, side):
        raise ValueError(
            f"{found.source}: makes images of {side} x {side} pixels, but the network takes "
            f"{takes.side} x {takes.side}; where it has a position table, interpolate=True takes "
            "others"
        )
    if side % takes.patch:
        raise ValueError(
            f"{found.source}: makes images of {side} x {side} pixels, but the network takes "
            f"multiples of its patches of {takes.patch}"
        )


def _of_channels(fallback: Preprocess, channels: int) -> Preprocess:
    """A family's preprocessing for another number of channels: all get the mean of the three."""
    if channels == len(fallback.mean):
        return fallback
    mean, std = ((sum(v) / len(v),) * channels for v in (fallback.mean, fallback.std))
    source = f"{fallback.source}, the mean of its channels"
    return dataclasses.replace(fallback, mean=mean, std=std, source=source)


def _of_side(fallback: Preprocess, side: int | None) -> Preprocess:
    """A family's preprocessing for another image size."""
    if side is None or side == fallback.image_size:
        return fallback
    scale = fallback.resize / fallback.image_size
    return dataclasses.replace(fallback, image_size=side, resize=round(side * scale))


def _of_preprocessor(values: Mapping[str, Any], where: str, fallback: Preprocess) -> Preprocess:
    def get(key: str, default: Any) -> Any:
        value = values.get(key)
        return default if value is None else value

    mean, std = fallback.mean, fallback.std
    if get("do_normalize", True):
        mean, std = tuple(get("image_mean", mean)), tuple(get("image_std", std))
    else:
        mean, std = (0.0,) * len(mean), (1.0,) * len(std)
    scale = 255 * get("rescale_factor", 1 / 255) if get("do_rescale", True) else 255
    mean, std = tuple(float(m / scale) for m in mean), tuple(float(s / scale) for s in std)
    size, keep = _size(get("size", fallback.resize))
    crop, fraction = size, values.get("crop_pct")
    if get("do_center_crop", False) and values.get("crop_size") is not None:
        crop, _ = _size(values["crop_size"])
        if crop > size:
            raise ValueError(f"{where}: crop_size is {crop}, more than size, {size}")
    elif fraction is not None:  # has an effect on small images only
        keep = size < 384
        size = int(size / fraction) if keep else size
    elif keep and values.get("do_center_crop") is False:
        raise ValueError(
            f"{where}: do_center_crop is False, so that images resized to a shortest_edge are not "
            "square; expected a crop, or a size of height and width"
        )
    kind = get("resample", _settings.PILLOW.index(fallback.interpolation))
    return Preprocess(mean, std, crop, size, keep, _settings.PILLOW[kind], where)


def _size(value: Any) -> tuple[int, bool]:
    """A size, and whether it is that of the short side only."""
    if isinstance(value, Mapping):
        return next(iter(value.values())), "shortest_edge" in value
    return _side(value), False


def _of_pretrained_cfg(
    values: Mapping[str, Any], where: str, fallback: Preprocess, own: int | None
) -> Preprocess:
    """What a recipe says, for the image size that the network was made for if that is given."""
    side = (values.get("input_size") or [fallback.image_size])[-1]
    if own not in (None, side):
        side, where = own, f"{where}, at img_size {own}"
    mean, std = values.get("mean") or fallback.mean, values.get("std") or fallback.std
    return Preprocess(
        tuple(map(float, mean)),
        tuple(map(float, std)),
        side,
        int(side / (values.get("crop_pct") or fallback.image_size / fallback.resize)),
        values.get("crop_mode") != "squash",
        values.get("interpolation") or fallback.interpolation,
        where,
    )
