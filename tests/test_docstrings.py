"""The examples in docstrings run as they are printed, and the names users begin with have one."""

import doctest
import importlib
import inspect
import operator
import pathlib

import numpy as np
import pytest

import softeq_jax as sq

ROOT = pathlib.Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "softeq_jax").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BEGIN = [
    "groups.so",
    "groups.cyclic",
    "reps.image",
    "reps.vector",
    "reps.tensor",
    "reps.irrep",
    "projector",
    "Projector.at",
    "Projector.certificate",
    "plan",
    "Plan.project",
    "soften",
    "regularizers.projection_penalty",
    "regularizers.lie_penalty",
    "regularizers.orbit_penalty",
    "relaxation.relax",
    "relaxation.triangular",
    "measures.lie_derivative",
    "measures.local_equivariance_error",
    "measures.layerwise",
    "measures.feature_correlation",
    "measures.consistency",
    "measures.report",
    "orbits.orbit",
    "orbits.average",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name):
    module = importlib.import_module(name)
    usual = {"np": np, "sq": sq}  # methods leave out the two imports of their class's maker
    found = doctest.DocTestFinder().find(module, name, extraglobs=usual)
    tests = [test for test in found if test.examples]
    assert tests
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    for test in tests:
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", BEGIN)
def test_what_users_begin_with_has_an_example(name):
    has_example = ">>> " in (inspect.getdoc(operator.attrgetter(name)(sq)) or "")
    assert has_example
