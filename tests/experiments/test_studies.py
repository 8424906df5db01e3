"""The frame of studies: its command, kept runs, half-finished pages, verdicts from the CSV."""

import csv
import dataclasses
import json
import math
import pathlib

import numpy as np
import pytest

from experiments import run as command
from experiments.shared import bar, overview, page, results, runs, scatter, studies
from experiments.shared.claims import Better, Claim
from experiments.shared.studies import Metric, Need, Preset, Record, Study

FOLDER = studies.FOLDER


def _toy_run(one):
    (one.workdir / "begun").touch()
    if one.settings["fails"]:
        raise RuntimeError("no such luck")
    rng = np.random.default_rng([one.seed, len(one.row)])
    error = one.settings["level"] * math.exp(0.01 * rng.standard_normal())
    return Record({"error": error, "defect": error / 7}, {"curve": [{"step": 1, "x": error}]})


TOY = Study(
    name="toy",
    title="A toy",
    claims=(Claim("The low row is better", "low", "high", (Better("error"),)),),
    presets={
        "tiny": Preset(
            {"size": 3, "fails": False}, 4, {"rows": {"high": 2.0, "low": 1.0, "mid": 1.5}}
        ),
        "paper": Preset(
            {"size": 9}, 5, {"rows": {"high": 2.0}}, needs=(Need("tfds/toy", "buy it"),)
        ),
    },
    rows=lambda s: {row: {"level": level} for row, level in s["rows"].items()},
    run=_toy_run,
    metrics=(Metric("error", "error", log=True), Metric("defect", "defect", log=True)),
    defect="defect",
    floors=lambda s: {"nothing": {}},
    floor=lambda one: {"error": 10.0 + one.seed, "defect": 0.0},
    step_cost=lambda one: (
        None if one.row == "mid" else studies.StepCost(2.0, 24.5, 30_000, {"LEE, forwards": 12.5})
    ),
)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """``toy("--flag", ...)`` is the command with a toy study; its work directory is beside."""
    monkeypatch.setattr(studies, "names", lambda: ["toy"])
    monkeypatch.setattr(studies, "find", lambda name: TOY)
    monkeypatch.setattr(overview, "find", lambda name: TOY)
    monkeypatch.setattr(overview, "names", lambda: ["toy"])
    monkeypatch.delenv("SOFTEQ_DATA_DIR", raising=False)
    workdir = tmp_path / "work"

    def run(*arguments, preset="tiny"):
        return command.main(["toy", "--preset", preset, "--workdir", str(workdir), *arguments])

    return run, workdir


