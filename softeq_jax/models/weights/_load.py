"""Pretrained weights into models."""

import dataclasses
import os
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn
from flax import traverse_util

from softeq_jax.models.heads import Segmenter
from softeq_jax.models.weights import _check, _config, _files, _network, _origin, _preprocess
from softeq_jax.models.weights._network import Headers, Network
from softeq_jax.models.weights._preprocess import Preprocess
from softeq_jax.models.weights._report import Carried, Report, Reset, Used
from softeq_jax.models.weights._table import Entry


@dataclasses.dataclass(frozen=True, eq=False)
class Pretrained:
    """A model with published weights.

    Attributes:
      model: a Linen module, its attributes read off the checkpoint.
      variables: ``{"params": ..., "batch_stats": ...}`` of float32 NumPy arrays; without
        ``batch_stats`` where the model has none.
      report: what became of each tensor.
      origin: what ``save`` needs.
      preprocess: how images are made for it.
    """

    model: nn.Module
    variables: dict[str, Any]
    report: Report
    origin: _origin.Origin
    preprocess: Preprocess


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

    The kind of checkpoint is recognized by the names of its tensors; the model's attributes are
    read off their shapes and off ``config.json`` where there is one. Every tensor must be one of
    the network's, or known to be of no use to it (``report`` lists those), and all of the
    network's must be there.

    What no tensor tells: the number of attention heads (``config.json``, else those of the
    published sizes, most of which have heads of 64 channels; or pass ``heads=``), the epsilons of
    norms (``config.json``, else those of the family), whether timm's ViT with a class token and a
    norm before pooling takes the mean instead (``config.json``, else the token), whether a ResNet
    is one of timm's antialiased ones (``config.json``, else a plain one), and, without
    ``config.json``, whether whole blocks are missing at the end.

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
        ``"segformer"`` or ``"cifar_resnet"``.
      **changes: attributes of the model (of a segmenter or its backbone) to be changed, such as
        ``heads=3`` or ``interpolate=True``.

    Raises:
      FileNotFoundError: no such file or folder, or a hub repository that cannot be had.
      ImportError: a hub id, and ``huggingface_hub`` is not installed.
      ValueError: no safetensors file, or a damaged one; a checkpoint of no family, or of another
        one than asked for; a tensor is missing, left over, of another shape or dtype, not finite,
        or a variance is negative; another number of classes; ``config.json`` has a setting that
        the models do not have. The message names the tensor or the setting.
      TypeError: the model has no such attribute.
    """
    checkpoint = _files.find(source)
    config = _config.parse(checkpoint.config, checkpoint.source)
    headers = {name: (h.dtype, h.shape) for name, h in checkpoint.tensors.items()}
    network = _network.read_off(headers, checkpoint.source, config, family, changes)
    choice = _choose_head(checkpoint.source, network, num_classes, reset_head)
    model = _network.with_classes(network.model, choice.wanted)

    entries = (*network.body, *(network.head if choice.kept else ()))
    flat = _values(checkpoint, entries)
    fresh = _network.fresh_head(network, model, seed) if choice.fresh else {}
    flat.update(fresh)
    carried = _carried(network, headers, choice)
    if choice.fresh and not choice.has:
        network, carried = _origin.headed(network, config, carried)

    report = Report(
        source=checkpoint.source,
        family=network.kind.family,
        format=network.kind.name,
        model=type(model).__name__,
        used=tuple(
            Used(e.name, _check.word(headers[e.name][0]), headers[e.name][1], e.paths)
            for e in entries
        ),
        carried=carried,
        reset=tuple(Reset(path, tuple(array.shape)) for path, array in fresh.items()),
    )
    origin = _origin.describe(checkpoint, network, entries, flat, carried)
    if choice.fresh and choice.wanted != choice.has:
        origin = _origin.with_classes(origin, network.kind, choice.wanted)
    fixed = network.kind.fixed_size and not getattr(model, "interpolate", False)
    preprocess = _preprocess.resolve(
        network.kind.preprocess,
        config,
        checkpoint.preprocessor,
        model.image_size if fixed else None,
    )
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
    has = _network.classes(network.model)
    wanted = has if num_classes is None else num_classes
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 0:
        raise ValueError(f"num_classes must be an integer >= 0 or None, got {num_classes!r}")
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


def _values(checkpoint: _files.Checkpoint, entries: tuple[Entry, ...]) -> dict[str, np.ndarray]:
    """Path to float32 array, in our layouts."""
    flat = {}
    by_name = {entry.name: entry for entry in entries}
    for name, tensor in checkpoint.read(by_name):
        values = tensor.astype(np.float32)
        _check.check_values(checkpoint.source, by_name[name], values)
        flat.update(zip(by_name[name].paths, by_name[name].to_flax(values), strict=True))
    return flat


def _carried(network: Network, headers: Headers, choice: _Head) -> tuple[Carried, ...]:
    """Tensors of the file that the model has no place for."""
    reasons = [(name, network.kind.unused_reason(name)) for name in headers]
    if choice.has and not choice.wanted:
        reasons += [(entry.name, "num_classes=0 was asked for") for entry in network.head]
    return tuple(
        Carried(name, _check.word(headers[name][0]), headers[name][1], why)
        for name, why in reasons
        if why
    )
