"""Subgroups, closed testing among them, and the test by swaps."""

import numpy as np
import pytest

from softeq_jax import groups
from softeq_jax.measures.symmetry._pairs import swap_test
from softeq_jax.measures.symmetry._subgroups import family


def families(name, given=None):
    return family(groups.from_name(name), given, np.random.default_rng(0))


@pytest.mark.parametrize(("name", "count"), [("d4", 8), ("c4", 1), ("c12", 4), ("octahedral", 28)])
def test_all_subgroups_are_found(name, count):
    found = families(name)
    assert len(found.members) == 1 + count
    assert found.closed
    for member in found.members:
        assert len(member.elements) == (member.order or 0) - 1
        assert member <= found.members[0]


def test_families_of_infinite_groups_are_ordered():
    found = families("o2")
    inside = {m.name: {n.name for n in found.members if n <= m} for m in found.members}
    assert inside["SO(2)"] == {"SO(2)", "C8", "C4", "C2"}
    assert inside["D2"] == {"D2", "D1", "C2"}
    assert [m.name for m in families("o3").members][-1] == "SO(2) about the last axis"


def test_a_group_is_rejected_with_those_below_and_no_other_way_round():
    found = families("o2")
    p = np.random.default_rng(1).uniform(size=len(found.members))
    adjusted = found.adjusted(p)
    for a, low in zip(found.members, adjusted, strict=True):
        for b, high in zip(found.members, adjusted, strict=True):
            assert not a <= b or low >= high
    assert np.all(adjusted >= p)


def test_without_joins_p_values_are_those_of_holm():
    up_down = groups.from_generators("up-down", discrete=np.diag([1.0, -1.0])[None])
    found = families("d4", ["d1", up_down])
    assert not found.closed
    assert found.adjusted([0.01, 0.02, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert families("d4", ["d1", up_down, "d2"]).closed


def test_swaps_count_what_is_as_large():
    rng = np.random.default_rng(0)
    assert swap_test(np.ones(30), rng, 1999).p == 1 / 2000
    assert swap_test(-np.ones(30), rng, 1999).p == 1
    assert swap_test(np.zeros(30), rng, 1999).p == 1
    p = swap_test(np.array([3.0, 1.0]), rng, 9999).p  # of four signs one is as large
    assert p == pytest.approx(0.25, abs=0.02)
