"""Schedules: shapes, the final stretch at exactly zero, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from softeq_jax import relaxation as rx

ALL = (rx.triangular, rx.linear, rx.cosine, rx.constant)


def values(schedule, steps):
    return np.asarray(schedule(jnp.arange(320)))[:steps]


@pytest.mark.slow
@given(
    make=st.sampled_from(ALL),
    steps=st.integers(2, 300),
    hold=st.floats(0.01, 0.9),
    theta=st.floats(0, 1),
)
@examples(fast=60)
def test_in_range_and_zero_at_the_end(make, steps, hold, theta):
    if steps * (1 - hold) < 2:
        return
    schedule = make(steps, hold, theta)
    found = values(schedule, steps + 5)
    assert found.min() >= 0
    assert found.max() <= np.float32(theta)
    held = found[:steps][schedule.active :]
    assert hold * steps - 1e-6 <= len(held) <= hold * steps + 1
    assert len(held) >= 1
    assert np.all(found[schedule.active :] == 0)


def test_a_triangle_that_never_rises_is_refused():
    for steps, hold in ((1, 0.0), (2, 0.1), (3, 0.5)):
        with pytest.raises(ValueError, match="0 throughout"):
            rx.triangular(steps, hold)
        assert float(rx.linear(steps, hold)(0)) == 1.0
    assert float(rx.triangular(2, 0.0)(1)) == 1.0


def test_shapes():
    np.testing.assert_allclose(
        values(rx.triangular(10, 0.2, 0.8), 10),
        [0, 0.2, 0.4, 0.6, 0.8, 0.6, 0.4, 0.2, 0, 0],
        atol=1e-6,
    )
    np.testing.assert_allclose(values(rx.linear(5, 0.2), 5), [1, 0.75, 0.5, 0.25, 0], atol=1e-6)
    cosine = 0.5 + 0.5 * np.cos(np.pi * np.arange(8) / 8)
    np.testing.assert_allclose(values(rx.cosine(10, 0.2), 10), [*cosine, 0, 0], atol=1e-6)
    np.testing.assert_allclose(values(rx.constant(4, 0.25, 0.1), 4), [0.1] * 3 + [0])
    assert np.all(values(rx.constant(4, 0.0, 0.1), 9) == np.float32(0.1))
    # Without a final stretch the last step is still relaxed: the published schedule.
    np.testing.assert_allclose(values(rx.triangular(10, 0.0), 10)[-1], 0.2, atol=1e-6)


@pytest.mark.parametrize("make", ALL)
def test_traced_and_concrete_steps_agree(make):
    schedule = make(30)
    for step in (0, 7, np.int32(15), jnp.int32(27), 29, 30):
        expected = jax.jit(schedule)(step)
        np.testing.assert_allclose(schedule(step), expected, atol=1e-6)
        assert schedule(step).dtype == jnp.float32
    assert schedule.active == 27
    assert make(30) == schedule
    assert hash(make(30)) == hash(schedule)


@pytest.mark.parametrize("make", ALL)
def test_fields_out_of_range(make):
    for theta in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"theta must be in \[0, 1\], got"):
            make(10, theta=theta)
    for hold in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=r"hold must be in \[0, 1\), got"):
            make(10, hold)
    for steps in (0, -3, 1.5):
        with pytest.raises(ValueError, match="steps must be a positive integer, got"):
            make(steps)
    with pytest.raises(ValueError, match=r"hold=0.9 leaves none of the 1 steps"):
        make(1, 0.9)
    with pytest.raises(ValueError, match="step must be >= 0, got -1"):
        make(10)(-1)
    with pytest.raises(ValueError, match="shape must be one of"):
        rx.Schedule("sawtooth", 10)


def test_a_schedule_fits_its_run():
    schedule = rx.linear(100)
    assert rx.check_schedule(schedule, 100) is schedule
    assert rx.check_schedule(schedule, 500) is schedule
    for refuse in (
        lambda: rx.check_schedule(schedule, 99),
        lambda: rx.scheduled(schedule, 99),
        lambda: rx.weights(schedule, 99),
    ):
        with pytest.raises(ValueError, match="schedule.steps is 100, longer than the run of .*99"):
            refuse()
    assert rx.check_schedule(lambda step: 0.5, 10)(3) == 0.5
    with pytest.raises(ValueError, match=r"theta = schedule\(9\) must be in \[0, 1\], got 1.8"):
        rx.check_schedule(lambda step: 0.2 * step if step == 9 else 0.0, 10)
    with pytest.raises(ValueError, match=r"schedule\(0\) must be a scalar"):
        rx.check_schedule(lambda step: np.zeros(2), 10)
    with pytest.raises(TypeError, match="schedule must be a function"):
        rx.check_schedule(0.5, 10)
