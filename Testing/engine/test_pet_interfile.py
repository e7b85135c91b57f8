"""Interfile sinograms and images: the dialects of their headers, the place of what they hold, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.modalities.pet.readings.description import Description, read_description
from diffusion_engine.modalities.pet.readings.interfile_header import is_interfile, key_of, read_header
from diffusion_engine.modalities.pet.readings.interfile_image import read_interfile_image
from diffusion_engine.modalities.pet.readings.interfile_sinogram import read_interfile_sinogram
from diffusion_engine.modalities.pet.readings.interfile_write import write_interfile
from diffusion_engine.modalities.pet.sinogram import Sinogram
from diffusion_engine.physics.ct import make_projector
from diffusion_engine.physics.ct_geometry import CTGeometry
from diffusion_engine.physics.grid import ImageGrid
from pet_files import SIGNS, describe, header_text, sinogram_fields, write_sinogram
from sample_data import samples

VIEWS, PLANES, BINS = 12, 5, 31
RNG = np.random.default_rng(3)


def read(path: Path, **keys: Any) -> Sinogram:
    return read_interfile_sinogram(path, read_description(describe(path, **keys)) if keys else Description())


def counts(views: int = VIEWS, planes: int = PLANES, bins: int = BINS) -> np.ndarray:
    return RNG.poisson(20.0, (views, planes, bins)).astype(np.float32)


def point(x: float, y: float, offset: float, bin_mm: float, bins: int = BINS) -> np.ndarray:
    """(VIEWS, bins) of a point by STIR: s = x cos phi + y sin phi, s = 0 in the middle of bin bins // 2."""
    phi = np.arange(VIEWS) * np.pi / VIEWS + offset
    at = (x * np.cos(phi) + y * np.sin(phi)) / bin_mm + bins // 2
    below = np.floor(at).astype(int)
    views = np.zeros((VIEWS, bins))
    views[np.arange(VIEWS), below] = 1000 * (1 - (at - below))
    views[np.arange(VIEWS), below + 1] = 1000 * (at - below)
    return views


def located(sinogram: Sinogram, plane: int) -> tuple[float, float]:
    """x and y in mm of a point by the centroids of its views: u = x cos a - y sin a, least squares."""
    u = (np.arange(sinogram.bins) - sinogram.centre_bin) * sinogram.bin_mm
    mean = (sinogram.prompts[plane] @ u) / sinogram.prompts[plane].sum(-1)
    rows = np.stack([np.cos(sinogram.angles_rad), -np.sin(sinogram.angles_rad)], 1)
    (x, y), *_ = np.linalg.lstsq(rows, mean, rcond=None)
    return float(x), float(y)


@pytest.mark.parametrize(("degrees", "detectors", "extra"), [(0, 24, 0.0), (-7.5, 24, 0.0), (3.0, 48, np.pi / 48)])
def test_a_point_off_the_centre_is_read_at_its_place(
    tmp_path: Path, degrees: float, detectors: int, extra: float
) -> None:
    values = np.zeros((VIEWS, PLANES, BINS))
    values[:, 3] = point(17.0, -26.0, np.radians(degrees) + extra, 4.0)
    path = write_sinogram(tmp_path, values, **{
        "View offset (degrees)": degrees, "Number of detectors per ring": detectors,
        "patient orientation": "head_in", "patient rotation": "supine"})
    found = read(path)
    assert np.flatnonzero(found.prompts.sum((1, 2))).tolist() == [3]
    assert located(found, 3) == pytest.approx((17.0, -26.0), abs=0.01)
    # Head first supine: x to the left, y to the back, z from the first ring to the feet.
    matrix = found.placed(65, 64, (2.0, 2.5))
    assert matrix is not None
    column, row = 17.0 / 2.5 + 31.5, -26.0 / 2.0 + 32
    assert matrix @ [column, row, 3, 1] == pytest.approx([-17.0, 26.0, -18.0, 1], abs=1e-9)


