"""Coil sensitivities: ESPIRiT and sum of squares find those that made the data; what is asked for where they cannot."""

from __future__ import annotations

import pytest
import torch
from diffusion_engine.physics.coil_compression import coil_compression
from diffusion_engine.physics.coil_maps import (
    EspiritSettings,
    calibration_block,
    espirit_maps,
    given_maps,
    sum_of_squares_maps,
)
from mri_coils import head, ring_maps, scanned
from torch import Tensor

ROWS, COLUMNS, COILS = 48, 40, 5


def lines(rows: int = ROWS, columns: int = COLUMNS, count: int = 20) -> Tensor:
    """Every third row and ``count`` in the middle: (1, rows, columns)."""
    mask = torch.zeros(1, rows, columns, dtype=torch.bool)
    mask[:, ::3] = True
    mask[:, rows // 2 - count // 2 : rows // 2 - count // 2 + count] = True
    return mask


def cosine(found: Tensor, true: Tensor, body: Tensor) -> Tensor:
    """|<found, true>| of unit vectors at each pixel of the body."""
    return (found * true.conj()).sum(1).abs()[body]


@pytest.mark.parametrize("shape", [(ROWS, COLUMNS), (47, 41)])
def test_espirit_finds_the_maps(shape: tuple[int, int]) -> None:
    image, true, mask = head(*shape), ring_maps(COILS, *shape), lines(*shape)
    kspace = scanned(image, true, 0.003) * mask
    found = espirit_maps(kspace, mask)
    body = image.abs() > 0.1
    assert found.shape == (1, COILS, *shape)
    assert float(cosine(found, true, body).median()) > 0.9999
    assert float(cosine(found, true, body).min()) > 0.99
    power = found.abs().square().sum(1)
    torch.testing.assert_close(power[power > 0], torch.ones_like(power[power > 0]), rtol=0, atol=1e-5)
    assert bool((power[body] > 0).all())


def test_the_phase_is_that_of_the_first_virtual_coil() -> None:
    """The same whatever phase the data have as a whole, and the image has the phase that is left."""
    image, true, mask = head(ROWS, COLUMNS), ring_maps(COILS, ROWS, COLUMNS), lines()
    kspace = scanned(image, true, 0.003) * mask
    first = coil_compression(calibration_block(kspace, mask, 24, 8), 1).matrix[0]
    for found in (espirit_maps(kspace, mask), sum_of_squares_maps(kspace, mask)):
        seen = torch.einsum("c,scrk->srk", first, found)[image.abs() > 0.1]
        assert float(seen.real.min()) > 0
        assert float((seen.imag / seen.real).abs().max()) < 1e-5
    turned = espirit_maps(kspace * torch.exp(torch.tensor(2.1j)), mask)
    torch.testing.assert_close(turned, espirit_maps(kspace, mask), rtol=0, atol=1e-6)


def test_maps_of_slices_and_of_a_calibration_grid_of_its_own() -> None:
    image, true = head(ROWS, COLUMNS), ring_maps(COILS, ROWS, COLUMNS)
    both = torch.cat([image, image.flip(-1)])
    kspace, mask = scanned(both, true, 0.003), lines()
    found = espirit_maps(kspace * mask, mask)
    torch.testing.assert_close(found[1:], espirit_maps(kspace[1:] * mask, mask))
    block = calibration_block(kspace, mask, 20, 8)
    own = torch.ones(1, 20, 20, dtype=torch.bool)
    torch.testing.assert_close(
        espirit_maps(block, own, EspiritSettings(calibration=20), (ROWS, COLUMNS)),
        espirit_maps(kspace * mask, mask, EspiritSettings(calibration=20)), rtol=0, atol=1e-6,
    )
    torch.testing.assert_close(
        sum_of_squares_maps(block, own, shape=(ROWS, COLUMNS)), sum_of_squares_maps(kspace, mask, 20)
    )


def test_pixels_without_signal_have_no_map() -> None:
    """A crop of the eigenvalue leaves the air out; a sum of squares its noise."""
    image, true, mask = head(ROWS, COLUMNS), ring_maps(COILS, ROWS, COLUMNS), lines()
    kspace = scanned(image, true, 1e-4) * mask
    tight = espirit_maps(kspace, mask, EspiritSettings(crop=0.99))
    assert bool((tight[0, :, 0, 0] == 0).all())
    squares = sum_of_squares_maps(kspace, mask, crop=0.1)
    assert bool((squares[0, :, 0, 0] == 0).all())
    assert float(cosine(squares, true, image.abs() > 0.1).median()) > 0.999


def test_one_coil_has_a_map_of_one() -> None:
    image, mask = head(ROWS, COLUMNS), lines()
    kspace = scanned(image, torch.ones(1, 1, ROWS, COLUMNS, dtype=torch.complex128), 0.003) * mask
    found = espirit_maps(kspace, mask)[image[:, None].abs() > 0.1]
    torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=1e-5)


def test_given_maps_are_normalised() -> None:
    true = ring_maps(COILS, ROWS, COLUMNS)
    shading = torch.linspace(0, 3, COLUMNS, dtype=torch.float64)
    found = given_maps(true * shading, COILS, (ROWS, COLUMNS))
    torch.testing.assert_close(found[..., 1:], true[..., 1:])
    assert not bool(found[..., 0].any())
    with pytest.raises(ValueError, match=r"sensitivities \(slices, 4, 48, 40\), as the k-space"):
        given_maps(true, 4, (ROWS, COLUMNS))
    with pytest.raises(ValueError, match="NaN or infinite"):
        given_maps(true * torch.nan, COILS, (ROWS, COLUMNS))
    with pytest.raises(ValueError, match="zero throughout"):
        given_maps(true * 0, COILS, (ROWS, COLUMNS))


def test_the_block_in_the_middle() -> None:
    kspace = torch.randn(1, 2, 32, 17, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    mask = lines(32, 17, 10)
    assert calibration_block(kspace, mask, 24, 4).shape[-2:] == (11, 17)  # row 21 is one of every third
    torch.testing.assert_close(calibration_block(kspace, mask, 8, 4), kspace[..., 12:20, 4:12])
    with pytest.raises(ValueError, match=r"at least 14 x 14 in the middle .* found 11 x 17"):
        calibration_block(kspace, mask, 24, 14)
    with pytest.raises(ValueError, match="found 0 x 0"):
        calibration_block(kspace, ~mask, 24, 4)
    with pytest.raises(ValueError, match="zero throughout"):
        calibration_block(torch.cat([kspace, kspace * 0]), mask, 24, 4)
    with pytest.raises(ValueError, match="NaN or infinite"):
        espirit_maps(torch.where(kspace.real > 2, torch.nan, kspace), mask)
    with pytest.raises(ValueError, match="at least 8 x 8"):
        espirit_maps(kspace, lines(32, 17, 5))
