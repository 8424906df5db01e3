"""Layer certificates: the measured operator defect never exceeds them, and refusals say why."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax.certificates import convolution, convolution_norm_bound, lattice_obstacle


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution layer on a square map, and its exact operator."""

    size: int
    kernel: int
    stride: int = 1
    pad: int = 0
    groups: int = 1
    dilation: int = 1

    input_shape = property(lambda self: (self.size, self.size))
    kernel_size = property(lambda self: (self.kernel, self.kernel))
    strides = property(lambda self: (self.stride, self.stride))
    padding = property(lambda self: ((self.pad, self.pad),) * 2)
    kernel_dilation = property(lambda self: (self.dilation, self.dilation))
    feature_group_count = property(lambda self: self.groups)

    @property
    def out(self):
        reach = self.dilation * (self.kernel - 1) + 1
        return (self.size + 2 * self.pad - reach) // self.stride + 1

    def matrix(self, kernel):
        """The layer as a float64 matrix [outputs, inputs] on flattened maps, by its definition."""
        k, _, inputs, outputs = kernel.shape
        share = outputs // self.groups
        operator = np.zeros(
            (self.out, self.out, outputs, self.size, self.size, inputs * self.groups)
        )
        for r, c, u, v in itertools.product(range(self.out), range(self.out), range(k), range(k)):
            row = r * self.stride + u * self.dilation - self.pad
            col = c * self.stride + v * self.dilation - self.pad
            if 0 <= row < self.size and 0 <= col < self.size:
                for g in range(self.groups):
                    o, i = slice(g * share, (g + 1) * share), slice(g * inputs, (g + 1) * inputs)
                    operator[r, c, o, row, col, i] = kernel[u, v, :, o].T
        return operator.reshape(self.out**2 * outputs, -1)

    def defect(self, operator, quarters, mirrored):
        """``rho(g) L - L rho(g)`` for g = R^quarters F^mirrored."""
        sides = ((self.out, operator.shape[0]), (self.size, operator.shape[1]))
        after, before = (turn(n, total // n**2, quarters, mirrored) for n, total in sides)
        return after @ operator - operator @ before


def turn(size, channels, quarters, mirrored):
    """The matrix of R^quarters F^mirrored on flattened maps."""
    index = np.arange(size**2 * channels).reshape(size, size, channels)
    index = index[:, ::-1] if mirrored else index
    return np.eye(index.size)[np.rot90(index, quarters).ravel()]


SYMMETRIC = [
    Layer(4, 3, 1, 1),
    Layer(5, 3, 1, 0),
    Layer(5, 3, 2, 1),
    Layer(4, 2, 2),
    Layer(7, 3, 2, 1, dilation=2),
]


def test_the_exact_operator_is_that_of_the_convolution():
    rng = np.random.default_rng(0)
    for layer in (*SYMMETRIC, Layer(5, 3, 2, 1, groups=2)):
        kernel = rng.standard_normal((*layer.kernel_size, 2, 4))
        x = rng.standard_normal((1, layer.size, layer.size, 2 * layer.groups))
        y = jax.lax.conv_general_dilated(
            jnp.asarray(x, jnp.float32),
            jnp.asarray(kernel, jnp.float32),
            layer.strides,
            layer.padding,
            rhs_dilation=layer.kernel_dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=layer.groups,
        )
        np.testing.assert_allclose(layer.matrix(kernel) @ x.ravel(), y.ravel(), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c4", "d4"])
@pytest.mark.parametrize("layer", SYMMETRIC, ids=str)
def test_the_operator_defect_of_200_weights_per_level_is_below_the_certificate(name, layer):
    group = sq.groups.from_name(name)
    rep = sq.reps.image(group, layer.kernel_size)
    strict = sq.projector("h w i o", {"h w": rep})
    rng = np.random.default_rng(0)
    for level in strict.levels():
        cut = strict.at(cutoff=level)
        for _ in range(200):
            kernel = cut(rng.standard_normal((*layer.kernel_size, 1, 2)))
            operator = layer.matrix(kernel)
            norm = np.linalg.norm(operator, 2)
            whole = convolution(strict, kernel, layer)
            assert whole.certified
            assert norm <= whole.weight_norm * (1 + 1e-12)
            quarters, flip = rng.integers(4), bool(rng.integers(2)) and group.has_flip
            asked = convolution(strict, kernel, layer, angle=quarters * np.pi / 2, flip=flip)
            measured = np.linalg.norm(layer.defect(operator, quarters, flip), 2)
            assert asked.norm == "operator"
            assert measured <= asked.bound <= whole.bound == whole.supremum
        if level == 0:
            assert whole.bound <= 1e-11 * norm


def test_a_dilated_strided_layer_is_bounded():
    """The windows over one pixel are more than kernel size over stride where the taps skip."""
    layer = Layer(13, 3, 2, 2, dilation=2)
    assert lattice_obstacle(layer) is None
    for kernel in (np.ones((3, 3, 1, 1)), np.outer([1.0, 0, -1], [1, 1, 1])[..., None, None]):
        bound = convolution_norm_bound(kernel, layer.strides, 1, layer.kernel_dilation)
        assert np.linalg.norm(layer.matrix(kernel), 2) <= bound
        strict = sq.projector("h w i o", {"h w": sq.reps.image(sq.groups.cyclic(4), (3, 3))})
        certificate = convolution(strict, kernel, layer, angle=np.pi)
        defect = layer.defect(layer.matrix(kernel), 2, False)
        assert np.linalg.norm(defect, 2) <= certificate.bound


def test_the_bound_is_tight_for_patch_embeddings_and_safe_for_constants():
    kernel = np.random.default_rng(1).standard_normal((4, 4, 3, 5))
    exact = np.linalg.norm(Layer(8, 4, 4).matrix(kernel), 2)
    np.testing.assert_allclose(convolution_norm_bound(kernel, (4, 4)), exact, rtol=1e-12)
    constant = np.ones((3, 3, 1, 1))
    assert np.linalg.norm(constant) == 3
    exact = np.linalg.norm(Layer(20, 3, 1, 1).matrix(constant), 2)
    assert 8.5 < exact <= convolution_norm_bound(constant)
    np.testing.assert_allclose(convolution_norm_bound(constant), 9)


def test_feature_groups_take_the_largest_block():
    rng = np.random.default_rng(2)
    kernel = rng.standard_normal((3, 3, 1, 4))
    layer = Layer(6, 3, 1, 1, groups=4)
    exact = np.linalg.norm(layer.matrix(kernel), 2)
    bound = convolution_norm_bound(kernel, feature_group_count=4)
    assert exact <= bound
    assert bound < convolution_norm_bound(kernel)
    with pytest.raises(ValueError, match="3 groups"):
        convolution_norm_bound(kernel, feature_group_count=3)


def test_strided_layers_that_break_the_lattice_are_not_certified():
    layer = Layer(32, 3, 2, 1)
    assert "stride 2" in lattice_obstacle(layer)
    strict = sq.projector("h w i o", {"h w": sq.reps.image(sq.groups.cyclic(4), (3, 3))})
    kernel = np.asarray(strict(np.random.default_rng(0).standard_normal((3, 3, 1, 1))))
    certificate = convolution(strict, kernel, layer)
    assert not certificate.certified
    assert np.isnan(certificate.bound)
    assert certificate.reason.startswith("not certified")
    small = Layer(8, 3, 2, 1)
    assert "stride 2" in lattice_obstacle(small)
    assert np.linalg.norm(small.defect(small.matrix(kernel), 1, False), 2) > 0.1


def test_other_rotations_are_certified_for_the_kernel_only():
    so2 = sq.reps.image(sq.groups.so(2), (3, 3))
    strict = sq.projector("h w i o", {"h w": so2})
    kernel = np.random.default_rng(0).standard_normal((3, 3, 1, 2))
    for asked in ({}, {"angle": 0.5}, {"within": 0.5}):
        certificate = convolution(strict, kernel, Layer(9, 3, 1, 1), **asked)
        assert not certificate.certified
        assert certificate.reason.startswith("kernel only")
    layer = Layer(9, 3, 1, 1)
    quarter = convolution(strict, kernel, layer, angle=np.pi / 2)
    assert quarter.certified
    assert np.isnan(quarter.supremum)
    defect = layer.defect(layer.matrix(kernel), 1, False)
    assert np.linalg.norm(defect, 2) <= quarter.bound
    with pytest.raises(ValueError, match="exact operator norm"):
        _ = quarter.relative
    with pytest.raises(ValueError, match="does not belong"):
        convolution(strict, kernel, Layer(9, 5, 1, 2))
    with pytest.raises(ValueError, match="Frobenius"):
        sq.certificates.combine({"a": quarter})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_shape": (8, 6)}, "not square"),
        ({"padding": ((0, 1), (0, 1))}, "not symmetric"),
        ({"strides": (1, 2)}, "strides"),
    ],
)
def test_obstacles_are_named(change, message):
    from softeq_jax.models import ConvGeometry

    regular = ConvGeometry((8, 8), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    assert lattice_obstacle(regular) is None
    assert message in lattice_obstacle(dataclasses.replace(regular, **change))


def test_the_norm_is_that_of_padding_with_zeros():
    """Other fillings respect the lattice, but the bound of the norm does not hold for them."""
    from softeq_jax.models import ConvGeometry

    one = ((1, 1), (1, 1))
    layer = ConvGeometry((8, 8), (3, 3), (1, 1), one, (1, 1), 1, padding_mode="reflect")
    strict = sq.projector("h w i o", {"h w": sq.reps.image(sq.groups.cyclic(4), (3, 3))})
    found = convolution(strict, np.ones((3, 3, 1, 1)), layer)
    assert not found.certified
    assert "reflect" in found.reason


def test_channels_may_carry_representations_too():
    """C4 on pixels and regular channels: the operator defect of the whole layer."""
    group = sq.groups.cyclic(4)
    regular = sq.reps.regular(group)
    image = sq.reps.image(group, (3, 3))
    strict = sq.projector("h w i o", {"h w": image, "i": regular.dual, "o": regular})
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3, 4, 4))
    kernel = strict(kernel) + 0.1 * strict.residual(kernel)
    layer = Layer(5, 3, 1, 1)
    operator = layer.matrix(kernel)
    for quarters in range(4):
        rho = regular.matrix(group.element(quarters * np.pi / 2))
        pixels = turn(5, 1, quarters, False)
        whole = np.kron(pixels, rho)
        measured = np.linalg.norm(whole @ operator - operator @ whole, 2)
        found = convolution(strict, kernel, layer, angle=quarters * np.pi / 2)
        assert found.certified
        assert measured <= found.bound <= convolution(strict, kernel, layer).bound
        if quarters:
            assert found.bound <= 4 * measured
    equivariant = convolution(strict, strict(kernel), layer)
    assert equivariant.bound <= 1e-10
    linear = sq.certificates.linear(strict, kernel, np.ones(4), geometry=layer)
    assert linear.certified
    np.testing.assert_allclose(linear.bias_norm, 2 * 5, rtol=1e-9)
    refused = sq.certificates.linear(strict, kernel, geometry=Layer(8, 3, 2, 1))
    assert not refused.certified
    assert "stride 2" in refused.reason
    assert "stride 2" in sq.certificates.compose([refused]).reasons[0]


