"""Layer-wise attribution of the Lie derivative of a network."""

from softeq_jax.measures.attribution._attribution import Attribution
from softeq_jax.measures.attribution._graph import tap
from softeq_jax.measures.attribution._layerwise import (
    CompiledAttribution,
    CutOptions,
    layerwise,
    plan,
)
from softeq_jax.measures.attribution._linen import linen

__all__ = [
    "Attribution",
    "CompiledAttribution",
    "CutOptions",
    "layerwise",
    "linen",
    "plan",
    "tap",
]


def __dir__() -> list[str]:
    return sorted(__all__)
