"""Rates, memory, traces, teed writers, and the curves of certificates and equivariance."""

import math
import mmap
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import softeq_jax as sq
from softeq_jax.training import watch

C4 = sq.groups.cyclic(4)


class Recorder(watch.Writer):
    """Keeps what it is given."""

    def __init__(self, fails=False):
        self.seen, self.closed, self.fails = [], 0, fails

    def write(self, step, values):
        self.seen.append((step, dict(values)))

    def close(self):
        self.closed += 1
        if self.fails:
            raise OSError("disk")


def test_a_tee_writes_and_closes_all(tmp_path):
    one, two = Recorder(), Recorder()
    with watch.Writers(one, watch.NullWriter(), two) as log:
        log.write(3, {"a": 1.0})
    assert one.seen == two.seen == [(3, {"a": 1.0})]
    assert (one.closed, two.closed) == (1, 1)
    first, last = Recorder(fails=True), Recorder(fails=True)
    with pytest.raises(OSError, match="disk"):
        watch.Writers(first, one, last).close()
    assert (first.closed, one.closed, last.closed) == (1, 2, 1)


def _clock(*seconds):
    return iter(seconds).__next__


def test_rates_leave_out_what_came_before_the_first_reading():
    rates = watch.Rates(examples_per_step=32, clock=_clock(100.0, 102.0, 102.0, 106.0))
    values, after = rates.read(10)  # the step that compiles took 100 s
    assert values == {}
    values, after = after.read(20)
    assert values == {"rate/steps_per_second": 5.0, "rate/examples_per_second": 160.0}
    values, after = after.read(21)  # no time has passed
    assert values == {}
    values, after = after.read(25)
    assert values == {"rate/steps_per_second": 1.0, "rate/examples_per_second": 32.0}
    assert rates.step is None


def test_rates_leave_out_pauses():
    rates = watch.Rates(1, clock=_clock(0.0, 1.0, 51.0, 52.0))
    _, rates = rates.read(0)
    values, rates = rates.read(10)
    assert values["rate/steps_per_second"] == 10.0
    values, rates = rates.read(10)  # after an evaluation of 50 s
    assert values == {}
    assert rates.read(30)[0]["rate/steps_per_second"] == 20.0


def test_bad_rates():
    with pytest.raises(ValueError, match="examples_per_step must be a positive integer, got 0"):
        watch.Rates(0)
    _, rates = watch.Rates(1).read(7)
    with pytest.raises(ValueError, match="step is 6, expected at least 7"):
        rates.read(6)


def test_memory_of_this_process():
    values = watch.device_memory()
    assert list(values) == ["memory/host_rss_bytes"]  # CPU devices report nothing
    before = values["memory/host_rss_bytes"]
    assert 2**24 < before < 2**40
    with mmap.mmap(-1, 2**26) as fresh:  # pages that no allocator has had before
        for _ in range(2**6):
            fresh.write(b"1" * 2**20)
        grown = watch.device_memory()["memory/host_rss_bytes"] - before
        assert 0.8 * len(fresh) < grown < 2 * len(fresh)


def test_memory_of_devices_that_report_it(monkeypatch):
    stats = {"bytes_in_use": 5, "peak_bytes_in_use": 7, "bytes_limit": 9, "num_allocs": 2}
    devices = [
        types.SimpleNamespace(memory_stats=lambda: stats),
        types.SimpleNamespace(memory_stats=lambda: {"bytes_in_use": 3}),
    ]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    values = watch.device_memory()
    values.pop("memory/host_rss_bytes")
    assert values == {
        "memory/device0_bytes": 5.0,
        "memory/device0_peak_bytes": 7.0,
        "memory/device0_limit_bytes": 9.0,
        "memory/device1_bytes": 3.0,
    }


def _traces(folder):
    return list(folder.rglob("*.xplane.pb"))


