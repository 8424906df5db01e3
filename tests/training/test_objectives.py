"""The loss of a projected network."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

import softeq_jax as sq
from softeq_jax import training


def test_gradient_is_the_projected_gradient():
    rng = np.random.default_rng(0)
    params = {"w": jnp.asarray(rng.standard_normal((3, 3, 1, 4)), jnp.float32)}
    images = jnp.asarray(rng.standard_normal((6, 3, 3, 1)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 4, 6))
    plan = sq.plan(params, {"w": sq.convolution_rule(sq.groups.cyclic(4), cutoff=1.0)})

    def apply_train(params, state, x):
        return jnp.einsum("nhwi,hwio->no", x, params["w"]), {"count": state["count"] + 1}

    loss_fn = training.projected_classification(apply_train)
    batch = {"image": images, "label": labels}

    def loss(params, plan):
        return loss_fn(params, {"count": 0}, batch, jax.random.key(0), plan)

    value, (state, metrics) = loss(params, plan)
    folded = plan.project(params)
    logits, _ = apply_train(folded, {"count": 0}, images)
    picked = jax.nn.log_softmax(logits)[jnp.arange(6), labels]
    chex.assert_trees_all_close(value, -picked.mean(), rtol=1e-6)
    assert state["count"] == 1
    chex.assert_trees_all_close(metrics["accuracy"], jnp.mean(logits.argmax(-1) == labels))

    gradient = jax.grad(lambda p: loss(p, plan)[0])(params)
    plain = jax.grad(lambda p: loss(p, None)[0])(folded)
    chex.assert_trees_all_close(gradient, plan.project(plain), atol=1e-6)
    chex.assert_trees_all_close(plan.project(gradient), gradient, atol=1e-6)
