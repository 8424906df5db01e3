"""Certificates: what is proven about how far a group moves a weight, a layer or a network.

``Projector.certificate`` and ``Plan.certificate`` are the way in. The functions here are the
theorems behind them (bounds of one weight), the step from a kernel to its layer (``convolution``,
``linear``), and the step from layers to a network (``compose``).
"""

from softeq_jax.certificates._activations import POINTWISE, activation
from softeq_jax.certificates._bounds import (
    Sandwich,
    element_bound,
    generator_defects,
    lie_bound,
    lie_norm,
    sandwich,
    word_bound,
)
from softeq_jax.certificates._composition import (
    Activation,
    Composition,
    Linear,
    Residual,
    compose,
)
from softeq_jax.certificates._convolution import (
    ConvolutionGeometry,
    averaging,
    convolution,
    convolution_norm_bound,
    lattice_obstacle,
)
from softeq_jax.certificates._diameter import diameter
from softeq_jax.certificates._gap import Gap, cutoff_bound, gap
from softeq_jax.certificates._linear import linear
from softeq_jax.projections import Certificate, combine

__all__ = [
    "POINTWISE",
    "Activation",
    "Certificate",
    "Composition",
    "ConvolutionGeometry",
    "Gap",
    "Linear",
    "Residual",
    "Sandwich",
    "activation",
    "averaging",
    "combine",
    "compose",
    "convolution",
    "convolution_norm_bound",
    "cutoff_bound",
    "diameter",
    "element_bound",
    "gap",
    "generator_defects",
    "lattice_obstacle",
    "lie_bound",
    "lie_norm",
    "linear",
    "sandwich",
    "word_bound",
]


def __dir__() -> list[str]:
    return sorted(__all__)