def test_the_projector_puts_the_point_at_its_place_in_the_patient(tmp_path: Path) -> None:
    values = np.zeros((VIEWS, PLANES, BINS + 1))
    values[:, 1] = point(16.0, -24.0, np.radians(-7.5), 4.0, BINS + 1)  # an even number of bins
    found = read(write_sinogram(tmp_path, values, **{
        "View offset (degrees)": -7.5, "patient orientation": "feet_in", "patient rotation": "supine"}))
    offset = ((found.bins - 1) / 2 - found.centre_bin) * found.bin_mm
    rays = CTGeometry("parallel", tuple(found.angles_rad.tolist()), found.bins, found.bin_mm, offset)
    projector = make_projector(rays, ImageGrid(31, 29, (4.0, 4.0)))
    image = projector.adjoint(torch.from_numpy(found.prompts[1:2]))[0].numpy()
    row, column = np.unravel_index(int(image.argmax()), image.shape)
    matrix = found.placed(31, 29, (4.0, 4.0))
    assert matrix is not None
    # Feet first supine: STIR's x to the right of the patient, y to the back, z to the head.
    assert matrix @ [column, row, 1, 1] == pytest.approx([16.0, 24.0, 6.0, 1], abs=1e-6)


@pytest.mark.parametrize("position", SIGNS)
def test_every_position_of_the_patient(tmp_path: Path, position: str) -> None:
    orientation, rotation = position.split()
    found = read(write_sinogram(tmp_path, counts(), **{
        "patient orientation": orientation, "patient rotation": rotation}))
    left, posterior, superior = SIGNS[position]
    assert found.ijk_to_ras is not None
    assert np.diag(found.ijk_to_ras)[:3] == pytest.approx([-left, -posterior, 6.0 * superior])


def test_planes_of_inner_rings_lie_at_their_rings(tmp_path: Path) -> None:
    found = read(write_sinogram(tmp_path, counts(), **{
        "Number of rings": PLANES + 4, "patient orientation": "head_in", "patient rotation": "supine"}))
    assert found.slices == PLANES
    assert found.ijk_to_ras is not None
    assert found.ijk_to_ras[:3, 3] == pytest.approx([0, 0, -12.0])  # from the third ring on


def test_an_unknown_position_has_no_place(tmp_path: Path) -> None:
    assert read(write_sinogram(tmp_path, counts())).ijk_to_ras is None


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n", "\r"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<i2", ">i2", ">u2", "<i4", "<u4", "u1"])
def test_line_ends_byte_orders_and_number_formats(tmp_path: Path, end: str, dtype: str) -> None:
    values = counts()
    kind = {"f": "float", "i": "signed integer", "u": "unsigned integer"}[np.dtype(dtype).kind]
    path = write_sinogram(tmp_path, values, end=end, dtype=dtype, **{
        "!number format": kind, "!number of bytes per pixel": np.dtype(dtype).itemsize,
        "imagedata byte order": "BIGENDIAN" if dtype[0] == ">" else "LITTLEENDIAN"})
    found = read(path)
    assert np.array_equal(found.prompts, values.swapaxes(0, 1))
    assert (found.bin_mm, found.centre_bin, found.slice_spacing_mm, found.duration_s) == (4.0, 15.0, 6.0, 60.0)


def test_a_missing_byte_order_is_big_endian_as_interfile_says(tmp_path: Path) -> None:
    values = counts()
    path = write_sinogram(tmp_path, values, dtype=">f4", **{"imagedata byte order": None})
    assert np.array_equal(read(path).prompts, values.swapaxes(0, 1))


def test_mixed_line_ends_comments_and_keys_of_any_case(tmp_path: Path) -> None:
    path = write_sinogram(tmp_path, counts())
    lines = path.read_text().split("\n")
    lines = [lines[0], "; a comment := not a key", "",
             *[line if "label" in line or ".s" in line else line.upper() for line in lines[1:]]]
    ends = ["\n", "\r\n", "\r\r\n"]
    path.write_bytes("".join(line.replace("matrix", " matrix_") + ends[n % 3] for n, line in enumerate(lines)).encode())
    assert read(path).prompts.shape == (PLANES, VIEWS, BINS)
    assert key_of("!Image_Duration  (sec)") == "image duration (sec)"


