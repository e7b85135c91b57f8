"""geometry.json: round trip, one clear sentence a fault, and no mismatch with the sinogram goes unseen."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from diffusion_engine.modalities.ct import files
from diffusion_engine.modalities.ct.geometry_json import (
    SinogramExtras,
    check_sinogram_shape,
    read_geometry,
    write_geometry,
)
from diffusion_engine.modalities.ct.measurement import variance_name
from diffusion_engine.physics.ct import CTGeometry

FAN = CTGeometry("fan_curved", (0.1, 0.7, 3.3), 5, 1.25, -0.3, 500.0, 950.0)
PARALLEL = CTGeometry("parallel", (0.0, 1.0), 8, 0.5)
GOOD = {"type": "fan_flat", "angles_rad": [0, 0.5], "source_to_isocentre_mm": 500, "source_to_detector_mm": 900,
        "detector_spacing_mm": 1.2, "detector_count": 64, "detector_offset_mm": 0.3, "slice_spacing_mm": 2.5,
        "values": "counts", "i0": 1e5}


@pytest.mark.parametrize("geometry", [FAN, PARALLEL])
@pytest.mark.parametrize("extras", [
    SinogramExtras(2.0, "line_integrals", None), SinogramExtras(0.7, "counts", 1.2e5, 12.5),
    SinogramExtras(2.0, "line_integrals", None, 0.0, 0.004),
    SinogramExtras(2.0, "counts", None, 3.0, None, "the variance.nrrd"),
])
def test_round_trip(tmp_path: Path, geometry: CTGeometry, extras: SinogramExtras) -> None:
    path = tmp_path / "mit Leerzeichen und Umläuten.json"
    write_geometry(path, geometry, extras)
    assert read_geometry(path) == (geometry, extras)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


FAULTS = [
    ({"type": "cone"}, "type must be one of"), ({"type": 3}, "type to be a text"),
    ({"angles_rad": 0.5}, "list of numbers"), ({"angles_rad": []}, "at least one view"),
    ({"angles_rad": [0, "x"]}, "list of numbers"), ({"angles_rad": [0, math.nan]}, "finite view angles"),
    ({"detector_count": 3.5}, "whole number"), ({"detector_count": 0}, "at least 1"),
    ({"detector_spacing_mm": 0}, "detector_spacing_mm"), ({"detector_spacing_mm": "1 mm"}, "to be a number"),
    ({"detector_offset_mm": math.inf}, "detector_offset_mm"), ({"slice_spacing_mm": -1}, "slice_spacing_mm"),
    ({"values": "HU"}, "line_integrals or counts"), ({"i0": 0}, "i0"), ({"i0": True}, "to be a number"),
    ({"source_to_isocentre_mm": None}, "give both"), ({"source_to_detector_mm": 100}, "swapped"),
    ({"type": "parallel"}, "no source distance"), ({"sod": 3}, "Unknown key 'sod'"),
    ({"version": 3}, "version 1 to 2"), ({"version": "2"}, "version 1 to 2"), ({"version": True}, "version 1 to 2"),
    ({"electronic_std": -1}, "electronic_std of at least 0"), ({"electronic_std": None}, "to be a number"),
    ({"electronic_std": 3, "values": "line_integrals"}, "is in counts"),
    ({"noise_std": 0}, "positive, finite noise_std"),
    ({"noise_std": 1e200}, "Expected the noise_std"), ({"noise_std": 1e-30}, "Expected the noise_std"),
    ({"i0": 10**400}, "i0 to be a number"), ({"angles_rad": [0, 10**400]}, "list of numbers"),
    ({"detector_count": -(10**400)}, "whole number"),
    ({"noise_std": 0.1, "variance": "v.nrrd"}, "found both"), ({"variance": 3}, "name of a file beside"),
    ({"variance": "../v.nrrd"}, "name of a file beside"), ({"variance": "/tmp/v.nrrd"}, "name of a file beside"),
    ({"variance": "C:\\v.nrrd"}, "name of a file beside"), ({"variance": ".."}, "name of a file beside"),
]


@pytest.mark.parametrize(("change", "sentence"), FAULTS)
def test_each_fault_has_its_sentence(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    path = tmp_path / "geometry.json"
    path.write_text(json.dumps(GOOD))
    assert read_geometry(path)[0].type == "fan_flat"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(ValueError, match=sentence) as fault:
        read_geometry(path)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("key", ["type", "angles_rad", "detector_spacing_mm", "detector_count", "slice_spacing_mm",
                                 "values"])
def test_missing_keys_are_named(tmp_path: Path, key: str) -> None:
    path = tmp_path / "geometry.json"
    path.write_text(json.dumps({k: v for k, v in GOOD.items() if k != key}))
    with pytest.raises(ValueError, match=f"'{key}' is missing"):
        read_geometry(path)


def test_files_of_version_1_and_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "geometry.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8-sig")
    geometry, extras = read_geometry(path)
    assert (geometry.detector_count, extras) == (64, SinogramExtras(2.5, "counts", 1e5, 0.0, None, None))
    write_geometry(path, geometry, extras)
    assert json.loads(path.read_text(encoding="utf-8"))["version"] == 2


def test_unreadable_files(tmp_path: Path) -> None:
    path = tmp_path / "geometry.json"
    with pytest.raises(ValueError, match="Cannot read"):
        read_geometry(path)
    path.write_text('{"type": "parallel", ')
    with pytest.raises(ValueError, match="not valid JSON"):
        read_geometry(path)
    for text in ("[" * 100_000, '{"version": ' + "9" * 5000 + "}"):
        path.write_text(text)
        with pytest.raises(ValueError, match="not valid JSON"):
            read_geometry(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="one JSON object"):
        read_geometry(path)
    with pytest.raises(ValueError, match="Cannot write"):
        write_geometry(tmp_path / "absent" / "geometry.json", FAN, SinogramExtras(1.0, "counts", None))


def test_sinogram_mismatch() -> None:
    check_sinogram_shape((7, 3, 5), FAN)
    for shape in ((7, 5, 3), (3, 5), (0, 3, 5), (7, 4, 5)):
        with pytest.raises(ValueError, match="3 views, 5 detectors"):
            check_sinogram_shape(shape, FAN)


def test_the_files_of_a_scan_in_a_job_have_the_names_that_they_are_written_under() -> None:
    assert files.FILES.names == (files.SINOGRAM, files.GEOMETRY, variance_name(files.GEOMETRY))
