"""An image in the place of raw data: its projections, without noise or a reference, known as such everywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusion_engine.modalities.pet.entry import PET
from diffusion_engine.modalities.pet.fingerprint import PETFingerprint
from diffusion_engine.modalities.pet.problem import prepare, scanned
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume


def image() -> Volume:
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    disc = np.where(x**2 + y**2 < 0.6, 2000.0, 0.0) + np.where((x - 0.3) ** 2 + y**2 < 0.05, 6000.0, 0.0)
    return Volume(np.repeat(disc[None], 2, 0).astype(np.float32), np.diag([-5.0, -5.0, 5.0, 1.0]), "Bq/mL")


def settings(**changes: object) -> Settings:
    return Settings(modality="pet", counts=0.05, angles=24, **changes)


def test_its_projections_are_those_of_the_dose_without_noise() -> None:
    found, _reference, notes = scanned(image(), settings(denoise=True), None)
    assert found.background is not None
    trues = (found.prompts - found.background).sum((1, 2))
    np.testing.assert_allclose(trues, 5e4, rtol=1e-4)
    again, _reference, _notes = scanned(image(), settings(denoise=True, seed=7), None)
    np.testing.assert_array_equal(found.prompts, again.prompts)
    drawn, _reference, other = scanned(image(), settings(), None)
    deviation = (drawn.prompts - found.prompts) / np.sqrt(found.prompts)
    assert 0.9 < float(deviation.std()) < 1.1
    assert any(note.startswith("Posterior denoising without raw data") for note in notes)
    assert not any("Acquisition simulated" in note for note in notes)
    assert not any("Posterior denoising" in note for note in other)


def test_nothing_is_compared_with_the_noisy_image_itself() -> None:
    problem = prepare(image(), settings(denoise=True), torch.device("cpu"), None)
    assert problem.reference is None
    assert problem.delivered.describe()["denoised"] is True
    assert prepare(image(), settings(), torch.device("cpu"), None).reference is not None


def test_the_image_itself_explains_its_projections_best() -> None:
    """So that without a prior it would stay as it is: what smooths it is the prior alone."""
    system = prepare(image(), settings(denoise=True, psf_mm=0.0), torch.device("cpu"), None).delivered
    itself = torch.from_numpy(image().array) / system.unit
    rough = itself + 0.2 * torch.rand(itself.shape, generator=torch.Generator().manual_seed(0)) * (itself > 0)
    assert float(system.groups(itself).mean()) < 0.25 < float(system.groups(rough).mean())


def test_no_residual_is_tested_of_data_without_noise() -> None:
    found = reconstruct(image().crop(slices=(0, 1)), settings(denoise=True, methods=("osem",), device="cpu")).report
    assert found["residual_tests"] == []
    assert not any("residual of" in note for note in found["notes"])
    other = reconstruct(image().crop(slices=(0, 1)), settings(methods=("osem",), device="cpu")).report
    assert [test["kind"] for test in other["residual_tests"]] == ["osem"]


def test_a_calibration_for_raw_data_does_not_hold() -> None:
    measured = PETFingerprint(0.05, 30.0, 24)
    assert measured.fits(measured)
    assert not measured.fits(replace(measured, denoised=True))
    assert PETFingerprint.stored(replace(measured, denoised=True).entry()).denoised


@pytest.mark.parametrize(("scan", "words"), [
    ({"counts": 0.05, "denoise": True}, "denoised as of 0.05 million counts a slice"),
    ({"counts": 0.05, "denoised": True}, "denoised as of 0.05 million counts a slice"),
    ({"counts": 0.05}, "0.05 million counts a slice"),
])
def test_its_name_says_so(scan: dict[str, object], words: str) -> None:
    assert PET.in_words(scan) == words


def test_the_setting_is_yes_or_no() -> None:
    with pytest.raises(ValueError, match="expected true or false as denoise, found 'no'"):
        settings(denoise="no")
