"""Layer certificates on volumes and sequences: 48 symmetries of voxels, against exact operators."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax.certificates import convolution, convolution_norm_bound, lattice_obstacle, linear
from softeq_jax.models import ConvGeometry, conv_geometry

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, 1, 2))
SAME = ConvGeometry((4, 4, 4), (3, 3, 3), (1, 1, 1), ((1, 1),) * 3, (1, 1, 1), 1)
STRIDED = ConvGeometry((5, 5, 5), (3, 3, 3), (2, 2, 2), ((1, 1),) * 3, (1, 1, 1), 1)


def operator(kernel, layer):
    """The layer as a matrix ``[inputs, outputs]``, from the images of all unit maps."""
    inputs, letters = kernel.shape[-2], "DHW"[3 - len(layer.input_shape) :]
    n = int(np.prod(layer.input_shape)) * inputs
    found = jax.lax.conv_general_dilated(
        jnp.eye(n).reshape(n, *layer.input_shape, inputs),
        jnp.asarray(kernel, jnp.float32),
        layer.strides,
        layer.padding,
        rhs_dilation=layer.kernel_dilation,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        precision="highest",
    )
    return np.asarray(found, np.float64)


def defect(kernel, layer, g):
    """``||rho(g) L - L rho(g)||`` of an element that permutes the voxels of the maps."""
    images = operator(kernel, layer)
    n, out, inputs = len(images), images.shape[1:], kernel.shape[-2]
    turned = voxel_move(images, g, first=1)
    units = voxel_move(np.eye(n).reshape(n, *layer.input_shape, inputs), g, first=1)
    of_turned = np.tensordot(units.reshape(n, n), images.reshape(n, -1), 1).reshape(n, *out)
    return np.linalg.norm((turned - of_turned).reshape(n, -1), 2)


def voxel_move(x, g, first):
    """``f(g^-1 x)`` on the three axes from ``first`` on, point by point."""
    shape = np.array(x.shape[first : first + 3])
    moved = np.empty_like(x)
    for index in itertools.product(*map(range, shape)):
        centered = np.array(index) - (shape - 1) / 2
        at = np.rint(np.rint(g) @ centered + (shape - 1) / 2).astype(int)
        moved[(slice(None),) * first + tuple(at)] = x[(slice(None),) * first + index]
    return moved


def on_voxels(group, side=3):
    return sq.projector("d h w i o", {"d h w": sq.reps.voxels(group, (side,) * 3)})


@pytest.mark.parametrize("layer", [SAME, STRIDED], ids=["same", "strided"])
def test_the_octahedral_groups_are_certified_as_layers(layer):
    group = sq.groups.full_octahedral()
    p = on_voxels(group)
    whole = convolution(p, KERNEL, layer)
    assert whole.certified
    assert whole.norm == "operator"
    images = operator(KERNEL, layer)
    assert np.linalg.norm(images.reshape(len(images), -1), 2) <= whole.weight_norm
    for g in group.elements()[::7]:
        one = convolution(p, KERNEL, layer, element=g)
        assert defect(KERNEL, layer, g) <= one.bound * (1 + 1e-5) + 1e-5
        assert one.bound <= whole.bound
        assert defect(p(KERNEL), layer, g) < 1e-4
    assert convolution(p, p(KERNEL), layer).bound < 1e-10 * whole.bound


def test_rotations_by_any_angle_leave_the_kernel_alone_certified():
    p = on_voxels(sq.groups.so(3))
    whole = convolution(p, KERNEL, SAME)
    assert not whole.certified
    assert whole.reason.startswith("kernel only")
    assert np.isnan(whole.bound)
    assert p.certificate(KERNEL).certified
    quarter = sq.groups.so(3).exp(np.array([0, 0, np.pi / 2]))
    asked = convolution(p, KERNEL, SAME, element=quarter)
    assert asked.certified
    assert 0.1 < defect(KERNEL, SAME, quarter) <= asked.bound * (1 + 1e-5)
    eighth = sq.groups.so(3).exp(np.array([0, 0, np.pi / 4]))
    assert "kernel only" in convolution(p, KERNEL, SAME, element=eighth).reason


def test_even_windows_move_as_voxels_do_and_not_as_their_unmatched_patterns():
    """O(3) on 2 x 2 x 2: a mirror fixes the unmatched patterns, the layer's map does not."""
    group, kernel = sq.groups.o(3), np.random.default_rng(1).normal(size=(2, 2, 2, 1, 1))
    patches = ConvGeometry((4, 4, 4), (2, 2, 2), (2, 2, 2), ((0, 0),) * 3, (1, 1, 1), 1)
    mirror = np.diag([-1.0, 1.0, 1.0])
    found = convolution(on_voxels(group, 2), kernel, patches, element=mirror)
    assert found.certified
    assert 0.1 < defect(kernel, patches, mirror) <= found.bound * (1 + 1e-5)


