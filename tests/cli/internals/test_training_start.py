"""What `finetune` begins with: the weights of a softened file, not filtered once more."""

import jax
import numpy as np
import pytest
from command import run
from tiny_checkpoints import vit_folder

from softeq_jax.cli import _training
from softeq_jax.cli._finetune import _start
from softeq_jax.cli._head import Headed
from softeq_jax.models.weights import load


def tuning(rules):
    return _training.FineTuning(rules, 1, 4, 1e-3, 0.0, 10.0, False, 0)


@pytest.mark.parametrize("softened", [True, False])
def test_training_starts_at_weights_filtered_once(capsys, tmp_path, softened):
    vit, soft = vit_folder(tmp_path / "vit"), tmp_path / "soft"
    run(capsys, "soften", vit, "--group", "c4", "--softness", "0.3", "--out", soft)
    network = load(soft if softened else vit)
    head = Headed(network, None, (), "")
    start = _start(head, "c4", {"softness": 0.3}, is_soft=softened)
    method, extra = _training._method(start, tuning("soft"))
    found = method.weights(start.params, extra, np.int32(0))
    wanted = load(soft).variables["params"]
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    moved = jax.tree.map(lambda w: w + 0.5 * np.arange(w.size).reshape(w.shape), start.params)
    step = jax.tree.map(np.subtract, moved, start.params)
    found = method.weights(moved, extra, np.int32(0))
    expected = jax.tree.map(np.add, start.params, start.plan.project(step))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)


def test_frozen_parameters_have_no_rate_and_a_new_head_ten_times_it(tmp_path):
    network = load(vit_folder(tmp_path / "vit"), num_classes=3, reset_head=True)
    head = Headed(network, None, (), "")
    assert set(head.fresh) == {"head/kernel", "head/bias"}
    start = _start(head, "c4", {"softness": 0.3}, is_soft=False)
    optimizer, _ = _training._optimizer(start, tuning("frozen"), 10)
    ones = jax.tree.map(np.ones_like, start.params)
    updates, _ = optimizer.update(ones, optimizer.init(start.params), start.params)
    planned = {path for path, _, _ in start.plan.planned(start.params)}
    for path, _, update in start.plan.leaves(updates):
        size = 0.0 if path in planned else 1e-2 if path in head.fresh else 1e-3
        np.testing.assert_allclose(np.abs(update), size, rtol=1e-4, err_msg=path)
