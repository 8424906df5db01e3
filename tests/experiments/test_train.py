"""The training script: config, launch scripts, several processes, export, restarts elsewhere."""

import csv
import importlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from safetensors.numpy import load_file

import softeq_jax as sq
from experiments.faults.killing import complete_steps
from experiments.train import run, task
from experiments.train.config import defaults
from softeq_jax import models
from softeq_jax.training import methods

flags.FLAGS.mark_as_parsed()

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "experiments" / "train" / "configs").glob("*.py"))
DIGITS = "experiments/train/configs/digits.py"
OPTIONS = {
    "model.width": 4,
    "run.steps": 12,
    "run.save_every": 6,
    "run.evaluate_every": 6,
    "run.log_every": 4,
    "run.progress": "",
    "run.tensorboard": False,
    "curves.images": 0,
}


def _options(**more):
    chosen = {**OPTIONS, **{key.replace("__", "."): value for key, value in more.items()}}
    return [f"--config.{key}={value}" for key, value in chosen.items()]


def _environment(devices):
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHON": sys.executable,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }


def _run(arguments, devices=1, limit=240, program=None):
    """Runs to the end in a process group that is killed at the limit; returns (code, output)."""
    program = program or [sys.executable, "-m", "experiments.train"]
    process = subprocess.Popen(
        [*program, "--config", DIGITS, *map(str, arguments)],
        cwd=ROOT,
        env=_environment(devices),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"not done after {limit} s\n{output}")
    return process.returncode, output


def _evaluated(workdir):
    return list(csv.DictReader((workdir / "eval.csv").open()))


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """One process of 4 devices."""
    workdir = tmp_path_factory.mktemp("train") / "four"
    code, output = _run(["--workdir", workdir, *_options()], devices=4)
    assert code == 0, output
    return workdir, output


@pytest.mark.slow(10)
def test_the_script_ends_with_a_table_and_the_folded_weights(four):
    workdir, output = four
    assert f"digits, ResNet-8, C4 projection, in {workdir}" in output.splitlines()[0]
    assert re.search(r"^accuracy +0\.\d+$", output, re.MULTILINE)
    assert re.search(r"^count +360$", output, re.MULTILINE)
    assert "4 devices; results are in" in output
    kernel = load_file(workdir / "params.safetensors")["stage1_block0/conv1/kernel"]
    rule = sq.convolution_rule(sq.groups.cyclic(4), cutoff=1.0)
    plan = sq.plan({"kernel": kernel}, {"kernel": rule})
    np.testing.assert_allclose(plan.project({"kernel": kernel})["kernel"], kernel, atol=1e-6)


@pytest.mark.slow(3)
@pytest.mark.parametrize(
    ("code", "later"),
    [
        ("import experiments.train.__main__", "jax flax"),
        (
            "from softeq_jax import data, training; training.Checkpoints(folder).restore({});"
            "data.train_batches(data.ArraySource(*data.digits()[:2]), 8, seed=0)",
            "grain orbax sklearn",
        ),
    ],
)
def test_what_takes_long_to_import_is_imported_when_it_is_used(code, later, tmp_path):
    code = f"import sys; folder = {str(tmp_path)!r}; {code}; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not set(later.split()) & set(done.stdout.split())


@pytest.mark.slow(24)
def test_the_launch_script_gives_the_same_run_divided_among_its_devices(four, tmp_path):
    launcher = ["bash", "experiments/launch/one_machine.sh", "2", "2"]
    workdir = tmp_path / "two"
    options = _options(step__sharding="full")
    code, output = _run(["--workdir", workdir, *options], program=launcher)
    assert code == 0, output
    assert output.count("results are in") == 1
    assert complete_steps(workdir) == [6, 12]
    for mine, theirs in zip(_evaluated(workdir), _evaluated(four[0]), strict=True):
        assert mine["eval/count"] == theirs["eval/count"] == "360.0"
        for name in ("eval/accuracy", "eval/cross_entropy"):
            np.testing.assert_allclose(float(mine[name]), float(theirs[name]), rtol=2e-3)
    left, right = (load_file(w / "params.safetensors") for w in (workdir, four[0]))
    for name, value in left.items():
        np.testing.assert_allclose(value, right[name], atol=2e-4, err_msg=name)


