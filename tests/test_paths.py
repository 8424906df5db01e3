"""Paths identify leaves: whatever their keys hold, in whatever order and form the tree comes."""

import collections
import dataclasses
import itertools

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from examples import examples
from flax import nnx, serialization, traverse_util
from hypothesis import given
from hypothesis import strategies as st

import softeq_jax as sq
from softeq_jax import relaxation
from softeq_jax._paths import by_path, first_matches, leaf_paths, matches, ordered
from softeq_jax.models import weights
from softeq_jax.training import checkpoints, export, optimizers

V = sq.reps.vector(sq.groups.so(3))
P = sq.projector("i o", {"i": V, "o": V})
ONE, TWO = np.diag([1.0, 2.0, 6.0]), np.diag([2.0, 2.0, 2.0])
LAYERS = 11  # "10" lies before "2" where numbers are text

KEYS = st.text("ab01/[]!*?-^\\.~ \né", max_size=4)
TREES = st.recursive(
    st.just(ONE),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3),
        st.dictionaries(KEYS, inner, min_size=1, max_size=3),
        st.dictionaries(st.integers(-1, 12), inner, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


@given(TREES)
@examples(fast=150, sweep=5000)
def test_a_path_leads_to_one_leaf_whatever_its_keys_hold(tree):
    keys = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    joined = ["/".join(str(getattr(k, "key", getattr(k, "idx", None))) for k in ks) for ks in keys]
    if len(set(joined)) < len(joined):
        with pytest.raises(ValueError, match=r"two leaves have the path .*: tree.* and tree"):
            leaf_paths(tree)
        return
    paths, _, treedef = leaf_paths(tree)
    assert paths == joined
    assert ordered(paths) == ordered(reversed(paths))
    marked = jax.tree.unflatten(treedef, [np.full(1, i) for i in range(len(paths))])
    for i, path in enumerate(paths):
        assert by_path(marked)[path] == i
        covered = first_matches([sq.literal(path)], paths)
        assert [p for p, glob in zip(paths, covered, strict=True) if glob is not None] == [path]
        assert matches(path, path)
        assert matches("**", path)
        assert matches("**/" + sq.literal(path.split("/")[-1]), path)
        plan = sq.plan(tree, {sq.literal(path): P})
        assert [p for p, index in zip(plan.paths, plan.chosen, strict=True) if index == 0] == [path]


def test_a_rule_that_is_a_path_covers_that_leaf_alone_or_is_refused():
    tree = {"layer[0]": {"w": ONE}, "layer[1]": {"w": TWO}}
    assert [p for p, _, _ in sq.plan(tree, {"layer[0]/w": P}).planned(tree)] == ["layer[0]/w"]
    within = sq.plan(tree, {sq.literal("layer[1]") + "/*": P})
    assert [p for p, _, _ in within.planned(tree)] == ["layer[1]/w"]
    with pytest.raises(ValueError, match=r"match no parameter.*layer\[0\]/\*.*literal"):
        sq.plan(tree, {"layer[0]/*": P})
    with pytest.raises(ValueError, match=r"'layer\[0\]/w' is the path of one.*'layer0/w'.*literal"):
        sq.plan(tree | {"layer0": {"w": ONE}}, {"layer[0]/w": P})


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("a[!2]b", "a/b", False),
        ("a[+-9]b", "a/b", False),
        ("a[^2]", "a^", True),
        ("a[^2]", "a3", False),
        (r"a[\d]", "ad", True),
        (r"a[\d]", "a5", False),
        ("a[z-a]", "az", False),
        ("a[!z-a]", "az", True),
        ("a[!]", "a!", True),
        ("a[]", "a[]", True),
        ("a[a-c-]", "a-", True),
        ("**/b", "a//b", True),
        ("a/**", "a//", True),
        ("**", "a\nb/c", True),
    ],
)
def test_globs_of_unusual_letters(pattern, path, expected):
    assert matches(pattern, path) is expected


COLLISIONS = [
    {"a/b": ONE, "a": {"b": TWO}},
    collections.OrderedDict([("0", ONE), (0, TWO)]),
    {"a": {"": {"b": ONE}}, "a/": {"b": TWO}},
    {"a": {"b/c": ONE}, "a/b": {"c": TWO}},
    {"params": [ONE], "params/0": TWO},
]


@pytest.mark.parametrize("tree", COLLISIONS)
def test_two_leaves_of_one_path_are_refused_wherever_paths_count(tree, tmp_path):
    shared = "a//b|a/b/c|a/b|params/0|0"
    plan = sq.plan({"w": ONE}, {"w": P})
    for what in (
        lambda: sq.plan(tree, {"**": P}),
        lambda: plan.project(tree),
        lambda: checkpoints.save(tmp_path / "c", tree, {}),
        lambda: checkpoints.restore(tmp_path / "good", tree),
        lambda: export.save_params(tmp_path / "e.safetensors", tree),
        lambda: export.load_params(tmp_path / "e.safetensors", tree),
        lambda: optimizers.factors(tree, {"**": 1.0}),
    ):
        checkpoints.save(tmp_path / "good", {"w": ONE}, {})
        with pytest.raises(ValueError, match=rf"two leaves have the path '({shared})': tree.*tree"):
            what()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good"]


