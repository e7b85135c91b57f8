"""The script that writes a training set of activity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks import activity_set
from diffusion_engine.io.images import read_volume, write_volume
from diffusion_engine.phantoms.torso import synthetic_torso
from diffusion_engine.physics.activity_scale import activity_scale
from diffusion_engine.volume import Volume


def write(volume: Volume, place: Path) -> None:
    place.parent.mkdir(parents=True)
    write_volume(volume, place)


def test_a_set_of_ct_and_real_pet_in_network_units_that_goes_on_where_it_stopped(tmp_path, monkeypatch) -> None:
    torso = synthetic_torso((5, 48, 48), (12.0, 9.0, 9.0), 0, middle_mm=-90.0)
    write(torso.hu, tmp_path / "in" / "ct_one" / "ct.nii.gz")
    write(torso.activity, tmp_path / "in" / "petct_two" / "pet_suv.nii.gz")
    write(torso.hu, tmp_path / "in" / "mr_other" / "mr.nii.gz")
    monkeypatch.setattr(activity_set, "EDGE", 32)
    monkeypatch.setattr("sys.argv", ["activity_set", "--data", str(tmp_path / "in"), "--out", str(tmp_path / "out"),
                                     "--variants", "2"])
    activity_set.main()
    files = sorted(place.relative_to(tmp_path / "out").as_posix() for place in tmp_path.glob("out/*/*"))
    assert files == ["ct_one_ct_00/pet.nii.gz", "ct_one_ct_01/pet.nii.gz", "petct_two_pet_suv_00/pet.nii.gz"]
    real = read_volume(tmp_path / "out" / files[2])
    assert activity_scale(real.array) == pytest.approx(10.0, rel=1e-3)
    assert real.array / real.array.max() == pytest.approx(torso.activity.array / torso.activity.array.max(), abs=1e-4)
    first, second = (read_volume(tmp_path / "out" / name) for name in files[:2])
    assert first.array.shape == second.array.shape == (5, 32, 32)
    assert first.spacing_mm == pytest.approx((4.0, 4.0, 12.0))
    assert 5 < activity_scale(first.array) < 20
    assert not np.array_equal(first.array, second.array)
    before = (tmp_path / "out" / files[1]).stat().st_mtime_ns
    (tmp_path / "out" / files[0]).unlink()
    activity_set.main()
    assert np.array_equal(read_volume(tmp_path / "out" / files[0]).array, first.array)
    assert (tmp_path / "out" / files[1]).stat().st_mtime_ns == before


def test_held_out_persons_and_short_stacks() -> None:
    assert activity_set._kind("ct_slices_mixed", "a.nii.gz") == "slices"
    assert activity_set._kind("petctmr_sts009", "ct.nii.gz") is None
    short = Volume(np.zeros((5, 20, 20), np.float32), np.diag([-2.0, -2.0, 1.0, 1.0]), "HU")
    assert activity_set._simulated(short, "ct", 0) is None
