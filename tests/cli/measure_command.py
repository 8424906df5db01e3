"""The command `measure` as tests call it: its text, its refusal, its tables."""

import command


def run(capsys, *argv):
    return command.run(capsys, "measure", *argv)


def refused(capsys, *argv):
    return command.refused(capsys, "measure", *argv)


def rows_after(text, word):
    """The table that starts with a word, as lists of cells."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.split()[:1] == [word])
    table = lines[first + 1 :]
    end = next((i for i, line in enumerate(table) if not line), len(table))
    return [line.split() for line in table[:end]]