def test_networks_with_two_arrays_of_one_path_are_not_written(tmp_path):
    variables = {"params": {"a/b": ONE, "a": {"b": TWO}}, "batch_stats": {}}
    with pytest.raises(ValueError, match="two leaves have the path 'params/a/b'"):
        weights.save(tmp_path / "x.safetensors", variables, origin=None)


def permuted(seed):
    """Eleven layers in an order of their own."""
    names = np.random.default_rng(seed).permutation(LAYERS)
    layers = {str(i): {"kernel": (1.0 + i) * ONE, "bias": np.ones(3)} for i in names}
    return collections.OrderedDict(layers=collections.OrderedDict(layers))


def test_a_plan_does_not_depend_on_the_order_of_leaves():
    first, second = permuted(0), permuted(1)
    rules = {"layers/1/kernel": P.at(softness=0.4), "**/kernel": P}
    plan = sq.plan(first, rules)
    assert same(plan, sq.plan(second, rules))
    assert plan.paths[2:4] == ("layers/1/bias", "layers/1/kernel")
    assert plan.paths[-1] == "layers/10/kernel"
    want = by_path(plan.project(first))
    theta = np.linspace(0.0, 1.0, LAYERS)
    relaxed = by_path(relaxation.relax(plan, first, theta))
    free = by_path(relaxation.branches(plan, first, scale=0.5).free)
    step = by_path(sq.regularizers.prox_step(plan, first, 0.1))
    for got, expected in (
        (plan.project(second), want),
        (relaxation.relax(plan, second, theta), relaxed),
        (relaxation.branches(plan, second, scale=0.5).free, free),
        (relaxation.finish(plan, relaxation.branches(plan, second), theta), want),
        (sq.regularizers.prox_step(plan, second, 0.1), step),
    ):
        found = by_path(got)
        assert list(found) == [p for p in by_path(second) if p in expected]
        for path, leaf in found.items():
            np.testing.assert_allclose(leaf, expected[path], atol=1e-6)
    last = relaxed["layers/10/kernel"]  # theta is 1, the last of the plan: as it was
    np.testing.assert_allclose(last, 11.0 * ONE, atol=1e-12)
    for tree in (first, second):
        assert list(plan.certificate(tree).parts) == [p for p in plan.paths if "kernel" in p]


def same(plan, other):
    alike = jax.tree.structure(plan) == jax.tree.structure(other)
    pairs = itertools.zip_longest(jax.tree.leaves(plan), jax.tree.leaves(other))
    return alike and all(np.array_equal(a, b) for a, b in pairs)


def check_forms(forms, rules, count):
    """One plan of all forms, which projects each, and to the same values."""
    plans = {name: sq.plan(tree, rules) for name, tree in forms.items()}
    name, plan = next(iter(plans.items()))
    assert sum(index >= 0 for index in plan.chosen) == count
    want = by_path(plan.project(forms[name]))
    for other, tree in forms.items():
        assert same(plans[other], plan), other
        out = plan.project(tree)
        assert jax.tree.structure(out) == jax.tree.structure(tree), other
        found = by_path(out)
        for path in plan.paths:
            np.testing.assert_array_equal(found[path], want[path], err_msg=f"{other} {path}")
        kept, rest = plan.split(tree)
        for path in plan.paths:
            both = by_path(kept)[path] + by_path(rest)[path]
            np.testing.assert_allclose(both, by_path(tree)[path], atol=1e-6)
    return plan


def restored(tree, folder):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, tree)
        checkpointer.wait_until_finished()
        return checkpointer.restore(folder)


class Stack(nnx.Module):
    """Eleven layers, a parameter that is a tree, a count, random keys."""

    def __init__(self, rngs):
        def layer():
            return nnx.Linear(3, 3, rngs=rngs)

        self.layers = nnx.List([layer() for _ in range(LAYERS)])
        self.pair = nnx.Param({"u": jnp.ones(2), "v": jnp.ones((3, 3))})
        self.value = layer()
        self.dropout = nnx.Dropout(0.5, rngs=rngs)


@pytest.mark.slow(3)
def test_one_plan_of_an_nnx_module_and_of_all_that_is_made_of_it(tmp_path):
    model = Stack(nnx.Rngs(0))
    pure = nnx.to_pure_dict(nnx.state(model))
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    forms = {
        "module": model,
        "state": nnx.state(model),
        "split": nnx.split(model)[1],
        "params": nnx.state(model, nnx.Param),
        "pure": pure,
        "flat": traverse_util.flatten_dict(serialization.to_state_dict(params), sep="/"),
        "tuples": traverse_util.flatten_dict(params),
        "orbax": restored(params, tmp_path / "pure"),
        "msgpack": serialization.msgpack_restore(serialization.to_bytes(params)),
        "numpy": jax.tree.map(np.asarray, nnx.state(model, nnx.Param)),
    }
    plan = check_forms(forms, {"layers/*/kernel": P, "pair/v": P, "value/kernel": P}, LAYERS + 2)
    assert not any("/value" in path for path in plan.paths)
    nnx.update(model, plan.project(nnx.state(model, nnx.Param)))
    np.testing.assert_array_equal(
        model.layers[10].kernel[...], by_path(plan.project(pure))["layers/10/kernel"]
    )


