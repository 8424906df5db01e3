"""Statistics of studies against direct formulas and tables; verdicts of claims."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.shared.calibration import fitted_temperature
from experiments.shared.claims import Beats, Better, Claim, Grows, NotWorse, Verdict
from experiments.shared.statistics import (
    RowSeedModel,
    block_interval,
    mean_interval,
    paired,
    slope,
)
from experiments.shared.studies import Metric, Preset, Study


def _runs(means, seeds, deviation=1.0, key=0):
    """Runs of rows with these means; seeds shift all rows of theirs."""
    rng = np.random.default_rng(key)
    shifts = 10 * rng.standard_normal(seeds)
    return [
        (row, seed, mean + shifts[seed] + deviation * rng.standard_normal())
        for row, mean in means.items()
        for seed in range(seeds)
    ]


def test_the_row_and_seed_model_is_the_two_way_analysis_of_variance():
    runs = _runs({"a": 0.0, "b": 1.0, "c": 3.0}, 5)
    model = RowSeedModel(runs)
    table = np.array([[v for r, _, v in runs if r == row] for row in "abc"])
    rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    assert model.freedom == (3 - 1) * (5 - 1)
    deviation = math.sqrt((rest**2).sum() / 8)
    np.testing.assert_allclose(model.deviation, deviation)
    found = model.difference("c", "a")
    half = stats.t.ppf(0.975, 8) * deviation * math.sqrt(2 / 5)
    np.testing.assert_allclose(found.value, table[2].mean() - table[0].mean())
    np.testing.assert_allclose([found.low, found.high], [found.value - half, found.value + half])
    np.testing.assert_allclose(
        found.p, 2 * stats.t.sf(found.value / (half / stats.t.ppf(0.975, 8)), 8)
    )
    np.testing.assert_allclose((-found).low, -found.high)


def test_two_rows_are_a_paired_test():
    runs = _runs({"a": 0.0, "b": 1.0}, 6)
    mine, theirs = ({s: v for r, s, v in runs if r == row} for row in "ba")
    pair, model = paired(mine, theirs), RowSeedModel(runs).difference("b", "a")
    np.testing.assert_allclose([pair.low, pair.high, pair.p], [model.low, model.high, model.p])
    expected = stats.ttest_rel(list(mine.values()), list(theirs.values()))
    np.testing.assert_allclose(pair.p, expected.pvalue)


@pytest.mark.parametrize(
    ("others", "freedom", "critical"), [(2, 10, 2.57), (4, 20, 2.65), (6, 60, 2.64), (3, 12, 2.68)]
)
def test_dunnetts_critical_values_are_those_of_the_tables(others, freedom, critical):
    # (rows - 1)(seeds - 1) = others (seeds - 1)
    seeds = freedom // others + 1
    names = ["reference", *map(str, range(others))]
    model = RowSeedModel(_runs(dict.fromkeys(names, 0.0), seeds))
    assert model.freedom == freedom
    found = model.dunnett("reference")
    error = model.deviation * math.sqrt(2 / seeds)
    for interval in found.values():
        width = (interval.high - interval.low) / 2 / error
        np.testing.assert_allclose(width, critical, atol=0.025)


def test_dunnetts_error_over_all_rows_is_five_percent():
    missed = 0
    for key in range(400):
        model = RowSeedModel(_runs(dict.fromkeys("abcdef", 0.0), 4, key=key))
        missed += any(i.low > 0 or i.high < 0 for i in model.dunnett("a").values())
    assert 6 <= missed <= 36  # 20 +- 3.7 deviations


def test_missing_runs_and_values_take_their_degrees_of_freedom_with_them():
    runs = _runs({"a": 0.0, "b": 1.0, "c": 3.0}, 4)
    fewer = RowSeedModel([*runs[:-1], ("c", 3, math.nan)])
    assert fewer.freedom == 5
    assert fewer.difference("c", "a").runs == 3
    assert math.isnan(fewer.difference("z", "a").value)
    alone = RowSeedModel([("a", 0, 1.0), ("b", 0, 2.0)])
    assert alone.difference("b", "a").value == pytest.approx(1.0)
    assert not alone.difference("b", "a").known
    assert not any(i.known for i in alone.dunnett("a").values())
    apart = RowSeedModel([("a", 0, 1.0), ("b", 1, 2.0), ("a", 2, 1.5)])
    assert math.isnan(apart.difference("b", "a").value), "they share no seed"
    assert RowSeedModel([]).difference("a", "b").runs == 0


def test_equal_runs_differ_by_nothing_without_noise():
    model = RowSeedModel([(r, s, 0.1 + 0.2 + (r == "b")) for r in "ab" for s in range(3)])
    same = model.difference("a", "a")
    assert (same.value, same.low, same.high) == (0, 0, 0)
    sure = model.difference("b", "a")
    assert sure.low == pytest.approx(1.0)
    assert sure.p == 0
    assert model.spread()[0] == 0


def test_residuals_show_a_wild_run_and_uneven_rows():
    runs = _runs(dict.fromkeys("abcd", 0.0), 6, deviation=0.1)
    runs = [(r, s, v + 5 * (r == "c" and s == 2)) for r, s, v in runs]
    largest, run, uneven = RowSeedModel(runs).spread()
    assert run == ("c", 2)
    assert largest > 2.5
    assert uneven > 2


def test_slopes_and_means():
    found = slope({s: {0.0: 1.0, 0.5: 1.0 + k, 1.0: 1.0 + 2 * k} for s, k in enumerate((1, 2, 3))})
    np.testing.assert_allclose(found.value, 4.0)
    direct = mean_interval([2.0, 4.0, 6.0])
    np.testing.assert_allclose([found.low, found.high], [direct.low, direct.high])
    assert slope({0: {0.5: 1.0}}).runs == 0
    one = mean_interval([3.0, math.nan])
    assert (one.value, one.runs, one.known) == (3.0, 1, False)


def test_blocks_widen_the_interval_of_dependent_items():
    rng = np.random.default_rng(0)
    blocks = np.repeat(np.arange(20), 50)
    values = rng.standard_normal(20)[blocks] + 0.1 * rng.standard_normal(1000)
    together = block_interval(lambda i: values[i].mean(), blocks)
    alone = block_interval(lambda i: values[i].mean(), range(1000))
    assert together.high - together.low > 3 * (alone.high - alone.low)
    assert together.runs == 20
    means = [values[blocks == b].mean() for b in range(20)]
    error = np.std(means) / math.sqrt(20)
    np.testing.assert_allclose(together.high - together.low, 2 * 1.96 * error, rtol=0.1)
    assert not block_interval(lambda i: 0.0, [0, 0]).known


ERROR, SHARE = Metric("error", "error", log=True), Metric("share", "share", "higher", scale=100)


def _study(*tests, row="mine", reference="theirs", **more):
    claim = Claim("it is so", row, reference, tests)
    study = Study(
        "toy",
        "Toy",
        (claim,),
        {"tiny": Preset({})},
        lambda s: {},
        lambda r: {},
        (ERROR, SHARE),
        **more,
    )
    return lambda lines: claim.judge(study, lines)


def _lines(mine, theirs, noise=0.01, key="error"):
    rng = np.random.default_rng(1)
    return [
        {"row": row, "seed": seed, key: value * math.exp(noise * rng.standard_normal())}
        for row, value in (("mine", mine), ("theirs", theirs))
        for seed in range(5)
    ]


def test_verdicts_follow_the_intervals():
    judge = _study(Better("error"))
    assert judge(_lines(0.5, 1.0))[0] is Verdict.HOLDS
    assert judge(_lines(1.0, 0.5))[0] is Verdict.FAILS
    assert judge(_lines(1.0, 1.0, noise=0.3))[0] is Verdict.UNKNOWN
    assert judge(_lines(0.5, 1.0)[:6])[0] is Verdict.UNKNOWN, "one run of the reference"
    assert judge([])[0] is Verdict.UNKNOWN
    text = judge(_lines(0.5, 1.0))[1][0].text
    assert "mine against theirs -49" in text or "mine against theirs -50" in text
    assert "5 seeds" in text


def test_least_gains_and_margins_are_shares_of_errors_and_units_of_the_rest():
    assert _study(Better("error", 0.4))(_lines(0.5, 1.0))[0] is Verdict.HOLDS
    assert _study(Better("error", 0.6))(_lines(0.5, 1.0))[0] is Verdict.FAILS
    assert _study(NotWorse("error", 0.1))(_lines(1.05, 1.0))[0] is Verdict.HOLDS
    assert _study(NotWorse("error", 0.01))(_lines(1.05, 1.0))[0] is Verdict.FAILS
    assert _study(NotWorse("share", 0.05))(_lines(0.86, 0.9, 1e-3, "share"))[0] is Verdict.HOLDS
    assert _study(NotWorse("share", 0.005))(_lines(0.86, 0.9, 1e-3, "share"))[0] is Verdict.FAILS


def test_at_once_needs_all_tests():
    both = [a | b for a, b in zip(_lines(0.5, 1), _lines(0.9, 0.8, 1e-3, "share"), strict=True)]
    judge = _study(Better("error"), Better("share"))
    assert judge(both)[0] is Verdict.HOLDS
    assert judge([x | {"share": 1 - x["share"]} for x in both])[0] is Verdict.FAILS
    assert judge([x | {"share": math.nan} for x in both])[0] is Verdict.UNKNOWN


def test_a_noisy_pair_is_judged_by_itself():
    quiet = [
        {"row": f"r{i}", "seed": s, "error": 1.0 + 1e-4 * ((i * s) % 3)}
        for i in range(30)
        for s in range(5)
    ]
    verdict, (finding,) = _study(Better("error"))([*quiet, *_lines(0.9, 1.0, noise=0.3)])
    assert "by the pair alone" in finding.text
    assert verdict is Verdict.UNKNOWN


def test_conditions_are_compared_within_themselves_and_slopes_across():
    rng = np.random.default_rng(0)
    lines = [
        {
            "row": f"{name} at {noise}",
            "name": name,
            "seed": seed,
            "noise": noise,
            "error": math.exp((noise if name == "theirs" else 0) + 0.01 * rng.standard_normal()),
        }
        for noise in (0.0, 0.3, 0.5)
        for name in ("mine", "theirs")
        for seed in range(4)
    ]
    grows = _study(Grows("error", "name"), condition="noise")
    verdict, (finding,) = grows(lines)
    assert verdict is Verdict.HOLDS
    assert "4 seeds" in finding.text
    swapped = [x | {"name": {"mine": "theirs", "theirs": "mine"}[x["name"]]} for x in lines]
    assert grows(swapped)[0] is Verdict.FAILS
    at = {"row": "mine at 0.5", "reference": "theirs at 0.5"}
    within = _study(Better("error"), condition="noise", **at)
    assert within(lines)[0] is Verdict.HOLDS
    assert within([x for x in lines if x["noise"] != 0.5])[0] is Verdict.UNKNOWN


def test_floors_are_beaten_seed_by_seed_and_add_no_noise():
    floor = [{"row": "still", "seed": s, "error": 0.8 + s, "floor": True} for s in range(5)]
    lines = _lines(0.5, 1.0)
    judge = _study(Better("error"), Beats("error", "still"))
    assert judge([*lines, *floor])[0] is Verdict.HOLDS
    low = [x | {"error": 0.1} for x in floor]
    assert judge([*lines, *low])[0] is Verdict.FAILS
    first = judge(lines)[1][0].text
    assert judge([*lines, *floor])[1][0].text == first


def test_a_metric_without_a_better_side_cannot_be_claimed():
    with pytest.raises(ValueError, match="better must be"):
        Metric("x", "x", "larger")
    neither = Metric("error", "error", "")
    claim = Claim("", "mine", "theirs", (Better("error"),))
    study = Study("toy", "Toy", (claim,), {}, lambda s: {}, lambda r: {}, (neither,))
    with pytest.raises(ValueError, match="neither better"):
        claim.judge(study, _lines(1, 2))
    assert ERROR.transformed("text") != ERROR.transformed("text")
    assert ERROR.transformed(0.0) == math.log(1e-12)
    assert (ERROR.shown(0.12345), SHARE.shown(0.5)) == ("0.123", "50")


def test_the_temperature_undoes_a_scale_of_the_logits():
    rng = np.random.default_rng(0)
    true = 2 * rng.standard_normal((4000, 5))
    p = np.exp(true) / np.exp(true).sum(1, keepdims=True)
    labels = np.array([rng.choice(5, p=row) for row in p])
    assert fitted_temperature(true, labels) == pytest.approx(1.0, abs=0.05)
    once = fitted_temperature(true, labels)
    assert fitted_temperature(3 * true, labels) == pytest.approx(3 * once, rel=1e-3)
    z, (at, t) = true / once, (np.arange(4000), labels)
    q = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    slope_of_loss = np.mean(np.sum(q * z, 1) - z[at, t])
    assert abs(slope_of_loss) < 1e-3, "the loss is flat at the minimum"
    with pytest.raises(ValueError, match="logits must be finite"):
        fitted_temperature(true, labels[:5])
