"""Layers that are equivariant for any stored parameters, and their soft counterparts.

Features carry a representation on their last axis (``EquivariantDense``, ``EquivariantConv`` on
images and volumes, and the nonlinearities and norms that go with them), or are vectors
``[..., channels, d]`` (the vector neurons). What is strict here by its projector has an option to
leave the stored weights to a plan instead.
"""

from softeq_jax.nn.equivariant._contract import Contraction, contracted, contraction_maps
from softeq_jax.nn.equivariant._convolution import (
    EquivariantConv,
    conv_projectors,
    conv_rules,
    conv_window,
)
from softeq_jax.nn.equivariant._dense import (
    EquivariantDense,
    dense_projectors,
    dense_rules,
    equivariant_normal,
)
from softeq_jax.nn.equivariant._fields import Field, Fields, fields, join, split
from softeq_jax.nn.equivariant._forms import invariant_form, norms
from softeq_jax.nn.equivariant._nonlinear import Gated, NormGate, gated_input, norm_gate, pointwise
from softeq_jax.nn.equivariant._normalization import FieldLayerNorm, VectorBatchNorm, VectorNorm
from softeq_jax.nn.equivariant._vectors import (
    VectorDense,
    VectorRelu,
    free_kernel,
    invariants,
    strict_kernel,
    vector_max_pool,
    vector_mean_pool,
    vector_rules,
)

__all__ = [
    "Contraction",
    "EquivariantConv",
    "EquivariantDense",
    "Field",
    "FieldLayerNorm",
    "Fields",
    "Gated",
    "NormGate",
    "VectorBatchNorm",
    "VectorDense",
    "VectorNorm",
    "VectorRelu",
    "contracted",
    "contraction_maps",
    "conv_projectors",
    "conv_rules",
    "conv_window",
    "dense_projectors",
    "dense_rules",
    "equivariant_normal",
    "fields",
    "free_kernel",
    "gated_input",
    "invariant_form",
    "invariants",
    "join",
    "norm_gate",
    "norms",
    "pointwise",
    "split",
    "strict_kernel",
    "vector_max_pool",
    "vector_mean_pool",
    "vector_rules",
]


def __dir__() -> list[str]:
    return sorted(__all__)
