"""Version of the library."""

import importlib.metadata


def version() -> str:
    """That of the installed package, or ``"unknown"`` where only the sources are there."""
    try:
        return importlib.metadata.version("softeq-jax")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
