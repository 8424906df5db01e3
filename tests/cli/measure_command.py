"""The command `measure` as tests call it: its text, its refusal, its tables."""

from softeq_jax.cli import main


def run(capsys, *argv):
    status = main(["measure", *(str(argument) for argument in argv)])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def refused(capsys, *argv):
    assert main(["measure", *(str(argument) for argument in argv)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("softeq: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def rows_after(text, word):
    """The table that starts with a word, as lists of cells."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.split()[:1] == [word])
    table = lines[first + 1 :]
    end = next((i for i, line in enumerate(table) if not line), len(table))
    return [line.split() for line in table[:end]]
