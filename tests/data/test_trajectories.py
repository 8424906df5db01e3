"""ETH/UCY tracks: windows, counts, malformed files, rotations."""

import pickle

import numpy as np
import pytest

from softeq_jax.data import RotateTrajectories, open_trajectories

_NAMES = (
    "biwi_eth",
    "biwi_hotel",
    "students001",
    "students003",
    "crowds_zara01",
    "crowds_zara02",
    "crowds_zara03",
    "uni_examples",
)


def _line(frame, person):
    return f"{frame}\t{person}.0\t{person + frame / 100}\t{-person}\n"


@pytest.fixture
def folder(tmp_path):
    """Small files of the same names."""
    for part in ("all", "train", "val"):
        (tmp_path / part).mkdir()
        for name in _NAMES:
            suffix = "" if part == "all" else f"_{part}"
            # Person 1 in frames 0 ... 50, person 3 in 20 ... 60, person 2 in 40 and 60 only.
            lines = [_line(f, 1) for f in range(0, 60, 10)]
            lines += [_line(f, 3) for f in range(20, 70, 10)]
            lines += [_line(40, 2), _line(60, 2)]
            (tmp_path / part / f"{name}{suffix}.txt").write_text("".join(lines))
    return tmp_path


def test_windows_by_hand(folder):
    windows = open_trajectories(folder, "eth", "test", observed=2, predicted=2)
    assert [int(w["frame"]) for w in windows] == [0, 10, 20, 30]
    assert windows.max_people == 2
    first, both, last = windows[0], windows[2], windows[3]
    assert first["present"].tolist() == [True, False]
    np.testing.assert_allclose(first["observed"][0], [[1, -1], [1.1, -1]], rtol=1e-6)
    np.testing.assert_allclose(first["future"][0], [[1.2, -1], [1.3, -1]], rtol=1e-6)
    assert not first["observed"][1].any()
    assert not first["future"][1].any()
    assert both["present"].tolist() == [True, True]
    np.testing.assert_allclose(both["future"][1], [[3.4, -3], [3.5, -3]], rtol=1e-6)
    np.testing.assert_allclose(last["observed"][0], [[3.3, -3], [3.4, -3]], rtol=1e-6)
    assert first["observed"].dtype == first["future"].dtype == np.float32
    assert (first["present"].dtype, first["frame"].dtype) == (bool, np.int32)


def test_stride_people_and_padding(folder):
    shape = {"observed": 2, "predicted": 2}
    every = open_trajectories(folder, "eth", "test", stride=2, **shape)
    assert [int(w["frame"]) for w in every] == [0, 20]
    pairs = open_trajectories(folder, "eth", "test", min_people=2, **shape)
    assert [int(w["frame"]) for w in pairs] == [20]
    padded = open_trajectories(folder, "eth", "test", max_people=5, **shape)
    assert padded[0]["observed"].shape == padded[0]["future"].shape == (5, 2, 2)
    assert padded[2]["present"].tolist() == [True, True, False, False, False]
    assert len(pickle.loads(pickle.dumps(padded))) == 4
    with pytest.raises(ValueError, match=r"2 people in the window from frame 20.*max_people = 1"):
        open_trajectories(folder, "eth", "test", max_people=1, **shape)
    with pytest.raises(ValueError, match="no window of 20 frames"):
        open_trajectories(folder, "eth", "test")


def test_windows_do_not_span_gaps(folder):
    path = folder / "all" / "biwi_eth.txt"
    path.write_text("".join(_line(f, 1) for f in (0, 10, 20, 50, 60, 70, 80)))
    windows = open_trajectories(folder, "eth", "test", observed=1, predicted=2)
    assert [int(w["frame"]) for w in windows] == [0, 50, 60]


@pytest.mark.parametrize(("scene", "files"), [("zara1", 7), ("univ", 6)])
@pytest.mark.parametrize("split", ["train", "val"])
def test_one_scene_is_left_out(folder, scene, files, split):
    own = {"zara1": ["crowds_zara01"], "univ": ["students001", "students003"]}[scene]
    for name in own:
        (folder / split / f"{name}_{split}.txt").unlink()
    for part in {"all", "train", "val"} - {split}:
        for name in _NAMES:
            next((folder / part).glob(f"{name}*")).unlink()
    windows = open_trajectories(folder, scene, split, observed=2, predicted=2)
    assert len(windows) == 4 * files
    path = folder / split / f"uni_examples_{split}.txt"
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"uni_examples_{split}.txt: no such file"):
        open_trajectories(folder, scene, split)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0\t1\t2.0\n", "'0\\\\t1\\\\t2.0'"),
        ("0 1 2.0 x\n", "two whole and two finite"),
        ("0 1 2.0 nan\n", "two whole and two finite"),
        ("0.5 1 2.0 3.0\n", "two whole"),
        ("inf 1 2.0 3.0\n", "two whole"),
        ("10 1 5 5\n", "person 1 is in frame 10 a second time, first in line 2"),
    ],
)
def test_malformed_lines_are_named(folder, line, message):
    path = folder / "all" / "biwi_eth.txt"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:5], line, *lines[5:]]))
    with pytest.raises(ValueError, match=f"biwi_eth.txt:6: .*{message}"):
        open_trajectories(folder, "eth", "test", observed=2, predicted=2)
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"biwi_eth.txt: no lines"):
        open_trajectories(folder, "eth", "test")


