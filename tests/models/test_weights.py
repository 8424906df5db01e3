"""Weights in safetensors: exact round trips, and an error that names what is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from softeq_jax.models import CifarResNet, load_cifar_resnet, save_cifar_resnet


@pytest.fixture
def network():
    model = CifarResNet(depth=14, width=4, num_classes=3)
    x = jnp.ones((1, 8, 8, 1))
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    rng = np.random.default_rng(0)
    return model, jax.tree.map(lambda s: rng.random(s.shape, np.float32), shapes)


@pytest.fixture
def saved(tmp_path, network):
    path = tmp_path / "net.safetensors"
    save_cifar_resnet(path, network[1])
    return path


def _rewrite(path, **changes):
    tensors = load_file(path)
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value(tensors.get(name)) if callable(value) else value
    save_file(tensors, path)


def test_round_trip(saved, network, tmp_path):
    model, variables = load_cifar_resnet(saved)
    assert (model.depth, model.width, model.num_classes) == (14, 4, 3)
    want, got = jax.tree.leaves_with_path(network[1]), jax.tree.leaves_with_path(variables)
    assert [p for p, _ in want] == [p for p, _ in got]
    for (_, a), (_, b) in zip(want, got, strict=True):
        assert np.asarray(a).tobytes() == b.tobytes()
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("name", ["resnet20", "resnet32"])
def test_round_trip_of_published_weights(data_dir, tmp_path, name):
    path = data_dir / "pretrained" / f"{name}_cifar10.safetensors"
    model, variables = load_cifar_resnet(path)
    assert model.depth == int(name[-2:])
    save_cifar_resnet(tmp_path / "copy", variables)
    want, got = load_file(path), load_file(tmp_path / "copy")
    assert want.keys() == got.keys()
    for key, array in want.items():
        assert (array.shape, array.dtype) == (got[key].shape, got[key].dtype)
        assert array.tobytes() == got[key].tobytes()


def test_step_counters_are_skipped(saved):
    _rewrite(saved, bn1__num_batches_tracked=np.array(5))
    load_cifar_resnet(saved)


def _nan(array):
    array.flat[3] = np.nan
    return array


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layer2__1__conv2__weight": None}, ["missing layer2.1.conv2.weight"]),
        ({"linear__bias": None}, ["missing linear.bias"]),
        ({"layer2__7__extra": np.ones(3)}, ["left over layer2.7.extra"]),
        ({"fc__weight": np.ones(3)}, ["left over fc.weight"]),
        ({"conv1__weight": lambda a: a.T.copy()}, ["conv1.weight", "(3, 3, 1, 4)", "(4, 3, 3, 3)"]),
        (
            {"layer3__0__conv1__weight": lambda a: a[:, :-1].copy()},
            ["layer3.0.conv1.weight", "(16, 7, 3, 3)", "(16, 8, 3, 3)"],
        ),
        ({"bn1__weight": lambda a: a[:-1].copy()}, ["bn1.weight", "(3,)", "(4,)"]),
        ({"linear__weight": lambda a: a.T.copy()}, ["linear.weight (16, 3)", "linear.bias (3,)"]),
        ({"bn1__bias": lambda a: a.astype(np.float64)}, ["bn1.bias", "float64", "float32"]),
        ({"layer1__1__bn2__bias": _nan}, ["layer1.1.bn2.bias", "1 of 4", "finite"]),
        ({"conv1__weight": lambda a: a * np.float32(np.inf)}, ["conv1.weight", "finite"]),
        ({"bn1__running_var": lambda a: -a}, ["bn1.running_var", ">= 0"]),
    ],
)
def test_errors_name_the_tensor(saved, changes, words):
    _rewrite(saved, **changes)
    with pytest.raises(ValueError, match=r"net\.safetensors") as info:
        load_cifar_resnet(saved)
    for word in words:
        assert word in str(info.value)


def test_unreadable_files(saved, tmp_path):
    data = saved.read_bytes()
    broken = tmp_path / "broken.safetensors"
    for content in (b"", b"PK\x03\x04 not one", data[:100], data[:-1], b"\xff" * 64):
        broken.write_bytes(content)
        with pytest.raises(ValueError, match=r"broken\.safetensors.*safetensors"):
            load_cifar_resnet(broken)
    for absent in (tmp_path / "absent", tmp_path):
        with pytest.raises(FileNotFoundError, match=absent.name):
            load_cifar_resnet(absent)


def test_saving_errors(network, tmp_path):
    variables = network[1]
    with pytest.raises(ValueError, match=r"missing bn1\.running_mean"):
        save_cifar_resnet(tmp_path / "x", {"params": variables["params"]})
    extra = {**variables, "params": {**variables["params"], "probe": {"kernel": np.ones((2, 2))}}}
    with pytest.raises(ValueError, match="left over params/probe/kernel"):
        save_cifar_resnet(tmp_path / "x", extra)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        save_cifar_resnet(tmp_path / "nowhere" / "x", variables)
    assert not list(tmp_path.iterdir())
