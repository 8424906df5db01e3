"""Bounds of networks: never below the sampled error, and refused where they would be wrong."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softeq_jax as sq
from softeq_jax import certificates as ct

SO3 = sq.groups.so(3)
V = sq.reps.vector(SO3)
C4 = sq.groups.cyclic(4)
R = sq.reps.regular(C4)


def norm_relu(x, b=0.2):
    each = x.reshape(-1, 3)
    size = np.linalg.norm(each, axis=1, keepdims=True)
    return (each * np.maximum(size - b, 0.0) / np.maximum(size, 1e-300)).reshape(x.shape)


def relu(x):
    return np.maximum(x, 0.0)


class Net:
    """Three affine layers with an activation between, the middle one in a residual block."""

    def __init__(self, rep, widths, act, rng, softness=0.1, bias=True):
        self.reps = [c * rep for c in widths]
        self.act = act
        self.params = []
        for source, target in zip(self.reps[:-1], self.reps[1:], strict=True):
            p = sq.projector("i o", {"i": source.dual, "o": target})
            q = sq.projector("o", {"o": target})
            w = rng.standard_normal((source.dim, target.dim)) / math.sqrt(source.dim)
            b = rng.standard_normal(target.dim) * bias
            w = p(w) + softness * p.residual(w)
            b = q(b) + softness * q.residual(b)
            self.params.append((p, w, q, b))

    def hidden(self, x):
        """The inputs of the linear layers, and the output."""
        (_, w1, _, b1), (_, w2, _, b2), (_, w3, _, b3) = self.params
        h1 = self.act(x @ w1 + b1)
        h2 = h1 + self.act(h1 @ w2 + b2)
        return [x, h1, h2], h2 @ w3 + b3

    def __call__(self, x):
        return self.hidden(x)[1]

    def layers(self, kind, **asked):
        each = [
            ct.linear(p, w, b, q, name=f"dense{i}", **asked)
            for i, (p, w, q, b) in enumerate(self.params)
        ]
        first, second = (ct.activation(kind, rep) for rep in self.reps[1:3])
        return [each[0], first, ct.Residual([each[1], second]), each[2]]

    def error(self, g, x):
        source, target = self.reps[0], self.reps[-1]
        return np.linalg.norm(self(source.apply(g, x)) - target.apply(g, self(x)))


CASES = {
    "so3": (V, (2, 3, 3, 2), norm_relu, "norm_relu"),
    "c4": (R, (2, 3, 3, 2), relu, "relu"),
}


def elements(group, n):
    if group.is_finite:
        return group.elements()
    with jax.enable_x64(True):
        return np.asarray(group.sample(jax.random.key(0), n))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("bias", [False, True])
def test_the_bound_is_never_below_the_sampled_error(name, bias):
    rep, widths, act, kind = CASES[name]
    rng = np.random.default_rng(0)
    net = Net(rep, widths, act, rng, bias=bias)
    whole = ct.compose(net.layers(kind), input_norm=2.0)
    assert whole.certified
    assert not whole.reasons
    xs = rng.standard_normal((40, net.reps[0].dim))
    xs *= 2.0 / np.linalg.norm(xs, axis=1, keepdims=True)
    for g in elements(rep.group, 8):
        one = ct.compose(net.layers(kind, element=g), input_norm=2.0)
        assert one.bound <= whole.bound * (1 + 1e-9)
        for x in xs:
            hidden, y = net.hidden(x)
            error = net.error(g, x)
            norms = [float(np.linalg.norm(h)) for h in hidden]
            actual = ct.compose(net.layers(kind, element=g), hidden_norms=norms)
            assert error <= actual.bound <= one.bound * (1 + 1e-9)
            assert np.linalg.norm(y) <= actual.output_norm <= one.output_norm
            other = net(x + 0.1)
            distance = math.sqrt(len(x)) * 0.1
            assert np.linalg.norm(y - other) <= one.lipschitz * distance * (1 + 1e-9)


def test_small_rotations_have_small_bounds():
    net = Net(V, (2, 3, 3, 2), norm_relu, np.random.default_rng(1))
    small = ct.compose(net.layers("norm_relu", within=0.05))
    large = ct.compose(net.layers("norm_relu"))
    # moving biases and kernels alike: everything scales with the angle
    assert 0 < small.bound < 0.2 * large.bound


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_exactly_equivariant_networks_have_bound_zero(name):
    rep, widths, act, kind = CASES[name]
    net = Net(rep, widths, act, np.random.default_rng(2), softness=0.0)
    assert ct.compose(net.layers(kind)).bound < 1e-9
    g = elements(rep.group, 3)[1]
    assert net.error(g, np.random.default_rng(0).standard_normal(net.reps[0].dim)) < 1e-9


@pytest.mark.slow
def test_pointwise_relu_on_vectors_breaks_the_claim_and_is_not_certified():
    """Equivariant weights, so every linear layer has defect 0: what is left is the relu's fault."""
    net = Net(V, (2, 3, 3, 2), relu, np.random.default_rng(3), softness=0.0)
    honest = ct.compose(net.layers("relu"))
    assert not honest.certified
    assert math.isnan(honest.bound)
    assert len(honest.reasons) == 2
    assert all("pointwise nonlinearity relu" in reason for reason in honest.reasons)
    assert honest.reasons[0].startswith("1 (relu)")
    assert honest.reasons[1].startswith("2.1 (relu)")
    pretended = [
        ct.Activation(1.0) if isinstance(layer, ct.Activation) else layer
        for layer in net.layers("norm_relu")
    ]
    claimed = ct.compose(pretended).bound
    rng = np.random.default_rng(0)
    x = rng.standard_normal(6)
    x /= np.linalg.norm(x)
    errors = [net.error(g, x) for g in elements(SO3, 20)]
    assert claimed < 1e-9
    assert max(errors) > 0.05


