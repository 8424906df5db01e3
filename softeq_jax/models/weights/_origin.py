"""What a checkpoint was like, as far as writing it again needs it."""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from softeq_jax.models.weights._config import Config
from softeq_jax.models.weights._files import Checkpoint
from softeq_jax.models.weights._format import Format
from softeq_jax.models.weights._network import Network
from softeq_jax.models.weights._report import Carried
from softeq_jax.models.weights._table import Entry, Shape


@dataclasses.dataclass(frozen=True)
class Stored:
    """A tensor of the file to be written.

    Attributes:
      entry: its name, and the arrays it holds.
      dtype: as safetensors has it, ``"F32"``, ``"F16"`` or ``"BF16"``.
      shape: in PyTorch's layout.
    """

    entry: Entry
    dtype: str
    shape: Shape


@dataclasses.dataclass(frozen=True, eq=False)
class Origin:
    """What ``save`` needs to write variables as the checkpoint was.

    Attributes:
      source: file, folder or hub id.
      family: see ``Report``.
      format: see ``Report``.
      tensors: the file's tensors that hold variables.
      carried: the others, as they were.
      metadata: the text metadata of the file (of all shards together).
      config: text of ``config.json``, or None.
      preprocessor: text of ``preprocessor_config.json``, or None.
      files: ``"file"``, ``"folder"`` or ``"shards"``; ``save`` writes one file in any case.
    """

    source: str
    family: str
    format: str
    tensors: tuple[Stored, ...]
    carried: Mapping[str, np.ndarray]
    metadata: Mapping[str, str]
    config: str | None = None
    preprocessor: str | None = None
    files: str = "file"


def describe(
    checkpoint: Checkpoint,
    network: Network,
    read: tuple[Entry, ...],
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
    if not any(name.startswith(network.prefix) for name in checkpoint.tensors):  # a new prefix
        kept = {network.prefix + name: tensor for name, tensor in kept.items()}
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


def headed(
    network: Network, config: Config, carried: tuple[Carried, ...]
) -> tuple[Network, tuple[Carried, ...]]:
    """Names for a backbone that gets a head: Hugging Face then puts a prefix before the others.

    Returns:
      The network with that prefix, and what it carries: a network with a head has no place for
      some of it.
    """
    if network.kind.name != "hugging face" or network.prefix:
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
    return network._replace(prefix=f"{model_type}."), rows


def with_classes(origin: Origin, kind: Format, classes: int) -> Origin:
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
        for part in (config, config.get("pretrained_cfg"), config.get("model_args")):
            for key in ("label_names", "label_descriptions"):
                (part or {}).pop(key, None)
            if part is config or "num_classes" in (part or {}):
                part["num_classes"] = classes
    return dataclasses.replace(origin, config=json.dumps(config, indent=2) + "\n")
