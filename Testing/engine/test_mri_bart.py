"""BART and fastMRI files as k-space."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from diffusion_engine.modalities.mri.readings.bart import read_header
from diffusion_engine.modalities.mri.readings.formats import read
from mri_files import describe, header, write_bart
from mri_kspaces import centred_fft, line_mask, samples, smooth_maps

FULL = samples(2, 3, 24, 32)
MASK = line_mask(24, 32)


def bart_order(stack: np.ndarray) -> np.ndarray:
    """(slices, coils, rows, columns) with BART's axes: READ, PHS1, PHS2, COIL, nine of length 1, SLICE."""
    return stack.transpose(3, 2, 1, 0)[:, :, None, :, None, None, None, None, None, None, None, None, None, :]


def test_a_pair_is_read_by_either_file_and_zeros_are_not_measured(tmp_path: Path) -> None:
    path = write_bart(tmp_path / "k.cfl", bart_order(FULL * MASK))
    for each in (path, path.with_suffix(".hdr")):
        kspace = read(each)
        np.testing.assert_array_equal(kspace.values, FULL * MASK)
        np.testing.assert_array_equal(kspace.mask[0], MASK)
    assert "zeros_not_measured" in {remark.kind for remark in kspace.remarks}
    with pytest.raises(ValueError, match="18 whole lines, exactly zero"):
        read(path, describe(path, mask="full"))


def test_a_plane_of_two_phase_encodings_keeps_its_axes(tmp_path: Path) -> None:
    plane = FULL[0].transpose(1, 2, 0)[None]  # READ 1, PHS1 24, PHS2 32, COIL 3
    np.testing.assert_array_equal(read(write_bart(tmp_path / "k.cfl", plane)).values, FULL[:1])


def test_three_dimensions_are_decoupled(tmp_path: Path) -> None:
    stack = samples(4)
    volume = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(stack, 0), axis=0, norm="ortho"), 0) * MASK
    kspace = read(write_bart(tmp_path / "k.cfl", volume.transpose(3, 2, 0, 1)))
    np.testing.assert_allclose(kspace.values, stack * MASK, atol=1e-5)


def test_maps_and_mask_beside_by_name(tmp_path: Path) -> None:
    path = write_bart(tmp_path / "k.cfl", bart_order(FULL))
    maps = bart_order(smooth_maps(3)[None].astype(np.complex64))[:, :, :, :, 0]
    write_bart(tmp_path / "sens.cfl", np.stack([maps[..., 0], maps[..., 0]], 4))
    kspace = read(path, describe(path, maps="sens"))
    assert kspace.maps is not None
    np.testing.assert_allclose(kspace.maps[0], smooth_maps(3), rtol=1e-6)
    assert "several_maps" in {remark.kind for remark in kspace.remarks}
    write_bart(tmp_path / "pattern.cfl", MASK.T[:, :, None])
    with pytest.raises(ValueError, match="the mask does not match"):
        read(path, describe(path, mask="pattern.cfl"))
    write_bart(tmp_path / "k.cfl", bart_order(FULL * MASK))
    np.testing.assert_array_equal(read(path, describe(path, mask="pattern.cfl")).mask[1], MASK)
    with pytest.raises(ValueError, match="found none: put both files together"):
        read(path, describe(path, maps="missing"))
    with pytest.raises(ValueError, match="expected k-space, found 2 sets of maps"):
        read(tmp_path / "sens.cfl")


def test_a_multi_array_file_is_known_for_what_it_is(tmp_path: Path) -> None:
    maps = smooth_maps(3).transpose(2, 1, 0)[:, :, None]
    path = write_bart(tmp_path / "two.cfl", maps, bart_order(FULL)[..., 0], several=True)
    assert read_header(path.with_suffix(".hdr")).several
    with pytest.raises(ValueError, match=r"multi-array file with 2 \(0: 32 x 24 x 1 x 3; 1: 32 x 24 x 1 x 3\)"):
        read(path)
    np.testing.assert_array_equal(read(path, describe(path, variable="1")).values, FULL[:1])
    with pytest.raises(ValueError, match="expected an array 0 to 1"):
        read(path, describe(path, variable="2"))


def test_echoes_are_asked_about_and_other_axes_refused(tmp_path: Path) -> None:
    two = np.stack([bart_order(FULL)[:, :, :, :, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] * n for n in (1, 2)], -1)
    path = write_bart(tmp_path / "k.cfl", two[:, :, :, :, None])  # TE
    assert "several_contrasts" in {remark.kind for remark in read(path).remarks}
    np.testing.assert_array_equal(read(path, describe(path, contrast=1)).values, 2 * FULL[:1])
    with pytest.raises(ValueError, match="contrast 0 to 1, found 2"):
        read(path, describe(path, contrast=2))
    path = write_bart(tmp_path / "k.cfl", two[:, :, :, :, None, None])  # COEFF
    with pytest.raises(ValueError, match="without the axes COEFF, found shape 32 x 24 x 1 x 3 x 1 x 1 x 2"):
        read(path)


