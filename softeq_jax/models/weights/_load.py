"""Loading: published weights into a model, with a report, and the form to save them in."""

import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from softeq_jax._checks import whole
from softeq_jax.models.heads import Segmenter
from softeq_jax.models.weights._architecture import Format
from softeq_jax.models.weights._checkpoint import Checkpoint, find_checkpoint
from softeq_jax.models.weights._configuration import (
    Config,
    Takes,
    parse_config,
    resolve_preprocess,
)
from softeq_jax.models.weights._network import (
    Headers,
    Network,
    check_values,
    class_count,
    dtype_word,
    fresh_head,
    read_off,
    with_classes,
)
from softeq_jax.models.weights._pretrained import (
    Carried,
    LoadReport,
    Origin,
    Pretrained,
    Reset,
    Stored,
    Used,
)
from softeq_jax.models.weights._tensor_names import TensorEntry


def load(
    source: str | os.PathLike[str],
    *,
    num_classes: int | None = None,
    reset_head: bool = False,
    seed: int = 0,
    family: str | None = None,
    **changes: Any,
) -> Pretrained:
    """Reads a published checkpoint into a model of this package.

    The kind of checkpoint is recognized by the names of its tensors, which may all have
    ``module.``, ``_orig_mod.``, ``model.`` or ``backbone.`` before them; the model's attributes are
    read off their shapes and off ``config.json`` where there is one. Every tensor must be one of
    the network's, or known to be of no use to it (``report`` lists those), and all of the
    network's must be there.

    What no tensor tells: the number of attention heads (``config.json``, else those of the
    published sizes, most of which have heads of 64 channels; or pass ``heads=``), the epsilons of
    norms (``config.json``, else those of the family), whether timm's ViT with a class token and a
    norm before pooling takes the mean instead (``config.json``, else the token), whether a ResNet
    is one of timm's antialiased ones (``config.json``, else a plain one), whether an
    EfficientNet-Lite came from TensorFlow, with its padding (``config.json``, else it did), and,
    without ``config.json``, whether whole blocks are missing at the end.

    Args:
      source: a ``.safetensors`` file (if it is called ``model.safetensors``, the ``config.json``
        beside it is read too), a folder with ``model.safetensors`` or with shards and their index,
        or, where there is no such path, a Hugging Face hub id such as
        ``"google/vit-base-patch16-224"``, which needs ``huggingface_hub``.
      num_classes: classes that are wanted; by default as many as the checkpoint has. 0 for a model
        that ends with its features: the head is then carried along for ``save``.
      reset_head: start a new head, for ``num_classes`` classes.
      seed: of the new head.
      family: the one that is expected: ``"vit"``, ``"dinov2"``, ``"resnet"``, ``"mixer"``,
        ``"segformer"``, ``"efficientnet_lite"`` or ``"cifar_resnet"``.
      **changes: attributes of the model (of a segmenter or its backbone) to be changed, such as
        ``heads=3`` or ``interpolate=True``.

    Raises:
      FileNotFoundError: no such file or folder, or a hub repository that cannot be had.
      ImportError: a hub id, and ``huggingface_hub`` is not installed.
      ValueError: no safetensors file, or a damaged one, or one shard of many; a checkpoint of no
        family, or of another one than asked for; a tensor is missing, left over, of another shape
        or dtype, not finite, or a variance is negative; another number of classes; ``config.json``
        or ``preprocessor_config.json`` has a setting that the models do not have, that is none, or
        that contradicts the tensors; attributes that do not fit them. The message names the file,
        and the tensor or the setting.
      OSError: a file cannot be read.
      TypeError: the model has no such attribute.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, softeq_jax as sq
      >>> import tempfile
      >>> net, x = sq.models.CifarResNet(depth=8, width=4), jnp.ones((1, 8, 8, 3))
      >>> shapes = jax.eval_shape(net.init, jax.random.key(0), x)
      >>> variables = jax.tree.map(lambda a: np.ones(a.shape, a.dtype), shapes)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     sq.models.save_cifar_resnet(f"{folder}/net.safetensors", variables)
      ...     sq.models.load(f"{folder}/net.safetensors").model.width
      4
    """
    checkpoint = find_checkpoint(source)
    config = parse_config(checkpoint.config, checkpoint.source)
    headers = {name: (h.dtype, h.shape) for name, h in checkpoint.tensors.items()}
    network = read_off(headers, checkpoint.source, config, family, changes)
    choice = _choose_head(checkpoint.source, network, num_classes, reset_head)
    model = with_classes(network.model, choice.wanted)
    fixed = network.kind.fixed_size and not getattr(model, "interpolate", False)
    side = getattr(model, "image_size", None)
    takes = Takes(network.channels, side if fixed else None, getattr(model, "patch_size", 1), side)
    preprocess = resolve_preprocess(network.kind.preprocess, config, checkpoint.preprocessor, takes)

    entries = (*network.body, *(network.head if choice.kept else ()))
    flat = _values(checkpoint, entries)
    fresh = fresh_head(network, model, seed) if choice.fresh else {}
    flat.update(fresh)
    carried = _carried(network, headers, choice)
    if choice.fresh and not choice.has:
        network, carried = _headed(network, config, carried)

    report = LoadReport(
        source=checkpoint.source,
        family=network.kind.family,
        format=network.kind.name,
        model=type(model).__name__,
        used=tuple(
            Used(e.name, dtype_word(headers[e.name][0]), headers[e.name][1], e.paths)
            for e in entries
        ),
        carried=carried,
        reset=tuple(Reset(path, tuple(array.shape)) for path, array in fresh.items()),
    )
    origin = _origin(checkpoint, network, entries, flat, carried)
    if choice.fresh and choice.wanted != choice.has:
        origin = _relabeled(origin, network.kind, choice.wanted)
    return Pretrained(
        model, traverse_util.unflatten_dict(flat, sep="/"), report, origin, preprocess
    )


