"""PET from the scan to the system: geometry, units, counts, attenuation, groups of readings, the scan made again."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_engine.io.images import write_volume
from diffusion_engine.modalities.pet.fingerprint import PETFingerprint
from diffusion_engine.modalities.pet.placing import of_slices
from diffusion_engine.modalities.pet.scan import MAP_UNITS, TUBE_KVP, PETScan
from diffusion_engine.modalities.pet.trust import body, covariates_of, typical_scans
from diffusion_engine.modalities.pet.unit_question import question_pet
from diffusion_engine.modalities.table import MODALITIES, recognised
from diffusion_engine.physics.attenuation import BONE, WATER_PER_MM
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.volume import Volume
from pet_scans import asked, error, problem, sinogram, torso

PET = MODALITIES["pet"]


def early(ready) -> Volume:
    return ready.deliver(ready.scale.from_network(ready.delivered.start()).numpy())


def test_many_counts_are_the_volume_in_its_own_unit_and_place() -> None:
    """Bq/mL and SUV alike: the same image, the unit of the input, its place, and a network unit in proportion."""
    units = {}
    for unit in ("Bq/mL", "SUV"):
        volume = torso(unit=unit)
        ready = problem(volume, counts=50.0, psf_mm=0.0)
        image = early(ready)
        np.testing.assert_allclose(image.ijk_to_ras, volume.ijk_to_ras, atol=1e-9)
        assert image.unit == unit
        assert error(image.array, volume.array) < 0.25
        assert float(image.array.sum()) == pytest.approx(float(volume.array.sum()), rel=0.03)
        units[unit] = ready.scale.scale
    assert units["Bq/mL"] == pytest.approx(5000 * units["SUV"], rel=1e-3)


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)])
@pytest.mark.parametrize("exchanged", [False, True])
def test_the_input_s_direction_of_axes_comes_back(axes: tuple[int, ...], exchanged: bool) -> None:
    """Turned stacks are solved upright and delivered as they came: the same image to the noise of many counts."""
    volume = torso()
    array, place = volume.array, volume.ijk_to_ras.copy()
    if exchanged:
        array, place = array.swapaxes(1, 2), place[:, [1, 0, 2, 3]]
    for axis in axes:
        place[:, 3] += place[:, 2 - axis] * (array.shape[axis] - 1)
        place[:, 2 - axis] *= -1
    turned = Volume(np.ascontiguousarray(np.flip(array, axes)), place, "Bq/mL")
    ready = problem(turned, counts=50.0, attenuated=False)
    assert ready.exchanged == exchanged
    assert ready.reference is not None
    np.testing.assert_allclose(ready.reference, volume.array, rtol=1e-5)
    image = early(ready)
    np.testing.assert_allclose(image.ijk_to_ras, place, atol=1e-9)
    assert error(image.array, turned.array) < 0.3
    upright = early(problem(volume, counts=50.0, attenuated=False))
    back = image.array
    back = np.flip(back, axes)
    back = back.swapaxes(1, 2) if exchanged else back
    assert error(back, upright.array) < 0.05


def test_counts_are_those_that_are_asked_for() -> None:
    """Of each slice, with the background in percent of them; the calibration says what a Bq/mL gives."""
    found = sinogram(torso(2), counts=0.2, background_percent=50.0)
    assert found.background is not None
    trues = (found.prompts - found.background).sum((1, 2))
    np.testing.assert_allclose(trues, 2e5, atol=5 * math.sqrt(3e5))
    np.testing.assert_allclose(found.background.sum((1, 2)), 1e5, rtol=1e-4)
    ready = problem(torso(2), counts=0.2)
    expected = ready.delivered.measured.operator.forward(torch.from_numpy(torso(2).array)).sum((1, 2))
    np.testing.assert_allclose(expected.numpy(), 2e5, rtol=0.02)
    assert ready.delivered.acquisition.counts == pytest.approx(0.2, rel=0.02)
    assert ready.delivered.acquisition.background_percent == pytest.approx(30, rel=0.05)


def test_noise_is_poisson_s_and_a_slice_s_own() -> None:
    """Variance over realisations equals the mean; a slice chosen alone has the counts that it has in the stack."""
    ready = problem(counts=0.02)
    assert ready.reference is not None
    clean = ready.network(ready.reference)
    made = torch.stack([ready.delivered.observed(clean, Noise(n, 0, "rescan")).measured.data for n in range(40)])
    assert float(made.var(0).sum() / made.mean(0).sum()) == pytest.approx(1, abs=0.03)
    first, second = (sinogram(counts=0.02, seed=n).prompts for n in range(2))
    assert float(((first - second) ** 2).sum() / (first + second).sum()) == pytest.approx(1, abs=0.1)
    whole = sinogram(torso(2)).prompts
    np.testing.assert_array_equal(sinogram(torso(2), slices=(1, 2)).prompts[0], whole[1])
    np.testing.assert_array_equal(of_slices(sinogram(torso(2)), 1, 2).prompts[0], whole[1])


def test_a_sinogram_stands_for_its_volume() -> None:
    """Written, recognised before MRI, read again: the same image on the grid of the volume."""
    found = sinogram()
    ready, direct = problem(found), problem()
    assert ready.reference is None
    np.testing.assert_allclose(ready.frame.ijk_to_ras, direct.frame.ijk_to_ras, atol=1e-9)
    torch.testing.assert_close(ready.delivered.start(), direct.delivered.start())
    assert ready.scale == direct.scale


def test_files_of_counts_are_not_taken_for_k_space(tmp_path: Path) -> None:
    name, description = PET.files.write(sinogram(), tmp_path)
    assert description is None
    assert recognised(tmp_path / name).name == "pet"
    np.save(tmp_path / "array.npy", np.zeros((2, 4, 4)))
    assert recognised(tmp_path / "array.npy").name == "mri"


def test_counts_of_an_unknown_place_and_unit_are_said_to_be() -> None:
    bare = replace(
        sinogram(), ijk_to_ras=None, facts={}, counts_per_bq=None, background=None, attenuation=None, efficiency=None
    )
    ready = problem(bare)
    kinds = {remark.kind for remark in ready.remarks}
    assert {"background", "attenuation", "relative"} <= kinds
    assert ready.frame.unit == "a.u."
    assert any("shown as axial ones" in note for note in ready.notes)
    assert ready.delivered.grid.pixel_mm == (bare.bin_mm, bare.bin_mm)


def test_few_counts_and_much_background_are_remarked() -> None:
    found = sinogram(counts=0.0005, background_percent=500.0)
    kinds = {remark.kind for remark in problem(replace(found, remarks=())).remarks}
    assert kinds == {"high_background"}
    assert "few_counts" in {r.kind for r in problem(sinogram(counts=0.0001, angles=180)).remarks}


def test_dead_bins_say_nothing_whatever_they_hold() -> None:
    found = sinogram()
    efficiency = np.ones(found.prompts.shape, np.float32) * found.efficiency
    efficiency[:, 5:9, 10:30] = 0
    prompts, wild = found.prompts.copy(), found.prompts.copy()
    prompts[:, 5:9, 10:30], wild[:, 5:9, 10:30] = 0, 900
    clean, given = (problem(replace(found, prompts=own, efficiency=efficiency)) for own in (prompts, wild))
    torch.testing.assert_close(given.delivered.start(), clean.delivered.start())
    likelihood, _ = given.delivered.physical(given.delivered.start())
    assert bool(torch.isinf(likelihood.variance[:, 5:9, 10:30]).all())
    assert int(torch.isinf(likelihood.variance).sum()) == 80


def test_a_ct_beside_gives_the_attenuation(tmp_path: Path) -> None:
    """Of HU and of 1/mm, on another grid, which is said; of the wrong unit or without one it is refused."""
    volume = torso()
    inside = body(volume.array)
    hu = Volume(np.where(inside, 0.0, -1000.0).astype(np.float32), volume.ijk_to_ras, "HU")
    mu = Volume((inside * WATER_PER_MM).astype(np.float32), volume.ijk_to_ras, "1/mm")
    survivals = []
    for unit, given in (("HU", hu), ("1/mm", mu)):
        path = tmp_path / f"map_{len(unit)}.nrrd"
        write_volume(given, path)
        survivals.append(sinogram(attenuation_map=str(path), attenuation_unit=unit).attenuation)
    np.testing.assert_allclose(survivals[0], survivals[1], atol=1e-4)
    np.testing.assert_allclose(survivals[1], sinogram().attenuation, atol=1e-4)
    # Measured counts without their own get those of the map.
    ready = problem(replace(sinogram(), attenuation=None), attenuation_map=str(path), attenuation_unit="1/mm")
    assert ready.delivered.acquisition.attenuated
    assert not any(remark.kind == "attenuation" for remark in ready.remarks)
    factors = ready.delivered.measured.operator.factors
    ratio = factors / problem().delivered.measured.operator.factors
    assert float((ratio - 1).abs().max()) < 0.12
    shifted = volume.ijk_to_ras.copy()
    shifted[0, 3] += 3.0
    write_volume(Volume(mu.array, shifted, "1/mm"), path)
    notes = problem(attenuation_map=str(path), attenuation_unit="1/mm").notes
    assert any("resampled to the grid" in note for note in notes)
    with pytest.raises(ValueError, match="expected a map in HU as attenuation_unit says, found 1/mm"):
        problem(attenuation_map=str(path), attenuation_unit="HU")
    write_volume(Volume(mu.array, volume.ijk_to_ras, "a.u."), path)
    with pytest.raises(ValueError, match="give HU or 1/mm as attenuation_unit"):
        problem(attenuation_map=str(path))
    with pytest.raises(ValueError, match="expected a CT in HU in"):
        problem(attenuation_map=str(path), attenuation_unit="HU")
    write_volume(Volume(10 * mu.array, volume.ijk_to_ras, "1/mm"), path)
    with pytest.raises(ValueError, match="divide the map by 10"):
        problem(attenuation_map=str(path), attenuation_unit="1/mm")
    with pytest.raises(ValueError, match="found nothing: check attenuation_map"):
        problem(attenuation_map=str(tmp_path / "none.nrrd"))


def test_without_a_map_the_body_is_water_and_that_is_said() -> None:
    notes = problem().notes
    assert any("taken as water" in note for note in notes)
    found = sinogram()
    assert found.attenuation is not None
    width = body(torso().array)[0].sum(1).max() * 11.0
    assert float(found.attenuation.min()) == pytest.approx(math.exp(-WATER_PER_MM * width), rel=0.35)
    assert sinogram(attenuated=False).attenuation is None


def test_the_scan_is_made_again_with_its_noise() -> None:
    system = problem().delivered
    clean = system.start()
    again = system.observed(clean, Noise(3, 0, "rescan"))
    mean = system.measured.mean(clean * system.unit)
    left = (again.measured.data - mean) / mean.clamp_min(1e-3).sqrt()
    assert float(left[mean > 1].square().mean()) == pytest.approx(1, abs=0.1)
    assert float(again.groups(clean).mean()) == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(system.with_data(again.data).measured.data, again.measured.data)


def test_slices_keep_their_own_factors() -> None:
    """Likelihood, stand-in and classical images of a part of the stack are those of the stack."""
    ready = problem(torso(2))
    whole, part = ready.delivered, ready.delivered.select(slice(1, 2))
    x = whole.start()
    torch.testing.assert_close(part.start(), x[1:])
    torch.testing.assert_close(part.likelihood.misfit(x[1:]), whole.likelihood.misfit(x)[1:])
    near = whole.local_gaussian(x).select(torch.tensor([1]))
    torch.testing.assert_close(near.proximal(x[1:], 0.01), part.local_gaussian(x[1:]).proximal(x[1:], 0.01))
    assert not torch.allclose(whole.measured.operator.factors[0], whole.measured.operator.factors[1])


def test_a_data_step_follows_its_own_estimate() -> None:
    """Wherever the stand-in was made, the step is that of the counts near the estimate: no step at their maximum."""
    system = problem(counts=0.05).delivered
    x = system.start()
    near, far = system.local_gaussian(x), system.local_gaussian(3 * x + 0.1)
    torch.testing.assert_close(near.proximal(x, 0.01), far.proximal(x, 0.01))
    torch.testing.assert_close(near.proximal(x, 0.01), system.likelihood.local_gaussian(x).proximal(x, 0.01))
    plain = system.likelihood.local_gaussian(3 * x + 0.1).proximal(x, 0.01)
    assert not torch.allclose(plain, near.proximal(x, 0.01), rtol=0.01)


def test_penalised_and_filtered_images_are_better_than_early_ones_without_a_filter() -> None:
    ready = problem(counts=0.05)
    reference = ready.reference
    assert reference is not None
    made = {name: ready.scale.from_network(ready.classical(name, PETScan().iterations(name))).numpy()
            for name in ("osem", "rdp")}
    best = {name: oracle(ready.delivered, reference)[0] for name, oracle in PET.oracles.items()}
    errors = {name: error(image, reference) for name, image in {**made, **best}.items()}
    assert errors["osem-oracle"] <= errors["osem"]
    assert errors["rdp-oracle"] < 1.1 * errors["rdp"]
    assert max(errors.values()) < 0.5
    assert min(image.min() for image in made.values()) >= 0


def test_the_air_around_a_patient_does_not_change_what_a_penalty_s_weight_means() -> None:
    """A field of view twice as wide: the penalised image hardly changes."""
    narrow = torso()
    wide = Volume(np.pad(narrow.array, ((0, 0), (20, 20), (20, 20))), narrow.ijk_to_ras, narrow.unit)
    images = []
    for volume in (narrow, wide):
        ready = problem(volume, counts=1.0)
        last = deque(ready.delivered.penalised(500.0, 20), 1).pop()
        images.append(ready.scale.from_network(last).numpy()[0])
    assert error(images[1][20:-20, 20:-20], images[0]) < 0.05


def test_oracles_say_what_they_chose() -> None:
    ready = problem(torso(2), counts=0.05)
    assert ready.reference is not None
    _, osem = PET.oracles["osem-oracle"](ready.delivered, ready.reference)
    _, rdp = PET.oracles["rdp-oracle"](ready.delivered, ready.reference)
    assert {len(values) for values in (*osem.values(), *rdp.values())} == {2}
    assert all(rdp["weight_is_inside"])


def test_fingerprints() -> None:
    made = PETFingerprint.of(problem())
    assert made.fits(PETFingerprint.stored(made.entry()))
    assert (made.angles, made.psf_mm, made.attenuated, made.resampled) == (40, 6.0, True, False)
    for name, near, far in (
        ("counts", made.counts * 1.45, made.counts * 1.6), ("angles", 70, 90), ("psf_mm", 7.5, 8.5),
        ("background_percent", made.background_percent + 25, made.background_percent + 35),
    ):
        assert made.fits(replace(made, **{name: near})), name
        assert not made.fits(replace(made, **{name: far})), name
    assert not made.fits(replace(made, attenuated=False))
    assert made.offset(replace(made, counts=made.counts * 3)) == pytest.approx(-math.log(3))
    assert made.offset(replace(made, resampled=True)) is None
    with pytest.raises(ValueError, match="counts"):
        PETFingerprint.stored({**made.entry(), "counts": 0})


def test_covariates_know_counts_within_the_range_of_their_fit() -> None:
    assert covariates_of(0.2) == pytest.approx(0.0)
    assert covariates_of(0.4) - covariates_of(0.2) == pytest.approx(math.log(2))
    assert covariates_of(1e-3) == covariates_of(0.02)
    scans = [PETScan(**scan) for scan in typical_scans(np.random.default_rng(0))]
    assert all(0.02 <= scan.counts <= 2 for scan in scans)
    assert PET.in_words({"counts": 0.025}) == "0.025 million counts a slice"


def test_tables_of_the_settings_are_those_of_the_physics() -> None:
    assert tuple(BONE) == TUBE_KVP
    assert MAP_UNITS == ("HU", "1/mm")


@pytest.mark.parametrize("wrong", [
    {"counts": 0}, {"counts": float("nan")}, {"angles": 1}, {"bins": 3}, {"bin_mm": 0.0}, {"psf_mm": -1.0},
    {"background_percent": -1.0}, {"duration_s": 0.0}, {"attenuated": 1}, {"attenuation_map": ""},
    {"attenuation_unit": "1/cm"}, {"attenuated": False, "attenuation_map": "ct.nrrd"}, {"tube_kvp": 90},
    {"osem_subsets": 0}, {"rdp_weight": 0.0},
])
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        PETScan(**wrong)


def test_what_cannot_be_pet_is_refused() -> None:
    volume = torso()
    ct = volume.with_array(volume.array / 10 - 1000)
    with pytest.raises(ValueError, match="is it a CT or another image"):
        problem(ct)
    with pytest.raises(ValueError, match="choose the PET, not the CT"):
        problem(Volume(ct.array, ct.ijk_to_ras, "HU"))
    with pytest.raises(ValueError, match="holds no activity"):
        problem(Volume(np.concatenate([volume.array, 0 * volume.array]), volume.ijk_to_ras, "Bq/mL"))
    with pytest.raises(ValueError, match="expected a Volume or a Sinogram"):
        problem(np.zeros((1, 40, 40)))
    with pytest.raises(ValueError, match="too few to scan"):
        problem(Volume(volume.array[:, :10], volume.ijk_to_ras, "Bq/mL"))
    assert PET.question(volume.with_array(0 * volume.array)) is not None
    assert PET.question(volume) is question_pet(volume) is None
    assert asked().methods == ("osem", "rdp", "diffusion")
