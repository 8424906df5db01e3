"""The network of a checkpoint: read off shapes, strictly checked."""

import dataclasses
import functools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from softeq_jax._checks import whole
from softeq_jax.models.cifar_resnet import CifarResNet
from softeq_jax.models.heads import Segmenter
from softeq_jax.models.segformer import SegFormer
from softeq_jax.models.weights._architecture import Format
from softeq_jax.models.weights._configuration import Config
from softeq_jax.models.weights._detection import detect
from softeq_jax.models.weights._tensor_names import Prefix, Shape, TensorEntry

_MANY_BLOCKS, _SMALLEST_BLOCK = 100, 8
_SHOWN = 200  # characters of a name
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
# A path into the second block of a stage.
_SECOND = re.compile(r"(?P<start>(?:.*/)?(?:stage(?P<stage>\d+)_)?block)1(?P<end>/.*)")


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
    prefix: Prefix
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
        pattern = re.compile(re.escape(prefix.wrapper) + f"(?:{pattern})")
        if odd := next((name for name in headers if pattern.fullmatch(name)), None):
            raise ValueError(f"{source}: tensor {odd} belongs to {what}, which is not supported")
    kind.check_config(config)
    arrays = kind.arrays(source, {name: shape for name, (_, shape) in headers.items()}, prefix)
    heads = changes.pop("heads", None)
    model = kind.build(arrays, config, heads)
    _check_heads(model, heads, config)
    _check_depth(source, model, len(headers))
    told = config.classes()
    if told is not None and told != class_count(model):
        raise ValueError(
            f"{config.where} tells of {told} classes, the tensors of {class_count(model)} "
            f"({kind.table.entry_of_path(f'{kind.head}/kernel', prefix).name})"
        )
    channels = arrays.shape(kind.stem)[2] if kind.stem in arrays else 3
    shapes = array_shapes(model, kind.side(model), channels)
    entries = kind.table.entries(shapes, prefix)
    needed = [entry.name for entry in entries]
    unknown = [n for n in set(headers) - set(needed) if not kind.unused_reason(n)]
    check_names(source, headers, needed, unknown, f"a {_describe(model)}")
    check_shapes(source, entries, headers, shapes)
    in_head = [entry.paths[0].startswith(f"{kind.head}/") for entry in entries]
    body = tuple(e for e, h in zip(entries, in_head, strict=True) if not h)
    head = tuple(e for e, h in zip(entries, in_head, strict=True) if h)
    network = Network(kind, prefix, model, body, head, shapes, channels)
    return _changed_network(network, source, changes) if changes else network


def _check_depth(source: str, model: nn.Module, tensors: int) -> None:
    """Checks that a deep network can be among so many tensors at all, before it is looked at.

    Raises:
      ValueError: it cannot.
    """
    blocks = sum(_shallow(model)[1])
    if blocks > _MANY_BLOCKS and blocks * _SMALLEST_BLOCK > tensors:
        raise ValueError(
            f"{source}: has names of {blocks} blocks, which its {tensors} tensors cannot fill; "
            f"each has at least {_SMALLEST_BLOCK}"
        )


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


def _check_heads(model: nn.Module, heads: Any, config: Config) -> None:
    """Checks that attention heads are of the form that the model has, and divide its channels.

    Args:
      model: with its heads.
      heads: those that were asked for, or None.
      config: where they are from otherwise.

    Raises:
      TypeError: it has none, or another number of stages.
      ValueError: they do not divide the channels.
    """
    inner = model.backbone if isinstance(model, Segmenter) else model
    if "heads" not in _attributes(inner):
        if heads is None:
            return
        raise TypeError(f"{type(inner).__name__} has no attention heads, got heads={heads!r}")
    stages = len(inner.depths) if isinstance(inner, SegFormer) else None
    given = len(inner.heads) if isinstance(inner.heads, tuple) else None
    if given != stages:
        wanted = "one integer" if stages is None else f"a tuple of {stages} integers"
        raise TypeError(f"heads must be {wanted} for a {type(inner).__name__}, got {heads!r}")
    pairs = (
        ((inner.width, inner.heads),)
        if given is None
        else zip(inner.widths, inner.heads, strict=True)
    )
    for width, count in pairs:
        if width % whole(count, "heads"):
            where = config.where if heads is None else "heads"
            raise ValueError(
                f"{where}: {inner.heads} attention heads do not divide the {width} channels that "
                "the tensors have"
            )


