"""Public functions and classes have an example in their docstring, and all examples run."""

import doctest
import importlib
import inspect
import operator
import pathlib
import typing
from typing import Any

import numpy as np
import pytest

import softeq_jax as sq

ROOT = pathlib.Path(sq.__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FOLDERS = sorted({path.parent for path in ROOT.rglob("*.py")})
SHOWN = {folder: ".".join(("softeq_jax", *folder.relative_to(ROOT).parts)) for folder in FOLDERS}
PUBLIC = [
    name
    for folder, name in SHOWN.items()
    if "__all__" in (folder / "__init__.py").read_text(encoding="utf-8")
]
METHODS = ["Projector.at", "Projector.certificate", "Plan.project"]
"""What users begin with."""


def _runs(thing: Any) -> bool:
    """Whether it is a function or class of this library that does something: no exception, and no
    type that only type checkers read."""
    if not callable(thing) or not getattr(thing, "__module__", "").startswith("softeq_jax"):
        return False
    if not inspect.isclass(thing):
        return True
    silent = issubclass(thing, Exception) or getattr(thing, "_is_protocol", False)
    return not silent and not typing.is_typeddict(thing)


def _has_example(thing: Any) -> bool:
    return ">>> " in (inspect.getdoc(thing) or "")


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_have_an_example(name):
    package = importlib.import_module(name)
    things = {each: getattr(package, each) for each in package.__all__}
    without = [each for each, it in things.items() if _runs(it) and not _has_example(it)]
    assert not without


@pytest.mark.parametrize("name", METHODS)
def test_methods_that_users_begin_with_have_an_example(name):
    assert _has_example(operator.attrgetter(name)(sq))


@pytest.mark.slow(2)
@pytest.mark.parametrize("folder", FOLDERS, ids=SHOWN.get)
def test_examples_of(folder):
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    for path in sorted(folder.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if ">>> " not in text:
            continue
        name = ".".join((SHOWN[folder], path.stem)).removesuffix(".__init__")
        found = doctest.DocTestFinder().find(importlib.import_module(name), name, globs={})
        tests = {test.docstring: test for test in found if test.examples}.values()  # each once
        assert sum(len(test.examples) for test in tests) == text.count(">>> "), path
        for test in tests:
            if "." in test.name.removeprefix(f"{name}."):  # a method, which its class introduces
                test.globs.update(np=np, sq=sq)
            runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)
