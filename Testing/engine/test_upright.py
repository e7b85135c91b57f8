"""The patient's axes: turned upright and back for every storage order, square pixels, factors by axis."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_engine.classical.fbp import fbp
from diffusion_engine.evaluation import evaluate
from diffusion_engine.evaluation.calibrate import chosen_volumes
from diffusion_engine.io.images import write_volume
from diffusion_engine.modalities.ct.entry import CT
from diffusion_engine.modalities.ct.problem import prepare
from diffusion_engine.modalities.ct.simulate import simulate
from diffusion_engine.modalities.grids import binning, binnings
from diffusion_engine.orientation import (
    RAS_OF_AXIAL,
    axial_squares,
    has_square_pixels,
    square_pixels,
    turn_of,
    upright,
)
from diffusion_engine.priors.library import load_prior
from diffusion_engine.priors.neighbours import DownwardStack, StackDenoiser
from diffusion_engine.priors.slices import resample, working_pixels
from diffusion_engine.run import draws as diffusion
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import WATER_PER_MM, Volume

CPU = torch.device("cpu")
ORDERS = [
    (axes, flips)
    for axes in itertools.permutations(range(3))
    for count in range(4) for flips in itertools.combinations(range(3), count)
]


def standing(shape: tuple[int, int, int] = (3, 4, 5), spacing: tuple[float, ...] = (0.7, 0.9, 2.5)) -> Volume:
    """A standard axial stack whose voxels are all different, ``spacing`` along columns, rows, slices."""
    matrix = np.eye(4)
    matrix[:3, :3] = RAS_OF_AXIAL * spacing
    matrix[:3, 3] = (80.0, 60.0, -40.0)
    return Volume(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), matrix, "HU")


def stored(volume: Volume, axes: tuple[int, ...], flips: tuple[int, ...]) -> Volume:
    """The same voxels at the same places in another storage order."""
    array = np.flip(np.transpose(volume.array, axes), flips)
    matrix = volume.ijk_to_ras.copy()
    matrix[:, :3] = volume.ijk_to_ras[:, [2 - axes[2], 2 - axes[1], 2 - axes[0]]]
    for axis in flips:
        matrix[:, 3] += matrix[:, 2 - axis] * (array.shape[axis] - 1)
        matrix[:, 2 - axis] *= -1
    return Volume(np.ascontiguousarray(array), matrix, volume.unit)


def turned_about(volume: Volume, degrees: float, axis: int = 0) -> Volume:
    """The grid turned in space about a patient axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    a, b = [n for n in range(3) if n != axis]
    turn = np.eye(4)
    turn[[a, a, b, b], [a, b, a, b]] = (c, -s, s, c)
    return Volume(volume.array, turn @ volume.ijk_to_ras, volume.unit)


