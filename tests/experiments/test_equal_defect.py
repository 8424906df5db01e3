"""Comparison at equal defect: lines between rows, seeds that have all of them, verdicts."""

import pytest

from experiments.shared.claims import Claim, Verdict
from experiments.shared.equal_defect import AtEqualDefect
from experiments.shared.studies import Metric, Preset, Study


def finding(lines, better="higher", reference="mix *"):
    """What runs ``(row, seed, defect, score)`` say of rows "heat *"."""
    claim = Claim("better", "heat *", reference, (AtEqualDefect("score", ("strict", "free")),))
    study = Study(
        name="drawn",
        title="",
        claims=(claim,),
        presets={"tiny": Preset({}, 1, {})},
        rows=lambda settings: {},
        run=lambda run: {},
        metrics=(Metric("score", "score", better, digits=2),),
        defect="defect",
    )
    keys = ("row", "seed", "defect", "score")
    runs = [dict(zip(keys, line, strict=True)) for line in lines]
    return claim.tests[0].judge(study, runs, claim)


def seed(number, gain, noise=0.0):
    """A line from (0, 0) over (.5, 1) to (1, 1), and two rows that lie ``gain`` below it."""
    return [
        ("strict", number, 0.0, 0.0),
        ("heat .5", number, 0.5, 1.0),
        ("free", number, 1.0, 1.0),
        ("mix .2", number, 0.25, 0.5 - gain + noise),
        ("mix .9", number, 0.75, 1.0 - gain - noise),
        ("mix wild", number, 2.0, 100.0),
        ("another", number, 0.1, -100.0),
    ]


def test_the_gain_is_read_off_between_the_rows():
    runs = [line for i in range(3) for line in seed(i, 0.1 * (i + 1), 0.05)]
    found = finding(runs)
    assert "+0.200" in found.text
    assert "3 seeds, 6 of 9 runs between the ends" in found.text
    assert found.verdict is Verdict.UNKNOWN  # .1, .2, .3: two degrees of freedom
    assert finding([x for i in range(3) for x in seed(i, 1 + i / 100)]).verdict is Verdict.HOLDS
    assert finding([x for i in range(3) for x in seed(i, i / 100 - 1)]).verdict is Verdict.FAILS


def test_lower_is_better_turns_the_verdict():
    runs = [x for i in range(3) for x in seed(i, 1 + i / 100)]
    assert finding(runs, better="lower").verdict is Verdict.FAILS


@pytest.mark.parametrize("left_out", ["heat .5", "mix .2", "free"])
def test_a_seed_without_all_rows_is_left_out(left_out):
    runs = [x for i in range(3) for x in seed(i, 1 + i / 100)]
    short = [x for x in seed(3, -50.0) if x[0] != left_out]
    assert finding(runs + short).text == finding(runs).text


def test_nothing_to_compare_tells_nothing():
    runs = [x for i in range(3) for x in seed(i, 1.0)]
    assert finding(runs, reference="nobody *").verdict is Verdict.UNKNOWN
    assert finding([]).verdict is Verdict.UNKNOWN
