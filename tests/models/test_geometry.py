"""Recorded geometry of convolutions, checked against what the layers really do."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

import softeq_jax as sq
from softeq_jax.models import CifarResNet, ConvGeometry, ViT, conv_defects, conv_geometry
from softeq_jax.nn.equivariant import EquivariantConv, conv_projectors


class _One(nn.Module):
    options: dict[str, Any]

    @nn.compact
    def __call__(self, x):
        return nn.Conv(4, use_bias=False, name="conv", **self.options)(x)


@pytest.mark.slow
@pytest.mark.parametrize("grid", [(8, 8), (7, 6)])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": (3, 3)},
        {"kernel_size": (3, 3), "strides": 2, "padding": "SAME"},
        {"kernel_size": (2, 4), "strides": (2, 1), "padding": "VALID"},
        {"kernel_size": (3, 2), "padding": "SAME", "kernel_dilation": 2},
        {"kernel_size": (3, 3), "padding": 1, "strides": (1, 2)},
        {"kernel_size": (3, 5), "padding": (0, 2), "feature_group_count": 2},
        {"kernel_size": (3, 3), "padding": ((1, 0), (2, 1)), "strides": None},
    ],
)
def test_explicit_padding_gives_the_same_layer(options, grid):
    model = _One(options)
    x = jax.random.normal(jax.random.key(0), (2, *grid, 2))
    variables = model.init(jax.random.key(1), x)
    found = conv_geometry(model, variables, x.shape)
    assert list(found) == ["conv/kernel"]
    g = found["conv/kernel"]
    assert (g.input_shape, g.kernel_size) == (grid, options["kernel_size"])
    again = lax.conv_general_dilated(
        x,
        variables["params"]["conv"]["kernel"],
        g.strides,
        g.padding,
        rhs_dilation=g.kernel_dilation,
        feature_group_count=g.feature_group_count,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(again, model.apply(variables, x), atol=1e-5)


@pytest.mark.parametrize(("padding", "mode"), [("CIRCULAR", "circular"), ("REFLECT", "reflect")])
def test_other_paddings(padding, mode):
    model = _One({"kernel_size": (3, 4), "padding": padding})
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 8, 8, 2)))
    g = conv_geometry(model, variables, (1, 8, 8, 2))["conv/kernel"]
    assert (g.padding, g.padding_mode) == (((1, 1), (1, 2)), mode)


def test_resnet_and_vit():
    model = CifarResNet(depth=8, width=4)
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    found = conv_geometry(model, variables, x.shape, train=False)
    assert len(found) == 7
    one = ((1, 1), (1, 1))
    assert found["conv1/kernel"] == ConvGeometry((32, 32), (3, 3), (1, 1), one, (1, 1), 1)
    assert found["stage2_block0/conv1/kernel"].strides == (2, 2)
    assert found["stage2_block0/conv2/kernel"].input_shape == (16, 16)
    vit = ViT(image_size=32, patch_size=8, width=8, depth=1, heads=2)
    variables = jax.eval_shape(lambda x: vit.init(jax.random.key(0), x), x)
    none = ((0, 0), (0, 0))
    expected = ConvGeometry((32, 32), (8, 8), (8, 8), none, (1, 1), 1)
    assert conv_geometry(vit, variables, x.shape) == {"patch_embed/kernel": expected}


LAYOUTS = {2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}
C4 = sq.groups.cyclic(4)
OF_IMAGES = sq.projector("h w i o", {"h w": sq.reps.image(C4, (3, 3))})
OF_FIELDS = sq.projector("h w i o", {"h w": sq.reps.image(C4, (3, 3)), "o": sq.reps.regular(C4)})


@pytest.mark.slow(8)
@pytest.mark.parametrize(
    ("layer", "call", "grid"),
    [
        (sq.nn.RelaxedConv(2, OF_IMAGES, strides=2), (0.0,), (9, 9)),
        (sq.nn.RelaxedConv(2, OF_IMAGES, padding="VALID", strides=(2, 1)), (0.0,), (9, 8)),
        (sq.nn.RelaxedGroupConv(4, OF_FIELDS, use_bias=False, padding=2), (), (7, 7)),
        (EquivariantConv(*[sq.reps.trivial(C4)] * 2, strides=2), (), (7, 8)),
        (
            EquivariantConv(*[sq.reps.trivial(sq.groups.octahedral())] * 2, side=5, padding=1),
            (),
            (6, 7, 8),
        ),
    ],
)
def test_the_layers_of_this_library_are_recorded_as_they_compute(layer, call, grid):
    x = jax.random.normal(jax.random.key(0), (2, *grid, 1))
    variables = layer.init(jax.random.key(1), x, *call)
    said = {"theta": call[0]} if call else {}
    found = conv_geometry(layer, variables, x.shape, **said)
    assert list(found) == ["kernel"]
    g, params = found["kernel"], variables["params"]
    assert g.input_shape == grid
    if hasattr(layer, "fold"):
        kernel = layer.fold(params)["kernel"]
    else:
        project, _ = conv_projectors(layer.input, layer.output, layer.side)
        kernel = project(params["kernel"])
    out = lax.conv_general_dilated(
        x,
        kernel,
        g.strides,
        g.padding,
        dimension_numbers=LAYOUTS[len(grid)],
    )
    np.testing.assert_allclose(out, layer.apply(variables, x, *call), atol=1e-5)
    with pytest.raises(ValueError, match="kernel: a defect is measured of flax.linen.Conv"):
        conv_defects(layer, variables, found, x, np.pi / 2, **said)


def test_a_steerable_layer_is_certified_by_its_recorded_geometry():
    layer = EquivariantConv(sq.reps.trivial(C4), 2 * sq.reps.regular(C4), strides=2, project=False)
    project, _ = conv_projectors(layer.input, layer.output, layer.side)
    for side, certified in ((9, True), (8, False)):
        x = jnp.zeros((1, side, side, 1))
        variables = layer.init(jax.random.key(0), x)
        kernel = np.asarray(variables["params"]["kernel"])
        found = sq.certificates.convolution(
            project, kernel, conv_geometry(layer, variables, x.shape)["kernel"]
        )
        assert found.certified == certified
        assert not certified or found.bound < 1e-5 * found.weight_norm


def test_kernel_used_on_two_grids():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            conv = nn.Conv(2, (3, 3), name="conv")
            return conv(conv(x)[:, ::2, ::2]).sum()

    variables = jax.eval_shape(Twice().init, jax.random.key(0), jnp.ones((1, 8, 8, 2)))
    with pytest.raises(ValueError, match="conv/kernel is used twice"):
        conv_geometry(Twice(), variables, (1, 8, 8, 2))
