"""Rules of soft equivariance: the filters of each family's weights.

Every model of this package knows its own rules (its method ``soft_rules``); the function asks for
them and makes the dials.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import jax
import numpy as np

from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.projections import Projector, Rule, convolution_rule, projector
from softeq_jax.reps import tokens

Array = jax.Array | np.ndarray


@dataclasses.dataclass(frozen=True)
class ModelDials:
    """Softness of the filters: one dial for weights, one for position tables.

    Attributes:
      softness: of weights, in [0, 1]; see ``Projector.at``.
      cutoff: of weights, in 1 / radian, instead.
      position_softness: of position tables; like the weights' if neither position dial is given.
      position_cutoff: of position tables, instead.
      mask: ``"hard"``, ``"heat"`` or ``"resolvent"``, of all.
    """

    softness: float | None = None
    cutoff: float | None = None
    position_softness: float | None = None
    position_cutoff: float | None = None
    mask: str = "hard"

    @property
    def weights(self) -> dict[str, Any]:
        """Keyword arguments for the projectors of weights."""
        return {"softness": self.softness, "cutoff": self.cutoff, "mask": self.mask}

    @property
    def positions(self) -> dict[str, Any]:
        """Keyword arguments for the projectors of position tables."""
        given = {"softness": self.position_softness, "cutoff": self.position_cutoff}
        if given == {"softness": None, "cutoff": None}:
            return self.weights
        return {**given, "mask": self.mask}


def soft_rules(
    model: Any,
    group: Group,
    *,
    softness: float | None = None,
    position_softness: float | None = None,
    cutoff: float | None = None,
    position_cutoff: float | None = None,
    mask: str = "hard",
) -> dict[str, Rule]:
    """The rules of soft equivariance for a model, for ``softeq_jax.plan(params, rules)``.

    Section 3 of the specification of "Tunable Soft Equivariance with Guarantees":

    * ViT and DINOv2: the patch kernel, and the position table without its prefix rows, on the grid
      of patches that it was trained at. Attention, perceptrons, norms, class and register tokens
      and the head are untouched: they act on each token alike, or mix tokens by content.
    * ResNet and SegFormer: every convolution with a window above 1 x 1 (patch embeddings,
      depthwise and spatial-reduction kernels too); windows up to 3 x 3 are left alone above
      softness 0.8 (ResNet) or 0.9 (SegFormer). Pointwise layers, norms, attention and the head are
      untouched.
    * CIFAR ResNets: every 3 x 3 convolution at every softness, since they have no others.
    * MLP-Mixer (not in the paper): the patch kernel, and the token-mixing layers as maps between
      the tokens and hidden units that the group leaves alone. At level 0 a block then mixes orbit
      means of tokens.
    * Models of vectors and tensors: every linear map between representations.

    A position table is filtered as it is stored, at the resolution it was trained at; models
    resize it afterwards, in their forward pass.

    Args:
      model: of this package.
      group: a planar group (``softeq_jax.groups.cyclic(4)``, ``so(2)``, ``dihedral(n)``, ...) for
        vision models; the model's own group, or one of its subgroups where it says so, for
        structured ones.
      softness: of weights, 0 (strict) to 1 (untouched to the bit); 0 if no dial is given.
      position_softness: of position tables; by default that of the weights.
      cutoff: of weights, in 1 / radian, instead of ``softness``.
      position_cutoff: of position tables, instead of ``position_softness``.
      mask: ``"hard"``, ``"heat"`` or ``"resolvent"``.

    Returns:
      From a glob over the paths of ``params`` to a projector, a function that makes one for each
      weight, or None for "untouched". The last rule, ``"**"``, leaves all others untouched.

    Raises:
      TypeError: a model that has no rules.
      ValueError: two dials for one thing, a dial out of range, a group that does not act on the
        model's grid, or a setting at which nothing would be filtered.
    """
    if not hasattr(model, "soft_rules"):
        raise TypeError(
            f"{type(model).__name__} has no soft_rules; write them by hand, see softeq_jax.plan"
        )
    for one, other in ((softness, cutoff), (position_softness, position_cutoff)):
        if one is not None and other is not None:
            raise ValueError(f"give a softness or a cutoff, not both: got {one} and {other}")
    dials = ModelDials(softness, cutoff, position_softness, position_cutoff, mask)
    return model.soft_rules(group, dials)


def window_rule(group: Group, dials: ModelDials, *, leave_small_above: float | None = None) -> Rule:
    """The rule for convolutions: the kernel on its window, other axes alone; none for 1 x 1.

    Args:
      group: acts on the window.
      dials: of the weights.
      leave_small_above: softness above which windows up to 3 x 3 are left alone.
    """
    rule = convolution_rule(group, **dials.weights)
    small = leave_small_above is not None and (dials.softness or 0.0) > leave_small_above

    def chosen(path: str, weight: Array) -> Projector | None:
        if small and len(weight.shape) == 4 and max(weight.shape[:2]) <= 3:
            return None
        return rule(path, weight)

    return chosen


def position_rule(group: Group, dials: ModelDials, side: int, prefix: int) -> Projector:
    """The projector of a position table ``[1, prefix + side^2, c]``; prefix rows are kept."""
    grid = tokens(cast(PlanarGroup, group), (side, side), prefix)  # which refuses others
    return projector("1 n c", {"n": grid}, **dials.positions)


def prefixed(prefix: str, rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """The rules of a part of a model, for the whole model."""
    return {f"{prefix}/{pattern}": rule for pattern, rule in rules.items()}
