"""Image files: exact round trips, DICOM series, and one sentence for every file that is not right."""

from __future__ import annotations

import errno
import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from diffusion_engine.io.images import read_volume, write_volume
from diffusion_engine.volume import Volume, check_image
from nifti_files import write_nifti
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

EXACT = (".nrrd", ".mha")
ALL = (*EXACT, ".nii", ".nii.gz")


def oblique_matrix(flipped: bool = False) -> np.ndarray:
    """A rotated, anisotropic grid away from the origin, right- or left-handed."""
    axes, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    if (np.linalg.det(axes) < 0) != flipped:
        axes[:, 2] *= -1
    matrix = np.eye(4)
    matrix[:3, :3] = axes * (0.7, 0.9, 2.5)
    matrix[:3, 3] = (-123.25, 41.5, 1000.125)
    return matrix


def sample(flipped: bool = False, dtype: type = np.float32, unit: str = "HU") -> Volume:
    values = np.random.default_rng(1).normal(0.0, 500.0, size=(5, 12, 17)).astype(dtype)
    return Volume(values, oblique_matrix(flipped=flipped), unit)


def assert_same(found: Volume, wanted: Volume, tolerance: float = 1e-9) -> None:
    assert found.array.dtype == wanted.array.dtype
    assert np.array_equal(found.array, wanted.array)
    np.testing.assert_allclose(found.ijk_to_ras, wanted.ijk_to_ras, atol=tolerance, rtol=0)
    assert found.unit == wanted.unit


@pytest.mark.parametrize("ending", ALL)
@pytest.mark.parametrize("flipped", [False, True])
def test_round_trip(tmp_path: Path, ending: str, flipped: bool) -> None:
    volume = sample(flipped)
    write_volume(volume, tmp_path / f"x{ending}")
    # NIfTI stores its matrix in single precision: 1000 mm keep about 1e-4 mm.
    assert_same(read_volume(tmp_path / f"x{ending}"), volume, 1e-9 if ending in EXACT else 1e-4)
    assert [p.name for p in tmp_path.iterdir()] == [f"x{ending}"]


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float64])
def test_voxel_type_is_kept(tmp_path: Path, dtype: type) -> None:
    volume = sample(dtype=dtype, unit="Bq/mL")
    write_volume(volume, tmp_path / "x.nrrd")
    assert_same(read_volume(str(tmp_path / "x.nrrd")), volume)


@pytest.mark.parametrize("ending", ALL)
def test_names_with_spaces_and_letters(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "Thorax über früh 影像"
    folder.mkdir()
    write_volume(sample(), folder / f"Bild é 1.2{ending}")
    assert np.array_equal(read_volume(folder / f"Bild é 1.2{ending}").array, sample().array)


def test_matrix_is_ras(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16))
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((10.0, 20.0, 30.0))
    sitk.WriteImage(image, str(tmp_path / "x.nrrd"))
    expected = [[-1, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]]
    assert read_volume(tmp_path / "x.nrrd").ijk_to_ras.tolist() == expected


def test_unit_is_given_stored_or_unknown(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16))
    for ending in ALL:
        sitk.WriteImage(image, str(tmp_path / f"x{ending}"))
        assert read_volume(tmp_path / f"x{ending}").unit == "a.u."
        assert read_volume(tmp_path / f"x{ending}", unit="SUV").unit == "SUV"


@pytest.mark.parametrize("ending", EXACT)
def test_unit_of_what_was_written_from_dicom(tmp_path: Path, ending: str) -> None:
    for modality, unit in (("CT", "HU"), ("PT", "a.u.")):
        image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16))
        image.SetMetaData("0008|0060", modality)
        sitk.WriteImage(image, str(tmp_path / f"x{ending}"))
        assert read_volume(tmp_path / f"x{ending}").unit == unit


def test_detached_headers_are_read(tmp_path: Path) -> None:
    for ending in (".nhdr", ".mhd"):
        image = sitk.GetImageFromArray(sample().array)
        sitk.WriteImage(image, str(tmp_path / f"x{ending}"))
        assert np.array_equal(read_volume(tmp_path / f"x{ending}").array, sample().array)


def test_flat_image_becomes_one_slice(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.arange(12, dtype=np.float32).reshape(3, 4))
    image.SetSpacing((0.5, 0.6))
    sitk.WriteImage(image, str(tmp_path / "x.nrrd"))
    volume = read_volume(tmp_path / "x.nrrd")
    assert volume.array.shape == (1, 3, 4)
    assert volume.spacing_mm == pytest.approx((0.5, 0.6, 1.0))


def write_colour(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4, 3), np.uint8), isVector=True), str(path))


def write_series_in_time(path: Path) -> None:
    frame = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16))
    sitk.WriteImage(sitk.JoinSeries([frame, frame]), str(path))


def write_complex(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 3, 4), np.complex64)), str(path))


def write_text(path: Path) -> None:
    path.write_text("no image at all")


