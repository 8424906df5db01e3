"""What README and guides show runs as pasted, and what they link to is there."""

import importlib
import operator
import pathlib
import re
import shlex

import numpy as np
import pytest
from safetensors.numpy import load_file

import softeq_jax as sq
from softeq_jax.cli import make_parser

ROOT = pathlib.Path(__file__).parents[1]
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "experiments").rglob("*.md")), *GUIDES[1:]]
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def name_of(page):
    return str(page.relative_to(ROOT))


def blocks(page, *languages):
    """The blocks of code of a page in some languages."""
    return [text for kind, text in FENCE.findall(page.read_text()) if kind in languages]


def commands(page):
    """The lines that a page tells to type, joined where they go on."""
    for text in blocks(page, "bash"):
        for line in text.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


@pytest.mark.slow(40)
@pytest.mark.parametrize("page", [p for p in GUIDES if blocks(p, "python")], ids=name_of)
@pytest.mark.filterwarnings("ignore:no levels above 0")
def test_the_code_runs_as_pasted(page, tmp_path, monkeypatch, capsys):
    """Block after block, as a reader goes down the page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names: dict = {"__name__": "pasted"}
    for text in blocks(page, "python"):
        file = re.match(r"# (\w+\.py)\n", text)
        if file is None:
            exec(compile(text, name_of(page), "exec"), names)
            continue
        path = tmp_path / file.group(1)
        path.write_text(text)
        if path.name.startswith("test_"):
            module = importlib.import_module(path.stem)
            for test in [name for name in vars(module) if name.startswith("test_")]:
                getattr(module, test)()
    if check := CHECKS.get(name_of(page)):
        check(names, capsys.readouterr().out, tmp_path)


def check_readme(names, said, _):
    assert "1 filtered, 0 untouched" in said
    plan, params, soft = names["plan"], names["params"], names["soft"]
    bound = plan.certificate(soft, angle=0.5)
    assert 0 < bound.bound < plan.certificate(params, angle=0.5).bound
    assert bound.certified


def check_start(names, said, _):
    np.testing.assert_array_equal(names["same"]["stem"]["kernel"], names["w"])
    expected = names["P"](names["w"])
    np.testing.assert_allclose(names["soft"]["stem"]["kernel"], expected, atol=1e-6)
    assert "1 filtered, 1 untouched" in said


def check_choice(_, said, __):
    assert said.splitlines()[0].startswith("C4 3 x 3")
    assert len(said.splitlines()) == 4


def check_softening(names, said, _):
    assert "2 filtered, 4 untouched" in said
    for path, before in names["before"].parts.items():
        assert names["after"].parts[path].relative < before.relative
    first, rest = np.asarray(names["first"]), np.asarray(names["rest"])
    np.testing.assert_allclose((first * rest).sum(), 0, atol=1e-3)
    *_, even, strided = said.splitlines()
    assert "not certified" in strided
    assert "not certified" not in even


def check_own_group(names, _, __):
    assert names["cube"].order == 43252003274489856000
    assert names["H"].order == 24
    # V -> V once per pair of copies, and V (x) V holds V once: 16 * (4 + 8) maps
    assert names["P"].rank() == 16 * 12
    g = names["H"].elements()[7]
    x = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(names["f"](g @ x), g @ names["f"](x), atol=1e-5)


def check_measures(names, said, folder):
    assert set(names["error"]) == {"translation_x", "rotation"}
    for shares in names["shares"].shares.values():
        np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-3)
    assert max(values.max() for values in names["exact"].values()) < 1e-10
    assert (folder / "outputs" / "report" / "lie.png").exists()
    assert "hyperbolic_rotation" in said


def check_training(names, _, folder):
    assert names["outcome"].step == 600
    assert names["outcome"].metrics["count"] == 360
    assert names["outcome"].metrics["accuracy"] > 0.95
    folded = load_file(folder / "outputs" / "readme_run" / "folded.safetensors")
    tree = {**names["params"], "stem": {**names["params"]["stem"], "kernel": folded["stem/kernel"]}}
    kernel = names["plan"].project(tree)
    np.testing.assert_allclose(kernel["stem"]["kernel"], folded["stem/kernel"], atol=1e-6)


def check_penalties(names, _, __):
    norms = sq.regularizers.part_norms(names["plan"], names["params"])["dense/kernel"]
    assert norms.residual < 1e-5 * norms.equivariant


def check_relaxation(names, said, _):
    assert "0.0 1.0 0.0" in said
    norms = sq.regularizers.part_norms(names["plan"], names["strict"])["dense/kernel"]
    assert norms.residual < 1e-6 * norms.equivariant


def check_networks(_, said, __):
    *_, summary, raw, soft, strict = said.splitlines()
    assert summary == "2 filtered, 69 untouched"
    assert float(raw) > 0.01
    assert max(float(soft), float(strict)) < 1e-5


CHECKS = {
    "README.md": check_readme,
    "docs/choose.md": check_choice,
    "docs/getting_started.md": check_start,
    "docs/guides/measure.md": check_measures,
    "docs/guides/penalize.md": check_penalties,
    "docs/guides/published_weights.md": check_networks,
    "docs/guides/relax.md": check_relaxation,
    "docs/guides/soften.md": check_softening,
    "docs/guides/train.md": check_training,
    "docs/guides/your_own_group.md": check_own_group,
}


def test_every_check_has_a_page():
    assert set(CHECKS) <= {name_of(page) for page in GUIDES if blocks(page, "python")}


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text()
    (example,) = blocks(ROOT / "README.md", "python")
    assert len(text.split()) <= 700
    assert len(example.strip().splitlines()) <= 10


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_the_commands_exist(page):
    """Targets of make, options of softeq, programs of studies, extras of pip."""
    make = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = re.findall(r"^(\w+) =$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    for first, *rest in commands(page):
        match pathlib.Path(first).name:
            case "make":
                assert rest[0] in make
            case "softeq":
                make_parser().parse_args(rest)
            case "python":
                assert rest[0] == "-m"
                assert _is_program(rest[1])
            case "pip":
                named = re.findall(r"\.\[([\w,]+)\]", " ".join(rest))
                assert set(",".join(named).split(",")) <= {*extras, ""}
            case _:
                assert (ROOT / first).exists(), first


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_the_names_exist(page):
    """Every `sq.name.name` in a text, so that a renamed function is renamed there too."""
    for path in set(re.findall(r"\b(?:sq|`softeq_jax)((?:\.[A-Za-z_]\w*)+)", page.read_text())):
        assert operator.attrgetter(path[1:])(sq) is not None, path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("folder", ["experiments", "notebooks", "docs"])
def test_the_commands_and_configs_of_studies_exist(folder):
    """Wherever a command line of a study is written down."""
    kinds = {".py", ".md", ".sh", ".sbatch", ".ipynb"}
    pages = [page for page in (ROOT / folder).rglob("*") if page.suffix in kinds]
    for page in pages:
        text = page.read_text()
        for module in re.findall(r"python -m (experiments[.\w]*\w)", text):
            assert _is_program(module), f"{page}: {module}"
        for path in re.findall(r"experiments/[\w/]+\.(?:py|md|sh|sbatch|png|csv)\b", text):
            assert (ROOT / path).exists(), f"{page}: {path}"


def _is_program(module):
    path = ROOT / module.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__main__.py").exists()
