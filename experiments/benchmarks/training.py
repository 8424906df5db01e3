r"""What the trainer costs beside a bare jitted step, and whether the data keep up.

    python -m experiments.benchmarks.training --data_dir DATA

Run it on a quiet machine (about 8 minutes on 2 cores). Three questions, medians of interleaved
runs, compilation apart:

* the trainer (`fit`, and a whole `train` with logs) over a bare `jax.jit` step that gets the same
  batch again and again, on the device, with nothing else done: ResNet-20 on 32x32 images, batch
  128, and a ResNet-8 on 8x8 images, batch 64, whose steps are as short as steps get;
* CIFAR-10 through TFDS, crop, flip, RandAugment, random erasing, mixup and cutmix: images per
  second alone, and how much the training of the ResNet-20 slows down when both share the cores;
* how long a checkpoint stops the steps.

Writes training.json and training.md to experiments/benchmarks/results/.
"""

import argparse
import csv
import json
import os
import pathlib
import statistics
import tempfile
import time
from typing import Any

import jax
import numpy as np
import optax
from absl import app, flags, logging
from tqdm import tqdm

from experiments.benchmarks import destinations
from experiments.shared import flags as shared_flags
from softeq_jax import data
from softeq_jax import training as tr
from softeq_jax.models import CifarResNet
from softeq_jax.training import objectives

flags.adopt_module_key_flags(shared_flags)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Repetitions of every interleaved comparison.")
_STEPS = flags.DEFINE_integer("steps", 12, "ResNet-20 steps in one repetition.")
_OUT = flags.DEFINE_string(
    "out", str(pathlib.Path(__file__).parent / "results"), "Where the results go."
)

BATCH = 128
PIPELINES = ((1, 0), (2, 0), (1, 1), (1, 2))
"""(threads, worker processes) that are tried."""


def optimizer() -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, 0.9, nesterov=True))


class TrainerCase:
    """One network with its trainer step, its bare step, and a batch for both."""

    def __init__(self, name: str, depth: int, width: int, side: int, channels: int, batch: int):
        self.name = name
        rng = np.random.default_rng(0)
        self.batch = {
            "image": rng.standard_normal((batch, side, side, channels)).astype(np.float32),
            "label": rng.integers(0, 10, batch).astype(np.int32),
        }
        local = CifarResNet(depth=depth, width=width)
        mapped = CifarResNet(depth=depth, width=width, axis_name=tr.AXIS)
        variables = dict(local.init(jax.random.key(0), self.batch["image"][:1], train=False))
        self.params = variables.pop("params")
        self.model_state = variables
        self.step = tr.make_train_step(loss_of(mapped), optimizer())
        self.bare = bare_step(loss_of(local))

    def state(self) -> tr.TrainState:
        return tr.init_state(self.params, optimizer(), self.model_state)

    def compile(self) -> dict[str, float]:
        """Seconds of the first calls."""
        return {
            "compile_bare_s": timed(lambda: self.run_bare(1)),
            "compile_trainer_s": timed(lambda: self.run_trainer(1)),
        }

    def run_bare(self, steps: int) -> float:
        """Seconds a step; every step waits for the one before, as the trainer's do on CPU."""
        state = jax.device_put((self.params, self.model_state, optimizer().init(self.params)))
        batch = jax.device_put(self.batch)
        jax.block_until_ready((state, batch))
        start, former = time.perf_counter(), None
        for _ in range(steps):
            state, loss = self.bare(state, batch)
            if former is not None:
                jax.block_until_ready(former)
            former = loss
        jax.block_until_ready(state)
        return (time.perf_counter() - start) / steps

    def run_trainer(self, steps: int, batches: Any = None) -> float:
        """Seconds a step of `fit`, from the first finished step to the last."""
        seen: list[float] = []
        tr.fit(
            self.step,
            self.state(),
            [self.batch] * steps if batches is None else batches,
            steps,
            on_step=lambda step, values: seen.append(time.perf_counter()),
        )
        return (seen[-1] - seen[0]) / max(1, steps - 1)

    def run_whole(self, steps: int) -> float:
        """Seconds a step of `train` with CSV and TensorBoard, by its own log."""
        settings = tr.RunSettings(steps=steps, log_every=max(1, steps // 6), progress=None)
        with tempfile.TemporaryDirectory() as folder:
            tr.train(self.step, self.state(), lambda _: Again(self.batch), settings, folder)
            with (pathlib.Path(folder) / "train.csv").open() as file:
                rows = list(csv.DictReader(file))
        return 1 / statistics.median(float(row["rate/steps_per_second"]) for row in rows[1:])


class Again:
    """The same batch for ever, with what `train` asks of batches."""

    skipped: dict = {}  # noqa: RUF012

    def __init__(self, batch: dict[str, np.ndarray]):
        self._batch = batch

    def __iter__(self) -> "Again":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        return self._batch

    def position(self, step: int) -> data.Position:
        return data.Position(0, step, 0)

    def examples(self, step: int) -> np.ndarray:
        return np.arange(len(self._batch["label"]))

    def close(self) -> None:
        """Nothing to close."""


def loss_of(model: Any) -> Any:
    def apply(params: Any, state: Any, images: jax.Array) -> Any:
        variables = {"params": params, **state}
        return model.apply(variables, images, train=True, mutable=list(state))

    return objectives.classification(apply)


def bare_step(loss_fn: Any) -> Any:
    """Gradient, momentum, batch statistics; no averages, no checks, nothing parallel."""
    update = optimizer().update

    @jax.jit
    def step(state: Any, batch: Any) -> Any:
        params, model_state, opt_state = state
        key = jax.random.key(0)
        (loss, (model_state, _)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            params, model_state, batch, key, None
        )
        updates, opt_state = update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), model_state, opt_state), loss

    return step


