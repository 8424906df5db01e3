"""The endless shuffled sequence: permutations, positions, and generators of their own."""

import numpy as np
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax.data._assembly import Order, Position, Stream, generator, permutation

# Orders of size 10 of seed 0, epoch 0, and of seed 2**32 - 1, epoch 7.
FROZEN = [0, 2, 9, 1, 8, 5, 4, 3, 6, 7], [6, 7, 3, 8, 5, 2, 0, 1, 4, 9]

seeds = st.integers(0, 2**32 - 1)


@examples(fast=30)
@given(size=st.integers(1, 60), seed=seeds, epoch=st.integers(0, 10**6))
def test_every_epoch_is_a_permutation(size, seed, epoch):
    order = Order(size, seed)
    np.testing.assert_array_equal(np.sort(permutation(size, seed, epoch)), np.arange(size))
    np.testing.assert_array_equal(
        order.examples(epoch * size, (epoch + 1) * size), permutation(size, seed, epoch)
    )


@examples(fast=30)
@given(size=st.integers(1, 20), seed=seeds, start=st.integers(0, 100), length=st.integers(0, 70))
def test_any_stretch_is_part_of_the_whole(size, seed, start, length):
    order = Order(size, seed)
    stretch = order.examples(start, start + length)
    assert stretch.dtype == np.int64
    np.testing.assert_array_equal(stretch, order.examples(0, start + length)[start:])


def test_orders_differ_and_are_spread_evenly():
    orders = {tuple(permutation(8, seed, epoch)) for seed in range(20) for epoch in range(20)}
    assert len(orders) > 390
    first = np.array([permutation(8, 0, epoch)[0] for epoch in range(4000)])
    counts = np.bincount(first, minlength=8)
    assert np.abs(counts - 500).max() < 5 * np.sqrt(500)


def test_orders_stay_what_they_were():
    # Runs are resumed years later: what this order is may never change.
    np.testing.assert_array_equal(permutation(10, 0, 0), FROZEN[0])
    np.testing.assert_array_equal(permutation(10, 2**32 - 1, 7), FROZEN[1])


def test_kept_orders_cannot_be_spoiled():
    order = permutation(5, 1, 1)
    assert not order.flags.writeable


def test_generators_are_their_own():
    draws = {
        generator(stream, seed, number).integers(2**63)
        for stream in Stream
        for seed in (0, 1, 2**32 - 1)
        for number in (0, 1, 2**50)
    }
    assert len(draws) == len(Stream) * 9
    again = [generator(Stream.TRANSFORM, 3, 5).integers(2**63) for _ in range(2)]
    assert again[0] == again[1]


def test_position():
    order = Order(size=50, seed=3)
    assert order.position(0, 20) == Position(epoch=0, batch=0, seed=3)
    assert order.position(2, 20) == (0, 2, 3)
    assert order.position(3, 20) == (1, 3, 3)
