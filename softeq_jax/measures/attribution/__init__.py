"""Layer-wise attribution of the Lie derivative of a network."""

from softeq_jax.measures.attribution._attribution import Attribution
from softeq_jax.measures.attribution._graph import tap
from softeq_jax.measures.attribution._layerwise import Plan, layerwise, plan
from softeq_jax.measures.attribution._linen import linen

__all__ = ["Attribution", "Plan", "layerwise", "linen", "plan", "tap"]
