"""Generation and inpainting: exact for Gaussian images, guided, in slabs that continue one another."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import pytest
import torch
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.priors.conditions import IMAGE, MASK, Condition
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.synthesis.generate import Generation, generated, generated_stack
from diffusion_engine.synthesis.guidance import Guided, planes_of_images, planes_of_labels
from diffusion_engine.synthesis.inpaint import inpainted

PIXELS = 2000
"""Independent columns, so that moments over them are those of many draws."""
HOW = Generation(steps=25, sigma=(0.01, 40.0))


class Told:
    """Images white about the value that the first plane beside the positions tells, of deviation 0.5."""

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        assert condition is not None
        mean = condition[:, 2:3]
        return mean + 0.25 / (0.25 + sigma**2) * (x - mean)


class Correlated:
    """Stacks whose slices are Gaussian of covariance ``c``, the same in every pixel; the batch is the stack."""

    def __init__(self, c: torch.Tensor) -> None:
        self.c = c

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        n = len(x)
        c = self.c[:n, :n]
        return (c @ torch.linalg.solve(c + sigma**2 * torch.eye(n), x.flatten(1))).reshape(x.shape)


def chain(count: int, rho: float) -> torch.Tensor:
    """Covariance rho^|k - l| of slices: each depends on the one before it alone."""
    k = torch.arange(count)
    return rho ** (k[:, None] - k).abs().float()


def last(run: object) -> torch.Tensor:
    return deque(run, maxlen=1)[0]  # type: ignore[arg-type]


def ddim_spread(how: Generation) -> float:
    """Of white images of variance 1/4: every step multiplies the state and adds noise."""
    variance = how.levels[0] ** 2
    for s, after in pairwise(how.levels):
        gain = 0.25 / (0.25 + s**2)
        kept = gain + after * (1 - how.eta**2) ** 0.5 * (1 - gain) / s
        variance = kept**2 * variance + (after * how.eta) ** 2
    return float(variance**0.5)


@pytest.mark.parametrize(("method", "eta"), [("heun", 0.0), ("ddim", 0.0), ("ddim", 0.6)])
def test_images_of_a_gaussian_have_its_mean_and_spread(method: str, eta: float) -> None:
    denoiser = GaussianDenoiser(torch.full((40, 100), 0.3), torch.full((40, 100), 0.25))
    how = Generation(steps=30, sigma=(0.01, 10.0), method=method, eta=eta)
    found = last(generated(denoiser, (2, 1, 40, 100), None, how, Noise(1)))
    assert float(found.mean()) == pytest.approx(0.3, abs=0.02)
    assert float(found.std()) == pytest.approx(0.5 if method == "heun" else ddim_spread(how), rel=0.03)
    again = last(generated(denoiser, (2, 1, 40, 100), None, how, Noise(1)))
    assert torch.equal(found, again)
    assert not torch.equal(found, last(generated(denoiser, (2, 1, 40, 100), None, how, Noise(2))))


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_guidance_moves_images_by_its_weight(weight: float) -> None:
    """With Gaussians of one spread about 0 and about m, guided images are Gaussian about w m."""
    planes = torch.zeros(1, 3, 1, PIXELS)
    planes[:, 2] = 0.4
    found = last(generated(Guided(Told(), weight), (1, 1, 1, PIXELS), planes, HOW, Noise(3)))
    assert float(found.mean()) == pytest.approx(0.4 * weight, abs=0.03)
    assert float(found.std()) == pytest.approx(0.5, rel=0.05)


def test_guidance_that_cannot_be_is_one_sentence() -> None:
    for weight in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="weight of guidance from 0 on"):
            Guided(Told(), weight)
    with pytest.raises(ValueError, match="planes that tell something"):
        Guided(Told())(torch.zeros(1, 1, 2, 2), torch.tensor(1.0), torch.zeros(1, 2, 2, 2))


def test_a_stack_has_the_correlation_of_its_slices() -> None:
    c = chain(3, 0.8)
    made = last(generated_stack(Correlated(c), torch.zeros(3, 2, 1, PIXELS), HOW, Noise(5), 4.0))
    found = torch.cov(made.images.flatten(1))  # type: ignore[attr-defined]
    torch.testing.assert_close(found, c, atol=0.07, rtol=0)


def test_a_further_slab_continues_the_one_before() -> None:
    """Slices of a chain in slabs of 4, two of which are known: across the seam the correlation is as within."""
    c = chain(8, 0.8)
    how = Generation(steps=14, sigma=(0.02, 10.0), slab=4, jumps=10)
    states = list(generated_stack(Correlated(c), torch.zeros(6, 2, 1, PIXELS), how, Noise(7), 4.0))
    assert [s.done for s in states] == list(range(1, states[0].total + 1))
    first, final = states[13].images, states[-1].images
    assert torch.equal(first[:4], final[:4])
    assert bool(first[4:].isnan().all())
    found = torch.corrcoef(final.flatten(1))
    assert float(found[3, 4]) == pytest.approx(0.8, abs=0.06)
    assert float(found[4, 5]) == pytest.approx(0.8, abs=0.06)
    assert float(found[2, 4]) == pytest.approx(0.64, abs=0.1)
    apart = list(generated_stack(Correlated(c), torch.zeros(6, 2, 1, PIXELS), how, Noise(7)))[-1].images
    assert abs(float(torch.corrcoef(apart.flatten(1))[3, 4])) < 0.1


@pytest.mark.parametrize(("change", "sentence"), [
    ({"method": "magic"}, "choose from heun, ddim"), ({"eta": 0.5}, "0 for heun"), ({"slab": 1}, "slabs of 2 slices"),
    ({"jumps": 0}, "1 pass or more"),
])
def test_ways_that_do_not_exist_are_one_sentence(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Generation(**change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="slabs above 8 slices of 1 mm, found 6"):
        generated_stack(Correlated(chain(9, 0.5)), torch.zeros(9, 2, 1, 2), Generation(slab=6), Noise(0), 1.0)


def test_a_damaged_model_ends_the_run() -> None:
    def broken(x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return x * float("nan")

    with pytest.raises(FloatingPointError, match="not finite"):
        last(generated(broken, (1, 1, 2, 2), None, HOW, Noise(0)))


def test_what_is_made_anew_follows_what_is_known_with_jumps() -> None:
    """Of two correlated slices one is known: p(unknown | known) = N(rho known, 1 - rho^2) with jumps, not without."""
    rho = 0.9
    denoiser = Correlated(chain(2, rho))
    known = torch.full((2, 1, 1, PIXELS), 1.5)
    unknown = torch.zeros_like(known, dtype=torch.bool)
    unknown[1] = True
    found = {}
    for jumps in (1, 10):
        levels = Generation(steps=18, sigma=(0.02, 10.0)).levels
        result = last(inpainted(denoiser, known, unknown, None, levels, Noise(2), jumps))
        assert torch.equal(result[0], known[0])
        found[jumps] = (float(result[1].mean()), float(result[1].std()))
    assert found[10][0] == pytest.approx(rho * 1.5, abs=0.08)
    assert found[10][1] == pytest.approx((1 - rho**2) ** 0.5, rel=0.12)
    assert abs(found[1][0] - rho * 1.5) > 5 * abs(found[10][0] - rho * 1.5)


def test_what_lay_in_the_part_has_no_influence() -> None:
    denoiser, unknown = Correlated(chain(2, 0.9)), torch.zeros(2, 1, 1, 9, dtype=torch.bool)
    unknown[1, ..., 2:5] = True
    known = torch.randn(2, 1, 1, 9)
    levels = Generation(steps=4).levels
    other = torch.where(unknown, torch.full_like(known, float("nan")), known)
    one, two = (last(inpainted(denoiser, k, unknown, None, levels, Noise(2), 2)) for k in (known, other))
    assert torch.equal(one, two)
    assert torch.equal(one[~unknown], known[~unknown])


@pytest.mark.parametrize(("change", "sentence"), [
    ("empty", "found no voxel"), ("all", "found every voxel"), ("shape", "resample the segment"),
    ("nan", "finite values around"), ("levels", "fall to 0"), ("jumps", "1 pass"),
])
def test_parts_that_cannot_be_made_are_one_sentence(change: str, sentence: str) -> None:
    known, unknown = torch.zeros(2, 1, 3, 3), torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    unknown[0, 0, 1, 1] = change != "empty"
    if change == "all":
        unknown[:] = True
    elif change == "shape":
        unknown = unknown[:1]
    elif change == "nan":
        known[1, 0, 0, 0] = float("nan")
    levels = [2.0, 1.0] if change == "levels" else [2.0, 1.0, 0.0]
    with pytest.raises(ValueError, match=sentence) as caught:
        inpainted(Told(), known, unknown, None, levels, Noise(0), 0 if change == "jumps" else 1)
    assert "\n" not in str(caught.value)


def test_planes_of_a_stack_tell_places_then_labels_or_images() -> None:
    place = torch.randn(2, 3, 4)
    labels = torch.tensor([[[0, 1, 255, 1]] * 3] * 2)
    planes = planes_of_labels(place, labels, Condition(MASK, ("a", "b")))
    assert planes.shape == (2, 4, 3, 4)
    assert torch.equal(planes[1, :2], place)
    assert planes[0, 2:, 0].tolist() == [[1, 0, 0, 0], [0, 1, 0, 1]]
    images = torch.randn(2, 1, 3, 4)
    assert torch.equal(planes_of_images(place, images)[:, 2:], images)
    for bad, sentence in ((labels[:, :2], "resample it to the image"), (labels[:0], "resample it"),
                          (labels + 5, "map them")):
        with pytest.raises(ValueError, match=sentence):
            planes_of_labels(place, bad, Condition(MASK, ("a", "b")))
    with pytest.raises(ValueError, match="a model of label maps"):
        planes_of_labels(place, labels, Condition(IMAGE))
    with pytest.raises(ValueError, match="finite values"):
        planes_of_images(place, images * float("nan"))
    with pytest.raises(ValueError, match="resample them"):
        planes_of_images(place, images[..., :2])
