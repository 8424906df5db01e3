"""A command as tests call it, in process: its text, and its refusal."""

from softeq_jax.cli import main


def run(capsys, *argv):
    """Standard output of a command that works."""
    status = main([str(argument) for argument in argv])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def refused(capsys, *argv):
    """The one line that a command with a mistake in it prints."""
    assert main([str(argument) for argument in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("softeq: error: ")
    assert captured.err.count("\n") == 1
    return captured.err
