"""Plans: matching, any pytree, transformations, bad input."""

import dataclasses
import os
import subprocess
import sys

import chex
import flax.linen as nn
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import _paths

C4 = sq.groups.cyclic(4)
IMAGE = sq.reps.image(C4, (3, 3))
KERNEL = sq.projector("h w i o", {"h w": IMAGE})


class Net(nn.Module):
    """Two convolutions and a head."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), name="conv1")(x))
        x = nn.relu(nn.Conv(4, (1, 1), name="conv2")(x))
        return nn.Dense(2, name="head")(x.mean((1, 2)))


@pytest.fixture
def params():
    return Net().init(jax.random.key(0), jnp.zeros((1, 5, 5, 1)))["params"]


@pytest.mark.slow
def test_only_the_planned_parameters_change(params):
    plan = sq.plan(params, {"conv1/kernel": KERNEL})
    out = plan.project(params)
    chex.assert_trees_all_equal_shapes_and_dtypes(out, params)
    chex.assert_trees_all_equal(out["conv1"]["kernel"], KERNEL(params["conv1"]["kernel"]))
    for path in (("conv1", "bias"), ("conv2", "kernel"), ("head", "kernel")):
        assert out[path[0]][path[1]] is params[path[0]][path[1]]
    kept, rest = plan.split(params)
    chex.assert_trees_all_close(jax.tree.map(jnp.add, kept, rest), params, atol=1e-6)
    assert not rest["head"]["kernel"].any()


@pytest.mark.slow
def test_the_convolution_rule_finds_every_kernel_larger_than_one(params):
    plan = sq.plan(params, {"**/kernel": sq.convolution_rule(C4)})
    assert [path for path, _, _ in plan.planned(params)] == ["conv1/kernel"]


def test_a_filtered_network_is_invariant(params):
    soft = sq.soften(params, {"**/kernel": sq.convolution_rule(C4)}, softness=0.0)
    x = jax.random.normal(jax.random.key(1), (2, 5, 5, 1))
    turned = jnp.rot90(x, axes=(1, 2))
    before = Net().apply({"params": params}, turned) - Net().apply({"params": params}, x)
    after = Net().apply({"params": soft}, turned) - Net().apply({"params": soft}, x)
    assert jnp.abs(before).max() > 1e-2
    assert jnp.abs(after).max() < 1e-6


def test_soften_leaves_its_argument_alone_and_knows_the_dials(params):
    before = jax.tree.map(np.array, params)
    rules = {"conv1/kernel": KERNEL}
    strict = sq.soften(params, rules)
    full = sq.soften(params, rules, softness=1.0)
    smooth = sq.soften(params, rules, cutoff=1.0, mask="heat")
    chex.assert_trees_all_equal(params, before)
    chex.assert_trees_all_equal(full, params)
    expected = KERNEL.at(cutoff=1.0, mask="heat")(params["conv1"]["kernel"])
    chex.assert_trees_all_equal(smooth["conv1"]["kernel"], expected)
    assert not np.allclose(strict["conv1"]["kernel"], smooth["conv1"]["kernel"])
    with pytest.raises(ValueError, match="needs a dial"):
        sq.soften(params, rules, mask="heat")


def test_first_matching_rule_decides(params):
    loose = KERNEL.at(softness=1.0)
    plan = sq.plan(
        params, {"conv1/*": None, "**/bias": None, "head/kernel": None, "conv2/kernel": None}
    )
    assert plan.projectors == ()
    plan = sq.plan(params, {"conv1/kernel": loose, "**/bias": None})
    chex.assert_trees_all_equal(plan.project(params), params)


@pytest.mark.slow
def test_transformations_and_levels_as_leaves(params):
    plan = sq.plan(params, {"conv1/kernel": KERNEL})
    expected = plan.project(params)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def project(plan, params):
        return plan.project(params)

    chex.assert_trees_all_close(project(plan, params), expected, atol=1e-6)
    chex.assert_trees_all_close(project(plan.at(softness=1.0), params), params, atol=0)

    def loss(p):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(plan.project(p))) / 2

    chex.assert_trees_all_close(jax.grad(loss)(params), expected, atol=1e-5)
    stacked = jax.tree.map(lambda x: jnp.stack([x, 3 * x]), params)
    out = jax.vmap(plan.project)(stacked)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[1] / 3, out), expected, atol=1e-6)
    chex.assert_trees_all_close(
        jax.tree.map(lambda x: x[0], jax.pmap(lambda p, w: p.project(w), in_axes=(None, 0))(
            plan, jax.tree.map(lambda x: x[None], params)
        )), expected, atol=1e-6,
    )  # fmt: skip


@pytest.mark.slow
def test_pmap_over_virtual_devices():
    code = """
