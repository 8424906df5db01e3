"""Checkpoints: exact round trips, detection of changed bytes, survival of a killed save."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from softeq_jax.training import init_state, restore, save


@pytest.fixture
def state():
    params = {
        "a": {"kernel": jnp.arange(6.0).reshape(2, 3)},
        "b": [jnp.ones(4, jnp.bfloat16), np.linspace(0, 1, 5)],
    }
    extra = {"mask": np.array([True, False]), "number": 3, "none": None}
    return init_state(params, optax.adamw(1e-3), extra)


def _same(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(
        np.asarray(x).dtype == np.asarray(y).dtype
        and np.shape(x) == np.shape(y)
        and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in pairs
    )


def test_round_trip_and_replacement(tmp_path, state):
    path = tmp_path / "last"
    save(path, state, {"step": 1, "config": {"lr": 0.1}})
    tree, meta = restore(path, state)
    assert meta == {"step": 1, "config": {"lr": 0.1}}
    assert jax.tree.structure(tree) == jax.tree.structure(state)
    assert _same(tree, state)
    assert tree.params["b"][0].dtype == ml_dtypes.bfloat16
    assert tree.params["b"][1].dtype == np.float64
    newer = state.replace(step=jnp.int32(7))
    save(path, newer, {"step": 7})
    tree, meta = restore(path, newer.replace(step=jax.ShapeDtypeStruct((), jnp.int32)))
    assert (int(tree.step), meta) == (7, {"step": 7})
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


def test_killed_saves_leave_the_former_checkpoint(tmp_path, state, monkeypatch):
    path = tmp_path / "last"
    save(path, state, {"step": 1})

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ocp.Checkpointer, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            save(path, state, {"step": 2})
    assert restore(path, state)[1] == {"step": 1}
    rename = type(path).rename

    def killed_before_the_second_rename(self, target):
        return killed() if self.name.endswith(".partial") else rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(path), "rename", killed_before_the_second_rename)
        with pytest.raises(KeyboardInterrupt):
            save(path, state, {"step": 3})
    assert not path.exists()
    assert restore(path, state)[1] == {"step": 1}
    save(path, state, {"step": 4})
    assert restore(path, state)[1] == {"step": 4}
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


def test_other_bytes_in_the_arrays_are_noticed(tmp_path, state):
    """A sound folder whose arrays are not those of the record, as after a flipped bit."""
    save(tmp_path / "a", state, {})
    flipped = np.asarray(state.params["a"]["kernel"]).copy()
    flipped.view(np.uint32)[1, 2] ^= 1
    params = {**state.params, "a": {"kernel": flipped}}
    save(tmp_path / "b", state.replace(params=params), {})
    (tmp_path / "a" / "arrays").rename(tmp_path / "arrays")
    (tmp_path / "b" / "arrays").rename(tmp_path / "a" / "arrays")
    with pytest.raises(ValueError, match="leaf params/a/kernel does not match its digest"):
        restore(tmp_path / "a", state)


def test_damaged_files_never_pass(tmp_path):
    tree = {"w": np.random.default_rng(0).random((64, 64))}
    path = tmp_path / "x"
    save(path, tree, {"step": 1})
    files = [p for p in (path / "arrays").rglob("*") if p.is_file() and p.stat().st_size > 8000]
    assert files
    for file in files:
        data = bytearray(file.read_bytes())
        for place in (len(data) // 2, len(data) // 3):
            changed = data.copy()
            changed[place] ^= 4
            file.write_bytes(changed)
            with pytest.raises(ValueError, match=r"leaf w|cannot be read"):
                restore(path, tree)
        file.write_bytes(data[: len(data) // 2])
        with pytest.raises(ValueError, match="cannot be read"):
            restore(path, tree)
        file.write_bytes(data)
    restore(path, tree)
    record = next(
        p for p in (path / "record").rglob("*") if p.is_file() and b"step" in p.read_bytes()
    )
    record.write_bytes(record.read_bytes().replace(b'"step": 1', b'"step": 2'))
    with pytest.raises(ValueError, match="record does not match"):
        restore(path, tree)


def test_template_errors(tmp_path):
    path = tmp_path / "x"
    save(path, {"w": np.zeros(3), "b": np.zeros(2)}, {})
    with pytest.raises(ValueError, match=r"lacks leaves \['c'\].*\['b'\]"):
        restore(path, {"w": np.zeros(3), "c": np.zeros(2)})
    with pytest.raises(ValueError, match=r"leaf w is \(\(3,\), 'float64'\).*\(4,\), 'float64'"):
        restore(path, {"w": np.zeros(4), "b": np.zeros(2)})
    with pytest.raises(ValueError, match=r"leaf b .*float32"):
        restore(path, {"w": np.zeros(3), "b": np.zeros(2, np.float32)})


def test_what_cannot_be_saved(tmp_path):
    for leaf in (jax.random.key(0), "text", np.zeros((0, 2))):
        with pytest.raises(TypeError, match="leaf w"):
            save(tmp_path / "x", {"w": leaf}, {})
    with pytest.raises(TypeError, match="JSON"):
        save(tmp_path / "x", {"w": np.zeros(1)}, {"f": print})
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError, match="mine"):
        save(tmp_path / "mine", {"w": np.zeros(1)}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        restore(tmp_path / "absent", {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: record .* cannot be read"):
        restore(tmp_path / "empty", {})
