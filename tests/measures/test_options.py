"""Options of the measures: every measure takes those that it has a use for, and no other."""

import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import measures
from softeq_jax.measures import features, finite

IMAGES = np.random.default_rng(0).standard_normal((2, 6, 6, 1)).astype(np.float32)
SHIFT = finite.shift(0, 1)


def scores(x):
    return jnp.stack([x.sum((1, 2, 3)), (x**2).sum((1, 2, 3))], axis=1)


def maps(x):
    return {"map": x}


CALLS = {
    "lie_derivative": (lambda **o: measures.lie_derivative(scores, IMAGES, "scale", **o), "jit"),
    "lie_errors": (lambda **o: measures.lie_errors(scores, IMAGES, ["scale"], **o), "jit"),
    "layerwise": (lambda **o: measures.layerwise(scores, IMAGES, "scale", **o), "jit"),
    "report": (lambda **o: measures.report(scores, IMAGES, **o), "jit"),
    "relative_error": (
        lambda **o: measures.relative_error(scores, IMAGES, [SHIFT], **o),
        "stencil",
    ),
    "psnr": (lambda **o: measures.psnr(scores, IMAGES, [SHIFT], **o), "stencil"),
    "eq_t": (lambda **o: measures.eq_t(scores, IMAGES, n=1, **o), "stencil"),
    "kl_consistency": (
        lambda **o: measures.kl_consistency(scores, IMAGES, [SHIFT], **o),
        "stencil",
    ),
    "worst_case_error": (
        lambda **o: measures.worst_case_error(scores, IMAGES, [SHIFT], **o),
        "stencil",
    ),
    "worst_case_along": (
        lambda **o: measures.worst_case_along(scores, IMAGES, finite.rotation, (0.1, 0.2), **o),
        "jit",
    ),
    "consistency": (lambda **o: measures.consistency(scores, IMAGES, **o), "head"),
    "azulay_weiss": (lambda **o: measures.azulay_weiss(scores, IMAGES, **o), "output"),
    "feature_correlation": (
        lambda **o: features.feature_correlation(
            maps, IMAGES, SHIFT, layouts={"map": "image"}, **o
        ),
        "head",
    ),
    "fitted_map_score": (
        lambda **o: features.fitted_map_score(maps, IMAGES, SHIFT, layouts={"map": "image"}, **o),
        "output",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_options_without_a_use_are_refused_by_name(name):
    call, useless = CALLS[name]
    with pytest.raises(TypeError, match=f"no use for the option '{useless}'"):
        call(**{useless: None})


@pytest.mark.parametrize("name", CALLS)
def test_unknown_options_are_refused_with_those_that_are_known(name):
    with pytest.raises(TypeError, match="unknown option 'batchsize'; it takes input"):
        CALLS[name][0](batchsize=2)


@pytest.mark.slow
def test_the_options_are_passed_on_as_one():
    options: measures.Options = {"head": "probabilities", "batch_size": 1}
    alone = measures.relative_error(scores, IMAGES, [SHIFT], head="probabilities")
    found = measures.relative_error(scores, IMAGES, [SHIFT], **options)
    np.testing.assert_allclose(found.numerators, alone.numerators, rtol=1e-5)
    np.testing.assert_allclose(
        measures.lie_errors(scores, IMAGES, ["scale"], **options)["scale"].mean_sq,
        measures.lie_errors(scores, IMAGES, ["scale"], head="probabilities")["scale"].mean_sq,
        rtol=1e-5,
    )


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True])
def test_a_batch_size_is_a_positive_integer(wrong):
    for call in (measures.relative_error, finite.equivariance_deviation):
        with pytest.raises(ValueError, match="batch_size must be a positive integer"):
            call(scores, IMAGES, [SHIFT], batch_size=wrong)
