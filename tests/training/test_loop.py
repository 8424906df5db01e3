"""The loop: hooks, stops, batches that end, losses that are not finite, the queue."""

import logging

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from softeq_jax import training as tr
from softeq_jax.training.pmap import InFlight

SGD = optax.sgd(0.1)


class Numbers:
    """Batches number 0, 1, ... of one number; names its examples."""

    def __init__(self, values):
        self._values = iter(values)

    def __iter__(self):
        return self

    def __next__(self):
        return {"x": np.full(4, next(self._values), np.float32)}

    def examples(self, step):
        return np.arange(4) + 4 * step


def _loss(params, model_state, batch, key, extra):
    return jnp.mean(batch["x"]) * params, (model_state, {"x": batch["x"].mean()})


STEP = tr.make_train_step(_loss, SGD, skip_nonfinite=True)
START = tr.init_state(np.float32(1), SGD)


def fit(values, steps=None, **kwargs):
    return tr.fit(STEP, START, Numbers(values), len(values) if steps is None else steps, **kwargs)


@pytest.mark.parametrize("in_flight", [None, 0, 1, 5])
def test_metrics_come_in_order_whatever_is_in_flight(in_flight):
    seen = []
    state, history = fit(range(6), in_flight=in_flight, on_step=lambda n, v: seen.append((n, v)))
    assert [n for n, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert [v["x"] for _, v in seen] == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(history["x"], np.arange(6))
    assert set(history) == {"x", "loss", "grad_norm"}
    np.testing.assert_allclose(state.params, 1 - 0.1 * 15, rtol=1e-5)
    assert int(state.step) == 6
    assert fit(range(3), history=False)[1] == {}


def test_hooks_see_finished_steps():
    seen, order = [], []
    hooks = [
        tr.Hook(tr.every(2), lambda n, s: seen.append((n, int(tr.unreplicate(s).step)))),
        tr.Hook(tr.every(0, total=5), lambda n, s: order.append(n)),
        tr.Hook(tr.every(3), lambda n, s: order.append(-n)),
    ]
    fit(range(7), hooks=hooks, in_flight=3, on_step=lambda n, v: order.append(f"step {n}"))
    assert seen == [(2, 2), (4, 4), (6, 6)]
    assert order.index("step 5") < order.index(5)
    assert order.index("step 3") < order.index(-3) < order.index("step 4")
    assert 5 in order
    assert 7 not in order
    with pytest.raises(ValueError, match="got -1"):
        tr.every(-1)


def test_what_a_hook_copies_stays():
    """The state's memory is used again by later steps; `unreplicate` gives arrays of their own."""
    kept = {}
    fit(range(6), hooks=[tr.Hook(tr.every(1), lambda n, s: kept.update({n: tr.unreplicate(s)}))])
    values = [float(kept[n].params) for n in range(1, 7)]
    np.testing.assert_allclose(values, 1 - 0.1 * np.cumsum(range(6)), atol=1e-6)


def test_a_stop_ends_between_two_steps():
    state, history = fit(range(9), stop=iter([False, False, True]).__next__)
    assert int(state.step) == 2
    assert len(history["loss"]) == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_named(bad):
    with pytest.raises(tr.NonFiniteLoss, match=rf"step 3: the loss is {bad}.* 8, 9, 10, 11$") as e:
        fit([1, 1, bad, 1, 1])
    assert e.value.step == 3
    np.testing.assert_array_equal(e.value.examples, [8, 9, 10, 11])


def test_bad_steps_are_skipped_up_to_a_limit(caplog):
    with caplog.at_level(logging.WARNING):
        state, history = fit([1, np.nan, 2, np.nan, np.nan, 3], max_skipped=2)
    np.testing.assert_allclose(state.params, 1 - 0.1 * 6, rtol=1e-5)
    assert np.isnan(history["loss"]).tolist() == [False, True, False, True, True, False]
    assert caplog.text.count("rolled back and skipped") == 3
    assert "step 2: the loss is nan" in caplog.text
    assert "examples 4, 5, 6, 7;" in caplog.text
    with pytest.raises(tr.NonFiniteLoss, match="step 3.*2 steps in a row, more than max_skipped=1"):
        fit([1, np.nan, np.nan, 1], max_skipped=1)


def test_what_was_not_rolled_back_is_not_called_skipped():
    step = tr.make_train_step(_loss, SGD)
    with pytest.raises(tr.NonFiniteLoss, match="step 2.*not rolled back.*skip_nonfinite=True"):
        tr.fit(step, START, Numbers([1, np.nan, 1]), 3, max_skipped=2)


def test_batches_that_do_not_tell_their_examples():
    with pytest.raises(tr.NonFiniteLoss) as error:
        tr.fit(STEP, START, iter([{"x": np.full(4, np.nan, np.float32)}]), 1)
    assert error.value.examples is None
    assert "holds" not in str(error.value)


def test_many_examples_are_abbreviated():
    class Many(Numbers):
        def examples(self, step):
            return np.arange(1000)

    with pytest.raises(tr.NonFiniteLoss, match=r"14, 15, \.\.\. \(1000 in all\)"):
        tr.fit(STEP, START, Many([np.nan]), 1)


def test_bad_arguments():
    with pytest.raises(ValueError, match="batches ended after 2 of 3 steps"):
        fit([1, 1], steps=3)
    with pytest.raises(ValueError, match="steps must be an integer of at least 0, got -1"):
        fit([1], steps=-1)
    with pytest.raises(ValueError, match="in_flight must be an integer of at least 0, got -1"):
        fit([1], in_flight=-1)
    with pytest.raises(TypeError, match="fit got the unknown option 'hook'; it takes .*hooks"):
        fit([1], hook=[])


def test_the_queue_never_holds_more_than_its_depth():
    queue = InFlight(2)
    done = [label for n in range(5) for label, _ in queue.push(n, jnp.ones(()))]
    assert done == [0, 1, 2]
    assert [label for label, _ in queue.drain()] == [3, 4]
    assert queue.drain() == []