class _Head(NamedTuple):
    """Classes of the checkpoint, classes wanted, and whether the head is started anew."""

    has: int
    wanted: int
    fresh: bool

    @property
    def kept(self) -> bool:
        return self.has == self.wanted and not self.fresh


def _choose_head(source: str, network: Network, num_classes: int | None, reset: bool) -> _Head:
    has = class_count(network.model)
    wanted = has if num_classes is None else whole(num_classes, "num_classes", least=0)
    if reset and not has and num_classes is None:
        raise ValueError(f"{source}: has no head; reset_head=True needs num_classes")
    if not wanted and isinstance(network.model, Segmenter):
        raise ValueError("num_classes=0 makes no segmenter; expected at least 1")
    if wanted and wanted != has and not reset:
        there = f"a head for {has} classes ({network.head[0].name})" if has else "no head"
        raise ValueError(
            f"{source}: has {there}, asked for num_classes={wanted}; reset_head=True starts a new "
            "one"
        )
    return _Head(has, wanted, reset and wanted > 0)


def _values(checkpoint: Checkpoint, entries: tuple[TensorEntry, ...]) -> dict[str, np.ndarray]:
    """Path to float32 array, in our layouts."""
    flat = {}
    by_name = {entry.name: entry for entry in entries}
    for name, tensor in checkpoint.read(by_name):
        values = tensor.astype(np.float32)
        check_values(checkpoint.source, by_name[name], values)
        flat.update(zip(by_name[name].paths, by_name[name].to_flax(values), strict=True))
    return flat


def _carried(network: Network, headers: Headers, choice: _Head) -> tuple[Carried, ...]:
    """Tensors of the file that the model has no place for."""
    reasons = [(name, network.kind.unused_reason(name)) for name in headers]
    if choice.has and not choice.wanted:
        reasons += [(entry.name, "num_classes=0 was asked for") for entry in network.head]
    return tuple(
        Carried(name, dtype_word(headers[name][0]), headers[name][1], why)
        for name, why in reasons
        if why
    )


def _origin(
    checkpoint: Checkpoint,
    network: Network,
    read: tuple[TensorEntry, ...],
    flat: Mapping[str, np.ndarray],
    carried: tuple[Carried, ...],
) -> Origin:
    """The origin of variables.

    Args:
      checkpoint: where they are from.
      network: with the names that they are to be saved under.
      read: the tensors that were read.
      flat: path to array; those of a new head are given the dtype that most tensors have.
      carried: tensors that are not in ``flat``.
    """
    dtypes = {e.paths[0]: checkpoint.tensors[e.name].dtype for e in read}
    most = Counter(dtypes.values()).most_common(1)[0][0]
    tensors = tuple(
        Stored(
            entry,
            dtypes.get(entry.paths[0], most),
            entry.torch_shape(tuple(flat[entry.paths[0]].shape)),
        )
        for entry in network.kind.table.entries(flat, network.prefix)
    )
    kept = dict(checkpoint.read(row.name for row in carried if row.saved))
    start = network.prefix.of(True)
    if not any(name.startswith(start) for name in checkpoint.tensors):  # a new prefix
        outer = network.prefix.wrapper
        kept = {
            start + name.removeprefix(outer) if name.startswith(outer) else name: tensor
            for name, tensor in kept.items()
        }
    return Origin(
        checkpoint.source,
        network.kind.family,
        network.kind.name,
        tensors,
        kept,
        checkpoint.metadata,
        checkpoint.config,
        checkpoint.preprocessor,
        checkpoint.files,
    )


def _headed(
    network: Network, config: Config, carried: tuple[Carried, ...]
) -> tuple[Network, tuple[Carried, ...]]:
    """Names for a backbone that gets a head: Hugging Face then puts a prefix before the others.

    Returns:
      The network with that prefix, and what it carries: a network with a head has no place for
      some of it.
    """
    if network.kind.name != "hugging face" or network.prefix.own:
        return network, carried
    registers = "params/register_tokens" in network.shapes
    model_types = list(network.kind.model_types)
    model_type = config.all.get("model_type", model_types[-1 if registers else 0])
    rows = tuple(
        dataclasses.replace(row, reason="a network with a head has none", saved=False)
        if re.fullmatch(network.kind.backbone_only, row.name)
        else row
        for row in carried
    )
    return network._replace(prefix=network.prefix._replace(own=f"{model_type}.")), rows


def _relabeled(origin: Origin, kind: Format, classes: int) -> Origin:
    """The origin with a ``config.json`` for so many classes; old labels are forgotten."""
    if origin.config is None:
        return origin
    config: dict[str, Any] = json.loads(origin.config)
    if kind.name == "hugging face":
        names = {i: f"LABEL_{i}" for i in range(classes)}
        config["id2label"] = names
        config["label2id"] = {name: i for i, name in names.items()}
        if "num_labels" in config:
            config["num_labels"] = classes
        config["architectures"] = [kind.model_types[config["model_type"]][-1]]
    else:
        config["num_classes"] = classes
        for part in (config, config.get("pretrained_cfg"), config.get("model_args")):
            if part is None:
                continue
            for key in ("label_names", "label_descriptions"):
                part.pop(key, None)
            if "num_classes" in part:
                part["num_classes"] = classes
    return dataclasses.replace(origin, config=json.dumps(config, indent=2) + "\n")
