"""The attention filter: a soft projection of what attention adds, along the grid of tokens."""

import dataclasses
from collections.abc import Callable

import jax

from softeq_jax.groups import PlanarGroup
from softeq_jax.projections import Dials, Projector, continuous, projector
from softeq_jax.reps import tokens


@dataclasses.dataclass(frozen=True)
class AttentionFilter:
    """Smoothing of the attention outputs of some blocks, as in "Tunable Soft Equivariance with
    Guarantees" (section 3 of its specification): block i computes ``x + P A(norm(x))`` in place of
    ``x + A(norm(x))``, with the soft projection P of maps ``[tokens, c]`` onto what the group,
    turning the grid about its middle, leaves alone. Class token and registers pass.

    No parameter is changed or added, and no bound of a plan covers it. What holds instead: P
    commutes with the group and its norm is at most 1, so that the defect of attention under turns
    of its tokens does not grow, ``||P A(g x) - g P A(x)|| <= ||A(g x) - g A(x)||``. A strict filter
    adds the same all over an orbit of patches; ``softness=1`` is the network without a filter.

    Attributes:
      group: rotations of the plane that map the grid to itself.
      blocks: numbers of the blocks, from 0.
      softness, cutoff, mask: dials of the projector, see ``projections.Dials``; strict if there is
        neither of the first two, heat for a softness if there is no mask.

    Example:
      >>> import softeq_jax as sq
      >>> smooth = sq.models.AttentionFilter(sq.groups.cyclic(4), blocks=(0, 2), softness=0.5)
      >>> smooth.projector((7, 7), prefix=1)
      Projector('b n c', n: Tokens[1+7x7](C4), mask=heat, cutoff=0.8641, softness=0.5)
    """

    group: PlanarGroup
    blocks: tuple[int, ...]
    softness: float | None = None
    cutoff: float | None = None
    mask: str | None = None

    def projector(self, grid: tuple[int, int], prefix: int) -> Projector:
        """The projector of token maps ``[n, prefix + rows * columns, c]``.

        Raises:
          ValueError: the group does not map the grid to itself, or a dial is out of range.
        """
        dials = Dials(softness=self.softness, cutoff=self.cutoff, mask=self.mask)
        if self.softness is None and self.cutoff is None and self.mask is None:
            dials = Dials(cutoff=0.0)
        grid_rep = tokens(self.group, grid, prefix)
        return projector("b n c", {"n": grid_rep}, **continuous(dials))


def attention_filters(
    given: AttentionFilter | None, depth: int, grid: tuple[int, int], prefix: int
) -> list[Callable[[jax.Array], jax.Array] | None]:
    """The filter of every block, None where there is none.

    Raises:
      ValueError: a block that the model does not have, or as ``AttentionFilter.projector``.
    """
    if given is None:
        return [None] * depth
    unknown = sorted(set(given.blocks) - set(range(depth)))
    if unknown or not given.blocks:
        raise ValueError(
            f"attention_filter.blocks must be some of 0 to {depth - 1}, got {given.blocks}"
        )
    projected = given.projector(grid, prefix)
    return [projected if i in given.blocks else None for i in range(depth)]