def _lines(workdir, name="tiny.csv"):
    with (workdir / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_study_ends_with_a_line_a_run_and_a_page(toy, capsys):
    run, workdir = toy
    assert run() == 0
    lines = _lines(workdir)
    names = ("high", "low", "mid", "nothing")
    assert [(x["row"], int(x["seed"])) for x in lines] == [(r, s) for r in names for s in range(4)]
    assert list(lines[0]) == ["row", "seed", "error", "defect"]
    assert len(_lines(workdir, "tiny_curve.csv")) == 12
    text = (workdir / "tiny.md").read_text()
    assert text.splitlines()[2] == "![The low row is better: holds](tiny.png)"
    assert "16 of 16 runs are there." in text
    assert "| nothing (floor) | 4 |" in text
    assert (workdir / "tiny.png").stat().st_size > 10_000
    assert "seed 3" in capsys.readouterr().err
    assert not any((workdir / "runs").glob("*/*/")), "work directories of runs go when they end"


def test_finished_runs_are_not_done_again_and_others_are_added(toy, monkeypatch):
    run, workdir = toy
    assert run("--only", "low", "--only", "hi*", "--seeds", "2") == 0
    first = {path: path.stat().st_mtime_ns for path in (workdir / "runs").glob("*/*.json")}
    assert len(first) == 4
    text = (workdir / "tiny.md").read_text()
    assert "(4 of 16 runs)" in text
    assert "high: 2 of 4 seeds, low: 2 of 4 seeds, mid: 0 of 4 seeds" in text
    assert run() == 0
    assert len(_lines(workdir)) == 16
    assert {path: path.stat().st_mtime_ns for path in first} == first


def test_the_same_runs_give_the_same_table_to_the_bit(toy, tmp_path):
    run, workdir = toy
    assert run("--only", "mid") == 0
    assert run() == 0
    again = tmp_path / "again"
    assert command.main(["toy", "--preset", "tiny", "--workdir", str(again)]) == 0
    for name in ("tiny.csv", "tiny_curve.csv", "tiny.md"):
        left, right = ((folder / name).read_text() for folder in (workdir, again))
        if name == "tiny.md":  # seconds differ
            left, right = (t.partition("## Table")[2] for t in (left, right))
        assert left == right


def test_a_run_of_other_settings_is_refused_with_the_difference(toy, monkeypatch, capsys):
    run, _ = toy
    assert run("--only", "low") == 0
    monkeypatch.setitem(TOY.presets["tiny"].settings, "size", 4)
    assert run("--only", "low") == 2
    assert "settings.size: 3, now 4" in capsys.readouterr().err
    assert run("--report") == 2
    monkeypatch.setitem(TOY.presets["tiny"].settings, "size", 3)
    monkeypatch.setitem(TOY.presets["tiny"].grid["rows"], "more", 3.0)
    assert run() == 0, "further rows change no other"


def test_a_workdir_of_another_study_is_refused(toy, capsys):
    run, workdir = toy
    workdir.mkdir()
    (workdir / "thesis.tex").touch()
    assert run() == 2
    assert "not empty and not the work directory of a study" in capsys.readouterr().err
    (workdir / "thesis.tex").unlink()
    assert run("--only", "low") == 0
    (workdir / "study.json").write_text('{"study": "rings", "preset": "small"}')
    assert run() == 2
    assert "work directory of 'rings', preset 'small'" in capsys.readouterr().err
    assert run("--report") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["toy", "--preset", "tinny"], "unknown preset 'tinny' of toy; did you mean 'tiny'?"),
        (["toy", "--preset", "tiny", "--only", "hihg"], "did you mean 'high'?"),
        (["toy", "--preset", "tiny", "--seeds", "0"], "--seeds must be at least 1"),
        (["toy", "--preset", "paper"], "no data folder is given (--data_dir"),
        (
            ["toy", "--preset", "paper", "--data_dir", "nowhere"],
            "nowhere/tfds/toy is not there; buy it",
        ),
        (["toy", "--preset", "tiny", "--report"], "no run of toy is finished"),
        ([], "name a study: toy"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(toy, arguments, said, tmp_path, capsys):
    flags = ["--workdir", str(tmp_path / "w")] if arguments else []
    assert command.main([*arguments, *flags]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "w").exists()


def test_an_unknown_study_is_suggested(capsys):
    assert command.main(["ring"]) == 2
    assert "did you mean 'rings'?" in capsys.readouterr().err


def test_help_shows_every_flag(capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    said = capsys.readouterr().out
    for flag in ("list", "preset", "seeds", "only", "workdir", "results", "data_dir", "jobs"):
        assert f"--{flag}" in said
    assert "SOFTEQ_DATA_DIR" in said


def test_a_failing_run_is_told_and_the_others_go_on(toy, monkeypatch, capsys):
    run, workdir = toy
    rows = lambda s: {"high": {"level": 2.0, "fails": True}, "low": {"level": 1.0}}  # noqa: E731
    broken = dataclasses.replace(TOY, rows=rows)
    monkeypatch.setattr(studies, "find", lambda name: broken)
    assert run("--seeds", "1") == 1
    error = capsys.readouterr().err
    assert "high, seed 0: RuntimeError: no such luck" in error
    assert "_toy_run" in (workdir / "runs" / "high" / "0" / "error.txt").read_text()
    assert [x["row"] for x in _lines(workdir)] == ["low", "nothing"]
    assert "cannot tell (2 of 12 runs)" in (workdir / "tiny.md").read_text()


def test_a_run_is_done_by_one_process_at_a_time(toy):
    _, workdir = toy
    chosen = runs.Chosen(TOY, "tiny", workdir)
    one, other = chosen.listed()[:2]
    with one.claimed() as mine:
        assert mine
        with one.claimed() as again, other.claimed() as free:
            assert (again, free) == (False, True)
        assert runs.in_turn(chosen, [one]) == []
        assert not one.kept(), "another process has it"
    assert runs.in_turn(chosen, [one]) == []
    assert one.kept()


def test_verdict_page_and_figure_are_computed_from_the_table(toy):
    run, workdir = toy
    assert run() == 0
    path, text = workdir / "tiny.csv", (workdir / "tiny.csv").read_text()
    picture = (workdir / "tiny.png").read_bytes()
    (workdir / "runs").rename(workdir.parent / "elsewhere")
    swapped = text.replace("low,", "X,").replace("high,", "low,").replace("X,", "high,")
    path.write_text(swapped)
    assert run("--report") == 0
    page_text = (workdir / "tiny.md").read_text()
    assert "The low row is better: does not hold" in page_text
    assert (workdir / "tiny.png").read_bytes() != picture
    path.write_text("\n".join(text.splitlines()[:4]) + "\n")
    assert run("--report") == 0
    assert "cannot tell (3 of 16 runs)" in (workdir / "tiny.md").read_text()


def test_a_table_with_more_runs_is_not_overwritten(toy, tmp_path, capsys):
    run, _ = toy
    assert run("--results", str(tmp_path / "out")) == 0
    other = ["toy", "--preset", "tiny", "--workdir", str(tmp_path / "other")]
    assert command.main([*other, "--only", "low", "--results", str(tmp_path / "out")]) == 2
    assert "has 12 runs that" in capsys.readouterr().err
    assert len(_lines(tmp_path / "out")) == 16


def test_a_row_of_another_study_in_a_table_is_told(toy, capsys):
    run, workdir = toy
    assert run() == 0
    (workdir / "runs").rename(workdir.parent / "elsewhere")
    (workdir / "tiny.csv").write_text("row,seed,error\nstrange,0,1.0\n")
    assert run("--report") == 2
    assert "has a row 'strange'" in capsys.readouterr().err
    (workdir / "tiny.csv").write_text("row,seed,error\n")
    assert run("--report") == 2


def test_a_spoiled_record_is_named(toy, capsys):
    run, workdir = toy
    assert run("--only", "low") == 0
    (workdir / "runs" / "low" / "0.json").write_text("{")
    assert run("--only", "low") == 2
    assert "0.json is no record of a run" in capsys.readouterr().err


def test_names_that_are_one_folder_are_refused(toy):
    rows = lambda s: {"a b": {}, "a_b": {}}  # noqa: E731
    with pytest.raises(studies.StudyError, match="'a b' and 'a_b' of toy cannot be told apart"):
        runs.all_rows(dataclasses.replace(TOY, rows=rows), TOY.presets["tiny"])


def test_rows_have_the_seeds_that_they_are_promised(toy, capsys):
    run, _ = toy
    size = dataclasses.replace(TOY.presets["tiny"], more_seeds={"l*": 8})
    more = dataclasses.replace(TOY, presets={"tiny": size})
    promised = runs.Chosen(more, "tiny", pathlib.Path()).promised()
    assert promised == {"high": 4, "low": 8, "mid": 4, "nothing": 4}
    assert run("--rows") == 0
    assert "high" in capsys.readouterr().out


def test_more_seeds_than_promised_stand_for_no_missing_run(toy):
    run, workdir = toy
    assert run("--only", "low", "--seeds", "20") == 0
    text = (workdir / "tiny.md").read_text()
    assert "cannot tell (4 of 16 runs)" in text
    assert "4 of 16 runs are there, and 16 more; high: 0 of 4 seeds" in text


def test_the_time_left_is_that_of_the_rows_that_are_missing(toy):
    _, workdir = toy
    listed = runs.Chosen(TOY, "tiny", workdir, seeds=2, only=("high", "low", "mid")).listed()
    assert bar.left(listed) == (0, None)
    for one, seconds in zip((listed[0], listed[1], listed[2]), (10.0, 20.0, 60.0), strict=True):
        one.path.parent.mkdir(parents=True, exist_ok=True)
        one.path.write_text(json.dumps({"seconds": seconds}))
    # One of "low", 60 s, and two of "mid", of which nothing is known: 30 s each.
    assert bar.left(listed) == (3, 120.0)
    assert (bar.said(120.0), bar.said(30.0), bar.said(None)) == (
        "about 2 min left",
        "about 30 s left",
        "",
    )


def test_digests_of_data_see_names_sizes_and_beginnings(tmp_path):
    found = set()
    for name, text in (("a", "one"), ("b", "one"), ("b", "two"), ("b", "one!")):
        folder = tmp_path / str(len(found))
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / name).write_text(text)
        found.add(runs.data_digest(folder))
    assert len(found) == 4


def test_times_of_a_step_sum_up_to_those_of_all_runs(toy, capsys):
    run, workdir = toy
    assert run("--time") == 0
    assert "about 8 minutes" in capsys.readouterr().out  # 2 rows, 4 seeds, one minute each
    assert [x["minutes"] for x in _lines(workdir, "tiny_times.csv")] == ["4.0"] * 2
    assert run("--only", "low") == 0
    text = (workdir / "tiny.md").read_text()
    assert "| row | ms a step | MiB a step | steps | LEE, forwards |" in text
    assert "| low | 2 | 24.5 | 30000 | 12.5 |" in text


def test_a_page_takes_notes_written_by_hand_at_its_end(toy):
    run, workdir = toy
    assert run("--only", "low") == 0
    (workdir / "tiny_notes.md").write_text("## Seen\n\nIt is low.\n")
    assert run("--report") == 0
    assert (workdir / "tiny.md").read_text().endswith("## Seen\n\nIt is low.\n")


COMMITTED = [
    (name, path.stem)
    for name in studies.names()
    for path in sorted((FOLDER / name / "results").glob("*.csv"))
    if path.stem in studies.find(name).presets
]


@pytest.mark.parametrize(("name", "preset"), COMMITTED)
def test_committed_pages_are_what_their_tables_say(name, preset):
    folder = FOLDER / name / "results"
    chosen = runs.Chosen(studies.find(name), preset, pathlib.Path())
    made = page.markdown(chosen, results.read(chosen, folder), folder)
    assert (folder / f"{preset}.md").read_text() == made, f"--report --results {folder}"


@pytest.mark.slow(8)
@pytest.mark.parametrize(("name", "preset"), COMMITTED)
def test_a_half_finished_study_has_its_page_and_figure(name, preset, tmp_path):
    chosen = runs.Chosen(studies.find(name), preset, pathlib.Path())
    whole = results.read(chosen, FOLDER / name / "results")
    settings = {row: own for row, (own, _) in runs.all_rows(chosen.study, chosen.size).items()}
    rng = np.random.default_rng(0)
    for count in (1, 2, len(whole.lines) // 2):
        kept = {
            (whole.lines[i]["row"], whole.lines[i]["seed"])
            for i in rng.permutation(len(whole.lines))[:count]
        }
        lines = [x for x in whole.lines if (x["row"], x["seed"]) in kept]
        bare = [
            {k: v for k, v in x.items() if k != "floor" and k not in settings[x["row"]]}
            for x in lines
        ]
        tables = {
            table: [x for x in those if "seed" not in x or (x["row"], x["seed"]) in kept]
            for table, those in whole.tables.items()
        }
        folder = tmp_path / str(count)
        results.write(chosen, results.Results(bare, {k: v for k, v in tables.items() if v}), folder)
        said = page.remake(chosen, folder)
        assert (folder / f"{preset}.png").exists()
        promised = sum(chosen.promised().values())
        assert f"{count} of {promised} runs are there" in (folder / f"{preset}.md").read_text()
        if chosen.study.claims:
            assert f"({count} of {promised} runs)" in said


def test_the_table_of_claims_is_up_to_date():
    text = (FOLDER / "README.md").read_text()
    assert overview.with_index(text) == text, "python -m experiments.run --index"
    with pytest.raises(studies.StudyError, match="has no lines"):
        overview.with_index("nothing")


def test_every_study_has_a_tiny_size_and_names_its_claims_rows():
    assert {"rings", "nbody", "soften", "measure"} <= set(studies.names())
    for name in studies.names():
        study = studies.find(name)
        assert study.name == name
        assert not study.presets["tiny"].needs
        json.dumps([[dict(p.settings), dict(p.grid)] for p in study.presets.values()])
        assert study.metrics[0].key
        for claim in study.claims:
            assert claim.row != claim.reference
    assert "rings" in overview.listing()


def test_the_figure_shows_the_condition_of_the_first_claim(tmp_path, monkeypatch):
    """Rows and floors of other noises have other scales: they stand in tables of their own."""
    study = studies.find("tensors")
    chosen = runs.Chosen(study, "small", tmp_path)
    rows = [("free at 0", 0.0), ("free at 0.5", 0.5), ("strict at 0.5", 0.5), ("mean at 0", 0.0)]
    lines = [
        {"row": row, "seed": 0, "noise": noise, "relative_error": 0.1, "invariance": 0.1}
        | ({"floor": True} if row.startswith("mean") else {})
        for row, noise in rows
    ]
    shown = []
    monkeypatch.setattr(
        scatter,
        "finish",
        lambda figure, path, title: shown.append(
            ([line.get_label() for line in figure.axes[0].lines], figure.axes[0].texts)
        ),
    )
    scatter.scatter(chosen, lines, tmp_path / "x.png", "title")
    ((labels, texts),) = shown
    assert labels == ["_child0", "strict at 0.5", "1 other row, see the table"]
    assert not texts


def test_what_is_zero_to_rounding_stands_at_the_edge_of_a_logarithmic_axis():
    """Half a decade below the decade of the smallest other; nothing is moved without both kinds."""
    edge = scatter.exact_edge([0.0, 3e-10, 0.04, 0.9, float("nan")])
    assert edge == pytest.approx(10**-2.5)
    assert [scatter.at_edge(x, edge) for x in (0.0, 3e-10, 0.04)] == [edge, edge, 0.04]
    assert scatter.exact_edge([0.1, 0.2]) is None
    assert scatter.exact_edge([0.0, 1e-9]) is None
    assert scatter.at_edge(3e-10, None) == 3e-10
