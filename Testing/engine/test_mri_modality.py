"""MRI from the scan to the system: geometry, units, phase, maps, groups of readings, the scan made again."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.modalities.mri.fingerprint import MRIFingerprint
from diffusion_engine.modalities.mri.grids import (
    flipped,
    flipped_mask,
    flipped_matrix,
    middle_of,
    on_matrix,
    recentred,
    rescaled_matrix,
)
from diffusion_engine.modalities.mri.judge import judge
from diffusion_engine.modalities.mri.phase import LEAST, imaginary_std, middle_window, smooth_phase
from diffusion_engine.modalities.mri.sampled import middle_block, sampled
from diffusion_engine.modalities.mri.scale import network_unit
from diffusion_engine.modalities.mri.scan import PATTERNS, MRIScan
from diffusion_engine.modalities.mri.simulate import quadratic_phase, ring_of_coils
from diffusion_engine.modalities.mri.trust import body, covariates, covariates_of, typical_scans
from diffusion_engine.modalities.prepared import no_limit
from diffusion_engine.modalities.table import MODALITIES
from diffusion_engine.physics import mri_masks
from diffusion_engine.physics.masked_fourier import centred_fft, centred_ifft
from diffusion_engine.posterior.residual_map import residual_map
from diffusion_engine.priors.adapter_card import SHIPPED
from diffusion_engine.priors.card import read_card
from diffusion_engine.priors.slices import resample
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.volume import Volume
from mri_scans import CPU, as_measured, asked, errors, head, kspace, problem


def test_a_full_scan_with_little_noise_is_the_volume() -> None:
    """Magnitudes at their place in the input's own unit, whatever the phase and the coils were."""
    volume = head(2)
    ready = problem(volume, acceleration=1.0, noise_percent=0.01)
    image = ready.deliver(ready.scale.from_network(ready.delivered.start()).numpy())
    np.testing.assert_allclose(image.ijk_to_ras, volume.ijk_to_ras, atol=1e-9)
    assert image.unit == "a.u."
    inside = body(volume.array)
    assert errors(image.array[inside], volume.array[inside]) < 5e-3
    assert ready.scale.scale == pytest.approx(network_unit(volume.array), rel=0.02)
    assert float(ready.delivered.start().abs().amax()) == pytest.approx(1.0, abs=0.2)


def test_the_input_s_direction_of_axes_comes_back() -> None:
    """A stack that runs to the right and anterior is turned upright for the prior, and delivered as it came."""
    volume = head(1, 48)
    for axes in ((1,), (2,), (1, 2)):
        place = flipped_matrix(volume.ijk_to_ras, (48, 48), axes)
        turned = Volume(np.ascontiguousarray(np.flip(volume.array, axes)), place, "a.u.")
        ready = problem(turned, acceleration=1.0, noise_percent=0.01)
        assert ready.flips == axes
        image = ready.deliver(ready.scale.from_network(ready.delivered.start()).numpy())
        np.testing.assert_allclose(image.ijk_to_ras, place, atol=1e-9)
        inside = body(turned.array)
        assert errors(image.array[inside], turned.array[inside]) < 5e-3
        assert ready.reference is not None
        np.testing.assert_allclose(np.flip(ready.reference, axes), turned.array, atol=1.0)


@pytest.mark.parametrize(("old", "new"), [(16, 24), (15, 22), (24, 17), (21, 16)])
def test_other_pixels_have_the_same_waves(old: int, new: int) -> None:
    """Waves of frequencies that both grids have are the same at the middles of the new pixels, edge to edge."""

    def waves(rows: int, columns: int) -> torch.Tensor:
        y, x = ((torch.arange(n, dtype=torch.float64) + 0.5) / n for n in (rows, columns))
        phase = 2 * math.pi * (5 * y[:, None] - 3 * x)
        return (torch.polar(torch.full_like(phase, 2.0), phase) + 0.5)[None].to(torch.complex64)

    torch.testing.assert_close(resample(waves(old, 20), new, 26), waves(new, 26), atol=1e-4, rtol=1e-4)
    real = torch.rand(1, old, 20)
    assert not resample(real, new, 26).is_complex()


