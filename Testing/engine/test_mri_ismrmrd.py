"""ISMRMRD files: lines told apart by their flags and put at their places, with geometry and noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from diffusion_engine.modalities.mri.kspace import KSpace
from diffusion_engine.modalities.mri.readings.formats import read
from mri_files import all_lines, describe, flag, header, record, write_ismrmrd
from mri_kspaces import centred_fft, line_mask, samples

FULL = samples()
NOISE, CALIBRATION, BOTH, REVERSE, NAVIGATOR = 19, 20, 21, 22, 23
EMBEDDED = (
    "<parallelImaging><accelerationFactor><kspace_encoding_step_1>2</kspace_encoding_step_1></accelerationFactor>"
    "<calibrationMode>{}</calibrationMode></parallelImaging>"
)


def kinds(kspace: KSpace) -> set[str]:
    return {remark.kind for remark in kspace.remarks}


def test_lines_come_back_bit_for_bit_with_their_place(tmp_path: Path) -> None:
    path = write_ismrmrd(tmp_path / "a.h5", all_lines(FULL[0], position=(3.0, -4.0, 50.0)))
    kspace = read(path)
    np.testing.assert_array_equal(kspace.values, FULL)
    assert kspace.mask.all()
    assert kspace.pixel_mm == (1.5, 1.0)
    assert kspace.slice_spacing_mm == 5
    assert kspace.ijk_to_ras is not None
    # k = 0 of the transform is the pixel (column 16, row 12), in LPS at (3, -4, 50).
    np.testing.assert_allclose(kspace.ijk_to_ras @ [16, 12, 0, 1], [-3, 4, 50, 1], atol=1e-6)
    np.testing.assert_allclose(kspace.ijk_to_ras[:3, :3], np.diag([-1.0, -1.5, 5.0]), atol=1e-6)
    assert kinds(kspace) == set()


def test_an_oblique_slice_keeps_its_directions(tmp_path: Path) -> None:
    c, s = np.cos(0.4), np.sin(0.4)
    turned = {"read_dir": (0, c, s), "phase_dir": (0, -s, c), "slice_dir": (1, 0, 0)}
    kspace = read(write_ismrmrd(tmp_path / "a.h5", all_lines(FULL[0], **turned)))
    assert kspace.ijk_to_ras is not None
    np.testing.assert_allclose(kspace.ijk_to_ras[:3, 0], (0, -c, s), atol=1e-6)
    np.testing.assert_allclose(kspace.ijk_to_ras[:3, 1], (0, 1.5 * s, 1.5 * c), atol=1e-6)
    np.testing.assert_allclose(kspace.ijk_to_ras[:3, 2], (-5, 0, 0), atol=1e-6)


def test_partial_fourier_lines_go_where_the_limits_say(tmp_path: Path) -> None:
    """The first eight of 24 lines are missing: indices count from 0 on, k = 0 has index 4."""
    records = [record(FULL[0, :, n], n - 8) for n in range(8, 24)]
    kspace = read(write_ismrmrd(tmp_path / "a.h5", records, header(lines=(15, 4))))
    np.testing.assert_array_equal(kspace.values[0, :, 8:], FULL[0, :, 8:])
    assert not kspace.mask[:, :8].any()
    assert kspace.mask[:, 8:].all()


def test_an_asymmetric_echo_lies_around_its_centre(tmp_path: Path) -> None:
    records = [record(FULL[0, :, n, 6:], n, center_sample=10) for n in range(24)]
    kspace = read(write_ismrmrd(tmp_path / "a.h5", records))
    np.testing.assert_array_equal(kspace.values[..., 6:], FULL[..., 6:])
    assert not kspace.mask[..., :6].any()


def test_discarded_samples_are_not_measured_and_reversed_lines_are_turned(tmp_path: Path) -> None:
    forth = [record(FULL[0, :, n], n, discard_pre=2) for n in range(0, 24, 2)]
    back = [
        record(FULL[0, :, n, ::-1], n, flag(REVERSE), discard_post=2, center_sample=15) for n in range(1, 24, 2)
    ]
    kspace = read(write_ismrmrd(tmp_path / "a.h5", forth + back))
    np.testing.assert_array_equal(kspace.values[..., 2:], FULL[..., 2:])
    assert not kspace.mask[..., :2].any()


def test_readout_oversampling_is_removed_and_the_noise_keeps_its_variance(tmp_path: Path) -> None:
    """The middle half of the image is what is left: that of the object sampled twice as densely."""
    wide = np.zeros((3, 24, 64), np.complex64)
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(FULL[0], (-2, -1)), norm="ortho"), (-2, -1))
    wide[..., 16:48] = image
    text = header((64, 24, 1), (64, 36, 5), (32, 24, 1), (32, 36, 5))
    kspace = read(write_ismrmrd(tmp_path / "a.h5", all_lines(centred_fft(wide).astype(np.complex64)), text))
    np.testing.assert_allclose(kspace.values, FULL, atol=1e-5)
    assert kspace.pixel_mm == (1.5, 1.0)
    assert kspace.facts["oversampling_removed"] == 2


def test_noise_navigators_and_feedback_are_no_lines_of_the_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    root = np.array([[1, 0, 0], [0.5j, 2, 0], [0, 0.3, 1]])
    white = (rng.standard_normal((3, 20_000)) + 1j * rng.standard_normal((3, 20_000))) / np.sqrt(2)
    records = [
        record(0.1 * root @ white, 0, flag(NOISE), sample_time_us=5.0), record(FULL[0, :, 3], 3, flag(NAVIGATOR)),
        record(FULL[0, :, 4] * 9, 4, flag(26)), *all_lines(FULL[0], sample_time_us=10.0),
    ]
    machine = "<relativeReceiverNoiseBandwidth>0.8</relativeReceiverNoiseBandwidth>"
    kspace = read(write_ismrmrd(tmp_path / "a.h5", records, header(machine=machine)))
    np.testing.assert_array_equal(kspace.values, FULL)
    assert kspace.noise_covariance is not None
    # Twice the dwell time is half the bandwidth, so half the variance; over .8, the receiver's own bandwidth.
    expected = 0.01 * root @ root.conj().T * 0.5 / 0.8
    np.testing.assert_allclose(kspace.noise_covariance, expected, atol=0.05 * 0.01)
    assert kspace.facts["left_out"] == ["feedback", "navigator"]
    assert "no_dwell" not in kinds(kspace)


def test_an_unknown_dwell_time_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    noise = record(rng.standard_normal((3, 500)) + 1j * rng.standard_normal((3, 500)), 0, flag(NOISE))
    kspace = read(write_ismrmrd(tmp_path / "a.h5", [noise, *all_lines(FULL[0])]))
    assert kspace.noise_covariance is not None
    assert np.trace(kspace.noise_covariance).real == pytest.approx(6, rel=0.1)
    assert "no_dwell" in kinds(kspace)


@pytest.mark.parametrize(("mode", "apart"), [("embedded", False), ("separate", True)])
def test_calibration_lines_belong_to_the_image_only_where_embedded(mode: str, apart: bool, tmp_path: Path) -> None:
    lines = range(0, 24, 2)
    records = all_lines(FULL[0], [n for n in lines if not 9 <= n < 15])
    records += [record(FULL[0, :, n], n, flag(BOTH if n % 2 == 0 else CALIBRATION)) for n in range(9, 15)]
    kspace = read(write_ismrmrd(tmp_path / "a.h5", records, header(more=EMBEDDED.format(mode))))
    rows = np.zeros(24, bool)
    rows[::2] = True
    rows[9:15] |= not apart
    np.testing.assert_array_equal(kspace.mask[0].any(axis=1), rows)
    assert (kspace.calibration is not None) == apart
    if kspace.calibration is not None:
        np.testing.assert_array_equal(kspace.calibration[0, :, 9:15:2], FULL[0, :, 9:15:2])


def test_slices_lie_in_the_order_of_their_positions(tmp_path: Path) -> None:
    stack = samples(3)
    places = {0: 10.0, 1: -2.0, 2: 4.0}  # acquired interleaved
    records = [
        line for n, z in places.items() for line in all_lines(stack[n], slice=n, position=(0.0, 0.0, z))
    ]
    kspace = read(write_ismrmrd(tmp_path / "a.h5", records))
    np.testing.assert_array_equal(kspace.values, stack[[1, 2, 0]])
    assert kspace.slice_spacing_mm == pytest.approx(6)
    assert kspace.ijk_to_ras is not None
    assert kspace.ijk_to_ras[2, 3] == pytest.approx(-2)


def test_uneven_slices_have_no_place_and_that_is_said(tmp_path: Path) -> None:
    stack = samples(3)
    records = [
        line for n, z in enumerate((0.0, 5.0, 13.0)) for line in all_lines(stack[n], slice=n, position=(0.0, 0.0, z))
    ]
    kspace = read(write_ismrmrd(tmp_path / "a.h5", records))
    assert kspace.ijk_to_ras is None
    assert {"no_place", "no_slice_spacing"} <= kinds(kspace)


def test_averages_are_averaged(tmp_path: Path) -> None:
    twice = samples(2, noise=0.05)
    records = [line for n in range(2) for line in all_lines(twice[n] / (1 + 0.2 * n), average=n)]
    kspace = read(write_ismrmrd(tmp_path / "a.h5", records))
    np.testing.assert_allclose(kspace.values[0], (twice[0] + twice[1] / 1.2) / 2, atol=1e-6)
    assert kspace.facts["averages"] == 2
    assert "averaged" in kinds(kspace)


@pytest.mark.parametrize("name", ["contrast", "repetition", "phase", "set"])
def test_of_several_contrasts_the_first_is_read_or_the_one_that_is_named(name: str, tmp_path: Path) -> None:
    stack = samples(2)
    records = [line for n in (1, 4) for line in all_lines(stack[n // 4], **{name: n})]
    path = write_ismrmrd(tmp_path / "a.h5", records)
    first, named = read(path), read(path, describe(path, **{name: 4}))
    np.testing.assert_array_equal(first.values[0], stack[0])
    np.testing.assert_array_equal(named.values[0], stack[1])
    assert f"several_{name}s" in kinds(first)
    assert f"several_{name}s" not in kinds(named)
    with pytest.raises(ValueError, match=f"expected {name} out of 1, 4, found 2"):
        read(path, describe(path, **{name: 2}))


def test_partitions_that_are_whole_become_slices(tmp_path: Path) -> None:
    stack = samples(4)
    volume = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(stack, 0), axis=0, norm="ortho"), 0)
    mask = line_mask(24, 32)[:, 0]
    records = [
        line for n in range(4)
        for line in all_lines(volume[n], [int(r) for r in np.flatnonzero(mask)], kspace_encode_step_2=n)
    ]
    kspace = read(write_ismrmrd(tmp_path / "a.h5", records, header((32, 24, 4), (32, 36, 12))))
    np.testing.assert_allclose(kspace.values, stack * mask[:, None], atol=1e-5)
    assert kspace.slice_spacing_mm == 3
    assert "decoupled" in kinds(kspace)


def test_a_bare_header_is_asked_about_and_read(tmp_path: Path) -> None:
    path = write_ismrmrd(tmp_path / "a.h5", all_lines(FULL[0]), header((32, 24, 1), (0, 0, 0), lines=None))
    kspace = read(path)
    np.testing.assert_array_equal(kspace.values, FULL)
    assert kspace.pixel_mm is None
    assert kspace.ijk_to_ras is None
    assert {"no_pixel_size", "no_place", "no_lines_limits"} <= kinds(kspace)
    assert read(path, describe(path, pixel_mm=[1.5, 1.0])).pixel_mm == (1.5, 1.0)
    nothing = read(write_ismrmrd(tmp_path / "b.h5", all_lines(FULL[0]), b"<ismrmrdHeader/>"))
    np.testing.assert_array_equal(nothing.values, FULL)
    assert "no_oversampling" in kinds(nothing)


BOMB = b'<!DOCTYPE x [<!ENTITY a "b">]><ismrmrdHeader>&a;</ismrmrdHeader>'


@pytest.mark.parametrize(("change", "text", "sentence"), [
    (lambda r: r, header(trajectory="radial"), "expected a Cartesian trajectory, found radial"),
    (lambda r: r, header(trajectory="epi"), "found epi"),
    (lambda r: r, BOMB, "defines entities"),
    (lambda r: r, b"<ismrmrdHeader>", "as XML"),
    (lambda r: r, b"<other/>", "found <other>"),
    (lambda r: r, header((32, 12, 1)), "expected 12 lines with k = 0 at index 12"),
    (lambda r: r, header((16, 24, 1)), "expected readouts of up to 16 samples"),
    (lambda r: r, header((32, 24, 1), (32, 36, 5), recon_fov=(64, 36, 5)), "at least as wide as the image's"),
    (lambda r: [{**each, "flags": flag(NOISE)} for each in r], None, "expected imaging readouts, found none among 24"),
    (lambda r: [record(FULL[0, :2, 0], 0), *r[1:]], None, "same coils and samples, found 2 x 32 and 3 x 32"),
    (lambda r: [{**r[0], "data": r[0]["data"] * np.nan}, *r[1:]], None, "1 readouts, the first in line 0"),
    (lambda r: [record(np.full((3, 9), np.nan), 0, flag(NOISE)), *r], None, "finite noise samples"),
    (lambda r: [{**each, "data": each["data"] * 0} for each in r[:9]] + r[9:], None, "9 whole lines, exactly zero"),
    (lambda r: [{**r[0], "encoding_space_ref": 1}], None, "expected 1 encodings"),
    (lambda r: [record(np.ones((3, 4)) + 1j, 0, flag(NOISE)), *r], None, "at least 6 noise samples for 3 coils"),
])
def test_bad_files_are_refused_in_one_sentence(change: Any, text: bytes | None, sentence: str, tmp_path: Path) -> None:
    path = write_ismrmrd(tmp_path / "bad.h5", change(all_lines(FULL[0])), text)
    with pytest.raises(ValueError, match=sentence) as caught:
        read(path)
    assert str(caught.value).startswith("bad.h5: ")
    assert "\n" not in str(caught.value)


def test_a_truncated_file_and_one_without_raw_data_are_refused(tmp_path: Path) -> None:
    path = write_ismrmrd(tmp_path / "a.h5", all_lines(FULL[0]))
    cut = tmp_path / "cut.h5"
    cut.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"whole HDF5 file cut\.h5, found one that ends early: copy it again"):
        read(cut)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file.create_group("dataset").create_dataset("xml", data=b"<ismrmrdHeader/>")
    with pytest.raises(ValueError, match=r"images alone cannot be reconstructed"):
        read(tmp_path / "images.h5")


def test_a_record_shorter_than_its_head_says_is_damage(tmp_path: Path) -> None:
    path = write_ismrmrd(tmp_path / "a.h5", [{**each, "number_of_samples": 33} for each in all_lines(FULL[0])])
    with pytest.raises(ValueError, match="3 coils of 33 samples in readout 0, found 96 numbers"):
        read(path)


def test_k_space_that_needs_too_much_memory_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusion_engine.modalities.mri.readings import lines

    path = write_ismrmrd(tmp_path / "a.h5", all_lines(FULL[0]))
    monkeypatch.setattr(lines, "free_memory_mb", lambda: 0.01)
    with pytest.raises(ValueError, match="fits into 0 MB of free memory"):
        read(path)


def test_a_readout_that_becomes_the_slices_takes_its_place_along(tmp_path: Path) -> None:
    """Gaps in both phase encodings: slices run along the readout, columns along the partitions."""
    stack = samples(16, 2, 20, 24)
    volume = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(stack, 0), axis=0, norm="ortho"), 0)
    pattern = np.random.default_rng(2).random((16, 20)) < 0.7
    pattern[8], pattern[:, 10] = True, True
    records = [
        record(volume[k, :, j], int(j), kspace_encode_step_2=int(k), position=(1.0, 2.0, 3.0))
        for k, j in np.argwhere(pattern)
    ]
    text = header((24, 20, 16), (24, 40, 48), lines=(19, 10))
    kspace = read(write_ismrmrd(tmp_path / "a.h5", records, text))
    assert kspace.values.shape == (24, 2, 20, 16)
    np.testing.assert_array_equal(kspace.mask[0], pattern.T)
    assert (kspace.slice_spacing_mm, kspace.pixel_mm) == (1, (2, 3))
    assert kspace.ijk_to_ras is not None
    np.testing.assert_allclose(kspace.ijk_to_ras[:3, :3], [[0, 0, -1], [0, -2, 0], [3, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(kspace.ijk_to_ras @ [8, 10, 12, 1], [-1, -2, 3, 1], atol=1e-6)


def test_gaps_along_all_three_axes_are_refused(tmp_path: Path) -> None:
    stack = samples(16, 2, 20, 24)
    pattern = np.random.default_rng(2).random((16, 20)) < 0.7
    records = [
        record(stack[k, :, j], int(j), kspace_encode_step_2=int(k), discard_pre=int(j))
        for k, j in np.argwhere(pattern)
    ]
    text = header((24, 20, 16), (24, 40, 48), lines=(19, 10))
    with pytest.raises(ValueError, match="one fully sampled axis, found gaps along all three"):
        read(write_ismrmrd(tmp_path / "a.h5", records, text))


def test_averages_halve_the_variance_of_the_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    noise = record(rng.standard_normal((3, 500)) + 1j * rng.standard_normal((3, 500)), 0, flag(NOISE))
    once = [noise, *all_lines(FULL[0])]
    one = read(write_ismrmrd(tmp_path / "a.h5", once)).noise_covariance
    two = read(write_ismrmrd(tmp_path / "b.h5", [*once, *all_lines(FULL[0], average=1)])).noise_covariance
    assert one is not None
    assert two is not None
    np.testing.assert_allclose(two, one / 2)


def test_a_cut_echo_that_is_oversampled_is_measured_only_where_it_was(tmp_path: Path) -> None:
    """The first 16 of 64 samples are missing: 8 of the 32 that stay without oversampling."""
    rng = np.random.default_rng(1)
    wide = centred_fft(rng.standard_normal((3, 24, 64)) + 9 * (np.hypot(*np.indices((24, 64)) - 12) < 8))
    records = [record(wide[:, n, 16:], n, center_sample=16) for n in range(24)]
    text = header((64, 24, 1), (64, 36, 5), (32, 24, 1), (32, 36, 5))
    kspace = read(write_ismrmrd(tmp_path / "a.h5", records, text))
    np.testing.assert_array_equal(kspace.mask[0, 0], np.arange(32) >= 8)
    assert not kspace.values[..., :8].any()
