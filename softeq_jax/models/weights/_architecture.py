"""Formats of checkpoints, and the attributes of networks read off the shapes of their tensors."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn

from softeq_jax.models.weights._configuration import Config, Preprocess
from softeq_jax.models.weights._settings import shown
from softeq_jax.models.weights._tensor_names import NameTable, Prefix, Shape, TensorEntry

_AVERAGES = ("n_averaged", "PyTorch's count of averaged models, carries no weights")
NO_WEIGHTS = (r".*\.num_batches_tracked", "PyTorch's step counter, carries no weights")
_MOST_STAGES = 8
# Published widths whose heads are not 64 channels wide (SO400M, Huge, Giant, Gigantic).
_WIDE_HEADS = {1152: 16, 1280: 16, 1408: 16, 1664: 16}


@dataclasses.dataclass(frozen=True)
class Arrays:
    """The arrays of a checkpoint under our paths, by shape; names stay those of the tensors.

    Attributes:
      source: what to call the checkpoint in messages.
      entries: path to the tensor that holds the array, for those that are there.
      shapes: path to the tensor's shape.
      table: the table of names.
      prefix: of the names.
    """

    source: str
    entries: Mapping[str, TensorEntry]
    shapes: Mapping[str, Shape]
    table: NameTable
    prefix: Prefix

    def __contains__(self, path: str) -> bool:
        return path in self.entries

    def shape(self, path: str) -> Shape:
        """Shape of an array that attributes are read off, in Flax's layout; no side of it is 0.

        Raises:
          ValueError: it is missing, or its tensor has another number of axes.
        """
        if path not in self.entries:
            name = self.table.entry_of_path(path, self.prefix).name
            raise ValueError(f"{self.source}: missing {name}, which tells the network's size")
        shape = self.entries[path].flax_shape(self.shapes[path])
        if shape is None or 0 in shape:
            raise ValueError(
                f"{self.source}: tensor {self.entries[path].name} has shape {self.shapes[path]}, "
                "which cannot tell the network's size"
            )
        return shape

    def rows(self, path: str) -> int:
        """Rows of a table ``[1, rows, c]``.

        Raises:
          ValueError: it is missing or of another form.
        """
        shape = self.shape(path)
        if len(shape) != 3 or shape[0] != 1:
            raise ValueError(
                f"{self.source}: tensor {self.entries[path].name} has shape {shape}, expected "
                "(1, rows, channels)"
            )
        return shape[1]

    def square(self, path: str) -> int:
        """Side of a square window, the first two axes of a convolution kernel."""
        height, width = self.shape(path)[:2]
        if height != width:
            raise ValueError(
                f"{self.source}: tensor {self.entries[path].name} has a window of {height} x "
                f"{width}, expected a square one"
            )
        return height

    def count(self, pattern: str, first: int = 0) -> int:
        """How many numbers the group of a pattern has in the paths.

        Raises:
          ValueError: they are not the first ones, counted from ``first``. So what is built is no
            deeper than there are tensors.
        """
        regex = re.compile(pattern)
        found = {int(m[1]): path for path in self.entries if (m := regex.match(path))}
        for number, there in enumerate(sorted(found), first):
            if number != there:
                name = self.entries[found[there]].name
                raise ValueError(
                    f"{self.source}: missing all tensors of number {number}, though there is "
                    f"{name} of number {there}"
                )
        return len(found)

    def classes(self, kernel: str, bias: str) -> int:
        """Length of the logits; 0 if there is no head.

        Raises:
          ValueError: kernel and bias do not agree.
        """
        sizes = []
        for path, axes in ((kernel, "[classes, features]"), (bias, "[classes]")):
            if path in self.entries:
                sizes.append((self.entries[path].name, self.shapes[path], axes))
        counts = {shape[:1] for _, shape, _ in sizes}
        if len(counts) > 1 or () in counts:
            both = " and ".join(f"{name} {shape}" for name, shape, _ in sizes)
            expected = " and ".join(axes for *_, axes in sizes)
            raise ValueError(f"{self.source}: tensors {both} do not agree; expected {expected}")
        return next(iter(counts))[0] if counts else 0


@dataclasses.dataclass(frozen=True)
class Format:
    """One format of checkpoints: its names, and how its network is read off.

    Attributes:
      family: what it is a network of.
      name: ``"hugging face"``, ``"timm"`` or ``"cifar"``.
      table: its names.
      build: the model for ``(arrays, config, heads or None)``.
      head: path of the module that makes the logits, such as ``"params/head"``.
      stem: path of the kernel that the images meet.
      side: a size of images that a model takes.
      preprocess: how images are made for it where nothing says so.
      fixed_size: whether the model takes images of its ``image_size`` only.
      prefixes: that its names may have.
      model_types: Hugging Face's, with their architectures.
      architectures: a pattern of timm's.
      unused: patterns of tensors that are carried along, with reasons.
      backbone_only: pattern of tensors that networks without a head alone have.
      refused: patterns of tensors of relatives that are not supported, with what they are.
    """

    family: str
    name: str
    table: NameTable
    build: Callable[[Arrays, Config, Any], nn.Module]
    head: str
    stem: str
    side: Callable[[nn.Module], int]
    preprocess: Preprocess
    fixed_size: bool = False
    prefixes: tuple[str, ...] = ("",)
    model_types: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    architectures: str = ""
    unused: tuple[tuple[str, str], ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    backbone_only: str = r"(?!)"

    def arrays(self, source: str, shapes: Mapping[str, Shape], prefix: Prefix) -> Arrays:
        """The tensors that the table knows, under our paths."""
        entries: dict[str, TensorEntry] = {}
        found: dict[str, Shape] = {}
        for name, shape in shapes.items():
            if entry := self.table.entry_of_name(name, prefix):
                for path in entry.paths:
                    entries[path], found[path] = entry, shape
        return Arrays(source, entries, found, self.table, prefix)

    def unused_reason(self, name: str) -> str | None:
        """Why a tensor is carried along without being used, or None if it is not."""
        known = (*self.unused, _AVERAGES)
        return next((why for pattern, why in known if re.fullmatch(pattern, name)), None)

    def check_config(self, config: Config) -> None:
        """Checks that a configuration is of this kind of checkpoint.

        Raises:
          ValueError: it is of another.
        """
        if config.format not in (None, self.name):
            raise ValueError(
                f"{config.where} is {config.format}'s, but the tensors have {self.name} names"
            )
        config.check(self.family)
        if config.format == "hugging face":
            kind = config.all["model_type"]
            if kind not in self.model_types:
                raise ValueError(
                    f"{config.where}: model_type is {shown(kind)}, but the tensors look like "
                    f"{' or '.join(self.model_types)}"
                )
            for name in config.all.get("architectures") or ():
                if name not in self.model_types[kind]:
                    raise ValueError(
                        f"{config.where}: architecture {shown(name)} is not supported, expected "
                        f"{' or '.join(self.model_types[kind])}"
                    )
        elif config.format == "timm":
            name = str(config.all["architecture"])
            if not re.fullmatch(self.architectures, name.split(".")[0]):
                raise ValueError(
                    f"{config.where}: architecture {shown(name)} is not supported, though its "
                    f"tensors have the names of family {self.family}"
                )


def attention_heads(arrays: Arrays, config: Config, key: str, width: int, asked: int | None) -> int:
    """Attention heads, which no tensor tells: asked for, configured, or by the published sizes.

    Raises:
      ValueError: none of the three says.
    """
    if asked is not None:
        return asked
    if key in config:
        return config.get(key)
    if width in _WIDE_HEADS:
        return _WIDE_HEADS[width]
    if width % 64:
        raise ValueError(
            f"{arrays.source}: the number of attention heads is not in the tensors, and a width "
            f"of {width} is no multiple of 64; pass heads=..."
        )
    return width // 64


def mlp_ratio(arrays: Arrays, width: int, path: str = "params/block0/mlp_in/kernel") -> float:
    """Hidden channels of the first perceptron in units of the width."""
    hidden = arrays.shape(path)[1]
    return hidden // width if hidden % width == 0 else hidden / width


def block_count(arrays: Arrays) -> int:
    """Number of blocks, at least 1."""
    return max(1, arrays.count(r"params/block(\d+)/"))


def stage_count(arrays: Arrays, pattern: str) -> int:
    """Number of stages, whose numbers start from 1.

    Raises:
      ValueError: there are more than any network has.
    """
    stages = arrays.count(pattern, first=1)
    if stages > _MOST_STAGES:
        raise ValueError(f"{arrays.source}: has {stages} stages, expected at most {_MOST_STAGES}")
    return stages


def trained_image_size(arrays: Arrays, config: Config, key: str, patch: int, patches: int) -> int:
    """Side of the images that a position table of so many patches is for.

    Raises:
      ValueError: the patches make no square, or the configuration has another size.
    """
    name = arrays.entries["params/pos_embed"].name
    side = math.isqrt(max(patches, 0))
    if side < 1 or side**2 != patches:
        raise ValueError(
            f"{arrays.source}: tensor {name} has {patches} rows for patches, expected a square "
            "number"
        )
    configured = config.side(key)
    if configured is not None and configured != side * patch:
        raise ValueError(
            f"{config.where}: {key} is {configured}, but tensor {name} has rows for {side} x "
            f"{side} patches of {patch} pixels, images of {side * patch}"
        )
    return side * patch
