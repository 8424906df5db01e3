"""The rules of the house that no linter knows; CONTRIBUTING.md says them in words."""

import ast
import collections
import graphlib
import pathlib

ROOT = pathlib.Path(__file__).parents[1]
LONGEST = 450
"""Lines of a file."""
LONGER = {"softeq_jax/reps/_rep.py": 540, "softeq_jax/reps/rep.py": 540}
"""The interface of representations stands beside its algebra."""
MANY = 8
"""Parameters from which on a function has many of them."""


def _files(*folders: str) -> dict[str, pathlib.Path]:
    """Module names and their files."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    }


LIBRARY = _files("softeq_jax")
TREES = {
    name: ast.parse(path.read_text(encoding="utf-8"))
    for name, path in _files("softeq_jax", "experiments").items()
}


def _imported(tree: ast.Module) -> set[str]:
    """Full names of what a file imports anywhere in it, also for type checkers only."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _room(name: str) -> str:
    """``softeq_jax.reps`` of ``softeq_jax.reps.anything``, ``experiments`` of all studies."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "softeq_jax" else parts[0]


def test_a_class_name_occurs_once():
    places = collections.defaultdict(list)
    for module in LIBRARY:
        for node in TREES[module].body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module)
    twins = {  # one layer for Linen and one for NNX
        name
        for name, modules in places.items()
        if all(module.startswith("softeq_jax.nn.") for module in modules)
        and sum("nnx" in module for module in modules) == len(modules) - 1
    }
    twice = {name: m for name, m in places.items() if len(m) > 1 and name not in twins}
    assert not twice


def test_files_import_in_no_circle():
    sorter = graphlib.TopologicalSorter()
    for module, tree in TREES.items():
        for name in _imported(tree):
            # a name in a file, or the file itself
            target = name if name in TREES else name.rpartition(".")[0]
            if target in TREES:
                sorter.add(module, target)
    sorter.prepare()


def test_what_is_private_stays_in_its_room():
    shared = {
        f"softeq_jax.{name}"
        for name in ("_atomic", "_checks", "_paths", "_sizes", "_text", "_version")
    }
    crossing = [
        (module, name)
        for module, tree in TREES.items()
        for name in sorted(_imported(tree))
        if name.startswith(("softeq_jax.", "experiments."))
        and any(part.startswith("_") for part in name.split("."))
        and _room(name) not in {_room(module), *shared}
    ]
    assert not crossing


def test_files_are_short():
    lines = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8").count("\n")
        for path in LIBRARY.values()
    }
    assert not {name: n for name, n in lines.items() if n > LONGER.get(name, LONGEST)}


def test_few_functions_have_many_parameters():
    many = []
    for module in LIBRARY:
        for node in ast.walk(TREES[module]):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                names = [argument.arg for argument in arguments]
                if len(names[names[:1] in (["self"], ["cls"]) :]) >= MANY:
                    many.append(f"{module}.{node.name}")
    assert len(many) <= 15, many


def test_every_file_says_what_it_holds():
    unsaid = [
        name
        for name, tree in TREES.items()
        if tree.body and not (ast.get_docstring(tree) or "").strip()
    ]
    assert not unsaid


def test_no_docstring_refers_to_another_by_likewise():
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [
        f"{module}: {getattr(node, 'name', '')}"
        for module in LIBRARY
        for node in ast.walk(TREES[module])
        if isinstance(node, kinds) and "likewise" in (ast.get_docstring(node) or "").lower()
    ]
    assert not found


def test_test_files_have_names_of_their_own():
    """Two of one name cannot be collected together, which shows only when all of them are run."""
    names = collections.Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
