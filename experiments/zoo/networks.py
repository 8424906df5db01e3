"""Networks trained on CIFAR-10 once and kept, for every study that measures them.

A network is its settings and a seed, which decides its first weights, its training images and
their order. It lies in a folder of the studies' shared one: weights at initialization, early and
at the end, and `network.json` with what they were made with, their SHA-256 and accuracies. Whoever
asks for a network that is not there trains it, resumed where that was killed.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from experiments.cifar10.task import GRAY
from experiments.shared import recipes, trained
from experiments.shared.report import write_atomically
from experiments.shared.runs import file_digest
from experiments.shared.studies import Run, Settings, StepCost, StudyError
from softeq_jax import data, models
from softeq_jax import training as tr
from softeq_jax.data import IMAGENET_MEAN, IMAGENET_STD
from softeq_jax.training import export, objectives

Tree = Any
CHECKPOINTS = ("init", "early", "end")
KINDS = {"resnet": models.CifarResNet, "vit": models.ViT, "mixer": models.MLPMixer}

SMALL: dict[str, Any] = {
    "data": "cifar10",
    "side": 32,
    "train": 10_000,
    "test": 10_000,
    "epochs": 8,
    "early_epochs": 1,
    "batch_size": 64,
    "learning_rate": 3e-3,
    "weight_decay": 1e-4,
    "crop": 4,
}
"""How every network is trained."""
TINY = SMALL | {
    "data": "",
    "side": 16,
    "train": 96,
    "test": 60,
    "epochs": 2,
    "batch_size": 16,
    "crop": 1,
}
PAPER = SMALL | {"train": 50_000, "epochs": 100, "early_epochs": 5, "batch_size": 128}
TRAINED_WITH = ("model", "augmentation", *SMALL)
"""Settings of a run that decide the network; others are of its measurement."""
AUGMENTATIONS = {
    "none": (),
    "crop": ("crop",),
    "flip": ("flip",),
    "both": ("crop", "flip"),
}


def resnet(width: int, depth: int = 8, **more: Any) -> dict[str, Any]:
    """A CIFAR ResNet as settings."""
    return {"kind": "resnet", "depth": depth, "width": width, **more}


def vit(width: int, depth: int, heads: int = 4, side: int = 32) -> dict[str, Any]:
    """A vision transformer on patches of 4 pixels, mean over patches, as settings."""
    sizes = {"image_size": side, "patch_size": 4, "width": width, "depth": depth, "heads": heads}
    return {"kind": "vit", **sizes, "pool": "mean"}


def mixer(width: int, depth: int, token_hidden: int, side: int = 32) -> dict[str, Any]:
    """An MLP-Mixer on patches of 4 pixels as settings."""
    sizes = {"image_size": side, "patch_size": 4, "width": width, "depth": depth}
    return {
        "kind": "mixer",
        **sizes,
        "token_hidden": token_hidden,
        "channel_hidden": 4 * width,
    }


MATCHED: dict[str, dict[str, Any]] = {
    "ResNet 16": resnet(16),
    "ViT 44": vit(44, 3),
    "Mixer 48": mixer(48, 3, 32),
    "ResNet 32": resnet(32),
    "ViT 76": vit(76, 4),
    "Mixer 80": mixer(80, 5, 64),
}
"""Three kinds at about 75,000 parameters, and at about 300,000; numbers are widths."""


def build(settings: Settings) -> nn.Module:
    """The module of a network's settings, for ten classes.

    Raises:
      ValueError: there is no such kind.
    """
    attributes = dict(settings)
    kind = attributes.pop("kind")
    if kind not in KINDS:
        raise ValueError(f"no kind of network is called {kind!r}, there are {list(KINDS)}")
    return KINDS[kind](num_classes=10, **attributes)


def parameters(variables: Mapping[str, Tree]) -> int:
    """How many parameters a network has."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables["params"]))


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
    """A network that was trained.

    Attributes:
      folder: of its weights.
      facts: what `network.json` says: `made_with`, `parameters`, and for each of `checkpoints`
        its step, SHA-256 and accuracy (per cent of the test images).
    """

    folder: Path
    facts: Mapping[str, Any]

    def load(self, checkpoint: str) -> tuple[nn.Module, dict[str, Tree]]:
        """The network and its variables at a checkpoint.

        Raises:
          StudyError: the file is not the one that was written.
        """
        path = self.folder / f"{checkpoint}.safetensors"
        wanted, found = self.facts["checkpoints"][checkpoint]["sha256"], file_digest(path)
        if found != wanted:
            raise StudyError(f"{path} has SHA-256 {found}, expected {wanted}: remove its folder")
        made_with = self.facts["made_with"]
        model = build(made_with["model"])
        template = jax.eval_shape(lambda: drawn(model, made_with["side"], 0))
        return model, jax.tree.map(jnp.asarray, export.load_params(path, template))