def timed(run: Any) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def overhead(case: TrainerCase, steps: int, rounds: int) -> dict[str, Any]:
    """Medians of interleaved runs, and of the ratios of neighbors."""
    found: dict[str, list[float]] = {"bare": [], "fit": [], "train": []}
    compiled = case.compile()
    for _ in tqdm(range(rounds), desc=f"overhead, {case.name}", unit="round"):
        found["bare"].append(case.run_bare(steps))
        found["fit"].append(case.run_trainer(steps))
        found["train"].append(case.run_whole(steps))
    ratios = {
        name: statistics.median(x / b for x, b in zip(found[name], found["bare"], strict=True))
        for name in ("fit", "train")
    }
    medians = {f"{name}_ms": 1e3 * statistics.median(values) for name, values in found.items()}
    over = {f"{name}_over_percent": 100 * (ratio - 1) for name, ratio in ratios.items()}
    return {**compiled, **medians, **over, "all_s": found}


def pipeline(source: Any, threads: int, workers: int) -> Any:
    """CIFAR-10 batches with everything that is done to images."""
    transforms = (
        data.RandomCrop(4),
        data.RandomFlip(),
        data.RandAugment(2, 9),
        data.Normalize((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
        data.RandomErasing(0.25),
    )
    return data.train_batches(
        source,
        BATCH,
        seed=0,
        transforms=transforms,
        pairing=data.MixupOrCutmix(0.2, 1.0, 10),
        check=data.classification(10),
        num_threads=threads,
        num_workers=workers,
    )


def alone(source: Any, threads: int, workers: int, seconds: float = 6.0) -> float:
    """Images per second of the pipeline with the machine to itself."""
    with pipeline(source, threads, workers) as batches:
        for _ in range(12):
            next(batches)
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            next(batches)
            count += BATCH
        return count / (time.perf_counter() - start)


def shared(
    case: TrainerCase, source: Any, settings: tuple[int, int], steps: int, rounds: int
) -> Any:
    """Slowdown of training on the pipeline against training on one batch, by neighbors."""
    constant, fed = [], []
    mixed = {**case.batch, "label": np.eye(10, dtype=np.float32)[case.batch["label"]]}
    with pipeline(source, *settings) as batches:
        case.run_trainer(2, batches)
        for _ in range(rounds):
            constant.append(case.run_trainer(steps, [mixed] * steps))
            fed.append(case.run_trainer(steps, batches))
    ratio = statistics.median(f / c for f, c in zip(fed, constant, strict=True))
    return {
        "constant_ms": 1e3 * statistics.median(constant),
        "fed_ms": 1e3 * statistics.median(fed),
        "slower_percent": 100 * (ratio - 1),
        "all_s": {"constant": constant, "fed": fed},
    }


def saving(state: tr.TrainState, rounds: int) -> dict[str, float]:
    """Milliseconds that a save takes of the loop, and until it is on disk."""
    stops, done = [], []
    size = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(state))
    with tempfile.TemporaryDirectory() as folder, tr.Checkpoints(folder + "/c") as checkpoints:
        copies = tr.replicate(state)
        for number in range(rounds + 1):
            start = time.perf_counter()
            checkpoints.save(number, tr.unreplicate(copies), {})
            stops.append(time.perf_counter() - start)
            checkpoints.wait()
            done.append(time.perf_counter() - start)
    return {
        "megabytes": size / 2**20,
        "stops_ms": 1e3 * statistics.median(stops[1:]),
        "written_ms": 1e3 * statistics.median(done[1:]),
    }


def page(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# The trainer and its data",
        "",
        "    python -m experiments.benchmarks.training --data_dir DATA",
        "",
        f"{found['device']}, {found['cores']} cores, jax {found['jax']}; medians of "
        f"{found['rounds']} interleaved runs. The bare step is `jax.jit` of gradient, momentum and "
        "batch statistics on a batch that stays on the device. `fit` is the loop over the mapped "
        "step (finiteness, gradient norm, metrics, moving the batch to the device); `train` adds "
        "logs, memory, CSV and TensorBoard.",
        "",
        "| network | compile bare, trainer (s) | bare step (ms) | fit (ms) | over | train (ms) | "
        "over |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in found["overhead"].items():
        lines.append(
            f"| {name} | {row['compile_bare_s']:.1f}, {row['compile_trainer_s']:.1f} | "
            f"{row['bare_ms']:.2f} | {row['fit_ms']:.2f} | {row['fit_over_percent']:+.1f} % | "
            f"{row['train_ms']:.2f} | {row['train_over_percent']:+.1f} % |"
        )
    rate = found["training_rate"]
    lines += [
        "",
        "CIFAR-10 from TFDS with crop, flip, RandAugment (2 operations), normalization, erasing, "
        f"mixup and cutmix, batches of {BATCH}; ResNet-20 trains {rate:.0f} images/s on a batch "
        "that is there already.",
        "",
        "| threads, workers | images/s alone | times training | training slows by |",
        "| --- | --- | --- | --- |",
    ]
    for row in found["pipeline"]:
        lines.append(
            f"| {row['threads']}, {row['workers']} | {row['alone']:.0f} | "
            f"{row['alone'] / rate:.1f} | {row['shared']['slower_percent']:+.1f} % |"
        )
    lines += [
        "",
        "| checkpoint of | MiB | stops the steps for (ms) | on disk after (ms) |",
        "| --- | --- | --- | --- |",
    ]
    for name, row in found["saving"].items():
        lines.append(
            f"| {name} | {row['megabytes']:.1f} | {row['stops_ms']:.0f} | {row['written_ms']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    logging.set_verbosity(logging.WARNING)
    try:
        out = destinations.folder(_OUT.value)
    except argparse.ArgumentTypeError as error:
        raise app.UsageError(f"--out: {error}") from None
    if not shared_flags.DATA_DIR.value:
        raise app.UsageError("--data_dir is needed (or the variable SOFTEQ_DATA_DIR)")
    steps, rounds = _STEPS.value, _ROUNDS.value
    source = data.open_source(
        "cifar10", "train", pathlib.Path(shared_flags.DATA_DIR.value) / "tfds"
    )
    large = TrainerCase("ResNet-20, 128 x 32x32x3", 20, 16, 32, 3, BATCH)
    small = TrainerCase("ResNet-8, 64 x 8x8x1", 8, 8, 8, 1, 64)
    found: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "cores": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
        "rounds": rounds,
        "overhead": {
            small.name: overhead(small, 40 * steps, rounds),
            large.name: overhead(large, steps, rounds),
        },
    }
    found["training_rate"] = BATCH / (found["overhead"][large.name]["fit_ms"] / 1e3)
    found["pipeline"] = [
        {
            "threads": threads,
            "workers": workers,
            "alone": alone(source, threads, workers),
            "shared": shared(large, source, (threads, workers), steps, rounds),
        }
        for threads, workers in tqdm(PIPELINES, desc="pipelines", unit="setting")
    ]
    rng = np.random.default_rng(0)
    wide = {f"w{i}": rng.standard_normal((1000, 1000)).astype(np.float32) for i in range(22)}
    found["saving"] = {
        "ResNet-20 with momentum": saving(large.state(), rounds),
        "22 M parameters with Adam": saving(tr.init_state(wide, optax.adam(1e-3)), rounds),
    }
    (out / "training.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "training.md").write_text(page(found))
    print(page(found))


if __name__ == "__main__":
    app.run(main)
