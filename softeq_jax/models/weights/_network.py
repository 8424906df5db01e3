"""The network that a checkpoint's headers tell, strictly checked."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from softeq_jax.models.heads import Segmenter
from softeq_jax.models.segformer import SegFormer
from softeq_jax.models.weights import _check, _detect
from softeq_jax.models.weights._config import Config
from softeq_jax.models.weights._format import Format
from softeq_jax.models.weights._table import Entry, Shape

Headers = Mapping[str, tuple[str, Shape]]  # name: dtype, shape


class Network(NamedTuple):
    """A model and where its arrays are.

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
    body: tuple[Entry, ...]
    head: tuple[Entry, ...]
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
    kind, prefix, _ = _detect.detect(headers.keys(), source, family)
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
    if told is not None and told != classes(model):
        raise ValueError(
            f"{config.where} tells of {told} classes, the tensors of {classes(model)} "
            f"({kind.table.entry_of_path(f'{kind.head}/kernel', prefix).name})"
        )
    channels = max(1, arrays.shape(kind.stem)[2]) if kind.stem in arrays else 3
    shapes = _check.array_shapes(model, kind.side(model), channels)
    entries = kind.table.entries(shapes, prefix)
    needed = [entry.name for entry in entries]
    unknown = [n for n in set(headers) - set(needed) if not kind.unused_reason(n)]
    _check.check_names(source, headers, needed, unknown, f"a {_describe(model)}")
    _check.check_shapes(source, entries, headers, shapes)
    in_head = [entry.paths[0].startswith(f"{kind.head}/") for entry in entries]
    body = tuple(e for e, h in zip(entries, in_head, strict=True) if not h)
    head = tuple(e for e, h in zip(entries, in_head, strict=True) if h)
    return Network(kind, prefix, model, body, head, shapes, channels)


def classes(model: nn.Module) -> int:
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