def test_the_formula_without_biases():
    layers = [
        ct.Linear(0.1, 2.0, name="a"),
        ct.Activation(1.5),
        ct.Linear(0.2, 3.0),
        ct.Linear(0.0, 0.5),
    ]
    found = ct.compose(layers, input_norm=2.0)
    expected = 1.5 * 2.0 * (0.1 * 3.0 * 0.5 + 0.2 * 2.0 * 0.5)
    np.testing.assert_allclose(found.bound, expected)
    np.testing.assert_allclose(found.lipschitz, 2.0 * 1.5 * 3.0 * 0.5)
    np.testing.assert_allclose(found.output_norm, 2.0 * found.lipschitz)
    assert list(found.terms) == ["0 (a)", "2", "3"]
    # a layer that removes everything: no division by its norm
    assert ct.compose([*layers, ct.Linear(0.0, 0.0)]).bound == 0.0


def test_the_formula_with_biases_residuals_and_shortcuts():
    block = ct.Residual([ct.Linear(0.1, 2.0, bias_norm=1.0, bias_defect=0.3)])
    found = ct.compose([block], input_norm=3.0)
    np.testing.assert_allclose(found.bound, 0.1 * 3.0 + 0.3)
    np.testing.assert_allclose(found.output_norm, 3.0 + 7.0)
    np.testing.assert_allclose(found.lipschitz, 3.0)
    twice = ct.compose([block, block], input_norm=3.0)
    np.testing.assert_allclose(twice.bound, 3.0 * 0.6 + 0.1 * 10.0 + 0.3)
    projected = ct.Residual(block.layers, [ct.Linear(0.5, 1.0)])
    np.testing.assert_allclose(ct.compose([projected], input_norm=3.0).bound, 0.6 + 1.5)
    posterior = ct.compose([projected], hidden_norms=[1.0, 2.0])
    np.testing.assert_allclose(posterior.bound, 0.1 + 0.3 + 1.0)
    sigmoid = ct.activation("sigmoid", R)
    assert ct.compose([sigmoid], input_norm=0.0).output_norm == 1.0


def test_operator_norms_not_frobenius_norms():
    p = sq.projector("i o", {"i": V.dual, "o": V})
    found = ct.linear(p, np.eye(3))
    np.testing.assert_allclose(found.norm, 1.0, rtol=1e-11)
    assert found.defect < 1e-11
    w = np.random.default_rng(0).standard_normal((3, 3))
    for asked in ({}, {"within": 0.2}, {"element": SO3.exp(np.array([0.2, 0, 0]))}):
        layer = ct.linear(p, w, **asked)
        assert layer.certified
        assert layer.defect <= p.certificate(w, **asked).bound * (1 + 1e-9)
        for g in elements(SO3, 100) if not asked else [SO3.exp(np.array([0, 0.1, -0.1]))]:
            defect = np.linalg.norm(V.matrix(g) @ w.T - w.T @ V.matrix(g), 2)
            assert "element" in asked or defect <= layer.defect


@pytest.mark.parametrize("group", [sq.groups.lorentz(), sq.groups.sp(2)], ids=str)
def test_non_compact_layers_are_certified_per_element(group):
    v = sq.reps.vector(group)
    p = sq.projector("i o", {"i": v.dual, "o": v})
    q = sq.projector("o", {"o": v})
    rng = np.random.default_rng(0)
    w1, w2, b = (rng.standard_normal(s) for s in ((4, 4), (4, 4), 4))
    g = group.exp(rng.standard_normal(len(group.lie_generators)))
    layers = [ct.linear(p, w1, b, q, element=g), ct.linear(p, w2, element=g)]
    np.testing.assert_allclose(
        layers[0].defect, np.linalg.norm(v.matrix(g) @ w1.T - w1.T @ v.matrix(g), 2)
    )
    bound = ct.compose(layers)
    assert bound.certified
    for _ in range(100):
        x = rng.standard_normal(4)
        x /= np.linalg.norm(x)
        error = (v.apply(g, x) @ w1 + b) @ w2 - v.apply(g, (x @ w1 + b) @ w2)
        assert np.linalg.norm(error) <= bound.bound
    whole = ct.compose([ct.linear(p, w1)])
    assert not whole.certified
    assert "not compact" in whole.reasons[0]
    local = ct.linear(p, w1, b, within=0.1)
    assert not local.certified
    assert "bias has no projector" in local.reason
    assert not ct.activation("norm_relu", v).certified