@pytest.mark.parametrize(("axes", "flips"), ORDERS)
def test_every_storage_order_is_turned_to_the_same_stack_and_back(
    axes: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    wanted = standing()
    other = turned_about(stored(wanted, axes, flips), 12)
    found, turn = upright(other)
    np.testing.assert_array_equal(found.array, wanted.array)
    np.testing.assert_allclose(found.ijk_to_ras, turned_about(wanted, 12).ijk_to_ras, atol=1e-9)
    assert found.array.dtype == np.int16
    np.testing.assert_array_equal(turn.apply(other.array), found.array)
    np.testing.assert_array_equal(turn.undo(found.array), other.array)
    assert turn.axial == (axes == (0, 1, 2))
    assert turn.downward == (turn.axial and 0 in flips)
    assert turn.tilt_degrees == pytest.approx(12)


def test_an_upright_volume_is_itself_and_an_oblique_one_is_refused() -> None:
    volume = standing()
    assert upright(volume)[0] is volume
    assert upright(turned_about(volume, 30))[1].axial
    oblique = turned_about(turned_about(volume, 40), 40, 1)
    assert turn_of(oblique).oblique
    with pytest.raises(ValueError, match=r"expected axes within 45 degrees .*: reformat"):
        upright(oblique)


def test_pixels_become_square_by_means_at_their_places() -> None:
    """Twice as fine: the mean of two; otherwise the mean of what a pixel covers; the middle stays where it was."""
    values = np.random.default_rng(0).normal(size=(2, 6, 9))
    fine = Volume(values, np.diag([-1.0, -2.0, 3.0, 1.0]), "HU")
    found = square_pixels(fine)
    wanted = np.stack([_mean(values, 0.5 + 2 * n, 2) for n in range(4)], -1)
    np.testing.assert_allclose(found.array, wanted, atol=1e-6)
    assert found.spacing_mm == pytest.approx((2, 2, 3))
    assert found.array.dtype == np.float32
    other = square_pixels(Volume(values, np.diag([-2.5, -1.0, 3.0, 1.0]), "HU"))
    assert other.array.shape == (2, 2, 9)
    np.testing.assert_allclose(other.array[:, 0], _mean(values.swapaxes(1, 2), 0.5, 2.5), atol=1e-6)
    for before, after in ((fine, found), (Volume(values, np.diag([-2.5, -1.0, 3.0, 1.0]), "HU"), other)):
        middle = [(n - 1) / 2 for n in after.array.shape[::-1]]
        whole = [(n - 1) / 2 for n in before.array.shape[::-1]]
        np.testing.assert_allclose(after.ijk_to_ras @ [*middle, 1], before.ijk_to_ras @ [*whole, 1], atol=1e-9)
    nearly = Volume(values, np.diag([-1.0, -1.005, 3.0, 1.0]), "HU")
    assert has_square_pixels(nearly)
    assert square_pixels(nearly) is nearly
    with pytest.raises(ValueError, match="ratio of 20"):
        square_pixels(Volume(values, np.diag([-1.0, -20.0, 3.0, 1.0]), "HU"))


def _mean(values: np.ndarray, start: float, width: float) -> np.ndarray:
    """Mean of the last axis over [start, start + width) in pixels."""
    edges = np.arange(values.shape[-1])
    weights = np.clip(np.minimum(edges + 1, start + width) - np.maximum(edges, start), 0, None)
    return (values * weights).sum(-1) / width


def test_what_training_sees() -> None:
    cube = standing(spacing=(2.0, 2.0, 2.0))
    for axes, flips in ORDERS:
        found, made = axial_squares(stored(cube, axes, flips))
        np.testing.assert_array_equal(found.array, cube.array)
        assert made == ("" if axes == (0, 1, 2) else "axial slices of another stack")
    sagittal = stored(standing(spacing=(3.0, 1.0, 1.0)), (2, 0, 1), ())
    with pytest.raises(ValueError, match=r"axial slices have pixels of 1 x 3 mm: reformat"):
        axial_squares(sagittal)
    coarse, made = axial_squares(standing((2, 8, 8), (1.0, 2.0, 3.0)))
    assert coarse.array.shape == (2, 8, 4)
    assert made == "pixels of 2 x 1 mm averaged to squares of 2 mm"


def test_factors_follow_each_axis_and_square_pixels_have_one() -> None:
    assert binnings((0.7, 3.0, 5.0), 1.25) == (1, 2)
    assert binnings((3.0, 0.7, 5.0), 1.25) == (2, 1)
    for pixel in (0.3, 0.625, 0.7, 1.25):
        assert binnings((pixel, pixel), 1.25) == (binning(pixel, 1.25),) * 2
    # A rounding error never makes one axis coarser than the other.
    assert binnings((0.98, 0.98 * (1 - 1e-6)), 1.0) == (2, 2)
    assert binnings((0.98 * (1 - 1e-6), 0.98), 1.0) == (2, 2)


def test_blocks_follow_each_axis() -> None:
    volume = Volume(np.random.default_rng(0).normal(size=(2, 7, 6)), np.diag([-0.7, -3.0, 5.0, 1.0]), "HU")
    binned = volume.bin_in_plane((1, 2))
    np.testing.assert_allclose(binned.array, volume.array.reshape(2, 7, 3, 2).mean(3))
    assert binned.spacing_mm == pytest.approx((1.4, 3.0, 5.0))
    np.testing.assert_allclose(binned.ijk_to_ras @ [0, 0, 0, 1], volume.ijk_to_ras @ [0.5, 0, 0, 1])
    one, both = volume.bin_in_plane(3), volume.bin_in_plane((3, 3))
    np.testing.assert_array_equal(one.array, both.array)
    np.testing.assert_array_equal(one.ijk_to_ras, both.ijk_to_ras)
    for wrong in ((8, 1), (1, 7), (0, 1)):
        with pytest.raises(ValueError, match="expected a factor"):
            volume.bin_in_plane(wrong)


def test_resampling_averages_along_the_axis_that_shrinks() -> None:
    """Stripes finer than the new pixels have their mean, whichever axis they run along; square ones are as before."""
    stripes = torch.zeros(1, 24, 24)
    stripes[:, :, ::3] = 3.0
    for images, size in ((stripes, (24, 8)), (stripes.transpose(1, 2), (8, 24)), (stripes, (30, 8))):
        middle = resample(images, *size)[:, 2:-2, 2:-2]
        torch.testing.assert_close(middle, torch.full_like(middle, 1.0), atol=0.12, rtol=0)
    image = torch.rand(1, 24, 24, generator=torch.Generator().manual_seed(0))
    for size in ((12, 12), (36, 36)):
        plain = torch.nn.functional.interpolate(image[:, None], size, mode="bilinear", antialias=size[0] < 24)[:, 0]
        assert torch.equal(resample(image, *size), plain)


def test_a_prior_works_on_square_pixels() -> None:
    card = load_prior("ct-body", CPU).card
    low, high = card.pixel_mm
    assert working_pixels((low, low * 3), card) == (low, low)
    assert working_pixels((3 * high, 0.7 * low), card) == (low, low)
    assert working_pixels((low * 1.1, low * 1.1), card) == (low * 1.1, low * 1.1)


def oval(rows: int, columns: int, spacing: tuple[float, float, float]) -> Volume:
    """An off-centre oval of soft tissue about 60 mm wide in two slices, ``spacing`` along columns, rows, slices."""
    y, x = np.mgrid[:rows, :columns]
    y, x = (y - rows / 2) * spacing[1], (x - columns / 2) * spacing[0]
    image = np.where(((x - 5) / 32) ** 2 + (y / 20) ** 2 < 1, 40.0, -1000.0).astype(np.float32)
    return Volume(np.stack([image, image]), np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]), "HU")


