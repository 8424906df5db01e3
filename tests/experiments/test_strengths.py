"""Strengths are chosen by held-out data alone, within a condition; all tried ones are shown."""

from experiments.shared import strengths
from experiments.shared.studies import Metric

ERROR = Metric("held", "held out", "lower")
SCORE = Metric("held", "held out (%)", "higher", scale=100)


def line(row, family, held, test, at=0.0, **more):
    return {"row": row, "family": family, "held": held, "score": test, "dial": at, **more}


LINES = [
    line("a (1)", "a", 0.2, 0.9),
    line("a (1)", "a", 0.4, 0.9),
    line("a (3)", "a", 0.1, 0.1),
    line("a (3)", "a", 0.3, 0.1),
    line("b", "b", 0.9, 0.5),
    {"row": "floor", "floor": True, "score": 0.0},
]


def test_the_mean_on_held_out_data_decides_whatever_the_test_says():
    found = strengths.at_the_best(LINES, ERROR)
    assert [(x["row"], x["score"]) for x in found] == [
        ("a", 0.1),
        ("a", 0.1),
        ("b", 0.5),
        ("floor", 0.0),
    ]
    higher = strengths.at_the_best(LINES, SCORE)
    assert [x["score"] for x in higher if x["row"] == "a"] == [0.9, 0.9]


def test_each_value_of_a_condition_has_its_own_choice():
    lines = [
        line("a (1) at 0", "a", 0.1, 1.0, at=0.0),
        line("a (3) at 0", "a", 0.2, 3.0, at=0.0),
        line("a (1) at 0.5", "a", 0.2, 1.0, at=0.5),
        line("a (3) at 0.5", "a", 0.1, 3.0, at=0.5),
    ]
    found = strengths.at_the_best(lines, ERROR, "dial")
    assert [(x["row"], x["score"]) for x in found] == [("a at 0", 1.0), ("a at 0.5", 3.0)]


def test_the_table_shows_every_strength_of_what_was_tried_with_several():
    said, table = strengths.table(LINES, (SCORE, Metric("score", "score", "higher")))
    assert "strengths" in said
    assert "| a (1) | 30 ± 10 | 0.9 ± 0 |" in table
    assert "| a (3) |" in table
    assert "| b |" not in table
    assert strengths.table([LINES[4]], (SCORE,)) == []
