"""Rules of soft equivariance: the filters of each family's weights.

Every model of this package knows its own rules (its method ``soft_rules``); the function asks for
them and makes the dials.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Unpack, cast

import jax
import numpy as np

from softeq_jax._checks import known_options, whole
from softeq_jax.groups import Group, PlanarGroup
from softeq_jax.projections import (
    Dials,
    Projector,
    Rule,
    Untouched,
    continuous,
    convolution_rule,
    projector,
)
from softeq_jax.reps import tokens

Array = jax.Array | np.ndarray


@dataclasses.dataclass(frozen=True)
class ModelDials:
    """The dials of the filters of a model: one setting for weights, one for position tables.

    Attributes:
      weights: see ``projections.Dials``; strict if there are none.
      own_positions: those of position tables alone, None where they follow the weights.
      min_window: windows of kernels that are smaller stay as they are; None: each family's own
        choice.

    Example:
      >>> import softeq_jax as sq
      >>> dials = sq.models.ModelDials({"softness": 0.5}, own_positions={"softness": 1.0})
      >>> dials.softness, dials.positions
      (0.5, {'softness': 1.0})
    """

    weights: Dials = dataclasses.field(default_factory=Dials)
    own_positions: Dials | None = None
    min_window: int | None = None
    _asked: set[str] = dataclasses.field(default_factory=set, compare=False, repr=False)

    @property
    def positions(self) -> Dials:
        """Those of position tables."""
        self._asked.add("positions")
        return self.weights if self.own_positions is None else self.own_positions

    def refuse_idle(self, what: str) -> None:
        """ValueError for dials of position tables, or of windows, that ``what`` did not ask for."""
        if self.own_positions is not None and "positions" not in self._asked:
            raise ValueError(
                f"{what} has no position table: leave position_softness and position_cutoff out"
            )
        if self.min_window is not None and "windows" not in self._asked:
            raise ValueError(f"{what} has no kernels with a window: leave min_window out")

    @property
    def softness(self) -> float | None:
        """That of the weights, None where they have a cutoff."""
        return self.weights.get("softness")

    def left_alone(self, side: int, above: float | None) -> Untouched | None:
        """Why a family leaves windows with this longer side alone; None where it does not.

        Args:
          side: of the window.
          above: softness above which it leaves windows up to 3 x 3 alone; ``min_window`` decides
            in its place.
        """
        if above is None or self.min_window is not None or side > 3:
            return None
        if (self.softness or 0.0) <= above:
            return None
        return Untouched(f"windows up to 3 x 3 are left alone above softness {above:g}")

    def filters_windows(self, side: int) -> bool:
        """Whether ``min_window`` lets windows with this longer side be filtered."""
        self._asked.add("windows")
        return self.min_window is None or side >= self.min_window


def soft_rules(
    model: Any,
    group: Group,
    *,
    position_softness: float | None = None,
    position_cutoff: float | None = None,
    min_window: int | None = None,
    **dials: Unpack[Dials],
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
    * CIFAR ResNets: every 3 x 3 convolution at every softness, since they have no others; so for
      the ResNets of volumes, under SO(3), O(3), the octahedral groups.
    * EfficientNet-Lite (not in the paper): the stem and the depthwise windows, 3 x 3 and 5 x 5, at
      every softness. Layers of stride 2 break the symmetry by their padding, whatever their kernels
      are, except on images of side ``32 n + 1``.
    * MLP-Mixer (not in the paper): the patch kernel, and the token-mixing layers as maps between
      the tokens and hidden units that the group leaves alone. At level 0 a block then mixes orbit
      means of tokens.
    * Models of vectors and tensors: every linear map between representations.

    A position table is filtered as it is stored, at the resolution it was trained at; models
    resize it afterwards, in their forward pass. The published transformers filter one thing only:
    positions, ``softness=1.0, position_softness=s``, or patches, ``softness=s,
    position_softness=1.0`` (what softness 1 leaves alone keeps its movement in the certificate).
    The published SegFormer filters windows from 5 x 5 on, ``min_window=5``.

    Args:
      model: of this package.
      group: a planar group (``softeq_jax.groups.cyclic(4)``, ``so(2)``, ``dihedral(n)``, ...) for
        models of images, a group of R^3 for those of volumes; the model's own group, or one of its
        subgroups where it says so, for structured ones.
      position_softness: softness of position tables; they follow the weights if neither dial of
        their own is given.
      position_cutoff: cutoff of position tables, instead.
      min_window: kernels with smaller windows are left alone at every softness, and larger ones
        never; None leaves it to the family, see above.
      dials: of the weights, and the mask of all, see ``projections.Dials``; strict without. A
        softness is met by heat if no mask is named. Penalties, relaxation and ``split`` need
        ``mask="hard"``.

    Returns:
      From a glob over the paths of ``params`` to a projector, a function that makes one for each
      weight, or None for "untouched". The last rule, ``"**"``, leaves all others untouched.

    Raises:
      TypeError: a model that has no rules.
      ValueError: two dials for one thing, a mask without any, a dial of position tables for a
        model that has none, ``min_window`` for one without kernels, a dial out of range, a group
        that does not act on the model's grid, or a setting at which nothing would be filtered.

    Example:
      >>> import jax, jax.numpy as jnp, softeq_jax as sq
      >>> net = sq.models.CifarResNet(depth=8, width=4)
      >>> rules = sq.models.soft_rules(net, sq.groups.cyclic(4), softness=0.5)
      >>> params = jax.eval_shape(net.init, jax.random.key(0), jnp.ones((1, 8, 8, 3)))["params"]
      >>> sq.plan(params, rules)
      Plan(7 of 23 parameters, 1 projectors)
    """
    if not hasattr(model, "soft_rules"):
        raise TypeError(
            f"{type(model).__name__} has no soft_rules; write them by hand, see softeq_jax.plan"
        )
    known_options(dials, Dials, "soft_rules")
    own = Dials(softness=position_softness, cutoff=position_cutoff, mask=dials.get("mask"))
    for given in (dials, own):
        one, other = given.get("softness"), given.get("cutoff")
        if one is not None and other is not None:
            raise ValueError(f"give a softness or a cutoff, not both: got {one} and {other}")
    strict, follows = (
        given.get("softness") is None and given.get("cutoff") is None for given in (dials, own)
    )
    mask = dials.get("mask")
    if strict and follows and mask not in (None, "hard"):
        raise ValueError(f"mask={mask!r} needs a dial beside it: softness= or cutoff=")
    weights = Dials() if strict else continuous(dials)
    if min_window is not None:
        whole(min_window, "min_window", least=2)
    made = ModelDials(weights, None if follows else continuous(own), min_window)
    rules = model.soft_rules(group, made)
    made.refuse_idle(type(model).__name__)
    return rules