def test_residuals_and_neighbours_need_equal_representations():
    p = sq.projector("i o", {"i": (2 * V).dual, "o": 3 * V})
    layer = ct.linear(p, np.zeros((6, 9)), within=0.1)
    assert (layer.source, layer.target) == (2 * V, 3 * V)
    with pytest.raises(ValueError, match="both ends"):
        ct.compose([ct.Residual([layer])])
    with pytest.raises(ValueError, match="takes features of"):
        ct.compose([layer, layer])
    with pytest.raises(ValueError, match="takes features of"):
        ct.compose([layer, ct.activation("norm_relu", 2 * V)])
    with pytest.raises(ValueError, match="2 linear layers"):
        ct.compose([ct.Linear(0, 1), ct.Linear(0, 1)], hidden_norms=[1.0])
    with pytest.raises(ValueError, match="must be Linear"):
        ct.compose(["relu"])
    with pytest.raises(ValueError, match="finite number"):
        ct.Linear(math.nan, 1.0)
    image = sq.projector("h w i o", {"h w": sq.reps.image(C4, (3, 3))})
    with pytest.raises(ValueError, match="two axes"):
        ct.linear(image, np.zeros((3, 3, 1, 1)))


POINTWISE = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "swish": jax.nn.swish,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "abs": jnp.abs,
    "tanh": jnp.tanh,
    "hard_tanh": jax.nn.hard_tanh,
    "soft_sign": jax.nn.soft_sign,
    "sin": jnp.sin,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", POINTWISE)
def test_lipschitz_constants_are_the_largest_slopes(kind):
    f, x = POINTWISE[kind], np.linspace(-12, 12, 240_001)
    slopes = np.abs(np.diff(np.asarray(f(x), np.float64)) / np.diff(x))
    known = ct.activation(kind, R)
    assert known.certified
    assert 0.999 * known.lipschitz <= slopes.max() <= known.lipschitz + 0.02  # float32 slopes
    smooth = np.abs(jax.vmap(jax.grad(f))(jnp.linspace(-12, 12, 4001)))
    assert smooth.max() <= known.lipschitz * (1 + 1e-6)
    np.testing.assert_allclose(known.offset, 2 * abs(float(f(0.0))), rtol=1e-6)
    signs = sq.reps.irrep(C4, 2)
    assert ct.activation(kind, signs).certified == ct.POINTWISE[kind].odd
    is_odd = np.allclose(f(-x), -f(x), atol=1e-6)
    assert is_odd == ct.POINTWISE[kind].odd


@pytest.mark.slow
def test_every_pointwise_function_is_tested():
    assert set(POINTWISE) == set(ct.POINTWISE)
    exact = jax.grad(lambda x: jax.nn.gelu(x, approximate=False))(math.sqrt(2.0))
    assert exact <= ct.POINTWISE["gelu"].lipschitz <= exact + 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "f"),
    [
        ("norm_relu", norm_relu),
        ("norm_tanh", lambda x: x * np.tanh(np.linalg.norm(x)) / np.linalg.norm(x)),
        ("norm_gate", lambda x: x / (1 + np.exp(-np.linalg.norm(x)))),
    ],
)
def test_functions_of_the_norm(kind, f):
    known = ct.activation(kind, V)
    rng = np.random.default_rng(0)
    g = elements(SO3, 1)[0]
    largest = 0.0
    for scale in (0.3, 1.0, 2.4, 5.0):
        for _ in range(100):
            x = rng.standard_normal(3) * scale
            y = x + rng.standard_normal(3) * 0.01
            largest = max(largest, np.linalg.norm(f(x) - f(y)) / np.linalg.norm(x - y))
            np.testing.assert_allclose(f(g @ x), g @ f(x), atol=1e-12)
    assert 0.97 * known.lipschitz <= largest <= known.lipschitz * (1 + 1e-9)


def test_what_is_only_known_a_posteriori_says_so():
    names = ("gate", "softmax", "attention", "layernorm", "rmsnorm", "groupnorm", "batchnorm")
    for kind in (*names, "layer_norm", "rms_norm", "group_norm", "batch_norm"):
        known = ct.activation(kind, R)
        assert not known.certified
        assert "globally Lipschitz" in known.reason
        found = ct.compose([ct.Linear(0.1, 1.0), known])
        assert not found.certified
        assert "a posteriori" in found.reasons[0]
    local = ct.Activation(3.0, name="layernorm")
    assert ct.compose([ct.Linear(0.1, 1.0), local], hidden_norms=[1.0]).bound > 0
    assert ct.activation("identity", V).certified
    assert not ct.activation("tanh", V).certified
    with pytest.raises(ValueError, match="expected one of identity, relu"):
        ct.activation("rleu", V)
