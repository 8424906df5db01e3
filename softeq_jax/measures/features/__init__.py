"""Equivariance of the features inside a network: correlation, similarity, fitted maps, spectra.

``linen_features`` collects features, ``footprints`` and ``infer_layouts`` measure where their
entries lie, ``feature_correlation`` compares them with their transforms layer by layer, and
``fitted_map_score`` and ``subspace_scores`` ask how much a linear map could explain.
``fitted_representation`` asks for orthogonal ones that multiply as the group does,
``irrep_spectrum`` for the types in a known one. ``feature_similarity`` (CKA, SVCCA, RSA, distance
correlation) needs to know nothing of the action.
"""

from softeq_jax.measures.features._correlation import feature_correlation
from softeq_jax.measures.features._evaluation import FeatureOptions
from softeq_jax.measures.features._fitted import FittedMap, fitted_map_score
from softeq_jax.measures.features._footprints import Footprint, footprints, infer_layouts
from softeq_jax.measures.features._layer_correlation import FeatureCorrelation, LayerCorrelation
from softeq_jax.measures.features._moved_similarity import (
    FeatureSimilarity,
    LayerSimilarity,
    SimilarityOptions,
    feature_similarity,
)
from softeq_jax.measures.features._representation import (
    FittedRepresentation,
    fitted_representation,
)
from softeq_jax.measures.features._similarity import (
    distance_correlation,
    linear_cka,
    rsa,
    svcca,
)
from softeq_jax.measures.features._spectrum import (
    IrrepSpectrum,
    LevelProjector,
    irrep_spectrum,
)
from softeq_jax.measures.features._subspaces import SubspaceScore, subspace_scores
from softeq_jax.measures.features._taps import linen_features

__all__ = [
    "FeatureCorrelation",
    "FeatureOptions",
    "FeatureSimilarity",
    "FittedMap",
    "FittedRepresentation",
    "Footprint",
    "IrrepSpectrum",
    "LayerCorrelation",
    "LayerSimilarity",
    "LevelProjector",
    "SimilarityOptions",
    "SubspaceScore",
    "distance_correlation",
    "feature_correlation",
    "feature_similarity",
    "fitted_map_score",
    "fitted_representation",
    "footprints",
    "infer_layouts",
    "irrep_spectrum",
    "linear_cka",
    "linen_features",
    "rsa",
    "subspace_scores",
    "svcca",
]


def __dir__() -> list[str]:
    return sorted(__all__)