def made_with(run: Run) -> dict[str, Any]:
    """What decides the network of a run; JSON."""
    return {key: run.settings[key] for key in TRAINED_WITH} | {"seed": run.seed}


def network_of(run: Run) -> TrainedNetwork:
    """The network of a run's settings and seed, trained now where it is not there yet.

    Raises:
      StudyError: the folder holds another network.
    """
    wanted = json.loads(json.dumps(made_with(run)))
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    shared = run.shared or run.artifacts
    folder = shared / "networks" / f"{wanted['model']['kind']}_{digest[:16]}"
    path = folder / "network.json"
    with _one_at_a_time(folder.with_suffix(".lock")):
        if not path.exists():
            _train(run, wanted, folder)
    facts = json.loads(path.read_text())
    if facts["made_with"] != wanted:
        raise StudyError(f"{path} was made with {facts['made_with']}, expected {wanted}")
    return TrainedNetwork(folder, facts)


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Waits for another process that trains the same network; the system lifts a dead one's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _train(run: Run, wanted: Settings, folder: Path) -> None:
    """Trains a network and keeps its checkpoints and what is known of them."""
    own, images = _trainer_of(wanted), training_images(wanted, run.seed, run.data_dir)
    work = dataclasses.replace(run, row=folder.name, settings=wanted, workdir=folder / "work")
    model = build(wanted["model"])
    variables = dict(drawn(model, wanted["side"], run.seed))
    params = variables.pop("params")
    begin = own.begin((params, params), run.seed, variables)
    early, steps = (_steps(wanted, key) for key in ("early_epochs", "epochs"))
    for name, until in zip(CHECKPOINTS, (0, early, steps), strict=True):
        path = folder / f"{name}.safetensors"
        if path.exists():
            continue
        state = begin
        if until:
            state = trained.train(
                work,
                own.step,
                begin,
                images,
                until,
                save_every=early,
                transforms=augmentation(wanted),
                check=data.classification(10),
            )
        export.save_params(path, {"params": state.params, **state.model_state})
    template = jax.eval_shape(lambda: drawn(model, wanted["side"], 0))
    test, labels = test_images(wanted, run.data_dir)
    found = {}
    for name, step in zip(CHECKPOINTS, (0, early, steps), strict=True):
        path = folder / f"{name}.safetensors"
        right = predictions(model, export.load_params(path, template), test) == labels
        accuracy = float(100 * np.mean(right))
        found[name] = {"step": step, "sha256": file_digest(path), "accuracy": accuracy}
    facts = {"made_with": wanted, "parameters": parameters(template), "checkpoints": found}
    write_atomically(folder / "network.json", json.dumps(facts, indent=1) + "\n")
    shutil.rmtree(work.workdir, ignore_errors=True)


def step_cost(run: Run) -> StepCost:
    """Time and memory of a training step of a run's network."""
    wanted = made_with(run)
    own, images = _trainer_of(wanted), training_images(wanted, run.seed, run.data_dir)
    variables = dict(drawn(build(wanted["model"]), wanted["side"], run.seed))
    params = variables.pop("params")
    with data.train_batches(
        images, wanted["batch_size"], seed=0, steps=1, transforms=augmentation(wanted)
    ) as batches:
        return own.step_cost(own.begin((params, params), run.seed, variables), next(batches))


def _steps(settings: Settings, epochs: str) -> int:
    return settings[epochs] * settings["train"] // settings["batch_size"]


