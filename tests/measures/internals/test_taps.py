"""Collecting features of Linen networks, and declaring their layouts."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax.measures import Image, Invariant, Tokens
from softeq_jax.measures.features import linen_features
from softeq_jax.measures.features._taps import feature_layouts, feature_shapes


class _Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(4, name="z_dense")(x))


class _Net(nn.Module):
    wrap: bool = False

    @nn.compact
    def __call__(self, x, train=True):
        block = (nn.remat(_Block) if self.wrap else _Block)(name="block")
        shared = nn.Dense(4, name="a_shared")
        x = shared(shared(block(x)))
        return nn.Dense(2, name="head")(nn.Dropout(0.5, deterministic=not train)(x).mean((1, 2)))


@pytest.fixture(scope="module")
def variables():
    return _Net().init(jax.random.key(0), jnp.zeros((1, 6, 6, 4)), train=False)


IMAGES = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype(np.float32)


@pytest.mark.slow
def test_outputs_in_the_order_of_execution(variables):
    found = linen_features(_Net(), variables, train=False)(IMAGES)
    names = ["block/z_dense", "block", "a_shared", "a_shared#2", "Dropout_0", "head", "output"]
    assert list(found) == names
    expected = _Net().apply(variables, IMAGES, train=False)
    np.testing.assert_array_equal(found["output"], expected)
    assert feature_shapes(linen_features(_Net(), variables, train=False), IMAGES).keys() == set(
        names
    )
    assert list(feature_shapes(linen_features(_Net(), variables, train=False), IMAGES)) == names


def test_filter_and_parameters(variables):
    features = linen_features(_Net(), variables, filter="a_shared*", train=False)
    assert list(features(IMAGES)) == ["a_shared", "a_shared#2"]
    arrays = [leaf for leaf in jax.tree.leaves(features) if hasattr(leaf, "shape")]
    assert len(arrays) == len(jax.tree.leaves(variables))
    with pytest.raises(ValueError, match="matches none"):
        linen_features(_Net(), variables, filter="conv*", train=False)(IMAGES)


def test_lifted_modules_are_refused_not_leaked(variables):
    net = _Net(wrap=True)
    with pytest.raises(ValueError, match=r"lifted transformation"):
        linen_features(net, variables, train=False)(IMAGES)
    assert list(linen_features(net, variables, filter="a_*", train=False)(IMAGES))
    jitted = jax.jit(linen_features(_Net(), variables, train=False))
    assert jitted(IMAGES)["head"].shape == (2, 2)


def test_layouts_by_pattern():
    shapes = {"stem": (2, 8, 8, 3), "block1": (2, 4, 4, 5), "tokens": (2, 16, 5), "head": (2, 10)}
    fine = Image(pitch=2.0)
    found = feature_layouts(shapes, {"block*": fine, "stem": "image", "tok*": "tokens"})
    assert found == {"stem": Image(), "block1": fine, "tokens": Tokens(), "head": Invariant()}
    assert list(found) == list(shapes)
    exact = feature_layouts({"a": (1, 4, 4, 1)}, {"a": fine})
    assert exact == {"a": fine}
    both = feature_layouts({"a": (1, 4, 4, 1), "b": (1, 4, 4, 1)}, {"*": "image", "a": fine})
    assert both == {"a": fine, "b": Image()}


@pytest.mark.parametrize(
    ("layouts", "message"),
    [
        ({}, r"'stem' has shape \(2, 8, 8, 3\) and no layout"),
        ({"*": "image", "s*": "image"}, r"layouts of no feature .*\['s\*'\]"),
        ({"*": "picture"}, "no layout is called"),
        ({"*": Tokens(axis=9)}, "without a token axis"),
    ],
)
def test_layouts_that_do_not_fit(layouts, message):
    with pytest.raises(ValueError, match=message):
        feature_layouts({"stem": (2, 8, 8, 3)}, layouts)


def test_another_checkpoint_shares_what_is_compiled(variables):
    other = jax.tree.map(lambda a: 2 * a, variables)
    first, second = (linen_features(_Net(), v, train=False) for v in (variables, other))
    assert jax.tree.structure(first) == jax.tree.structure(second)
    different = linen_features(_Net(), variables, filter="block*", train=False)
    assert jax.tree.structure(first) != jax.tree.structure(different)
