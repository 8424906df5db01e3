"""Equivariance of the features inside a network: correlation, fitted maps and subspaces.

``linen_features`` collects features, ``footprints`` and ``infer_layouts`` measure where their
entries lie, ``feature_correlation`` compares them with their transforms layer by layer, and
``fitted_map_score`` and ``subspace_scores`` ask how much a linear map could explain.
"""

from softeq_jax.measures.features._correlation import (
    FeatureCorrelation,
    LayerCorrelation,
    feature_correlation,
)
from softeq_jax.measures.features._evaluation import FeatureOptions
from softeq_jax.measures.features._fitted import FittedMap, fitted_map_score
from softeq_jax.measures.features._footprints import Footprint, footprints, infer_layouts
from softeq_jax.measures.features._moved_similarity import (
    FeatureSimilarity,
    LayerSimilarity,
    SimilarityOptions,
    feature_similarity,
)
from softeq_jax.measures.features._similarity import (
    distance_correlation,
    linear_cka,
    rsa,
    svcca,
)
from softeq_jax.measures.features._subspaces import SubspaceScore, subspace_scores
from softeq_jax.measures.features._taps import linen_features

__all__ = [
    "FeatureCorrelation",
    "FeatureOptions",
    "FeatureSimilarity",
    "FittedMap",
    "Footprint",
    "LayerCorrelation",
    "LayerSimilarity",
    "SimilarityOptions",
    "SubspaceScore",
    "distance_correlation",
    "feature_correlation",
    "feature_similarity",
    "fitted_map_score",
    "footprints",
    "infer_layouts",
    "linear_cka",
    "linen_features",
    "rsa",
    "subspace_scores",
    "svcca",
]