def _trainer_of(wanted: Settings) -> recipes.RowTrainer:
    """The compiled trainer: the same for all seeds and augmentations."""
    own = {k: v for k, v in wanted.items() if k not in ("seed", "augmentation", "crop", "test")}
    return _trainer(json.dumps(own, sort_keys=True))


@functools.lru_cache(maxsize=4)
def _trainer(settings_text: str) -> recipes.RowTrainer:
    settings = json.loads(settings_text)
    model: Any = build(settings["model"])
    model = model.clone(axis_name=tr.AXIS) if hasattr(model, "axis_name") else model

    def apply_train(weights: Tree, state: Tree, images: jax.Array) -> tuple[Any, Tree]:
        return model.apply(
            {"params": weights, **state}, normalized(images), train=True, mutable=list(state)
        )

    steps = _steps(settings, "epochs")
    rate = optax.cosine_onecycle_schedule(steps, settings["learning_rate"], pct_start=0.15)
    budget = recipes.Budget(steps, rate, settings["weight_decay"], clip=1.0)
    return recipes.RowTrainer(recipes.free(), budget, objectives.classification(apply_train))


@functools.partial(jax.jit, static_argnums=(0, 1))
def drawn(model: nn.Module, side: int, seed: int) -> Tree:
    """The first variables of a network."""
    return model.init(jax.random.key(seed), jnp.zeros((1, side, side, 3)))


def augmentation(settings: Settings) -> tuple[data.Transform, ...]:
    """What is done to training images."""
    made = {"crop": data.RandomCrop(settings["crop"], fill=GRAY), "flip": data.RandomFlip()}
    return tuple(made[name] for name in AUGMENTATIONS[settings["augmentation"]])


def normalized(images: Any) -> Any:
    """Bytes to the inputs of the networks, float32."""
    mean, deviation = (np.array(x, np.float32) for x in (IMAGENET_MEAN, IMAGENET_STD))
    return (images / np.float32(255) - mean) / deviation


def training_images(settings: Settings, seed: int, data_dir: Path | None) -> data.ArraySource:
    """The training images of a seed, the same for all networks."""
    return _training_images(settings["data"], settings["train"], seed, settings["side"], data_dir)


@functools.lru_cache(maxsize=5)
def _training_images(
    name: str, count: int, seed: int, side: int, data_dir: Path | None
) -> data.ArraySource:
    source = _source(name, "train", side, data_dir)
    chosen = np.random.default_rng(seed).permutation(len(source))[:count]
    return data.ArraySource(*data.load_arrays(source, chosen.tolist(), num_classes=10))


def test_images(settings: Settings, data_dir: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Test images, uint8 ``[n, side, side, 3]``, and labels, in a fixed random order."""
    return _test_images(settings["data"], settings["test"], settings["side"], data_dir)


@functools.lru_cache(maxsize=1)
def _test_images(
    name: str, count: int, side: int, data_dir: Path | None
) -> tuple[np.ndarray, np.ndarray]:
    source = _source(name, "test", side, data_dir)
    chosen = np.random.default_rng(0).permutation(len(source))[:count]
    return data.load_arrays(source, chosen.tolist(), num_classes=10)


def _source(name: str, split: str, side: int, data_dir: Path | None) -> data.Source:
    """A part of a TFDS data set; without a name 8 x 8 digits, enlarged, for tests."""
    if name:
        return data.open_source(name, split, Path(data_dir or ".") / "tfds")
    arrays = data.digits()
    images, labels = arrays[:2] if split == "train" else arrays[2:]
    pixels = np.rint(255 * images).astype(np.uint8).repeat(3, -1)
    return data.ArraySource(pixels.repeat(side // 8, 1).repeat(side // 8, 2), labels)


@functools.partial(jax.jit, static_argnums=0)
def _logits(model: nn.Module, variables: Tree, images: jax.Array) -> jax.Array:
    found: Any = model.apply(variables, normalized(images), train=False)
    return found


def predictions(model: nn.Module, variables: Tree, images: np.ndarray) -> np.ndarray:
    """The classes that a network sees in uint8 images, ``[n]``."""
    found = [
        np.asarray(_logits(model, variables, images[start : start + 250])).argmax(-1)
        for start in range(0, len(images), 250)
    ]
    return np.concatenate(found)
