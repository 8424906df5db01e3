"""The vision transformer: shapes, both pools, and what the class token and positions do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax.models import ViT


def _vit(**changes):
    return ViT(**{"image_size": 8, "patch_size": 2, "width": 12, "depth": 2, "heads": 3, **changes})


@pytest.mark.parametrize(("pool", "tokens"), [("cls", 17), ("mean", 16)])
def test_shapes(pool, tokens):
    model = _vit(pool=pool, num_classes=5)
    x = jax.ShapeDtypeStruct((3, 8, 8, 2), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(1), x)
    params = variables["params"]
    assert jax.eval_shape(model.apply, variables, x).shape == (3, 5)
    assert params["pos_embed"].shape == (1, tokens, 12)
    assert params["patch_embed"]["kernel"].shape == (2, 2, 2, 12)
    assert params["block1"]["mlp_in"]["kernel"].shape == (12, 48)
    assert ("cls_token" in params) == (pool == "cls")


@pytest.mark.slow
def test_mean_pool_without_positions_ignores_the_order_of_patches():
    model = _vit(pool="mean", depth=1)
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    params = jax.jit(model.init)(jax.random.key(1), x)["params"]
    apply = jax.jit(model.apply)
    shifted = jnp.roll(x, 2, axis=1)
    logits, moved = apply({"params": params}, x), apply({"params": params}, shifted)
    assert np.abs(logits - moved).max() > 1e-4
    params = {**params, "pos_embed": jnp.zeros_like(params["pos_embed"])}
    logits, moved = apply({"params": params}, x), apply({"params": params}, shifted)
    np.testing.assert_allclose(logits, moved, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pool": "max"}, "pool.*max"),
        ({"patch_size": 3}, "patch_size.*8 and 3"),
        ({"heads": 5}, "heads.*12, 5"),
        ({"image_size": 16}, r"16, 16.*\(1, 8, 8, 1\)"),
    ],
)
def test_errors(changes, words):
    with pytest.raises(ValueError, match=words):
        _vit(**changes).init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
