"""Measures and penalties of nothing: no examples, no entries, outputs that are all zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import measures, orbits, regularizers
from softeq_jax.training import evaluation

SHIFT = measures.shift(1, 0)
V = sq.reps.vector(sq.groups.so(2))
C2 = sq.reps.vector(sq.groups.cyclic(2))


def images(n: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 6, 6, channels)).astype(np.float32)


def scores(x):
    return x.mean((1, 2))


def nothing(x):
    return jnp.zeros((x.shape[0], 0))


def zero(x):
    return jnp.zeros((x.shape[0], 3))


def featured(f):
    return lambda x: {"a": f(x)}


LAYOUTS = {"*": "invariant"}
MEASURES = {
    "local": lambda f, x: measures.local_equivariance_error(f, x, ["translation_x"]),
    "lie_errors": lambda f, x: measures.lie_errors(f, x, ["translation_x"]),
    "layerwise": lambda f, x: measures.layerwise(f, x, ["translation_x"]),
    "relative": lambda f, x: measures.relative_error(f, x, [SHIFT]),
    "null": lambda f, x: measures.null_normalized_error(f, x, [SHIFT]),
    "deviation": lambda f, x: measures.equivariance_deviation(f, x, [SHIFT]),
    "worst": lambda f, x: measures.worst_case_error(f, x, [SHIFT]),
    "psnr": lambda f, x: measures.psnr(f, x, [SHIFT]),
    "kl": lambda f, x: measures.kl_consistency(f, x, [SHIFT]),
    "consistency": lambda f, x: measures.consistency(f, x),
    "accuracy": lambda f, x: measures.accuracy_under(f, x, np.zeros(len(x), int), [SHIFT]),
    "report": measures.report,
    "correlation": lambda f, x: measures.feature_correlation(
        featured(f), x, SHIFT, layouts=LAYOUTS
    ),
    "fitted": lambda f, x: measures.fitted_map_score(featured(f), x, SHIFT, layouts=LAYOUTS),
    "subspaces": lambda f, x: measures.subspace_scores(featured(f), x, SHIFT, layouts=LAYOUTS),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize(
    ("f", "x", "says"),
    [
        (scores, images(0), r"images must be \[n, ...\] with n >= 1, got shape \(0, 6, 6, 3\)"),
        (scores, images(3, 0), r"images must have entries, got shape \(3, 6, 6, 0\)"),
        (nothing, images(3), r"must have entries, got shape \(\d, 0\)"),
    ],
    ids=["no examples", "no channels", "no outputs"],
)
def test_measures_of_nothing_are_refused_with_the_shape(name, f, x, says):
    with pytest.raises(ValueError, match=says):
        MEASURES[name](f, x)


@pytest.mark.parametrize("name", ["relative", "null"])
def test_errors_relative_to_zero_are_undefined_and_say_so(name):
    found = MEASURES[name](zero, images(3))
    assert np.isnan(found.value)
    assert "- +- -   (3 images, 1 transforms; undefined: 0 / 0)" in str(found)
    assert "nan" not in str(found)


@pytest.mark.parametrize("name", ["relative", "psnr", "deviation", "kl", "consistency"])
def test_one_image_has_an_estimate_without_an_error(name):
    shown = str(MEASURES[name](scores, images(1)))
    assert " +- -" in shown
    assert "nan" not in shown


def test_absolute_errors_of_zero_are_zero():
    for name in ("local", "worst", "deviation"):
        found = MEASURES[name](zero, images(2))
        value = found["translation_x"] if name == "local" else found.value
        assert np.all(np.asarray(value) == 0.0)
    assert MEASURES["psnr"](zero, images(2)).value == np.inf


def test_labels_that_are_all_ignored_are_refused():
    labels = np.full((2, 6, 6), 9)
    with pytest.raises(ValueError, match="no pixel of the images as they are counts"):
        measures.iou_under(lambda x: x, images(2), labels, [SHIFT], classes=3, ignore=9)
    assert np.isnan(evaluation.mean_iou(np.zeros((2, 2))))  # of a run, which goes on


def test_vectors_without_rows_have_no_errors():
    assert measures.symmetric_relative_error(np.zeros((0, 2)), np.zeros((0, 2))).shape == (0,)
    np.testing.assert_array_equal(measures.symmetric_relative_error(*np.zeros((2, 1, 1))), [0.0])
    assert list(measures.batches(np.zeros((0, 3)), 4)) == []


NO_ROWS = np.zeros((0, 2), np.float32)
TWO = np.ones((2, 2), np.float32)
PENALTIES = {
    "orbit": lambda f, x, to: regularizers.orbit_penalty(f, x, V, to, jax.random.key(0)),
    "orbit, all alike": lambda f, x, to: regularizers.orbit_penalty(
        f, x, V, to, jax.random.key(0), per_example=False
    ),
    "latent": lambda f, x, to: regularizers.latent_penalty(f, x, C2, jax.random.key(0)),
    "lie": lambda f, x, to: regularizers.lie_activation_penalty(lambda _, y: f(y), {}, x, V, to),
    "norm": lambda f, x, to: regularizers.activation_norm_penalty(lambda _, y: f(y), {}, x, to),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_of_no_examples_are_refused(name):
    with pytest.raises(ValueError, match=r"no example|mean over nothing.*\(0, 2\)"):
        PENALTIES[name](lambda x: x, NO_ROWS, V)


@pytest.mark.parametrize("name", ["orbit", "lie"])
def test_penalties_of_outputs_without_entries_are_refused(name):
    with pytest.raises(ValueError, match=r"mean over nothing: what is compared has shape"):
        PENALTIES[name](lambda x: x[..., :0], TWO, None)


PLANS = {
    "no leaves": ({}, {}),
    "no rules": ({"k": TWO}, {}),
    "no entries": (
        {"k": np.zeros((2, 2, 0), np.float32)},
        {"k": sq.projector("i o c", {"i": V, "o": V})},
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_plans_of_nothing_have_penalties_of_zero_and_relax_to_themselves(name):
    params, rules = PLANS[name]
    plan = sq.plan(params, rules)
    for penalty in (regularizers.projection_penalty, regularizers.lie_penalty):
        value, slope = jax.value_and_grad(lambda w, p=penalty: p(plan, w))(params)
        assert value == 0.0
        assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(slope))
    for new in (
        regularizers.prox_step(plan, params, 0.1),
        sq.relaxation.relax(plan, params, 0.5),
        sq.relaxation.finish(plan, params),
    ):
        jax.tree.map(np.testing.assert_array_equal, new, params)
    if name != "no entries":
        with pytest.raises(ValueError, match="there is nothing to relax"):
            sq.relaxation.start(sq.relaxation.ace(), plan, params)


def test_orbits_of_no_rows_have_no_rows_and_of_no_elements_are_refused():
    image = sq.reps.image(sq.groups.cyclic(4), (3, 3))
    none = np.zeros((0, 3, 3), np.float32)
    assert orbits.orbit(image, none).shape == (4, 0, 3, 3)
    assert orbits.average(lambda y: y, image, image)(none).shape == none.shape
    assert orbits.frame_average(lambda y: y, image, image)(none).shape == none.shape
    with pytest.raises(ValueError, match="at least one element"):
        orbits.orbit(image, none, elements=np.zeros((0, 2, 2)))