def window_rule(
    group: Group,
    dials: ModelDials,
    *,
    axes: str = "h w i o",
    leave_small_above: float | None = None,
) -> Rule:
    """The rule for convolutions: the kernel on its window, other axes alone; none for 1 x 1.

    Args:
      group: acts on the window.
      dials: of the weights.
      axes: of the kernels, the window first; ``"d h w i o"`` for those of volumes.
      leave_small_above: softness above which windows up to 3 x 3 are left alone.
    """
    rule, rank = convolution_rule(group, axes=axes, **dials.weights), len(axes.split())
    dials.filters_windows(1)  # asked for, whatever kernels there are

    def chosen(path: str, weight: Array) -> Projector | Untouched | None:
        side = max(weight.shape[:-2]) if len(weight.shape) == rank else 1
        if side == 1 or not dials.filters_windows(side):
            return None
        return dials.left_alone(side, leave_small_above) or rule(path, weight)

    return chosen


def position_rule(group: Group, dials: ModelDials, side: int, prefix: int) -> Projector:
    """The projector of a position table ``[1, prefix + side^2, c]``; prefix rows are kept."""
    grid = tokens(cast(PlanarGroup, group), (side, side), prefix)  # which refuses others
    return projector("1 n c", {"n": grid}, **dials.positions)


def prefixed(prefix: str, rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """The rules of a part of a model, for the whole model."""
    return {f"{prefix}/{pattern}": rule for pattern, rule in rules.items()}
