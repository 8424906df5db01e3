"""A dial that does not do what it says: said once a projector, with what there is instead."""

import re
import warnings

import jax
import numpy as np
import pytest
from examples import examples
from hypothesis import assume, given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax.nn.equivariant import dense_rules

D4 = sq.groups.dihedral(4)
KERNEL = sq.projector("h w i o", {"h w": sq.reps.image(D4, (3, 3))})


def _w(seed=0):
    return np.random.default_rng(seed).normal(size=(3, 3, 4, 5)).astype(np.float32)


def _said(call):
    """The one warning of a call, None without."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    assert len(found) <= 1
    assert all(w.category is UserWarning for w in found)
    return str(found[0].message) if found else None


SPACES = {
    "D4 on 3 x 3": ("h w", sq.reps.image(D4, (3, 3))),
    "SO(2) on 7 x 7": ("h w", sq.reps.image(sq.groups.so(2), (7, 7))),
    "SO(2) on 4 x 4, with unmatched": ("h w", sq.reps.image(sq.groups.so(2), (4, 4))),
    "C4 tokens": ("n", sq.reps.tokens(sq.groups.cyclic(4), (3, 3), prefix=1)),
    "one level of SU(2)": ("n", sq.reps.vector(sq.groups.su(2))),
    "SO(3) tensors": ("n", sq.reps.vector(sq.groups.so(3)) * sq.reps.vector(sq.groups.so(3))),
    "S4": ("n", sq.reps.regular(sq.groups.symmetric(4))),
}


@given(which=st.sampled_from(list(SPACES)), softness=st.floats(0.001, 0.999))
@examples(fast=60)
def test_a_softness_is_met_or_its_miss_is_told(which, softness):
    axes, rep = SPACES[which]
    strict = sq.projector(f"{axes} z", {axes: rep})
    said = _said(lambda: strict.at(softness=softness))
    found = strict.at(softness=softness).softness
    assume(abs(abs(found - softness) - 0.02) > 1e-6)
    assert (said is not None) == (abs(found - softness) > 0.02)
    assert said == _said(lambda: sq.projector(f"{axes} z", {axes: rep}, softness=softness))
    if said:
        assert said.startswith(strict.space.describe())
        assert f"{found:.4g} is kept" in said
        assert 'mask="heat"' in said
        for share, level in re.findall(r"(\S+) \(cutoff (\S+?)\)", said):
            below = sum(strict.dimensions()[strict.levels() <= float(level) * 1.001])
            n0, n = strict.dimensions()[0] * (strict.levels()[0] == 0), sum(strict.dimensions())
            assert abs((below - n0) / (n - n0) - float(share)) < 1e-3
    for mask in ("heat", "resolvent"):
        assert _said(lambda mask=mask: strict.at(softness=softness, mask=mask)) is None
        assert strict.at(softness=softness, mask=mask).softness == pytest.approx(softness, abs=1e-6)
    again = strict.at(softness=found)
    assert _said(lambda: strict.at(softness=found)) is None
    assert again.rank() == strict.at(softness=softness).rank()


@pytest.mark.parametrize("softness", [0.0, 1.0])
def test_the_ends_are_met_without_a_word(softness):
    for mask in ("hard", "heat", "resolvent"):
        assert _said(lambda mask=mask: KERNEL.at(softness=softness, mask=mask)) is None


def test_cutoffs_that_select_nothing_or_everything():
    lowest, highest = KERNEL.levels()[1], KERNEL.levels()[-1]
    assert f"is strict: the lowest level above 0 is {lowest:.4g}" in _said(
        lambda: KERNEL.at(cutoff=0.5)
    )
    assert f"removes no level: the highest is {highest:.4g}" in _said(lambda: KERNEL.at(cutoff=2.0))
    for b in (0.0, *KERNEL.levels(), np.inf):  # named by their values: meant
        assert _said(lambda b=b: KERNEL.at(cutoff=float(b))) is None
    assert "is strict" in _said(lambda: KERNEL.at(cutoff=1e-9, mask="heat"))
    assert "removes no level" in _said(lambda: KERNEL.at(cutoff=1e9, mask="resolvent"))
    assert _said(lambda: KERNEL.at(cutoff=0.5, mask="heat")) is None


@pytest.mark.parametrize(
    "rep",
    [
        sq.reps.image(sq.groups.cyclic(1), (3, 3)),
        sq.reps.image(D4, (1, 1)),
        sq.reps.image(sq.groups.dihedral(1), (5, 1)),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "dial", [{"softness": 0.4}, {"cutoff": 1.0}, {"softness": 0.4, "mask": "heat"}]
)
def test_groups_that_move_nothing(rep, dial):
    assert "does nothing here" in _said(lambda: sq.projector("h w", {"h w": rep}, **dial))
    assert _said(lambda: sq.projector("h w", {"h w": rep})) is None


def test_nothing_is_said_inside_jit():
    w = _w()

    def call():
        jax.jit(lambda w: KERNEL.at(softness=0.5)(w))(w)
        jax.jit(jax.grad(lambda w: KERNEL.at(softness=0.5)(w).sum()))(w)
        jax.jit(lambda p, w: p(w))(KERNEL, w)

    assert _said(call) is None


def test_each_entry_of_a_plan_says_its_own():
    params = {"a": _w(), "b": np.ones((7, 7, 1, 1), np.float32)}
    plan = sq.plan(params, {"*": sq.convolution_rule(D4)})
    with pytest.warns(UserWarning, match="is missed") as found:
        plan.at(softness=0.5)
    named = [str(w.message).split(":")[1] for w in found]
    assert named == [" Image[3x3](D4)", " Image[7x7](D4)"]
    with pytest.warns(UserWarning, match="is missed") as found:
        sq.plan(params, {"*": sq.convolution_rule(D4, softness=0.5)})
    assert len(found) == 2


def test_soften_meets_a_softness_unless_a_mask_is_named():
    params, w = {"k": _w()}, _w()
    for rule in (KERNEL, sq.convolution_rule(D4), KERNEL.at(softness=2 / 3)):
        for softness in (0.02, 0.5, 0.9):
            expected = KERNEL.at(softness=softness, mask="heat")(w)
            assert _said(lambda r=rule, s=softness: sq.soften(params, {"k": r}, softness=s)) is None
            found = sq.soften(params, {"k": rule}, softness=softness)["k"]
            np.testing.assert_array_equal(found, expected)
    own = KERNEL.at(softness=0.1, mask="resolvent")  # a mask that the rule names
    found = sq.soften(params, {"k": own}, softness=0.5)["k"]
    np.testing.assert_array_equal(found, KERNEL.at(softness=0.5, mask="resolvent")(w))
    np.testing.assert_array_equal(
        sq.soften(params, {"k": KERNEL}, softness=2 / 3, mask="hard")["k"],
        KERNEL.at(softness=2 / 3)(w),
    )
    for ends in (0.0, 1.0):
        np.testing.assert_array_equal(
            sq.soften(params, {"k": KERNEL}, softness=ends)["k"], KERNEL.at(softness=ends)(w)
        )


def test_softening_that_lowers_no_bound_says_so():
    params = {"k": _w()}
    said = _said(lambda: sq.soften(params, {"k": KERNEL}, softness=2 / 3, mask="hard"))
    assert said == "softening did not lower the certified bound of the movement of ['k']"
    two = {"k": _w(), "l": _w(1)}
    rules = {"k": KERNEL.at(softness=2 / 3), "l": KERNEL}
    assert said == _said(lambda: sq.soften(two, rules))
    assert _said(lambda: sq.soften(two, {"*": KERNEL.at(softness=1.0)})) is None  # as asked
    soft = sq.soften(params, {"k": KERNEL}, softness=0.0)
    assert KERNEL.certificate(soft["k"]).bound < 1e-4
    assert _said(lambda: sq.soften(soft, {"k": KERNEL}, softness=0.0)) is None  # was 0 already
    assert (
        _said(lambda: jax.jit(lambda p: sq.soften(p, {"k": KERNEL}, softness=0.5))(params)) is None
    )


def test_smooth_masks_are_refused_with_the_way_out():
    plan = sq.plan({"k": _w()}, {"k": KERNEL}).at(softness=0.5, mask="heat")
    calls = (
        lambda: plan.split({"k": _w()}),
        lambda: sq.regularizers.projection_penalty(plan, {"k": _w()}),
        lambda: sq.regularizers.lie_penalty(plan, {"k": _w()}),
        lambda: sq.relaxation.relax(plan, {"k": _w()}, 0.5),
    )
    for call in calls:
        with pytest.raises(ValueError, match="parameter 'k'.*smooth mask 'heat'.*mask=\"hard\""):
            call()


def test_a_setting_that_does_not_exist_names_the_parameter():
    V = sq.reps.vector(sq.groups.so(3))
    gains = sq.projector("c", {"c": sq.reps.diagonal(2 * V)})
    params = {"w": np.eye(3), "norm": np.arange(6.0)}
    rules = {"w": sq.projector("i o", {"i": V.dual, "o": V}), "norm": gains}
    for call in (
        lambda: sq.plan(params, rules).at(softness=0.5),
        lambda: sq.soften(params, rules, softness=0.5),
    ):
        with pytest.raises(ValueError, match="parameter 'norm': gains of .* no levels between"):
            call()


def test_soften_without_a_rule_that_filters_says_so():
    assert "no rule filters" in _said(lambda: sq.soften({"k": _w()}, {"*": None}, softness=0.5))
    assert "no rule filters" in _said(lambda: sq.soften({"k": _w()}, {}))


@pytest.mark.parametrize("backend", ["spectral", "orbits", "isotypic", "gram", "krylov", "mean"])
def test_a_back_end_that_would_not_be_used_is_refused(backend):
    acts = {"h w": sq.reps.image(D4, (3, 3))}
    with pytest.raises(ValueError, match=f"leave backend='{backend}' out"):
        sq.projector("h w", acts, backend=backend, convention="stacked")
    gains = {"n": sq.reps.diagonal(sq.reps.vector(sq.groups.so(3)))}
    with pytest.raises(ValueError, match="leave backend and convention out"):
        sq.projector("n", gains, backend=backend)
    with pytest.raises(ValueError, match="leave backend and convention out"):
        sq.projector("n", gains, convention="stacked")


def test_a_mask_without_a_dial_is_refused():
    for make in (
        lambda: sq.projector("h w", {"h w": sq.reps.image(D4, (3, 3))}, mask="heat"),
        lambda: sq.plan({"k": _w()}, {"k": sq.convolution_rule(D4, mask="heat")}),
        lambda: sq.soften({"k": _w()}, {"k": KERNEL}, mask="heat"),
    ):
        with pytest.raises(ValueError, match="mask='heat' needs a dial"):
            make()


def test_what_nothing_moves_is_no_reason_to_warn_beside_what_is_dialed():
    """The bias of invariant outputs stays as it is; alone, it tells that the dial does nothing."""
    group = sq.groups.o(3)
    v, one = sq.reps.vector(group), sq.reps.trivial(group, 2)
    params = {"kernel": np.ones((3, 2)), "bias": np.ones(2)}
    rules = {
        "kernel": sq.projector("i o", {"i": v.dual, "o": one}),
        "bias": sq.projector("o", {"o": one}),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        soft = sq.plan(params, rules).at(softness=0.5, mask="heat")
        dense = dense_rules("", v, one, softness=0.5, mask="heat")
    assert np.array_equal(soft.project(params)["bias"], params["bias"])
    assert float(np.max(soft.project(params)["kernel"])) == pytest.approx(0.5)
    assert np.array_equal(dense["bias"](params["bias"]), params["bias"])
    with pytest.warns(UserWarning, match="does nothing here"):
        sq.plan(params, {"bias": rules["bias"], "kernel": None}).at(softness=0.5)
