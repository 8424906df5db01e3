"""The demo in small form: every row, the table, the CSV and the figure."""

import csv
import dataclasses

import numpy as np
import pytest

from experiments.soften import digits_demo, report


@pytest.mark.slow(20)
@pytest.mark.parametrize("make", [digits_demo.vit_job, digits_demo.resnet_job])
def test_the_demo_in_small_form(make, tmp_path):
    job = dataclasses.replace(make(12, 2), levels={"d4": 1, "so2": 2})
    rows = digits_demo.run([job], tmp_path)
    assert rows[0]["name"].endswith("unfiltered")
    assert rows[0]["kl_30_change"] == 0
    for group, count in job.levels.items():
        chosen = [row for row in rows[1:] if row["group"] == group]
        assert len(chosen) == count
        strict = min(chosen, key=lambda row: row["cutoff"])
        assert strict["cutoff"] == 0
        assert strict["certified_group"] < 1e-5
        kept = [row["kept"] for row in sorted(chosen, key=lambda row: row["cutoff"])]
        assert kept == sorted(set(kept))
        assert kept[-1] < 1
    for row in rows:
        assert row["images"] == 360
        assert row["measured"] <= row["certified"] <= row["measured"] + 0.02
    with (tmp_path / "demo.csv").open() as file:
        saved = list(csv.DictReader(file))
    np.testing.assert_allclose(float(saved[-1]["kl_30"]), rows[-1]["kl_30"])
    assert (tmp_path / "demo.png").stat().st_size > 10_000
    table = report.terminal_table(rows, digits_demo.COLUMNS).splitlines()
    assert len(table) == len(rows) + 2


def test_the_options_are_checked():
    with pytest.raises(ValueError, match="algorithm"):
        digits_demo.softening.FineTuning(1, 1, 0.1, algorithm="magic").optimizer()