def test_planes_before_views(tmp_path: Path) -> None:
    values = counts()
    (tmp_path / "a.s").write_bytes(values.swapaxes(0, 1).astype("<f4").tobytes())
    path = tmp_path / "a.hs"
    path.write_text(header_text(sinogram_fields("a.s", values.shape, **{
        "matrix axis label [3]": "axial coordinate", "!matrix size [3]": f"{{{PLANES}}}",
        "matrix axis label [2]": "view", "!matrix size [2]": VIEWS})))
    assert np.array_equal(read(path).prompts, values.swapaxes(0, 1))


def test_scale_factor_offset_and_continued_line(tmp_path: Path) -> None:
    values = counts()
    path = write_sinogram(tmp_path, values, dtype="<i2", **{
        "!number format": "signed integer", "!number of bytes per pixel": 2, "image scaling factor[1]": 0.5,
        "data offset in bytes[1]": 40, "minimum ring difference per segment": "\\\n{ 0}"})
    data = tmp_path / "scan.s"
    data.write_bytes(bytes(40) + data.read_bytes())
    found = read(path)
    assert found.prompts == pytest.approx(0.5 * values.swapaxes(0, 1))
    assert "not_counts" in {remark.kind for remark in found.remarks}


def segments(rings: int, layout: list[tuple[int, int]]) -> list[list[int]]:
    """The planes r1 + r2 of each segment of ring differences by listing all ring pairs."""
    return [sorted({a + b for a in range(rings) for b in range(rings) if least <= b - a <= most})
            for least, most in layout]


def test_oblique_segments_are_added_to_the_direct_planes(tmp_path: Path) -> None:
    rings, layout = 4, [(-1, 1), (2, 3), (-3, -2)]
    planes = segments(rings, layout)
    parts = [np.zeros((VIEWS, len(plane), BINS), np.float32) for plane in planes]
    for part, plane in zip(parts, planes, strict=True):
        for k, n in enumerate(plane):
            part[:, k] = n + 1
    (tmp_path / "a.s").write_bytes(b"".join(part.astype("<f4").tobytes() for part in parts))
    path = tmp_path / "a.hs"
    path.write_text(header_text(sinogram_fields("a.s", (VIEWS, PLANES, BINS), **{
        "!matrix size [4]": 3, "!matrix size [2]": "{" + ",".join(str(len(p)) for p in planes) + "}",
        "minimum ring difference per segment": "{-1,2,-3}", "maximum ring difference per segment": "{1,3,-2}",
        "Number of rings": rings})))
    found = read(path)
    times = np.array([sum(n in plane for plane in planes) for n in range(2 * rings - 1)])
    assert found.slices == 2 * rings - 1
    assert found.slice_spacing_mm == pytest.approx(3.0)
    assert found.prompts[:, 0, 0] == pytest.approx(times * (np.arange(2 * rings - 1) + 1))
    pairs = [sum(a + b == n and any(least <= b - a <= most for least, most in layout)
                 for a in range(rings) for b in range(rings)) for n in range(2 * rings - 1)]
    assert found.efficiency is not None
    assert found.efficiency[:, 0, 0] == pytest.approx(pairs)
    assert {"rebinned", "ring_pairs"} <= {remark.kind for remark in found.remarks}
    averaged = read(path, ring_pairs="averaged", max_ring_difference=1)
    assert averaged.efficiency is None
    assert averaged.prompts[:, 0, 0] == pytest.approx(np.arange(2 * rings - 1) + 1)


def test_single_ring_differences_leave_planes_a_ring_apart(tmp_path: Path) -> None:
    assert read(write_sinogram(tmp_path, counts())).slice_spacing_mm == pytest.approx(6.0)


