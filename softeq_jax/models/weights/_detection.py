"""Kinds of checkpoints, told apart by the names of their tensors."""

import re
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from softeq_jax.models.weights import (
    _cifar_resnet,
    _dinov2,
    _efficientnet_lite,
    _mixer,
    _resnet,
    _segformer,
    _vit,
)
from softeq_jax.models.weights._architecture import Format
from softeq_jax.models.weights._tensor_names import Prefix

FORMATS: tuple[Format, ...] = (
    *_vit.FORMATS,
    *_dinov2.FORMATS,
    *_cifar_resnet.FORMATS,
    *_resnet.FORMATS,
    *_mixer.FORMATS,
    *_segformer.FORMATS,
    *_efficientnet_lite.FORMATS,
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
_SHOWN = 200  # characters of a name
# What DDP, torch.compile, Lightning and the like put before all names, in any order.
_WRAPPERS = re.compile(r"(?:(?:module|_orig_mod|model|backbone)\.){1,8}")


class Match(NamedTuple):
    """A format of checkpoints, with the prefix of its names and the share of names it knows."""

    format: Format
    prefix: Prefix
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
    best = _best_match(names, _wrapper(names))
    if best.share <= 0.5:
        raise ValueError(f"{source}: not a checkpoint of {', '.join(FAMILIES)}{_looks_like(names)}")
    if family not in (None, best.format.family):
        raise ValueError(
            f"{source}: asked for family {family!r}, but it looks like "
            f"{best.format.family!r} with {best.format.name} names"
        )
    return best


def _wrapper(names: Collection[str]) -> str:
    """What modules around a network have put before most of its names."""
    found = Counter(match[0] for name in names if (match := _WRAPPERS.match(name)))
    return found.most_common(1)[0][0] if found else ""


def _best_match(names: Collection[str], wrapper: str) -> Match:
    """The format that knows most of the names behind a wrapper's."""
    matches = []
    for kind in FORMATS:
        for own in kind.prefixes:
            prefix = Prefix(wrapper, own)
            known = sum(kind.table.knows(name, prefix) for name in names)
            matches.append(Match(kind, prefix, known / len(names) if names else 0.0))
    return max(matches, key=lambda match: match.share)


def _looks_like(names: Collection[str]) -> str:
    if not names:
        return "; it has no tensors"
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    common = first[: first.rfind(".", 0, same) + 1]
    if common and (best := _best_match(names, common)).share > 0.5:
        return (
            f"; without their prefix {common[:_SHOWN]!r} its names are those of family "
            f"{best.format.family} ({best.format.name})"
        )
    for pattern, what in _STRANGERS:
        if any(re.fullmatch(pattern, name) for name in names):
            return f"; it looks like {what}"
    some = ", ".join(name[:_SHOWN] for name in sorted(names)[:4])
    return f"; its {len(names)} tensors are called {some}, ..."
