"""Measured defects of convolution layers under rotations of their input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import softeq_jax as sq
from softeq_jax import models


class Net(nn.Module):
    """One convolution of any kind behind another."""

    kernel: int
    stride: int = 1
    pad: int = 1

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(3, (1, 1), name="first")(x))
        pads = ((self.pad, self.pad),) * 2
        strides = (self.stride, self.stride)
        x = nn.Conv(4, (self.kernel, self.kernel), strides, padding=pads, name="second")(x)
        return x.mean((1, 2))


def made(net, size, rule=None):
    x = np.random.default_rng(0).standard_normal((5, size, size, 2)).astype(np.float32)
    variables = net.init(jax.random.key(0), x)
    if rule is not None:
        variables = {"params": sq.soften(variables["params"], {"second/kernel": rule})}
    return x, variables, models.conv_geometry(net, variables, x.shape)


@pytest.mark.slow
def test_strict_kernels_commute_with_quarter_turns_exactly_where_certified():
    rule = sq.convolution_rule(sq.groups.cyclic(4))
    for net, size, certified in ((Net(3), 6, True), (Net(3, 2), 7, True), (Net(3, 2), 6, False)):
        x, variables, geometry = made(net, size, rule)
        obstacle = sq.certificates.lattice_obstacle(geometry["second/kernel"])
        defect = models.conv_defects(net, variables, geometry, x, np.pi / 2)["second/kernel"]
        assert (obstacle is None) == certified
        assert (defect.mean < 1e-6) == certified
        assert defect.error >= 0


def test_against_a_direct_computation():
    x, variables, geometry = made(Net(3), 6)
    first = variables["params"]["first"]
    h = nn.relu(jnp.einsum("nhwi,io->nhwo", x, first["kernel"][0, 0]) + first["bias"])
    kernel = variables["params"]["second"]["kernel"]

    def layer(h):
        return jax.lax.conv_general_dilated(
            h, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    y = layer(h)
    difference = jnp.rot90(y, axes=(1, 2)) - layer(jnp.rot90(h, axes=(1, 2)))
    ratio = np.linalg.norm(difference.reshape(5, -1), axis=1)
    ratio = ratio / np.linalg.norm(y.reshape(5, -1), axis=1)
    defects = models.conv_defects(Net(3), variables, geometry, x, np.pi / 2)
    found = defects["second/kernel"]
    np.testing.assert_allclose(found.mean, ratio.mean(), rtol=1e-4)
    np.testing.assert_allclose(found.error, ratio.std(ddof=1) / np.sqrt(5), rtol=1e-4)
    size = np.linalg.norm(np.asarray(h).reshape(5, -1), axis=1)
    gain = (np.linalg.norm(np.asarray(difference).reshape(5, -1), axis=1) / size).max()
    np.testing.assert_allclose(found.gain, gain, rtol=1e-4)
    projector = sq.projector("h w i o", {"h w": sq.reps.image(sq.groups.cyclic(4), (3, 3))})
    layer = geometry["second/kernel"]
    bound = sq.certificates.convolution(projector, kernel, layer, angle=np.pi / 2).bound
    assert found.gain <= bound


@pytest.mark.slow
@pytest.mark.parametrize("angle", [0.5, np.pi / 2])
def test_pointwise_layers_commute_with_every_rotation(angle):
    x, variables, geometry = made(Net(3), 6)
    assert models.conv_defects(Net(3), variables, geometry, x, angle)["first/kernel"].mean < 1e-5


@pytest.mark.slow
def test_other_rotations_are_measured_for_what_they_are():
    rule = sq.convolution_rule(sq.groups.so(2))
    _, variables, geometry = made(Net(7, pad=3), 15, rule)
    grid = np.arange(15) - 7.0
    smooth = np.exp(-((grid[:, None] - 1) ** 2 + grid[None] ** 2) / 12)[None, ..., None]
    smooth = np.concatenate([smooth, 2 * smooth], -1).astype(np.float32)
    raw = made(Net(7, pad=3), 15)[1]
    soft = models.conv_defects(Net(7, pad=3), variables, geometry, smooth, 0.5)[
        "second/kernel"
    ].mean
    rough = models.conv_defects(Net(7, pad=3), raw, geometry, smooth, 0.5)["second/kernel"].mean
    assert 1e-3 < soft < 0.5 * rough


@pytest.mark.slow(7)
def test_corners_and_padding_do_not_count():
    """An averaging kernel on a constant map commutes with every rotation, away from the border."""
    for kernel, size in ((3, 33), (7, 15)):
        net = Net(kernel, pad=kernel // 2)
        x, variables, geometry = made(net, size)
        params = jax.tree.map(jnp.ones_like, variables["params"])
        constant = np.ones_like(x)
        found = models.conv_defects(net, {"params": params}, geometry, constant, 0.5)
        assert found["second/kernel"].mean < 1e-5
    net = Net(3)
    x, variables, geometry = made(net, 4)
    assert np.isnan(models.conv_defects(net, variables, geometry, x, 0.5)["second/kernel"].mean)


def test_convolutions_of_volumes_are_refused_by_name():
    net, x = models.VolumeResNet(depth=8, num_classes=2, width=2), jnp.zeros((1, 5, 5, 5, 1))
    variables = net.init(jax.random.key(0), x)
    geometry = models.conv_geometry(net, variables, x.shape)
    with pytest.raises(ValueError, match=r"conv1/kernel: .* 3 grid axes"):
        models.conv_defects(net, variables, geometry, x, np.pi / 2)
