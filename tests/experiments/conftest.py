"""What tests of studies share: the tiny preset of each, run once by its command."""

import dataclasses
import pathlib

import pytest


@dataclasses.dataclass(frozen=True)
class Tiny:
    """A tiny study that was run.

    Attributes:
      chosen: what was run.
      lines: one a run, with the settings of the row.
      tables: the other ones.
      workdir: with page, figure and CSV.
    """

    chosen: object
    lines: list
    tables: dict
    workdir: pathlib.Path

    def of(self, **values) -> list:
        """The lines with these values."""
        return [x for x in self.lines if all(x.get(k) == v for k, v in values.items())]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """``tiny(name)`` runs the tiny preset of a study, once."""
    from experiments import run
    from experiments.shared import results, runs, studies

    done = {}
    shared = str(tmp_path_factory.mktemp("shared"))

    def of(name: str) -> Tiny:
        if name not in done:
            workdir = tmp_path_factory.mktemp(name) / "work"
            where = ["--workdir", str(workdir), "--shared", shared]
            assert run.main([name, "--preset", "tiny", *where]) == 0
            chosen = runs.Chosen(studies.find(name), "tiny", workdir, shared=pathlib.Path(shared))
            found = results.read(chosen, workdir)
            done[name] = Tiny(chosen, found.lines, found.tables, workdir)
        return done[name]

    return of
