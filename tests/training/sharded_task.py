"""A small task for sharded states: batch norm, noise, a plan, a penalty, a proximal step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import softeq_jax as sq
from softeq_jax import training as tr
from softeq_jax.training import evaluation, methods
from softeq_jax.training.pmap import lowered

STEPS, HALF, BATCH, WIDTH = 6, 3, 16, 64
RNG = np.random.default_rng(0)
X = RNG.random((BATCH, 5, 5, 4), np.float32)
Y = RNG.integers(0, 10, BATCH).astype(np.int32)


class Net(nn.Module):
    """A convolution, batch norm over all devices, two dense layers."""

    axis_name: str | None = tr.AXIS

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(WIDTH, (3, 3), name="conv")(x)
        norm = nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name, name="bn")
        x = nn.relu(norm(x)).mean((1, 2))
        return nn.Dense(10, name="head")(nn.relu(nn.Dense(16 * WIDTH, name="body")(x)))


def _loss(params, model_state, batch, key, extra):
    logits, new = Net().apply(
        {"params": params, **model_state}, batch["image"], train=True, mutable=["batch_stats"]
    )
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
    noise = jax.random.uniform(key)
    return loss * (1 + 0.1 * noise), (new, {"noise": noise})


@functools.cache
def _variables():
    init = jax.jit(lambda x: Net().init(jax.random.key(0), x, train=False))
    return jax.device_get(init(X[:1]))


@functools.cache
def _plan():
    vector = sq.reps.vector(sq.groups.so(2))
    rules = {
        "conv/kernel": sq.convolution_rule(sq.groups.cyclic(4)),
        "body/kernel": sq.projector("i o", {"i": WIDTH // 2 * vector, "o": 8 * WIDTH * vector}),
    }
    return sq.plan(_variables()["params"], rules)


def _made(soft, **options):
    """(step, optimizer); soft has a projection, a penalty and a proximal step at once."""
    plan, method = _plan(), methods.plain()
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-3))
    if soft:
        penalty = functools.partial(sq.regularizers.projection_penalty, lambda_perp=1e-3)
        method = methods.Method(methods.project().weights, methods.penalize(penalty).penalty)
        decay = sq.regularizers.add_equivariance_decay(plan, 3e-3, lambda_perp=0.5)
        optimizer = optax.chain(optimizer, decay)
    step = tr.make_train_step(_loss, optimizer, average_decay=0.9, method=method, **options)
    return step, optimizer


_kept = functools.cache(_made)


def start(soft):
    """The state before the first step, with an average."""
    variables = _variables()
    stats = {"batch_stats": variables["batch_stats"]}
    return tr.init_state(variables["params"], _made(soft)[1], stats, average=True)


def run(state, steps, soft, sharding, **options):
    """(state, history) after so many steps on the one batch there is."""
    step, _ = _kept(soft, sharding=sharding, **options)
    batches = iter([_mine()] * steps)
    return tr.fit(step, state, batches, steps, extra=_plan() if soft else None)


def _mine():
    """This process's part of the batch."""
    size = BATCH // jax.process_count()
    part = slice(jax.process_index() * size, (jax.process_index() + 1) * size)
    return {"image": X[part], "label": Y[part]}


LAYERS, SIDE = 10, 128


def memory(sharding):
    """A state of equal layers: bytes on the host, and of its compiled step on each device; how
    often the step gathers a layer before XLA optimizes it.
    """

    def loss(params, model_state, batch, key, extra):
        x = batch["x"]
        for layer in range(LAYERS):
            x = jnp.tanh(x @ params[str(layer)])
        return (x**2).mean(), (model_state, {})

    params = {str(layer): np.zeros((SIDE, SIDE), np.float32) for layer in range(LAYERS)}
    optimizer = optax.adam(1e-3)
    state = tr.init_state(params, optimizer, average=True)
    step = tr.make_train_step(loss, optimizer, average_decay=0.9, sharding=sharding)
    held = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(state))
    batch = {"x": np.zeros((BATCH // jax.process_count(), SIDE), np.float32)}
    layout = tr.layout(sharding)
    vote = layout.spread(np.zeros(jax.local_device_count(), np.float32))
    args = layout.place(state), layout.spread(batch), None, vote
    return {
        "state": held,
        "step": tr.step_memory(step, state, batch),
        "gathered": lowered(step, *args).as_text().count("all_gather"),
    }


def evaluate(state, sharding):
    """Metrics of the average, projected."""

    def apply_test(params, model_state, images):
        variables = {"params": params, **model_state}
        return Net(axis_name=None).apply(variables, images, train=False)

    metrics = evaluation.classification_metrics(apply_test)
    measured = tr.make_evaluate(metrics, method=methods.project(), sharding=sharding)
    placed = tr.layout(sharding).place(tr.averaged(state))
    batch = _mine()
    batch["weight"] = np.ones(len(batch["label"]), np.float32)
    return measured(*placed, [batch], _plan())


def half_precision(sharding):
    """Losses with bfloat16 computing, in parts of the batch, rematerialized."""
    options = {"compute_dtype": jnp.bfloat16, "accumulate": 2, "remat": "dots"}
    return run(start(False), 3, False, sharding, **options)[1]["loss"].tolist()