def test_one_plan_of_an_nnx_state_restored_without_a_template(tmp_path):
    model = nnx.Sequential(*[nnx.Linear(3, 3, rngs=nnx.Rngs(i)) for i in range(LAYERS)])
    state = nnx.state(model)
    back = restored(state, tmp_path / "state")
    assert back["layers"]["10"]["kernel"].keys() == {"value"}
    forms = {"module": model, "state": state, "restored": back}
    assert "layers/10/kernel" in check_forms(forms, {"layers/*/kernel": P}, LAYERS).paths


class Gate(eqx.Module):
    """A field called ``value``, static fields, None, numbers and functions beside arrays."""

    value: jax.Array
    act: object
    layers: list
    none: None = None
    rate: float = 0.5
    name: str = eqx.field(static=True, default="gate")


@pytest.mark.slow(3)
def test_one_plan_of_an_equinox_module_and_of_its_arrays():
    keys = jax.random.split(jax.random.key(0), LAYERS)
    layers = [eqx.nn.Linear(3, 3, key=key) for key in keys]
    model = Gate(jnp.asarray(ONE, jnp.float32), jax.nn.relu, [*layers, eqx.nn.Dropout(0.5)])
    arrays, rest = eqx.partition(model, eqx.is_array)
    forms = {"module": model, "arrays": arrays, "inexact": eqx.filter(model, eqx.is_inexact_array)}
    plan = check_forms(forms, {"layers/*/weight": P, "value": P}, LAYERS + 1)
    assert plan.paths[2:4] == ("layers/1/bias", "layers/1/weight")
    whole = eqx.combine(plan.project(arrays), rest)
    assert whole.act is jax.nn.relu
    assert whole.name == "gate"
    assert whole.rate == 0.5
    shared = eqx.filter_jit(lambda plan, model: plan.project(model))(plan, model)
    np.testing.assert_allclose(shared.value, whole.value, atol=1e-6)
    numbers = jax.jit(lambda plan, tree: plan.project(tree))(plan, eqx.tree_at(
        lambda m: (m.act,), model, (None,)
    ))  # fmt: skip
    np.testing.assert_allclose(numbers.value, whole.value, atol=1e-6)
    over_all = sq.plan(model, {"value": P, "**/bias": None, "**": P})
    assert same(over_all, sq.plan(arrays, {"value": P, "**/bias": None, "**": P}))


def test_one_plan_of_a_linen_model_boxed_flat_and_frozen():
    init = nn.with_partitioning(nn.initializers.normal(), (None, None))
    model = nn.Sequential([nn.Dense(3, kernel_init=init), nn.Dense(3, kernel_init=init)])
    boxed = model.init(jax.random.key(0), jnp.ones((1, 3)))
    plain = nn.meta.unbox(boxed)
    flat = traverse_util.flatten_dict(plain, sep="/")
    forms = {
        "plain": plain,
        "boxed": boxed,
        "flat": flat,
        "frozen": nn.FrozenDict(plain),
        "tuples": traverse_util.flatten_dict(plain),
        "restored": serialization.msgpack_restore(serialization.to_bytes(plain)),
    }
    plan = check_forms(forms, {"params/*/kernel": P}, 2)
    export_paths = set(plan.paths)
    assert export_paths == {f"params/layers_{i}/{p}" for i in (0, 1) for p in ("kernel", "bias")}


def test_attributes_called_value_are_no_boxes():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Scaled:
        value: np.ndarray
        scale: np.ndarray | None

    tree = {"a": Scaled(ONE, np.ones(3)), "b": Scaled(TWO, None), "c": {"value": ONE, "w": TWO}}
    assert list(by_path(tree)) == ["a/value", "a/scale", "b/value", "c/value", "c/w"]


def test_checkpoints_and_exports_hold_leaves_by_path(tmp_path):
    """Saved from one form, restored into another, whatever letters the keys have."""
    odd = {"a b": {"": ONE}, "[*?!]": {"é.x": TWO}, "net/~/lin": [ONE, TWO]}
    turned = {"net": {"~": {"lin": {"1": TWO, "0": ONE}}}, "[*?!]/é.x": TWO, "a b/": ONE}
    checkpoints.save(tmp_path / "c", odd, {})
    export.save_params(tmp_path / "e.safetensors", odd)
    for template in (odd, turned):
        for back in (
            checkpoints.restore(tmp_path / "c", template)[0],
            export.load_params(tmp_path / "e.safetensors", template),
        ):
            assert jax.tree.structure(back) == jax.tree.structure(template)
            jax.tree.map(np.testing.assert_array_equal, back, template)
