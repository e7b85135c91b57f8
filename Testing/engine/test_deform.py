"""Smooth random deformations of label maps: seeded, without folds, within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_engine.synthesis import deform as module
from diffusion_engine.synthesis.classes import LUNG, VESSEL
from diffusion_engine.synthesis.deform import STRETCH, Deformation, deform
from diffusion_engine.volume import Volume
from labelled_bodies import MATRIX, label_volume, trunk
from scipy import ndimage


def test_a_seed_gives_one_deformation_and_another_seed_another() -> None:
    source = label_volume()
    first, report = deform(source, Deformation(), 3)
    again, _ = deform(source, Deformation(), 3)
    other, _ = deform(source, Deformation(), 4)
    assert np.array_equal(first.array, again.array)
    assert not np.array_equal(first.array, other.array)
    assert 0.02 < (first.array != source.array).mean() < 0.4
    assert (first.array.dtype, first.unit) == (source.array.dtype, "label")
    assert np.array_equal(first.ijk_to_ras, source.ijk_to_ras)
    assert set(np.unique(first.array)) <= set(np.unique(source.array))
    assert 0 < report["amplitude_mm"] <= 6


@pytest.mark.parametrize("seed", range(3))
def test_nothing_folds_and_parts_stay_parts(seed: int) -> None:
    made, report = deform(label_volume(), Deformation(20.0, 25.0, 0.5), seed)
    assert report["stretch"] <= STRETCH + 1e-9
    for label, count in ((LUNG, 2), (VESSEL, 1)):
        sizes = np.bincount(ndimage.label(made.array == label)[0].ravel())[1:]
        assert (sizes > 20).sum() == count


def test_the_field_of_a_deformation_is_one_to_one() -> None:
    voxel_mm = np.array([4.0, 2.5, 2.5])
    field = module._field((8, 60, 60), voxel_mm, Deformation(50.0, 15.0), np.random.default_rng(0))
    field *= STRETCH / module._stretch(field, voxel_mm)
    jacobian = np.stack([np.stack(np.gradient(part, *voxel_mm)) for part in field]) + np.eye(3)[:, :, None, None, None]
    determinants = np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1)))
    assert determinants.min() > 0
    for axis in range(3):
        assert np.abs(np.take(field[axis], [0, -1], axis)).max() < 1e-6, "nothing leaves through a face"


def test_volumes_change_within_the_bound() -> None:
    tight = Deformation(25.0, 20.0, 0.05)
    made, report = deform(label_volume(), tight, 1)
    for label in np.unique(trunk()):
        ratio = (made.array == label).sum() / (trunk() == label).sum()
        assert abs(ratio - 1) <= 0.05
        assert report["volume_ratios"][str(label)] == pytest.approx(ratio, abs=1e-4)
    assert report["tries"] > 1, "the first try changed more, or this test shows nothing"


def test_no_amplitude_is_no_change() -> None:
    assert np.array_equal(deform(label_volume(), Deformation(0.0), 1)[0].array, trunk())


def test_what_cannot_be_deformed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="at least two slices"):
        deform(Volume(trunk()[:1], MATRIX, "label"), Deformation(), 0)
    with pytest.raises(ValueError, match="expected whole numbers as labels, found float32"):
        deform(Volume(trunk().astype(np.float32), MATRIX, "label"), Deformation(), 0)
    with pytest.raises(ValueError, match="expected smooth_mm from 2 to 200, found 1"):
        Deformation(smooth_mm=1)
    monkeypatch.setattr(module, "TRIES", 1)
    with pytest.raises(ValueError, match="expected volumes within 1% of their own"):
        deform(label_volume(), Deformation(25.0, 20.0, 0.01), 1)
