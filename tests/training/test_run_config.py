"""Configurations: checked against defaults, saved, compared, overridden on a command line."""

import hashlib
import json
import math
import re
import subprocess
import sys

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict, FrozenConfigDict, config_dict

from softeq_jax.training.config import (
    config_differences,
    config_digest,
    load_config,
    resolve_config,
    save_config,
)


def defaults():
    return ConfigDict(
        {
            "optimizer": {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
            "model": {"name": "resnet", "widths": (16, 32, 64), "rules": {"**/kernel": 0.5}},
            "steps": 100,
            "note": None,
            "cutoff": config_dict.placeholder(float),
        }
    )


def test_what_is_left_out_comes_from_the_defaults():
    config = resolve_config({"optimizer": {"momentum": 0.5}, "steps": 7}, defaults())
    assert isinstance(config, FrozenConfigDict)
    expected = defaults().to_dict()
    expected["optimizer"]["momentum"], expected["steps"] = 0.5, 7
    assert config.to_dict() == expected
    assert resolve_config(ConfigDict({}), defaults()).to_dict() == defaults().to_dict()
    assert resolve_config(config, defaults()) == config


def test_accepted_types():
    given = {
        "optimizer": {"learning_rate": 1},
        "model": {"widths": [1, 2], "rules": {"**/kernel": 0.25}},
        "note": {"anything": [1, "a"]},
        "cutoff": 2,
    }
    config = resolve_config(given, defaults())
    assert type(config.optimizer.learning_rate) is float
    assert config.model.widths == (1, 2)
    assert config.note.anything == (1, "a")
    assert type(config.cutoff) is float
    assert resolve_config({"cutoff": None}, defaults()).cutoff is None
    assert resolve_config({"cutoff": math.inf}, defaults()).cutoff == math.inf


def test_misspelt_keys_name_the_right_one():
    message = (
        r"config\.optimizer\.learning_rte: no such key; did you mean learning_rate\? "
        r"config\.optimizer has learning_rate, momentum, nesterov"
    )
    for config in ({"optimizer": {"learning_rte": 1.0}}, ConfigDict({"optimizer": {}})):
        config["optimizer"]["learning_rte"] = 1.0
        with pytest.raises(KeyError, match=message):
            resolve_config(config, defaults())
    with pytest.raises(KeyError, match=r"config\.zzz: no such key; config has cutoff, model"):
        resolve_config({"zzz": 1}, defaults())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"steps": 1.5}, r"config\.steps is 1\.5 \(float\), expected int"),
        ({"steps": True}, r"config\.steps is True \(bool\), expected int"),
        ({"steps": None}, r"config\.steps is None"),
        (
            {"optimizer": {"nesterov": 1}},
            r"config\.optimizer\.nesterov is 1 \(int\), expected bool",
        ),
        ({"optimizer": {"momentum": "0.9"}}, r"config\.optimizer\.momentum is '0\.9'"),
        ({"optimizer": 3}, r"config\.optimizer is 3, expected keys among \['learning_rate'"),
        ({"model": {"name": {"a": 1}}}, r"config\.model\.name is .*expected str"),
        ({"model": {"widths": 16}}, r"config\.model\.widths is 16 \(int\), expected tuple"),
        ({"cutoff": "high"}, r"config\.cutoff is 'high' \(str\), expected float"),
        ({"note": print}, r"config\.note is a builtin_function_or_method"),
        ({"note": [{"a": 1}]}, r"config\.note is a sequence with a configuration in it"),
        ({"note": {1: 2}}, r"config\.note has the key 1, expected a string without dots"),
        ({"note": {"a.b": 2}}, r"config\.note has the key 'a\.b', expected a string without dots"),
        (3, r"config is a int"),
    ],
)
def test_wrong_types_name_the_key(config, message):
    with pytest.raises(TypeError, match=message):
        resolve_config(config, defaults())


def test_values_that_are_none():
    with pytest.raises(ValueError, match=r"config\.optimizer\.momentum is NaN"):
        resolve_config({"optimizer": {"momentum": math.nan}}, defaults())
    needed = ConfigDict({"seed": config_dict.required_placeholder(int)})
    assert resolve_config({"seed": 3}, needed).seed == 3
    with pytest.raises(ValueError, match=r"config\.seed has no value, expected int"):
        resolve_config({}, needed)
    with pytest.raises(TypeError, match=r"config\.seed is None \(NoneType\), expected int"):
        resolve_config({"seed": None}, needed)


