"""The measurement study: tables, figures, the low-pass."""

import numpy as np
import pytest

from experiments.measure import report, run


@pytest.mark.slow(22)
def test_a_study_ends_with_tables_and_figures(tiny):
    study = tiny("measure")
    assert len(study.tables["lie"]) == 2 * 13
    written = {path.name for path in study.workdir.iterdir()}
    assert {"tiny.md", "tiny_lie.csv", "tiny_attribution.csv", "tiny_finite.csv"} <= written
    assert {"tiny.png", "tiny_attribution.png", "tiny_features.png", "tiny_polar.png"} <= written
    shares = [row["share"] for row in study.tables["attribution"]]
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    text = (study.workdir / "tiny.md").read_text()
    kinds = [*report.KINDS, report.REST]
    assert all(word in text for word in ("hyperbolic_rotation", "spectral", "Nyquist", *kinds))
    # Without a border, convolutions of stride 1 commute with shifts.
    control = study.tables["control"]
    still = [r for r in control if report.kind(r["layer"]) == "convolution, stride 1"]
    largest = max(row["norm"] for row in control)
    assert still
    assert max(row["norm"] for row in still) < 1e-4 * largest
    every = {report.kind(row["layer"]) for row in study.tables["attribution"]}
    assert every == set(kinds)
    (line,) = study.of(row="small, lie")
    (same,) = (
        row["mean_sq"]
        for row in study.tables["lie"]
        if (row["stencil"], row["generator"]) == ("central", "rotation")
    )
    assert line["lee_rotation"] == same


def test_the_low_pass_is_a_projection_on_slow_waves():
    images = np.random.default_rng(1).standard_normal((2, 16, 16, 3))
    half = run.low_passed(images, 0.5)
    np.testing.assert_allclose(run.low_passed(half, 0.5), half, atol=1e-12)
    np.testing.assert_array_equal(run.low_passed(images, 1.0), images)
    p = np.arange(16) + 0.5
    for k, kept in ((0, True), (7, True), (8, False), (15, False)):
        wave = np.broadcast_to(np.cos(np.pi * k * p / 16)[None, :, None, None], (1, 16, 16, 1))
        filtered = run.low_passed(wave.copy(), 0.5)
        np.testing.assert_allclose(filtered, wave if kept else 0 * wave, atol=1e-12)
    for k, kept in ((0, True), (3, True), (4, False), (7, False)):
        wave = np.cos(2 * np.pi * k * np.arange(16) / 16 + 1)[None, :, None, None]
        wave = np.broadcast_to(wave, (1, 16, 16, 1)).copy()
        filtered = run.low_passed(wave, 0.5, periodic=True)
        np.testing.assert_allclose(filtered, wave if kept else 0 * wave, atol=1e-12)


def test_ranks():
    assert report.spearman([1, 2, 3], [10, 20, 900]) == pytest.approx(1)
    assert report.spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert np.isnan(report.spearman([1, 2], [1]))
