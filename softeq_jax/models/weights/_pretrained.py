"""Pretrained weights with their record: report of each tensor, and the form they came in."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn

from softeq_jax._text import brief, clipped, html_table, paragraph, plural, wrapped
from softeq_jax.models.weights._configuration import Preprocess
from softeq_jax.models.weights._tensor_names import Shape, TensorEntry

_SOURCE = 48
"""Characters of the name of a checkpoint in a short text."""


@dataclasses.dataclass(frozen=True)
class Used:
    """A tensor that went into the model.

    Attributes:
      name: in the checkpoint.
      dtype: in the checkpoint, NumPy's word.
      shape: in the checkpoint.
      paths: of the arrays in ``variables``.
    """

    name: str
    dtype: str
    shape: Shape
    paths: tuple[str, ...]

    __repr__ = brief


@dataclasses.dataclass(frozen=True)
class Carried:
    """A tensor that the model has no place for.

    Attributes:
      name: in the checkpoint.
      dtype: in the checkpoint, NumPy's word.
      shape: in the checkpoint.
      reason: why it is not used.
      saved: whether ``save`` writes it again.
    """

    name: str
    dtype: str
    shape: Shape
    reason: str
    saved: bool = True

    __repr__ = brief


@dataclasses.dataclass(frozen=True)
class Reset:
    """An array that was initialized anew.

    Attributes:
      path: in ``variables``.
      shape: in ``variables``.
    """

    path: str
    shape: Shape

    __repr__ = brief


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """A report of loading: what became of each tensor of the checkpoint.

    Attributes:
      source: file, folder or hub id.
      family: ``"vit"``, ``"dinov2"``, ``"resnet"``, ``"mixer"``, ``"segformer"``,
        ``"efficientnet_lite"`` or ``"cifar_resnet"``.
      format: whose names it has: ``"hugging face"``, ``"timm"`` or ``"cifar"``.
      model: the class of the model.
      used: the tensors that went into the model.
      carried: those that did not, with reasons.
      reset: arrays that were initialized anew instead.

    Example:
      >>> import softeq_jax as sq
      >>> report = sq.models.weights.LoadReport("net", "vit", "timm", "ViT", (), (), ())
      >>> report.parameters  # of the tensors used
      0
    """

    source: str
    family: str
    format: str
    model: str
    used: tuple[Used, ...]
    carried: tuple[Carried, ...]
    reset: tuple[Reset, ...]

    @property
    def parameters(self) -> int:
        """Numbers that came from the checkpoint."""
        return sum(math.prod(row.shape) for row in self.used)

    def table(self) -> str:
        """Every tensor and where it went, as a Markdown table."""
        head, rows = self._cells()
        lines = [head, ("---",) * len(head), *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def _cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        rows = [(r.name, r.dtype, str(r.shape), ", ".join(r.paths)) for r in self.used]
        rows += [
            (r.name, r.dtype, str(r.shape), f"{'carried' if r.saved else 'dropped'}: {r.reason}")
            for r in self.carried
        ]
        rows += [("", "", str(r.shape), f"{r.path}: initialized anew") for r in self.reset]
        return ("tensor", "dtype", "shape", "goes to"), rows

    def __repr__(self) -> str:
        used = plural(len(self.used), "tensor")
        rest = f"{len(self.carried)} carried or dropped, {len(self.reset)} initialized anew"
        return clipped(f"LoadReport({clipped(self.source, _SOURCE)}: {used} used, {rest})")

    def _repr_html_(self) -> str:
        return paragraph(str(self)) + html_table(*self._cells())

    def __str__(self) -> str:
        dtypes = ", ".join(dict.fromkeys(row.dtype for row in self.used))
        lines = [
            f"{self.source}: {self.model} (family {self.family}, {self.format} names)",
            f"  used: {len(self.used)} tensors, {self.parameters:,} numbers, {dtypes}",
        ]
        for saved, title in ((True, "carried, not used"), (False, "dropped")):
            by_reason: dict[str, list[str]] = {}
            for row in self.carried:
                if row.saved == saved:
                    by_reason.setdefault(row.reason, []).append(row.name)
            for reason, names in by_reason.items():
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                lines.append(f"  {title}: {', '.join(names[:3])}{more} ({reason})")
        for row in self.reset:
            lines.append(f"  initialized anew: {row.path} {row.shape}")
        return "\n".join(wrapped(line, "    ") for line in lines)


@dataclasses.dataclass(frozen=True)
class Stored:
    """A tensor of the file to be written.

    Attributes:
      entry: its name, and the arrays it holds.
      dtype: as safetensors has it, ``"F32"``, ``"F16"`` or ``"BF16"``.
      shape: in PyTorch's layout.
    """

    entry: TensorEntry
    dtype: str
    shape: Shape

    __repr__ = brief


@dataclasses.dataclass(frozen=True, eq=False)
class Origin:
    """The form of a checkpoint, in which ``save`` writes variables again.

    Attributes:
      source: file, folder or hub id.
      family: see ``LoadReport``.
      format: see ``LoadReport``.
      tensors: the file's tensors that hold variables.
      carried: the others, as they were.
      metadata: the text metadata of the file (of all shards together).
      config: text of ``config.json``, or None.
      preprocessor: text of ``preprocessor_config.json``, or None.
      files: ``"file"``, ``"folder"`` or ``"shards"``; ``save`` writes one file in any case.

    Example:
      >>> import softeq_jax as sq
      >>> origin = sq.models.weights.Origin("net", "vit", "timm", (), {}, {})
      >>> origin.files
      'file'
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

    __repr__ = brief


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

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, softeq_jax as sq
      >>> import tempfile
      >>> net, x = sq.models.CifarResNet(depth=8, width=4), jnp.ones((1, 8, 8, 3))
      >>> shapes = jax.eval_shape(net.init, jax.random.key(0), x)
      >>> variables = jax.tree.map(lambda a: np.ones(a.shape, a.dtype), shapes)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     sq.models.save_cifar_resnet(f"{folder}/net.safetensors", variables)
      ...     found = sq.models.load(f"{folder}/net.safetensors")
      >>> found.origin.format, sorted(found.variables), found.preprocess.image_size
      ('cifar', ['batch_stats', 'params'], 32)
    """

    model: nn.Module
    variables: dict[str, Any]
    report: LoadReport
    origin: Origin
    preprocess: Preprocess

    def __repr__(self) -> str:
        size = f"{self.report.parameters / 1e6:.2f} M numbers"
        source = clipped(self.report.source, _SOURCE)
        return clipped(f"Pretrained({self.report.model}, {size} from {source})")