def test_fields_on_the_channels_move_too():
    group = sq.groups.octahedral()
    vector = sq.reps.vector(group)
    space = {"d h w": sq.reps.voxels(group, (3, 3, 3)), "i": vector.dual, "o": vector}
    p, kernel = sq.projector("d h w i o", space), np.random.default_rng(2).normal(size=(3,) * 5)
    assert convolution(p, kernel, SAME).bound > 0.1
    assert convolution(p, p(kernel), SAME).bound < 1e-9
    layer = linear(p, p(kernel), np.ones(3), geometry=SAME)
    assert layer.certified
    assert layer.bias_norm == pytest.approx(np.sqrt(3 * 4**3))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (ConvGeometry((4, 4, 5), (3,) * 3, (1,) * 3, ((1, 1),) * 3, (1,) * 3, 1), "as long"),
        (ConvGeometry((4, 4, 4), (3,) * 3, (1, 1, 2), ((1, 1),) * 3, (1,) * 3, 1), "strides"),
        (ConvGeometry((4,) * 3, (3,) * 3, (1,) * 3, ((1, 1), (1, 1), (0, 1)), (1,) * 3, 1), "pad"),
        (ConvGeometry((4,) * 3, (3,) * 3, (2,) * 3, ((1, 1),) * 3, (1,) * 3, 1), "divisible"),
    ],
)
def test_layers_that_break_the_symmetry_say_why(layer, reason):
    found = convolution(on_voxels(sq.groups.octahedral()), KERNEL, layer)
    assert not found.certified
    assert reason in found.reason
    assert reason in (lattice_obstacle(layer) or "")


def test_an_exchange_of_axes_asks_for_no_symmetric_padding():
    """x <-> y keeps a layer whose padding is uneven in the same way on both axes."""
    uneven = ConvGeometry((4, 4, 4), (2, 2, 2), (1, 1, 1), ((0, 1),) * 3, (1, 1, 1), 1)
    exchange = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    kernel = np.random.default_rng(3).normal(size=(2, 2, 2, 1, 1))
    p = on_voxels(sq.groups.full_octahedral(), 2)
    assert convolution(p, kernel, uneven, element=exchange).certified
    even = (kernel + np.swapaxes(kernel, 0, 1)) / 2
    assert convolution(p, even, uneven, element=exchange).bound < 1e-10
    assert defect(even, uneven, exchange) < 1e-5
    assert "symmetric" in convolution(p, kernel, uneven).reason


def test_bounds_of_the_norm_hold_on_one_two_and_three_axes():
    rng = np.random.default_rng(4)
    for d in (1, 2, 3):
        layer = ConvGeometry((5,) * d, (3,) * d, (2,) * d, ((1, 1),) * d, (1,) * d, 1)
        kernel = rng.normal(size=(3,) * d + (2, 3))
        matrix = operator(kernel, layer)
        bound = convolution_norm_bound(kernel, layer.strides)
        assert np.linalg.norm(matrix.reshape(len(matrix), -1), 2) <= bound
        assert bound <= convolution_norm_bound(kernel)


def test_sequences_whose_channels_alone_turn():
    group = sq.groups.so(2)
    v = sq.reps.vector(group)
    p = sq.projector("t i o", {"i": v.dual, "o": v})
    layer = ConvGeometry((7,), (3,), (1,), ((1, 1),), (1,), 1)
    kernel = np.random.default_rng(5).normal(size=(3, 2, 2))
    quarter = convolution(p, kernel, layer, angle=np.pi / 3)
    assert quarter.certified
    assert quarter.bound > 0.1
    assert convolution(p, p(kernel), layer, angle=np.pi / 3).bound < 1e-9


def test_a_kernel_of_another_window_is_refused():
    plane = sq.projector("h w i o", {"h w": sq.reps.image(sq.groups.cyclic(4), (3, 3))})
    with pytest.raises(ValueError, match="does not belong to a layer with windows of"):
        convolution(plane, np.ones((3, 3, 1, 1)), SAME)
    with pytest.raises(ValueError, match="3 grid axes"):
        convolution_norm_bound(KERNEL, (1, 1))


def test_the_layers_of_a_volume_network_are_certified_where_its_docstring_says():
    group = sq.groups.octahedral()
    net = sq.models.VolumeResNet(depth=8, num_classes=2, width=2)
    for side, certified in ((9, True), (8, False)):
        x = jnp.zeros((1, side, side, side, 1))
        variables = net.init(jax.random.key(0), x)
        rules = sq.models.soft_rules(net, group)
        params = sq.soften(variables["params"], rules)
        layers = conv_geometry(net, variables, x.shape)
        planned = sq.plan(params, rules).planned(params)
        found = [convolution(p, np.asarray(w), layers[path]) for path, p, w in planned]
        assert len(found) == 7
        assert all(one.certified for one in found) == certified
        assert all(one.bound < 1e-5 * one.weight_norm for one in found if one.certified)


@pytest.mark.parametrize(
    "wrong", [np.eye(2), sq.groups.so(3).exp(np.array([0, 0, 0.7])), np.ones((3, 3)), np.eye(3) / 2]
)
def test_elements_that_are_no_symmetries_of_the_lattice_are_refused(wrong):
    with pytest.raises(ValueError, match="signed permutation matrices"):
        lattice_obstacle(SAME, [wrong])
