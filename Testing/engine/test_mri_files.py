"""MR raw data as files of the modality: known by content, summarised, and written as ISMRMRD without a loss."""

from __future__ import annotations

import argparse
import json
import types
from pathlib import Path

import h5py
import numpy as np
import pytest
from diffusion_engine.commands import scans
from diffusion_engine.modalities import table
from diffusion_engine.modalities.mri.files import FILES, KSPACE
from diffusion_engine.modalities.mri.kspace import KSpace
from diffusion_engine.modalities.rules import Remark
from mri_files import all_lines, write_bart, write_ismrmrd
from mri_kspaces import line_mask, samples, smooth_maps

MASK = line_mask(24, 32)
PLACE = np.array([[-0.9, 0, 0, 10.123456789], [0, -1.0, 0, 20], [0, 0, 5, -30], [0, 0, 0, 1]])


def whole(**given: object) -> KSpace:
    content: dict = {
        "values": samples(2) * MASK, "mask": MASK, "slice_spacing_mm": 5.0, "pixel_mm": (1.0, 0.9),
        "noise_covariance": np.eye(3) + 0.1j * (np.tri(3) - np.tri(3).T), "maps": smooth_maps(3)[None],
        "calibration": samples(2, seed=3) * (np.abs(np.arange(24) - 12) < 4)[:, None], "ijk_to_ras": PLACE,
        "remarks": (Remark("kind", "A sentence with ä.", False),),
        "facts": {"format": "BART", "vendor": "A & B <C>", "field_T": 3.0, "TE_ms": [4.0, 8.0]},
    }
    return KSpace(**{**content, **given})


def same(found: KSpace, wanted: KSpace) -> None:
    for name in ("values", "mask", "noise_covariance", "maps", "calibration", "ijk_to_ras"):
        one, other = getattr(found, name), getattr(wanted, name)
        assert (one is None) == (other is None), name
        if one is not None:
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
    for name in ("slice_spacing_mm", "pixel_mm", "remarks", "facts"):
        assert getattr(found, name) == getattr(wanted, name), name


POINTS = np.random.default_rng(4).random((24, 32)) < 0.4


@pytest.mark.parametrize("kspace", [
    whole(),
    whole(pixel_mm=None, ijk_to_ras=None, maps=None, calibration=None, noise_covariance=None, facts={}),
    KSpace(samples(1, 1, 25, 31), np.ones((25, 31), bool)),
    KSpace(samples() * POINTS, POINTS),
], ids=["everything", "little", "odd", "points"])
def test_written_k_space_comes_back_bit_for_bit(kspace: KSpace, tmp_path: Path) -> None:
    assert FILES.write(kspace, tmp_path) == (KSPACE, None)
    assert [path.name for path in tmp_path.iterdir()] == [KSPACE]
    assert FILES.recognise(tmp_path / KSPACE, None)
    same(FILES.read(tmp_path / KSPACE, None), kspace)


def test_other_programs_find_lines_limits_and_place(tmp_path: Path) -> None:
    """Without the group that is ours alone, the standard's reading gives the same samples at the same place."""
    kspace = whole()
    FILES.write(kspace, tmp_path)
    with h5py.File(tmp_path / KSPACE, "a") as file:
        del file["dataset/diffusion_priors"]
    found = FILES.read(tmp_path / KSPACE, None)
    np.testing.assert_array_equal(found.values, kspace.values)
    np.testing.assert_array_equal(found.mask, kspace.mask)
    np.testing.assert_array_equal(found.calibration, kspace.calibration)
    np.testing.assert_allclose(found.ijk_to_ras, PLACE, atol=1e-5)
    assert found.pixel_mm == pytest.approx((1.0, 0.9))
    assert (found.facts["vendor"], found.facts["field_T"]) == ("A & B <C>", 3.0)


def test_a_folder_that_is_missing_is_said_and_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected to write .*kspace\.h5, but it failed"):
        FILES.write(whole(), tmp_path / "none")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["mask", "data", "end"])
