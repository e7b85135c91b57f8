"""PET counts in memory and in files of arrays: what is checked, what is asked for, and how a file is known."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_engine.modalities import pet
from diffusion_engine.modalities.pet.files import FILES
from diffusion_engine.modalities.pet.readings.arrays import read_npz, write_npz
from diffusion_engine.modalities.pet.readings.description import KEYS, read_description
from diffusion_engine.modalities.pet.sinogram import Sinogram, about_axis
from diffusion_engine.modalities.rules import Remark
from pet_files import describe, header_text, sinogram_fields, write_sinogram
from scipy.io import savemat

SHAPE = (2, 6, 9)
COUNTS = np.random.default_rng(5).poisson(30.0, SHAPE).astype(np.float32)
ANGLES = np.arange(6) * np.pi / 6


def made(**changes: Any) -> Sinogram:
    values: dict[str, Any] = {"prompts": COUNTS, "angles_rad": ANGLES, "bin_mm": 2.0, "centre_bin": 4.0,
                              "slice_spacing_mm": 3.0, **changes}
    return Sinogram(**values)


def changed(at: tuple[int, int, int], value: float) -> np.ndarray:
    array = COUNTS.copy()
    array[at] = value
    return array


@pytest.mark.parametrize(("changes", "said"), [
    ({"prompts": changed((1, 2, 3), -1)}, "found 1 below 0, the first in slice 1, angle 2, bin 3"),
    ({"prompts": changed((0, 5, 8), np.nan)}, "NaN or infinite, the first in slice 0, angle 5, bin 8"),
    ({"prompts": np.zeros(SHAPE)}, "found zeros only"),
    ({"prompts": COUNTS[0]}, "the axes slices, angles, bins"),
    ({"prompts": COUNTS * 1j}, "found complex"),
    ({"angles_rad": ANGLES[:5]}, "expected 6 finite angles_rad"),
    ({"angles_rad": np.full(6, np.nan)}, "NaN or infinity"),
    ({"bin_mm": 0.0}, "positive number as bin_mm"), ({"bin_mm": None}, "positive number as bin_mm"),
    ({"duration_s": -1.0}, "as duration_s, found -1.0: correct it or leave it out"),
    ({"counts_per_bq": 0.0}, "as counts_per_bq"), ({"slice_spacing_mm": np.inf}, "as slice_spacing_mm"),
    ({"centre_bin": 9.0}, "give 4 when it is in the middle"),
    ({"ijk_to_ras": np.diag([1.0, 1, 4, 1])}, "slices 4 mm apart"),
    ({"background": COUNTS * 1.5}, "which leave no true coincidences"),
    ({"background": np.concatenate([COUNTS[:1] * 1.5, COUNTS[1:] * 0])}, "in 1 of 2 slices, in slice 0"),
    ({"background": COUNTS[:1]}, "a background in the shape"),
    ({"background": -COUNTS}, "at least 0 as background"),
    ({"background": COUNTS.swapaxes(1, 2)}, "exchange its axes"),
    ({"attenuation": np.full(SHAPE, 3.0)}, "found 3 to 3: attenuation correction factors"),
    ({"attenuation": np.zeros(SHAPE)}, r"exp\(-integral of mu\)"),
    ({"attenuation": COUNTS[0]}, "attenuation in the shape"),
    ({"efficiency": np.full(9, -1.0)}, "found 9 below 0"), ({"efficiency": np.zeros(9)}, "found zeros only"),
    ({"efficiency": np.ones(8)}, "efficiencies that fit"),
])
def test_counts_that_cannot_be_are_refused_in_one_sentence(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        made(**changes)
    assert "\n" not in str(caught.value)


def test_a_slice_may_fall_below_its_background_by_chance() -> None:
    low = np.ones(SHAPE, np.float32)
    low[1] = 60
    assert made(prompts=low, background=np.full(SHAPE, 1.05)).background is not None


def test_a_grid_about_the_axis_and_back() -> None:
    matrix = np.array([[-2.0, 0, 0, 40], [0, -2.5, 0, 30], [0, 0, 3, -7], [0, 0, 0, 1]])
    about = made(ijk_to_ras=about_axis(matrix, 64, 80))
    assert about.placed(64, 80, (2.5, 2.0)) == pytest.approx(matrix)
    assert about.ijk_to_ras is not None
    assert about.ijk_to_ras[:3, 3] == pytest.approx((matrix @ [39.5, 31.5, 0, 1])[:3])
    finer = about.placed(128, 160, (1.25, 1.0))
    assert finer is not None
    assert finer @ [79.5, 63.5, 1, 1] == pytest.approx(matrix @ [39.5, 31.5, 1, 1])
    assert made().placed(4, 4, (1, 1)) is None


def test_all_of_a_sinogram_is_kept_by_its_own_file(tmp_path: Path) -> None:
    whole = made(background=COUNTS * 0.3, attenuation=np.full(SHAPE, 0.4), efficiency=np.linspace(0, 1, 9),
                 duration_s=60.0, counts_per_bq=1e-4, ijk_to_ras=np.diag([-1.0, -1, 3, 1]),
                 remarks=(Remark("noise", "It was noisy.", True),), facts={"isotope": "F-18"})
    name, description = FILES.write(whole, tmp_path)
    assert (name, description) == ("sinogram.npz", None)
    assert FILES.recognise(tmp_path / name, None)
    found = FILES.read(tmp_path / name, None)
    for field in ("prompts", "angles_rad", "background", "attenuation", "efficiency", "ijk_to_ras"):
        assert np.array_equal(getattr(found, field), getattr(whole, field)), field
    for field in ("bin_mm", "centre_bin", "slice_spacing_mm", "duration_s", "counts_per_bq", "remarks", "facts"):
        assert getattr(found, field) == getattr(whole, field), field
    write_npz(made(), tmp_path / "bare.npz")
    assert read_npz(tmp_path / "bare.npz").background is None


def test_a_damaged_own_file_is_recognised_and_refused(tmp_path: Path) -> None:
    FILES.write(made(), tmp_path)
    place = tmp_path / "sinogram.npz"
    with np.load(place) as content:
        arrays = {name: content[name] for name in content.files if name != "angles_rad"}
    np.savez(place, **arrays)
    assert FILES.recognise(place, None)
    with pytest.raises(ValueError, match="write it again"):
        FILES.read(place, None)
    with pytest.raises(ValueError, match="expected to write"):
        write_npz(made(), tmp_path / "absent" / "a.npz")


GIVEN: dict[str, Any] = {"axes": ["bin", "angle", "slice"], "bin_mm": 2.0, "slice_spacing_mm": 3.0, "arc_deg": 180}


@pytest.mark.parametrize("ending", [".npy", ".npz", ".mat"])
def test_arrays_with_a_description(tmp_path: Path, ending: str) -> None:
    stored = COUNTS.transpose(2, 1, 0).astype(np.int32)
    path = tmp_path / f"a{ending}"
    if ending == ".npy":
        np.save(path, stored)
    elif ending == ".npz":
        np.savez(path, counts=stored)
    else:
        savemat(path, {"counts": stored})
    np.save(tmp_path / "acf.npy", np.full(stored.shape, 5.0))
    description = describe(path, **GIVEN, attenuation_factors="acf.npy", duration_s=30, isotope="Ga-68")
    assert FILES.recognise(path, description)
    assert not FILES.recognise(path, None)
    found = FILES.read(path, description)
    assert np.array_equal(found.prompts, COUNTS)
    assert found.angles_rad == pytest.approx(ANGLES)
    assert found.attenuation == pytest.approx(np.full(SHAPE, 0.2))
    assert (found.centre_bin, found.duration_s, found.facts["isotope"]) == (4.0, 30, "Ga-68")
    assert {remark.kind for remark in found.remarks} == {"centre", "background"}


def test_factors_of_the_same_file_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, counts=COUNTS, expected=COUNTS * 0.25)
    keys = {**GIVEN, "axes": ["slice", "angle", "bin"], "variable": "counts", "background": "expected"}
    description = describe(path, **keys)
    assert FILES.read(path, description).background == pytest.approx(COUNTS * 0.25)


@pytest.mark.parametrize(("changes", "said"), [
    ({"axes": None}, r'"axes": \["slice", "angle", "bin"\]'), ({"axes": ["angle", "bin"]}, "names the axes"),
    ({"bin_mm": None}, '"bin_mm" in the description'), ({"slice_spacing_mm": None}, '"slice_spacing_mm"'),
    ({"arc_deg": None}, '"angles_deg"'), ({"angles_deg": [1, 2], "arc_deg": None}, "expected 6 angles_deg"),
    ({"angles_deg": [1, 2]}, "found both"), ({"axes": ["row", "bin"]}, "angle, bin and perhaps slice"),
    ({"background": "absent"}, "expected 'absent'"), ({"bin": 1}, "only the keys"),
])
def test_what_a_description_lacks_is_asked_for(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, COUNTS.transpose(2, 1, 0))
    if "background" in changes:
        path = tmp_path / "a.npz"
        np.savez(path, counts=COUNTS.transpose(2, 1, 0))
        changes = {**changes, "variable": "counts"}
    keys = {key: value for key, value in {**GIVEN, **changes}.items() if value is not None}
    with pytest.raises(ValueError, match=said):
        FILES.read(path, describe(path, **keys))


def test_the_document_names_every_key_and_its_example_is_read(tmp_path: Path) -> None:
    text = Path(pet.__file__).with_name("PET.md").read_text(encoding="utf-8")
    rows = [row for row in text.partition("## The description")[2].splitlines() if row.startswith("| `")]
    keys = set(re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in rows)))
    assert keys == {*KEYS, "unit"}
    (example,) = re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)
    (tmp_path / "a.json").write_text(example, encoding="utf-8")
    assert read_description(tmp_path / "a.json").attenuation_factors == "acf.npy"


def test_other_files_are_not_taken_for_counts(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", COUNTS)
    assert not FILES.recognise(tmp_path / "k.npy", describe(tmp_path / "k.npy", axes=["slice", "row", "column"]))
    (tmp_path / "geometry.json").write_text(json.dumps({"detector_count": 9}))
    assert not FILES.recognise(tmp_path / "k.npy", tmp_path / "geometry.json")
    (tmp_path / "image.hv").write_text(header_text({"!PET data type": "Image"}))
    assert not FILES.recognise(tmp_path / "image.hv", None)
    assert not FILES.recognise(tmp_path / "absent.hs", None)
    path = write_sinogram(tmp_path, COUNTS)
    assert FILES.recognise(path, None)
    with pytest.raises(ValueError, match=r"choose its header scan\.hs"):
        FILES.read(path.with_suffix(".s"), None)
    with pytest.raises(ValueError, match="convert it"):
        FILES.read(tmp_path / "geometry.json", None)
    with pytest.raises(ValueError, match="found nothing"):
        FILES.read(tmp_path / "absent.hs", None)
    (tmp_path / "tof.hs").write_text(header_text(sinogram_fields("x.s", SHAPE, **{"%number of TOF time bins": 3})))
    assert FILES.recognise(tmp_path / "tof.hs", None)


def test_the_summary_and_the_named_files() -> None:
    whole = made(background=COUNTS * 0.25, attenuation=np.full(SHAPE, 0.5), duration_s=60.0,
                 facts={"format": "Interfile", "isotope": "F-18"})
    each = COUNTS.sum() / 2
    assert FILES.summarise(whole) == (
        f"PET counts (Interfile): 2 slices, 6 angles, 9 bins of 2 mm, {each:.3g} prompts a slice, 25 % background, "
        "attenuation known, 60 s, F-18")
    assert "background not known, attenuation not known" in FILES.summarise(made())
    assert FILES.size(whole) == 3 * COUNTS.nbytes
    assert FILES.named({"background": "b.hs", "bin_mm": 2}) == {"the background of the job's input": "b.hs"}
    assert FILES.named([1]) == {}
