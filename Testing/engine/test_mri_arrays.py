"""Plain arrays as k-space: their axes, what was measured, and what does not look like k-space."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from diffusion_engine.modalities import mri
from diffusion_engine.modalities.mri.readings.description import KEYS, read_description
from diffusion_engine.modalities.mri.readings.formats import read
from mri_files import describe
from mri_kspaces import centred_fft, line_mask, samples, smooth_maps

DOCUMENT = Path(mri.__file__).with_name("KSPACE.md")
FULL = samples(2, 3, 24, 32)
MASK = line_mask(24, 32)


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize("axes", [
    ["slice", "coil", "row", "column"], ["column", "row", "coil", "slice"], ["coil", "slice", "column", "row"],
])
def test_axes_are_taken_as_described(axes: list[str], tmp_path: Path) -> None:
    order = ["slice", "coil", "row", "column"]
    path = saved(tmp_path / "k.npy", FULL.transpose([order.index(axis) for axis in axes]))
    kspace = read(path, describe(path, axes=axes, pixel_mm=[1.5, 1.0], slice_spacing_mm=4))
    np.testing.assert_array_equal(kspace.values, FULL)
    assert kspace.mask.all()
    assert (kspace.pixel_mm, kspace.slice_spacing_mm) == ((1.5, 1.0), 4)
    assert {remark.kind for remark in kspace.remarks} == {"no_place"}


def test_two_axes_need_no_description_and_others_are_asked_for(tmp_path: Path) -> None:
    kspace = read(saved(tmp_path / "k.npy", FULL[0, 0]))
    np.testing.assert_array_equal(kspace.values, FULL[:1, :1])
    with pytest.raises(ValueError, match=r'shape \(3, 24, 32\), found none: write k\.json with .*"coil", "row"'):
        read(saved(tmp_path / "k.npy", FULL[0]))


def test_matlab_files_old_and_new_and_npz_give_the_same(tmp_path: Path) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "old.mat", {"k": FULL[0], "note": "text", "te": np.array([[4.0]])})
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:
        pairs = np.zeros(FULL[0].T.shape, [("real", "<f4"), ("imag", "<f4")])
        pairs["real"], pairs["imag"] = FULL[0].T.real, FULL[0].T.imag
        file["k"] = pairs
    np.savez(tmp_path / "both.npz", k=FULL[0], other=FULL[0])
    for name in ("old.mat", "new.mat", "both.npz"):
        path = tmp_path / name
        more = {"variable": "k"} if name == "both.npz" else {}
        kspace = read(path, describe(path, axes=["coil", "row", "column"], **more))
        np.testing.assert_array_equal(kspace.values, FULL[:1])
    with pytest.raises(ValueError, match=r'expected one array in .*both\.npz, found k, other: .*"variable"'):
        read(tmp_path / "both.npz")
    with pytest.raises(ValueError, match=r"expected 'z' in .*both\.npz"):
        read(tmp_path / "both.npz", describe(tmp_path / "both.npz", variable="z"))


def test_zeros_are_asked_about_and_a_mask_is_taken_from_its_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "k.npy", FULL[0] * MASK)
    axes = ["coil", "row", "column"]
    with pytest.raises(ValueError, match=r'37\.5 % of k-space exactly zero.*"mask": "nonzero"'):
        read(path, describe(path, axes=axes))
    np.testing.assert_array_equal(read(path, describe(path, axes=axes, mask="nonzero")).mask[0], MASK)
    saved(tmp_path / "m.npy", MASK.astype(np.uint8))
    np.testing.assert_array_equal(read(path, describe(path, axes=axes, mask="m.npy")).mask[0], MASK)
    with pytest.raises(ValueError, match="9 whole lines, exactly zero in every coil: the k-space was filled"):
        read(path, describe(path, axes=axes, mask="full"))
    saved(tmp_path / "m.npy", np.roll(MASK, 1, 0))
    with pytest.raises(ValueError, match="the mask does not match the k-space"):
        read(path, describe(path, axes=axes, mask="m.npy"))
    saved(tmp_path / "m.npy", MASK.T)
    with pytest.raises(ValueError, match="exchange its rows and columns"):
        read(path, describe(path, axes=axes, mask="m.npy"))
    saved(tmp_path / "m.npy", MASK * 0.5)
    with pytest.raises(ValueError, match=r"zeros and ones in the mask 'm\.npy'"):
        read(path, describe(path, axes=axes, mask="m.npy"))


def test_maps_are_in_the_axes_of_the_k_space_and_missing_ones_are_said(tmp_path: Path) -> None:
    path = saved(tmp_path / "k.npy", np.moveaxis(FULL[0], 0, -1))
    saved(tmp_path / "maps.npy", np.moveaxis(smooth_maps(3).astype(np.complex64), 0, -1))
    place = describe(path, axes=["row", "column", "coil"], maps="maps.npy")
    maps = read(path, place).maps
    assert maps is not None
    np.testing.assert_allclose(maps[0], smooth_maps(3), rtol=1e-6)
    (tmp_path / "maps.npy").unlink()
    with pytest.raises(ValueError, match=r"expected the file 'maps\.npy' beside .* found none: put both files"):
        read(path, place)
    with pytest.raises(ValueError, match="points elsewhere"):
        read(path, describe(path, axes=["row", "column", "coil"], maps="../maps.npy"))


def test_partitions_contrasts_and_averages(tmp_path: Path) -> None:
    stack = samples(4)
    volume = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(stack, 0), axis=0, norm="ortho"), 0) * MASK
    path = saved(tmp_path / "k.npy", volume)
    place = describe(path, axes=["partition", "coil", "row", "column"], mask="nonzero", slice_spacing_mm=3,
                     pixel_mm=[1.5, 1])
    kspace = read(path, place)
    np.testing.assert_allclose(kspace.values, stack * MASK, atol=1e-5)
    saved(path, np.stack([FULL, FULL * 2]))
    named = read(path, describe(path, axes=["contrast", "slice", "coil", "row", "column"], contrast=1))
    np.testing.assert_array_equal(named.values, FULL * 2)
    mean = read(path, describe(path, axes=["average", "slice", "coil", "row", "column"]))
    np.testing.assert_allclose(mean.values, FULL * 1.5, rtol=1e-6)
    assert "averaged" in {remark.kind for remark in mean.remarks}


def test_a_readout_of_3d_k_space_becomes_the_slices_where_partitions_have_gaps(tmp_path: Path) -> None:
    """Two phase encodings with gaps: columns are whole; slices, rows, columns are then column, row, partition."""
    rng = np.random.default_rng(2)
    image = rng.standard_normal((16, 1, 20, 24)) + 5 * (np.hypot(*np.indices((20, 24)) - 11) < 6)
    axes = (0, 2, 3)
    whole = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(image, axes), axes=axes, norm="ortho"), axes)
    pattern = rng.random((16, 20)) < 0.6
    path = saved(tmp_path / "k.npy", (whole * pattern[:, None, :, None]).astype(np.complex64))
    kspace = read(path, describe(path, axes=["partition", "coil", "row", "column"], mask="nonzero", trust=True,
                                 pixel_mm=[2, 1], slice_spacing_mm=3))
    assert kspace.values.shape == (24, 1, 20, 16)
    assert (kspace.slice_spacing_mm, kspace.pixel_mm) == (1, (2, 3))
    expected = centred_fft(image[:, 0].transpose(2, 1, 0)) * pattern.T
    np.testing.assert_allclose(kspace.values[:, 0], expected, atol=1e-4)


@pytest.mark.parametrize(("array", "content", "sentence"), [
    (FULL[0].swapaxes(0, 1), {"axes": ["row", "coil", "column"], "trust": False}, None),
    (np.fft.ifftshift(FULL[0], (1, 2)), {"axes": ["coil", "row", "column"]}, '"centre": "corner"'),
    (samples(1, 1, 64, 64)[0], {"axes": ["coil", "column", "row"]}, None),
    (np.abs(FULL[0]), {"axes": ["coil", "row", "column"]}, "lost its phase"),
    (np.where(np.arange(32) == 4, np.nan, FULL[0]), {"axes": ["coil", "row", "column"]}, "72 that are NaN"),
    (FULL[0], {"axes": ["slice", "coil", "row", "column"]}, r"expected 4 axes .* found shape \(3, 24, 32\)"),
    (FULL[0], {"axes": ["coil", "row", "column"], "oversampling": 0.5}, "oversampling of at least 1"),
    (FULL[0], {"axes": ["contrast", "row", "column"], "contrast": 7}, "contrast 0 to 2, found 7"),
])
def test_arrays_that_cannot_be_are_refused(
    array: np.ndarray, content: dict[str, Any], sentence: str | None, tmp_path: Path
) -> None:
    path = saved(tmp_path / "k.npy", array)
    if sentence is None:
        assert read(path, describe(path, **content)).coils == array.shape[content["axes"].index("coil")]
        return
    with pytest.raises(ValueError, match=sentence) as caught:
        read(path, describe(path, **content))
    assert "\n" not in str(caught.value)


def test_exchanged_axes_images_and_noise_are_questioned_and_can_be_vouched_for(tmp_path: Path) -> None:
    many = samples(1, 16, 48, 64)[0]
    path = saved(tmp_path / "k.npy", many)
    exchanged = describe(path, axes=["row", "coil", "column"])
    with pytest.raises(ValueError, match="fewer coils than rows and columns, found 48 coils and 16: are axes"):
        read(path, exchanged)
    rng = np.random.default_rng(0)
    saved(path, rng.standard_normal((64, 64)) + 1j * rng.standard_normal((64, 64)))
    with pytest.raises(ValueError, match=r'are axes exchanged, or is this an image.*"trust": true'):
        read(path)
    assert read(path, describe(path, trust=True)).shape == (64, 64)
    middle = np.hypot(*np.indices((64, 64)) - 31.5) < 20
    saved(path, middle * (1 + 0.1j) + 1e-3)
    with pytest.raises(ValueError, match="expected k-space with a strong middle"):
        read(path)


def test_k_space_with_its_origin_in_the_corner_is_moved(tmp_path: Path) -> None:
    path = saved(tmp_path / "k.npy", np.fft.ifftshift(FULL[0], (1, 2)))
    kspace = read(path, describe(path, axes=["coil", "row", "column"], centre="corner"))
    np.testing.assert_array_equal(kspace.values, FULL[:1])


def test_oversampling_that_is_named_is_removed(tmp_path: Path) -> None:
    path = saved(tmp_path / "k.npy", FULL[0])
    kspace = read(path, describe(path, axes=["coil", "row", "column"], oversampling=2))
    assert kspace.shape == (24, 16)


@pytest.mark.parametrize(("text", "sentence"), [
    ("{", "expected JSON"),
    ("[]", "one JSON object"),
    ('{"pixels": 1}', "found 'pixels'"),
    ('{"pixel_mm": 1}', "two positive numbers"),
    ('{"pixel_mm": [1, 0]}', "two positive numbers"),
    ('{"axes": ["row", "row", "column"]}', "each once"),
    ('{"axes": ["coil", "row"]}', "row, column and others"),
    ('{"oversampling": NaN}', "a positive number as oversampling"),
    ('{"contrast": -1}', "a whole number of at least 0"),
    ('{"centre": "left"}', "'middle' or 'corner'"),
    ('{"trust": 1}', "true or false"),
    ('{"ijk_to_ras": [[1, 0], [0, 1]]}', "four rows of four numbers"),
    ('{"mask": ""}', "a text as mask"),
])
def test_descriptions_are_checked(text: str, sentence: str, tmp_path: Path) -> None:
    place = tmp_path / "k.json"
    place.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        read_description(place)


def test_a_described_matrix_gives_place_and_sizes(tmp_path: Path) -> None:
    path = saved(tmp_path / "k.npy", FULL[0])
    matrix = [[-1.0, 0, 0, 5], [0, -1.5, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]]
    kspace = read(path, describe(path, axes=["coil", "row", "column"], ijk_to_ras=matrix))
    assert (kspace.pixel_mm, kspace.slice_spacing_mm) == ((1.5, 1.0), 4)
    np.testing.assert_array_equal(kspace.ijk_to_ras, matrix)
    assert kspace.remarks == ()


def test_damaged_arrays_are_refused(tmp_path: Path) -> None:
    for name in ("k.npy", "k.npz", "k.mat"):
        path = tmp_path / name
        if name == "k.npy":
            saved(path, FULL[0])
        elif name == "k.npz":
            np.savez(path, k=FULL[0])
        else:
            from scipy.io import savemat

            savemat(path, {"k": FULL[0]})
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(ValueError, match=r"expected whole arrays in .* copy it again") as caught:
            read(path, describe(path, axes=["coil", "row", "column"]))
        assert "\n" not in str(caught.value)
    np.save(tmp_path / "k.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="expected whole arrays"):
        read(tmp_path / "k.npy")


def test_every_key_of_a_description_is_documented_and_the_example_is_right(tmp_path: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = [row for row in text.partition("## The description")[2].splitlines() if row.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in rows))) == set(KEYS)
    (example,) = re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)
    (tmp_path / "k.json").write_text(example, encoding="utf-8")
    assert read_description(tmp_path / "k.json").mask == "nonzero"


def test_signal_in_what_was_cut_off_as_oversampling_is_told(tmp_path: Path) -> None:
    """The disc fills most of the readout; with air beside it, or read twice as wide, nothing is said."""
    path = saved(tmp_path / "k.npy", FULL)
    axes = ["slice", "coil", "row", "column"]
    wrong = read(path, describe(path, axes=axes, pixel_mm=[1, 1], oversampling=2))
    told = [remark.sentence for remark in wrong.remarks if remark.kind == "signal_cut"]
    assert len(told) == 1
    assert re.search(r"oversampling \(2\) held [1-9]\d % of the signal", told[0])
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(FULL, -1), axis=-1), -1)
    wide = np.pad(image, [(0, 0)] * 3 + [(16, 16)])
    noise = np.random.default_rng(0).normal(size=(2, *wide.shape)) * np.abs(wide).max() / 30
    wide = wide + noise[0] + 1j * noise[1]
    both = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(wide, -1), axis=-1), -1).astype(np.complex64)
    path = saved(tmp_path / "wide.npy", both)
    right = read(path, describe(path, axes=axes, pixel_mm=[1, 1], oversampling=2))
    assert "signal_cut" not in {remark.kind for remark in right.remarks}
