"""The commands `models`, `inspect` and `soften`, in process, and the front door."""

import decimal
import os
import pathlib
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from command import refused, run
from safetensors.numpy import load_file
from tiny_checkpoints import cifar_file, vit_folder

import softeq_jax as sq
from softeq_jax import models
from softeq_jax.cli import main
from softeq_jax.models.weights import load

GOLDEN = pathlib.Path(__file__).parents[1] / "models" / "golden"
SO2 = ("--group", "so2", "--softness", "0.4")


def rounded_up(bound):
    """Four digits, never below the bound."""
    context = decimal.Context(prec=4, rounding=decimal.ROUND_CEILING)
    return f"{context.create_decimal(bound):.4g}"


@pytest.fixture
def resnet(tmp_path):
    return cifar_file(tmp_path / "net.safetensors")


@pytest.fixture
def vit(tmp_path):
    return vit_folder(tmp_path / "vit")


def test_help_needs_no_jax_and_names_every_command():
    code = (
        "import sys\n"
        "from softeq_jax.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert not {'jax', 'flax', 'matplotlib'} & set(sys.modules)\n"
    )
    for command in (["-c", code], ["-m", "softeq_jax.cli", "--help"]):
        env = os.environ | {"JAX_PLATFORMS": "cpu"}
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=60, env=env
        )
        assert done.returncode == 0, done.stderr
        assert all(
            word in done.stdout
            for word in ("models", "inspect", "soften", "measure", "doctor", "finetune")
        )


def test_models_counts_parameters_and_knows_what_loads(capsys):
    lines = run(capsys, "models", "vit_ti*", "cifar_resnet20", "segformer_b0").splitlines()
    assert [line.split()[0] for line in lines] == [
        "model",
        "vit_ti16",
        "cifar_resnet20",
        "segformer_b0",
    ]
    assert lines[1].split()[1:6] == ["vit", "5.72", "M", "224", "16"]
    assert "hugging face, timm" in lines[1]
    assert lines[2].split()[1:5] == ["cifar_resnet", "0.27", "M", "any"]
    assert "no model matches 'swin*'" in refused(capsys, "models", "swin*")


