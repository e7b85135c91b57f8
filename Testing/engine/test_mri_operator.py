"""The multi-coil Cartesian operator, its parts by image and by view, and fewer virtual coils."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.coil_compression import coil_compression, mixed
from diffusion_engine.physics.masked_fourier import MaskedFourier
from diffusion_engine.physics.mri import COIL_AXIS, COLUMN_AXIS, ROW_AXIS, MultiCoilFourier, single_coil
from diffusion_engine.physics.operator import some_views
from mri_coils import head, ring_maps, scanned
from torch import Tensor

SHAPES = ((8, 10), (7, 9), (6, 11))


def random(*shape: int, seed: int = 1, dtype: torch.dtype = torch.complex128) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def some_mask(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5


def operator(
    rows: int, columns: int, slices: int = 1, masks: int = 1, dtype: torch.dtype = torch.complex128
) -> MultiCoilFourier:
    return MultiCoilFourier(random(slices, 3, rows, columns, seed=5, dtype=dtype), some_mask(masks, rows, columns))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("slices", "masks"), [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize(("dtype", "most"), [(torch.complex128, 1e-12), (torch.complex64, 1e-6)])
def test_the_adjoint_is_one(shape: tuple[int, int], slices: int, masks: int, dtype: torch.dtype, most: float) -> None:
    own = operator(*shape, slices, masks, dtype)
    x, y = random(2, *shape, dtype=dtype), random(2, *own.out_shape, seed=2, dtype=dtype)
    left, right = (own.forward(x).conj() * y).sum(), (x.conj() * own.adjoint(y)).sum()
    assert abs(complex(left - right)) < most * float(own.forward(x).norm() * y.norm())
    assert own.forward(x).dtype == own.adjoint(y).dtype == dtype
    assert own.forward(x.real).dtype == dtype
    torch.testing.assert_close(own.normal(x), own.adjoint(own.forward(x)))
    variance = own.variance(torch.tensor([0.5, 1.0, 2.0], dtype=x.real.dtype))
    torch.testing.assert_close(own.normal(x, variance), own.adjoint(own.forward(x) / variance))


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_written_out_sum(shape: tuple[int, int]) -> None:
    """y_c(k) = sum_r S_c(r) x(r) exp(-2 pi i k r / n) / sqrt(pixels), k and r counted from size // 2."""
    own = operator(*shape)
    x = random(1, *shape)
    waves = [
        torch.exp(-2j * torch.pi * torch.outer(place, place) / n) / n**0.5
        for n in shape
        for place in [torch.arange(n, dtype=torch.float64) - n // 2]
    ]
    expected = torch.einsum("kr,crs,ls->ckl", waves[0], own.maps[0] * x, waves[1]) * own.mask
    torch.testing.assert_close(own.forward(x)[0], expected)


def test_one_coil_is_masked_fourier_sampling() -> None:
    mask = some_mask(7, 10)
    own, plain = single_coil(mask[None]), MaskedFourier(mask)
    x = random(3, 7, 10)
    torch.testing.assert_close(own.forward(x)[:, 0], plain.on_grid(plain.forward(x)))
    torch.testing.assert_close(own.adjoint(own.forward(x)), plain.adjoint(plain.forward(x)))
    assert own.in_shape == (7, 10)
    assert own.out_shape == (1, 7, 10)


def test_whole_k_space_with_normalised_maps_gives_the_image_back() -> None:
    image = head(24, 20)
    own = MultiCoilFourier(ring_maps(4, 24, 20), torch.ones(1, 24, 20, dtype=torch.bool))
    torch.testing.assert_close(own.adjoint(own.forward(image)), image)
    torch.testing.assert_close(own.forward(image), scanned(image, own.maps, 0.0))


@pytest.mark.parametrize(("slices", "masks"), [(4, 4), (4, 1), (1, 4), (1, 1)])
def test_some_images_take_their_maps_and_masks(slices: int, masks: int) -> None:
    own, x = operator(6, 8, slices, masks), random(4, 6, 8)
    variance = own.variance(torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64))
    likelihood = GaussianLikelihood(own, own.forward(random(4, 6, 8, seed=9)), variance)
    for index in (slice(1, 3), torch.tensor([3, 0])):
        torch.testing.assert_close(own.of_images(index).forward(x[index]), own.forward(x)[index])
        chosen = likelihood.select(index)
        torch.testing.assert_close(chosen.gradient(x[index]), likelihood.gradient(x)[index])
        scaled = likelihood.scaled(2.0, 0.5)
        torch.testing.assert_close(scaled.select(index).gradient(x[index]), scaled.gradient(x)[index])
        half = likelihood.subset(slice(0, None, 2))
        torch.testing.assert_close(half.select(index).gradient(x[index]), half.gradient(x)[index])