def test_a_trace_of_some_steps(tmp_path, monkeypatch):
    calls = []
    start, stop = jax.profiler.start_trace, jax.profiler.stop_trace
    step = 0
    monkeypatch.setattr(
        jax.profiler, "start_trace", lambda *a, **k: (calls.append(("start", step)), start(*a, **k))
    )
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: (calls.append(("stop", step)), stop()))
    f = jax.jit(lambda x: x * 2 + 1)
    with watch.Profiler(tmp_path / "trace", 2, 3) as profiler:
        for step in [0, 1, 2, 3, 4, 5, 2, 3]:
            profiler.at(step)
            f(jnp.ones(3)).block_until_ready()
    assert calls == [("start", 2), ("stop", 4)]
    assert len(_traces(tmp_path)) == 1


def test_a_trace_ends_with_the_run(tmp_path):
    profiler = watch.Profiler(tmp_path, 0, 100)

    def interrupted():
        with profiler:
            profiler.at(50)
            jnp.ones(3).block_until_ready()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(_traces(tmp_path)) == 1
    profiler.at(51)
    profiler.close()
    assert len(_traces(tmp_path)) == 1


def test_no_trace_outside_its_steps(tmp_path):
    with watch.Profiler(tmp_path, 3, 4) as profiler:
        for step in (0, 1, 2, 5, 6):
            profiler.at(step)
    assert not list(tmp_path.iterdir())
    for first, last in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match=f"first_step={first} and last_step={last}"):
            watch.Profiler(tmp_path, first, last)


class Net(nn.Module):
    """A convolution and a head."""

    @nn.compact
    def __call__(self, x):
        x = nn.gelu(nn.Conv(6, (3, 3), padding="CIRCULAR", name="conv")(x))
        return nn.Dense(3, name="head")(x.mean((1, 2)))


@pytest.fixture(scope="module")
def params():
    return jax.jit(Net().init)(jax.random.key(0), jnp.zeros((1, 8, 8, 2)))["params"]


@pytest.fixture(scope="module")
def images():
    return np.asarray(jax.random.normal(jax.random.key(1), (5, 8, 8, 2)))


def test_certificates_as_values(params):
    plan = sq.plan(params, {"conv/kernel": sq.convolution_rule(C4)})
    values = watch.certificate_values(plan, params, per_parameter=True)
    certificate = plan.certificate(params)
    kernel = np.asarray(params["conv"]["kernel"], np.float64)
    turns = [np.linalg.norm(np.rot90(kernel, k, (0, 1)) - kernel) for k in range(4)]
    assert values["certificate/bound"] == pytest.approx(max(turns), rel=1e-6)
    assert values["certificate/bound"] == certificate.bound
    assert values["certificate/relative_bound"] == certificate.relative
    assert values["certificate/relative_bound/conv/kernel"] == certificate.relative
    assert values["certificate/weight_norm"] == pytest.approx(np.linalg.norm(kernel), rel=1e-6)
    assert values["certificate/certified"] == 1.0
    assert values["certificate/rank_share"] == pytest.approx(3 / 9)  # orbits of a 3x3 grid
    assert all(type(value) is float for value in values.values())
    folded = watch.certificate_values(plan, plan.project(params))
    assert folded["certificate/relative_bound"] < 1e-6
    assert len(folded) == len(values) - 1
    assert watch.certificate_values(plan.at(softness=1.0), params)["certificate/rank_share"] == 1.0


def test_the_rank_share_counts_every_weight(params):
    soft = sq.convolution_rule(C4)
    plan = sq.plan(
        {"a": params["conv"]["kernel"], "b": jnp.ones((3, 3, 12, 5))},
        {"a": soft, "b": lambda path, w: soft(path, w).at(softness=1.0)},
    )
    weights = {"a": params["conv"]["kernel"], "b": jnp.ones((3, 3, 12, 5))}
    share = watch.certificate_values(plan, weights)["certificate/rank_share"]
    sizes = 3 * 3 * 2 * 6, 3 * 3 * 12 * 5
    assert share == pytest.approx((sizes[0] / 3 + sizes[1]) / sum(sizes))


