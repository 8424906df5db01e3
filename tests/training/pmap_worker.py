"""Trains on the devices that there are and writes the results as JSON; run by `test_pmap.py`."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from softeq_jax import training as tr


class Net(nn.Module):
    """A convolution, batch norm over all devices, a linear head."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(4, (3, 3), name="conv")(x)
        x = nn.BatchNorm(use_running_average=not train, axis_name=tr.AXIS, name="bn")(x)
        return nn.Dense(10, name="head")(nn.relu(x).mean((1, 2)))


def main(out: str) -> None:
    """Trains, resumes, predicts; everything worth comparing goes to the file `out`."""
    rng = np.random.default_rng(0)
    source = tr.ArraySource(rng.random((97, 8, 8, 1), np.float32), rng.integers(0, 10, 97))
    model = Net()
    variables = jax.jit(lambda x: model.init(jax.random.key(0), x, train=False))(source.images[:1])
    traces = []

    def loss_fn(params, model_state, batch, key, extra):
        traces.append(1)
        logits, new = model.apply(
            {"params": params, **model_state}, batch["image"], train=True, mutable=["batch_stats"]
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
        loss = loss + extra["decay"] * optax.tree.norm(params, squared=True)
        return loss, (new, {"noise": jax.random.uniform(key)})

    step = tr.make_train_step(loss_fn, optimizer := optax.sgd(0.1, momentum=0.9))
    state = tr.init_state(variables["params"], optimizer, {"batch_stats": variables["batch_stats"]})

    def run(state, steps, decay, seed=0, **kwargs):
        batches = tr.train_batches(source, 32, seed=1, start_step=int(state.step))
        extra = {"decay": jnp.float32(decay)}
        return tr.fit(step, state, batches, steps, extra=extra, seed=seed, **kwargs)

    end, history = run(state, 40, 1e-3)
    half, first = run(state, 15, 1e-3, in_flight=0)
    seen = []
    again, second = run(half, 25, 1e-3, callback=lambda n, s, m: seen.append((n, m["loss"])))
    other = run(state, 3, 1e-1)[1]
    keyed = run(state, 3, 1e-3, seed=1)[1]
    joined = np.concatenate([first["loss"], second["loss"]])
    apply = lambda p, s, x, e: e * model.apply({"params": p, **s}, x, train=False)  # noqa: E731
    predict = tr.make_predict(apply)
    args = (end.params, end.model_state)
    sizes = ((32, 97), (50, 97), (1000, 97), (7, 20), (3, 1))
    logits = {f"{b},{n}": predict(*args, source.images[:n], b, extra=2.0) for b, n in sizes}
    direct = jax.jit(lambda p, s, x: 2 * model.apply({"params": p, **s}, x, train=False))
    expected = np.asarray(direct(*args, source.images))
    errors = {}
    try:
        run(state, 3, np.nan)
    except FloatingPointError as error:
        errors["nan"] = str(error)
    try:
        tr.fit(step, state, iter([]), 2, extra={"decay": jnp.float32(0)})
    except ValueError as error:
        errors["short"] = str(error)
    try:
        tr.shard({"image": np.zeros((9, 2))})
    except ValueError as error:
        errors["shard"] = str(error)
    tree = {"a": jnp.arange(3), "b": np.float32(2)}
    twice = tr.unreplicate(tr.replicate(tree))
    json_out = {
        "devices": jax.device_count(),
        "loss": history["loss"].tolist(),
        "noise": history["noise"].tolist(),
        "keyed_noise": keyed["noise"].tolist(),
        "other_loss": other["loss"].tolist(),
        "traces": len(traces),
        "mean": end.model_state["batch_stats"]["bn"]["mean"].tolist(),
        "resumed": bool(np.array_equal(joined, history["loss"])),
        "same_end": all(map(np.array_equal, jax.tree.leaves(end), jax.tree.leaves(again))),
        "seen": [n for n, _ in seen],
        "seen_losses": bool(np.array_equal(np.float32([v for _, v in seen]), second["loss"])),
        "shapes": {k: list(v.shape) for k, v in logits.items()},
        "logit_error": max(float(np.abs(v - expected[: len(v)]).max()) for v in logits.values()),
        "errors": errors,
        "replicated": bool(all(map(np.array_equal, tree.values(), twice.values()))),
    }
    with open(out, "w") as file:
        json.dump(json_out, file)


if __name__ == "__main__":
    main(sys.argv[1])