def test_references_are_resolved_before():
    base = ConfigDict({"steps": 10})
    base.warmup = base.get_ref("steps") * 2
    assert resolve_config({"steps": 5}, base).to_dict() == {"steps": 5, "warmup": 20}
    base.steps = 5
    assert resolve_config({}, base).to_dict() == {"steps": 5, "warmup": 10}
    with pytest.raises(TypeError, match=r"config\.warmup is 'x' \(str\), expected int"):
        resolve_config({"warmup": "x"}, base)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text("aZ0.é∞\n", max_size=3),
)
names = st.text("abcdef_/*", min_size=1, max_size=6)
configs = st.recursive(
    st.dictionaries(names, st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=4),
    lambda inner: st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@given(configs)
@examples(fast=100)
def test_saved_configurations_return(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("config") / "a" / "config.json"
    save_config(ConfigDict(values), path)
    read = load_config(path)
    assert isinstance(read, FrozenConfigDict)
    assert read == FrozenConfigDict(values)
    assert config_digest(read) == config_digest(values) == config_digest(ConfigDict(values))
    assert config_differences(read, values) == {}
    assert resolve_config(values, read) == read


@pytest.mark.slow
@given(configs, configs)
@examples(fast=100)
def test_digests_are_equal_where_nothing_differs(a, b):
    differ = config_differences(a, b)
    assert (config_digest(a) == config_digest(b)) == (not differ)
    assert config_differences(b, a) == {key: (y, x) for key, (x, y) in differ.items()}


def test_differences():
    a = resolve_config({}, defaults())
    b = resolve_config({"optimizer": {"momentum": 0.5}, "note": "x"}, defaults())
    assert config_differences(a, b) == {"note": (None, "x"), "optimizer.momentum": (0.9, 0.5)}
    assert config_differences({"a": {"b": 1}}, {"a": {}}) == {
        "a": ("<absent>", {}),
        "a.b": (1, "<absent>"),
    }
    assert config_differences({"a": 1}, {"a": 1.0}) == {"a": (1, 1.0)}


def test_the_digest_does_not_change_between_versions():
    config = {"b": [1, 2.5, None], "a": {"c": True, "d": "x"}}
    assert config_digest(config) == config_digest({"a": {"d": "x", "c": True}, "b": (1, 2.5, None)})
    text = b'{"a":{"c":true,"d":"x"},"b":[1,2.5,null]}'
    assert config_digest(config) == hashlib.sha256(text).hexdigest()


def test_files(tmp_path):
    path = tmp_path / "config.json"
    save_config(defaults(), path)
    text = path.read_text()
    assert list(json.loads(text)) == sorted(defaults().keys())
    with pytest.raises(TypeError, match=r"config\.f is a function"):
        save_config({"f": lambda: 0}, path)
    assert path.read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
    path.write_text(text[:20])
    with pytest.raises(ValueError, match=r"config\.json: not a JSON file"):
        load_config(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match=r"holds a list, expected an object"):
        load_config(path)
    with pytest.raises(FileNotFoundError):
        load_config(tmp_path / "absent")


CONFIG_FILE = """
from ml_collections import ConfigDict

def get_config():
    config = ConfigDict({"optimizer": {"learning_rate": 0.1}})
    config.lock()
    return config
"""

PROGRAM = """
import sys
from absl import app
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)

def main(argv):
    config = CONFIG.value
    print("rate", config.optimizer.learning_rate)
    config.optimizer.learning_rte = 1.0

app.run(main)
"""


def test_the_command_line_suggests_the_right_key(tmp_path):
    (tmp_path / "config.py").write_text(CONFIG_FILE)
    (tmp_path / "program.py").write_text(PROGRAM)

    def run(*arguments):
        command = [sys.executable, "program.py", "--config=config.py", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout, done.stderr

    code, _, error = run("--config.optimizer.learning_rte=0.2")
    assert code
    assert 'Did you mean "learning_rate" instead of "learning_rte"?' in error
    code, _, error = run("--config.optimizer.learning_rate=fast")
    assert code
    assert "could not convert string to float: 'fast'" in error
    code, out, error = run("--config.optimizer.learning_rate=0.2")
    assert code
    assert out == "rate 0.2\n"  # the flag is applied, and then the misspelt assignment raises
    assert re.search(r"Did you mean .*learning_rate.* instead of .*learning_rte", error)
