"""Is the data symmetric? Constructed data with known answers, and p-values that are exact."""

import json

import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax.measures import data_report
from softeq_jax.measures.symmetry import bands
from tests.examples import sizes

SO2, SO3 = sq.groups.so(2), sq.groups.so(3)
ANY = 2 * np.pi


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def blobs(n, upright=0.0, span=ANY, side=9, seed=0):
    """Images of one blob; a share of them lies between the angles 0 and ``span / 4``."""
    rng = np.random.default_rng(seed)
    angle = np.where(rng.random(n) < upright, rng.uniform(0, span / 4, n), rng.uniform(0, ANY, n))
    radius = rng.uniform(0.3, 0.6, n) * side / 2
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    center = radius * np.cos(angle), radius * np.sin(angle)
    far = (x - center[0][:, None, None]) ** 2 + (-y - center[1][:, None, None]) ** 2
    return np.exp(-far / (side / 4) ** 2)[..., None]


NULL = {
    "vectors under C4": lambda i: (normal(40, 2, seed=i), "c4", None),
    "images under D4": lambda i: (blobs(48, seed=i, side=5), "d4", None),
    "pairs of points under SO(3)": lambda i: (normal(40, 6, seed=i), "so3", sq.reps.vector(SO3)),
    "signs": lambda i: (normal(60, 3, seed=i) ** 3, sq.groups.o(1), sq.reps.vector(sq.groups.o(1))),
}


@pytest.mark.slow(15)
@pytest.mark.parametrize("sets", sizes(fast=[60], sweep=[1000]))
def test_p_values_are_exact(sets):
    kinds, p = list(NULL.values()), []
    for i in range(sets):
        x, group, rep = kinds[i % len(kinds)](i)
        p.append(data_report(x, group, input=rep, subgroups=[], key=i).p)
    rejected, p = np.mean(np.array(p) <= 0.05), np.sort(p)
    error = np.sqrt(0.05 * 0.95 / sets)
    assert abs(rejected - 0.05) <= 2 * error  # of 1,000 sets: 3.6 to 6.4 %
    assert np.abs(p - (np.arange(sets) + 0.5) / sets).max() < 1.63 / np.sqrt(sets)


@pytest.mark.slow(5)
@pytest.mark.parametrize("name", NULL)
def test_symmetric_data_are_found_symmetric(name):
    x, group, rep = NULL[name](1)
    x = np.concatenate([x, NULL[name](2)[0]])
    found = data_report(x, group, input=rep, alpha=0.001)
    assert found.symmetric
    assert found.control.p <= 0.001
    assert found.suggestion.kind == "strict"
    assert found.kept[0] == str(found.group)


@pytest.mark.slow(5)
def test_data_that_break_it_for_a_share_are_found_out():
    whole = data_report(blobs(300, upright=1.0), "c4")
    half = data_report(blobs(300, upright=0.5), "c4")
    for found in (whole, half):
        assert not found.symmetric
        assert found.kept == ()
        assert found.calibration.p > 0.05
    assert whole.suggestion.kind == "free"
    assert half.suggestion.kind == "soft"
    assert whole.tests[0][1].accuracy > half.tests[0][1].accuracy > 0.5


def test_the_wrong_group_is_rejected_and_the_right_one_is_not():
    angle = np.repeat(np.arange(3), 80) * ANY / 3
    x = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.2 * normal(240, 2)
    assert data_report(x, "c3").symmetric
    assert not data_report(x, "c4").symmetric


@pytest.mark.slow(3)
def test_the_subgroups_that_data_keep_are_named():
    x = blobs(400, upright=1.0)
    x = np.where(np.arange(400)[:, None, None, None] % 2, x, x[:, :, ::-1])  # left-right
    found = data_report(x, "d4")
    assert found.kept == ("D1 (left-right)",)
    p = {name: adjusted for name, _, adjusted in found.tests}
    assert p["D4"] <= p["C4"] <= p["C2"] <= 0.05 < p["D1 (left-right)"]


@pytest.mark.slow(10)
def test_round_images_turn_by_any_angle_without_a_trace():
    for key in (0, 1):
        found = data_report(blobs(200, side=16, seed=key), SO2, key=key, alpha=0.002)
        assert found.symmetric, found
        assert found.calibration.p > 0.002
    assert not data_report(blobs(200, upright=0.5, side=16), SO2).symmetric


@pytest.mark.slow(8)
def test_labels_say_strict_soft_or_free():
    x = blobs(400, side=8)
    at = np.stack([x[:, :4].sum((1, 2, 3)) - x[:, 4:].sum((1, 2, 3)), x[:, :, 4:].sum((1, 2, 3))])
    far = (x * np.hypot(*(np.mgrid[:8, :8] - 3.5))[..., None]).sum((1, 2, 3))
    strict = data_report((x, far), "c4")
    assert strict.suggestion.kind == "strict"
    assert strict.share[0] < 0.2
    soft = data_report((x, (at[0] > 0).astype(int)), "c4")
    assert soft.suggestion.kind == "soft"
    assert soft.suggestion.level == pytest.approx(4 / np.pi * np.sin(np.pi / 4))
    assert soft.share[0] > 0.8
    free = data_report((x, at[0] * (at[1] - at[1].mean())), "c4")
    assert free.suggestion.kind == "free"


