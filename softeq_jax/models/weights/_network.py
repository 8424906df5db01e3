"""The network of a checkpoint: recognized by names, read off shapes, strictly checked."""

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from softeq_jax.models.heads import Segmenter
from softeq_jax.models.segformer import SegFormer
from softeq_jax.models.weights import (
    _cifar_resnet,
    _dinov2,
    _mixer,
    _resnet,
    _segformer,
    _vit,
)
from softeq_jax.models.weights._architecture import Format
from softeq_jax.models.weights._configuration import Config
from softeq_jax.models.weights._tensor_names import Shape, TensorEntry

Headers = Mapping[str, tuple[str, Shape]]  # name: dtype, shape
DTYPES = ("F32", "F16", "BF16")
_WORDS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
}
FORMATS: tuple[Format, ...] = (
    *_vit.FORMATS,
    *_dinov2.FORMATS,
    *_cifar_resnet.FORMATS,
    *_resnet.FORMATS,
    *_mixer.FORMATS,
    *_segformer.FORMATS,
)
FAMILIES = tuple(dict.fromkeys(f.family for f in FORMATS))

# Networks that are not supported, by a name that only they have.
_STRANGERS = (
    (r".*relative_position_bias_table", "a Swin transformer or BEiT"),
    (r".*(dwconv|conv_dw)\.weight|convnext.*", "a ConvNeXt or another network of depthwise layers"),
    (r".*word_embeddings\.weight|.*embed_tokens\.weight|.*wte\.weight", "a language model"),
    (r".*(text_model|vision_model|visual)\..*", "CLIP or another network of images and texts"),
    (r".*_conv_stem\.weight|conv_stem\.weight", "an EfficientNet or MobileNet"),
    (r".*features\.\d+\..*", "a VGG, DenseNet or MobileNet of torchvision"),
    (r"params/.*", "a Flax network"),
)


class Match(NamedTuple):
    """A format of checkpoints, with the prefix of its names and the share of names it knows."""

    format: Format
    prefix: str
    share: float


def detect(names: Collection[str], source: str, family: str | None = None) -> Match:
    """The kind of checkpoint that knows most of the names.

    Args:
      names: of the tensors.
      source: what to call the checkpoint in messages.
      family: the one that is expected, or None.

    Raises:
      ValueError: an unknown family, a checkpoint of none of the families, or of another.
    """
    if family is not None and family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {family!r}")
    best = max(_matches(names), key=lambda match: match.share)
    if best.share <= 0.5:
        raise ValueError(f"{source}: not a checkpoint of {', '.join(FAMILIES)}{_looks_like(names)}")
    if family not in (None, best.format.family):
        raise ValueError(
            f"{source}: asked for family {family!r}, but it looks like "
            f"{best.format.family!r} with {best.format.name} names"
        )
    return best


def _matches(names: Collection[str]) -> Iterable[Match]:
    for kind in FORMATS:
        for prefix in kind.prefixes:
            known = sum(kind.table.knows(name, prefix) for name in names)
            yield Match(kind, prefix, known / len(names) if names else 0.0)


def _looks_like(names: Collection[str]) -> str:
    if not names:
        return "; it has no tensors"
    for pattern, what in _STRANGERS:
        if any(re.fullmatch(pattern, name) for name in names):
            return f"; it looks like {what}"
    some = ", ".join(sorted(names)[:4])
    return f"; its {len(names)} tensors are called {some}, ..."


class Network(NamedTuple):
    """A model, and the tensors that hold its arrays.

    Attributes:
      kind: of checkpoint.
      prefix: of the names.
      model: as the checkpoint has it.
      body: the tensors of all but the head that makes the logits.
      head: the tensors of that.
      shapes: path to shape of every array.
      channels: of the images.
    """

    kind: Format
    prefix: str
    model: nn.Module
    body: tuple[TensorEntry, ...]
    head: tuple[TensorEntry, ...]
    shapes: Mapping[str, Shape]
    channels: int

    @property
    def side(self) -> int:
        """A size of images that the model takes."""
        return self.kind.side(self.model)


