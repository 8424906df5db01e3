"""Whole networks whose filtered weights make them invariant, where the lattice allows it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import models


@pytest.mark.slow(5)
@pytest.mark.parametrize("name", ["d4", "so2"])  # C4: test_model_rules.py
@pytest.mark.parametrize(
    ("model", "size"),
    [
        (models.ViT(12, 3, width=16, depth=2, heads=2, pool="cls"), 12),
        (models.ViT(12, 4, width=16, depth=2, heads=2, pool="mean"), 12),
        (models.CifarResNet(depth=8, width=4), 9),
    ],
    ids=["vit-cls", "vit-mean", "resnet-odd"],
)
def test_strict_weights_make_the_network_invariant_to_quarter_turns(name, model, size):
    group = sq.groups.from_name(name)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, size, size, 3)), jnp.float32)
    rng = np.random.default_rng(2)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(1), x), x)
    draw = lambda leaf: 0.3 * rng.standard_normal(leaf.shape).astype(np.float32)  # noqa: E731
    variables = jax.tree.map(draw, shapes)
    if "batch_stats" in variables:
        variables["batch_stats"] = jax.tree.map(np.ones_like, variables["batch_stats"])
    params = variables["params"]
    soft = sq.soften(params, models.soft_rules(model, group, softness=0.0))

    @jax.jit
    def logits(params, x):
        return model.apply({**variables, "params": params}, x, train=False)

    scale = float(jnp.abs(logits(params, x)).max())
    moves = [lambda x: jnp.rot90(x, axes=(1, 2)), lambda x: jnp.rot90(x, 2, axes=(1, 2))]
    if group.has_flip:
        moves.append(lambda x: x[:, :, ::-1])
    for move in moves:
        assert jnp.abs(logits(params, move(x)) - logits(params, x)).max() > 1e-2 * scale
        np.testing.assert_allclose(logits(soft, move(x)), logits(soft, x), atol=2e-5 * scale)


@pytest.mark.slow(3)
def test_on_even_maps_the_strided_resnet_is_not_invariant_and_the_certificates_say_so():
    model = models.CifarResNet(depth=8, width=4)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 3)), jnp.float32)
    variables = model.init(jax.random.key(1), x, train=False)
    group = sq.groups.cyclic(4)
    plan = sq.plan(variables["params"], models.soft_rules(model, group))
    soft = plan.project(variables["params"])
    difference = model.apply({**variables, "params": soft}, jnp.rot90(x, axes=(1, 2)), train=False)
    difference = difference - model.apply({**variables, "params": soft}, x, train=False)
    assert jnp.abs(difference).max() > 1e-3
    geometry = models.conv_geometry(model, variables, x.shape, train=False)
    refused = [
        path
        for path, projector, w in plan.planned(soft)
        if not sq.certificates.convolution(projector, w, geometry[path]).certified
    ]
    assert refused == ["stage2_block0/conv1/kernel", "stage3_block0/conv1/kernel"]
