"""The doctor names the fault of sick networks, and calls no sound one sick."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sick_networks import C4, D4, O3, O3V, SICK, SO3, V3, conv, images, normal
from sound_networks import SOUND

from softeq_jax import measures, reps
from softeq_jax.measures.diagnosis import KINDS

K = np.ones((3, 3, 2, 2), np.float32)


def examined(case):
    return measures.doctor(case.f, case.x, case.group, input=case.input, output=case.output)


@pytest.mark.slow(30)
@pytest.mark.parametrize("name", SICK)
def test_the_fault_is_named(name):
    case = SICK[name]
    found = examined(case)
    assert not found.equivariant
    assert found.findings[0].kind == case.kind
    if case.layer is not None:
        assert found.findings[0].layer == case.layer
    assert found.findings[0].size > found.tolerance / 10
    assert found.passes <= 30


@pytest.mark.slow(30)
@pytest.mark.parametrize("name", SOUND)
def test_no_sound_network_is_called_broken(name):
    found = examined(SOUND[name])
    assert found.equivariant, found
    assert {finding.kind for finding in found.findings} <= {"interpolation"}


def test_the_libraries_are_large_enough():
    assert len(SICK) >= 40
    assert len(SOUND) >= 60
    assert {case.kind for case in SICK.values()} == set(KINDS)


def test_text_html_and_json():
    found = measures.doctor(lambda x: x[:, ::2, ::2], images(8), "c4")
    assert max(map(len, str(found).splitlines())) < 100
    assert str(found) == repr(found)
    assert found._repr_html_().count("<table>") == 2
    told = json.loads(found.json())
    assert told["findings"][0]["kind"] == "position"
    assert told["equivariant"] is False
    assert [entry["error"] for entry in told["errors"]] == [error for _, error in found.errors]


def test_sizes_that_work_are_suggested_and_do():
    found = measures.doctor(lambda x: x[:, ::2, ::2], images(8), "c4")
    assert "7 x 7, 9 x 9" in found.findings[0].remedy
    assert measures.doctor(lambda x: x[:, ::2, ::2], images(9), "c4").equivariant


def test_findings_come_by_size():
    def f(x):
        y = x - x.mean(0) * 1e-2
        return conv(y, np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1) * K)

    found = measures.doctor(f, images(), "c4")
    assert [finding.kind for finding in found.findings] == ["model", "state"]
    assert found.findings[0].size >= found.findings[1].size


def test_few_passes_are_counted_as_they_are():
    calls = []

    def f(x):
        calls.append(0)
        return conv(x, K)[:, ::2, ::2]

    found = measures.doctor(f, images(8), D4)
    assert len(calls) <= 30
    assert found.passes <= 30


def test_what_every_function_passes_is_refused():
    with pytest.raises(ValueError, match="nothing acts on an input"):
        measures.doctor(lambda x: x, normal(3, 5), SO3, input=reps.trivial(SO3, 5))


def test_a_trivial_reading_of_the_input_is_never_proposed():
    w = normal(3, 3)
    found = measures.doctor(lambda x: jnp.tanh(x @ w), normal(4, 3), SO3, input=V3, output=V3)
    assert [finding.kind for finding in found.findings] == ["model"]


def test_bad_input_says_what_is_missing():
    x = images()
    with pytest.raises(TypeError, match="floating point"):
        measures.doctor(lambda x: x, np.zeros((2, 9, 9, 2), np.uint8), "c4")
    with pytest.raises(ValueError, match="one example only"):
        measures.doctor(lambda x: x, x[:1], "c4")
    with pytest.raises(ValueError, match="group is missing"):
        measures.doctor(lambda x: x, x)
    with pytest.raises(ValueError, match=r"acts on \(3,\)|have lengths"):
        measures.doctor(lambda x: x, normal(3, 5), SO3, input=V3)
    with pytest.raises(ValueError, match="do not map a 6 x 9 grid to itself"):
        measures.doctor(lambda x: x, normal(3, 6, 9, 2), "c4")
    with pytest.raises(ValueError, match="does not act on the pixels"):
        measures.doctor(lambda x: x, x, SO3, input="image")
    with pytest.raises(ValueError, match="changes the shape"):
        measures.doctor(lambda y: y if y[0, 0, 0, 0] == x[0, 0, 0, 0] else y[:, :5], x, C4)
    with pytest.raises(ValueError, match="changes the shape"):
        measures.doctor(lambda y: y[:, :5] if y[0, 0, 0, 0] == x[0, 0, 0, 0] else y, x, C4)
    with pytest.raises(ValueError, match="per example"):
        measures.doctor(lambda x: x.sum(0), x, "c4")
    with pytest.raises(TypeError, match="one array"):
        measures.doctor(lambda x: (x, x), x, "c4")


def test_a_mask_is_found_where_it_breaks_nothing():
    def f(x):
        kept = jax.random.bernoulli(jax.random.key(0), 0.5, (len(x), 2))
        return x.mean((1, 2)) * kept

    found = measures.doctor(f, images(), "c4")
    assert [finding.kind for finding in found.findings] == ["state"]
    assert not found.equivariant


def test_three_invariants_that_nobody_declared_are_no_vector():
    def f(x):
        return jnp.stack([(x**2).sum((1, 2))] * 3, -1)

    assert measures.doctor(f, normal(3, 4, 3), SO3).equivariant
    assert not measures.doctor(f, normal(3, 4, 3), SO3, output=V3).equivariant


def test_float64_inputs_are_those_that_jax_computes_with():
    x = np.random.default_rng(0).normal(size=(3, 9, 9, 2))
    assert measures.doctor(lambda x: conv(x, K), x, D4).equivariant


def test_zero_is_equivariant_though_it_is_rounded():
    def f(x):
        return (x[:, :, None] * 1.1 - x[:, None] * 1.1).sum((1, 2))

    assert measures.doctor(f, normal(3, 5, 3), SO3).equivariant


def test_a_function_that_cannot_be_traced_is_examined_from_outside():
    def f(x):
        return jnp.asarray(np.sort(np.asarray(x), -1))

    found = measures.doctor(f, normal(4, 3), SO3, input=V3, output=V3)
    assert [(finding.kind, finding.layer) for finding in found.findings] == [("model", None)]


class TestAssertion:
    def test_a_sound_function_passes(self):
        measures.assert_equivariant(
            lambda x: x * (x**2).sum(-1, keepdims=True), V3, V3, normal(4, 3)
        )
        pixels = reps.image(C4, (9, 9))
        measures.assert_equivariant(lambda x: x**2, pixels, pixels, images(), key=1)

    def test_the_failure_is_the_diagnosis(self):
        with pytest.raises(AssertionError, match="model at") as caught:
            measures.assert_equivariant(SICK["a ReLU on components"].f, V3, V3, normal(3, 4, 3))
        assert "what to do" in str(caught.value)

    def test_random_elements_find_what_generators_do_not(self):
        """Equivariant under the elements that a doctor tries, at these inputs, and no others."""
        x = normal(2, 3)
        seen: list[np.ndarray] = []

        def f(y):
            seen.append(np.asarray(y))
            return y if len(seen) < 9 else 2 * y  # state that shows late

        with pytest.raises(AssertionError, match=r"random element|the generators pass"):
            measures.assert_equivariant(f, V3, V3, x, n=8)

    def test_the_tolerance_is_the_users(self):
        def f(x):
            return x + 1e-3

        x = normal(3, 3)
        measures.assert_equivariant(f, O3V, O3V, x, tolerance=0.1)
        with pytest.raises(AssertionError, match="tolerance 1e-05"):
            measures.assert_equivariant(f, O3V, O3V, x, tolerance=1e-5)
        with pytest.raises(ValueError, match="tolerance"):
            measures.assert_equivariant(f, O3V, O3V, x, tolerance=-1.0)

    def test_a_group_is_that_of_the_representations(self):
        with pytest.raises(ValueError, match="group is missing"):
            measures.assert_equivariant(lambda x: x, "vector", "vector", normal(3, 3))
        assert O3.d == 3
