"""The measurement study: stages that survive an interruption, tables, figures, the low-pass."""

import csv
import json

import jax
import numpy as np
import pytest

from experiments.measure import report, run
from experiments.measure.configs import cifar10
from softeq_jax import models


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The study of a small random network on random images, with fewer settings."""
    config = cifar10.get_config()
    model = models.CifarResNet(depth=8, width=4)
    variables = model.init(jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32), train=False)
    models.save_cifar_resnet(tmp_path / "net.safetensors", variables)
    config.networks = {"small": "net.safetensors"}
    config.lie.update(stencils=("central", "spectral"), heads=("probabilities",), low_pass=(1.0,))
    config.attribution.update(stencils=("central",), generators=("rotation",), low_pass=(1.0,))
    config.control.update(stencils=("spectral",), generators=("translation_x",), low_pass=(0.5,))
    config.finite.update(step=180, max_shift=1)
    config.batch_size = 4
    images = np.random.default_rng(0).standard_normal((6, 16, 16, 3)).astype(np.float32)
    monkeypatch.setattr(run, "load_images", lambda *_: images)
    return config, tmp_path


@pytest.mark.slow(22)
def test_a_study_ends_with_tables_and_figures_and_goes_on_where_it_was(study, monkeypatch):
    config, folder = study
    found = run.run(config, folder, folder / "out")
    assert len(found["lie"]) == 2 * 13
    written = {path.name for path in (folder / "out").iterdir()}
    assert {"table.md", "lie.csv", "attribution.csv", "features.csv", "finite.csv"} <= written
    assert {"lie.png", "attribution.png", "features.png", "polar.png"} <= written
    with (folder / "out" / "attribution.csv").open() as file:
        shares = [float(row["share"]) for row in csv.DictReader(file)]
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    text = (folder / "out" / "table.md").read_text()
    kinds = [*report.KINDS, report.REST]
    assert all(word in text for word in ("hyperbolic_rotation", "spectral", "Nyquist", *kinds))
    # Without a border, convolutions of stride 1 commute with shifts.
    still = [r for r in found["control"] if report.kind(r["layer"]) == "convolution, stride 1"]
    largest = max(row["norm"] for row in found["control"])
    assert still
    assert max(row["norm"] for row in still) < 1e-4 * largest
    every = {report.kind(row["layer"]) for row in found["attribution"]}
    assert every == set(kinds)

    def never(*_):
        raise AssertionError("this stage was finished")

    monkeypatch.setattr(run, "STAGES", dict.fromkeys(run.STAGES, never))
    assert json.dumps(run.run(config, folder, folder / "out")) == json.dumps(found)

    config.attribution.head = "probabilities"
    with pytest.raises(ValueError, match="made with other settings"):
        run.run(config, folder, folder / "out")


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
