"""Version of the library."""


def version() -> str:
    """That of the installed package, or ``"unknown"`` where only the sources are there."""
    import importlib.metadata  # takes as long as all else that the library imports at once

    try:
        return importlib.metadata.version("softeq-jax")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
