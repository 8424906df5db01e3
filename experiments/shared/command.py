"""The parser of a command, whose ``--help`` tells the docstring of its module, with examples."""

import argparse


def parser_of(doc: str | None, module: str) -> argparse.ArgumentParser:
    """A parser that refuses shortened options.

    Args:
      doc: docstring of the module, with an example of a call.
      module: its name, as after ``python -m``.
    """
    return argparse.ArgumentParser(
        allow_abbrev=False,
        prog=f"python -m {module}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