@pytest.mark.parametrize("axes", [(), (1,), (2,), (1, 2)])
def test_exchanged_rows_and_columns_come_back(axes: tuple[int, ...]) -> None:
    """A stack whose rows run from side to side, as heads were often read, stands upright for the prior."""
    volume = head(2, 48).crop(rows=(2, 46))
    place = volume.ijk_to_ras[:, [1, 0, 2, 3]]
    stored = np.ascontiguousarray(np.flip(volume.array.swapaxes(1, 2), axes))
    turned = Volume(stored, flipped_matrix(place, stored.shape[1:], axes), "a.u.")
    region = (4, 40, 10, 30)
    ready = problem(turned, acceleration=1.0, noise_percent=0.01)
    assert ready.exchanged
    assert ready.delivered.grid.shape == (44, 48)
    assert not any("not axial" in note for note in ready.notes)
    own = problem(volume, acceleration=1.0, noise_percent=0.01)
    np.testing.assert_allclose(ready.reference, own.reference, atol=1.0)
    image = ready.deliver(ready.scale.from_network(ready.delivered.start()).numpy())
    np.testing.assert_allclose(image.ijk_to_ras, turned.ijk_to_ras, atol=1e-9)
    inside = body(stored)
    assert errors(image.array[inside], stored[inside]) < 5e-3
    part = problem(turned, acceleration=1.0, noise_percent=0.01, region=region)
    own_part = part.deliver(part.scale.from_network(part.delivered.start()).numpy())
    cut = turned.crop(columns=region[:2], rows=region[2:])
    np.testing.assert_allclose(own_part.ijk_to_ras, cut.ijk_to_ras, atol=1e-9)
    assert errors(own_part.array, cut.array) < 0.02
    standing = ready.standing
    assert standing.array.shape == (2, 44, 48)
    np.testing.assert_allclose(standing.ijk_to_ras, turned.ijk_to_ras[:, [1, 0, 2, 3]])


def test_slices_that_are_not_axial_stay_as_they_are() -> None:
    volume = head(2, 48)
    ready = problem(Volume(volume.array, volume.ijk_to_ras[:, [0, 2, 1, 3]], "a.u."))
    assert (ready.exchanged, ready.flips) == (False, ())
    assert any("not axial" in note for note in ready.notes)


def test_the_phase_is_taken_out_of_the_images() -> None:
    """Little is left in the imaginary part, far less than the real part lost nothing to."""
    ready = problem(acceleration=1.0, noise_percent=0.01, phase_radians=8.0)
    image = ready.delivered.start()
    inside = torch.from_numpy(body(ready.reference))
    assert float(image.imag[inside].square().mean().sqrt()) < 0.06
    assert float(image.real[inside].square().mean().sqrt()) > 0.4


def test_smooth_phase_is_that_of_the_middle() -> None:
    shape = (32, 40)
    phase = quadratic_phase(shape, 3.0, 1)
    assert float(phase.max() - phase.min()) == pytest.approx(3.0)
    image = torch.ones(shape) * torch.polar(torch.ones(shape), phase)
    maps = ring_of_coils(3, shape)
    mask = np.zeros(shape, bool)
    mask[8:24] = True
    samples = centred_fft(maps * image)[None] * torch.from_numpy(mask)
    found = smooth_phase(samples, maps[None], middle_window(mask))[0]
    away = torch.angle(torch.polar(torch.ones(shape), found - phase))[6:-6, 6:-6]
    assert float(away.abs().max()) < 0.15


def test_coils_of_a_ring_are_normalised_and_differ() -> None:
    maps = ring_of_coils(8, (33, 40))
    torch.testing.assert_close(maps.abs().square().sum(0), torch.ones(33, 40))
    assert len({int(one.abs().argmax()) for one in maps}) == 8
    torch.testing.assert_close(ring_of_coils(1, (4, 5)), torch.ones(1, 4, 5, dtype=torch.complex64))