def test_pixels_that_are_not_square_are_scanned_and_reconstructed_by_axis() -> None:
    """0.75 x 3 mm becomes 1.5 x 3 mm; the same rays as of square pixels of 0.75 mm; the way back fits the input."""
    chest = oval(24, 112, (0.75, 3.0, 10.0))
    settings = Settings(views=60, methods=("fbp",), device="cpu", noise_percent=0.01)
    card = load_prior("ct-body", CPU).card
    problem = prepare(chest, settings, CPU, card)
    assert problem.delivered.grid.shape == (24, 56)
    assert problem.delivered.grid.pixel_mm == pytest.approx((3.0, 1.5))
    assert problem.prior.grid.pixel_mm == pytest.approx((1.5, 1.5), rel=0.02)
    assert problem.prior.grid.shape == (48, 56)
    system = problem.delivered
    image = fbp(system.data, system.geometry, system.grid)[0].numpy() / WATER_PER_MM * 1000 - 1000
    y, x = np.mgrid[:24, :56]
    inside = ((1.5 * (x - 28) - 5) / 26) ** 2 + (3 * (y - 12) / 14) ** 2 < 1
    assert image[inside].mean() == pytest.approx(40, abs=5)
    assert any("1 times as tall and 2 times as wide as the input's (3.00 x 1.50 mm)" in note for note in problem.notes)
    assert problem.frame.spacing_mm == pytest.approx((1.5, 3.0, 10.0))
    square = Volume(chest.array.repeat(4, 1), chest.ijk_to_ras @ np.diag([1, 0.25, 1, 1]), "HU")
    other = prepare(square, settings, CPU, None)
    assert other.delivered.geometry.detector_spacing_mm == pytest.approx(system.geometry.detector_spacing_mm)
    ours, theirs = (own.data.sum(-1) * own.geometry.detector_spacing_mm for own in (system, other.delivered))
    torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=0)
    region = reconstruct(chest, {
        "views": 12, "methods": ["fbp"], "device": "cpu", "noise_percent": 0.05, "slices": [0, 1],
        "region": [50, 71, 5, 18],
    })
    part, frame = region.volumes["fbp"], problem.frame
    assert part.array.shape == (1, 13, 11)
    np.testing.assert_allclose(part.ijk_to_ras @ [0, 0, 0, 1], frame.ijk_to_ras @ [25, 5, 0, 1], atol=1e-6)


def test_sagittal_stacks_are_not_flipped_by_rounding() -> None:
    """Their columns are perpendicular to the patient's left; a remark says what they are, and nothing is turned."""
    settings = Settings(views=6, methods=("fbp",), device="cpu", pixel_mm=8.0)
    cube = ball()
    for degrees, flips in ((0.0, ()), (1e-6, ()), (-1e-6, ()), (0.0, (1,)), (0.0, (2,))):
        sagittal = turned_about(stored(cube, (2, 0, 1), flips).crop(slices=(8, 9)), degrees, 2)
        problem = prepare(sagittal, settings, CPU, None)
        assert problem.flips == ()
        assert any("not axial" in note for note in problem.notes)
    for flips in ((), (0,), (1,), (2,), (1, 2)):
        axial = stored(cube, (0, 1, 2), flips).crop(slices=(8, 9))
        problem = prepare(axial, settings, CPU, None)
        assert problem.flips == tuple(axis for axis in flips if axis > 0)
        assert not any("not axial" in note for note in problem.notes)


