"""How a network is cut: labels, modules, taps, groups, declared layouts, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from softeq_jax.measures import Image, Tokens
from softeq_jax.measures.attribution import layerwise, linen, plan, tap
from softeq_jax.models import CifarResNet, ViT

LIKE = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
X = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)


def conv(x, features, seed=0):
    kernel = np.random.default_rng(seed).standard_normal((3, 3, x.shape[-1], features)) / 5
    return jax.lax.conv_general_dilated(
        x,
        jnp.asarray(kernel, x.dtype),
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def plain(x):
    x = jax.nn.relu(conv(x, 4) + 0.1)
    x = tap(x, "stem")
    x = x + jax.nn.gelu(conv(x, 4, 1))
    x = tap(x, "body")
    return x.mean((1, 2))


def flat(x):
    x = jnp.tanh(conv(x, 2)).reshape(len(x), -1)
    x = jnp.sin(tap(x @ jnp.ones((128, 6), x.dtype) / 9, "hidden"))
    return x @ jnp.ones((6, 3), x.dtype)


def arrays(net, *args):
    """Variables of the right shapes, without the time that initializing takes."""
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), *args))
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda a: np.asarray(rng.uniform(0.1, 0.5, a.shape) - 0.2 * (a.ndim > 1), a.dtype), shapes
    )


def resnet():
    net = CifarResNet(depth=8, width=4)
    return net, arrays(net, False)


def vit():
    net = ViT(8, 2, 8, 1, 2)
    return net, arrays(net)


def test_labels_of_a_plain_function():
    assert plan(plain, LIKE).layers == (*("conv_1", "add", "relu", "conv_2", "tanh", "sum", "div"),)


def test_every_operation_is_a_layer_of_its_own():
    layers = plan(plain, LIKE, by="ops").layers
    assert [layer for layer in layers if layer.startswith(("integer_pow", "tanh"))]
    assert len(layers) > 12


def test_jitted_networks_are_seen_through():
    assert plan(jax.jit(plain), LIKE).layers == plan(plain, LIKE).layers
    nested = jax.jit(lambda x: jax.checkpoint(plain)(x))
    assert plan(nested, LIKE).layers == plan(plain, LIKE).layers


def test_modules_of_linen():
    net, variables = resnet()
    layers = plan(linen(net, variables, False), LIKE, head="probabilities").layers
    block = ("conv1", "bn1", "relu_1", "conv2", "bn2", "pad", "add", "relu_2")
    assert layers[:3] == ("conv1", "bn1", "relu")
    assert layers[3:11] == tuple(f"stage1_block0/{name}" for name in block)
    assert "stage2_block0/slice" in layers
    assert layers[-2:] == ("linear", "probabilities")


def test_linen_names_modules_without_profiling():
    net, variables = resnet()
    named = plan(linen(net, variables, False), LIKE).layers
    more = jax.ShapeDtypeStruct(
        (3, *LIKE.shape[1:]), LIKE.dtype
    )  # what was traced for LIKE is kept
    with nn.override_named_call(False):
        assert plan(linen(net, variables, False), more).layers == named
        bare = plan(lambda x: net.apply(variables, x, False), LIKE).layers
    assert not any("bn1" in label for label in bare)
    with nn.override_named_call(True):
        own = plan(lambda x: net.apply(variables, x, False), LIKE).layers
    assert own == named


def test_another_checkpoint_shares_the_plan():
    net, variables = resnet()
    other = jax.tree.map(lambda a: 2 * a, variables)
    first, second = (plan(linen(net.clone(), v, False), LIKE) for v in (variables, other))
    assert first._stages is second._stages
    assert plan(linen(net, variables, False, taps=["conv1"]), LIKE)._stages is not first._stages
    assert plan(linen(net, variables, train=False), LIKE)._stages is not first._stages


def test_modules_of_a_vision_transformer():
    net, variables = vit()
    planned = plan(linen(net, variables), LIKE)
    layers = planned.layers
    assert layers[:3] == ("patch_embed", "concatenate", "add")
    names = ("query", "key", "value")
    assert {f"block0/attention/{name}" for name in names} < set(layers)
    assert {"block0/attention", "block0/erf", "block0/mlp_out", "norm", "head"} < set(layers)
    where = dict(zip(layers, planned.layouts, strict=True))
    assert where["block0/attention"] == "tokens, pitch 2"
    assert where["head"] == "invariant"


def test_module_called_twice_is_two_layers():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Conv(3, (3, 3), name="conv")
            return layer(nn.relu(layer(x))).mean((1, 2))

    variables = arrays(Twice())
    layers = plan(linen(Twice(), variables), LIKE).layers
    assert layers[:3] == ("conv_1", "relu", "conv_2")


@pytest.mark.slow
def test_taps():
    planned = plan(plain, LIKE, by="taps")
    assert planned.layers == ("stem", "body", "output")
    net, variables = resnet()
    blocks = [f"stage{k}_block0" for k in (1, 2, 3)]
    result = layerwise(
        linen(net, variables, False, taps=["stage*_block0"]), X, "rotation", by="taps"
    )
    assert result.layers == (*blocks, "output")
    fine = layerwise(linen(net, variables, False), X, "rotation")
    for k, block in enumerate(blocks[1:], start=1):
        parts = [label.startswith(block) for label in fine.layers]
        np.testing.assert_allclose(
            fine.shares["rotation"][parts].sum(axis=0),
            result.shares["rotation"][k],
            rtol=0,
            atol=1e-3,
        )


def test_tap_on_a_branch():
    """What bypasses a tap belongs to what comes after; the sum is as exact as ever."""

    def f(x):
        side = jnp.tanh(conv(x, 2))
        return (side * tap(jnp.sin(conv(x, 2, 1)), "branch")).sum((1, 2))

    result = layerwise(f, X, "scale", by="taps")
    assert result.layers == ("output", "branch")
    np.testing.assert_allclose(result.shares["scale"].sum(axis=0), 1, atol=1e-4)


@pytest.mark.slow
def test_groups():
    result = layerwise(plain, X, by=lambda label: "linear" if "conv" in label else "rest")
    assert result.layers == ("linear", "rest")
    fine = layerwise(plain, X)
    linear = [label.startswith("conv") for label in fine.layers]
    for name in fine.generators:
        np.testing.assert_allclose(
            result.shares[name][0], fine.shares[name][linear].sum(axis=0), atol=1e-4
        )


@pytest.mark.slow
def test_layouts_can_be_declared():
    assert plan(flat, LIKE).layers[-1] == "dot"
    assert len(plan(flat, LIKE).layers) == 3
    declared = plan(flat, LIKE, layouts={"hidden": "invariant"})
    assert len(declared.layers) == 5
    assert declared.layouts[-2] == "invariant"
    result = layerwise(flat, X, layouts={"hid*": "invariant"}, by="taps")
    assert result.layers == ("hidden", "output")
    np.testing.assert_allclose(result.shares["translation_x"][1], 0, atol=1e-6)
    net, variables = vit()
    options = {"block0/attention/out": Tokens(prefix=1, pitch=2.0)}
    layers = plan(linen(net, variables), LIKE, layouts=options).layers
    assert "block0/add" in layers


def test_refusals():
    with pytest.raises(
        ValueError,
        match="'hidden' of shape (2, 6) is a feature map whose layout".replace("(", r"\(").replace(
            ")", r"\)"
        ),
    ):
        plan(flat, LIKE, by="taps")
    with pytest.raises(ValueError, match="'nothing' matches no array"):
        plan(flat, LIKE, layouts={"nothing": "image"})
    with pytest.raises(ValueError, match=r"layouts\['hidden'\]"):
        plan(flat, LIKE, layouts={"hidden": "image"})
    with pytest.raises(ValueError, match="needs taps"):
        plan(jnp.tanh, LIKE, by="taps", output="image")
    with pytest.raises(ValueError, match="by must be"):
        plan(plain, LIKE, by="layers")
    with pytest.raises(ValueError, match="does not depend"):
        plan(lambda x: jnp.zeros(2), LIKE)
    with pytest.raises(ValueError, match="as it is"):
        plan(lambda x: x, LIKE)
    with pytest.raises(TypeError, match="must be floating point"):
        plan(lambda x: plain(x).argmax(-1), LIKE)
    with pytest.raises(TypeError, match="one array"):
        plan(lambda x: {"logits": plain(x)}, LIKE)
    with pytest.raises(ValueError, match="one entry per image"):
        plan(lambda x: plain(x).sum(), LIKE)
    with pytest.raises(ValueError, match="each once"):
        plan(plain, LIKE, ("rotation", "rotation"))
    with pytest.raises(ValueError, match="alignment"):
        plan(plain, LIKE, alignment="center")
    with pytest.raises(ValueError, match="batch_size"):
        plan(plain, LIKE, batch_size=0)
    with pytest.raises(ValueError, match="'invariant'"):
        plan(plain, LIKE, input="invariant")
    with pytest.raises(ValueError, match="needs a name"):
        tap(X, "")
    with pytest.raises(TypeError, match="floating point"):
        layerwise(plain, np.zeros((2, 8, 8, 3), np.int32))
    with pytest.raises(TypeError, match=r"flax\.linen\.Module"):
        linen(plain, {})
    net, variables = resnet()
    with pytest.raises(ValueError, match="match no module"):
        plan(linen(net, variables, False, taps=["stage9*"]), LIKE)


def test_declared_pitch_of_the_input():
    """Pitches and origins inside are in the input's units, wherever the input lies."""
    given = Image(pitch=0.5, origin=(0.0, 0.0))
    planned = plan(lambda x: jnp.tanh(x[:, ::2, ::2]).sum((1, 2)), LIKE, input=given)
    assert planned.layouts[0] == "image, pitch 1"
