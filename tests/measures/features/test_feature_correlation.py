"""The correlation of features with their transforms: theorems, controls, bookkeeping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from feature_networks import conv, kernel, lifting, scrambled, stack, white_noise
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import groups, reps
from softeq_jax.measures import Fiber, Image, Tokens, finite
from softeq_jax.measures.features import feature_correlation, footprints

MAPS = {"early": "image", "late": "image"}
SHIFTS = [finite.shift(2, -4), finite.shift(6, 2)]


@pytest.mark.slow
def test_periodic_network_scores_one_for_shifts_by_the_stride():
    result = feature_correlation(stack("circular"), white_noise(4), SHIFTS, layouts=MAPS)
    for name in MAPS:
        layer = result[name]
        np.testing.assert_allclose(layer.equivariance.per_image, 1, atol=1e-5)
        assert layer.ceiling.value == 1
        assert layer.exact.all()
        assert layer.error.value < 1e-5
    np.testing.assert_allclose(result["head"].invariance.per_image, 1, atol=1e-5)


@pytest.mark.slow
def test_symmetric_network_scores_one_for_quarter_turns():
    turns = [finite.quarter_turn(k) for k in (1, 2)]
    images = white_noise(4)
    result = feature_correlation(stack("circular", symmetric=True), images, turns, layouts=MAPS)
    for name in MAPS:
        np.testing.assert_allclose(result[name].equivariance.per_image, 1, atol=1e-5)
    plain = feature_correlation(stack("circular"), images, turns[0], layouts=MAPS)
    assert plain["late"].equivariance.value < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("boundary", ["circular", "zero", "reflect"])
def test_padding_is_no_error_inside_the_receptive_crop(boundary):
    shifts = [finite.shift(2, -4, boundary=boundary)]
    images = white_noise(3, 24)
    features = stack(1)
    whole = feature_correlation(features, images, shifts, layouts=MAPS)
    inside = feature_correlation(features, images, shifts, layouts=MAPS, crop="receptive")
    for name in ("early", "late"):
        assert whole[name].equivariance.value < 0.99
        np.testing.assert_allclose(inside[name].equivariance.per_image, 1, atol=1e-5)
    assert inside["early"].crop == (1, 1, 1, 1)
    assert inside["late"].crop == (2, 2, 2, 2)
    given_prints = footprints(features, (24, 24, 3))
    again = feature_correlation(features, images, shifts, layouts=MAPS, crop=given_prints)
    assert again["late"].crop == inside["late"].crop


@pytest.mark.slow
def test_the_crop_is_not_larger_than_needed():
    shifts, images = [finite.shift(2, -4, boundary="zero")], white_noise(3, 24)
    crop = {"early": 0, "late": 1}
    result = feature_correlation(stack(1), images, shifts, layouts=MAPS, crop=crop)
    assert result["early"].equivariance.value < 0.99
    assert result["late"].equivariance.value < 0.999


@pytest.mark.slow
def test_a_map_that_does_not_close_up_is_not_wrapped():
    """A valid convolution of a periodic shift: what would wrap around is left out."""
    k = kernel(3, 3, 4)
    features = lambda x: {"valid": conv(x, k, padding="valid")}  # noqa: E731
    result = feature_correlation(
        features, white_noise(3), finite.shift(3, -2), layouts={"valid": Image(pitch=1.0)}
    )
    assert result["valid"].samples[0] == (14 - 3) * (14 - 2)
    np.testing.assert_allclose(result["valid"].equivariance.per_image, 1, atol=1e-5)


def _affine(gain, offset, x):
    return {"scrambled": (scrambled(8)(x)["scrambled"] + offset) * gain}


@pytest.mark.slow
@examples(fast=20)
@given(
    gain=st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3),
    offset=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
)
def test_positive_gains_and_offsets_of_channels_do_not_count(gain, offset):
    results = []
    for numbers in ((gain, offset), ([1, 1, 1], [0, 0, 0])):
        features = jax.tree_util.Partial(_affine, *(np.array(v, np.float32) for v in numbers))
        results.append(
            feature_correlation(
                features, white_noise(3, 8), finite.shift(1, 0), layouts={"scrambled": "image"}
            )["scrambled"]
        )
    for statistic in ("equivariance", "invariance", "equivariance_control", "invariance_control"):
        a, b = (getattr(layer, statistic).per_image for layer in results)
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert not any(layer.dead_fraction.any() for layer in results)


@pytest.mark.slow
def test_unrelated_and_independent_maps_score_zero():
    images = white_noise(40, 16)
    result = feature_correlation(
        scrambled(), images, finite.shift(1, 2), layouts={"scrambled": "image"}
    )
    layer = result["scrambled"]
    for statistic in ("equivariance_control", "invariance", "invariance_control"):
        estimate = getattr(layer, statistic)
        assert abs(estimate.value) < 4 * estimate.standard_error < 0.05
    low, high = layer.equivariance_control.interval(jax.random.key(0), samples=200)
    assert low < layer.equivariance_control.value < high


@pytest.mark.slow
def test_dead_channels_are_left_out_and_counted():
    def features(x):
        y = x[..., 0]
        channels = [0 * y, 0 * y + 5, y, jnp.where(y.max((1, 2), keepdims=True) > 9, y, 2)]
        return {"map": jnp.stack(channels, -1), "dead": jnp.stack(channels[:2], -1)}

    images = white_noise(4, 8)
    images[0, 2, 2, 0] = 10
    result = feature_correlation(features, images, finite.shift(1, 1), layouts={"*": "image"})
    np.testing.assert_allclose(result["map"].equivariance.per_image, 1, atol=1e-6)
    np.testing.assert_allclose(result["map"].dead_fraction, [[0.5, 0.75, 0.75, 0.75]])
    dead = result["dead"]
    assert (dead.dead_fraction == 1).all()
    assert np.isnan(dead.equivariance.value)
    assert np.isnan(dead.ceiling.value)
    assert "-" in result.table().splitlines()[2]


@pytest.mark.slow
def test_floor_is_in_units_of_the_feature():
    features = lambda x: {"map": x * jnp.array([1, 1e-3, 1])}  # noqa: E731
    result = feature_correlation(
        features, white_noise(3, 8), finite.shift(1, 1), layouts={"map": "image"}, floor=0.1
    )
    np.testing.assert_allclose(result["map"].dead_fraction, 1 / 3, atol=1e-6)


@pytest.mark.slow
def test_ceiling_is_below_one_where_the_map_is_resampled():
    identity = lambda x: {"map": x}  # noqa: E731
    moves = [finite.rotation(0.3), finite.quarter_turn(1), finite.shift(0.5, 0, "zero", "bilinear")]
    result = feature_correlation(identity, white_noise(4), moves, layouts={"map": "image"})
    layer = result["map"]
    assert layer.exact.tolist() == [False, True, False]
    ceilings = layer.ceiling.per_transform
    assert ceilings[1] == 1
    assert (ceilings[[0, 2]] < 0.98).all()
    assert (ceilings > 0.5).all()
    np.testing.assert_allclose(layer.equivariance.per_transform, 1, atol=1e-5)


@pytest.mark.slow
def test_streaming_equals_one_batch_and_counts_every_image_once():
    images = white_noise(7)
    settings_ = {"layouts": MAPS, "units": True, "key": jax.random.key(3)}
    whole = feature_correlation(stack(1), images, SHIFTS, **settings_)
    pieces = feature_correlation(stack(1), images, SHIFTS, batch_size=3, **settings_)
    for a, b in zip(whole.layers, pieces.layers, strict=True):
        assert b.equivariance.numerators.shape == (2, 7)
        for statistic in ("equivariance", "invariance", "equivariance_control", "error"):
            x, y = (getattr(layer, statistic) for layer in (a, b))
            np.testing.assert_allclose(x.numerators, y.numerators, atol=2e-6, rtol=1e-5)
            np.testing.assert_allclose(x.denominators, y.denominators, rtol=1e-5)
    np.testing.assert_allclose(whole["head"].units, pieces["head"].units, atol=1e-5)


@pytest.mark.slow
def test_one_compilation_serves_all_transforms_of_a_kind():
    traces = []

    def features(x):
        traces.append(x.shape)
        return {"map": jnp.tanh(x)}

    moves = [finite.shift(i, -i) for i in range(1, 6)]
    feature_correlation(features, white_noise(8, 8), moves, layouts={"map": "image"}, batch_size=4)
    assert len(traces) == 3  # shapes, images, moved images


@pytest.mark.slow
def test_relative_error_is_the_ratio_of_expectations():
    images, move = white_noise(5, 8), finite.shift(1, 0)
    layer = feature_correlation(scrambled(8), images, move, layouts={"*": "image"})["scrambled"]
    f = lambda x: np.asarray(scrambled(8)(x)["scrambled"])  # noqa: E731
    moved, carried = f(np.roll(images, 1, 1)), np.roll(f(images), 1, 1)
    norms = [np.sqrt((v**2).sum((1, 2, 3))) for v in (moved - carried, carried)]
    assert layer.error.value == pytest.approx(norms[0].mean() / norms[1].mean(), rel=1e-5)


def test_a_doubled_gain_is_an_error_that_correlation_does_not_see():
    def features(x):
        return {"map": x * (1 + (x[:, :1, :1] == 7.0))}

    images = white_noise(3, 8)
    images[:, -1, 0] = 7.0  # comes to the corner by the shift
    layer = feature_correlation(features, images, finite.shift(1, 0), layouts={"*": "image"})["map"]
    np.testing.assert_allclose(layer.equivariance.per_image, 1, atol=1e-5)
    assert layer.error.value == pytest.approx(1, rel=1e-5)


@pytest.mark.slow
def test_vectors_and_their_units_against_numpy():
    features = lambda x: {"vector": x.reshape(len(x), -1)[:, :7] ** 2}  # noqa: E731
    images, move = white_noise(9, 4), finite.shift(1, 0)
    layer = feature_correlation(features, images, move, units=True, batch_size=4)["vector"]
    a, b = (np.asarray(features(x)["vector"], np.float64) for x in (np.roll(images, 1, 1), images))
    expected = [np.corrcoef(u, v)[0, 1] for u, v in zip(a, b, strict=True)]
    np.testing.assert_allclose(layer.invariance.per_image, expected, atol=1e-5)
    units = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(7)]
    np.testing.assert_allclose(layer.units[0], units, atol=1e-9)
    other = np.roll(b, -4, axis=0)  # partners are half the set away
    units = [np.corrcoef(a[:, i], other[:, i])[0, 1] for i in range(7)]
    np.testing.assert_allclose(layer.units_control[0], units, atol=1e-9)
    assert np.isnan(layer.equivariance.value)


@pytest.mark.slow
def test_tokens_leave_the_prefix_out():
    patches = kernel(4, 3, 5)

    def features(x):
        grid = conv(x, patches, stride=4)
        tokens = jnp.tanh(grid).reshape(len(x), -1, 5)
        extra = 1e3 * x[:, 0, 0, :1, None] * jnp.arange(5)
        return {"tokens": jnp.concatenate([extra, tokens], axis=1)}

    layouts = {"tokens": Tokens(prefix=1)}
    moves = [finite.shift(4, -8), finite.shift(4, 0, boundary="zero")]
    layer = feature_correlation(features, white_noise(3), moves, layouts=layouts)["tokens"]
    np.testing.assert_allclose(layer.equivariance.per_image, 1, atol=1e-5)
    assert layer.samples.tolist() == [16, 12]


@pytest.mark.slow
def test_fibers_turn_along():
    """Responses to turned filters are a field, and after averaging a vector, of the regular
    representation of C4."""
    group = groups.cyclic(4)
    lifted = lifting()

    def features(x):
        y = lifted(x)["lifted"].reshape(*x.shape[:3], 4, 2)
        y = y.swapaxes(-1, -2).reshape(*x.shape[:3], 8)  # one filter after the other
        return {"field": y, "vector": y.mean((1, 2))}

    rep = reps.regular(group)
    layouts = {"field": Image(fiber=rep), "vector": Fiber(rep)}
    moves = finite.group_transforms(group)[1::2]
    result = feature_correlation(features, white_noise(3, 9), moves, layouts=layouts)
    for layer in result.layers:
        np.testing.assert_allclose(layer.equivariance.per_image, 1, atol=1e-5)
        assert layer.error.value < 1e-5
        assert layer.exact.all()
    without = feature_correlation(
        features, white_noise(3, 9), moves[0], layouts={"field": "image", "vector": "invariant"}
    )
    assert without["field"].equivariance.value < 0.9


@pytest.mark.slow
def test_channels_first():
    base = stack("circular")
    first = lambda x: {k: jnp.moveaxis(v, -1, 1) for k, v in base(x).items() if v.ndim == 4}  # noqa: E731
    layouts = {"*": Image(axes=(2, 3), channel=1)}
    result = feature_correlation(first, white_noise(3), SHIFTS, layouts=layouts)
    last = feature_correlation(base, white_noise(3), SHIFTS, layouts=MAPS)
    for name in MAPS:
        a, b = (r[name].invariance.per_image for r in (result, last))
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.slow
def test_layers_come_in_the_order_of_depth_and_curves_follow():
    result = feature_correlation(stack(1), white_noise(3), SHIFTS, layouts=MAPS)
    assert [layer.name for layer in result.layers] == ["early", "late", "head"]
    values, errors = result.curve("equivariance")
    assert values.shape == errors.shape == (3,)
    assert np.isnan(values[-1])
    rows = result.rows()
    assert rows[1]["equivariance"] == pytest.approx(values[1])
    assert rows[2]["layer"] == "head"
    assert len(result.table().splitlines()) == 5
    with pytest.raises(ValueError, match="no statistic"):
        result.curve("accuracy")
    with pytest.raises(KeyError, match="late"):
        result["lat"]


@pytest.mark.slow
def test_too_small_a_map_is_undefined_with_a_note():
    crop = {"late": 4}
    result = feature_correlation(stack(1), white_noise(3), SHIFTS, layouts=MAPS, crop=crop)
    assert np.isnan(result["late"].equivariance.value)
    assert np.isnan(result["late"].error.value)
    assert np.isnan(result["late"].dead_fraction).all()
    assert "under 3 positions" in result["late"].note
    assert "under 3 positions" in " ".join(result.table().split())
    assert np.isfinite(result["early"].equivariance.value)


def _with_nan(x):
    return {"map": x / jnp.where(x > 100, 0.0, jnp.inf) + jnp.log(x)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layouts": {"early": "image"}}, "'late' has shape .* no layout.*infer_layouts"),
        ({"layouts": {**MAPS, "missing*": "image"}}, "layouts of no feature.*missing"),
        ({"layouts": {"*": "image", **MAPS}}, "'head'.*as an image it needs"),
        ({"transforms": finite.shift(1, 0)}, "'late'.*multiples of its pitch"),
        ({"transforms": []}, "no transform"),
        ({"images": white_noise(1)}, "at least two"),
        ({"features": _with_nan, "layouts": {"map": "image"}}, "'map' has NaN"),
        ({"crop": {"lat": 1}}, "crop names"),
        ({"crop": -1}, "entries >= 0"),
        ({"crop": "all"}, "'receptive'"),
        ({"input": "invariant"}, "must be images"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_mistakes_are_named(changes, message):
    arguments = {
        "features": stack(1),
        "images": white_noise(3),
        "transforms": SHIFTS,
        "layouts": MAPS,
        **changes,
    }
    arguments = [arguments.pop(k) for k in ("features", "images", "transforms")], arguments
    with pytest.raises(ValueError, match=message):
        feature_correlation(*arguments[0], **arguments[1])


def test_wrong_types_are_named():
    with pytest.raises(TypeError, match="floating point"):
        feature_correlation(stack(1), np.zeros((2, 8, 8, 3), np.uint8), SHIFTS, layouts=MAPS)
    with pytest.raises(TypeError, match=r"measures\.finite"):
        feature_correlation(stack(1), white_noise(2), ["shift"], layouts=MAPS)
    with pytest.raises(TypeError, match="dictionary"):
        feature_correlation(lambda x: x, white_noise(2), SHIFTS)
    with pytest.raises(ValueError, match="axis 0 must count"):
        feature_correlation(lambda x: {"a": x[0, 0]}, white_noise(2), SHIFTS)