@pytest.mark.slow(22)
def test_a_signal_to_one_process_stops_all(tmp_path):
    workdir, port = tmp_path / "stopped", 21000 + os.getpid() % 10000
    running = []
    for index in range(2):
        more = ["--coordinator", f"127.0.0.1:{port}", "--num_processes", 2, "--process_id", index]
        arguments = ["--config", DIGITS, "--workdir", workdir, *more]
        arguments += _options(run__steps=100_000)
        with (tmp_path / f"{index}.log").open("wb") as log:
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "experiments.train", *map(str, arguments)],
                    cwd=ROOT,
                    env=_environment(2),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
    try:
        end = time.monotonic() + 180
        while not complete_steps(workdir) and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(running[1].pid, signal.SIGTERM)
        codes = [process.wait(timeout=90) for process in running]
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    logs = [(tmp_path / f"{index}.log").read_text() for index in range(2)]
    assert codes == [0, 0], "\n".join(log[-3000:] for log in logs)
    steps = [re.search(r"stopped after step (\d+) of 100000", log).group(1) for log in logs]
    assert steps[0] == steps[1]
    assert complete_steps(workdir)[-1] == int(steps[0])
    assert "stopped after step" in logs[0]


@pytest.mark.slow
def test_a_misspelt_key_suggests_the_right_one(tmp_path):
    code, output = _run(["--workdir", tmp_path / "x", "--config.optimizer.learning_rat=0.1"])
    assert code != 0
    assert "learning_rate" in output
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_have_known_keys_only(path):
    from softeq_jax.training import RunSettings
    from softeq_jax.training.config import resolve_config

    module = importlib.import_module(f"experiments.train.configs.{path.stem}")
    config = resolve_config(module.get_config(), defaults())
    assert RunSettings(**config.run).steps > 0
    assert f"--config experiments/train/configs/{path.name}" in module.__doc__


@pytest.mark.slow
def test_every_name_is_checked(tmp_path):
    config = defaults()
    config.model.name = "resnet"
    with pytest.raises(ValueError, match=r"model\.name must be one of cifar_resnet, vit, vit_ti16"):
        task.make_task(config, None)
    config = defaults()
    config.method.name = "projct"
    with pytest.raises(ValueError, match=r"method\.name must be 'plain', 'project' or"):
        task.make_task(config, None)
    config.data.name = "cifar10"
    with pytest.raises(ValueError, match="needs --data_dir"):
        task.make_task(config, None)


@pytest.mark.slow(9)
@pytest.mark.parametrize(
    "changes",
    [
        {"augment": {"mixup": 0.2, "cutmix": 1.0, "smoothing": 0.1, "flip": True, "crop": 1}},
        {
            "method": {"name": "penalize", "rules": "**/conv?/kernel", "lambda_perp": 0.1},
            "optimizer": {"clip": 1.0},
        },
        {
            "model": {"name": "vit", "width": 8, "depth": 2, "heads": 2, "patch_size": 4},
            "augment": {"randaugment": (2, 5), "erasing": 0.5, "rotation": 10.0},
            "step": {"accumulate": 2, "compute_dtype": "bfloat16", "remat": "dots"},
            "optimizer": {
                "algorithm": "adamw",
                "layers": ("patch_embed/**", "pos_embed", "**"),
                "layer_decay": 0.5,
            },
        },
    ],
    ids=["mixed resnet", "penalized resnet", "vit"],
)
def test_settings_of_a_config_reach_the_trainer(tmp_path, changes):
    config = defaults()
    config.model.update(width=4)
    config.run.update(steps=3, log_every=1, evaluate_every=3, save_every=0, progress="")
    for section, values in changes.items():
        config[section].update(**values)
    outcome = run.run(config, None, tmp_path / "run")
    assert outcome.finished
    assert outcome.metrics["count"] == 360
    assert "equivariance/lie_mean_sq/rotation" in outcome.metrics
    header = (tmp_path / "run" / "train.csv").read_text().splitlines()[0]
    assert ("train/penalty" in header) == ("method" in changes)
    assert ("certificate/bound" in outcome.metrics) == ("method" in changes)


