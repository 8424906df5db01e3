"""A network that is equivariant under C4 by construction, and the same with shuffled channels.

Two convolutions of our own projector with circular padding, on copies of the regular
representation, with pointwise nonlinearities: exactly equivariant under quarter turns and, with
stride 1, under circular shifts. Every measure of C4 must be zero to rounding; a random permutation
of the channels, which does not commute with the action, must not be.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import measures

SIDE, COPIES, COLORS = 12, 4, 3
C4 = sq.groups.cyclic(4)
REGULAR = COPIES * sq.reps.regular(C4)
FIELD = measures.Image(fiber=REGULAR)
FLOOR = 1e-12
"""Of a relative error in float64; the norms that are compared are about 1."""


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


def kernel(seed, source, target):
    window = sq.reps.image(C4, (3, 3))
    P = sq.projector("h w i o", {"h w": window, "i": source, "o": target})
    w = np.random.default_rng(seed).standard_normal((3, 3, source.dim, target.dim))
    return P(w) / np.sqrt(source.dim)


@pytest.fixture(scope="module")
def kernels():
    plain = sq.reps.trivial(C4, COLORS)
    return kernel(0, plain, REGULAR), kernel(1, REGULAR, REGULAR)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(2).standard_normal((6, SIDE, SIDE, COLORS))


@pytest.fixture(scope="module")
def shuffle():
    order = np.random.default_rng(3).permutation(REGULAR.dim)
    turn = REGULAR.matrix(C4.element(np.pi / 2))
    permuted = np.eye(REGULAR.dim)[order]
    assert np.abs(permuted @ turn - turn @ permuted).max() == 1  # it does not commute
    return order


def convolution(x, kernel):
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def field_network(kernels, order=None):
    """Images to a field of regular representations, optionally shuffled in the middle."""

    def f(x):
        x = jax.nn.relu(convolution(x, kernels[0]) + 0.1)
        if order is not None:
            x = x[..., order]
        return jnp.tanh(convolution(x, kernels[1]))

    return f


def classifier(kernels, order=None):
    """Logits: the maximum over each orbit of channels, then the mean over pixels."""
    field = field_network(kernels, order)
    head = np.random.default_rng(4).standard_normal((COPIES, 5))

    def f(x):
        y = field(x)
        return y.reshape(*y.shape[:-1], COPIES, C4.order).max(-1).mean((1, 2)) @ head

    return f


@pytest.fixture(scope="module")
def both_fields(kernels, shuffle):
    return field_network(kernels), field_network(kernels, shuffle)


@pytest.fixture(scope="module")
def both_classifiers(kernels, shuffle):
    return classifier(kernels), classifier(kernels, shuffle)


TURNS = {
    "elements": sq.measures.group_transforms(C4),
    "quarter turns": [measures.quarter_turn(k) for k in range(4)],
}


@pytest.mark.slow
@pytest.mark.parametrize("transforms", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize(
    "measure",
    [
        measures.relative_error,
        measures.null_normalized_error,
        measures.equivariance_deviation,
        measures.group_average_residual,
        measures.worst_case_error,
    ],
    ids=lambda measure: measure.__name__,
)
def test_fields(measure, transforms, both_fields, images):
    exact, shuffled = (measure(f, images, transforms, output=FIELD).value for f in both_fields)
    assert exact < FLOOR
    assert shuffled > 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    "measure",
    [
        measures.relative_error,
        measures.equivariance_deviation,
        measures.group_average_residual,
        measures.worst_case_error,
    ],
    ids=lambda measure: measure.__name__,
)
def test_invariant_scores(measure, both_classifiers, images):
    exact, shuffled = (measure(f, images, TURNS["elements"]).value for f in both_classifiers)
    assert exact < FLOOR
    assert shuffled > 1e-4


@pytest.mark.slow
def test_divergence_of_the_predictions(both_classifiers, images):
    exact, shuffled = (
        measures.kl_consistency(f, images, TURNS["quarter turns"]) for f in both_classifiers
    )
    assert exact.kl.value < FLOOR
    assert exact.floor.value < FLOOR
    assert shuffled.kl.value > 1e-8


@pytest.mark.slow
def test_decibels(both_fields, images):
    """A peak signal to noise ratio at the floor of float64 beside an ordinary one."""
    exact, shuffled = (
        measures.psnr(f, images, TURNS["quarter turns"], output=FIELD).value for f in both_fields
    )
    assert exact > 250
    assert shuffled < 60


@pytest.mark.slow
def test_correlation_of_features(kernels, shuffle, images):
    def features(order):
        def collect(x):
            first = jax.nn.relu(convolution(x, kernels[0]) + 0.1)
            if order is not None:
                first = first[..., order]
            return {"first": first, "second": jnp.tanh(convolution(first, kernels[1]))}

        return collect

    exact, shuffled = (
        measures.feature_correlation(
            features(order), images, TURNS["elements"][1:], layouts={"*": FIELD}
        )
        for order in (None, shuffle)
    )
    for layer in exact.layers:
        assert layer.equivariance.value == pytest.approx(1, abs=FLOOR)
        assert layer.error.value < FLOOR
    for layer in shuffled.layers:
        assert layer.equivariance.value < 0.9
        assert layer.error.value > 0.05


@pytest.mark.slow
def test_a_channel_permutation_explains_the_turned_features(kernels, images):
    """The action on the fiber is a permutation of channels: it is found, and fits exactly."""

    def features(x):
        return {"field": field_network(kernels)(x)}

    many = np.random.default_rng(5).standard_normal((16, SIDE, SIDE, COLORS))
    turn = measures.quarter_turn(1)
    found = measures.fitted_map_score(features, many, turn, layouts={"*": "image"})["field"]
    assert found.r2("permutation")[0] == pytest.approx(1, abs=1e-10)
    assert found.r2("fitted")[0] == pytest.approx(1, abs=1e-8)
    assert found.r2("identity")[0] < 0.9


@pytest.mark.slow
def test_circular_shifts(both_classifiers, both_fields, images):
    """Without strides every layer commutes with shifts; a shuffle of channels does, too."""
    key = jax.random.key(0)
    moves = measures.circular_shifts(5, 4, key)
    for f in both_fields:
        assert measures.relative_error(f, images, moves, output="image").value < FLOOR
    for f in both_classifiers:
        found = measures.consistency(f, images, max_shift=4, key=key, boundary="circular")
        assert found.circular.value == 1
        periodic = measures.Stencil("central", "wrap")
        generators = ["translation_x", "translation_y"]
        lie = measures.local_equivariance_error(f, images, generators, stencil=periodic)
        assert all(values.max() > 0 for values in lie.values())  # a stencil is no shift, E.4


@pytest.mark.slow
def test_the_linear_part_has_no_lie_derivative(kernels, images):
    """What the nonlinearities cost above is interpolation: without them, translations are exact."""

    def f(x):
        return convolution(convolution(x, kernels[0]), kernels[1])

    for stencil in ("spectral", measures.Stencil("central", "wrap")):
        lie = measures.lie_errors(
            f, images, ["translation_x", "translation_y"], stencil=stencil, output="image"
        )
        for errors in lie.values():
            assert errors.mean_sq.max() < 1e-24 * errors.response_sq.max()
