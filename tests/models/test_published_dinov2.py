"""A published DINOv2-S/14: the features of the reference, positions filtered as stored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import data, models


@pytest.fixture(scope="module")
def published(data_dir):
    """The model, its parameters in float32, and what the reference computed."""
    folder = data_dir / "pretrained" / "dinov2_small"
    found = models.load(folder)
    params = jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), found.variables["params"])
    return found.model, params, np.load(folder / "reference_features.npz")


def _inputs(images):
    return data.normalize(images, data.IMAGENET_MEAN, data.IMAGENET_STD)


@pytest.mark.slow(15)
def test_features_are_those_of_the_reference(published):
    model, params, reference = published
    x = _inputs(reference["images"][:4])
    cls = model.apply({"params": params}, x)
    np.testing.assert_allclose(cls, reference["cls"][:4], atol=1e-4)
    (patches,) = model.apply({"params": params}, x[:1], features=True)
    one = patches.reshape(-1, patches.shape[-1])
    np.testing.assert_allclose(one, reference["patches_first"], atol=1e-4)


@pytest.mark.slow(15)
def test_positions_are_filtered_as_stored_and_resized_after(published):
    model, params, _ = published
    group = sq.groups.cyclic(4)
    plan = sq.plan(params, models.soft_rules(model, group, softness=1.0, position_cutoff=0.0))
    table = np.asarray(plan.project(params)["pos_embed"])
    assert table.shape == (1, 1 + 37**2, 384)
    grid = table[0, 1:].reshape(37, 37, 384)
    turns = [np.rot90(params["pos_embed"][0, 1:].reshape(37, 37, 384), k) for k in range(4)]
    np.testing.assert_allclose(grid, np.mean(turns, axis=0), atol=1e-5)
    np.testing.assert_array_equal(table[:, :1], params["pos_embed"][:, :1])
    small = models.resize_positions(jnp.asarray(table), 1, (8, 8))[0, 1:].reshape(8, 8, 384)
    np.testing.assert_allclose(np.rot90(small), small, atol=1e-5)
    image = np.random.default_rng(0).standard_normal((1, 112, 112, 3)).astype(np.float32)
    given = {**params, "pos_embed": jnp.asarray(table)}
    mine = model.apply({"params": plan.project(params)}, image)
    np.testing.assert_allclose(mine, model.apply({"params": given}, image), atol=1e-4)


@pytest.mark.slow(15)
def test_a_strict_backbone_turns_its_maps(published):
    """By quarter turns, whose rotations of images and patches are exact."""
    model, params, reference = published
    strict = sq.plan(params, models.soft_rules(model, sq.groups.cyclic(4))).project(params)
    x = _inputs(reference["images"][:1, ::2, ::2])

    def maps(weights, images):
        return np.asarray(model.apply({"params": weights}, images, features=True)[0])

    turned = np.rot90(x, axes=(1, 2))
    expected = np.rot90(maps(strict, x), axes=(1, 2))
    np.testing.assert_allclose(maps(strict, turned), expected, atol=2e-4)
    free = np.rot90(maps(params, x), axes=(1, 2))
    assert np.abs(maps(params, turned) - free).max() > 0.1
