"""Volumes of a MedMNIST file: made odd, turned exactly, refused where they are something else."""

import numpy as np
import pytest

import softeq_jax as sq
from experiments.shared.studies import Run, StudyError
from experiments.volumes import medmnist, run, study, task

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (9, 4, 4, 4), np.uint8)
LABELS = np.array([0, 1, 2, 2, 1, 2, 2, 0, 2], np.uint8)[:, None]


def _file(folder, **changes):
    arrays = {f"{part}_images": IMAGES for part in medmnist.PARTS}
    arrays |= {f"{part}_labels": LABELS for part in medmnist.PARTS}
    (folder / "medmnist").mkdir(exist_ok=True)
    path = folder / "medmnist" / "organmnist3d.npz"
    np.savez(path, **{name: x for name, x in (arrays | changes).items() if x is not None})
    return path


def _run(folder, **settings):
    given = study.TINY | {"data": "organmnist3d", "classes": 3, "train": 6, "held": 4, "test": 9}
    return Run("row", 0, given | {"floor": "majority"} | settings, None, None, data_dir=folder)


def test_upright_volumes_are_those_of_the_file_with_a_layer_of_zeros(tmp_path):
    found, labels = medmnist.volumes(_file(tmp_path), 2, 7, 0)
    assert found.shape == (7, 1, 5, 5, 5, 1)
    np.testing.assert_array_equal(found[:, 0, :4, :4, :4, 0], IMAGES[:7].astype("f4") / 255)
    assert found[:, 0, 4].max() == found[:, 0, :, 4].max() == found[:, 0, :, :, 4].max() == 0
    np.testing.assert_array_equal(labels, LABELS[:7, 0])


def test_views_are_rotations_that_permute_the_voxels_and_no_mirrors(tmp_path):
    path = _file(tmp_path)
    upright, _ = medmnist.volumes(path, 0, 9, 0)
    views, _ = medmnist.volumes(path, 0, 9, 0, 8)
    acting = sq.reps.voxels(sq.groups.octahedral(), (5, 5, 5))
    turned = np.stack(
        [acting.apply(g, upright[:, 0], axes=(1, 2, 3)) for g in task.TURNS.elements()], 1
    )
    same = (views[:, :, None] == turned[:, None]).all((3, 4, 5, 6))
    assert (same.sum(2) == 1).all()
    assert len(set(same.argmax(2).ravel())) > 12
    again, _ = medmnist.volumes(path, 1, 9, 0, 8)
    assert np.abs(again - views).max() > 0


def test_the_study_reads_the_file_and_its_digest(tmp_path):
    _file(tmp_path)
    assert run.floor(_run(tmp_path))["accuracy"] == pytest.approx(5 / 9)
    assert len(run.inputs(_run(tmp_path).settings, tmp_path)["data"]) == 64
    sizes = study.STUDY.presets
    assert "83.3%" in sizes["small"].note
    assert "ceiling" not in sizes["organs"].note
    with pytest.raises(StudyError, match=r"organmnist3d.npz: volumes of side 5, settings say 7"):
        run.floor(_run(tmp_path, side=7))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"test_labels": None}, "has no test_labels, it has"),
        ({"test_images": IMAGES.astype("f4")}, r"expected uint8 .*, got float32 \[9, 4, 4, 4\]"),
        ({"test_images": IMAGES[:, :3]}, r"got uint8 \[9, 3, 4, 4\]"),
        ({"test_labels": LABELS[:5]}, r"labels \[5, 1\]"),
    ],
)
def test_other_files_are_refused(tmp_path, changes, said):
    with pytest.raises(StudyError, match=said):
        medmnist.volumes(_file(tmp_path, **changes), 2, 4, 0)


def test_more_volumes_than_there_are_are_refused(tmp_path):
    with pytest.raises(StudyError, match="12 volumes of val wanted, it has 9"):
        medmnist.volumes(_file(tmp_path), 1, 12, 0)
