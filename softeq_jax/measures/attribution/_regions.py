r"""Partitions of a traced function into layers, and the interfaces between them.

Any partition into layers B gives an exact attribution (measures.md D.4): a variable v made in A
and read in B != A is an *edge* (v, B), and with ``s_(v,B) = <g_(v,B), D v>``, where ``g_(v,B)`` is
the part of the cotangent of v that comes back from B,

    z^T c_B = sum of s over the edges into B - sum of s over the edges out of B.

Variables of unknown layout must not be edges, so the operations around them are put into one
layer; all else is a matter of reading. The finest partition has one layer per operation. Layers
that commute with the generators by construction are computed together with a neighbor.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from softeq_jax.measures._layouts import Fiber, Image, Layout, Tokens
from softeq_jax.measures.attribution._flow import Flow
from softeq_jax.measures.attribution._layers import By, Layers, layers
from softeq_jax.measures.attribution._still import is_still


@dataclasses.dataclass(frozen=True, eq=False)
class Partition:
    """Layers and the edges between them.

    Attributes:
      layers: labels, in order of execution.
      edges: variables that are read by another block than the one they are made in, with the
        index of the block that reads; a block is a layer with neighbors that contribute zero.
      signs: float64 ``[layers, edges + 1]``: contribution of a layer = signs @ s, the last
        column standing for the output.
      shapes: of what each layer hands on last.
      layouts: of it, in words.
      block_of: block by position of the operation.
    """

    layers: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    signs: np.ndarray
    shapes: tuple[tuple[int, ...], ...]
    layouts: tuple[str, ...]
    block_of: dict[int, int]


def partition(flow: Flow, by: By, *, flows_only: bool, skip_still: bool = True) -> Partition:
    """Cuts a traced function into layers.

    Args:
      flow: with one output that depends on the input, and known layouts of both.
      by: see ``layerwise``.
      flows_only: whether all generators are flows of the plane.
      skip_still: whether layers that contribute zero by construction are left uncomputed.

    Raises:
      ValueError: as of ``layers``.
    """
    named = layers(flow, by)
    owner = {k: index for index, (_, members) in enumerate(named) for k in members}
    still = [
        skip_still and all(is_still(flow, k, flows_only=flows_only) for k in members)
        for _, members in named
    ]
    block = _blocks(flow, owner, still)
    block_of = {k: block[index] for k, index in owner.items()}
    edges = []
    for v in (flow.root, *flow.maker):
        home = block_of[flow.maker[v]] if v != flow.root else None
        abroad = dict.fromkeys(block_of[k] for k in flow.readers.get(v, []))
        if flow.graph.is_smooth(v):
            edges += [(v, index) for index in abroad if index != home]
    signs = np.zeros((len(named), len(edges) + 1))
    for column, (v, index) in enumerate(edges):
        signs[index, column] += 1
        if v != flow.root:
            signs[block_of[flow.maker[v]], column] -= 1
    signs[block_of[flow.maker[flow.output]], -1] -= 1
    ends = _last_results(flow, named, owner)
    return Partition(
        tuple(label for label, _ in named),
        tuple(edges),
        signs,
        tuple(() if v is None else flow.graph.shapes[v].shape for v in ends),
        tuple("none" if v is None else _words(flow.facts.layouts.get(v)) for v in ends),
        block_of,
    )


def _blocks(flow: Flow, owner: dict[int, int], still: Sequence[bool]) -> list[int]:
    """The layer that each layer is computed with; it is the only one in its block to count."""
    after: list[set[int]] = [set() for _ in still]
    before: list[set[int]] = [set() for _ in still]
    for v, k in flow.maker.items():
        for reader in flow.readers.get(v, []):
            after[owner[k]].add(owner[reader])
            before[owner[reader]].add(owner[k])
    ends = owner[flow.maker[flow.output]]
    starts = {owner[k] for k in flow.readers[flow.root]}
    block = list(range(len(still)))

    def find(index: int) -> int:
        while block[index] != index:
            index = block[index]
        return index

    for index in reversed(range(len(still))):
        if not still[index]:
            continue
        following = {find(other) for other in after[index]} - {index}
        leading = {find(other) for other in before[index]} - {index}
        if len(following) == 1 and index != ends:
            block[index] = following.pop()
        elif len(leading) == 1 and index not in starts:
            block[index] = leading.pop()
    return [find(index) for index in range(len(still))]


def _last_results(flow: Flow, named: Layers, owner: dict[int, int]) -> list[int | None]:
    last: dict[int, int] = {}
    for v, k in flow.maker.items():
        if v == flow.output or any(owner[r] != owner[k] for r in flow.readers.get(v, [])):
            last[owner[k]] = v
    return [last.get(index) for index in range(len(named))]


def _words(layout: Layout | None) -> str:
    if isinstance(layout, Image | Tokens) and isinstance(layout.pitch, tuple):
        y, x = layout.pitch
        kind = "image" if isinstance(layout, Image) else "tokens"
        return f"{kind}, pitch {y:g}" if y == x else f"{kind}, pitch {y:g} x {x:g}"
    if isinstance(layout, Fiber):
        return f"{layout.rep}"
    return "unknown" if layout is None else type(layout).__name__.lower()