def test_bad_certificates(params):
    plan = sq.plan(params, {"**": None})
    with pytest.raises(ValueError, match="filters no parameter"):
        watch.certificate_values(plan, params)
    plan = sq.plan(params, {"conv/kernel": sq.convolution_rule(C4)})
    broken = {**params, "conv": {**params["conv"], "kernel": params["conv"]["kernel"] * jnp.nan}}
    with pytest.raises(ValueError, match="conv/kernel"):
        watch.certificate_values(plan, broken)


def apply(params, x):
    return Net().apply({"params": params}, x)


@pytest.mark.slow
def test_equivariance_as_values(params, images):
    predict = Partial(apply, params)
    values = watch.equivariance_values(predict, images)
    errors = sq.measures.local_equivariance_error(
        predict, images, ["rotation", "translation_x", "translation_y"]
    )
    for name, error in errors.items():
        assert values[f"equivariance/lie_mean_sq/{name}"] == error.mean()
    y = np.asarray(apply(params, images), np.float64)
    moved = np.asarray(apply(params, np.rot90(images, axes=(1, 2))), np.float64)
    expected = np.linalg.norm(moved - y, axis=1).sum() / np.linalg.norm(y, axis=1).sum()
    turned = "equivariance/relative_error/quarter_turn_1"
    assert values[turned] == pytest.approx(expected, rel=1e-5)
    assert values[turned] > 1e-2
    assert len(values) == 4
    plan = sq.plan(params, {"conv/kernel": sq.convolution_rule(C4)})
    filtered = watch.equivariance_values(Partial(apply, plan.project(params)), images)
    assert filtered[turned] < 1e-5


@pytest.mark.slow
def test_other_generators_and_transforms(params, images):
    transforms = [sq.measures.quarter_turn(2), sq.measures.flip(), sq.measures.shift(1, -2)]
    values = watch.equivariance_values(
        Partial(apply, params),
        images,
        generators=["scale"],
        transforms=transforms,
        metric="relative",
        head="probabilities",
        batch_size=2,
    )
    assert list(values) == [
        "equivariance/lie_relative/scale",
        "equivariance/relative_error/quarter_turn_2",
        "equivariance/relative_error/flip_left-right",
        "equivariance/relative_error/shift_1_-2",
    ]
    assert all(math.isfinite(value) for value in values.values())
    only = watch.equivariance_values(Partial(apply, params), images, generators=())
    assert list(only) == ["equivariance/relative_error/quarter_turn_1"]
    only = watch.equivariance_values(
        Partial(apply, params), images, generators=["rotation"], transforms=()
    )
    assert list(only) == ["equivariance/lie_mean_sq/rotation"]


def test_bad_equivariance(params, images):
    predict = Partial(apply, params)
    with pytest.raises(ValueError, match="got neither"):
        watch.equivariance_values(predict, images, generators=(), transforms=())
    twice = [sq.measures.quarter_turn(1)] * 2
    with pytest.raises(ValueError, match="different names"):
        watch.equivariance_values(predict, images, generators=(), transforms=twice)
    with pytest.raises(TypeError, match="floating point"):
        watch.equivariance_values(predict, (images * 9).astype(np.int32))


@pytest.mark.slow
def test_other_parameters_compile_nothing(params, images):
    traced, compiled = [], []

    def counted(params, x):
        traced.append(x.shape)
        return apply(params, x)

    def listen(event, _seconds, **_):
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        first = watch.equivariance_values(Partial(counted, params), images)
        assert traced
        assert compiled
        traced.clear()
        compiled.clear()
        doubled = jax.tree.map(lambda w: 2 * w, params)
        compiled.clear()
        second = watch.equivariance_values(Partial(counted, doubled), images)
        assert not traced
        assert not compiled
        assert first.keys() == second.keys()
        assert all(first[name] != second[name] for name in first)
        watch.equivariance_values(lambda x: counted(params, x), images)
        assert traced  # so the counters would have seen it
        assert compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
