"""Actions of generators on arrays, against finite transformations and representations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import groups, measures, reps
from softeq_jax.measures.base._actions import act
from softeq_jax.measures.base._generators import COLORS, FLOWS, as_generator
from softeq_jax.measures.base._layouts import as_layout

SIDE = 32
WAVES = np.random.default_rng(0).standard_normal((5, 4))


def scene(x, y):
    """A smooth function of the plane, in pixels from the center."""
    return sum(a * np.cos((b * x + c * y) / 16 + d) for a, b, c, d in WAVES)


def grid(side=SIDE, placement=None):
    layout = measures.Image()
    placement = placement or layout.placement((1, side, side, 1), (side, side))
    y, x = placement.coordinates((side, side))
    y, x = np.meshgrid(y, x, indexing="ij")
    return x, y


def acted(generator, a, layout="image", frame=(SIDE, SIDE), stencil="central"):
    layout = as_layout(layout, "layout")
    with jax.enable_x64(True):
        stencil = measures.Stencil(stencil, "edge")
        return np.asarray(
            act((as_generator(generator),), jnp.asarray(a), layout, frame, stencil)[0]
        )


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_the_derivative_of_a_resampled_scene(name):
    """``scene(exp(t A) p + t b)`` at t = 0, by a central difference in t."""
    from scipy.linalg import expm

    flow, t = FLOWS[name], 1e-4
    x, y = grid()

    def moved(t):
        matrix = expm(t * np.array(flow.matrix))
        u = matrix[0, 0] * x + matrix[0, 1] * y + t * flow.shift[0]
        v = matrix[1, 0] * x + matrix[1, 1] * y + t * flow.shift[1]
        return scene(u, v)

    wanted = (moved(t) - moved(-t)) / (2 * t)
    got = acted(name, scene(x, y)[None, ..., None])[0, ..., 0]
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(got - wanted)[inner].max() < 1e-2 * np.abs(wanted)[inner].max()


def test_rotation_turns_against_the_grid_representation():
    """``reps.image`` turns counter-clockwise, the flow "rotation" the other way."""
    x, y = grid()
    bump = np.exp(-((x - 5) ** 2 + (y + 3) ** 2) / 18)
    image = reps.image(groups.so(2), (SIDE, SIDE))
    exact = -(image.lie_matrices()[0] @ bump.ravel()).reshape(SIDE, SIDE)
    got = acted("rotation", bump[None, ..., None], stencil="spectral")[0, ..., 0]
    assert np.linalg.norm(got - exact) < 0.02 * np.linalg.norm(exact)


def test_a_flow_sees_its_velocity_divided_by_the_pitch():
    pitch, origin = (2.0, 2.0), (-15.5, -15.5)  # behind a 3x3 convolution of stride 2, padding 1
    layout = measures.Image(pitch=pitch, origin=origin)
    x, y = grid(16, layout.placement((1, 16, 16, 1), (SIDE, SIDE)))
    for name, matrix in (("translation_x", None), ("rotation", FLOWS["rotation"].matrix)):
        got = acted(name, (x + 3 * y)[None, ..., None], layout, stencil="central")[0, ..., 0]
        wanted = 1.0 if matrix is None else y - 3 * x
        np.testing.assert_allclose(got[1:-1, 1:-1], np.broadcast_to(wanted, got.shape)[1:-1, 1:-1])


@pytest.mark.slow
def test_layouts_agree():
    rng = np.random.default_rng(1)
    a = rng.standard_normal((2, 6, 6, 3))
    wanted = acted("rotation", a, frame=(12, 12))
    first = measures.Image(axes=(2, 3), channel=1)
    got = acted("rotation", a.transpose(0, 3, 1, 2), first, (12, 12))
    np.testing.assert_allclose(got.transpose(0, 2, 3, 1), wanted, atol=1e-14)
    swapped = measures.Image(axes=(2, 1))
    got = acted("rotation", a.transpose(0, 2, 1, 3), swapped, (12, 12))
    np.testing.assert_allclose(got.transpose(0, 2, 1, 3), wanted, atol=1e-14)
    tokens = np.concatenate([rng.standard_normal((2, 2, 3)), a.reshape(2, 36, 3)], axis=1)
    got = acted("rotation", tokens, measures.Tokens(prefix=2), (12, 12))
    np.testing.assert_allclose(got[:, 2:].reshape(a.shape), wanted, atol=1e-14)
    assert not got[:, :2].any()
    assert not acted("rotation", a, "invariant").any()


def test_a_vector_field_turns_with_the_plane():
    """The field ``v(p) = p`` is invariant under rotations; its components alone are not."""
    x, y = grid(9)
    field = np.stack([x, -y], axis=-1)[None]  # x to the right, y upwards
    vectors = measures.Image(fiber=reps.vector(groups.so(2)))
    kept = acted("rotation", field, vectors, (9, 9), "central")
    np.testing.assert_allclose(kept[:, 1:-1, 1:-1], 0, atol=1e-12)
    assert np.abs(acted("rotation", field, "image", (9, 9), "central")).max() > 1


def test_a_vector_output_turns_with_the_plane():
    """The gradient of an image at its center, by symmetric differences, is equivariant."""
    x, y = grid(9)
    bump = np.exp(-((x - 1) ** 2 + (y + 2) ** 2) / 20)
    t, c = 1e-5, 4

    def gradient(a):
        return np.array([a[c, c + 1] - a[c, c - 1], -(a[c + 1, c] - a[c - 1, c])])

    def turned(t):
        u, v = np.cos(t) * x + np.sin(t) * y, -np.sin(t) * x + np.cos(t) * y
        return np.exp(-((u - 1) ** 2 + (v + 2) ** 2) / 20)

    wanted = (gradient(turned(t)) - gradient(turned(-t))) / (2 * t)
    got = acted("rotation", gradient(bump)[None], reps.vector(groups.so(2)))[0]
    assert np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("name", COLORS)
def test_colors_act_on_pixel_values(name):
    mean, std = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.4])
    pixel = np.random.default_rng(2).uniform(size=(1, 4, 4, 3))
    luma = pixel @ np.array([0.299, 0.587, 0.114])
    wanted = {
        "brightness": np.ones_like(pixel) / std,
        "contrast": (pixel - mean) / std,
        "saturation": (pixel - luma[..., None]) / std,
        "hue": np.cross(np.ones(3) / np.sqrt(3), pixel) / std,
    }[name]
    generator = measures.color(name, mean=mean, std=std)
    got = acted(generator, (pixel - mean) / std, measures.Image(color=True))
    np.testing.assert_allclose(got, wanted, atol=1e-12)
    away = acted(generator, (pixel - mean) / std)
    assert away.any() == (name == "contrast")


def test_hue_turns_red_into_green_and_keeps_gray():
    matrix, offset = measures.color("hue").affine(3)
    from scipy.linalg import expm

    np.testing.assert_allclose(expm(2 * np.pi / 3 * matrix) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(matrix @ np.ones(3) + offset, 0, atol=1e-15)


def test_lie_elements_act_by_the_representation():
    group = groups.so(3)
    v = reps.vector(group)
    x = np.random.default_rng(3).standard_normal((5, 2, 9))
    got = acted(measures.lie_element(group, [0.3, -1.0, 2.0]), x, 3 * v)
    matrix = np.tensordot([0.3, -1.0, 2.0], v.lie_matrices(), 1)
    np.testing.assert_allclose(got.reshape(5, 2, 3, 3), x.reshape(5, 2, 3, 3) @ matrix.T)
    copies = acted(measures.lie_element(group, [0.3, -1.0, 2.0]), x, v)
    np.testing.assert_allclose(copies, got, atol=1e-14)


def test_a_border_holds_the_flow_still_at_every_layer():
    flow = measures.flow("translation_x", border=4)
    for side in (32, 16):
        x, y = grid(side, measures.Image().placement((1, side, side, 1), (SIDE, SIDE)))
        got = acted(flow, x[None, ..., None], stencil="central")[0, ..., 0]
        edge = 16 - np.maximum(np.abs(x), np.abs(y))
        assert not got[edge <= 4].any()
        np.testing.assert_allclose(got[edge >= 8], 1)


def test_an_action_of_ones_own():
    def double(a, layout):
        return 2 * a if isinstance(layout, measures.Image) else jnp.zeros_like(a)

    generator = measures.Action("double", double)
    np.testing.assert_allclose(acted(generator, np.ones((1, 4, 4, 1))), 2)
    with pytest.raises(ValueError, match="half must return an array like the one"):
        acted(measures.Action("half", lambda a, _: a[:, ::2]), np.ones((1, 4, 4, 1)))


@pytest.mark.parametrize(
    ("generator", "a", "layout", "message"),
    [
        ("rotation", np.ones((1, 4, 6, 1)), "image", "rotation needs a square grid, got 4x6"),
        ("hyperbolic_rotation", np.ones((1, 4, 6, 1)), "image", "crop or pad"),
        ("hue", np.ones((1, 4, 4, 2)), measures.Image(color=True), "red, green and blue, got 2"),
        ("stretch_x", np.ones((1, 3)), reps.vector(groups.so(3)), "not how stretch_x does"),
        ("rotation", np.ones((1, 3)), reps.vector(groups.so(3)), r"so\(2\) or o\(2\)"),
        ("shear_x", np.ones((1, 2)), reps.vector(groups.so(2)), "not how shear_x does"),
        ("rotation", np.ones((1, 5)), reps.vector(groups.so(2)), r"lengths \(5,\)"),
        ("rotation", np.ones((1, 7, 2)), "tokens", "no square grid"),
        ("rotation", np.ones((1, 5, 2)), measures.Tokens((2, 3)), "need 6"),
        ("rotation", np.ones((1, 5)), "image", "as an image it needs axes"),
        (
            measures.lie_element(groups.so(3), 0),
            np.ones((1, 4, 4, 3)),
            "image",
            "declare the representation",
        ),
        (
            measures.lie_element(groups.so(3), 0),
            np.ones((1, 2)),
            reps.vector(groups.so(2)),
            "represents SO",
        ),
    ],
)
def test_what_does_not_act_is_refused(generator, a, layout, message):
    with pytest.raises(ValueError, match=message):
        acted(generator, a, layout)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: measures.flow("twist"), "no flow is called 'twist'"),
        (lambda: measures.flow("scale", border=-1), "border must be at least 0"),
        (lambda: measures.color("gamma"), "no color generator is called 'gamma'"),
        (lambda: measures.color("hue", std=(1.0, 0.0, 1.0)), "std must be positive"),
        (lambda: measures.color("hue", mean=(0.0, 0.0)).affine(3), "for 2 channels"),
        (lambda: measures.lie_element(groups.so(3), 3), "none of index 3"),
        (lambda: measures.lie_element(groups.so(3), (1.0,)), "got 1 coefficients"),
        (lambda: measures.lie_basis(groups.cyclic(4)), "no Lie generators"),
        (lambda: as_generator("turn"), "no generator is called 'turn'"),
        (lambda: as_layout("picture", "input"), "no layout is called 'picture'"),
    ],
)
def test_bad_names(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_types():
    with pytest.raises(TypeError, match="a generator is a name"):
        as_generator(3)
    with pytest.raises(TypeError, match="output must be"):
        as_layout(3, "output")


def test_rectangles_can_be_asked_for():
    y, x = np.meshgrid(np.arange(4) - 1.5, np.arange(6) - 2.5, indexing="ij")
    layout = measures.Image(rectangular=True)
    got = acted("rotation", (x + 2 * y)[None, ..., None], layout, (4, 6), "central")[0, ..., 0]
    np.testing.assert_allclose(got[1:-1, 1:-1], (y - 2 * x)[1:-1, 1:-1])
