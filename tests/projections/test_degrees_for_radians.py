"""Angles are radians, everywhere: what is beyond a whole turn is refused, and says so."""

import math

import jax
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import measures

SO2 = sq.groups.so(2)
IMAGE = sq.projector("h w", {"h w": sq.reps.image(SO2, (5, 5))})
DENSE = {
    name: sq.projector("i o", {"i": v.dual, "o": v})
    for name in ("c4", "d4", "o2", "so3", "su2", "lorentz", "so2 x so2")
    for v in [sq.reps.vector(sq.groups.from_name(name))]
}
X = np.random.default_rng(0).standard_normal((2, 9, 9, 3)).astype(np.float32)


def predict(x):
    return np.asarray(x).mean((1, 2))


TAKERS = {
    "certificate": lambda t: IMAGE.certificate(np.ones((5, 5)), angle=t),
    "certificate a priori": lambda t: IMAGE.certificate(angle=t),
    "certificate within": lambda t: IMAGE.certificate(np.ones((5, 5)), within=abs(t)),
    "plan": lambda t: sq.plan({"k": np.ones((5, 5))}, {"k": IMAGE}).certificate(
        {"k": np.ones((5, 5))}, angle=t
    ),
    "rotation": measures.rotation,
    "rotate_bilinear": lambda t: measures.rotate_bilinear(X, t),
    "rotation_report": lambda t: measures.rotation_report(predict, X, np.zeros(2, int), [0.1, t]),
    "uniform_rotations": lambda t: measures.finite.uniform_rotations(2, jax.random.key(0), t),
    "report": lambda t: measures.report(predict, X, ["translation_x"], angles=[t]),
    "polar_error": lambda t: measures.figures.polar_error([t], {}),
    **{
        f"certificate of {name}": lambda t, p=p: p.certificate(angle=t) for name, p in DENSE.items()
    },
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("angle", [30, -45.0, 90, 180.0, 360, 1e15, math.nan, math.inf])
def test_an_angle_beyond_a_turn_is_refused(taker, angle):
    with pytest.raises(ValueError, match="radians|a finite angle") as error:
        TAKERS[taker](angle)
    if math.isfinite(angle) and "within" not in taker:
        assert f"{angle:.6g} degrees are math.radians({angle:.6g})" in str(error.value)


def test_angles_within_a_turn_are_taken():
    for angle in (0.0, math.radians(30), -2 * math.pi, 2 * math.pi, np.float32(2 * np.pi), 6.2832):
        assert IMAGE.certificate(np.ones((5, 5)), angle=angle).certified
        SO2.element(angle)
        measures.rotation(angle)
    assert IMAGE.certificate(np.ones((5, 5)), within=2 * math.pi).certified
    turned = jax.jit(lambda t: measures.rotate_bilinear(X, t))(30.0)  # traced: not known
    assert turned.shape == X.shape


@pytest.mark.parametrize("angle", [30.0, -700.0, 1e9, 1e15])
def test_elements_have_angles_of_any_size(angle):
    """A matrix names its element, so a question that is meant gets its answer this way."""
    g = SO2.element(angle)
    turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    np.testing.assert_allclose(g, turn, atol=1e-15)
    w = np.random.default_rng(0).standard_normal((5, 5))
    moved = np.linalg.norm(IMAGE.act(g, w) - w)
    assert moved <= IMAGE.certificate(w, element=g).bound <= moved * (1 + 1e-9)
    with pytest.raises(ValueError, match="has no rotation"):
        sq.groups.cyclic(7).element(angle)


def test_the_command_line_speaks_degrees(capsys):
    from softeq_jax import cli

    for text in ("30,500", "-361", "nan"):
        assert cli.main(["measure", "x.safetensors", f"--angles={text}"]) == 2
        assert "degrees, from -360 to 360" in capsys.readouterr().err
