"""Bad input: the message names the field, the parameter or the argument."""

import builtins
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from regularizer_cases import params_of, plan_of

import softeq_jax as sq
from softeq_jax import regularizers as rg

PLANNED = {
    "penalty": lambda plan, params, **k: rg.projection_penalty(plan, params, **k),
    "prox": lambda plan, params, **k: rg.prox_step(plan, params, 0.1, **k),
    "lie": lambda plan, params, **k: rg.lie_penalty(plan, params, **k),
    "norms": lambda plan, params: rg.part_norms(plan, params),
    "decay": lambda plan, params, **k: _updated(plan, params, **k),
}
WITH_LAMBDAS = ("penalty", "prox", "decay")
WITH_OPTIONS = ("penalty", "prox", "lie", "decay")


def _updated(plan, params, **options):
    decay = rg.add_equivariance_decay(plan, 0.1, **options)
    return decay.update(params, decay.init(params), params)


@pytest.mark.parametrize("which", ["penalty", "lie"])
def test_stop_gradient_is_for_relative_penalties(which):
    for stop in (True, False):
        with pytest.raises(ValueError, match="stop_gradient: of a relative penalty"):
            PLANNED[which](plan_of("d4"), params_of("d4"), stop_gradient=stop)


@pytest.mark.parametrize("which", WITH_LAMBDAS)
@pytest.mark.parametrize("name", ["lambda_g", "lambda_perp"])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, jnp.float32(-2), [1.0, 2.0], "1", None])
def test_coefficients(which, name, value):
    with pytest.raises(ValueError, match=f"{name} must be a finite number >= 0"):
        PLANNED[which](plan_of("d4"), params_of("d4"), **{name: value})


@pytest.mark.parametrize("which", WITH_OPTIONS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"power": 3}, "power must be 1 .* got 3"),
        ({"power": True}, "power must be 1"),
        ({"weights": {"layer/kernel": -1.0}}, r"weights\['layer/kernel'\] must be .* got -1.0"),
        ({"weights": {"layer/kernel": np.nan}}, r"weights\['layer/kernel'\]"),
        ({"weights": {"nowhere/*": 1.0}}, r"no planned parameter .*: \['nowhere/\*'\]"),
        ({"per": "layers"}, "per must be 'parameter', 'layer', 'all' .* got 'layers'"),
        ({"relative": True, "mean": True}, "relative and mean are two normalizations"),
        ({"eps": -1.0, "relative": True}, "eps must be"),
        ({"eps": 1e-6}, "eps: of a relative penalty"),
    ],
)
def test_options(which, options, message):
    with pytest.raises(ValueError, match=message):
        PLANNED[which](plan_of("d4"), params_of("d4"), **options)


@pytest.mark.parametrize("which", WITH_OPTIONS)
def test_unknown_terms_are_refused_with_those_that_exist(which):
    with pytest.raises(TypeError, match="'groups'; it takes power, .*, per, .*eps"):
        PLANNED[which](plan_of("d4"), params_of("d4"), groups="all")


@pytest.mark.parametrize("which", ["prox", "decay"])
def test_steps_have_no_gradient_to_stop(which):
    with pytest.raises(TypeError, match="stop_gradient"):
        PLANNED[which](plan_of("d4"), params_of("d4"), stop_gradient=True)


def test_weights_must_agree_for_what_belongs_together():
    params = {"a": {"kernel": np.ones((4, 4), np.float32), "bias": np.ones(4, np.float32)}}
    r = sq.reps.regular(sq.groups.cyclic(4))
    plan = sq.plan(
        params,
        {"a/kernel": sq.projector("i o", {"i": r, "o": r}), "a/bias": sq.projector("o", {"o": r})},
    )
    with pytest.raises(ValueError, match="same for all parameters that share a norm, but 'a'"):
        rg.projection_penalty(plan, params, per="layer", weights={"**/bias": 2.0})
    alike = {"**/bias": 2.0, "**/kernel": 2.0}
    found = rg.projection_penalty(plan, params, per="layer", weights=alike)
    assert found == 2 * rg.projection_penalty(plan, params)


@pytest.mark.parametrize("which", sorted(PLANNED))
def test_parameters_of_another_model(which):
    other = {"layer": {"kernels": params_of("d4")["layer"]["kernel"]}}
    with pytest.raises(ValueError, match=r"not the parameters .* missing .*layer/kernel"):
        PLANNED[which](plan_of("d4"), other)


@pytest.mark.parametrize("which", sorted(PLANNED))
def test_a_weight_of_another_shape(which):
    params = params_of("d4")
    params["layer"]["kernel"] = np.ones((3, 3, 2), np.float32)
    with pytest.raises(ValueError, match="'layer/kernel'.*does not fit"):
        PLANNED[which](plan_of("d4"), params)


@pytest.mark.parametrize("which", sorted(PLANNED))
@pytest.mark.parametrize("mask", ["heat", "resolvent"])
def test_smooth_masks_are_refused(which, mask):
    plan = plan_of("d4").at(cutoff=0.5, mask=mask)
    with pytest.raises(ValueError, match=f"'layer/kernel'.*smooth mask '{mask}'"):
        PLANNED[which](plan, params_of("d4"))
    with pytest.raises(ValueError, match="smooth mask"):
        jax.jit(PLANNED[which])(plan, params_of("d4"))


@pytest.mark.parametrize("which", sorted(PLANNED))
def test_integers(which):
    params = jax.tree.map(lambda w: w.astype(np.int32), params_of("d4"))
    with pytest.raises(TypeError, match="'layer/kernel'.*real floating-point, got int32"):
        PLANNED[which](plan_of("d4"), params)


