"""How many cases a test tries: few in every run, many under ``make sweep``.

`examples` gives a hypothesis test its count, `sizes` a parametrized test its sizes. Both read
``SOFTEQ_SWEEP``, and nothing else does::

    @given(st.integers(2, 8))
    @examples(fast=20, sweep=1000)
    def test_a_property(n): ...

    @pytest.mark.parametrize("k", sizes(fast=[2, 3, 4, 5, 7, 8, 14], sweep=range(2, 41)))
    def test_every_size(k): ...
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import settings

SWEEP = os.environ.get("SOFTEQ_SWEEP") == "1"
# The same examples in every run that must not skip; new ones on a developer's machine.
SAME = bool(os.environ.get("SOFTEQ_REQUIRE_DATA"))


def examples(fast: int, sweep: int | None = None, **more: Any) -> Callable:
    """Decorator of a hypothesis test: `fast` examples, or `sweep` (ten times as many).

    `more` are settings of hypothesis, say ``suppress_health_check=[...]``.
    """
    count = (10 * fast if sweep is None else sweep) if SWEEP else fast
    return settings(max_examples=count, deadline=None, derandomize=SAME, **more)


def sizes(fast: Iterable, sweep: Iterable) -> list:
    """Sizes of a parametrized test: those at which it can fail, or all of them."""
    return list(sweep if SWEEP else fast)
