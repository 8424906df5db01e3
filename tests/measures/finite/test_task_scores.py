"""Accuracy, mean IoU and KL of pixel maps under transforms, against direct implementations."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import groups, measures, reps
from softeq_jax.measures import finite

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((5, 9, 9, 3)).astype(np.float32)
KERNEL = RNG.standard_normal((3, 3, 3, 4)).astype(np.float32)
ANGLE = math.radians(30)
TURN = [measures.quarter_turn(1), measures.rotation(ANGLE)]


def scores(x):
    """Class scores that know up from down."""
    return jnp.stack([x[:, :4].sum((1, 2, 3)), x[:, 5:].sum((1, 2, 3)), x.mean((1, 2, 3))], -1)


def maps(x):
    """Maps of class scores that know up from down."""
    return jax.lax.conv_general_dilated(
        x, KERNEL, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def pointwise(x):
    return jnp.stack([x[..., 0], jnp.sin(3 * x[..., 1]), x[..., 2] ** 2], -1)


def _softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _pre_image(row, col, side, angle):
    """Where a counter-clockwise rotation about the center reads the pixel (row, col) from."""
    middle = (side - 1) / 2
    x, y = col - middle, middle - row
    back_x = math.cos(angle) * x + math.sin(angle) * y
    back_y = -math.sin(angle) * x + math.cos(angle) * y
    return middle - back_y, middle + back_x


@pytest.mark.slow(3)
def test_accuracy_is_the_share_of_right_top_classes():
    labels = RNG.integers(0, 3, 5)
    found = measures.accuracy_under(scores, IMAGES, labels, TURN, batch_size=2)
    plain = np.mean(np.argmax(scores(IMAGES), -1) == labels)
    quarter = np.mean(np.argmax(scores(np.rot90(IMAGES, 1, (1, 2))), -1) == labels)
    turned = np.asarray(measures.rotate_bilinear(IMAGES, ANGLE))
    third = np.mean(np.argmax(scores(turned), -1) == labels)
    assert found.plain == plain
    assert found.moved == (quarter, third)
    np.testing.assert_allclose(found.rotated, (quarter + third) / 2)
    np.testing.assert_allclose(found.combined, math.sqrt(plain * (quarter + third) / 2))
    assert "accuracy" in repr(found)
    with pytest.raises(ValueError, match="5 images need as many labels"):
        measures.accuracy_under(scores, IMAGES, labels[:4], TURN)
    with pytest.raises(ValueError, match="accuracy compares class scores"):
        measures.accuracy_under(maps, IMAGES, labels, TURN)


def test_combined_scores_are_the_published_means():
    assert measures.combined(0.25, 1.0) == 0.5
    assert measures.combined(0.25, 1.0, "arithmetic") == 0.625
    with pytest.raises(ValueError, match="mean must be one of"):
        measures.combined(1, 1, "harmonic")
    with pytest.raises(ValueError, match="at least 0"):
        measures.combined(-1, 1)


def _iou(predicted, labels, classes):
    found = []
    for c in range(classes):
        both = either = 0
        for p, t in zip(predicted.ravel(), labels.ravel(), strict=True):
            if t < 0:
                continue
            both += p == c and t == c
            either += p == c or t == c
        if either:
            found.append(both / either)
    return np.mean(found)


@pytest.mark.slow(4)
def test_mean_iou_is_that_of_loops_over_pixels():
    labels = RNG.integers(0, 4, (5, 9, 9))
    labels[labels == 3] = 255
    labels[0, 0, 0] = 1
    found = measures.iou_under(maps, IMAGES, labels, TURN, classes=4, batch_size=2)
    known = np.where(labels == 255, -1, labels)
    predicted = np.argmax(maps(IMAGES), -1)
    np.testing.assert_allclose(found.plain, _iou(predicted, known, 4))
    quarter = np.argmax(maps(np.rot90(IMAGES, 1, (1, 2))), -1)
    np.testing.assert_allclose(found.moved[0], _iou(quarter, np.rot90(known, 1, (1, 2)), 4))
    turned = np.full(known.shape, -1)
    for row, col in itertools.product(range(9), range(9)):
        r, c = _pre_image(row, col, 9, ANGLE)
        if -1e-3 <= r <= 8.001 and -1e-3 <= c <= 8.001:
            turned[:, row, col] = known[:, round(r), round(c)]
    third = np.argmax(maps(np.asarray(measures.rotate_bilinear(IMAGES, ANGLE))), -1)
    np.testing.assert_allclose(found.moved[1], _iou(third, turned, 4))
    np.testing.assert_allclose(found.combined, math.sqrt(found.plain * found.rotated))
    layout = measures.Image(axes=(2, 3), channel=1)
    first = measures.iou_under(
        lambda x: jnp.moveaxis(maps(x), -1, 1), IMAGES, labels, TURN, classes=4, output=layout
    )
    assert (first.plain, first.moved) == (found.plain, found.moved)


@pytest.mark.slow
def test_perfect_maps_stay_perfect_under_turns():
    labels = RNG.integers(0, 3, (2, 6, 6))
    images = np.eye(3, dtype=np.float32)[labels]
    moves = [*map(measures.quarter_turn, range(4)), measures.flip(), measures.shift(1, 2)]
    found = measures.iou_under(lambda x: x, images, labels, moves, classes=3)
    assert found.plain == 1
    assert found.moved == (1.0,) * 6
    assert math.isnan(measures.mean_iou(np.zeros((3, 3))))
    alone = measures.iou_under(lambda x: x, images, labels, moves[:1], classes=3, ignore=None)
    assert alone.combined == 1


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (np.zeros((5, 9)), {}, "labels must be whole numbers \\[5, h, w\\]"),
        (np.full((5, 9, 9), 4), {}, "below classes = 4"),
        (np.full((5, 9, 9), -1), {}, "below classes = 4"),
        (np.full((5, 9, 9), 255), {"ignore": None}, "below classes = 4"),
        (np.zeros((5, 3, 3), int), {}, "on the grid of the labels, 3 x 3"),
        (np.zeros((5, 9, 9), int), {"output": "invariant"}, "must be a map of class scores"),
        (np.zeros((5, 9, 9), int), {"classes": 5}, "scores of 5 classes"),
    ],
)
def test_label_maps_that_do_not_fit_are_refused(labels, options, message):
    with pytest.raises(ValueError, match=message):
        measures.iou_under(maps, IMAGES, labels, TURN, **{"classes": 4, **options})


def test_labels_follow_no_transform_that_mixes_pixels():
    shift = measures.shift(0.5, 0.0, interpolation="lanczos")
    with pytest.raises(ValueError, match="labels have no values between"):
        measures.iou_under(maps, IMAGES, np.zeros((5, 9, 9), int), [shift], classes=4)
    labels = RNG.integers(0, 9, (1, 9, 9))
    layout = measures.Image()
    for move in (measures.rotation(ANGLE, "bandlimited"), measures.scaling(1.5)):
        found = finite.moved_labels(labels, move, layout, (9, 9))
        assert set(np.unique(found)) <= {-1, *range(9)}
    assert (finite.moved_labels(labels, measures.scaling(1.5), layout, (9, 9)) >= 0).all()


@pytest.mark.slow
def test_consistency_of_maps_is_that_of_loops_over_valid_pixels():
    found = measures.kl_consistency(maps, IMAGES, TURN, output="image", batch_size=2)
    logits = np.asarray(maps(IMAGES))
    turned = np.asarray(measures.rotate_bilinear(IMAGES, ANGLE))
    expected = np.asarray(measures.rotate_bilinear(logits, ANGLE))
    back = np.asarray(maps(np.asarray(measures.rotate_bilinear(turned, -ANGLE))))
    p, q, u, b = (_softmax(np.float64(z)) for z in (expected, maps(turned), logits, back))
    for n in range(5):
        kl, floor, same = [], [], []
        for row, col in itertools.product(range(9), range(9)):
            if all(-1e-3 <= r <= 8.001 for r in _pre_image(row, col, 9, ANGLE)):
                kl.append(np.sum(p[n, row, col] * np.log(p[n, row, col] / q[n, row, col])))
                same.append(p[n, row, col].argmax() == q[n, row, col].argmax())
            if all(-1e-3 <= r <= 8.001 for r in _pre_image(row, col, 9, -ANGLE)):
                floor.append(np.sum(u[n, row, col] * np.log(u[n, row, col] / b[n, row, col])))
        assert 40 < len(kl) < 81
        np.testing.assert_allclose(found.kl.numerators[1, n], np.mean(kl), rtol=2e-4)
        np.testing.assert_allclose(found.floor.numerators[1, n], np.mean(floor), rtol=2e-4)
        np.testing.assert_allclose(found.agreement.numerators[1, n], np.mean(same), rtol=1e-6)
    assert found.upright is found.top is None
    assert len(repr(found).splitlines()) == 3


@pytest.mark.slow
def test_maps_of_pointwise_functions_are_consistent_and_others_are_not():
    turns = [measures.quarter_turn(k) for k in (1, 2, 3)]
    found = measures.kl_consistency(pointwise, IMAGES, turns, output="image")
    assert abs(found.kl.value) < 1e-6
    assert found.agreement.value == 1
    assert abs(found.floor.value) < 1e-6
    assert measures.kl_consistency(maps, IMAGES, turns, output="image").kl.value > 0.1
    tokens = measures.kl_consistency(
        lambda x: pointwise(x).reshape(len(x), -1, 3), IMAGES, turns, output="tokens"
    )
    assert abs(tokens.kl.value) < 1e-6


def test_consistency_of_maps_needs_a_layout_and_classes_without_a_representation():
    with pytest.raises(ValueError, match="pass output='image'"):
        measures.kl_consistency(maps, IMAGES, TURN)
    with pytest.raises(ValueError, match="kl_consistency compares class scores"):
        measures.kl_consistency(maps, IMAGES, TURN, output="invariant")
    vectors = reps.vector(groups.so(2))
    with pytest.raises(ValueError, match="classes are left alone"):
        measures.kl_consistency(maps, IMAGES, TURN, output=measures.Image(fiber=vectors))
    plain = measures.kl_consistency(scores, IMAGES, TURN)
    np.testing.assert_array_equal(plain.agreement.numerators, plain.top == plain.upright)
