"""Memory of a training step: it counts what the step holds, and runs nothing."""

import jax
import numpy as np
import optax
import pytest

from softeq_jax import training as tr


def _loss(params, model_state, batch, key, extra):
    hidden = jax.numpy.tanh(batch["x"] @ params["w"])
    return (hidden**2).mean(), (model_state, {})


@pytest.fixture
def step():
    return tr.make_train_step(_loss, optax.adam(1e-3))


def _state(width=256):
    params = {"w": np.zeros((256, width), np.float32)}
    return tr.init_state(params, optax.adam(1e-3))


def _bytes(tree):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def _batch(size):
    return {"x": np.ones((size, 256), np.float32)}


def test_it_holds_state_batch_and_what_lies_between(step):
    state, batch = _state(), _batch(512)
    held = tr.step_memory(step, state, batch)
    least = _bytes(state) + _bytes(batch)
    assert least < held < least + 4 * _bytes(batch) + 2 * _bytes(state.params)


def test_it_grows_with_the_batch_by_its_rows(step):
    small, large = (tr.step_memory(step, _state(), _batch(size)) for size in (512, 4096))
    rows = _bytes(_batch(4096)) - _bytes(_batch(512))
    assert rows < large - small < 5 * rows


def test_nothing_is_run_and_the_state_stays_usable(step):
    state = jax.tree.map(jax.numpy.asarray, _state())
    tr.step_memory(step, state, _batch(8))
    assert int(state.step) == 0
    assert np.all(np.asarray(state.params["w"]) == 0)


def test_a_replicated_state_is_refused(step):
    with pytest.raises(ValueError, match="replicated"):
        tr.step_memory(step, tr.replicate(_state()), _batch(8))