def test_actions_on_channels_alone_do_not_mind_the_lattice():
    so3 = sq.groups.so(3)
    v = sq.reps.vector(so3)
    strict = sq.projector("h w i o", {"i": v, "o": v})
    kernel = np.random.default_rng(0).standard_normal((3, 3, 3, 3))
    layer = Layer(8, 3, 2, 1)
    g = so3.exp(np.array([0.4, 0.1, -0.2]))
    found = convolution(strict, kernel, layer, element=g)
    assert found.certified
    operator = layer.matrix(kernel)
    after, before = np.kron(np.eye(layer.out**2), g), np.kron(np.eye(64), g)
    measured = np.linalg.norm(after @ operator - operator @ before, 2)
    assert measured <= found.bound <= 4 * measured
    assert not convolution(strict, kernel, layer).certified
    grouped = dataclasses.replace(Layer(8, 3, 1, 1), groups=3)
    assert "feature groups" in convolution(strict, kernel, grouped, element=g).reason
    lorentz = sq.reps.vector(sq.groups.lorentz())
    bad = sq.projector("h w i o", {"i": lorentz.dual, "o": lorentz})
    found = convolution(bad, np.zeros((3, 3, 4, 4)), layer, element=np.eye(4))
    assert "orthogonal" in found.reason