@pytest.mark.parametrize(("text", "sentence"), [
    ("# Dimensions\n32 24 0 3\n", "up to 16 sizes"),
    ("# Dimensions\n32 x 3\n", "up to 16 sizes"),
    ("# Dimensions\n", "up to 16 sizes"),
    ("# Dimensions\n99999999 99999999\n", "up to 16 sizes"),
    ("# Dimensions\n32 24 1 4\n", "24576 bytes in k.cfl as its header says, found 36864"),
])
def test_headers_that_do_not_fit_are_refused(text: str, sentence: str, tmp_path: Path) -> None:
    path = write_bart(tmp_path / "k.cfl", bart_order(FULL))
    path.with_suffix(".hdr").write_text(text, encoding="ascii")
    with pytest.raises(ValueError, match=sentence):
        read(path)


def test_a_header_or_data_alone_is_refused(tmp_path: Path) -> None:
    path = write_bart(tmp_path / "k.cfl", bart_order(FULL))
    path.unlink()
    with pytest.raises(ValueError, match=r"expected the data file k\.cfl beside its header"):
        read(path.with_suffix(".hdr"))


def write_fastmri(path: Path, stack: np.ndarray, text: bytes | None, mask: np.ndarray | None = None) -> Path:
    """(slices, coils, lines, readout) as fastMRI stores it, of one coil without that axis."""
    stored = np.swapaxes(stack, 2, 3)
    with h5py.File(path, "w") as file:
        file["kspace"] = stored[:, 0] if stack.shape[1] == 1 else stored
        if text is not None:
            file["ismrmrd_header"] = text
        if mask is not None:
            file["mask"] = mask
        file.attrs["acquisition"] = "AXT1"
    return path


@pytest.mark.parametrize("coils", [1, 3])
def test_fastmri_is_read_with_lines_as_rows(coils: int, tmp_path: Path) -> None:
    stack = samples(2, coils)
    kspace = read(write_fastmri(tmp_path / "f.h5", stack, header()))
    np.testing.assert_array_equal(kspace.values, stack)
    assert (kspace.pixel_mm, kspace.slice_spacing_mm) == ((1.5, 1.0), 5)
    assert (kspace.facts["format"], kspace.facts["protocol"]) == ("fastMRI", "AXT1")
    assert kspace.mask.all()
    assert {remark.kind for remark in kspace.remarks} == {"lines_are_rows", "no_place"}


def test_lines_that_fastmri_filled_with_zeros_are_not_measured(tmp_path: Path) -> None:
    stack = FULL.copy()
    stack[:, :, :3], stack[:, :, 22:] = 0, 0
    kspace = read(write_fastmri(tmp_path / "f.h5", stack, header(lines=(18, 9))))
    np.testing.assert_array_equal(np.flatnonzero(~kspace.mask[0, :, 0]), [0, 1, 2, 22, 23])
    with pytest.raises(ValueError, match="10 whole lines, exactly zero"):
        read(write_fastmri(tmp_path / "g.h5", stack, header()))


def test_fastmri_masks_and_oversampling(tmp_path: Path) -> None:
    mask = MASK[:, 0].astype(np.float32)
    path = write_fastmri(tmp_path / "f.h5", FULL * MASK, header(), mask)
    np.testing.assert_array_equal(read(path).mask[0], MASK)
    with pytest.raises(ValueError, match="a mask of 24 lines, found one of 23"):
        read(write_fastmri(tmp_path / "g.h5", FULL * MASK, header(), mask[:-1]))
    with pytest.raises(ValueError, match="the mask does not match"):
        read(write_fastmri(tmp_path / "g.h5", FULL, header(), mask))
    wide = np.zeros((2, 3, 24, 64), np.complex64)
    axes = (-2, -1)
    wide[..., 16:48] = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(FULL, axes), norm="ortho"), axes)
    text = header((64, 24, 1), (64, 36, 5), (32, 24, 1), (32, 36, 5))
    kspace = read(write_fastmri(tmp_path / "h.h5", centred_fft(wide).astype(np.complex64), text))
    np.testing.assert_allclose(kspace.values, FULL, atol=1e-5)
    assert kspace.pixel_mm == (1.5, 1.0)


def test_fastmri_without_header_or_with_nan_or_magnitudes(tmp_path: Path) -> None:
    kspace = read(write_fastmri(tmp_path / "f.h5", FULL, None))
    assert {"no_oversampling", "no_pixel_size"} <= {remark.kind for remark in kspace.remarks}
    with pytest.raises(ValueError, match=r"g\.h5: expected finite samples, found 144 that are NaN"):
        read(write_fastmri(tmp_path / "g.h5", np.where(np.arange(32) == 1, np.nan, FULL), header()))
    with pytest.raises(ValueError, match=r"expected complex k-space .* found float32"):
        read(write_fastmri(tmp_path / "g.h5", np.abs(FULL), header()))