def test_ring_bins_are_brought_to_equal_widths_with_their_counts(tmp_path: Path) -> None:
    detectors, bins, radius = 96, 61, 100.0
    s = radius * np.sin((np.arange(bins) - bins // 2) * np.pi / detectors)
    chord = 2 * np.sqrt(np.maximum(70.0**2 - s**2, 0))
    values = np.broadcast_to(chord, (VIEWS, 1, bins))
    path = write_sinogram(tmp_path, values, **{
        "applied corrections": "{None}", "Number of detectors per ring": detectors, "Inner ring diameter (cm)": 19.6,
        "Average depth of interaction (cm)": 0.2, "Number of rings": 1})
    found = read(path)
    assert found.efficiency is not None
    assert found.prompts.sum() == pytest.approx(values.sum(), rel=1e-6)
    u = (np.arange(found.bins) - found.centre_bin) * found.bin_mm
    inside = np.abs(u) < 60
    truth = 2 * np.sqrt(70.0**2 - u[inside] ** 2)
    assert found.prompts[0, 0, inside] / found.efficiency[0, 0, inside] == pytest.approx(truth, rel=0.01)
    assert found.bin_mm == pytest.approx(radius * np.sin(np.pi / detectors))
    assert "arc_corrected" in {remark.kind for remark in found.remarks}
    assert read(path, bin_mm=5.0).bin_mm == 5.0


def test_factors_named_by_the_description(tmp_path: Path) -> None:
    values = counts() + 10
    path = write_sinogram(tmp_path, values)
    write_sinogram(tmp_path, np.full_like(values, 3.0), "randoms")
    write_sinogram(tmp_path, np.full_like(values, 4.0), "acf")
    norm = np.full_like(values, 2.0)
    norm[:, :, 7] = 0
    write_sinogram(tmp_path, norm, "norm")
    found = read(path, background="randoms.hs", attenuation_factors="acf.hs", normalisation="norm.hs",
                 counts_per_bq=2e-3)
    assert found.background == pytest.approx(np.full(found.prompts.shape, 3.0))
    assert found.attenuation is not None
    assert np.delete(found.attenuation, 7, 2) == pytest.approx(0.25)
    assert found.efficiency is not None
    assert found.efficiency.ravel()[6:9] == pytest.approx([0.5, 0.0, 0.5])
    assert found.counts_per_bq == 2e-3
    with pytest.raises(ValueError, match="attenuation factors of at least 1"):
        read(path, attenuation_factors="norm.hs")
    write_sinogram(tmp_path, counts(planes=4), "other")
    with pytest.raises(ValueError, match=r"expected other.hs with"):
        read(path, background="other.hs")
    with pytest.raises(ValueError, match="found none"):
        read(path, background="absent.hs")


def siemens(tmp_path: Path, **changes: Any) -> Path:
    """Prompts and delayed coincidences of Siemens' dialect: two rings, ring differences 0, +1, -1."""
    prompts, randoms = np.arange(4 * 3 * 5, dtype="<i2").reshape(4, 3, 5) + 2, np.ones((4, 3, 5), "<i2")
    (tmp_path / "m.s").write_bytes(prompts.tobytes() + randoms.tobytes())
    fields: dict[str, Any] = {
        "%SMS-MI version number": 3.4, "!name of data file": "m.s", "image data byte order": "LITTLEENDIAN",
        "%patient orientation": "HFS", "!PET data type": "emission", "data format": "sinogram",
        "number format": "signed integer", "!number of bytes per pixel": 2, "number of dimensions": 3,
        "matrix axis label [1]": "bin", "matrix axis label [2]": "projection", "matrix axis label [3]": "plane",
        "matrix size [1]": 5, "matrix size [2]": 3, "matrix size [3]": 4, "scale factor (mm/pixel) [1]": 2.0,
        "scale factor (mm/pixel) [3]": 2.5, "%axial compression": 1, "number of rings": 2, "%number of segments": 3,
        "%segment table": "{2,1,1}", "applied corrections": "", "number of scan data types": 2,
        "scan data type description [1]": "prompts", "scan data type description [2]": "randoms",
        "data offset in bytes [1]": 0, "data offset in bytes [2]": 120, "!image duration (sec)": 1140,
        "isotope name": "F-18", "isotope gamma halflife (sec)": 6586.2,
    }
    path = tmp_path / "m.s.hdr"
    kept = {key: value for key, value in {**fields, **changes}.items() if value is not None}
    path.write_text(header_text(kept, "\r\n"))
    return path


def test_siemens_prompts_and_delayed_coincidences(tmp_path: Path) -> None:
    keys = {"ring_diameter_mm": 60.0, "detectors_per_ring": 40, "bin_mm": 30 * np.sin(np.pi / 40)}
    found = read(siemens(tmp_path), **keys)
    assert found.slices == 3
    assert found.slice_spacing_mm == pytest.approx(2.5)
    assert found.background is not None
    ratio = found.background.sum((1, 2)) / found.background[0].sum()
    assert ratio == pytest.approx([1, 2, 1])
    assert found.duration_s == 1140
    assert found.facts["isotope"] == "F-18"
    assert found.ijk_to_ras is not None
    assert found.angles_rad == pytest.approx(-np.arange(3) * np.pi / 3)
    with pytest.raises(ValueError, match="detectors_per_ring"):
        read(siemens(tmp_path))


@pytest.mark.parametrize(("changes", "said"), [
    ({"number of dimensions": 5, "matrix axis label [5]": "timing positions", "!matrix size [5]": 27},
     "found 27 time-of-flight bins"),
    ({"%number of TOF time bins": 13}, "found 13 time-of-flight bins"),
    ({"!matrix size [3]": VIEWS + 1}, "shorter: the file is cut off"),
    ({"!matrix size [3]": VIEWS - 1}, "longer: correct the header"),
    ({"name of data file": "absent.s"}, "'absent.s' beside scan.hs, found none"),
    ({"name of data file": "../scan.s"}, "points elsewhere"),
    ({"name of data file": "scan.hs"}, "the template scan.hs"),
    ({"name of data file": None}, "expected the name of the data file"),
    ({"!PET data type": "Image"}, "found 'image'"), ({"!PET data type": "Transmission"}, "found 'transmission'"),
    ({"!imaging modality": "nucmed"}, "SPECT"), ({"data format": "CoincidenceList"}, "list-mode"),
    ({"number of time frames": 3}, "one time frame"),
    ({"Scanner geometry (BlocksOnCylindrical/Cylindrical/Generic)": "BlocksOnCylindrical"}, "on a cylinder"),
    ({"matrix axis label [3]": "energy"}, "expected the axes tangential coordinate"),
    ({"maximum ring difference per segment": "{ 0, 1}"}, "ring differences of 1 segments"),
    ({"Number of rings": PLANES - 1}, "between the 4 rings"),
    ({"effective central bin size (cm)": None, "Default bin size (cm)": -1}, '"bin_mm"'),
    ({"applied corrections": "{None}", "Inner ring diameter (cm)": None}, '"ring_diameter_mm"'),
    ({"Distance between rings (cm)": None}, '"ring_spacing_mm"'),
    ({"!number of bytes per pixel": 3}, "of 3 bytes"), ({"!number format": "ascii"}, "found 'ascii'"),
    ({"imagedata byte order": "MIDDLE"}, "LITTLEENDIAN or BIGENDIAN"),
    ({"!matrix size [1]": "many"}, "expected numbers as 'matrix size'"),
    ({"number of dimensions": None}, "number of dimensions"),
])
def test_refused_in_one_sentence(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = write_sinogram(tmp_path, counts(), **changes)
    with pytest.raises(ValueError, match=said.replace("(", r"\(")) as caught:
        read(path)
    assert str(caught.value).count("found") == 1
    assert "\n" not in str(caught.value)


def test_compressed_and_cut_off_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="compression"):
        read(siemens(tmp_path, **{"%compression": "on"}))
    path = write_sinogram(tmp_path, counts())
    path.write_text(path.read_text().replace("!END OF INTERFILE :=", ""))
    with pytest.raises(ValueError, match="the header is cut off"):
        read(path)
    assert not is_interfile(tmp_path / "scan.s")
    with pytest.raises(ValueError, match="not the data file"):
        read_header(tmp_path / "scan.s")


def test_counts_below_zero_are_set_to_zero_only_where_it_is_asked_for(tmp_path: Path) -> None:
    values = counts()
    values[0, 0, 0] = -0.5
    path = write_sinogram(tmp_path, values)
    with pytest.raises(ValueError, match=r"found 1 below 0, down to -0\.5"):
        read(path)
    found = read(path, negative_to_zero=True)
    assert found.prompts[0, 0, 0] == 0
    assert "negative" in {remark.kind for remark in found.remarks}
    values[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        read(write_sinogram(tmp_path, values), negative_to_zero=True)


def test_corrected_counts_are_remarked(tmp_path: Path) -> None:
    found = read(write_sinogram(tmp_path, counts(), **{"applied corrections": "{arc correction, attenuation}"}))
    assert any("attenuation" in remark.sentence for remark in found.remarks if remark.kind == "corrected")


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_written_reads_the_same(tmp_path: Path, sign: int) -> None:
    angles = sign * (np.arange(VIEWS) * np.pi / VIEWS + 0.02)
    prompts = counts().swapaxes(0, 1) + 5
    made = Sinogram(prompts, angles, 2.5, 15.0, 3.0, np.full(prompts.shape, 2.0), np.full(prompts.shape, 0.5),
                    np.linspace(0.5, 1, BINS), 120.0, 1e-3, np.diag([-1.0, -1, 3, 1]))
    path = tmp_path / "out.hs"
    files = write_interfile(made, path)
    assert all(file.is_file() for file in files)
    found = read_interfile_sinogram(path, read_description(path.with_suffix(".json")))
    assert located_total(found) == pytest.approx(located_total(made), rel=1e-5)
    for name in ("bin_mm", "centre_bin", "slice_spacing_mm", "duration_s", "counts_per_bq"):
        assert getattr(found, name) == pytest.approx(getattr(made, name)), name
    assert found.ijk_to_ras == pytest.approx(made.ijk_to_ras)
    assert found.attenuation == pytest.approx(made.attenuation)
    assert found.background == pytest.approx(made.background)
    if sign < 0:
        assert found.angles_rad == pytest.approx(angles)
        assert found.prompts == pytest.approx(prompts)


def located_total(sinogram: Sinogram) -> np.ndarray:
    """Counts backprojected to a few places: the same for two sinograms of the same lines."""
    u = (np.arange(sinogram.bins) - sinogram.centre_bin) * sinogram.bin_mm
    sums = []
    for x, y in ((0, 0), (11, 4), (-9, 15)):
        at = x * np.cos(sinogram.angles_rad) - y * np.sin(sinogram.angles_rad)
        sums.append(sum(np.interp(at[v], u, sinogram.prompts[2, v]) for v in range(sinogram.angles)))
    return np.array(sums)


def test_what_stir_has_no_place_for_is_not_written(tmp_path: Path) -> None:
    made = Sinogram(counts().swapaxes(0, 1), -np.arange(VIEWS) * np.pi / VIEWS, 2.5, 14.5, 3.0)
    with pytest.raises(ValueError, match=r"write it as .npz"):
        write_interfile(made, tmp_path / "out.hs")


def write_image(folder: Path, array: np.ndarray, **changes: Any) -> Path:
    (folder / "im.v").write_bytes(array.astype("<f4").tobytes())
    fields: dict[str, Any] = {
        "name of data file": "im.v", "!type of data": "PET", "imagedata byte order": "LITTLEENDIAN",
        "!PET data type": "Image", "!number format": "float", "!number of bytes per pixel": 4,
        "number of dimensions": 3,
        "matrix axis label [1]": "x", "!matrix size [1]": array.shape[2], "scaling factor (mm/pixel) [1]": 2.0,
        "matrix axis label [2]": "y", "!matrix size [2]": array.shape[1], "scaling factor (mm/pixel) [2]": 2.5,
        "matrix axis label [3]": "z", "!matrix size [3]": array.shape[0], "scaling factor (mm/pixel) [3]": 3.0,
        "patient orientation": "head_in", "patient rotation": "supine", **changes}
    path = folder / "im.hv"
    path.write_text(header_text({key: value for key, value in fields.items() if value is not None}))
    return path


def test_images_lie_where_stir_puts_them(tmp_path: Path) -> None:
    array = RNG.random((3, 4, 6)).astype(np.float32)
    found = read_interfile_image(write_image(tmp_path, array), "Bq/mL")
    assert np.array_equal(found.array, array)
    assert found.unit == "Bq/mL"
    assert found.ijk_to_ras @ [3, 2, 0, 1] == pytest.approx([0, 0, 0, 1])  # pixel size // 2 on the axis, first ring
    assert found.ijk_to_ras @ [4, 3, 2, 1] == pytest.approx([-2.0, -2.5, -6.0, 1])
    moved = read_interfile_image(write_image(tmp_path, array, **{
        "first pixel offset (mm) [1]": -1.0, "first pixel offset (mm) [2]": 2.0, "first pixel offset (mm) [3]": 5.0,
        "patient orientation": "feet_in", "image scaling factor[1]": "{1, 2, 3}"}))
    assert moved.ijk_to_ras @ [0, 0, 0, 1] == pytest.approx([-1.0, -2.0, 5.0, 1])
    assert moved.array == pytest.approx(array * np.array([1, 2, 3]).reshape(3, 1, 1))
    with pytest.warns(UserWarning, match="position"):
        read_interfile_image(write_image(tmp_path, array, **{"patient orientation": None}))


@pytest.mark.parametrize(("changes", "said"), [
    ({"!PET data type": "Emission"}, "found 'emission'"), ({"number of time frames": 2}, "found 2 frames"),
    ({"matrix axis label [1]": "z"}, "axes x, y, z"), ({"scaling factor (mm/pixel) [3]": None}, "voxel lengths"),
    ({"!matrix size [3]": 9}, "cut off"), ({"image scaling factor[1]": "{1,2}"}, "scaling factor"),
])
def test_images_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_interfile_image(write_image(tmp_path, np.ones((3, 4, 6)), **changes))


def test_the_sample_headers_of_stir() -> None:
    folder = samples("pet_interfile_stir")
    said = {
        "PET_TOF_Interfile_header_Signa_PETMR.hs": "27 time-of-flight",
        "template_for_ROOT_scanner.hs": "5 time-of-flight",
        "SPECT_Interfile_header.hs": "SPECT", "NeuroLF-15mm.hs": "on a cylinder", "mMR_listmode.l.hdr": "list-mode",
        "mMR_sinogram.s.hdr": "compression", "safir_20.hs": "'safir_20.s' beside", "Siemens_mMR_seg2.hs": "found none",
        "Utahscat600k_ca_seg4.hs": "found none", "smalllong.hs": "negative_to_zero",
    }
    for name, sentence in said.items():
        with pytest.raises(ValueError, match=sentence):
            read(folder / name)
    long = read_interfile_sinogram(folder / "smalllong.hs", Description(negative_to_zero=True))
    assert (long.prompts.shape, long.bin_mm, long.centre_bin) == ((27, 64, 75), 3.0, 37.0)
    assert long.slice_spacing_mm == pytest.approx(3.27)
    cylinder = read_interfile_sinogram(folder / "scatter_cylinder.hs", Description())
    assert cylinder.slices == 8
    image = read_interfile_image(samples("pet_phantom_thorax_slice") / "emission.hv")
    assert image.array.shape == (1, 155, 155)
    assert image.ijk_to_ras @ [77, 77, 0, 1] == pytest.approx([0, 0, 0, 1], abs=1e-3)


def test_a_description_of_wrong_keys(tmp_path: Path) -> None:
    path = write_sinogram(tmp_path, counts())
    for keys, said in (({"bins_mm": 1}, "only the keys"), ({"bin_mm": 0}, "a positive number as bin_mm"),
                       ({"ring_pairs": "both"}, "'summed' or 'averaged'"), ({"angles_deg": [1]}, "expected 12 angles"),
                       ({"efficiency": "a", "normalisation": "b"}, "found both")):
        with pytest.raises(ValueError, match=said):
            read(path, **keys)
    path.with_suffix(".json").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="one JSON object"):
        read_description(path.with_suffix(".json"))