def ball(size: int = 16, spacing: float = 8.0) -> Volume:
    """A ball of soft tissue with a dense corner in a cube of air."""
    k, j, i = np.mgrid[:size, :size, :size] - (size - 1) / 2
    image = np.where(k**2 + j**2 + i**2 < (0.4 * size) ** 2, 40.0, -1000.0)
    image[(k > 1) & (j > 1) & (i > 1) & (image > 0)] = 200.0
    return Volume(image.astype(np.float32), standing(spacing=(spacing,) * 3).ijk_to_ras, "HU")


def test_simulation_of_one_factor_is_that_of_two_equal_ones() -> None:
    small = ball().crop(slices=(7, 8))
    for factor in (1, 2):
        one, two = (simulate(small, Settings(views=6), f) for f in (factor, (factor, factor)))
        np.testing.assert_array_equal(one.measurement.values, two.measurement.values)


def test_a_stack_from_superior_to_inferior_sees_its_neighbours_the_right_way_round() -> None:
    class Below:
        """Says of every slice what lies below it."""

        sigma_data = 0.5

        def __call__(self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
            assert condition is not None
            return condition[:, 2:3] * (float(sigma) ** 2 + 0.25) ** 0.5

    rising = torch.arange(1.0, 6.0)[:, None, None, None].expand(-1, 1, 4, 4)
    stack, place, level = StackDenoiser(Below(), 5.0), torch.zeros(2, 4, 4), torch.tensor(0.1)
    torch.testing.assert_close(stack(rising, level, place)[:, 0, 0, 0], torch.tensor([0.0, 1, 2, 3, 4]))
    falling = DownwardStack(stack)(rising.flip(0), level, place)
    torch.testing.assert_close(falling.flip(0)[:, 0, 0, 0], torch.tensor([0.0, 1, 2, 3, 4]))


def test_evaluation_and_calibration_take_the_same_slices_of_every_storage_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(CT, cases=replace(CT.cases, smallest_matrix=16))
    cube = ball()
    orders = {"a": ((0, 1, 2), ()), "b": ((0, 1, 2), (0, 1)), "c": ((2, 0, 1), (2,))}
    for name, (axes, flips) in orders.items():
        (tmp_path / name).mkdir()
        write_volume(stored(cube, axes, flips), tmp_path / name / "ct.nrrd")
    oblique = turned_about(turned_about(cube, 40), 40, 1)
    (tmp_path / "d").mkdir()
    write_volume(oblique, tmp_path / "d" / "ct.nrrd")
    items, skipped = evaluate.find_items(tmp_path, small)
    assert [item.name for item in items] == [
        "a/ct.nrrd", "b/ct.nrrd", "c/ct.nrrd (axial slices of another stack)",
    ]
    for item in items:
        np.testing.assert_array_equal(item.volume.array, cube.array[list(item.indices)])
    assert len(skipped) == 1
    assert "within 45 degrees" in skipped[0]
    for _, volume in chosen_volumes(tmp_path, ["a", "b", "c"], CT):
        np.testing.assert_array_equal(volume.array, cube.array)
    with pytest.raises(ValueError, match=r"no volume of CT in HU called d below .*left out: d/ct\.nrrd: .*45 degrees"):
        chosen_volumes(tmp_path, ["a", "d"], CT)


@pytest.mark.parametrize(("coupling", "flips", "turned"), [
    ("neighbours", (), False), ("neighbours", (1,), False), ("neighbours", (0,), True), ("none", (0,), False),
])
def test_a_run_turns_a_downward_stack_for_a_prior_of_neighbours(
    coupling: str, flips: tuple[int, ...], turned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def watched(denoiser):
        asked.append(denoiser)
        return DownwardStack(denoiser)

    monkeypatch.setattr(diffusion, "DownwardStack", watched)
    prior = load_prior("ct-body-stack" if coupling == "neighbours" else "ct-body", CPU)
    settings = Settings(
        views=6, draws=1, steps=2, methods=("diffusion",), device="cpu", pixel_mm=8.0, coupling=coupling,
        prior=prior.card.name, sigma_start=0.3,
    )
    problem = prepare(stored(ball(), (0, 1, 2), flips).crop(slices=(7, 9)), settings, CPU, prior.card)
    surrogate = torch.zeros(2, *problem.delivered.grid.shape)
    *_, last = diffusion.diffusion_draws(problem, settings, prior, slice(0, 2), surrogate)
    assert bool(asked) == turned
    assert bool(torch.isfinite(last.estimate).all())
