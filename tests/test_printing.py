"""What results print: short lines in a terminal, tables in a notebook, nothing long anywhere."""

import dataclasses
import importlib
import math
import pkgutil
import types
import typing
from typing import Any

import jax
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax import measures, models, training
from softeq_jax._text import at_most, brief, clipped, folded, show, table

NUMBERS = st.floats(-1e9, 1e9) | st.just(math.nan) | st.just(1 / 3)
NAMES = st.text("abcxyz_/.<&é ", max_size=200)
COUNTS = st.integers(1, 3)


def arrays(*shape):
    return st.integers(0, 99).map(lambda s: np.random.default_rng(s).uniform(0.1, 1.0, shape))


@st.composite
def estimates(draw):
    rows, n = draw(COUNTS), draw(COUNTS)
    ones = np.ones((rows, n))
    name = draw(NAMES)
    return measures.finite.Estimate(name, draw(arrays(rows, n)), ones, (name,) * rows)


@st.composite
def scores(draw):
    moved = tuple(draw(st.lists(NUMBERS, min_size=1, max_size=3)))
    mean = "arithmetic"
    return measures.finite.Scores(draw(NAMES), draw(NUMBERS), moved, ("t",) * len(moved), mean)


@st.composite
def attributions(draw):
    layers, names = tuple(draw(st.lists(NAMES, min_size=1, max_size=20))), ("a", "b", "c", "d")
    shares = {name: draw(arrays(len(layers), 2)) for name in names}
    totals = {name: draw(arrays(2)) for name in names}
    none, zero = (None,) * 4, dict.fromkeys(names, 0)
    shapes, words = ((2, 3),) * len(layers), ("image",) * len(layers)
    return measures.Attribution(layers, shapes, words, names, "shares", totals, shares, *none, zero)


@st.composite
def reports(draw):
    finite = tuple(draw(st.lists(estimates(), max_size=3)))
    lie, parts = {draw(NAMES): draw(LIE)}, draw(attributions())
    return measures.Report(3, draw(NAMES), lie, parts, None, finite, (), None, None)


@st.composite
def certificates(draw):
    certified, scope = draw(st.booleans()), draw(st.sampled_from(["element", "global"]))
    angle = None if scope == "global" else draw(NUMBERS)
    values = draw(NUMBERS), draw(NUMBERS), draw(NUMBERS)
    one = sq.Certificate(*values, "frobenius", scope, angle, False, certified, draw(NAMES))
    paths = draw(st.lists(NAMES, max_size=3))
    return dataclasses.replace(one, parts=dict.fromkeys(paths, one))


@st.composite
def rotations(draw):
    a, n = draw(COUNTS), draw(COUNTS)
    right = np.ones(n, bool), np.ones((a, n), bool)
    return measures.finite.RotationReport(np.ones(a), *right, draw(arrays(a, n)), np.ones((a, n)))


@st.composite
def plans(draw):
    group = draw(st.sampled_from([sq.groups.so(3), sq.groups.cyclic(4)]))
    V = draw(COUNTS) * sq.reps.vector(group)
    P = sq.projector("i o", {"i": V, "o": V})
    keys = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    params = {key: np.ones((V.dim, V.dim)) for key in keys}
    return sq.plan(params, {sq.literal(key): P for key in keys})


def of_plan(pick):
    return plans().map(pick)


LIE = st.builds(
    measures.LieErrors, **{f: arrays(3) for f in ("mean_sq", "mean_abs", "response_sq")},
    **{f: arrays(3) for f in ("input_sq", "null_sq", "fisher", "border_mean_sq")}, entries=COUNTS
)  # fmt: skip
LOADED = st.builds(
    models.weights.LoadReport, NAMES, NAMES, NAMES, NAMES,
    used=st.just(()), carried=st.just(()), reset=st.just(()),
)  # fmt: skip
MADE = {
    measures.LieErrors: LIE,
    measures.finite.Estimate: estimates(),
    measures.finite.Scores: scores(),
    measures.finite.TrajectoryScores: st.builds(
        measures.finite.TrajectoryScores, scores(), scores(), st.just((1.0, 2.0))
    ),
    measures.finite.RegressionScores: st.builds(
        measures.finite.RegressionScores, scores(), NUMBERS, NUMBERS
    ),
    measures.finite.RotationReport: rotations(),
    measures.RelativeError: st.builds(
        measures.RelativeError, estimates(), estimates(), estimates()
    ),
    measures.Attribution: attributions(),
    measures.Report: reports(),
    sq.Certificate: certificates(),
    sq.Plan: plans(),
    sq.Projector: of_plan(lambda plan: plan.projectors[0]),
    models.weights.LoadReport: LOADED,
    models.weights.Pretrained: st.builds(
        models.weights.Pretrained, st.none(), st.just({}), LOADED, st.none(), st.none()
    ),
    training.Outcome: st.builds(
        training.Outcome, st.none(), COUNTS, st.booleans(), st.none(),
        st.dictionaries(NAMES, NUMBERS, max_size=9),
    ),
}  # fmt: skip
"""Classes that print in a way of their own."""


