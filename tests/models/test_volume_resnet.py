"""Residual networks of volumes, softened under the symmetries of R^3."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import models

G, R = sq.groups, sq.reps
MODEL = models.VolumeResNet(depth=8, num_classes=5, width=4)
X = np.random.default_rng(0).normal(size=(2, 9, 9, 9, 2)).astype(np.float32)


@functools.cache
def stored():
    """Variables with statistics of their own, without the initializers."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda x: MODEL.init(jax.random.key(0), x), X)
    found = jax.tree.map(
        lambda s: (rng.normal(size=s.shape) / np.sqrt(max(1, s.size / s.shape[-1]))).astype("f4"),
        shapes,
    )
    return found | {"batch_stats": jax.tree.map(lambda v: np.abs(v) + 0.5, found["batch_stats"])}


run = jax.jit(MODEL.apply)


@pytest.mark.slow(3)
@pytest.mark.parametrize("name", ["fulloctahedral", "o3", "octahedral"])
def test_strict_logits_do_not_move_under_the_symmetries_of_the_cube(name):
    group, variables = G.from_name(name), stored()
    plan = sq.plan(variables["params"], models.soft_rules(MODEL, group))
    assert len(plan.planned(variables["params"])) == 7  # every convolution
    strict = variables | {"params": plan.project(variables["params"])}
    elements = G.full_octahedral().elements()[::6]
    act = R.voxels(G.full_octahedral(), (9, 9, 9)).apply
    free, kept = np.asarray(run(variables, X)), np.asarray(run(strict, X))
    moved = {}
    for which, used, logits in (("free", variables, free), ("strict", strict, kept)):
        each = [
            np.abs(run(used, act(g, X, axes=(1, 2, 3))) - logits).max() / np.abs(logits).max()
            for g in elements
            if name != "octahedral" or np.linalg.det(g) > 0
        ]
        moved[which] = max(each)
    assert moved["strict"] < 1e-4
    assert moved["free"] > 0.02


def test_softness_and_certificates():
    params = stored()["params"]
    rules = models.soft_rules(MODEL, G.o(3), softness=0.3)
    plan = sq.plan(params, rules)
    for path, projector, w in plan.planned(params):
        assert projector.softness == pytest.approx(0.3, abs=0.02), path
        assert projector.certificate(np.asarray(projector(w))).certified
        assert "Voxels[3x3x3](O(3))" in projector.space.describe()


@pytest.mark.slow(2)
def test_shapes_features_and_training():
    shape = functools.partial(jax.eval_shape, MODEL.apply)
    assert shape(stored(), X).shape == (2, 5)
    maps = jax.eval_shape(lambda v, x: MODEL.apply(v, x, features=True), stored(), X)
    assert [m.shape for m in maps] == [(2, 9, 9, 9, 4), (2, 5, 5, 5, 8), (2, 3, 3, 3, 16)]
    pooled = jax.eval_shape(lambda v, x: MODEL.clone(num_classes=0).apply(v, x), stored(), X)
    assert pooled.shape == (2, 16)

    def loss(params):
        logits, new = MODEL.apply(
            stored() | {"params": params}, X, train=True, mutable=["batch_stats"]
        )
        return jnp.mean(jnp.square(logits)), new

    (_, new), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(stored()["params"])
    assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(gradient))
    before = stored()["batch_stats"]["bn1"]["mean"]
    assert np.abs(new["batch_stats"]["bn1"]["mean"] - before).max() > 1e-3


def test_presets():
    assert models.create("volume_resnet14", width=8).depth == 14


@pytest.mark.parametrize(
    ("changes", "shape", "message"),
    [
        ({}, (1, 9, 9, 2), r"volumes must be \[n, d, h, w, c\]"),
        ({"depth": 9}, (1, 9, 9, 9, 2), "depth must be 6 n"),
        ({"width": 0}, (1, 9, 9, 9, 2), "width must be a number >= 1, got 0"),
    ],
)
def test_bad_input(changes, shape, message):
    with pytest.raises(ValueError, match=message):
        MODEL.clone(**changes).init(jax.random.key(0), jnp.ones(shape))


def test_groups_of_another_space_are_refused():
    with pytest.raises(ValueError, match=r"orthogonal 3 x 3 matrices .*got C4"):
        models.soft_rules(MODEL, G.cyclic(4))
    with pytest.raises(ValueError, match=r"group of the plane .*got SO\(3\)"):
        models.soft_rules(models.CifarResNet(8, 5, 4), G.so(3))
