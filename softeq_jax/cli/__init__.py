"""The command line ``softeq``: published weights looked at, softened, measured, examined, tuned.

JAX, Flax and whatever else a command needs are imported when it runs, so that ``--help`` is quick.
Commands need the extra ``models``; ``measure`` and ``finetune`` also ``train`` (images, TFDS, the
trainer) and, for figures, ``figures``.
"""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from softeq_jax._version import version
from softeq_jax.cli import _doctor, _finetune, _inspect, _measure, _models, _soften

__all__ = ["main", "make_parser"]

_COMMANDS = (_models, _inspect, _soften, _measure, _doctor, _finetune)
_log = logging.getLogger(__name__)
_EXTRAS = {"PIL": "train", "tensorflow_datasets": "train", "matplotlib": "figures"}
_MISTAKE, _INTERRUPTED, _PIPE_CLOSED = 2, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
      argv: the arguments; None: those of the process.

    Returns:
      The exit status: 0, or 2 after a mistake of the caller (bad arguments, files, data or
      weights), which is told in one line on standard error. So is each warning.

    Raises:
      SystemExit: with 0, after ``--help`` or ``--version``.

    Example:
      >>> from softeq_jax import cli
      >>> cli.main(["models", "cifar_resnet20"])
      model ...
      cifar_resnet20 ...
      0
    """
    try:
        arguments = make_parser().parse_args(argv)
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader went away, as in `softeq models | head`
        _drop_output()
        return _PIPE_CLOSED
    except (ValueError, OSError, ImportError) as error:
        _log.debug("where the error comes from", exc_info=True)
        extra = _EXTRAS.get(error.name or "") if isinstance(error, ImportError) else None
        hint = f": pip install softeq-jax[{extra}]" if extra else ""
        where = "standard output: " if _drop_output() else ""
        print(f"softeq: error: {where}{' '.join(str(error).split())}{hint}", file=sys.stderr)
        return _MISTAKE
    except KeyboardInterrupt:
        print("softeq: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _warn(message: Warning | str, *where: Any) -> None:
    print(f"softeq: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _drop_output() -> bool:
    """Lets what cannot be written to standard output go, and says whether there was something.

    It would fail again at exit.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are exceptions, and that takes no shortened options."""

    def __init__(self, **options: Any):
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


class _Version(argparse.Action):
    """Looks the version up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> NoReturn:
        print(f"softeq {version()}")
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; its mistakes are ``ValueError``s.

    Example:
      >>> from softeq_jax import cli
      >>> cli.make_parser().prog
      'softeq'
    """
    parser = _Parser(
        prog="softeq",
        description="Soft equivariance of pretrained networks: what can be filtered, filter it, "
        "measure it.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="tell the version and exit")
    commands = parser.add_subparsers(title="commands", dest="command", required=True)
    for command in _COMMANDS:
        command.register(commands)
    return parser


def __dir__() -> list[str]:
    return sorted(__all__)
