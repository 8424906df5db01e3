"""Filtered parameters as files, and exported functions."""

import collections
import re
import sys
import time
import zipfile

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors

import softeq_jax as sq
from softeq_jax.training.export import load_function, load_params, save_function, save_params

C4 = sq.groups.cyclic(4)


class Net(nn.Module):
    """Two convolutions and a head."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), name="conv1")(x))
        x = nn.relu(nn.Conv(4, (3, 3), name="conv2")(x))
        return nn.Dense(3, name="head")(x.mean((1, 2)))


def apply(params, x):
    return Net().apply({"params": params}, x)


@pytest.fixture(scope="module")
def params():
    return jax.jit(Net().init)(jax.random.key(0), jnp.zeros((1, 8, 8, 2)))["params"]


@pytest.fixture(scope="module")
def plan(params):
    return sq.plan(params, {"**/kernel": sq.convolution_rule(C4)})


@pytest.fixture(scope="module")
def images():
    return np.asarray(jax.random.normal(jax.random.key(1), (7, 8, 8, 2)))


def _equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.mark.slow
def test_the_file_holds_the_filtered_parameters(tmp_path, params, plan):
    path = tmp_path / "new" / "net.safetensors"
    save_params(path, params, plan=plan, metadata={"step": "7"})
    _equal(load_params(path, jax.tree.map(np.asarray, params)), plan.project(params))
    assert not np.array_equal(
        load_params(path, params)["conv1"]["kernel"], params["conv1"]["kernel"]
    )
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"step": "7"}
        assert set(file.keys()) == set(plan.paths)
    save_params(path, params)
    _equal(load_params(path, params), params)
    assert [p.name for p in path.parent.iterdir()] == ["net.safetensors"]


def test_float64_parameters_are_filtered_in_float64(tmp_path, params, plan):
    wide = jax.tree.map(lambda w: np.asarray(w, np.float64), params)
    save_params(tmp_path / "x", wide, plan=plan)
    read = load_params(tmp_path / "x", wide)
    for path, projector, w in plan.planned(read):
        assert w.dtype == np.float64
        assert np.abs(projector.residual(w)).max() < 1e-15, path


def test_every_dtype_order_and_shape_returns_to_the_bit(tmp_path):
    rng = np.random.default_rng(0)
    tree = {
        "half": jnp.asarray(rng.normal(size=(3, 5)), jnp.bfloat16),
        "transposed": rng.normal(size=(3, 5)).T,
        "strided": rng.normal(size=(6, 4)).astype(np.float32)[::2, 1:],
        "big_endian": np.arange(6, dtype=">f4"),
        "scalar": np.float32(2.5),
        "empty": np.zeros((0, 3), np.float16),
        "list": [np.array([True, False]), np.arange(3, dtype=np.uint8)],
        "complex": np.array([1 + 2j], np.complex64),
    }
    save_params(tmp_path / "x", tree)
    read = load_params(tmp_path / "x", tree | {"big_endian": np.zeros(6, np.float32)})
    assert read["half"].dtype == ml_dtypes.bfloat16
    for name in ("half", "transposed", "strided", "big_endian", "scalar", "empty", "complex"):
        assert read[name].shape == tree[name].shape
        assert np.array_equal(read[name], tree[name])
    _equal(read["list"], tree["list"])


def test_templates_are_strict(tmp_path):
    path = tmp_path / "x"
    save_params(path, {"a": {"w": np.zeros((2, 3), np.float32)}, "b": np.zeros(2)})
    shape = jax.ShapeDtypeStruct
    good = {"a": {"w": shape((2, 3), jnp.float32)}, "b": np.zeros(2)}
    assert load_params(path, good)["a"]["w"].shape == (2, 3)
    with pytest.raises(ValueError, match=r"lacks \['c'\] of the template and has \['b'\] beyond"):
        load_params(path, {"a": good["a"], "c": np.zeros(2)})
    with pytest.raises(ValueError, match=r"a/w is \(\(2, 3\), 'float32'\).*\(\(3, 2\), 'float32'"):
        load_params(path, {**good, "a": {"w": shape((3, 2), jnp.float32)}})
    with pytest.raises(ValueError, match=r"b is .*'float64'\), the template .*'float32'"):
        load_params(path, {**good, "b": shape((2,), jnp.float32)})
    with pytest.raises(FileNotFoundError):
        load_params(tmp_path / "absent", good)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_params(path, good)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(tmp_path, params, plan, images, bad):
    broken = jax.tree.map(np.array, params)
    broken["conv2"]["kernel"][0, 0, 0, 0] = bad
    for given in (None, plan):
        with pytest.raises(ValueError, match="parameter conv2/kernel holds NaN or infinite"):
            save_params(tmp_path / "x", broken, plan=given)
        with pytest.raises(ValueError, match="parameter conv2/kernel holds NaN or infinite"):
            save_function(tmp_path / "x", apply, broken, images, plan=given)
    half = {"w": np.array([1, bad], ml_dtypes.bfloat16)}
    with pytest.raises(ValueError, match="parameter w holds NaN"):
        save_params(tmp_path / "x", half)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_saved(tmp_path, params, plan):
    path = tmp_path / "x"
    for leaf in ("text", 3.0, jax.random.key(0), np.zeros(2, complex), np.array(["a"])):
        with pytest.raises(TypeError, match=r"parameter a/w is of type .*expected an array of"):
            save_params(path, {"a": {"w": leaf}})
    with pytest.raises(ValueError, match=r"not the parameters that the plan .*conv2/kernel"):
        save_params(path, {"conv1": params["conv1"], "head": params["head"]}, plan=plan)
    with pytest.raises(ValueError, match="path 'a/b'"):
        save_params(path, {"a": {"b": np.zeros(1)}, "a/b": np.zeros(1)})
    with pytest.raises(ValueError, match="path ''"):
        save_params(path, np.zeros(1))
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_former_file(tmp_path, params, monkeypatch):
    path = tmp_path / "x"
    save_params(path, params)

    def torn(partial, *_):
        partial.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("softeq_jax.training.export.write_tensors", torn)
    with pytest.raises(KeyboardInterrupt):
        save_params(path, jax.tree.map(jnp.zeros_like, params))
    _equal(load_params(path, params), params)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.slow
def test_an_exported_network_is_the_folded_network(tmp_path, params, plan, images):
    path = tmp_path / "net.zip"
    save_function(path, apply, params, images[:2], plan=plan)
    f = load_function(path)
    folded = plan.project(params)
    for n in (1, 2, 7):
        np.testing.assert_array_equal(f(images[:n]), jax.jit(apply)(folded, images[:n]))
    far = np.abs(f(images) - apply(params, images)).max()
    assert far > 1e-3
    turned = np.rot90(images, axes=(1, 2))
    np.testing.assert_allclose(f(turned), f(images), atol=1e-6)
    with pytest.raises(ValueError, match="shape"):
        f(images[:, :6])


def _exported(path):
    with zipfile.ZipFile(path) as file:
        return jax.export.deserialize(bytearray(file.read("program.jax_export")))


def _operations(path):
    return collections.Counter(re.findall(r"stablehlo\.\w+", _exported(path).mlir_module()))


def test_platforms(tmp_path, params, images):
    save_function(tmp_path / "all", apply, params, images)
    assert _exported(tmp_path / "all").platforms == ("cpu", "cuda", "tpu")
    save_function(tmp_path / "other", apply, params, images, platforms=["tpu"])
    with pytest.raises(ValueError, match=r"tpu.*cpu"):
        load_function(tmp_path / "other")(images)


@pytest.mark.slow
def test_inference_pays_nothing_for_the_filter(tmp_path, params, plan, images):
    def paying(p, x):
        return apply(plan.project(p), x)

    save_function(tmp_path / "plain", apply, params, images, platforms=["cpu"])
    save_function(tmp_path / "folded", apply, params, images, platforms=["cpu"], plan=plan)
    save_function(tmp_path / "paid", paying, params, images, platforms=["cpu"])
    plain, folded, paid = (_operations(tmp_path / name) for name in ("plain", "folded", "paid"))
    assert plain["stablehlo.convolution"] == 2
    assert plain["stablehlo.dot_general"] == 1
    assert folded == plain
    assert paid.total() > plain.total()


def test_the_file_is_as_large_as_the_parameters_and_the_program(tmp_path):
    params = {"w": np.ones((512, 512), np.float32)}
    path = tmp_path / "x"
    save_function(path, lambda p, x: x @ p["w"], params, np.zeros((1, 512), np.float32))
    assert 0 < path.stat().st_size - params["w"].nbytes < 20_000


def test_a_fixed_number_of_images(tmp_path, params, images):
    path = tmp_path / "x"

    def f(p, x):
        return apply(p, x) + jnp.arange(7.0)[:, None]

    with pytest.raises(ValueError, match="symbolic_batch=False"):
        save_function(path, f, params, images)
    save_function(path, f, params, images, symbolic_batch=False, platforms=["cpu"])
    np.testing.assert_array_equal(load_function(path)(images), jax.jit(f)(params, images))
    with pytest.raises(ValueError, match="shape"):
        load_function(path)(images[:3])


def test_the_same_function_gives_the_same_bytes_at_any_time(tmp_path, params, images, monkeypatch):
    later = time.time() + 1e6
    for name in ("a", "b"):
        save_function(tmp_path / name, apply, params, images[:2], platforms=("cpu",))
        monkeypatch.setattr(time, "time", lambda: later)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_half_precision_and_registered_containers(tmp_path):
    params = {"layers": [(jnp.ones((4, 2), jnp.bfloat16), np.ones(2))]}

    def f(p, x):
        weight, bias = p["layers"][0]
        return {"y": x @ weight.astype(jnp.float32) + bias}

    save_function(tmp_path / "x", f, params, jax.ShapeDtypeStruct((1, 4), jnp.float32))
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_array_equal(load_function(tmp_path / "x")(x)["y"], f(params, x)["y"])


def test_bad_requests_of_functions(tmp_path, params, plan, images):
    path = tmp_path / "x"
    for platforms in (["cpu", "gpu"], [], "cpu"):
        with pytest.raises(ValueError, match=r"platforms is .*expected some of \('cpu', 'cuda'"):
            save_function(path, apply, params, images, platforms=platforms)
    with pytest.raises(TypeError, match="example is a list"):
        save_function(path, apply, params, [1.0])
    with pytest.raises(ValueError, match="example has shape"):
        save_function(path, apply, params, np.float32(1))
    with pytest.raises(ValueError, match="not the parameters that the plan was built for"):
        save_function(path, apply, {"w": np.zeros(1)}, images, plan=plan)
    with pytest.raises(ZeroDivisionError):
        save_function(path, lambda p, x: x / (1 // 0), params, images)
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_noticed(tmp_path, params, images):
    path = tmp_path / "x"
    save_function(path, apply, params, images, platforms=["cpu"])
    whole = path.read_bytes()
    for place in (len(whole) // 4, len(whole) - 3000):
        changed = bytearray(whole)
        changed[place] ^= 4
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="not a file that save_function wrote, or damaged"):
            load_function(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        load_function(path)
    with pytest.raises(FileNotFoundError):
        load_function(tmp_path / "absent")


def test_missing_flatbuffers_names_the_extra(tmp_path, params, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    for call in (
        lambda: save_function(tmp_path / "x", apply, params, images),
        lambda: load_function(tmp_path / "x"),
    ):
        with pytest.raises(ImportError, match=r"flatbuffers: pip install softeq-jax\[train\]"):
            call()
