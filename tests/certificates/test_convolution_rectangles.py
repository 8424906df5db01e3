"""Layer certificates on rectangular maps: mirrors and half turns, against exact operators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax.certificates import convolution, lattice_obstacle
from softeq_jax.models import ConvGeometry


def _defect(kernel, layer, move):
    """``||rho(g) L - L rho(g)||`` from the images of all unit maps."""
    inputs = kernel.shape[2]
    n = layer.input_shape[0] * layer.input_shape[1] * inputs
    units = jnp.eye(n).reshape(n, *layer.input_shape, inputs)

    def apply(x):
        return jax.lax.conv_general_dilated(
            x,
            jnp.asarray(kernel, jnp.float32),
            layer.strides,
            layer.padding,
            rhs_dilation=layer.kernel_dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision="highest",
        )

    found = move(np.asarray(apply(units))) - np.asarray(apply(jnp.asarray(move(units))))
    return np.linalg.norm(found.reshape(n, -1).astype(np.float64), 2)


LAYERS = {
    "same": ConvGeometry((5, 8), (3, 5), (1, 1), ((1, 1), (2, 2)), (1, 1), 1),
    "patches": ConvGeometry((4, 9), (2, 3), (2, 3), ((0, 0), (0, 0)), (1, 1), 1),
    "row": ConvGeometry((6, 9), (1, 7), (1, 2), ((0, 0), (3, 3)), (1, 1), 1),
    "uneven above": ConvGeometry((6, 9), (2, 3), (1, 1), ((0, 1), (1, 1)), (1, 1), 1),
}
MOVES = {"d1": [(0, True)], "c2": [(2, False)], "d2": [(0, True), (2, False), (2, True)]}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("which", LAYERS)
def test_mirrors_of_rectangular_maps(which, name):
    layer, group = LAYERS[which], sq.groups.from_name(name)
    p = sq.projector("h w i o", {"h w": sq.reps.image(group, layer.kernel_size)})
    kernel = np.random.default_rng(0).normal(size=(*layer.kernel_size, 2, 3))
    whole = convolution(p, kernel, layer)
    if which == "uneven above" and name != "d1":
        assert not whole.certified
        assert "not symmetric" in whole.reason
        if name == "d2":  # the mirror left-right alone is kept by the layer
            mirror = convolution(p, kernel, layer, element=group.element(flip=True))
            assert mirror.certified
            assert np.isnan(mirror.supremum)
        return
    assert whole.certified
    reached = 0.0
    for turns, flip in MOVES[name]:

        def move(x, turns=turns, flip=flip):
            return np.rot90(x[:, :, ::-1] if flip else x, turns, axes=(1, 2))

        reached = max(reached, _defect(kernel, layer, move))
        assert _defect(p(kernel), layer, move) < 1e-4
    assert 0.1 < reached <= whole.bound + 1e-5
    assert convolution(p, p(kernel), layer).bound < 1e-10 * whole.bound


def test_quarter_turns_need_squares_and_half_turns_do_not():
    group, layer = (
        sq.groups.cyclic(4),
        ConvGeometry((4, 6), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1), 1),
    )
    p = sq.projector("h w i o", {"h w": sq.reps.image(group, (3, 3))})
    kernel = np.random.default_rng(0).normal(size=(3, 3, 1, 1))
    assert "not square" in convolution(p, kernel, layer).reason
    half = convolution(p, kernel, layer, angle=np.pi)
    assert half.certified
    assert np.isnan(half.supremum)
    assert _defect(kernel, layer, lambda x: np.rot90(x, 2, axes=(1, 2))) <= half.bound
    assert "not square" in lattice_obstacle(layer)
    assert lattice_obstacle(layer, sq.groups.dihedral(2).elements()) is None


def test_a_mirror_of_ones_own_is_not_taken_for_the_one_left_right():
    """D1 acting up-down: its certificate must not be that of the left-right flip."""
    up_down = sq.reps.restrict(
        sq.reps.image(sq.groups.dihedral(2), (3, 3)),
        sq.groups.dihedral(1),
        lambda g: np.diag([1.0, g[0, 0]]),
    )
    p = sq.projector("h w i o", {"h w": up_down})
    kernel = np.arange(3.0)[:, None, None, None] * np.ones((3, 3, 1, 1))  # even left-right
    layer = ConvGeometry((4, 6), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    assert not convolution(p, kernel, layer).certified
    assert p.certificate(kernel).bound >= np.linalg.norm(kernel - kernel[::-1])
