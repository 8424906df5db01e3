"""One call that measures everything, its table, files and figures."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax import groups, measures, reps

RNG = np.random.default_rng(0)
KERNEL = (RNG.standard_normal((3, 3, 3, 6)) / 4).astype("float32")
HEAD = RNG.standard_normal((6, 4)).astype("float32")
IMAGES = RNG.standard_normal((6, 12, 12, 3)).astype("float32")
SIGNATURE = b"\x89PNG"


def convolution(x):
    return jax.lax.conv_general_dilated(
        x, KERNEL, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def classifier(x):
    return jax.nn.relu(convolution(x)).mean((1, 2)) @ HEAD


def features(x):
    first = convolution(x)
    return {"first": first, "second": jax.nn.relu(first), "scores": classifier(x)}


@pytest.fixture(scope="module")
def found():
    return measures.report(
        classifier,
        IMAGES,
        ["translation_x", "rotation", "hue"],
        features=features,
        layouts={"*": "image", "scores": "invariant"},
        angles=np.radians([-90, 30, 180]),
        batch_size=4,
        progress=True,
    )


@pytest.mark.slow(5)
def test_it_holds_what_the_single_measures_say(found):
    generators = ["translation_x", "rotation", "hue"]
    alone = measures.lie_errors(classifier, IMAGES, generators, head="probabilities")
    for name in generators:
        np.testing.assert_allclose(found.lie[name].mean_sq, alone[name].mean_sq, rtol=1e-4)
        assert found.attribution.shares[name].sum(0) == pytest.approx(1, abs=1e-3)
    turns = [measures.rotation(angle) for angle in found.angles]
    assert found.polar.value == pytest.approx(
        measures.kl_consistency(classifier, IMAGES, turns).kl.value, rel=1e-4
    )
    # The default transforms are shifts by the pitch of the features, here the stride.
    assert found.features.transforms == ("shift (2, 0)", "shift (0, 2)")
    assert [estimate.numerators.shape[1] for estimate in found.finite] == [6] * 4


def test_its_table_names_everything(found):
    text = str(found)
    for word in ("6 images", "central", "rotation", "LEE", "consistency (crop)", "top-1 changes"):
        assert word in text
    for word in ("relu", "KL(f(x) || f(Tx))", "interpolation", "second", "-90", "equivariance"):
        assert word in text


def test_it_is_saved_and_drawn(found, tmp_path):
    written = found.save(tmp_path / "new")
    assert {path.name for path in written} == {
        *("report.txt", "report.csv", "layers.csv", "features.csv"),
        *("lie.png", "attribution.png", "features.png", "polar.png"),
    }
    assert all(path.read_bytes().startswith(SIGNATURE) for path in written if path.suffix == ".png")
    with (tmp_path / "new" / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    (row,) = [
        row
        for row in rows
        if row["measure"] == "lie derivative, mean_sq" and row["along"] == "rotation"
    ]
    assert float(row["value"]) == found.lie["rotation"].mean_sq.mean()
    with (tmp_path / "new" / "layers.csv").open() as file:
        layers = list(csv.DictReader(file))
    assert len(layers) == 3 * len(found.attribution.layers)


@pytest.mark.slow
def test_maps_get_the_measures_of_maps():
    found = measures.report(
        lambda x: jnp.tanh(x),
        IMAGES,
        output="image",
        head="logits",
        attribution=False,
        angles=[0.5, 1.0],
    )
    assert found.attribution is None
    assert found.polar_floor is None
    names = [estimate.name for estimate in found.finite]
    assert names == [
        f"{measure}, {family}"
        for family in ("circular shifts", "quarter turns")
        for measure in ("relative error", "null-normalized error")
    ]
    assert all(estimate.value < 1e-6 for estimate in found.finite)  # pointwise: equivariant
    assert 0 < found.polar.value < 1
    assert set(found.figures()) == {"lie", "polar"}
    assert "hue" in found.lie


@pytest.mark.slow
def test_half_turns_of_rectangles():
    found = measures.report(lambda x: 2 * x, IMAGES[:, :, :8], output="image", attribution=False)
    turned = {e.name: e.value for e in found.finite if "turns" in e.name}
    assert list(turned) == ["relative error, half turns", "null-normalized error, half turns"]
    assert max(turned.values()) < 1e-6


@pytest.mark.slow
def test_what_does_not_apply_is_left_out():
    rectangle = measures.report(classifier, IMAGES[:, :, :8], attribution=False)
    assert rectangle.polar is None
    assert "rotation" not in rectangle.lie
    v = reps.vector(groups.so(3))
    vectors = RNG.standard_normal((5, 3)).astype("float32")
    plain = measures.report(
        lambda x: x * 2, vectors, input=v, output=v, head="logits", attribution=False
    )
    assert list(plain.lie) == ["SO(3)[0]", "SO(3)[1]", "SO(3)[2]"]
    assert plain.finite == ()
    assert "images" in str(plain)


def test_figures_of_several_networks():
    errors = measures.lie_errors(classifier, IMAGES, ["scale", "shear_x"])
    figure = measures.figures.lie_bars({"a": errors, "b": errors}, "lipschitz")
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(heights, 2 * [e.lipschitz.mean() for e in errors.values()])
    other = measures.lie_errors(classifier, IMAGES, ["scale"])
    with pytest.raises(ValueError, match="along the same generators"):
        measures.figures.lie_bars({"a": errors, "b": other})
    with pytest.raises(ValueError, match="no metric is called"):
        measures.figures.lie_bars({"a": errors}, "maximum")
    with pytest.raises(ValueError, match="no attribution"):
        measures.figures.cumulative_attribution({})
    with pytest.raises(ValueError, match="no correlation"):
        measures.figures.correlation_curve({})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "message", "call"),
    [
        (TypeError, "got int64", lambda: measures.report(classifier, np.ones((2, 4, 4, 3), int))),
        (
            ValueError,
            "NaN",
            lambda: measures.report(lambda x: classifier(x) * np.nan, IMAGES, ["scale"]),
        ),
        (
            ValueError,
            "no layout",
            lambda: measures.report(
                classifier, IMAGES, ["scale"], features=features, attribution=False
            ),
        ),
    ],
)
def test_bad_input(kind, message, call):
    with pytest.raises(kind, match=message):
        call()


def strided(x):
    return jnp.tanh(convolution(x))


@pytest.mark.slow(4)
@pytest.mark.parametrize(
    ("f", "output", "families"),
    [
        # The 2x2 pitch divides a shift, and the half-pixel centered grid can be turned.
        (strided, "image", ["circular shifts", "quarter turns"]),
        # Off the center, as a stride with one-sided padding is: no turn acts on it.
        (strided, measures.Image(pitch=2.0, origin=(-4.5, -4.5)), ["circular shifts"]),
        # A pitch of 12/10: no shift by whole entries, but one by interpolation.
        (lambda x: x[:, 1:-1, 1:-1], "image", ["circular shifts", "quarter turns"]),
        (
            lambda x: strided(x).reshape(len(x), -1, 6),
            "tokens",
            ["circular shifts", "quarter turns"],
        ),
    ],
)
def test_ordinary_maps_can_be_reported(f, output, families):
    found = measures.report(
        f, IMAGES, "scale", output=output, head="logits", attribution=False, angles=[0.5]
    )
    names = [estimate.name.partition(", ")[2] for estimate in found.finite]
    assert list(dict.fromkeys(names)) == families
    assert all(np.isfinite(estimate.value) for estimate in found.finite)


@pytest.mark.slow(4)
def test_features_with_a_fractional_pitch():
    found = measures.report(
        classifier,
        IMAGES,
        ["scale"],
        attribution=False,
        angles=[0.5],
        features=lambda x: {"valid": x[:, 1:-1, 1:-1], "whole": x},
        layouts={"*": "image"},
    )
    assert not found.features["valid"].exact.any()
    assert found.features["whole"].exact.all()
