"""The CIFAR ResNet: shapes, shortcut, errors, and agreement with the published weights."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softeq_jax.models import CifarResNet, load_cifar_resnet
from softeq_jax.models.cifar_resnet import shortcut

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_small_network_on_digits():
    model = CifarResNet(depth=8, width=8, num_classes=7)
    x = jax.ShapeDtypeStruct((3, 8, 8, 1), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    logits, new = jax.eval_shape(
        lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]), variables, x
    )
    assert logits.shape == (3, 7)
    assert jax.tree.structure(new["batch_stats"]) == jax.tree.structure(variables["batch_stats"])


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 9, 21, 0, -4])
def test_depth_error(depth):
    with pytest.raises(ValueError, match=f"6 n \\+ 2.*{depth}"):
        CifarResNet(depth=depth).init(jax.random.key(0), jnp.ones((1, 8, 8, 3)), train=False)


def test_width_and_rank_errors():
    with pytest.raises(ValueError, match="width"):
        CifarResNet(depth=8, width=3).init(jax.random.key(0), jnp.ones((1, 8, 8, 3)), train=False)
    with pytest.raises(ValueError, match="shape"):
        CifarResNet(depth=8).init(jax.random.key(0), jnp.ones((8, 8, 3)), train=False)


def test_shortcut_places_channels_in_the_middle():
    x = np.arange(2 * 4 * 4 * 4, dtype=np.float32).reshape(2, 4, 4, 4)
    y = np.asarray(shortcut(x, 8, 2))
    np.testing.assert_array_equal(y[..., 2:6], x[:, ::2, ::2])
    assert not y[..., :2].any()
    assert not y[..., 6:].any()
    with pytest.raises(ValueError, match="from 4 to 7"):
        shortcut(x, 7, 1)


@pytest.fixture(scope="module")
def cifar_test(data_dir):
    data = pytest.importorskip("softeq_jax.data")
    source = data.open_source("cifar10", "test", data_dir / "tfds")
    images, labels = data.load_arrays(source, num_classes=10)
    return data.normalize(images, MEAN, STD), labels


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet20", "resnet32"])
def test_published_logits(data_dir, cifar_test, name):
    folder = data_dir / "pretrained"
    model, variables = load_cifar_resnet(folder / f"{name}_cifar10.safetensors")
    reference = np.load(folder / f"{name}_cifar10_logits.npz")
    np.testing.assert_array_equal(reference["test_index"], np.arange(256))
    logits = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, cifar_test[0][:256])
    np.testing.assert_allclose(logits, reference["logits"], atol=1e-4, rtol=0)


@pytest.mark.slow(8)
def test_published_accuracy(data_dir, cifar_test):
    folder = data_dir / "pretrained"
    model, variables = load_cifar_resnet(folder / "resnet20_cifar10.safetensors")
    expected = json.loads((folder / "reference_accuracy.json").read_text())["resnet20"]
    images, labels = cifar_test
    apply = jax.jit(lambda v, x: jnp.argmax(model.apply(v, x, train=False), -1))
    predicted = [np.asarray(apply(variables, images[i : i + 500])) for i in range(0, 10_000, 500)]
    assert abs(np.mean(np.concatenate(predicted) == labels) - expected) < 1e-3