@pytest.mark.slow
def test_published_weights_are_fine_tuned_through_the_rules_of_their_family(tmp_path):
    model = models.CifarResNet(depth=8, width=4, num_classes=5)
    variables = model.init(jax.random.key(3), jnp.zeros((1, 8, 8, 1)))
    path = tmp_path / "published.safetensors"
    models.save_cifar_resnet(path, variables)
    config = defaults()
    config.model.update(weights=str(path), reset_head=True, num_classes=10)
    config.method.update(name="project", group="c4", rules="soft", softness=0.5)
    config.data.update(image_size=10, resize=True)
    config.run.update(steps=2, log_every=1, evaluate_every=2, save_every=0, progress="")
    made = task.make_task(config, None)
    np.testing.assert_array_equal(
        made.state.params["stage1_block0"]["conv1"]["kernel"],
        variables["params"]["stage1_block0"]["conv1"]["kernel"],
    )
    assert made.state.params["linear"]["bias"].shape == (10,)
    assert {(p.mask, round(p.softness, 9)) for p in made.plan.projectors} == {("heat", 0.5)}
    assert len(made.plan.planned(made.state.params)) == 7
    outcome = run.run(config, None, tmp_path / "run")
    assert outcome.metrics["count"] == 360
    config.method.rules = "**/conv1/kernel"
    with pytest.raises(ValueError, match=r'are for rules = "soft", got'):
        task.make_task(config, None)
    config.model.reset_head = False
    with pytest.raises(ValueError, match=r"5 classes.*reset_head=True"):
        task.make_task(config, None)


def test_a_penalty_names_the_hard_mask_that_it_needs():
    model = models.CifarResNet(depth=8, width=4, num_classes=5)
    params = model.init(jax.random.key(3), jnp.zeros((1, 8, 8, 1)))["params"]
    config = defaults().method
    config.update(name="penalize", group="c4", rules="soft", softness=2 / 3)
    method, plan = task.make_method(config, model, params)
    assert {(p.mask, p.softness) for p in plan.projectors} == {("hard", 2 / 3)}
    assert methods.total_penalty(method, params, plan, jnp.zeros((), jnp.int32)) > 0
    config.softness = 0.5
    with pytest.warns(UserWarning, match="softness=0.5 is missed"):
        task.make_method(config, model, params)
    config.mask = "heat"
    with pytest.raises(
        ValueError, match='"penalize" needs .*method.mask must be "hard", got \'heat\''
    ):
        task.make_method(config, model, params)
    config.update(name="project", softness=None, cutoff=1.0, mask="resolvent")
    assert {p.mask for p in task.make_method(config, model, params)[1].projectors} == {"resolvent"}
    config.softness = 0.5  # and a cutoff beside it, which was passed over in silence
    with pytest.raises(ValueError, match="softness or a cutoff, not both"):
        task.make_method(config, model, params)
    config.update(name="penalize", softness=None, mask=None, lambda_perp=0.0)
    with pytest.raises(ValueError, match="both 0: nothing is penalized"):
        task.make_method(config, model, params)


def test_presets_are_made_for_the_images(tmp_path):
    config = defaults().model
    config.update(name="vit_s16", num_classes=3)
    assert task.make_model(config, 32).image_size == 32
    config.update(name="resnet18")
    assert task.make_model(config, 32).num_classes == 3


@pytest.mark.slow(12)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "nowhere.py"], "error: --config nowhere.py is not there, expected"),
        (["--config", "experiments"], "error: --config experiments is a folder, expected"),
        (["--config", "experiments/train/configs/cifar10.py"], "tfds/cifar10 is not there; TFDS"),
        (["--help"], "--data_dir: Folder with tfds/"),
    ],
)
def test_what_is_missing_is_told_in_one_line(arguments, said, tmp_path):
    flags = ["--workdir", str(tmp_path / "w"), "--data_dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.train", *arguments, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert said in done.stderr + done.stdout
    if "--help" not in arguments:
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "w").exists()
