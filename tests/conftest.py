"""What all tests share: how JAX compiles here, the order of the files, where the real data is."""

import atexit
import collections
import gc
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import pytest


def _compile_once() -> None:
    """Compile quickly, and once for all processes: most of the time of the tests is compilation.

    Before JAX is imported. `make sweep` compiles as users do, with all optimizations. Who sets
    ``JAX_COMPILATION_CACHE_DIR`` keeps what is compiled from one run to the next.
    """
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="softeq-compiled-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.02")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


_compile_once()


def _seconds(item: pytest.Item) -> float:
    """About how long a test takes: the argument of its `slow` mark (2 without one), or 0.1."""
    mark = item.get_closest_marker("slow")
    return 0.1 if mark is None else mark.args[0] if mark.args else 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is left alone with one at the end."""
    total: dict[pathlib.Path, float] = collections.Counter()
    for item in items:
        total[item.path] += _seconds(item)
    items.sort(key=lambda item: -total[item.path])


def _required() -> bool:
    return os.environ.get("SOFTEQ_REQUIRE_DATA") == "1"


_MOST = 3 * 2**30  # bytes that compiled programs may hold from one file to the next


def _resident() -> int:
    """Bytes of memory that this process has now; 0 where the system does not say."""
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module", autouse=True)
def bounded_memory() -> Iterator[None]:
    """Forgets compiled programs when they fill too much memory: each file compiles its own."""
    yield
    if _resident() > _MOST:
        import jax

        jax.clear_caches()
        gc.collect()


@pytest.fixture
def optimized() -> Iterator[None]:
    """Compiles as users do: for results that hang on the last bit of two different programs."""
    import jax

    flag = "jax_disable_most_optimizations"
    before = jax.config.read(flag)
    jax.config.update(flag, False)
    yield
    jax.config.update(flag, before)


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """Folder of the real data (``SOFTEQ_DATA_DIR``); skips where a user has none."""
    folder = os.environ.get("SOFTEQ_DATA_DIR")
    if folder and pathlib.Path(folder).is_dir():
        return pathlib.Path(folder)
    message = f"SOFTEQ_DATA_DIR={folder!r} is not a folder"
    if _required():
        pytest.fail(f"{message}, and SOFTEQ_REQUIRE_DATA=1 asks for it")
    return pytest.skip(message)


@pytest.fixture(scope="session")
def golden_dir(data_dir: pathlib.Path) -> pathlib.Path:
    """Folder of the golden arrays, beside the data."""
    folder = data_dir.parent / "golden"
    if folder.is_dir():
        return folder
    if _required():
        pytest.fail(f"{folder} is missing, and SOFTEQ_REQUIRE_DATA=1 asks for it")
    return pytest.skip(f"{folder} is missing")