def test_step_sizes_and_rates():
    with pytest.raises(ValueError, match="step_size must be .* got -1"):
        rg.prox_step(plan_of("d4"), params_of("d4"), -1.0)
    with pytest.raises(ValueError, match="learning_rate must be"):
        rg.add_equivariance_decay(plan_of("d4"), -0.1)


def test_representations_without_levels_have_no_lie_penalty():
    group = sq.groups.lorentz()
    v = sq.reps.vector(group)
    boosted = sq.reps.from_generators(
        group, lie=_in_another_basis(v.lie_matrices()), discrete=_in_another_basis(
            v.discrete_matrices()
        ),
    )  # fmt: skip
    params = {"w": np.ones((4, 4), np.float32)}
    plan = sq.plan(params, {"w": sq.projector("a b", {"a": boosted, "b": boosted})})
    with pytest.raises(ValueError, match="'w'.*no levels above 0"):
        rg.lie_penalty(plan, params)


def _in_another_basis(matrices):
    change = np.eye(4) + 0.3 * np.triu(np.ones((4, 4)), 1)
    return np.array([np.linalg.inv(change) @ m @ change for m in matrices])


def test_decay_needs_parameters():
    params = params_of("d4")
    optimizer = optax.chain(optax.sgd(0.1), rg.add_equivariance_decay(plan_of("d4"), 0.1))
    with pytest.raises(ValueError, match="needs params"):
        optimizer.update(params, optimizer.init(params))


def test_without_optax_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "optax":
            raise ImportError("no optax")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"softeq-jax\[train\]"):
        rg.add_equivariance_decay(plan_of("d4"), 0.1)


@pytest.mark.slow
def test_importing_needs_neither_optax_nor_flax():
    code = (
        "import sys, softeq_jax.regularizers as rg; rg.projection_penalty;"
        "sys.exit(bool({'optax', 'flax'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


V = sq.reps.vector(sq.groups.so(3))
X = np.ones((2, 3), np.float32)
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rg.orbit_penalty(lambda x: x, X, V, V), "key="),
        (lambda: rg.orbit_penalty(lambda x: x, X, V, V, KEY, 0), "samples must be a positive"),
        (lambda: rg.orbit_penalty(lambda x: x, X, V, V, KEY, -1.5), "samples must be a positive"),
        (lambda: rg.orbit_penalty(lambda x: x, X, V, V, samples=None), "infinitely many"),
        (lambda: rg.orbit_penalty(lambda x: x, X, None, None, KEY), "at least one rep"),
        (lambda: rg.orbit_penalty(lambda x: x, X[:, :2], V, V, KEY), "acts on arrays"),
        (lambda: rg.orbit_penalty(lambda x: x, X, V, V, KEY, eps=-1), "eps must be"),
        (lambda: rg.orbit_penalty(lambda x: x, X, V, V, KEY, eps=1e-6), "eps: of a relative"),
        (lambda: rg.orbit_penalty(lambda x: x, X, V, V, KEY, samples=None), "none is drawn"),
        (
            lambda: rg.orbit_penalty(lambda x: x, X, V, sq.reps.vector(sq.groups.so(2)), KEY),
            "one group must act",
        ),
        (
            lambda: rg.orbit_penalty(lambda x: x["a"], {"a": X, "b": X[:1]}, V, V, KEY),
            "one example per entry of the first axis",
        ),
        (
            lambda: rg.orbit_penalty(lambda x: x, X.T, V, V, KEY, axes_in=(0,)),
            "counts the examples",
        ),
        (
            lambda: rg.orbit_penalty(
                lambda x: x,
                np.ones((2, 4), np.float32),
                sq.reps.vector(sq.groups.lorentz()),
                None,
                KEY,
            ),
            "not compact",
        ),
        (lambda: rg.lie_activation_penalty(lambda p, x: x, {}, X, None, None), "at least one"),
        (lambda: rg.lie_activation_penalty(lambda p, x: x, {}, X[:, :2], V, V), "acts on arrays"),
        (lambda: rg.lie_activation_penalty(lambda p, x: x, {}, X, V, V, eps=-1), "eps must be"),
        (lambda: rg.remul_weights(-1.0), "objective must be"),
        (lambda: rg.remul_weights(1.0, np.nan), "equivariance must be"),
        (
            lambda: rg.adapt_remul(rg.remul_weights(), 1.0, 1.0, X, X, rate=-1.0),
            "rate must be",
        ),
        (
            lambda: rg.adapt_remul(rg.remul_weights(), 1.0, 1.0, X, X, asymmetry=-1.0),
            "asymmetry must be",
        ),
    ],
)
def test_penalties_of_functions(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_unknown_options_of_penalties_of_functions():
    with pytest.raises(TypeError, match="orbit_penalty got .*'root'; it takes relative, eps"):
        rg.orbit_penalty(lambda x: x, X, V, V, KEY, root=True)
    with pytest.raises(TypeError, match="lie_activation_penalty got .*'mean'"):
        rg.lie_activation_penalty(lambda p, x: x, {}, X, V, V, mean=True)
    with pytest.raises(TypeError, match="no axes_out"):
        rg.latent_penalty(lambda x: x, X, V, KEY, axes_out=(-1,))


def test_something_else_than_a_representation():
    with pytest.raises(TypeError, match="expected a representation or None"):
        rg.orbit_penalty(lambda x: x, X, "V", V, KEY)