def test_damage_of_a_written_file_is_one_sentence(damage: str, tmp_path: Path) -> None:
    FILES.write(whole(), tmp_path)
    path = tmp_path / KSPACE
    if damage == "end":
        path.write_bytes(path.read_bytes()[:-1000])
    else:
        with h5py.File(path, "a") as file:
            if damage == "mask":
                del file["dataset/diffusion_priors/mask"]
            else:
                table = file["dataset/data"][()]
                table["head"]["idx"]["kspace_encode_step_1"] = 99
                file["dataset/data"][...] = table
    with pytest.raises(ValueError, match=r"kspace\.h5") as caught:
        FILES.read(path, None)
    assert "\n" not in str(caught.value)


def test_raw_data_are_known_by_content_and_other_files_are_not(tmp_path: Path) -> None:
    write_ismrmrd(tmp_path / "no_ending", all_lines(samples()[0]))
    assert FILES.recognise(tmp_path / "no_ending", None)
    assert FILES.recognise(write_bart(tmp_path / "k.cfl", samples()[0]), None)
    np.save(tmp_path / "k.npy", samples())
    assert FILES.recognise(tmp_path / "k.npy", None)
    (tmp_path / "text.h5").write_text("text", encoding="ascii")
    (tmp_path / "image.nrrd").write_bytes(b"NRRD0004\n")
    (tmp_path / "image.hdr").write_bytes(b"\x5c\x01\0\0" + bytes(344))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["table"] = np.arange(4)
    for name in ("text.h5", "image.nrrd", "image.hdr", "other.h5", "missing.h5"):
        assert not FILES.recognise(tmp_path / name, None)
        with pytest.raises(ValueError, match=r"found another kind of file in|found nothing at"):
            FILES.read(tmp_path / name, None)
    cut = tmp_path / "cut.h5"
    cut.write_bytes((tmp_path / "no_ending").read_bytes()[:3000])
    assert FILES.recognise(cut, None)  # so that reading says what is wrong with it


def test_the_command_line_takes_raw_data_without_a_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = {"mri": types.SimpleNamespace(name="mri", title="MR images", files=FILES)}
    monkeypatch.setattr(scans, "MODALITIES", entries)
    monkeypatch.setattr(table, "MODALITIES", entries)
    path = write_ismrmrd(tmp_path / "a.h5", all_lines(samples()[0]))
    options = argparse.Namespace(sinogram=path, geometry_file=None, modality=None)
    np.testing.assert_array_equal(scans.scan_source(options).values, samples())
    assert options.modality == "mri"
    assert capsys.readouterr().err.startswith("k-space (ISMRMRD): 1 slice, 3 coils, 24 x 32, fully sampled")
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n")
    with pytest.raises(ValueError, match="a sinogram needs its geometry"):
        scans.scan_source(argparse.Namespace(sinogram=tmp_path / "a.nrrd", geometry_file=None, modality=None))


def test_summary_says_what_a_user_asks_first() -> None:
    assert FILES.summarise(whole()) == (
        "k-space (BART): 2 slices, 3 coils, 24 x 32, 1.6 x fewer samples, pixels of 1 x 0.9 mm, A & B <C> 3 T"
    )
    bare = KSpace(samples(1, 1), np.ones((24, 32), bool))
    assert FILES.summarise(bare) == "k-space (simulated): 1 slice, 1 coil, 24 x 32, fully sampled, pixel size not known"


def test_size_counts_all_arrays_and_named_files_are_told() -> None:
    kspace = whole()
    assert kspace.maps is not None
    assert kspace.calibration is not None
    parts = (kspace.values, kspace.mask, kspace.maps, kspace.calibration)
    assert FILES.size(kspace) == sum(part.nbytes for part in parts)
    content = json.loads('{"mask": "m.npy", "maps": "s", "axes": []}')
    assert sorted(FILES.named(content).values()) == ["m.npy", "s"]
    assert FILES.named({"mask": "full"}) == FILES.named({"mask": "nonzero"}) == FILES.named([]) == {}
