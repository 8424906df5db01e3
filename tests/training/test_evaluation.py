"""Evaluation on one device: padding, arrays as metrics, errors; scores of segmentations."""

import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import data
from softeq_jax import training as tr
from softeq_jax.training import evaluation, methods
from softeq_jax.training.pmap import over_devices

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((23, 2, 2, 1)).astype(np.float32)
LABELS = RNG.integers(0, 4, 23).astype(np.int32)
SOURCE = data.ArraySource(IMAGES, LABELS)
TWICE = tr.Method(lambda params, extra, step: 2 * params)


def _logits(weights, state, images):
    return weights * images.reshape(len(images), -1)


EVALUATE = tr.make_evaluate(evaluation.classification_metrics(_logits), method=TWICE)


@pytest.mark.slow
@examples(fast=10)
@given(st.integers(1, 30))
def test_the_last_batch_is_padded_and_not_counted(size):
    one, none = tr.replicate((np.float32(1), {}))
    found = EVALUATE(one, none, data.eval_batches(SOURCE, size, num_threads=0))
    logits = 2 * IMAGES.reshape(23, -1)
    expected = np.mean(logits.argmax(1) == LABELS)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert found["count"] == 23
    np.testing.assert_allclose(found["accuracy"], expected, rtol=1e-7)
    picked = -log_p[np.arange(23), LABELS].mean()
    np.testing.assert_allclose(found["cross_entropy"], picked, rtol=1e-5)


def test_what_padding_evaluates_to_does_not_matter():
    evaluate = tr.make_evaluate(lambda w, s, batch, extra: {"log": jnp.log(batch["image"][:, 0])})
    batch = {"image": np.array([[1.0], [np.e], [0.0], [0.0]], np.float32)}
    one, none = tr.replicate((np.float32(1), {}))
    found = evaluate(one, none, [{**batch, "weight": np.array([1, 1, 0, 0])}])
    assert found["count"] == 2
    np.testing.assert_allclose(found["log"], 0.5, rtol=1e-6)


def test_metrics_that_are_arrays_and_mean_iou():
    mask = RNG.integers(0, 3, (5, 4, 4)).astype(np.int32)
    mask[0, 0] = 255
    logits = RNG.standard_normal((5, 4, 4, 3)).astype(np.float32)
    metrics = evaluation.segmentation_metrics(lambda w, s, x: x, classes=3)
    evaluate = tr.make_evaluate(metrics)
    batches = [
        {"image": logits[:3], "mask": mask[:3], "weight": np.ones(3)},
        {"image": logits[2:], "mask": mask[2:], "weight": np.array([0, 1, 1])},
    ]
    one, none = tr.replicate((np.float32(1), {}))
    confusion = evaluate(one, none, batches)["confusion"]
    guess, counts = logits.argmax(-1), mask != 255
    expected = np.zeros((3, 3))
    np.add.at(expected, (mask[counts], guess[counts]), 1)
    np.testing.assert_allclose(confusion, expected / 5, rtol=1e-6)
    ious = [
        np.sum((mask == c) & (guess == c)) / np.sum(((mask == c) | (guess == c)) & counts)
        for c in range(3)
    ]
    np.testing.assert_allclose(evaluation.mean_iou(confusion), np.mean(ious), rtol=1e-6)


def test_absent_classes_are_left_out_of_the_mean():
    assert evaluation.mean_iou(np.diag([2.0, 0.0, 1.0])) == 1.0
    assert np.isnan(evaluation.mean_iou(np.zeros((2, 2))))


def test_bad_batches():
    one, none = tr.replicate((np.float32(1), {}))
    with pytest.raises(ValueError, match=r"batch 0 has \['image'\], expected 'weight'"):
        EVALUATE(one, none, [{"image": IMAGES}])
    with pytest.raises(ValueError, match="nothing to evaluate"):
        EVALUATE(one, none, [])
    evaluate = tr.make_evaluate(
        lambda w, s, b, e: {"all": b["image"].sum()}, method=methods.plain()
    )
    with pytest.raises(ValueError, match=r"\['all'\] has shape \(\), expected one value"):
        evaluate(one, none, [{"image": IMAGES, "weight": np.ones(23)}])
    predict = tr.make_predict(lambda p, s, x, e: x)
    with pytest.raises(ValueError, match="expected images and a batch size >= 1, got 0"):
        predict(1.0, {}, IMAGES[:0])


def test_predictions_are_in_order_and_once_each():
    predict = tr.make_predict(lambda p, s, x, e: p * x + e)
    for size in (1, 5, 23, 100):
        out = predict(np.float32(2), {}, IMAGES, size, extra=np.float32(1))
        np.testing.assert_allclose(out, 2 * IMAGES + 1, rtol=1e-6)


def test_as_many_leaves_as_arguments():
    """jax.pmap alone takes four arguments with four leaves for leaves, and cuts them up wrongly."""
    seen = {}

    def f(empty, batch, nothing, number):
        seen.update({name: value.shape for name, value in batch.items()})
        return number * batch["a"].sum()

    mapped = over_devices(f, in_axes=(0, 0, None, None))
    batch = tr.shard({"a": np.ones((5, 2)), "b": np.ones((5, 3)), "c": np.ones(5)})
    assert mapped({}, batch, None, np.float32(2)) == 20
    assert seen == {"a": (5, 2), "b": (5, 3), "c": (5,)}
