"""SUV from a shell: factors with their reasons of a folder, a file or a list of headers, and what is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_engine.__main__ import main
from diffusion_engine.io.images import read_volume
from diffusion_engine.modalities.pet.stated import stated_fields
from diffusion_engine.modalities.pet.suv import suv_factors
from test_pet_images import injected, per_bqml, series, stored
from test_pet_suv import header


def run(*arguments: object) -> int:
    return main(["suv", *(str(each) for each in arguments)])


def test_factors_and_reasons_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    assert run(series(tmp_path / "pt"), "--json", report) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"SUVbw = value * {per_bqml():.8g}  (g/mL, body weight)"
    assert lines[-1].endswith("the patient weighs 70 kg.")
    found = json.loads(report.read_text())
    assert found["factors"]["bw"] == pytest.approx(per_bqml(), rel=1e-12)
    assert set(found["factors"]) == {"bw", "lbm", "lbm_james", "bsa", "ibw"}
    assert (found["images"], found["missing"], found["facts"]["weight_kg"]) == (3, {}, 70)
    assert run(tmp_path / "pt" / "0.dcm") == 0


def test_what_a_header_lacks_is_asked_for_with_its_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = series(tmp_path / "pt", PatientWeight=None, PatientSize=None)
    assert run(folder) == 2
    assert capsys.readouterr().err == (
        "expected the patient's weight in kg as PatientWeight, found none: state it (--weight-kg)\n")
    assert run(folder, "--weight-kg", 70) == 0
    printed = capsys.readouterr().out
    assert f"SUVbw = value * {per_bqml():.8g} " in printed
    assert "found none: state it (--height-m)" in printed
    assert "PatientWeight was stated by the user." in printed
    other = series(tmp_path / "late", RadiopharmaceuticalInformationSequence=injected(
        RadiopharmaceuticalStartTime=None, RadionuclideTotalDose=350.0))
    assert run(other) == 2
    assert "state it in Bq, such as" in capsys.readouterr().err
    assert run(other, "--injected-mbq", 350) == 2
    assert capsys.readouterr().err.endswith("state when the tracer was injected (--injected-at)\n")
    assert run(other, "--injected-mbq", 350, "--injected-at", "10:00") == 0
    assert f"SUVbw = value * {per_bqml():.8g} " in capsys.readouterr().out


def test_factors_that_differ_by_image_and_the_images_as_suv(tmp_path: Path) -> None:
    folder = series(tmp_path / "pt", at=lambda n: {"AcquisitionTime": f"11{n:02d}00"}, DecayCorrection="NONE",
                    CorrectedImage=["ATTN"])
    report, image = tmp_path / "report.json", tmp_path / "suv.nrrd"
    assert run(folder, "--out", image, "--json", report) == 0
    by_file = json.loads(report.read_text())["factors"]["bw"]
    assert len(by_file) == 3
    assert by_file[1] / by_file[0] == pytest.approx(2 ** (60 / 6586.2), rel=1e-6)
    found = read_volume(image)
    assert found.unit == "SUV"
    np.testing.assert_allclose(found.array, stored() * np.array(by_file).reshape(3, 1, 1), rtol=1e-5)


def test_a_list_of_headers_needs_no_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "headers.json"
    path.write_text(json.dumps([header(), header(AcquisitionTime="110205.25")]))
    assert run(path, "--json", tmp_path / "r.json") == 0
    wanted = float(suv_factors([header()]).bw[0])
    assert json.loads((tmp_path / "r.json").read_text())["factors"]["bw"] == pytest.approx(wanted, rel=1e-12)
    capsys.readouterr()
    assert run(path, "--out", tmp_path / "suv.nrrd") == 2
    assert "expected images for --out, found headers alone" in capsys.readouterr().err
    path.write_text("[1]")
    assert run(path) == 2
    assert "expected a list of headers by DICOM keyword" in capsys.readouterr().err
    assert run(tmp_path / "none") == 2


@pytest.mark.parametrize(("given", "fields"), [
    ({}, {}), ({"weight_kg": 70.0, "height_m": 1.8, "sex": "f"},
               {"PatientWeight": 70.0, "PatientSize": 1.8, "PatientSex": "F"}),
    ({"injected_mbq": 350.0}, {"RadionuclideTotalDose": 3.5e8}),
    ({"injected_at": "9:05"}, None), ({"injected_at": "09:05"}, {"RadiopharmaceuticalStartTime": "090500"}),
    ({"injected_at": "090512.5"}, {"RadiopharmaceuticalStartTime": "090512.5"}),
    ({"injected_at": "2024-03-15 09:05:30"}, {"RadiopharmaceuticalStartDateTime": "20240315090530"}),
    ({"injected_at": "20240315 0905"}, {"RadiopharmaceuticalStartDateTime": "202403150905" + "00"}),
    ({"sex": "O"}, None),
])
def test_everyday_units_become_fields(given: dict[str, Any], fields: dict[str, Any] | None) -> None:
    if fields is None:
        with pytest.raises(ValueError, match="expected"):
            stated_fields(**given)
    else:
        assert stated_fields(**given) == fields


def test_a_stated_time_goes_before_the_headers_own_moment() -> None:
    """Which has a date, and would be taken otherwise."""
    own = header(RadiopharmaceuticalStartDateTime="20240315093000", RadiopharmaceuticalStartTime=None)
    stated = suv_factors([own], {"RadiopharmaceuticalStartTime": "100000"})
    assert stated.bw[0] == pytest.approx(70e3 / (3.5e8 * 0.5 ** (3600 / 6586.2)), rel=1e-9)
    assert stated.bw[0] != pytest.approx(float(suv_factors([own]).bw[0]), rel=1e-3)
