"""Rank correlations within strata, and claims that rest on them."""

import numpy as np
import pytest
from scipy import stats

from experiments.shared.claims import Claim, Verdict
from experiments.shared.correlations import Correlates, rank_correlation, said
from experiments.shared.studies import find

CLAIM = Claim("", "every network", "", ())


def test_one_stratum_is_spearmans_correlation():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(30)
    y = x + rng.standard_normal(30)
    found = rank_correlation(x, y)
    expected = stats.spearmanr(x, y)
    assert found.value == pytest.approx(expected.statistic, abs=1e-12)
    assert 1e-4 <= found.p == pytest.approx(expected.pvalue, abs=2e-3)
    assert found.low < found.value < found.high
    assert found.runs == 30
    assert said(found).startswith(f"{found.value:+.2f} [")
    assert rank_correlation(-x, y).value == pytest.approx(-found.value)
    assert rank_correlation(np.exp(x), y).value == pytest.approx(found.value)


def test_what_lies_between_strata_does_not_count():
    rng = np.random.default_rng(1)
    strata = np.repeat([0, 1, 2], 8)
    x, y = 100 * strata + rng.standard_normal((2, 24))
    assert rank_correlation(x, y).value > 0.8
    within = rank_correlation(x, y, strata)
    assert within.low < 0 < within.high
    assert within.p > 0.05
    # Simpson's case: every family says the opposite of all together.
    inside = np.tile(np.arange(8.0), 3)
    opposite = rank_correlation(100 * strata + inside, 100 * strata - inside, strata)
    assert opposite.value == pytest.approx(-1)
    assert opposite.p < 1e-3


def test_permutations_reject_as_often_as_they_say():
    rng = np.random.default_rng(2)
    strata = np.repeat([0, 1], 6)
    ps = [rank_correlation(*rng.standard_normal((2, 12)), strata).p for _ in range(100)]
    assert 0 < np.mean(np.array(ps) < 0.05) < 0.1


def test_too_few_networks_tell_nothing():
    assert not rank_correlation([1.0, 2.0], [2.0, 1.0]).known
    assert np.isnan(rank_correlation([], []).value)
    assert np.isnan(rank_correlation([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]).value)
    lost = rank_correlation([1.0, np.nan, 3.0, 4.0, 2.0], [1.0, 2.0, 3.0, 4.0, 2.0])
    assert (lost.value, lost.runs) == (pytest.approx(1), 4)


@pytest.mark.parametrize(
    ("sign", "noise", "verdict"),
    [(1, 0.1, Verdict.HOLDS), (-1, 0.1, Verdict.FAILS), (1, 1e6, Verdict.UNKNOWN)],
)
def test_verdicts_follow_sign_interval_and_permutations(sign, noise, verdict):
    study = find("factors")
    rng = np.random.default_rng(3)
    lines = [
        {
            "row": f"{family} {i}",
            "seed": 0,
            "family": family,
            "checkpoint": "end",
            "shift": float(i),
            "accuracy": float(i + noise * rng.standard_normal() + 50 * (family == "vit")),
        }
        for family in ("resnet", "vit")
        for i in range(8)
    ]
    untrained = [{**x, "checkpoint": "init", "accuracy": -x["accuracy"]} for x in lines]
    test = Correlates("shift", "accuracy", sign, within=("family",), only={"checkpoint": "end"})
    finding = test.judge(study, lines + untrained, CLAIM)
    assert finding.verdict is verdict
    assert "16 networks (resnet" in finding.text
    assert test.judge(study, [], CLAIM).verdict is Verdict.UNKNOWN
