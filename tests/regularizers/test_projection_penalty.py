"""The projection penalty: its value, its gradient, theorem 8, and how parameters are grouped.

The theorems about the projectors themselves are tested in tests/projections.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from regularizer_cases import CASES, dense, flat, params_of, parts, plan_of, projector, weight

import softeq_jax as sq
from softeq_jax import regularizers as rg
from softeq_jax import training as tr

ANY = st.tuples(st.sampled_from(sorted(CASES)), st.integers(0, 2**20))
RTOL = 2e-5


STATIC = ("power", "relative", "mean", "per", "stop_gradient")
penalty = jax.jit(rg.projection_penalty, static_argnames=STATIC)
gradient = jax.jit(jax.grad(rg.projection_penalty, 1), static_argnames=STATIC)


def norm(x):
    return np.linalg.norm(np.ravel(x))


@given(ANY, st.sampled_from([1, 2]), st.floats(0, 3), st.floats(0, 3))
@examples(fast=40)
def test_value_from_an_independent_projector(case, power, lambda_g, lambda_perp):
    name, seed = case
    params = params_of(name, seed, np.float64)
    kept, outside = parts(name, params["layer"]["kernel"])
    expected = lambda_g * norm(kept) ** power + lambda_perp * norm(outside) ** power
    found = rg.projection_penalty(plan_of(name), params, lambda_g, lambda_perp, power=power)
    assert found.shape == ()
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backends"),
    [
        ("c4", ("spectral", "orbits", "isotypic", "gram", "krylov", "mean")),
        ("d4", ("spectral", "gram", "krylov", "mean")),
        ("s4", ("orbits", "isotypic", "gram", "krylov", "mean")),
        ("so2", ("spectral", "gram", "krylov")),
        ("o2", ("spectral", "gram", "krylov")),
        ("so3", ("isotypic", "gram", "krylov")),
    ],
)
def test_spatial_and_spectral_back_ends_agree(name, backends):
    params = params_of(name, 3, np.float64)
    for power in (1, 2):
        found = [
            rg.projection_penalty(plan_of(name, backend=b), params, 0.3, 2.0, power=power)
            for b in backends
        ]
        np.testing.assert_allclose(found, found[0], rtol=1e-9)
    single = params_of(name, 3)
    np.testing.assert_allclose(penalty(plan_of(name), single, 0.3, 2.0), found[0], rtol=RTOL)


@pytest.mark.slow
@given(ANY, st.floats(0, 3), st.floats(0, 3))
@examples(fast=15)
def test_gradient_of_the_square_is_twice_the_part(case, lambda_g, lambda_perp):
    name, seed = case
    params = params_of(name, seed)
    found = gradient(plan_of(name), params, lambda_g, lambda_perp)
    kept, outside = parts(name, params["layer"]["kernel"])
    expected = 2 * lambda_g * kept + 2 * lambda_perp * outside
    # JAX's gradient of a real function of complex numbers is the conjugate of the direction
    np.testing.assert_allclose(flat(name, np.conj(found["layer"]["kernel"])), expected, atol=5e-5)
    np.testing.assert_array_equal(found["other"], 0.0)


@pytest.mark.parametrize("power", [1, 2])
def test_second_derivatives_and_derivatives_by_the_mask(power):
    """The gradient rule that saves a pass is that of the plain formula, at every order."""
    params, plan = params_of("d4", 1), plan_of("d4")
    w, direction = jnp.asarray(params["layer"]["kernel"]), weight("d4", 9)
    (whole,) = plan.projectors

    def plainly(dropped, w):
        outside = dataclasses.replace(whole, dropped=dropped).residual(w)
        squared = jnp.sum(outside * outside)
        return squared if power == 2 else jnp.sqrt(squared)

    def ours(dropped, w):
        moved = dataclasses.replace(whole, dropped=dropped)
        changed = dataclasses.replace(plan, projectors=(moved,))
        return rg.projection_penalty(changed, {**params, "layer": {"kernel": w}}, power=power)

    def derivatives(f):
        def along(w):
            return jnp.vdot(jax.grad(f, 1)(dropped, w), direction)

        return jax.grad(f)(dropped, w), jax.grad(along)(w)

    dropped = jnp.asarray(whole.dropped, jnp.float32)
    by_mask, second = jax.jit(derivatives, static_argnums=0)(ours)
    for_mask, expected = jax.jit(derivatives, static_argnums=0)(plainly)
    np.testing.assert_allclose(by_mask, for_mask, rtol=1e-4)
    np.testing.assert_allclose(second, expected, atol=1e-5)
    assert np.max(by_mask) > 0.1
    assert norm(second) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "relative"), [("d4", False), ("d4", True), ("so3", False), ("su2", True)]
)
def test_power_one_has_gradient_zero_at_zero(name, relative):
    plan, params = plan_of(name), params_of(name)
    params["layer"]["kernel"] = np.zeros_like(params["layer"]["kernel"])
    slope = gradient(plan, params, 1.0, 1.0, power=1, relative=relative)
    assert penalty(plan, params, 1.0, 1.0, power=1, relative=relative) == 0.0
    np.testing.assert_array_equal(slope["layer"]["kernel"], 0.0)


def test_power_one_has_gradient_zero_on_equivariant_weights_that_are_not_zero():
    kernel = sq.projector("h w i o", {"h w": sq.reps.image(sq.groups.cyclic(4), (2, 2))})
    params = {"w": np.full((2, 2, 3, 5), 0.7, np.float32)}
    plan = sq.plan(params, {"w": kernel})
    assert penalty(plan, params, power=1) == 0.0
    np.testing.assert_array_equal(gradient(plan, params, power=1)["w"], 0.0)
    moved = {"w": params["w"] + np.eye(2, dtype=np.float32)[:, :, None, None]}
    np.testing.assert_allclose(norm(gradient(plan, moved, power=1)["w"]), 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", ["d4", "so3", "s4"])
def test_small_parts_do_not_cancel_in_float32(name):
    w = weight(name, 5, np.float64)
    kept, outside = parts(name, w)
    w32 = _unflat(name, kept + 1e-5 * outside, w.shape).astype(np.float32)
    kept32, outside32 = parts(name, w32)
    truth = norm(outside32) ** 2
    params = {**params_of(name), "layer": {"kernel": w32}}
    found = float(rg.projection_penalty(plan_of(name), params))
    naive = np.sum(w32 * w32) - np.sum(kept32.astype(np.float32) ** 2)
    assert abs(found / truth - 1) < 0.02
    assert abs(naive / truth - 1) > 0.5


def _unflat(name, columns, shape):
    positions = projector(name).space.positions
    front = [shape[p] for p in positions] + [s for i, s in enumerate(shape) if i not in positions]
    return np.moveaxis(columns.reshape(front), range(len(positions)), positions)


@given(ANY, st.floats(0.05, 3), st.floats(0.05, 3))
@examples(fast=30)
def test_residual_pathway_priors_are_the_projection_penalty(case, a, b):
    """Theorem 8 by brute force: the best split over a basis of the equivariant weights."""
    name, seed = case
    params = params_of(name, seed, np.float64)
    w = flat(name, params["layer"]["kernel"].astype(np.complex128))
    values, vectors = np.linalg.eigh(dense(name))
    basis = vectors[:, values > 0.5]
    # minimize a ||Q c||^2 + b ||w - Q c||^2 as one least-squares problem in c
    system = np.concatenate([np.sqrt(a) * basis, np.sqrt(b) * basis])
    target = np.concatenate([0 * w, np.sqrt(b) * w])
    best = np.linalg.lstsq(system, target, rcond=None)[0]
    expected = norm(system @ best - target) ** 2
    found = rg.projection_penalty(plan_of(name), params, a * b / (a + b), b)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@given(ANY, st.floats(0.01, 3))
@examples(fast=10)
def test_equal_weights_are_weight_decay(case, decay):
    name, seed = case
    params = params_of(name, seed, np.float64)
    found = rg.projection_penalty(plan_of(name), params, decay, decay)
    np.testing.assert_allclose(found, decay * norm(params["layer"]["kernel"]) ** 2, rtol=1e-9)


@pytest.mark.parametrize("power", [1, 2])
def test_relative_penalties_do_not_depend_on_scale(power):
    plan, params = plan_of("d4"), params_of("d4")
    kept, outside = parts("d4", params["layer"]["kernel"])
    share = norm(outside) ** 2 / (norm(outside) ** 2 + norm(kept) ** 2)
    for scale in (1e-3, 1.0, 1e3):
        scaled = jax.tree.map(lambda w, s=scale: w * s, params)
        found = penalty(plan, scaled, power=power, relative=True)
        np.testing.assert_allclose(found, share ** (power / 2), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("power", [1, 2])
def test_only_a_stopped_denominator_leaves_the_equivariant_part_alone(power):
    plan, params = plan_of("d4"), params_of("d4")

    def inward(stop):
        slope = gradient(plan, params, power=power, relative=True, stop_gradient=stop)
        kept, _ = parts("d4", params["layer"]["kernel"])
        return np.sum(flat("d4", slope["layer"]["kernel"]) * kept)

    assert abs(inward(True)) < 1e-6
    assert inward(False) < -1e-3


def test_mean_divides_by_the_number_of_entries():
    plan, params = plan_of("d4"), params_of("d4")
    size = params["layer"]["kernel"].size
    for power in (1, 2):
        whole = rg.projection_penalty(plan, params, power=power)
        found = rg.projection_penalty(plan, params, power=power, mean=True)
        np.testing.assert_allclose(found, whole / size ** (power / 2), rtol=1e-6)


def two_layers():
    group = sq.groups.so(3)
    v = sq.reps.vector(group)
    rng = np.random.default_rng(0)
    params = {
        name: {
            "kernel": rng.standard_normal((6, 3)).astype(np.float32),
            "bias": rng.standard_normal(3).astype(np.float32),
        }
        for name in ("first", "second")
    }
    rules = {
        "*/kernel": sq.projector("i o", {"i": 2 * v, "o": v}),
        "*/bias": sq.projector("o", {"o": v}),
    }
    return sq.plan(params, rules), params


def test_what_belongs_together_shares_a_norm():
    plan, params = two_layers()
    norms = {p: float(n.residual) for p, n in rg.part_norms(plan, params).items()}
    pairs = {
        "parameter": sum(norms.values()),
        "layer": sum(np.hypot(norms[f"{name}/kernel"], norms[f"{name}/bias"]) for name in params),
        "all": np.sqrt(sum(n**2 for n in norms.values())),
    }
    for per, expected in pairs.items():
        found = rg.projection_penalty(plan, params, power=1, per=per)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    by_kind = rg.projection_penalty(plan, params, power=1, per=lambda p: p.split("/")[1])
    expected = sum(
        np.hypot(norms[f"first/{kind}"], norms[f"second/{kind}"]) for kind in ("kernel", "bias")
    )
    np.testing.assert_allclose(by_kind, expected, rtol=1e-5)


@pytest.mark.parametrize("power", [1, 2])
def test_weights_by_layer(power):
    plan, params = two_layers()
    norms = {p: float(n.residual) ** power for p, n in rg.part_norms(plan, params).items()}
    weights = {"first/kernel": 0.5, "*/kernel": 0.0, "second/**": jnp.float32(3.0)}
    found = jax.jit(lambda p: rg.projection_penalty(plan, p, power=power, weights=weights))(params)
    expected = 0.5 * norms["first/kernel"] + norms["first/bias"] + 3 * norms["second/bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_traced_coefficients_and_levels_do_not_compile_again():
    count = []

    @jax.jit
    def counted(plan, params, lambda_perp):
        count.append(None)
        return rg.projection_penalty(plan, params, 0.0, lambda_perp)

    params = params_of("d4")
    soft = plan_of("d4").at(cutoff=1.0)
    values = [
        float(counted(soft.at(cutoff=b), params, lam)) for b in (0.0, 1.0) for lam in (1.0, 2.0)
    ]
    assert len(count) == 1
    np.testing.assert_allclose(values[1], 2 * values[0], rtol=1e-6)
    assert values[2] < values[0]
    expected = norm(projector("d4").at(cutoff=1.0).residual(params["layer"]["kernel"])) ** 2
    np.testing.assert_allclose(values[2], expected, rtol=1e-5)


def test_dtypes():
    plan = plan_of("d4")
    params = params_of("d4")
    half = jax.tree.map(lambda w: jnp.asarray(w, jnp.bfloat16), params)
    value = penalty(plan, half)
    wide = jax.tree.map(lambda w: w.astype(jnp.float32), half)
    assert value.dtype == jnp.float32
    assert gradient(plan, half)["layer"]["kernel"].dtype == jnp.bfloat16
    np.testing.assert_allclose(value, penalty(plan, wide), rtol=1e-6)
    double = params_of("d4", dtype=np.float64)
    found = rg.projection_penalty(plan, double, power=1)
    assert found.dtype == np.float64
    _, outside = parts("d4", double["layer"]["kernel"])
    np.testing.assert_allclose(found, norm(outside), rtol=1e-12)


def test_leaves_that_are_no_numbers_and_plans_of_nothing():
    params = {**params_of("d4"), "activation": jax.nn.relu}
    plan = plan_of("d4", params)
    np.testing.assert_allclose(
        rg.projection_penalty(plan, params),
        rg.projection_penalty(plan_of("d4"), params_of("d4")),
    )
    nothing = sq.plan(params, {"**": None})
    assert rg.projection_penalty(nothing, params) == 0.0
    assert rg.part_norms(nothing, params) == {}


@pytest.mark.slow
def test_under_vmap():
    plan = plan_of("so3")
    stack = [params_of("so3", seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *w: np.stack(w), *stack)
    found = jax.vmap(lambda p: rg.projection_penalty(plan, p, 0.1, 1.0, power=1))(stacked)
    expected = [rg.projection_penalty(plan, p, 0.1, 1.0, power=1) for p in stack]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    slopes = jax.vmap(jax.grad(lambda p: rg.projection_penalty(plan, p)))(stacked)
    expected = [2.0 * plan.split(p)[1]["layer"]["kernel"] for p in stack]
    np.testing.assert_allclose(slopes["layer"]["kernel"], expected, atol=1e-5)


def test_part_norms_are_the_norms():
    params = params_of("so3xs3", 4)
    found = rg.part_norms(plan_of("so3xs3"), params)["layer/kernel"]
    kept, outside = parts("so3xs3", params["layer"]["kernel"])
    np.testing.assert_allclose(found, (norm(kept), norm(outside)), rtol=1e-5)


def test_as_the_penalty_of_a_method_of_the_trainer():
    params = params_of("d4")
    method = tr.Method(
        lambda params, extra, step: params,
        lambda params, extra, step: rg.projection_penalty(extra, params, lambda_perp=2.0),
    )
    optimizer = optax.sgd(0.05)

    def loss(params, model_state, batch, key, extra):
        return 0.0 * params["other"].sum(), (model_state, {})

    step = tr.make_train_step(loss, optimizer, method=method)
    state = tr.replicate(tr.init_state(params, optimizer, {}))
    vote, batch = tr.shard(np.zeros(1, np.float32)), tr.shard({"x": np.zeros(2, np.float32)})
    plan = plan_of("d4")
    for _ in range(3):
        state, metrics = step(state, batch, plan, vote)
    kernel = tr.unreplicate(state).params["layer"]["kernel"]
    kept, outside = parts("d4", params["layer"]["kernel"])
    np.testing.assert_allclose(flat("d4", kernel), kept + 0.8**3 * outside, atol=1e-5)
    assert float(metrics["penalty"]) > 0