def read_off(
    headers: Headers,
    source: str,
    config: Config,
    family: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Network:
    """Recognizes a checkpoint and checks names, dtypes and shapes of its tensors.

    Args:
      headers: of all tensors.
      source: what to call the checkpoint in messages.
      config: beside it.
      family: the one that is expected, or None.
      changes: attributes of the model that are asked for.

    Raises:
      ValueError: see ``load``.
      TypeError: the model has no such attribute.
    """
    changes = dict(changes or {})
    kind, prefix, _ = detect(headers.keys(), source, family)
    for pattern, what in kind.refused:
        if odd := next((name for name in headers if re.fullmatch(pattern, name)), None):
            raise ValueError(f"{source}: tensor {odd} belongs to {what}, which is not supported")
    kind.check_config(config)
    arrays = kind.arrays(source, {name: shape for name, (_, shape) in headers.items()}, prefix)
    heads = changes.pop("heads", None)
    model = kind.build(arrays, config, heads)
    _check_heads(model, heads)
    model = _changed(model, changes)
    told = config.classes()
    if told is not None and told != class_count(model):
        raise ValueError(
            f"{config.where} tells of {told} classes, the tensors of {class_count(model)} "
            f"({kind.table.entry_of_path(f'{kind.head}/kernel', prefix).name})"
        )
    channels = max(1, arrays.shape(kind.stem)[2]) if kind.stem in arrays else 3
    shapes = array_shapes(model, kind.side(model), channels)
    entries = kind.table.entries(shapes, prefix)
    needed = [entry.name for entry in entries]
    unknown = [n for n in set(headers) - set(needed) if not kind.unused_reason(n)]
    check_names(source, headers, needed, unknown, f"a {_describe(model)}")
    check_shapes(source, entries, headers, shapes)
    in_head = [entry.paths[0].startswith(f"{kind.head}/") for entry in entries]
    body = tuple(e for e, h in zip(entries, in_head, strict=True) if not h)
    head = tuple(e for e, h in zip(entries, in_head, strict=True) if h)
    return Network(kind, prefix, model, body, head, shapes, channels)


def class_count(model: nn.Module) -> int:
    """Length of a model's logits, 0 if it has no head."""
    return model.head.num_classes if isinstance(model, Segmenter) else model.num_classes


def with_classes(model: nn.Module, count: int) -> nn.Module:
    """The model with another length of its logits."""
    if isinstance(model, Segmenter):
        return model.clone(head=model.head.clone(num_classes=count))
    return model.clone(num_classes=count)


def fresh_head(network: Network, model: nn.Module, seed: int) -> dict[str, np.ndarray]:
    """The arrays of a new head, path to array: those of ``model.init``, without the rest of it."""

    @jax.jit
    def init(key: jax.Array) -> Any:
        images = jnp.zeros((1, network.side, network.side, network.channels))
        tree: Any = model.init(key, images, train=False)
        for part in network.kind.head.split("/"):
            tree = tree[part]
        return tree

    flat = traverse_util.flatten_dict(dict(init(jax.random.key(seed))), sep="/")
    return {f"{network.kind.head}/{leaf}": np.asarray(array) for leaf, array in flat.items()}


def _check_heads(model: nn.Module, heads: Any) -> None:
    """Checks that attention heads were asked for in the form that the model has.

    Raises:
      TypeError: it has none, or another number of stages.
    """
    if heads is None:
        return
    inner = model.backbone if isinstance(model, Segmenter) else model
    if "heads" not in _attributes(inner):
        raise TypeError(f"{type(inner).__name__} has no attention heads, got heads={heads!r}")
    stages = len(inner.depths) if isinstance(inner, SegFormer) else None
    given = len(heads) if isinstance(heads, tuple) else None
    if given != stages:
        wanted = "one integer" if stages is None else f"a tuple of {stages} integers"
        raise TypeError(f"heads must be {wanted} for a {type(inner).__name__}, got {heads!r}")


def _changed(model: nn.Module, changes: dict[str, Any]) -> nn.Module:
    """The model, or the backbone of a segmenter, with attributes changed."""
    own = {key: value for key, value in changes.items() if key in _attributes(model)}
    rest = {key: value for key, value in changes.items() if key not in own}
    model = model.clone(**own)
    if not rest:
        return model
    if isinstance(model, Segmenter):
        return model.clone(backbone=_changed(model.backbone, rest))
    raise TypeError(
        f"{type(model).__name__} has no attribute {', '.join(rest)}; it has "
        f"{', '.join(_attributes(model))}"
    )


def _attributes(model: nn.Module) -> list[str]:
    hidden = {"parent", "name", "backbone", "head", "num_classes"}
    return [f.name for f in dataclasses.fields(model) if f.init and f.name not in hidden]


def _describe(model: nn.Module) -> str:
    """The class and what it takes to see its size, such as ``ViT(width=192, depth=12)``."""
    shown = ("width", "widths", "depth", "depths", "registers")
    values = ((key, getattr(model, key)) for key in shown if getattr(model, key, None))
    return f"{type(model).__name__}({', '.join(f'{k}={v}' for k, v in values)})"


def dtype_word(dtype: str) -> str:
    """NumPy's word for a dtype of safetensors, where there is one."""
    return _WORDS.get(dtype, dtype)


def array_shapes(model: nn.Module, side: int, channels: int) -> dict[str, Shape]:
    """Path to shape of every array of a model, from an abstract initialization."""
    images = jax.ShapeDtypeStruct((1, side, side, channels), np.float32)
    tree = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    flat: dict[str, Any] = dict(traverse_util.flatten_dict(dict(tree), sep="/"))
    return {path: tuple(leaf.shape) for path, leaf in flat.items()}


def check_names(
    source: str, given: Collection[str], needed: Sequence[str], unknown: Sequence[str], what: str
) -> None:
    """Checks that what is needed is there, and no more.

    Args:
      source: what to call the checkpoint in messages.
      given: names of all tensors.
      needed: names that must be among them.
      unknown: names among them that are neither needed nor known to be of no use.
      what: what the needed ones make.

    Raises:
      ValueError: the message names what is missing and left over.
    """
    missing = [name for name in needed if name not in given]
    problems = []
    if missing:
        problems.append(f"missing {_some(missing)}")
    if unknown:
        problems.append(f"left over {_some(sorted(unknown))}")
    if problems:
        raise ValueError(
            f"{source}: expected the {len(needed)} tensors of {what}, got {len(given)}: "
            f"{'; '.join(problems)}"
        )


def _some(names: Sequence[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def check_header(source: str, name: str, dtype: str, shape: Shape, expected: Shape) -> None:
    """Checks dtype and shape of a tensor.

    Raises:
      ValueError: the message names the tensor, what it has, and what was expected.
    """
    if shape != expected:
        raise ValueError(f"{source}: tensor {name} has shape {shape}, expected {expected}")
    if dtype not in DTYPES:
        words = f"{', '.join(dtype_word(d) for d in DTYPES[:-1])} or {dtype_word(DTYPES[-1])}"
        raise ValueError(f"{source}: tensor {name} has dtype {dtype_word(dtype)}, expected {words}")


def check_values(source: str, entry: TensorEntry, values: np.ndarray) -> None:
    """Checks that values are finite, and that variances are not negative.

    Raises:
      ValueError: the message names the tensor.
    """
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise ValueError(
            f"{source}: tensor {entry.name} has {bad} of {values.size} values that are not finite"
        )
    if entry.paths[0].endswith("/var") and np.any(values < 0):
        raise ValueError(
            f"{source}: tensor {entry.name} has the value {values.min()}, expected variances >= 0"
        )


def check_shapes(
    source: str,
    entries: Sequence[TensorEntry],
    headers: Mapping[str, tuple[str, Shape]],
    shapes: Mapping[str, Shape],
) -> None:
    """``check_header`` of all tensors; ``headers`` are (dtype, shape), ``shapes`` by path."""
    for entry in entries:
        dtype, shape = headers[entry.name]
        expected = entry.torch_shape(shapes[entry.paths[0]])
        check_header(source, entry.name, dtype, shape, expected)