@pytest.mark.slow(5)
def test_labels_that_turn_along_are_no_asymmetry():
    x, v = normal(120, 6), sq.reps.vector(SO3)
    y = x[:, :3] + 2 * x[:, 3:]
    turning = data_report((x, y), SO3, input=v, output=v, subgroups=[])
    fixed = data_report((x, y), SO3, input=v, subgroups=[])
    assert turning.suggestion.kind == "strict"
    assert turning.share[0] < 0
    assert fixed.suggestion.kind == "soft"
    assert fixed.share[0] > 0.5


def test_labels_of_chance_say_nothing():
    found = data_report((normal(200, 2), np.arange(200) % 2), "c4")
    assert found.suggestion.kind == "undecided"


def test_batches_are_joined_and_few_are_taken():
    x = normal(200, 2)
    whole = data_report(x, "c4", examples=100).as_dict()
    parts = data_report((x[i : i + 50] for i in range(0, 200, 50)), "c4", examples=200)
    assert whole["tests"][0]["pairs"] == 50
    assert parts.tests[0][1].pairs == 100


def test_sources_of_the_library_are_read():
    """By index, one example at a time, as dictionaries; and their batches."""

    class Source:
        def __len__(self):
            return len(x)

        def __getitem__(self, index):
            return {"image": x[index], "label": index % 2} if labelled else x[index]

    x, labelled = blobs(80, side=4), True
    found = data_report(Source(), "c4", subgroups=[])
    assert found.loss is not None
    assert found.tests[0][1].pairs == 40
    labelled = False
    assert data_report(Source(), "c4", subgroups=[]).loss is None
    batches = [{"image": x[:40], "label": np.arange(40) % 2}] * 2
    assert data_report(batches, "c4", subgroups=[]).loss is not None
    assert data_report([x[:40], x[40:]], "c4", subgroups=[]).loss is None


def test_text_html_and_json():
    found = data_report((normal(80, 2), np.arange(80) % 2), "c4")
    assert max(map(len, str(found).splitlines())) < 100
    assert found._repr_html_().count("<table>") == 2
    told = json.loads(found.json())
    assert told["tests"][0]["p"] == found.p
    assert told["labels"]["share"] == found.share[0]


def test_bad_input_says_what_is_missing():
    x, images = normal(50, 2), blobs(50)
    with pytest.raises(ValueError, match="1 examples are too few"):
        data_report(x[:1], "c4")
    with pytest.raises(ValueError, match="group is missing"):
        data_report(x)
    with pytest.raises(ValueError, match="not compact"):
        data_report(normal(50, 4), "lorentz")
    with pytest.raises(ValueError, match="nothing acts"):
        data_report(x, input=sq.reps.trivial(SO2, 2))
    with pytest.raises(ValueError, match="do not map a 9 x 8 grid"):
        data_report(images[:, :, :8], "c4")
    with pytest.raises(ValueError, match="too small to turn"):
        data_report(blobs(50, side=4), "so2")
    with pytest.raises(ValueError, match="50 examples came with 49 labels"):
        data_report((x, np.arange(49)), "c4")
    with pytest.raises(ValueError, match="not all the same"):
        data_report((x, np.zeros(50, int)), "c4")
    with pytest.raises(ValueError, match="is no subgroup of C4"):
        data_report(x, "c4", subgroups=["c3"])
    with pytest.raises(ValueError, match="nothing acts"):
        data_report(x, "c1")
    with pytest.raises(TypeError, match="dict"):
        data_report({"x": x}, "c4")
    with pytest.raises(TypeError, match="example"):
        data_report(x, "c4", example=3)
    with pytest.raises(ValueError, match="NaN"):
        data_report(np.where(x > 2, np.nan, x), "c4")


@pytest.mark.parametrize("name", ["c4", "d4", "d2", "c5", "so2", "o2", "so3", "o3"])
def test_bands_are_projections_that_add_up(name):
    found = bands(sq.groups.from_name(name))
    elements, n = found.elements, len(found.elements)
    products = np.einsum("aij,bjk->abik", elements, elements).reshape(n, n, 1, -1)
    table = np.abs(products - elements.reshape(1, 1, n, -1)).max(-1).argmin(-1)
    parts = np.zeros((len(found.levels), n, n))
    for k in range(n):
        parts[:, np.arange(n), table[k]] += found.weights[:, k, None]
    assert np.allclose(parts.sum(0), np.eye(n))
    assert np.allclose(parts @ parts, parts, atol=1e-9)
    assert found.levels[0] == 0
    assert np.all(np.diff(found.levels) > 0)


@pytest.mark.parametrize("name", ["c4", "d4", "c5", "oh"])
def test_bands_have_the_levels_of_projectors(name):
    group = sq.groups.from_name(name)
    levels = sq.projector("i", {"i": sq.reps.regular(group)}).levels()
    assert np.allclose(bands(group).levels, levels)