@pytest.mark.parametrize(("size", "new"), [(12, 8), (12, 9), (9, 12), (8, 12), (9, 5)])
def test_another_matrix_keeps_place_and_values(size: int, new: int) -> None:
    """A wave that both matrices hold has the same values at the same places in the patient."""
    place = np.diag([-2.0, -2.0, 5.0, 1.0])
    place[:3, 3] = (7.0, -3.0, 1.0)

    def wave(count: int, matrix: np.ndarray) -> torch.Tensor:
        x = torch.arange(count, dtype=torch.float64) * matrix[0, 0] + matrix[0, 3]
        y = torch.arange(count, dtype=torch.float64) * matrix[1, 1] + matrix[1, 3]
        turns = 2 * torch.pi / (2.0 * size)
        return torch.exp(1j * turns * (x[None] + y[:, None])) + 0.5

    other = rescaled_matrix(place, (size, size), (new, new))
    found = centred_ifft(on_matrix(centred_fft(wave(size, place)), (new, new)))
    torch.testing.assert_close(found, wave(new, other))


@pytest.mark.parametrize(("size", "new"), [(12, 8), (12, 9), (9, 12), (9, 5)])
def test_recentred_pixels_cover_the_same_field(size: int, new: int) -> None:
    """Pixel centres at (i + 1/2) / n of the field on either matrix, as resampling has them."""

    def wave(count: int) -> torch.Tensor:
        place = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        return torch.exp(2j * torch.pi * place)[:, None] * torch.exp(-2j * torch.pi * place)

    samples = recentred(on_matrix(centred_fft(wave(size)), (new, new)), (size, size))
    torch.testing.assert_close(centred_ifft(samples), wave(new))