def _changed_network(network: Network, source: str, changes: dict[str, Any]) -> Network:
    """The network with attributes of its model changed, which the tensors must fit.

    Raises:
      ValueError: they do not; the message names the changes, and what to ask for instead.
      TypeError: the model has no such attribute.
    """
    asked = ", ".join(f"{key}={value!r}" for key, value in changes.items())
    (_, old), model = _shallow(network.model), _changed(network.model, changes)
    if (new := _shallow(model)[1]) != old:
        raise ValueError(f"{source}: does not fit {asked}: has {old} blocks, asked for {new}")
    changed = network._replace(model=model)
    wanted, have = array_shapes(model, changed.side, network.channels), network.shapes
    odd = [path for path in {**have, **wanted} if wanted.get(path) != have.get(path)]
    if not odd:
        return changed
    path = min(odd, key=lambda path: path in have and path in wanted)
    advice = ""
    if "image_size" in changes and "interpolate" in _attributes(model):
        advice = "; image_size is that of the position table: leave it, and pass interpolate=True"
    elif "image_size" in changes and network.kind.fixed_size:
        advice = "; the network takes no other image_size"
    elif "image_size" in changes:
        advice = "; the network takes images of any size as it is: leave image_size"
    raise ValueError(
        f"{source}: does not fit {asked}: {path} would have shape {wanted.get(path, 'none')}, of "
        f"the tensors it has {have.get(path, 'none')}{advice}"
    )


def _changed(model: nn.Module, changes: dict[str, Any]) -> nn.Module:
    """The model, or the backbone of a segmenter, with attributes changed."""
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
    own = {key: value for key, value in given.items() if key in _attributes(model)}
    rest = {key: value for key, value in given.items() if key not in own}
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


@functools.lru_cache(maxsize=64)
def array_shapes(model: nn.Module, side: int, channels: int) -> Mapping[str, Shape]:
    """Path to shape of every array of a model, from an abstract initialization.

    The blocks of a stage from the second on are alike: a deep model takes no longer than one of
    two blocks a stage.
    """
    shallow, depths = _shallow(model)
    images = jax.ShapeDtypeStruct((1, side, side, channels), np.float32)
    tree = jax.eval_shape(lambda x: shallow.init(jax.random.key(0), x, train=False), images)
    flat: dict[str, Any] = dict(traverse_util.flatten_dict(dict(tree), sep="/"))
    shapes = {path: tuple(leaf.shape) for path, leaf in flat.items()}
    for path in list(shapes):
        if match := _SECOND.fullmatch(path):
            depth = depths[int(match["stage"] or 1) - 1]
            for block in range(2, depth):
                shapes[f"{match['start']}{block}{match['end']}"] = shapes[path]
    return dict(sorted(shapes.items(), key=lambda item: item[0].split("/")))


def _shallow(model: nn.Module) -> tuple[nn.Module, tuple[int, ...]]:
    """A model with two blocks a stage at most, and the blocks that each stage has."""
    if isinstance(model, Segmenter):
        backbone, depths = _shallow(model.backbone)
        return model.clone(backbone=backbone), depths
    if isinstance(model, CifarResNet):
        return model.clone(depth=min(model.depth, 14)), ((model.depth - 2) // 6,) * 3
    if hasattr(model, "depths"):
        return model.clone(depths=tuple(min(d, 2) for d in model.depths)), model.depths
    return model.clone(depth=min(model.depth, 2)), (model.depth,)


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
    return ", ".join(name[:_SHOWN] for name in names[:most]) + rest


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