import jax, jax.numpy as jnp, numpy as np, softeq_jax as sq
assert jax.device_count() == 8
p = sq.projector("h w i o", {"h w": sq.reps.image(sq.groups.so(2), (3, 3))}, cutoff=1.0)
w = np.random.default_rng(0).standard_normal((3, 3, 2, 2))
params = {"a": {"kernel": jnp.asarray(w, "float32")}}
plan = sq.plan(params, {"a/kernel": p})
traces = []
def project(w, plan):
    traces.append(plan)
    return jax.lax.pmean(plan.project(w)["a"]["kernel"], "d")
step = jax.pmap(project, axis_name="d", in_axes=(0, None))
many = jax.tree.map(lambda x: jnp.broadcast_to(x, (8, *x.shape)), params)
for q in (plan, plan.at(cutoff=0.0), plan.at(softness=1.0)):
    out = jax.block_until_ready(step(many, q))
    np.testing.assert_allclose(out[3], q.project(params)["a"]["kernel"], atol=1e-6)
assert len(traces) == 1
print("fine")
"""
    env = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "fine", done.stderr[-2000:]


def test_other_pytrees():
    """An nnx state, a dataclass module as Equinox has it, nested lists."""
    model = nnx.Conv(2, 3, (3, 3), rngs=nnx.Rngs(0))
    state = nnx.state(model, nnx.Param)
    plan = sq.plan(state, {"**/kernel": KERNEL})
    softened = plan.project(state)
    assert jax.tree.structure(softened) == jax.tree.structure(state)
    expected = KERNEL(jax.tree.leaves(nnx.state(model, nnx.Param)["kernel"])[0])
    chex.assert_trees_all_equal(jax.tree.leaves(softened["kernel"])[0], expected)
    nnx.update(model, softened)
    chex.assert_trees_all_equal(jnp.asarray(model.kernel[...]), expected)

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Layer:
        weight: jax.Array
        bias: jax.Array

    w = jax.random.normal(jax.random.key(0), (3, 3, 1, 1))
    tree = {"layers": [Layer(w, jnp.zeros(1)), Layer(2 * w, jnp.ones(1))], "mlp/~/linear": w[0, 0]}
    plan = sq.plan(tree, {"layers/*/weight": KERNEL})
    out = plan.project(tree)
    chex.assert_trees_all_close(out["layers"][1].weight, 2 * KERNEL(w), atol=1e-6)
    assert out["layers"][0].bias is tree["layers"][0].bias
    shapes = jax.eval_shape(lambda t: t, tree)
    assert sq.plan(shapes, {"layers/0/weight": KERNEL}).shapes == plan.shapes


def test_leaves_that_are_no_arrays_pass_through():
    """As in an Equinox module: activation functions, numbers, and kernels laid out OIHW."""
    kernel = jax.random.normal(jax.random.key(0), (4, 2, 3, 3))
    tree = {"weight": kernel, "activation": jax.nn.relu, "rate": 0.5}
    rule = sq.convolution_rule(C4, axes="o i h w")
    plan = sq.plan(tree, {"**": rule})
    out = plan.project(tree)
    assert out["activation"] is jax.nn.relu
    chex.assert_trees_all_close(out["weight"], jnp.rot90(out["weight"], axes=(2, 3)), atol=1e-6)
    kept, rest = plan.split(tree)
    assert (kept["rate"], rest["rate"]) == (0.5, 0.0)
    assert rest["activation"] is jax.nn.relu
    with pytest.raises(ValueError, match="parameter 'rate': a projector needs an array"):
        sq.plan(tree, {"weight": rule, "rate": KERNEL})
    with pytest.raises(ValueError, match="h and w"):
        sq.convolution_rule(C4, axes="o i x y")


def test_describe_tells_the_whole_plan(params):
    text = sq.plan(params, {"conv1/kernel": KERNEL}).describe()
    for part in ("conv1/kernel", "3x3x1x4", "C4", "hard", "3 of 9", "1 filtered, 5 untouched"):
        assert part in text


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("**/kernel", "kernel", True),
        ("**/kernel", "a/b/kernel", True),
        ("**/kernel", "a/bkernel", False),
        ("*/kernel", "a/kernel", True),
        ("*/kernel", "a/b/kernel", False),
        ("stage?_block*/conv1/kernel", "stage1_block0/conv1/kernel", True),
        ("stage[23]_*/conv?/kernel", "stage3_block0/conv1/kernel", True),
        ("stage[23]_*/conv?/kernel", "stage1_block0/conv1/kernel", False),
        ("stage[!2]/a", "stage3/a", True),
        ("stage[!2]/a", "stage2/a", False),
        ("stage1/**", "stage1/a/b", True),
        ("stage1/**", "stage1", True),
        ("a.b", "axb", False),
        ("**", "x/y", True),
    ],
)
def test_globs(pattern, path, expected):
    assert _paths.matches(pattern, path) is expected


def test_bad_rules_are_refused(params):
    so2 = sq.reps.image(sq.groups.so(2), (5, 5))
    for rules, message in [
        ({"conv9/kernel": KERNEL}, "match no parameter.*conv9"),
        ({"**/kernel": KERNEL}, r"parameter 'conv2/kernel'.*\(1, 1, 4, 4\)"),
        ({"conv1/kernel": sq.projector("h w i o", {"h w": so2})}, "parameter 'conv1/kernel'"),
        ({"**": None, "conv1/kernel": KERNEL}, "earlier one took"),
        ({"conv2/kernel": sq.convolution_rule(C4)}, "match no parameter"),
        ({"conv1/kernel": 0.5}, "parameter 'conv1/kernel'.*a rule must be"),
        ({"conv1/kernel": lambda path, w: 3}, "returned 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            sq.plan(params, rules)


def test_nan_weights_are_named(params):
    params["conv1"]["kernel"] = params["conv1"]["kernel"].at[0, 0, 0, 0].set(jnp.nan)
    with pytest.raises(ValueError, match="parameter 'conv1/kernel'.*NaN"):
        sq.soften(params, {"conv1/kernel": KERNEL}, softness=0.5)


@pytest.mark.filterwarnings("error")
def test_nan_in_an_imaginary_part_is_named():
    V = sq.reps.vector(sq.groups.su(2))
    rule = sq.projector("i o", {"i": V.dual, "o": V})
    w = np.ones((2, 2), complex)
    assert sq.plan({"w": w}, {"w": rule}).chosen == (0,)
    w[0, 1] = complex(0.0, np.nan)
    with pytest.raises(ValueError, match="parameter 'w'.*NaN"):
        sq.plan({"w": w}, {"w": rule})


def test_other_parameters_are_refused(params):
    plan = sq.plan(params, {"conv1/kernel": KERNEL})
    fewer = {k: v for k, v in params.items() if k != "head"}
    with pytest.raises(ValueError, match="missing.*head/bias"):
        plan.project(fewer)
    with pytest.raises(ValueError, match="unexpected.*extra"):
        plan.project({**params, "extra": jnp.zeros(1)})
    other = {**params, "conv1": {"kernel": jnp.zeros((5, 5, 1, 4)), "bias": jnp.zeros(4)}}
    with pytest.raises(ValueError, match="parameter 'conv1/kernel'"):
        plan.project(other)
    with pytest.raises(ValueError, match="parameter 'conv1/kernel': split needs"):
        plan.at(cutoff=1.0, mask="resolvent").split(params)


def test_certificate_of_a_plan_adds_in_squares(params):
    plan = sq.plan(params, {"conv1/kernel": KERNEL})
    certificate = plan.certificate(params, angle=np.pi / 2)
    kernel = np.asarray(params["conv1"]["kernel"], np.float64)
    moved = np.rot90(kernel) - kernel
    np.testing.assert_allclose(certificate.bound, np.linalg.norm(moved), rtol=1e-9)
    assert list(certificate.parts) == ["conv1/kernel"]
    with pytest.raises(ValueError, match=r"parameter 'conv1/kernel': C4 has no rotation by 0\.5"):
        plan.certificate(params, angle=0.5)