def test_inspect_tells_what_would_be_filtered_and_at_which_levels(capsys, vit, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = run(capsys, "inspect", vit, "--group", "c4")
    for words in (
        "ViT (family vit, hugging face names)",
        "float32",
        "16 x 16 from 16, bilinear, mean 0.5,0.5,0.5, std 0.25,0.25,0.25",
        "vit.embeddings.patch_embeddings.projection.weight",
        "vit.embeddings.position_embeddings",
        "Tokens[1+4x4](C4)",
        "block*/attention/query/kernel",
    ):
        assert words in text
    assert text.splitlines()[3].split() == ["classes", "5"]
    params = load(vit).variables["params"]
    plan = sq.plan(params, models.soft_rules(load(vit).model, sq.groups.cyclic(4)))
    for projector in plan.projectors:
        for rank in np.cumsum(projector.dimensions()):
            assert f"{rank} of {projector.dim}" in text
    untouched = sum(np.size(w) for w in _leaves(params)) - sum(
        np.size(w) for _, _, w in plan.planned(params)
    )
    assert f"{untouched:,}" in text.splitlines()[-1]


def test_inspect_tells_which_convolutions_break_quarter_turns(capsys, resnet, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    even = run(capsys, "inspect", resnet, "--image-size", 8)
    odd = run(capsys, "inspect", resnet, "--image-size", 9)
    assert even.count("breaks them") == 2
    assert "breaks them: (8 + 2*1 - 3) is not divisible by the stride 2" in even
    assert odd.count("respects them") == 7
    assert "breaks them" not in odd
    for name, lattice in (("so2", "C4"), ("o2", "D4"), ("c6", "C2"), ("d3", "D1"), ("c3", "C1")):
        text = run(capsys, "inspect", resnet, "--image-size", 8, "--group", name)
        assert f"convolutions under {lattice}, which maps 8 x 8 pixels to pixels" in text
        assert text.count("breaks them") == (0 if lattice == "C1" else 2)


def test_inspect_tells_which_strided_layers_break_the_group(capsys, resnet):
    even = run(capsys, "inspect", resnet, "--image-size", 8)
    assert "2 of 2 strided layers break C4 at 8 x 8 pixels, whatever their kernels" in even
    assert "at 9 x 9 pixels none does" in even
    own = run(capsys, "inspect", resnet)
    assert "2 of 2 strided layers break C4 at 32 x 32 pixels" in own
    assert "none of the 2 strided layers breaks C4 at 9 x 9 pixels" in run(
        capsys, "inspect", resnet, "--image-size", 9
    )
    tables = own[own.index("filtered under") :]
    assert max(map(len, tables.splitlines())) < 100


def test_soften_without_bounds_says_so(capsys, tmp_path, resnet):
    out = tmp_path / "soft.safetensors"
    text = run(capsys, "soften", resnet, *SO2, "--out", out, "--no-bounds")
    assert "no bounds, as --no-bounds said" in text
    card = out.with_suffix(".md").read_text()
    assert "Certificates" not in card
    assert "moves by at most" not in card
    assert "softened" in run(capsys, "inspect", out)


def test_models_takes_globs_and_names_one_that_would_do(capsys):
    assert "did you mean '*segformer*'?" in refused(capsys, "models", "segformer")


def _leaves(tree):
    return [
        w
        for value in tree.values()
        for w in (_leaves(value) if isinstance(value, dict) else [value])
    ]


@pytest.mark.slow
def test_soften_writes_what_the_plan_makes_and_leaves_the_rest_to_the_bit(capsys, resnet, tmp_path):
    out = tmp_path / "soft.safetensors"
    text = run(capsys, "soften", resnet, *SO2, "--out", out)
    network, before, after = load(resnet), load_file(resnet), load_file(out)
    params = network.variables["params"]
    rules = models.soft_rules(network.model, sq.groups.so(2), softness=0.4)
    plan = sq.plan(params, rules)
    expected = plan.project(params)
    assert before.keys() == after.keys()
    filtered = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    assert filtered == {name for name in before if before[name].ndim == 4}
    kernel = np.asarray(expected["stage2_block0"]["conv1"]["kernel"])
    np.testing.assert_array_equal(after["layer2.0.conv1.weight"], kernel.transpose(3, 2, 0, 1))
    assert plan.describe() in text
    assert "realized softness: 0.4" in text
    assert "did not fall" not in text
    for w in (params, expected):
        assert rounded_up(plan.certificate(w).relative) in text


def test_soften_tells_of_a_level_that_is_missed_and_of_a_bound_that_did_not_fall(
    capsys, resnet, tmp_path
):
    out = tmp_path / "soft.safetensors"
    dials = ("--group", "d4", "--softness", "0.5", "--mask", "hard", "--out", out)
    assert main([str(argument) for argument in ("soften", resnet, *dials)]) == 0
    found = capsys.readouterr()
    assert "realized softness: 0.6667" in found.out
    assert "the bound did not fall of " in found.out
    said = (
        "softness=0.5 is missed: 0.6667 is kept, in whole levels, which are: 0 (cutoff 0), 0.6667"
    )
    lines = found.err.splitlines()
    assert lines
    assert all(line.startswith("softeq: warning: h w: Image[3x3](D4): " + said) for line in lines)
    assert 'mask="heat"' in lines[0]
    heat = ("--group", "d4", "--softness", "0.5", "--out", out, "--force")
    text = run(capsys, "soften", resnet, *heat)
    assert "realized softness: 0.5" in text
    assert "did not fall" not in text
    words = refused(capsys, "soften", resnet, *heat, "--position-softness", "0.2")
    assert "CifarResNet has no position table" in words


def test_soften_has_a_dial_for_positions_and_keeps_the_folder(capsys, vit, tmp_path):
    out = tmp_path / "soft"
    dials = ("--group", "c4", "--softness", "0", "--position-softness", "1")
    run(capsys, "soften", vit, *dials, "--out", out)
    before, after = (load_file(folder / "model.safetensors") for folder in (vit, out))
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert changed == ["vit.embeddings.patch_embeddings.projection.weight"]
    kernel = after[changed[0]]
    np.testing.assert_allclose(kernel, np.rot90(kernel, axes=(2, 3)), atol=1e-6)
    for name in ("config.json", "preprocessor_config.json"):
        assert (out / name).read_text() == (vit / name).read_text()
    single = tmp_path / "soft.safetensors"
    text = run(capsys, "soften", vit, *dials, "--mask", "heat", "--out", single)
    assert "config.json of the checkpoint goes with a folder only" in text
    assert load(single, heads=3).model == load(out).model


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["hf_dinov2", "hf_segformer", "timm_mixer", "timm_resnet", "timm_vit"]
)
def test_every_family_can_be_looked_at_and_softness_one_changes_no_tensor(
    capsys, tmp_path, name, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "300")  # each tensor on one line
    source, out = GOLDEN / name, tmp_path / "out"
    network = load(source)
    plan = sq.plan(network.variables["params"], models.soft_rules(network.model, sq.groups.so(2)))
    text = run(capsys, "inspect", source, "--group", "so2")
    for path, projector, _ in plan.planned(network.variables["params"]):
        line = next(line for line in text.splitlines() if line.split()[:1] == [path])
        assert projector.space.describe() in line
    run(capsys, "soften", source, "--group", "so2", "--cutoff", "inf", "--out", out)
    before, after = (load_file(folder / "model.safetensors") for folder in (source, out))
    assert {n: (t.dtype, t.shape, t.tobytes()) for n, t in before.items()} == {
        n: (t.dtype, t.shape, t.tobytes()) for n, t in after.items()
    }


def test_soften_keeps_the_dtype_and_certifies_what_is_in_the_file(capsys, tmp_path):
    folder, out = vit_folder(tmp_path / "half", ml_dtypes.bfloat16), tmp_path / "soft"
    text = run(capsys, "soften", folder, "--group", "c4", "--softness", "0", "--out", out)
    written = load(out)
    assert {tensor.dtype for tensor in written.report.used} == {"bfloat16"}
    rules = models.soft_rules(written.model, sq.groups.cyclic(4))
    params = written.variables["params"]
    left = sq.plan(params, rules).certificate(params).relative
    assert 1e-4 < left < 1e-1  # rounding to bfloat16 undoes some of the symmetry
    assert rounded_up(left) in text


def test_soften_replaces_only_when_told_and_never_what_it_reads(capsys, resnet, vit, tmp_path):
    out = tmp_path / "taken.safetensors"
    out.write_bytes(b"mine")
    assert "exists already" in refused(capsys, "soften", resnet, *SO2, "--out", out)
    assert out.read_bytes() == b"mine"
    run(capsys, "soften", resnet, *SO2, "--out", out, "--force")
    assert load(out).report.family == "cifar_resnet"
    data = resnet.read_bytes()
    link = tmp_path / "link.safetensors"
    link.symlink_to(resnet)
    for source, target in (
        (resnet, resnet),
        (link, resnet),
        (resnet, link),
        (vit, vit),
        (vit, vit / "model.safetensors"),
        (vit / "model.safetensors", vit),
    ):
        words = refused(capsys, "soften", source, *SO2, "--out", target, "--force")
        assert "the checkpoint that is read" in words
    assert resnet.read_bytes() == data
    taken = tmp_path / "folder"
    taken.mkdir()
    (taken / "notes").write_text("mine")
    assert "exists already" in refused(capsys, "soften", vit, *SO2, "--out", taken)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--group": "c-4"}, ["unknown group 'c-4'", "so2"]),
        ({"--group": "so3"}, ["group of the plane", "SO(3)"]),
        ({"--softness": "2"}, ["softness must be in [0, 1]", "2.0"]),
        ({"--softness": "much"}, ["--softness", "'much'"]),
        ({"--mask": "box"}, ["--mask", "'box'", "resolvent"]),
        ({"--cutoff": "1"}, ["--cutoff", "not allowed with", "--softness"]),
        ({"--softness": None}, ["--softness", "required"]),
        ({"--out": None}, ["--out", "required"]),
        ({"--heads": "3"}, ["--heads", "CifarResNet", "3"]),
        ({"--heads": "3,x"}, ["--heads", "'x'"]),
        ({"--family": "vit"}, ["'vit'", "cifar_resnet"]),
        ({"--out": "nowhere/soft.safetensors"}, ["nowhere", "does not exist"]),
        ({"--out": "soft"}, ["needs a config.json"]),
    ],
    ids=str,
)
def test_mistakes_are_told_in_one_line(capsys, resnet, tmp_path, monkeypatch, changes, words):
    monkeypatch.chdir(tmp_path)
    options = {"--group": "so2", "--softness": "0.5", "--out": "soft.safetensors"} | changes
    argv = [part for key, value in options.items() if value is not None for part in (key, value)]
    line = refused(capsys, "soften", resnet, *argv)
    assert all(word in line for word in words), line
    assert not list(tmp_path.glob("soft*"))


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_told_in_one_line(capsys, monkeypatch):
    with pathlib.Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert main(["models", "vit_ti16"]) == 2
    line = capsys.readouterr().err
    assert "standard output: [Errno 28] No space left on device" in line


def test_files_that_are_no_checkpoints_are_told_in_one_line(capsys, resnet, tmp_path):
    assert "absent.safetensors" in refused(capsys, "inspect", tmp_path / "absent.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(resnet.read_bytes()[:-10])
    assert "cut.safetensors" in refused(capsys, "inspect", cut)
    for command in ("inspect", "soften"):
        assert "required: WEIGHTS" in refused(capsys, command)
    assert "invalid choice: 'polish'" in refused(capsys, "polish")
    assert "--help" in refused(capsys)


def test_a_missing_extra_is_named(capsys, resnet, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "images").mkdir()
    line = refused(capsys, "measure", resnet, "--data", tmp_path / "images")
    assert line.endswith("pip install softeq-jax[train]\n")


def test_an_interruption_ends_without_a_traceback(capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("softeq_jax._paths.first_matches", interrupted)
    assert main(["models", "vit_ti16"]) == 130
    assert "interrupted" in capsys.readouterr().err