def guessed(hint: Any) -> st.SearchStrategy:
    """Values of a type, as long as they may be."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return st.one_of(*map(guessed, typing.get_args(hint)))
    of = typing.get_origin(hint) or hint
    if of in (tuple, list) or getattr(of, "__name__", "") == "Sequence":
        inner = typing.get_args(hint)[0] if typing.get_args(hint) else str
        return st.lists(guessed(inner), max_size=40).map(tuple)
    if of is dict or getattr(of, "__name__", "") == "Mapping":
        return st.dictionaries(NAMES, NUMBERS, max_size=40)
    plain = {float: NUMBERS, int: COUNTS, bool: st.booleans(), type(None): st.none()}
    return plain.get(of) or (arrays(30, 4) if of in (np.ndarray, jax.Array) else NAMES)


def public_records():
    """Public dataclasses of all rooms that are no pytrees of a model and no representation."""
    found = {}
    for module in pkgutil.walk_packages(sq.__path__, "softeq_jax."):
        if any(part.startswith("_") for part in module.name.split(".")):
            continue
        home = importlib.import_module(module.name)
        for name in getattr(home, "__all__", ()):
            kind = getattr(home, name)
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                found[kind] = name
    given = measures.finite.Transform  # what a user hands in is no result
    return [
        kind
        for kind in found
        if kind.__module__.startswith("softeq_jax.") and not issubclass(kind, given)
    ]


RECORDS = public_records()
BRIEF = [kind for kind in RECORDS if kind.__repr__ is brief]


def is_short(text: str) -> bool:
    return max(map(len, text.splitlines())) < 100


@pytest.mark.slow(5)
@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.__name__)
def test_results_print_in_short_lines(kind):
    @given(MADE[kind])
    @examples(fast=8)
    def check(result):
        assert is_short(repr(result))
        assert is_short(str(result))

    check()


@pytest.mark.parametrize("kind", BRIEF, ids=lambda kind: kind.__name__)
def test_records_print_their_fields_in_short_lines(kind):
    hints = typing.get_type_hints(kind)
    shown = [f.name for f in dataclasses.fields(kind)]

    @given(st.fixed_dictionaries({name: guessed(hints[name]) for name in shown}))
    @examples(fast=8)
    def check(values):
        record = object.__new__(kind)
        for name, value in values.items():
            object.__setattr__(record, name, value)
        text = repr(record)
        assert is_short(text)
        assert len(text) < 1000
        assert text.startswith(f"{kind.__name__}(")

    check()


def test_no_public_result_prints_its_arrays():
    """A dataclass with an array, a mapping or another record in it has a text of its own."""
    long = ("ndarray", "Array", "Mapping", "dict", "Tree", "Estimate", "PerLayer")
    for kind in RECORDS:
        hints = [str(f.type) for f in dataclasses.fields(kind)]
        if any(word in hint for hint in hints for word in long) and "nn." not in kind.__module__:
            own = not hasattr(kind.__repr__, "__wrapped__")  # what dataclasses make has it
            assert own, f"{kind.__name__} prints all that is in it"


@pytest.mark.parametrize(
    "kind", [kind for kind in MADE if hasattr(kind, "_repr_html_")], ids=lambda kind: kind.__name__
)
def test_tables_of_notebooks_are_well_formed_and_escaped(kind):
    @given(MADE[kind])
    @examples(fast=4)
    def check(result):
        from xml.etree import ElementTree

        ElementTree.fromstring(f"<r>{result._repr_html_()}</r>")

    check()


def test_the_bound_that_a_certificate_prints_is_never_below_it():
    one = sq.Certificate(1 / 3, 1.0, 2.0, "frobenius", "global", None, False, True, "proven")
    assert "bound=0.3334, frobenius norm 2, global" in repr(one)
    assert [at_most(v) for v in (2 / 3, 1.0, 12345.6)] == ["0.6667", "1", "1.235e+4"]
    assert "none" in repr(dataclasses.replace(one, certified=False, reason="no reason"))


@given(st.lists(st.lists(NAMES, min_size=5, max_size=5), max_size=5), st.text("-r", max_size=5))
@examples(fast=30)
def test_tables_fit_and_lose_nothing(rows, right):
    text = table(("a", "b", "c", "d", "e"), rows, right.replace("r", "-"))
    assert is_short(text)
    letters = sorted("".join(str(text).split()).replace("abcde", "", 1))
    assert letters == sorted("".join("".join(row) for row in rows).replace(" ", ""))


def test_columns_without_room_follow_under_the_first():
    head = ["layer", *(f"number {i}" for i in range(12))]
    text = table(head, [["conv", *["+0.12345 ± 0.123"] * 12]], "-" + "r" * 12)
    assert is_short(text)
    assert text.count("conv") == 3
    assert text.count("0.12345") == 12


def test_a_text_is_broken_behind_the_marks_of_paths():
    assert folded("stage1/block2/conv", 12) == ["stage1/", "block2/conv"]
    assert clipped("a" * 30, 9) == "aaa...aaa"


def test_a_table_knows_its_html():
    assert table(("a<b",), [("&",)])._repr_html_() == (
        "<table><thead><tr><th>a&lt;b</th></tr></thead><tbody><tr><td>&amp;</td></tr></tbody>"
        "</table>"
    )


def test_show_is_plain_where_nobody_watches_and_rich_in_a_terminal(capsys, monkeypatch):
    rows = table(("name", "n"), [("[bold]", "1")], right="-r")
    show("heading", rows)
    assert capsys.readouterr().out == f"heading\n{rows}\n"
    wide = table(("name", "n"), [("long " * 30, "1")])
    monkeypatch.setenv("COLUMNS", "200")
    show(wide)
    assert "long " * 29 in capsys.readouterr().out
    assert "long " * 29 not in wide
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    show("heading", rows)
    out = capsys.readouterr().out
    assert "\x1b[1m" in out or "name" in out
    assert "[bold]" in out