@pytest.mark.parametrize(
    ("name", "write", "says"),
    [
        ("x.nrrd", write_colour, "colour or vector"),
        ("x.mha", write_colour, "colour or vector"),
        ("x.nii.gz", write_series_in_time, "one time point"),
        ("x.nrrd", write_series_in_time, "one time point"),
        ("x.nii", write_complex, "real voxels"),
        ("x.nrrd", write_text, "cannot be read"),
        ("x.dcm", write_text, "cannot be read"),
        ("x.nii", write_text, "no NIfTI header"),
        ("x.nii.gz", write_text, "no NIfTI header"),
        ("x.tiff", write_text, "convert it"),
        ("x", write_text, "convert it"),
    ],
)
def test_read_refuses(tmp_path: Path, name: str, write: Callable[[Path], None], says: str) -> None:
    write(tmp_path / name)
    with pytest.raises(ValueError, match=says) as caught:
        read_volume(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_read_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"found nothing at .*x\.nrrd"):
        read_volume(tmp_path / "x.nrrd")
    with pytest.raises(ValueError, match="found none"):
        read_volume(tmp_path)


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.98])
@pytest.mark.parametrize("ending", ALL)
def test_truncated_file(tmp_path: Path, ending: str, kept: float) -> None:
    path = tmp_path / f"x{ending}"
    write_volume(sample(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"expected a complete image in .*x\.") as caught:
        read_volume(path)
    assert "\n" not in str(caught.value)


def test_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    write_volume(sample(), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="complete image"):
        read_volume(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_nifti_in_both_byte_orders(tmp_path: Path, order: str, packed: bool) -> None:
    values = np.arange(24, dtype="i2").reshape(2, 3, 4)
    path = tmp_path / ("x.nii.gz" if packed else "x.nii")
    content = write_nifti(path, values, order)
    assert np.array_equal(read_volume(path).array, values)
    path.write_bytes(gzip.compress(content[:-1]) if packed else content[:-1])
    with pytest.raises(ValueError, match="found 399 of 400 bytes"):
        read_volume(path)


@pytest.mark.parametrize("name", ["x.mhd", "x.nhdr", "x.dcm", "x.png", "x"])
def test_write_refuses_endings(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="ending in"):
        write_volume(sample(), tmp_path / name)


def test_write_refuses_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="existing folder"):
        write_volume(sample(), tmp_path / "missing" / "x.nrrd")
    (tmp_path / "x.nrrd").mkdir()
    with pytest.raises(ValueError, match="another name"):
        write_volume(sample(), tmp_path / "x.nrrd")


def test_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", denied)  # file modes do not bind a test that runs as root
    with pytest.raises(ValueError, match="Permission denied"):
        write_volume(sample(), tmp_path / "x.nrrd")
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from diffusion_engine.io.images import write_volume
from diffusion_engine.volume import Volume
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    write_volume(Volume(np.random.default_rng(0).normal(size=(5, 20, 20)).astype("f4"), np.eye(4), "HU"), sys.argv[1])
except ValueError as error:
    print(error)
    sys.exit(7)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file sizes")
@pytest.mark.parametrize("ending", ALL)
def test_full_disk_keeps_the_old_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    write_volume(sample(), path)
    before = path.read_bytes()
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 7, result.stderr
    assert "free disk space" in result.stdout
    assert result.stdout.count("\n") == 1
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def write_dicom(
    folder: Path,
    values: np.ndarray,
    places: np.ndarray,
    uid: str = "1.2.3.4",
    modality: str = "CT",
    axes: np.ndarray | None = None,
    slopes: np.ndarray | None = None,
) -> None:
    """Slices (stored numbers) as DICOM files in a shuffled name order; ``axes``: columns i and j in LPS."""
    slopes = np.ones(len(values)) if slopes is None else slopes
    axes = np.eye(3)[:, :2] if axes is None else axes
    folder.mkdir(exist_ok=True, parents=True)
    for n, (pixels, place) in enumerate(zip(values, places, strict=True)):
        data = pydicom.Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CTImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{n + 1}"
        data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = "1.2.3", uid, modality
        data.SeriesDescription, data.PatientID, data.InstanceNumber = "Thorax 1.0", "p", n + 1
        data.ImagePositionPatient = [f"{v:.9g}" for v in place]
        data.ImageOrientationPatient = [f"{v:.9f}" for v in axes.T.ravel()]
        data.PixelSpacing, data.SliceThickness = [0.9, 0.7], 2.5
        data.Rows, data.Columns = pixels.shape
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.RescaleIntercept, data.RescaleSlope = -1024, float(slopes[n])
        data.PixelData = pixels.astype("<i2").tobytes()
        data.save_as(folder / f"{(n * 7) % 11:02d}-{uid}.dcm", enforce_file_format=True)


def stored(count: int = 6) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 3000, size=(count, 8, 10))


def straight(count: int = 6, step: float = 2.5) -> np.ndarray:
    return np.array([(-100.0, -50.0, 20.0 + step * n) for n in range(count)])


