"""What PET is evaluated on: truth that is made, phantoms and real images, noise again and again, spots, patches."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diffusion_engine.__main__ import main
from diffusion_engine.evaluation import contrast, evaluate
from diffusion_engine.evaluation.spots import invented, patch_error
from diffusion_engine.io.images import read_volume, write_volume
from diffusion_engine.modalities.pet.entry import PET
from diffusion_engine.phantoms.torso import synthetic_torso
from diffusion_engine.phantoms.uptake_by_density import AIR_HU, BALLS, HU, SUV, uptake_by_density
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume
from pet_scans import torso

SMALL = replace(PET, cases=replace(PET.cases, smallest_matrix=32))
HEADER = """!INTERFILE :=
name of data file := {data}
imagedata byte order := LITTLEENDIAN
!PET STUDY (General) :=
!PET data type := Image
patient orientation := head_in
patient rotation := supine
!number format := float
!number of bytes per pixel := 4
number of dimensions := 3
!matrix size [1] := 40
scaling factor (mm/pixel) [1] := 4
!matrix size [2] := 40
scaling factor (mm/pixel) [2] := 4
!matrix size [3] := 1
scaling factor (mm/pixel) [3] := 5
!END OF INTERFILE :=
"""


def interfile(folder: Path, name: str, image: np.ndarray) -> None:
    (folder / f"{name}.hv").write_text(HEADER.format(data=f"{name}.v"))
    (folder / f"{name}.v").write_bytes(image.astype("<f4").tobytes())


def ct_of_a_torso() -> Volume:
    return synthetic_torso((5, 80, 80), (5.0, 6.0, 6.0), lesions=0).hu


def test_a_mixed_folder_gives_made_and_real_images_and_leaves_out_the_rest(tmp_path: Path) -> None:
    ct, real = ct_of_a_torso(), torso(3, unit="SUV")
    write_volume(ct.with_array(np.rint(ct.array).astype(np.int16)), tmp_path / "ct.nii.gz")
    write_volume(real, tmp_path / "real.nii.gz")
    write_volume(real.with_array((real.array > 0.5).astype(np.uint8)), tmp_path / "labels.nii.gz")
    mr = np.rint(np.random.default_rng(1).uniform(0, 200, real.array.shape)).astype(np.int16)
    write_volume(real.with_array(mr), tmp_path / "mr.nii.gz")
    interfile(tmp_path, "phantom", real.array[0] * 7)
    interfile(tmp_path, "mu", real.array[0] / real.array[0].max() * 0.13)
    items, skipped = evaluate.find_items(tmp_path, SMALL)
    assert [(item.name, item.simulated, len(item.indices)) for item in items] == [
        ("ct.nii.gz", True, 3), ("real.nii.gz", False, 3), ("phantom.hv", True, 1),
    ]
    assert {line.split(":")[0] for line in skipped} == {"labels.nii.gz", "mr.nii.gz", "mu.hv", "mu.v"}
    (tmp_path / "real.json").write_text('{"Units": "HU"}')
    assert any("not the CT" in line for line in evaluate.find_items(tmp_path, SMALL)[1])
    (tmp_path / "real.json").unlink()
    for name in ("ct.nii.gz", "phantom.hv"):
        (tmp_path / name).unlink()
    rows = list(evaluate.evaluate(
        evaluate.find_items(tmp_path, SMALL)[0], [{"counts": 0.2}], ["osem"],
        Settings.from_dict({"modality": "pet", "device": "cpu"}), lesions=False,
    ))
    assert {row["set"] for row in rows} == {"real"}
    shutil.rmtree(tmp_path)


def test_the_shell_scans_an_interfile_image_in_relative_units(tmp_path: Path) -> None:
    interfile(tmp_path, "phantom", torso(1, unit="SUV").array[0] * 7)
    out = tmp_path / "out"
    command = ["simulate", "--modality", "pet", "--input", str(tmp_path / "phantom.hv"), "--counts", "1"]
    assert main([*command, "--out", str(out)]) == 0
    np.testing.assert_allclose(read_volume(out / "reference.nrrd").array.max(), torso(1, unit="SUV").array.max() * 7)
    (tmp_path / "phantom.json").write_text('{"unit": "HU"}')
    assert main([*command, "--out", str(tmp_path / "other")]) == 2


def test_uptake_follows_the_ct_number() -> None:
    ct = ct_of_a_torso()
    made = uptake_by_density(ct)
    assert made is not None
    assert made.unit == "SUV"
    assert made.array.shape == ct.array.shape
    muscle = (ct.array > 45) & (ct.array < 55)
    fat = (ct.array > -104) & (ct.array < -96)
    assert np.median(made.array[muscle]) == pytest.approx(np.interp(50, HU, SUV), rel=0.3)
    assert np.median(made.array[fat]) < 0.6
    assert made.array[:, 0].max() == 0
    again, other = uptake_by_density(ct), uptake_by_density(ct, 1)
    assert again is not None
    assert other is not None
    np.testing.assert_array_equal(made.array, again.array)
    assert BALLS > 0
    assert not np.array_equal(made.array, other.array)
    fine = synthetic_torso((2, 160, 160), (5.0, 2.0, 2.0), lesions=0, parts=1).hu
    coarse = uptake_by_density(fine)
    assert coarse is not None
    assert coarse.array.shape == (2, 80, 80)
    centre = (np.array([*(n - 1 for n in fine.array.shape[::-1]), 2]) / 2)
    middle = (np.array([*(n - 1 for n in coarse.array.shape[::-1]), 2]) / 2)
    np.testing.assert_allclose(fine.ijk_to_ras @ centre, coarse.ijk_to_ras @ middle, atol=1e-9)


def test_what_is_no_ct_of_a_body_makes_no_uptake() -> None:
    grid = np.eye(4)
    assert uptake_by_density(Volume(np.full((2, 8, 8), AIR_HU + 1), grid, "HU")) is None
    assert uptake_by_density(Volume(np.full((2, 8, 8), -1000.0), grid, "HU")) is None


def test_realisations_differ_in_noise_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    place = evaluate.lesions_for

    def placing(volume, cases, modality, seed, frame):
        asked.append(seed)
        return place(volume, cases, modality, seed, frame)

    areas: list[float] = []
    measure = contrast.patch_error

    def measuring(image, truth, where):
        areas.append(float(where.sum()) * real.spacing_mm[0] * real.spacing_mm[1])
        return measure(image, truth, where)

    monkeypatch.setattr(evaluate, "lesions_for", placing)
    monkeypatch.setattr(contrast, "patch_error", measuring)
    real = torso(1, 64, "SUV")
    item = evaluate.Item("torso", real, (0,))
    settings = Settings.from_dict({"modality": "pet", "device": "cpu", "seed": 4})
    rows = list(evaluate.evaluate([item], [{"counts": 0.3}], ["osem"], settings, realisations=3))
    assert [row["realisation"] for row in rows] == [0, 1, 2]
    assert len({row["nrmse"] for row in rows}) == 3
    assert asked == [4, 4, 4]
    assert areas
    assert max(areas) < np.pi / 4 * 22**2, "a patch is the core of a lesion's place"
    assert all(row["patch_22mm"] is not None for row in rows)
    alone = next(evaluate.evaluate([item], [{"counts": 0.3}], ["osem"], settings))
    assert "realisation" not in alone
    assert {key: alone[key] for key in ("nrmse", "contrast_22mm")} == {
        key: rows[0][key] for key in ("nrmse", "contrast_22mm")
    }


def test_invented_spots_are_counted() -> None:
    truth = np.full((60, 60), 1.0)
    truth[10:14, 10:14] = 6.0
    image = truth.copy()
    image[38:43, 38:43] = 6.0
    assert invented(image, truth, (4.0, 4.0), 8.0) == 1
    assert invented(truth, truth, (4.0, 4.0), 8.0) == 0
    moved = np.roll(truth, 1, 1)
    assert invented(moved, truth, (4.0, 4.0), 8.0) == 0
    noisy = truth.copy()
    noisy[50, 50] = 4.0
    assert invented(noisy, truth, (4.0, 4.0), 8.0) == 0
    assert invented(image * 0.001, truth * 0.001, (4.0, 4.0), 8.0) == 0
    where = truth == 1
    assert patch_error(np.where(where, 0.7, 9), truth, where) == pytest.approx(-0.3)