def test_arguments_out_of_range_are_named(folder):
    with pytest.raises(ValueError, match="scene must be one of eth.*got 'zara3'"):
        open_trajectories(folder, "zara3", "test")
    with pytest.raises(ValueError, match="split must be.*got 'validation'"):
        open_trajectories(folder, "eth", "validation")
    for field in ("observed", "predicted", "stride", "min_people", "max_people"):
        with pytest.raises(ValueError, match=f"{field} must be a positive integer, got 0"):
            open_trajectories(folder, "eth", "test", **{field: 0})


@pytest.mark.parametrize(
    ("scene", "windows", "people"),
    [
        ("eth", 70, 181),
        ("hotel", 301, 1053),
        ("univ", 947, 24334),
        ("zara1", 602, 2253),
        ("zara2", 921, 5833),
    ],
)
def test_published_counts(data_dir, scene, windows, people):
    """The usual benchmark: 8 frames observed, 12 predicted, at least two people."""
    source = open_trajectories(data_dir / "eth_ucy", scene, "test", min_people=2)
    assert len(source) == windows
    assert sum(int(w["present"].sum()) for w in source) == people


@pytest.mark.slow
def test_real_files(data_dir):
    folder = data_dir / "eth_ucy"
    short = open_trajectories(folder, "eth", "test", observed=1, predicted=1)[0]
    assert short["frame"] == 780
    np.testing.assert_allclose(short["observed"][0], [[8.46, 3.59]], rtol=1e-6)
    np.testing.assert_allclose(short["future"][0], [[9.57, 3.79]], rtol=1e-6)
    rows = np.loadtxt(folder / "all" / "crowds_zara01.txt")
    window = open_trajectories(folder, "zara1", "test")[100]
    rows = rows[(rows[:, 0] >= window["frame"]) & (rows[:, 0] < window["frame"] + 200)]
    tracks = [rows[rows[:, 1] == person, 2:] for person in np.unique(rows[:, 1])]
    whole = np.array([track for track in tracks if len(track) == 20])
    assert len(whole) == window["present"].sum() > 0
    np.testing.assert_allclose(window["observed"][: len(whole)], whole[:, :8], rtol=1e-6)
    np.testing.assert_allclose(window["future"][: len(whole)], whole[:, 8:], rtol=1e-6)
    hotel = open_trajectories(folder, "hotel", "train", observed=2, predicted=1, max_people=80)
    assert hotel[0]["frame"] == 780
    np.testing.assert_allclose(hotel[0]["observed"][0, 0], [8.46, 3.59], rtol=1e-6)
    sizes = [len(open_trajectories(folder, "zara2", split)) for split in ("train", "val")]
    assert sizes[0] > 3 * sizes[1] > 0


def test_rotation_is_about_the_origin(folder):
    window = open_trajectories(folder, "eth", "test", observed=2, predicted=2)[0]
    before = {key: value.copy() for key, value in window.items()}
    angles = []
    for seed in range(50):
        out = RotateTrajectories(30)(window, np.random.default_rng(seed))
        z = window["observed"] @ [1, 1j]
        w = out["observed"] @ [1, 1j]
        turn = w[0, 0] / z[0, 0]
        np.testing.assert_allclose(w, z * turn, atol=1e-5)
        np.testing.assert_allclose(
            out["future"] @ [1, 1j], window["future"] @ [1, 1j] * turn, atol=1e-5
        )
        assert abs(turn) == pytest.approx(1, abs=1e-5)
        assert out["observed"].dtype == np.float32
        assert out["present"] is window["present"]
        angles.append(np.degrees(np.angle(turn)))
    assert -30 < min(angles) < -22
    assert 22 < max(angles) < 30
    for key, value in before.items():
        np.testing.assert_array_equal(window[key], value)
    with pytest.raises(ValueError, match="degrees"):
        RotateTrajectories(-1)