@pytest.mark.parametrize("size", [8, 9])
def test_flipped_samples_are_those_of_flipped_images(size: int) -> None:
    mask = np.random.default_rng(0).random((size, size)) < 0.4
    image = torch.randn(size, size, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    samples = centred_fft(image)
    found = flipped(samples, (1,))
    torch.testing.assert_close(centred_ifft(found), image.flip(0))
    # Measured entries move to where the mask says: there the magnitudes are the same.
    kept = flipped_mask(mask, (1,))
    np.testing.assert_allclose(
        np.sort(found.abs().numpy()[kept]), np.sort(samples.abs().numpy()[mask]), atol=1e-12
    )


def test_middle_of_keeps_the_origin() -> None:
    values = torch.arange(7)[:, None] * torch.ones(1, 6, dtype=torch.long)
    assert middle_of(values, (4, 6))[2, 0] == 3
    assert middle_of(values, (10, 6))[5, 0] == 3
    assert int(middle_of(values, (10, 6))[:2].sum()) == 0


def test_what_a_mask_says() -> None:
    mask = np.zeros((1, 40, 12), bool)
    mask[:, 14:26] = True
    mask[:, ::4] = True
    assert middle_block(mask[0]) == (14, 26, 0, 12)
    found = sampled(mask)
    assert (found.rows, found.axes, found.pattern, found.lines, found.partial) == (True, 1, "uniform", 12, False)
    assert found.acceleration == pytest.approx(40 / mask[0].any(1).sum())
    turned = sampled(mask.swapaxes(1, 2))
    assert (turned.rows, turned.pattern, turned.lines) == (False, "uniform", 12)
    many = np.zeros((1, 240, 12), bool)
    many[:, 100:140] = many[:, ::4] = True
    assert not sampled(many).partial
    many[:, :80] = False
    assert sampled(many).partial
    rng = np.random.default_rng(1)
    assert sampled(mask & (rng.random(mask.shape) < 0.5) | (np.abs(np.arange(40) - 20) < 4)[None, :, None]).axes == 2
    assert middle_block(np.zeros((8, 8), bool)) == (4, 4, 4, 4)


def test_patterns_are_those_of_the_masks() -> None:
    assert PATTERNS == mri_masks.PATTERNS


def test_noise_in_the_data_is_the_noise_that_is_stated() -> None:
    """Samples less those of the reference's own phase and maps: E|n|^2 is the variance of the likelihood."""
    quiet, loud = (kspace(noise_percent=level, acceleration=1.0) for level in (1e-4, 2.0))
    noise = (loud.values - quiet.values).ravel()
    assert loud.noise_covariance is not None
    assert float((np.abs(noise) ** 2).mean()) == pytest.approx(float(loud.noise_covariance[0, 0].real), rel=0.05)
    ready = problem(as_measured(loud))
    assert ready.delivered.noise_std == pytest.approx(float(loud.noise_covariance[0, 0].real) ** 0.5, rel=1e-3)
    assert float(ready.residuals(ready.scale.from_network(ready.delivered.start()).numpy()).mean()) < 1.3


def test_correlated_noise_is_whitened_and_the_unit_stays() -> None:
    samples = kspace(acceleration=1.0, noise_percent=0.01)
    rng = np.random.default_rng(0)
    mixing = np.eye(4) + 0.4 * rng.standard_normal((4, 4))
    std = 5.0
    white = rng.standard_normal((*samples.values.shape, 2)) @ [1, 1j] / 2**0.5
    noisy = samples.values + std * np.einsum("vc,scrk->svrk", mixing, white).astype(np.complex64)
    given = replace(samples, values=noisy, noise_covariance=std**2 * mixing @ mixing.T)
    ready = problem(as_measured(given))
    image = ready.scale.from_network(ready.delivered.start()).numpy()
    # The unit is that of the file to within the shading of the coils' own noise, not of the whitened data.
    inside = body(np.abs(image))
    assert 0.5 < float(np.median(np.abs(image)[inside]) / np.median(head().array[inside])) < 2.0
    assert float(ready.residuals(image).mean()) == pytest.approx(1.0, abs=0.35)
    wrong = problem(as_measured(replace(given, noise_covariance=std**2 * np.eye(4))))
    assert wrong.delivered.noise_std == pytest.approx(std, rel=1e-3)


def test_residuals_by_line_and_by_coil() -> None:
    """A line with twice its noise stands out as that line, a coil as that coil; both have the residual as mean."""
    ready = problem(acceleration=2.0)
    system = ready.delivered
    x = system.start()
    lines, coils = system.groups(x), system.by_coil(x)
    assert lines.shape == (1, len(system.measured_lines)) == (1, 32)
    ratio = float(system.measured.residual_ratio(x * system.unit))
    assert float(lines.mean()) == pytest.approx(ratio, rel=1e-4)
    assert float(coils.mean()) == pytest.approx(ratio, rel=1e-4)
    data = system.data.clone()
    data[:, :, int(system.measured_lines[5])] += 20 * system.noise_std
    assert int(system.with_data(data).groups(x)[0].argmax()) == 5
    data = system.data.clone()
    data[:, 2] += torch.where(system.data[:, 2] != 0, 20 * system.noise_std, 0)
    assert int(system.with_data(data).by_coil(x)[0].argmax()) == 2


def test_columns_as_lines() -> None:
    samples = kspace()
    turned = replace(
        samples, values=samples.values.swapaxes(2, 3).copy(), mask=samples.mask.swapaxes(1, 2).copy(), facts={},
    )
    system = problem(turned).delivered
    assert not system.lines_are_rows
    assert system.groups(system.start()).shape == (1, len(system.measured_lines))
    assert system.describe()["lines_along"] == "columns"


def test_the_scan_is_made_again_with_its_noise() -> None:
    system = problem(head(2)).delivered
    again = system.observed(system.start(), Noise(3, 0, "rescan"))
    left = again.data - system.likelihood.operator.forward(system.start())
    measured = torch.isfinite(system.measured.variance).expand(left.shape)
    assert float(left[measured].abs().square().mean().sqrt()) == pytest.approx(system.noise_std, rel=0.05)
    assert not bool(left[~measured].any())


def test_slices_chosen_keep_their_data_maps_and_noise() -> None:
    ready = problem(head(3))
    alone = ready.select(slice(1, 2))
    torch.testing.assert_close(alone.delivered.start(), ready.delivered.start()[1:2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        ready.select(torch.tensor([2])).delivered.start(), ready.delivered.start()[2:], rtol=1e-4, atol=1e-4
    )
    whole = kspace(head(3)).values
    part = kspace(head(3), slices=(1, 2)).values
    np.testing.assert_allclose(part[0], whole[1], atol=0.05 * np.abs(whole).max())


def test_a_residual_map_knows_each_slice_s_own_coils() -> None:
    ready = problem(head(2), acceleration=1.0)
    likelihood = ready.delivered.likelihood
    found = residual_map(likelihood, 0 * ready.delivered.start(), Noise(0))
    one = residual_map(likelihood.select(slice(0, 1)), 0 * ready.delivered.start()[:1], Noise(0))
    torch.testing.assert_close(found[:1], one, rtol=1e-4, atol=1e-4)


def test_a_prior_of_other_pixels_works_on_its_own_matrix() -> None:
    """Images of 3.6 mm pixels on those that the prior knows: the same field, the same place, the same values."""
    card = replace(read_card(SHIPPED / "mr-head.json"), pixel_mm=(2.0, 2.5))
    settings = asked(acceleration=1.0, noise_percent=0.1, pixel_mm=3.59)
    ready = MODALITIES["mri"].prepare(head(), settings, CPU, card, no_limit)
    assert not ready.one_grid
    assert ready.prior.grid.pixel_mm[0] == pytest.approx(2.5, rel=0.02)
    from diffusion_engine.priors.slices import resample

    fine = ready.prior.start()
    back = resample(fine, *ready.delivered.grid.shape)
    inside = torch.from_numpy(body(ready.reference))
    difference = (back.abs() - ready.delivered.start().abs())[inside]
    assert float(difference.mean().abs()) < 0.01
    assert float(difference.square().mean().sqrt()) < 0.08
    assert any("knows pixels" in note for note in ready.notes)


def test_more_than_twelve_coils_become_channels() -> None:
    ready = problem(coils=16, acceleration=2.0)
    assert ready.delivered.data.shape[1] == 12
    assert any("16 coils were combined to 12 channels" in note for note in ready.notes)
    assert errors(ready.scale.from_network(ready.delivered.start()).numpy(), ready.reference) < 0.15


def test_given_maps_are_used() -> None:
    samples = as_measured(kspace(acceleration=4.0, acs_lines=8), maps=ring_of_coils(4, (64, 64)).numpy()[None])
    given = problem(samples)
    assert errors(given.scale.from_network(given.delivered.start()).numpy(), head().array) < 0.6


def test_fingerprints() -> None:
    ready = problem()
    made = MRIFingerprint.of(ready)
    assert made.fits(MRIFingerprint.stored(made.entry()))
    assert (made.pattern, made.axes, made.acs_lines, made.coils) == ("random", 1, 16, 4)
    for name, near, far in (
        ("acceleration", 1.1, 1.3), ("acs_lines", 1.4, 1.6), ("noise_percent", 1.9, 2.2), ("coils", 2, 3),
    ):
        value = getattr(made, name)
        assert made.fits(replace(made, **{name: value * near})), name
        assert not made.fits(replace(made, **{name: value * far})), name
    assert not made.fits(replace(made, partial=True))
    assert not made.fits(replace(made, pattern="uniform"))
    assert made.offset(replace(made, acceleration=2 * made.acceleration)) == pytest.approx(-np.log(2))
    assert made.offset(replace(made, partial=True)) is None
    with pytest.raises(ValueError, match="acceleration"):
        MRIFingerprint.stored({**made.entry(), "acceleration": 0})


def test_covariates_know_acceleration_and_noise_within_the_range_of_their_fit() -> None:
    assert covariates_of(math.sqrt(20), 1.0) == pytest.approx((0.0, 0.0))
    assert covariates_of(4.0, 1.0)[0] - covariates_of(8.0, 1.0)[0] == pytest.approx(math.log(2))
    assert covariates_of(4.0, 2.0)[1] == pytest.approx(math.log(2))
    assert covariates_of(50.0, 90.0) == covariates_of(10.0, 3.0)
    assert covariates_of(1.0, 0.01) == covariates_of(2.0, 0.3)
    ready = problem()
    assert covariates(ready.delivered) == covariates_of(
        ready.delivered.acquisition.acceleration, ready.delivered.acquisition.noise_percent
    )
    scans = [MRIScan(**scan) for scan in typical_scans(np.random.default_rng(0))]
    assert all(2 <= scan.acceleration <= 10 and 0.3 <= scan.noise_percent <= 3 for scan in scans)
    assert len({scan.acceleration for scan in scans}) == 4


@pytest.mark.parametrize("wrong", [
    {"acceleration": 0.5}, {"pattern": "spiral"}, {"coils": 0}, {"noise_percent": 0}, {"partial_fourier": 0.5},
    {"matrix": 64}, {"axes": 3}, {"elliptical": True}, {"tv_weight": 0.0}, {"acs_lines": 2}, {"sense_iterations": 0},
])
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        MRIScan(**wrong)


def test_one_coil_works() -> None:
    ready = problem(coils=1, acceleration=1.5)
    assert isinstance(ready.delivered.likelihood, GaussianLikelihood)
    assert errors(ready.scale.from_network(ready.delivered.start()).numpy(), ready.reference) < 0.3


@pytest.mark.parametrize("rough", [0.0, 0.05, 0.2])
def test_spread_of_the_imaginary_part_follows_the_phase_that_is_not_smooth(rough: float) -> None:
    """Two thirds to three times of the true one, whatever the noise; the smooth phase counts for nothing."""
    shape = (96, 96)
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 96), indexing="ij")
    size = ((yy**2 + xx**2) < 0.6).float() * (1 + 0.3 * torch.cos(9 * xx))
    phase = 2 * xx + rough * torch.cos(60 * xx + 5 * yy)
    maps = ring_of_coils(4, shape)[None]
    mask = np.zeros((1, *shape), bool)
    mask[:, 36:60] = True
    mask[:, ::4] = True
    for std in (0.001, 0.05, 0.2):
        generator = torch.Generator().manual_seed(0)
        noise = std * torch.randn((1, 4, *shape), generator=generator, dtype=torch.complex64)
        samples = (centred_fft(maps * size * torch.polar(torch.ones(shape), phase)) + noise) * torch.from_numpy(mask)
        turned = maps * torch.polar(torch.ones(1, *shape), smooth_phase(samples, maps, middle_window(mask[0])))[:, None]
        found = imaginary_std(samples, turned, mask, std, 1.0)
        true = float((size[size > 0] * torch.sin(rough * torch.cos(60 * xx + 5 * yy))[size > 0]).square().mean().sqrt())
        assert found is not None
        assert 2 / 3 * true <= found <= max(3 * true, 0.04), std


