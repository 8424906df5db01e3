"""Losses against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from softeq_jax import training as tr
from softeq_jax.training import objectives

RNG = np.random.default_rng(0)


def _identity(weights, state, x, *key):
    return weights * x, {**state, "drawn": len(key)}


def _value(loss_fn, batch, weights=1.0):
    """Loss and metrics through the trainer's step with a learning rate of zero."""
    step = tr.make_train_step(
        lambda w, s, *rest: (lambda o: (o[0], (s, o[1][1])))(loss_fn(w, s, *rest)), optax.sgd(0.0)
    )
    state = tr.replicate(tr.init_state(np.float32(weights), optax.sgd(0.0), {}))
    _, metrics = step(state, tr.shard(batch), None, tr.shard(np.zeros(1, np.float32)))
    return {name: float(value) for name, value in metrics.items()}


@pytest.mark.slow
def test_classification_of_integer_smoothed_and_mixed_labels():
    logits = RNG.standard_normal((6, 4)).astype(np.float32)
    labels = RNG.integers(0, 4, 6).astype(np.int32)
    log_p = np.asarray(jax.nn.log_softmax(logits))
    found = _value(objectives.classification(_identity), {"image": logits, "label": labels})
    np.testing.assert_allclose(found["loss"], -log_p[np.arange(6), labels].mean(), rtol=1e-6)
    np.testing.assert_allclose(found["accuracy"], np.mean(logits.argmax(1) == labels))

    smooth = 0.9 * np.eye(4)[labels] + 0.1 / 4
    loss = objectives.classification(_identity, smoothing=0.1)
    found = _value(loss, {"image": logits, "label": labels})
    np.testing.assert_allclose(found["loss"], -(smooth * log_p).sum(1).mean(), rtol=1e-6)

    mixed = RNG.dirichlet(np.ones(4), 6).astype(np.float32)
    found = _value(loss, {"image": logits, "label": mixed})
    np.testing.assert_allclose(found["loss"], -(mixed * log_p).sum(1).mean(), rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], np.mean(logits.argmax(1) == mixed.argmax(1)))


@pytest.mark.slow
def test_keys_reach_the_network():
    loss = objectives.classification(_identity, keyed=True)
    batch = {"image": jnp.zeros((2, 3)), "label": jnp.zeros(2, jnp.int32)}
    _, (state, _) = loss(1.0, {}, batch, jax.random.key(0), None)
    assert state == {"drawn": 1}


@pytest.mark.slow
def test_segmentation_leaves_out_what_has_no_label():
    logits = RNG.standard_normal((2, 3, 4, 5)).astype(np.float32)
    mask = RNG.integers(0, 5, (2, 3, 4)).astype(np.int32)
    mask[0, 0], mask[1, 2, 3] = 255, 255
    counts = mask != 255
    log_p = np.asarray(jax.nn.log_softmax(logits))
    picked = np.take_along_axis(log_p, np.where(counts, mask, 0)[..., None], -1)[..., 0]
    found = _value(objectives.segmentation(_identity), {"image": logits, "mask": mask})
    np.testing.assert_allclose(found["loss"], -picked[counts].mean(), rtol=1e-5)
    right = (logits.argmax(-1) == mask)[counts]
    np.testing.assert_allclose(found["pixel_accuracy"], right.mean(), rtol=1e-6)
    empty = {"image": logits, "mask": np.full_like(mask, 255)}
    assert _value(objectives.segmentation(_identity), empty)["loss"] == 0


@pytest.mark.slow
def test_trajectories_count_those_who_are_present():
    future = RNG.standard_normal((3, 2, 5, 2)).astype(np.float32)
    observed = RNG.standard_normal((3, 2, 5, 2)).astype(np.float32)
    present = np.array([[True, False], [True, True], [False, False]])
    loss = objectives.trajectories(lambda w, s, x, there: (w * x, s))
    batch = {"observed": observed, "future": future, "present": present}
    found = _value(loss, batch, weights=0.5)
    error = (0.5 * observed - future)[present]
    np.testing.assert_allclose(found["loss"], np.mean(error**2), rtol=1e-5)
    distance = np.linalg.norm(error, axis=-1).mean()
    np.testing.assert_allclose(found["displacement"], distance, rtol=1e-5)
    exact = {**batch, "future": observed}
    found = _value(loss, exact)
    assert (found["loss"], found["displacement"], found["finite"]) == (0, 0, 1)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="smoothing"):
        objectives.classification(_identity, smoothing=1.0)
    image = np.zeros((2, 3), np.float32)
    with pytest.raises(
        ValueError, match=r"labels have shape \(2, 2\), expected \(2,\) or \(2, 3\)"
    ):
        _value(objectives.classification(_identity), {"image": image, "label": image[:, :2]})
    batch = {"image": np.zeros((2, 3, 4, 5), np.float32), "mask": np.zeros((2, 3), np.int32)}
    with pytest.raises(ValueError, match=r"mask has shape \(2, 3\), expected \(2, 3, 4\)"):
        _value(objectives.segmentation(_identity), batch)