def test_dicom_series_oblique(tmp_path: Path) -> None:
    ras = oblique_matrix()
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ras
    places = np.array([(lps @ (0, 0, k, 1))[:3] for k in range(6)])
    write_dicom(tmp_path / "Serie ü", stored(), places, axes=lps[:3, :2] / (0.7, 0.9))
    volume = read_volume(tmp_path / "Serie ü")
    assert volume.unit == "HU"
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, stored() - 1024)
    np.testing.assert_allclose(volume.ijk_to_ras, ras, atol=1e-6)
    check_image(volume)


def test_every_slice_has_its_own_slope(tmp_path: Path) -> None:
    slopes = np.array([1.0, 0.5, 0.25, 2.5, 1.0, 0.125])
    write_dicom(tmp_path, stored(), straight(), modality="PT", slopes=slopes)
    assert np.array_equal(read_volume(tmp_path).array, stored() * slopes[:, None, None] - 1024)


def test_flipped_rows_and_feet_first(tmp_path: Path) -> None:
    write_dicom(tmp_path, stored(), straight(step=-2.5), axes=np.diag([-1.0, 1.0, 1.0])[:, :2])
    volume = read_volume(tmp_path)
    for n, k in enumerate(volume.array):  # wherever the reader puts a slice, its voxels keep their places
        place = volume.ijk_to_ras @ (0, 0, n, 1)
        at = int(np.argmin(np.abs(20.0 - 2.5 * np.arange(6) - place[2])))
        assert np.array_equal(k, stored()[at] - 1024)
    assert volume.ijk_to_ras[0, 0] == pytest.approx(0.7)


def test_single_dicom_file(tmp_path: Path) -> None:
    write_dicom(tmp_path, stored(1), straight(1))
    file = next(tmp_path.iterdir())
    for source in (file, tmp_path):
        volume = read_volume(source)
        assert np.array_equal(volume.array, stored(1) - 1024)
        assert volume.unit == "HU"


def test_unit_of_other_modalities_is_not_guessed(tmp_path: Path) -> None:
    write_dicom(tmp_path, stored(), straight(), modality="PT")
    assert read_volume(tmp_path).unit == "a.u."


def test_largest_of_several_series_is_said(tmp_path: Path) -> None:
    write_dicom(tmp_path, stored(), straight())
    write_dicom(tmp_path, stored(2), straight(2), uid="1.2.3.5")
    with pytest.warns(UserWarning, match=r"2 DICOM series.*6 images, 1\.2\.3\.4"):
        assert read_volume(tmp_path).array.shape == (6, 8, 10)
    assert read_volume(tmp_path, series="1.2.3.5").array.shape == (2, 8, 10)
    with pytest.raises(ValueError, match=r"expected DICOM series 9\.9 "):
        read_volume(tmp_path, series="9.9")


def test_series_of_like_size_are_not_guessed(tmp_path: Path) -> None:
    write_dicom(tmp_path, stored(), straight())
    write_dicom(tmp_path, stored(3), straight(3), uid="1.2.3.5")
    with pytest.raises(ValueError, match=r"found 2 \(CT .*1\.2\.3\.4; CT .*1\.2\.3\.5\)"):
        read_volume(tmp_path)


@pytest.mark.parametrize(
    ("places", "says"),
    [
        (np.delete(straight(8), [3, 4], axis=0), "found 7.5 mm between slices 3 and 4 where most are 2.5"),
        (np.delete(straight(7), 5, axis=0), "found 5 mm between slices 5 and 6"),
        (np.repeat(straight(3), 2, axis=0), "several near slice 1"),
        (straight() + np.arange(6)[:, None] * (0.0, 0.4, 0.0), "leaning by 9.1 degrees"),
    ],
)
def test_dicom_stack_must_be_even(tmp_path: Path, places: np.ndarray, says: str) -> None:
    write_dicom(tmp_path, stored(), places)
    with pytest.raises(ValueError, match=says):
        read_volume(tmp_path)


def test_rounded_positions_are_even(tmp_path: Path) -> None:
    write_dicom(tmp_path, stored(), np.round(straight(step=1.25), 1))
    assert read_volume(tmp_path).spacing_mm[2] == pytest.approx(1.25, abs=0.02)


def test_truncated_dicom(tmp_path: Path) -> None:
    write_dicom(tmp_path, stored(), straight())
    victim = tmp_path / "02-1.2.3.4.dcm"  # the last slice: the others still look like a whole series
    victim.write_bytes(victim.read_bytes()[:-60])
    with pytest.raises(ValueError, match=r"complete image in .*02-1\.2\.3\.4"):
        read_volume(victim)
    with pytest.raises(ValueError, match=r"found 02-1\.2\.3\.4\.dcm that cannot be read"):
        read_volume(tmp_path)
    (tmp_path / "notes.txt").write_text("of no interest")
    victim.unlink()
    assert read_volume(tmp_path).array.shape == (5, 8, 10)
