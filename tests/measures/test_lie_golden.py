"""The published end-to-end numbers, their exact stencils, and their rounding lottery."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import measures

pytestmark = pytest.mark.usefixtures("optimized")  # most of its time is computation
NAMES = {
    "translation_x": "translation_x",
    "translation_y": "translation_y",
    "rotation": "rotation",
    "scale": "scale",
    "shear_x": "shear_x",
    "shear_y": "shear_y",
    "hyperbolic_rotation": "hyper_rotation",
    "contrast": "saturate",
}
HALF_WIDTH = 15.5
"""Pixels in a unit of the golden translations: half the corner-to-corner width."""
ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}

each_case = pytest.mark.parametrize(
    ("activation", "dtype", "clean", "lottery"),
    [
        (activation, dtype, *tolerances)
        for activation in ACTIVATIONS
        for dtype, tolerances in (("f32", (1e-5, 5e-6)), ("f64", (1e-12, 1e-12)))
    ],
)


@pytest.fixture(scope="module")
def golden(golden_dir):
    with np.load(golden_dir / "lee.npz") as file:
        return dict(file)


def network(golden, activation, dtype, features=False):
    act, kind = ACTIVATIONS[activation], np.dtype({"f32": "float32", "f64": "float64"}[dtype])

    def f(x):
        for i, (_, _, stride) in enumerate(golden["spec"]):
            x = jax.lax.conv_general_dilated(
                x,
                golden[f"w{i}"].transpose(2, 3, 1, 0).astype(kind),
                (int(stride), int(stride)),
                ((1, 1), (1, 1)),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                precision="highest",
            )
            x = act(x + golden[f"b{i}"].astype(kind))
        if features:
            return x
        pooled = x.mean((1, 2))
        head = jnp.matmul(pooled, golden["w6"].T.astype(kind), precision="highest")
        return head + golden["b6"].astype(kind)

    return f, golden["images"].transpose(0, 2, 3, 1).astype(kind)


def off(got, wanted):
    return np.linalg.norm(got - wanted) / np.linalg.norm(wanted)


def in_golden_units(name, values):
    return (HALF_WIDTH if name.startswith("translation") else 1.0) * np.asarray(values)


CORNERS = measures.Image(pitch=31 / 7)
"""The 8x8 features with their corners on the corners of the input."""


@pytest.mark.slow(20)
@each_case
@pytest.mark.parametrize("stencil", ["forward", "central"])
def test_clean_stencils(golden, activation, dtype, clean, lottery, stencil):
    with jax.enable_x64(dtype == "f64"):
        f, x = network(golden, activation, dtype)
        scores = measures.lie_derivative(f, x, list(NAMES), stencil=stencil, head="probabilities")
        f, _ = network(golden, activation, dtype, features=True)
        maps = measures.lie_derivative(f, x[:2], list(NAMES), stencil=stencil, output=CORNERS)
        norms = measures.lie_errors(
            f, x, list(NAMES), stencil=stencil, output=CORNERS, batch_size=16
        )
    for name, key in NAMES.items():
        case = f"{activation}_{dtype}/{stencil}"
        assert off(in_golden_units(name, scores[name]), golden[f"{case}_probs/{key}"]) < clean
        got = in_golden_units(name, maps[name]).transpose(0, 3, 1, 2)
        assert off(got, golden[f"{case}_features2/{key}"]) < clean
        got = in_golden_units(name, in_golden_units(name, norms[name].mean_sq))
        assert off(got, golden[f"{case}_features_msq/{key}"]) < clean


@pytest.mark.slow
def test_the_table_of_the_specification(golden):
    """mean_abs and mean_sq of probabilities, forward; mean_sq, central (measures.md G)."""
    f, x = network(golden, "relu", "f32")
    forward = measures.lie_errors(f, x, list(NAMES), stencil="forward", head="probabilities")
    central = measures.lie_errors(f, x, list(NAMES), head="probabilities")
    wanted = {
        "translation_x": (0.2412, 0.1354, 0.0109),
        "translation_y": (0.2362, 0.1361, 0.0093),
        "rotation": (0.0776, 0.01433, 0.0051),
        "scale": (0.0766, 0.01489, 0.0058),
        "shear_x": (0.0477, 0.00559, 0.0026),
        "shear_y": (0.0545, 0.00733, 0.0025),
        "hyperbolic_rotation": (0.0705, 0.0115, 0.0050),
    }
    for name, (absolute, square, smooth) in wanted.items():
        unit = in_golden_units(name, 1.0)
        assert unit * forward[name].mean_abs.mean() == pytest.approx(absolute, rel=2e-3)
        assert unit**2 * forward[name].mean_sq.mean() == pytest.approx(square, rel=4e-3)
        assert unit**2 * central[name].mean_sq.mean() == pytest.approx(smooth, rel=2e-2)


def lottery_generator(name, golden, dtype):
    """The published sampling: at each pixel forward or backward, as its floor was rounded."""
    if name == "contrast":
        return name
    flow = measures.flow(name)

    def moved(a, layout):
        if not isinstance(layout, measures.Image):
            return jnp.zeros_like(a)
        n = a.shape[1]
        u = 2 * np.arange(n) / (n - 1) - 1
        slopes = []
        for axis, letter in ((2, "x"), (1, "y")):
            floor = golden[f"floors_{dtype}_{letter}_{n}"]
            index = np.arange(n)[None, :] if letter == "x" else np.arange(n)[:, None]
            ahead = measures.Stencil("forward").matrix(n)
            behind = measures.Stencil("backward").matrix(n)
            both = [
                jnp.moveaxis(jnp.tensordot(a, m.astype(a.dtype), ((axis,), (1,))), -1, axis)
                for m in (ahead, behind)
            ]
            back = np.broadcast_to(floor < index, (n, n))[None, :, :, None]
            slopes.append(jnp.where(back, both[1], both[0]))
        (xx, xy), (yx, yy) = flow.matrix
        x, y = u[None, :], u[:, None]
        vx = np.broadcast_to(xx * x + xy * y + flow.shift[0], (n, n))[None, ..., None]
        vy = np.broadcast_to(yx * x + yy * y + flow.shift[1], (n, n))[None, ..., None]
        half = (n - 1) / 2
        return slopes[0] * (half * vx).astype(a.dtype) + slopes[1] * (half * vy).astype(a.dtype)

    return measures.Action(name, moved)


@pytest.mark.slow
@each_case
def test_the_published_rounding(golden, activation, dtype, clean, lottery):
    """With the golden floors, our exact derivative gives the published code's numbers."""
    with jax.enable_x64(dtype == "f64"):
        generators = [lottery_generator(name, golden, dtype) for name in NAMES]
        f, x = network(golden, activation, dtype)
        scores = measures.lie_derivative(f, x, generators, head="probabilities")
        f, _ = network(golden, activation, dtype, features=True)
        maps = measures.lie_derivative(f, x[:2], generators, output=CORNERS)
    for name, key in NAMES.items():
        case = f"{activation}_{dtype}/ref"
        assert off(np.asarray(scores[name]), golden[f"{case}_probs/{key}"]) < lottery
        got = np.asarray(maps[name]).transpose(0, 3, 1, 2)
        assert off(got, golden[f"{case}_features2/{key}"]) < lottery