def test_a_phase_that_is_not_smooth_is_left_to_the_prior() -> None:
    mask = np.ones((1, 32, 32), bool)
    samples = centred_fft(torch.full((1, 1, 32, 32), 1j))
    assert imaginary_std(samples, torch.ones(1, 1, 32, 32), mask, 0.0, 1.0) is None
    assert imaginary_std(samples, torch.ones(1, 1, 32, 32), ~mask, 0.0, 1.0) is None
    assert imaginary_std(samples, torch.full((1, 1, 32, 32), 1j), mask, 0.0, 1.0) == LEAST


def test_negative_values_are_scanned_where_interpolation_leaves_them_and_refused_otherwise() -> None:
    volume = head(1, 64)
    top = float(np.percentile(volume.array, 99.9))
    for share, refused in ((-0.01, False), (-0.2, True)):
        array = volume.array.copy()
        array[0, 0, 0] = share * top
        changed = Volume(array, volume.ijk_to_ras, "a.u.")
        if refused:
            with pytest.raises(ValueError, match="found values down to"):
                problem(changed)
        else:
            assert problem(changed).reference is not None


def test_whole_columns_that_were_left_out_are_a_doubt_about_the_axes() -> None:
    """Gaps between measured columns are none of a readout; a readout that begins late, or lines left out, are."""
    rows = kspace()
    mask = np.ascontiguousarray(rows.mask.swapaxes(1, 2))
    turned = replace(rows, values=rows.values.swapaxes(2, 3).copy(), mask=mask)
    late = np.ones_like(mask)
    late[:, :, :9] = False
    whole = replace(turned, values=np.ones_like(turned.values) * late[:, None], mask=late, noise_covariance=None)
    kinds = [{remark.kind for remark in judge(own)} for own in (turned, rows, whole)]
    assert ["axes_exchanged" in found for found in kinds] == [True, False, False]