@pytest.mark.parametrize("axis", [COIL_AXIS, ROW_AXIS, COLUMN_AXIS])
def test_some_views_are_coils_or_lines(axis: int) -> None:
    own, x = replace(operator(6, 8, 2, 2), view_axis=axis), random(2, 6, 8)
    count = own.out_shape[axis]
    for index in (slice(1, None, 2), torch.tensor([2, 0])):
        part = some_views(own, index)
        chosen = torch.arange(count)[index]
        assert part.out_shape[axis] == len(chosen)
        torch.testing.assert_close(part.forward(x), own.forward(x).index_select(axis, chosen))
        y = random(2, *part.out_shape, seed=4)
        left, right = (part.forward(x).conj() * y).sum(), (x.conj() * part.adjoint(y)).sum()
        torch.testing.assert_close(left, right)


def test_unmeasured_entries_weigh_nothing() -> None:
    own, x = operator(6, 8, 2, 2), random(2, 6, 8)
    level = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    noise = random(2, 3, 6, 8, seed=7) * level.sqrt()[:, None, None]
    likelihood = GaussianLikelihood(own, (own.forward(x) + noise) * own.mask[:, None], own.variance(level))
    squares = (noise.abs().square() / level[:, None, None] * own.mask[:, None]).sum((1, 2, 3))
    expected = squares / (3 * own.mask.sum((1, 2)))
    torch.testing.assert_close(likelihood.residual_ratio(x), expected)
    assert likelihood.residual_per_view(x).shape == (2, 6)
    by_coil = replace(likelihood, operator=replace(own, view_axis=COIL_AXIS)).residual_per_view(x)
    torch.testing.assert_close(by_coil.mean(-1), expected)
    wrong = likelihood.data + 1e6 * ~own.mask[:, None]
    torch.testing.assert_close(replace(likelihood, data=wrong).gradient(x), likelihood.gradient(x))


def test_the_proximal_point_solves_its_equation() -> None:
    """(1 / g + A' V^-1 A) z = x / g + A' V^-1 y."""
    own, x = operator(6, 8, 2, 2), random(2, 6, 8)
    variance = own.variance(torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64))
    likelihood = GaussianLikelihood(own, own.forward(random(2, 6, 8, seed=3)), variance)
    for some in (likelihood, likelihood.scaled(3.0, 0.5), likelihood.subset(slice(0, None, 2))):
        found = some.proximal(x, 0.3, 300, 1e-12)
        torch.testing.assert_close(found + 0.3 * some.gradient(found), x)


def test_operator_refusals() -> None:
    maps, mask = random(2, 3, 6, 8), some_mask(2, 6, 8)
    with pytest.raises(ValueError, match="complex coil sensitivities"):
        MultiCoilFourier(maps.real, mask)
    with pytest.raises(ValueError, match="complex coil sensitivities"):
        MultiCoilFourier(maps[0], mask)
    with pytest.raises(ValueError, match="mask of type bool"):
        MultiCoilFourier(maps, mask.float())
    with pytest.raises(ValueError, match="mask of type bool"):
        MultiCoilFourier(maps, mask[0])
    with pytest.raises(ValueError, match="do not match"):
        MultiCoilFourier(maps, mask.mT)
    with pytest.raises(ValueError, match="do not match"):
        MultiCoilFourier(maps, some_mask(3, 6, 8))
    with pytest.raises(ValueError, match="NaN or infinite"):
        MultiCoilFourier(torch.where(maps.real > 1, torch.nan, maps), mask)
    with pytest.raises(ValueError, match="measures nothing of a slice"):
        MultiCoilFourier(maps, mask & torch.tensor([True, False])[:, None, None])
    with pytest.raises(ValueError, match="expected views along"):
        MultiCoilFourier(maps, mask, 0)


def test_virtual_coils_keep_the_energy_that_they_say() -> None:
    """Data of rank two in five coils: two virtual ones keep all of it, one keeps the larger share."""
    mixing = torch.linalg.qr(random(5, 2)).Q
    sources = random(2, 2, 8, 6, seed=4) * torch.tensor([3.0, 1.0], dtype=torch.float64)[:, None, None]
    kspace = mixed(mixing, sources)
    two = coil_compression(kspace, 2)
    assert two.energy == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(two.matrix @ two.matrix.mH, torch.eye(2, dtype=torch.complex128))
    torch.testing.assert_close(mixed(two.matrix.mH, mixed(two.matrix, kspace)), kspace)
    one = coil_compression(kspace, 1)
    kept = mixed(one.matrix, kspace).norm() ** 2 / kspace.norm() ** 2
    assert one.energy == pytest.approx(float(kept), abs=1e-12)
    assert 0.8 < one.energy < 0.97
    largest = two.matrix.gather(1, two.matrix.abs().argmax(1, keepdim=True))
    torch.testing.assert_close(largest, largest.abs().to(largest.dtype))
    assert coil_compression(kspace).matrix.shape == (5, 5)


def test_compression_refusals() -> None:
    kspace = random(1, 3, 4, 4)
    with pytest.raises(ValueError, match="expected complex k-space"):
        coil_compression(kspace.real)
    with pytest.raises(ValueError, match="at least one virtual coil"):
        coil_compression(kspace, 0)
    with pytest.raises(ValueError, match="zero throughout"):
        coil_compression(torch.zeros_like(kspace))
    with pytest.raises(ValueError, match="NaN or infinite"):
        coil_compression(torch.where(kspace.real > 0, torch.nan, kspace))
