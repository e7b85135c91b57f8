"""Siemens raw data through twixtools, for which a stand-in of the same attributes serves here."""

from __future__ import annotations

import struct
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_engine.modalities.mri.readings import twix
from diffusion_engine.modalities.mri.readings.formats import format_of, read
from mri_files import describe
from mri_kspaces import samples

FULL = samples(1, 2, 24, 32)[0]


class Block:
    """A readout with the attributes of twixtools' own."""

    def __init__(self, data: np.ndarray, line: int = 0, flags: tuple[str, ...] = (), **given: Any) -> None:
        self.data, self.cLin, self.flags = data, line, flags
        for name in ("cPar", "cSlc", "cAve", "cEco", "cPhs", "cRep", "cSet"):
            setattr(self, name, given.get(name, 0))
        place = types.SimpleNamespace(Sag=0.0, Cor=0.0, Tra=0.0)
        self.mdh = types.SimpleNamespace(
            UsedChannels=len(data), SamplesInScan=data.shape[-1], CenterCol=data.shape[-1] // 2, CenterLin=12,
            CenterPar=0, CutOff=types.SimpleNamespace(Pre=0, Post=0),
            SliceData=types.SimpleNamespace(SlicePos=place),
        )

    def is_flag_set(self, name: str) -> bool:
        return name in self.flags

    def is_image_scan(self) -> bool:
        kinds = {"NOISEADJSCAN", "PHASCOR", "ACQEND", "RTFEEDBACK", "SYNCDATA"}
        return not kinds & set(self.flags) and not ("PATREFSCAN" in self.flags and "PATREFANDIMASCAN" not in self.flags)


END = Block(np.zeros((0, 0)), flags=("ACQEND",))


def protocol(base: int = 32, factor: float = 1.0, lines: int = 24, sequence: str = "gre") -> dict[str, Any]:
    return {
        "MeasYaps": {
            "sKSpace": {"lBaseResolution": base, "lPhaseEncodingLines": lines, "ucDimension": 2},
            "sSliceArray": {"asSlice": [{"dPhaseFOV": 36.0, "dReadoutFOV": 32.0, "dThickness": 5.0}]},
            "tSequenceFileName": sequence, "tProtocolName": "head", "alTR": [10000], "alTE": [3000],
        },
        "Dicom": {"flReadoutOSFactor": factor, "ManufacturersModelName": "Skyra", "flMagneticFieldStrength": 2.9},
        "Meas": {"iNoOfFourierLines": float(lines)},
    }


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that writes a file whose reading gives some blocks and a protocol."""

    def make(blocks: list[Block], header: dict[str, Any] | None = None, length: int = 512) -> Path:
        found = [{"mdb": blocks, "hdr": header or protocol()}]
        stand_in = types.SimpleNamespace(read_twix=lambda path, **given: found)
        monkeypatch.setitem(sys.modules, "twixtools", stand_in)
        path = tmp_path / "meas.dat"
        path.write_bytes(struct.pack("<IIIIQQ", 0, 1, 1, 1, 10240, length).ljust(10240 + 512, b"\0"))
        return path

    return make


def lines(values: np.ndarray = FULL, **given: Any) -> list[Block]:
    return [Block(values[:, n], n, **given) for n in range(values.shape[1])]


def test_lines_noise_and_calibration_are_told_apart(scan: Any) -> None:
    rng = np.random.default_rng(0)
    noise = [Block(rng.standard_normal((2, 400)) + 1j * rng.standard_normal((2, 400)), flags=("NOISEADJSCAN",))]
    apart = [Block(FULL[:, n], n, ("PATREFSCAN",)) for n in range(9, 15)]
    wrong = [Block(9 * FULL[:, 3], 3, ("PHASCOR",)), Block(9 * FULL[:, 3], 3, ("PHASCOR", "PATREFSCAN"))]
    path = scan([*noise, *apart, *wrong, *lines()[::2], END])
    kspace = read(path)
    np.testing.assert_array_equal(np.flatnonzero(kspace.mask[0, :, 0]), np.arange(0, 24, 2))
    np.testing.assert_array_equal(kspace.values[0, :, ::2], FULL[:, ::2])
    assert kspace.calibration is not None
    np.testing.assert_array_equal(kspace.calibration[0, :, 9:15], FULL[:, 9:15])
    assert not kspace.calibration[0, :, :9].any()
    assert kspace.noise_covariance is not None
    assert (kspace.pixel_mm, kspace.slice_spacing_mm, kspace.ijk_to_ras) == ((1.5, 1.0), 5, None)
    assert kspace.facts["model"] == "Skyra"
    assert {"no_directions", "no_dwell"} <= {remark.kind for remark in kspace.remarks}


def test_oversampling_that_contradicts_the_readouts_is_asked_about(scan: Any) -> None:
    path = scan([*lines(), END], protocol(base=16, sequence="%CustomerSeq%\\pulseq"))
    with pytest.raises(ValueError, match=r'up to 16 samples \(16, oversampled by 1\), found 32: say "oversampling"'):
        read(path)
    kspace = read(path, describe(path, oversampling=1))
    assert kspace.shape == (24, 32)
    assert "stated_fov" in {remark.kind for remark in kspace.remarks}
    assert read(scan([*lines(), END], protocol(base=16, factor=2.0))).shape == (24, 16)


def test_reversed_readouts_are_turned(scan: Any) -> None:
    blocks = [Block(FULL[:, n, ::-1], n, ("REFLECT",)) for n in range(24)]
    for block in blocks:
        block.mdh.CenterCol = 15
    np.testing.assert_array_equal(read(scan([*blocks, END])).values[0], FULL)


def test_cut_files_are_refused(scan: Any) -> None:
    with pytest.raises(ValueError, match=r"meas\.dat: expected the end of the measurement, found none"):
        read(scan(lines()))
    with pytest.raises(ValueError, match="expected 20240 bytes as its table says, found 10752"):
        read(scan([*lines(), END], length=10_000))
    with pytest.raises(ValueError, match=r"reading failed \('MeasYaps'\)"):
        read(scan([*lines(), END], {"Dicom": {}}))


def test_without_the_package_it_is_named(scan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scan([*lines(), END])
    found = format_of(path)
    assert found is not None
    assert found.title == "Siemens twix"
    monkeypatch.setitem(sys.modules, "twixtools", None)
    with pytest.raises(ValueError, match="need the Python package twixtools: install it"):
        read(path)
    assert twix.NEEDED.count(".") == 0


def test_only_the_start_of_siemens_data_is_recognised(tmp_path: Path) -> None:
    names = (b"Config\0", b"Meas\0\0\0")
    for n, name in enumerate(names):
        (tmp_path / f"{n}.dat").write_bytes(struct.pack("<II", 20_000, 5) + name.ljust(64, b"x"))
        assert format_of(tmp_path / f"{n}.dat") is not None
    for n, content in enumerate((b"", b"\0" * 200, b"text, " * 40, struct.pack("<II", 20_000, 5) + b"x" * 100)):
        (tmp_path / f"other{n}.dat").write_bytes(content)
        assert format_of(tmp_path / f"other{n}.dat") is None
