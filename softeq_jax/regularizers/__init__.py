r"""Penalties on what is not equivariant: training towards symmetry.

======================================  ===========================================================
to train towards equivariant weights    ``projection_penalty``: exact, from the weights alone, and
                                        nearly free. Power 2 shrinks, power 1 selects layers.
and reach them exactly                  ``add_equivariance_decay`` at the end of an optimizer of
                                        optax, or ``prox_step`` in a loop of one's own: no
                                        gradient, and with power 1 N w vanishes
to spare low frequencies                ``lie_penalty``: weighs what is not equivariant by its
                                        squared angular frequency; for small transformations
one layer on its data                   ``lie_activation_penalty`` and ``activation_norm_penalty``:
                                        for relaxed branches, affine and nonlinear layers
any function, also nonlinear            ``orbit_penalty``: sampled, k more forward passes;
                                        ``remul`` weighs it against the task, ``latent_penalty``
                                        asks a latent space for copies of the regular
                                        representation
to watch any of them                    ``part_norms``
======================================  ===========================================================

The first three see linear maps, not what lies between (activations, normalization, padding), and
no cancellation between layers; keep a sampled measure of ``softeq_jax.measures`` beside them. They
take a ``Plan`` first and need hard masks. Their options are ``Terms``, those of the penalties of
functions ``OnData``.
"""

from softeq_jax.regularizers._data_penalties import (
    OnData,
    activation_norm_penalty,
    latent_penalty,
    lie_activation_penalty,
    orbit_penalty,
)
from softeq_jax.regularizers._parts import PartNorms, Squares, part_norms, part_squares, square
from softeq_jax.regularizers._proximal import (
    EquivarianceDecayState,
    add_equivariance_decay,
    prox_step,
)
from softeq_jax.regularizers._remul import RemulWeights, adapt_remul, remul, remul_weights
from softeq_jax.regularizers._terms import ParameterGroup, Per, Terms, parameter_groups
from softeq_jax.regularizers._weight_penalties import lie_penalty, projection_penalty

__all__ = [
    "EquivarianceDecayState",
    "OnData",
    "ParameterGroup",
    "PartNorms",
    "Per",
    "RemulWeights",
    "Squares",
    "Terms",
    "activation_norm_penalty",
    "adapt_remul",
    "add_equivariance_decay",
    "latent_penalty",
    "lie_activation_penalty",
    "lie_penalty",
    "orbit_penalty",
    "parameter_groups",
    "part_norms",
    "part_squares",
    "projection_penalty",
    "prox_step",
    "remul",
    "remul_weights",
    "square",
]


def __dir__() -> list[str]:
    return sorted(__all__)
