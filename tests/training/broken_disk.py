"""A disk that is full: what Orbax writes in the background fails when it is waited for."""

import orbax.checkpoint as ocp


def break_disk(patch) -> None:
    """From here on saves fail in the background, after everything was handed over."""
    write = ocp.StandardCheckpointHandler.async_save

    class Full:
        def __init__(self, futures):
            self._futures = futures or []

        def result(self, timeout=None):
            for future in self._futures:
                future.result(timeout)
            raise OSError(28, "No space left on device")

    async def failing(self, directory, *args, **kwargs):
        return [Full(await write(self, directory, *args, **kwargs))]

    patch.setattr(ocp.StandardCheckpointHandler, "async_save", failing)
