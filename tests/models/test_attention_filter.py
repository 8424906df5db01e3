"""The attention filter: what it leaves alone, what it makes invariant, what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import softeq_jax as sq
from softeq_jax.models import AttentionFilter, DINOv2, ViT
from softeq_jax.reps import tokens

C4 = sq.groups.cyclic(4)
IMAGES = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
SMALL = {"width": 16, "depth": 2, "heads": 2, "image_size": 16, "patch_size": 4}
NETWORKS = {
    "vit": functools.partial(ViT, **SMALL),
    "dinov2": functools.partial(DINOv2, registers=2, **SMALL),
}


@functools.cache
def variables(name):
    """Drawn parameters of a network, normal."""
    shapes = jax.eval_shape(NETWORKS[name]().init, jax.random.key(0), IMAGES)
    leaves, structure = jax.tree.flatten(shapes)
    rng = np.random.default_rng(1)
    drawn = [0.3 * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(structure, drawn)


def features(name, **changes):
    network = NETWORKS[name](**changes)
    return np.asarray(network.apply(variables(name), jnp.asarray(IMAGES), features=True)[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_softness_1_is_the_network_itself_and_less_is_not(name):
    plain = features(name)
    whole = features(name, attention_filter=AttentionFilter(C4, (0, 1), softness=1.0))
    np.testing.assert_array_equal(whole, plain)
    soft = features(name, attention_filter=AttentionFilter(C4, (0, 1), softness=0.5))
    strict = features(name, attention_filter=AttentionFilter(C4, (0, 1)))
    assert np.abs(soft - plain).max() > 1e-3
    assert np.abs(soft - plain).mean() < np.abs(strict - plain).mean()


def test_the_filter_is_the_projector_of_the_tokens_of_that_block():
    """A network of one block by hand: its attention's part, projected and put back."""
    one = {**SMALL, "depth": 1}
    model = ViT(**one)
    drawn = variables("vit")
    given = {k: v for k, v in drawn["params"].items() if k != "block1"}
    chosen = AttentionFilter(C4, (0,), cutoff=1.0, mask="heat")

    def tokens_after(model):
        found = {}

        def keep(next_fun, args, kwargs, context):
            y = next_fun(*args, **kwargs)
            if context.module.name == "attention":
                found["out"] = y
            if context.module.name == "norm2":
                found["sum"] = args[0]
            return y

        with linen.intercept_methods(keep):
            model.apply({"params": given}, jnp.asarray(IMAGES))
        return found

    plain, soft = tokens_after(model), tokens_after(model.clone(attention_filter=chosen))
    np.testing.assert_array_equal(plain["out"], soft["out"])
    p = sq.projector("b n c", {"n": tokens(C4, (4, 4), 1)}, cutoff=1.0, mask="heat")
    wanted = plain["sum"] - plain["out"] + p(plain["out"])
    np.testing.assert_allclose(soft["sum"], wanted, atol=1e-5)


def test_a_strict_filter_adds_the_same_all_over_an_orbit_of_patches():
    p = AttentionFilter(C4, (0,)).projector((4, 4), 1)
    y = np.random.default_rng(3).normal(size=(2, 17, 5)).astype(np.float32)
    once = np.asarray(p(y))
    np.testing.assert_array_equal(once[:, 0], y[:, 0])
    grid = once[:, 1:].reshape(2, 4, 4, 5)
    np.testing.assert_allclose(np.rot90(grid, axes=(1, 2)), grid, atol=1e-6)


@pytest.mark.parametrize("softness", [0.0, 0.4, 1.0])
def test_the_defect_of_what_is_filtered_does_not_grow(softness):
    """``||P y' - g P y|| <= ||y' - g y||`` for any two maps, since P commutes with g."""
    p = AttentionFilter(C4, (0,), softness=softness).projector((4, 4), 0)
    rng = np.random.default_rng(4)
    y, moved = rng.normal(size=(2, 1, 16, 3))

    def turn(z):
        return np.rot90(np.asarray(z).reshape(1, 4, 4, 3), axes=(1, 2)).reshape(1, 16, 3)

    np.testing.assert_allclose(turn(p(y)), p(turn(y)), atol=1e-5)
    after = np.linalg.norm(np.asarray(p(moved)) - turn(p(y)))
    assert after <= np.linalg.norm(moved - turn(y)) * (1 + 1e-6)


def test_blocks_and_grids_that_are_not_there_are_refused():
    for blocks in ((2,), (-1,), ()):
        with pytest.raises(ValueError, match="some of 0 to 1"):
            features("vit", attention_filter=AttentionFilter(C4, blocks))
    with pytest.raises(ValueError, match="not square|square|map"):
        AttentionFilter(C4, (0,)).projector((3, 4), 1)
    with pytest.raises(ValueError, match="softness"):
        AttentionFilter(C4, (0,), softness=2.0).projector((4, 4), 1)
