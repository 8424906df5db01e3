"""Trains on the devices and processes that there are; writes what is worth comparing as JSON.

Run by `test_pmap.py`: `pmap_worker.py OUT SHARED [COORDINATOR COUNT INDEX]`.
"""

import json
import logging
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from softeq_jax import data
from softeq_jax import training as tr
from softeq_jax.training import evaluation, hosts

STEPS = 24
BATCH = 32


class Net(nn.Module):
    """A convolution, batch norm over all devices, a linear head."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(4, (3, 3), name="conv")(x)
        x = nn.BatchNorm(use_running_average=not train, axis_name=tr.AXIS, name="bn")(x)
        return nn.Dense(10, name="head")(nn.relu(x).mean((1, 2)))


def main(out: str, shared: pathlib.Path) -> None:
    """Trains, stops, saves, evaluates; everything worth comparing goes to the file `out`."""
    index, count = jax.process_index(), jax.process_count()
    rng = np.random.default_rng(0)
    images = rng.random((97, 8, 8, 1), np.float32)
    brightness = images.mean((1, 2, 3)).argsort().argsort()
    source = data.ArraySource(images, brightness * 10 // 97)
    model = Net()
    variables = jax.jit(lambda x: model.init(jax.random.key(0), x, train=False))(source.images[:1])
    traces = {"step": 0, "evaluate": 0}

    def loss_fn(params, model_state, batch, key, extra):
        traces["step"] += 1
        logits, new = model.apply(
            {"params": params, **model_state}, batch["image"], train=True, mutable=["batch_stats"]
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
        loss = loss + extra["decay"] * optax.tree.norm(params, squared=True)
        return loss, (new, {"noise": jax.random.uniform(key)})

    def apply_test(params, model_state, images):
        traces["evaluate"] += 1
        return model.apply({"params": params, **model_state}, images, train=False)

    optimizer = optax.sgd(0.1, momentum=0.9)
    step = tr.make_train_step(loss_fn, optimizer, average_decay=0.9)
    stats = {"batch_stats": variables["batch_stats"]}
    start = tr.init_state(variables["params"], optimizer, stats, average=True)

    def batches(start_step):
        return data.train_batches(
            source, BATCH, seed=1, start_step=start_step, host=index, hosts=count, num_threads=1
        )

    def run(state, steps, decay=1e-3, **kwargs):
        extra = {"decay": jnp.float32(decay)}
        with batches(int(state.step)) as stream:
            return tr.fit(step, state, stream, steps, extra=extra, **kwargs)

    end, history = run(start, STEPS)
    half, first = run(start, 10, in_flight=0)
    again, second = run(half, STEPS - 10)
    other = run(start, 2, 1e-1)[1]
    asked = []

    def stop():  # only the last process wishes to stop, and only once
        asked.append(1)
        return index == count - 1 and len(asked) == 5

    stopped, _ = run(start, STEPS, stop=stop)

    evaluate = tr.make_evaluate(evaluation.classification_metrics(apply_test))
    folded = tr.replicate((end.params, end.model_state))
    evaluated = [
        evaluate(*folded, data.eval_batches(source, size, host=index, hosts=count, num_threads=1))
        for size in (BATCH, BATCH, 64)
    ]

    checkpoints = tr.Checkpoints(shared / "checkpoints")
    if not checkpoints.steps():
        checkpoints.save(int(half.step), half, {"hosts": count})
    restored = checkpoints.restore(start)
    checkpoints.close()
    moved, _ = run(restored.tree, STEPS - 10)

    trained = tr.train(
        step,
        start,
        batches,
        tr.RunSettings(3, log_every=1, tensorboard=False, progress=None),
        shared / f"run{jax.device_count()}x{count}",
        extra={"decay": jnp.float32(1e-3)},
    )

    differs = ""
    try:
        hosts.require_same({"lr": 0.1, "seed": index}, "the config")
    except ValueError as error:
        differs = str(error)
    json_out = {
        "devices": jax.device_count(),
        "processes": count,
        "loss": history["loss"].tolist(),
        "noise": history["noise"].tolist(),
        "other_loss": other["loss"].tolist(),
        "traces": traces,
        "mean": end.model_state["batch_stats"]["bn"]["mean"].tolist(),
        "kernel": end.params["conv"]["kernel"].ravel().tolist(),
        "average": end.average["params"]["conv"]["kernel"].ravel().tolist(),
        "resumed": bool(
            np.array_equal(np.concatenate([first["loss"], second["loss"]]), history["loss"])
        ),
        "same_end": all(map(np.array_equal, jax.tree.leaves(end), jax.tree.leaves(again))),
        "stopped_at": int(stopped.step),
        "evaluated": evaluated,
        "saved_by": restored.meta["hosts"],
        "moved_kernel": moved.params["conv"]["kernel"].ravel().tolist(),
        "same_restored": all(
            map(np.array_equal, jax.tree.leaves(half), jax.tree.leaves(restored.tree))
        ),
        "differs": differs,
        "gathered": hosts.gather({"index": index}),
        "broadcast": hosts.broadcast(index + 7),
        "errors": _errors(run, start, step),
        "trained_to": trained.step,
    }
    with open(out, "w") as file:
        json.dump(json_out, file)


def _errors(run, start, step):
    errors = {}
    try:
        run(start, 3, np.nan)
    except tr.NonFiniteLoss as error:
        errors["nan"] = str(error)
        errors["nan_examples"] = error.examples.tolist()
    try:
        tr.fit(step, start, iter([]), 2, extra={"decay": jnp.float32(0)})
    except ValueError as error:
        errors["short"] = str(error)
    try:
        tr.shard({"image": np.zeros((9, 2))})
    except ValueError as error:
        errors["shard"] = str(error)
    return errors


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    arguments = sys.argv[3:]
    if arguments:
        hosts.initialize(arguments[0], int(arguments[1]), int(arguments[2]), timeout=60)
    else:
        hosts.initialize(timeout=60)
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
