"""Ensembles of segmentations: as often as the posterior says, with mean, variance, agreement and calibration."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from diffusion_engine.priors.conditions import MASK, SEGMENT, Condition
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.synthesis.generate import Generation
from diffusion_engine.synthesis.segment import Ensemble, Segmentation, calibration_error, overlap, segmented

TWO = Condition(SEGMENT, ("air", "body"))
HOW = Generation(steps=16, sigma=(0.02, 10.0))
PLACE = torch.zeros(2, 12, 20)


class Bits:
    """The exact denoiser of independent voxels whose second class has the chance that the image tells.

    Bits are +-1/2 in two opposite channels: D = tanh(b / 2) / 2, the log odds b = (x_1 - x_0) / s^2 + ln p / (1 - p).
    """

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        assert condition is not None
        chance = condition[:, 2]
        odds = (x[:, 1] - x[:, 0]).double() / float(sigma) ** 2 + torch.logit(chance.double())
        body = torch.tanh(odds / 2) / 2
        return torch.stack([-body, body], 1).to(x)


def last(run: object) -> Segmentation:
    return deque(run, maxlen=1)[0]  # type: ignore[arg-type, no-any-return]


def test_classes_are_drawn_as_often_as_the_image_says() -> None:
    image = torch.full((3, 1, 12, 20), 0.3)
    image[1], image[2] = 1e-6, 1 - 1e-6
    found = last(segmented(Bits(), image, PLACE, TWO, HOW, 6, Noise(1)))
    assert found.draws == 6
    share = (found.probability * 7 - 0.5) / 6
    assert float(share[1, 0].mean()) == pytest.approx(0.3, abs=0.05)
    assert share[1, 1:].mean((1, 2)).tolist() == pytest.approx([0, 1], abs=1e-6)
    torch.testing.assert_close(found.probability.sum(0), torch.ones(3, 12, 20))
    assert float(found.variance[1, 0].mean()) == pytest.approx(0.21 * 5 / 6, abs=0.04)
    assert not found.variance[:, 1:].any()
    assert found.labels[1:].float().mean((1, 2)).tolist() == [0, 1]


def test_slices_are_drawn_independently_of_their_neighbours() -> None:
    image = torch.full((3, 1, 12, 20), 0.5)
    whole = last(segmented(Bits(), image, PLACE, TWO, HOW, 1, Noise(4)))
    first = last(segmented(Bits(), image[:1], PLACE, TWO, HOW, 1, Noise(4)))
    assert torch.equal(whole.labels[:1], first.labels)
    assert not torch.equal(whole.labels[0], whole.labels[1])


def test_an_ensemble_counts_shares_variance_and_agreement() -> None:
    ensemble = Ensemble(3)
    for labels in ([0, 1, 1, 0], [0, 1, 0, 0]):
        ensemble.add(torch.tensor(labels, dtype=torch.uint8).reshape(1, 2, 2))
    found = ensemble.result()
    assert found.labels.flatten().tolist() == [0, 1, 0, 0]
    assert found.variance[1].flatten().tolist() == [0, 0, 0.25, 0]
    assert found.probability[1].flatten().tolist() == pytest.approx([1 / 9, 7 / 9, 4 / 9, 1 / 9])
    assert found.agreement[:2].tolist() == pytest.approx([2 * 2 / 5, 2 / 3])
    # No draw has the third class: that is no agreement.
    assert bool(found.agreement[2].isnan())
    with pytest.raises(ValueError, match="1 draw or more"):
        Ensemble(2).result()
    empty = torch.zeros(2, dtype=torch.bool)
    assert overlap(empty, empty) is None
    assert overlap(~empty, empty) == 0


def test_calibration_error_is_the_gap_between_what_is_said_and_what_is_true() -> None:
    probability = torch.tensor([[0.75, 0.75, 0.75, 0.75, 0.0], [0.25, 0.25, 0.25, 0.25, 1.0]])
    assert calibration_error(probability, torch.tensor([0, 0, 0, 1, 1])) == pytest.approx(0)
    assert calibration_error(probability, torch.tensor([1, 1, 1, 1, 1])) == pytest.approx(0.75 * 4 / 5)
    assert calibration_error(probability, torch.tensor([1, 1, 0, 0, 1]), ignored=[1]) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="found none"):
        calibration_error(probability, torch.tensor([1, 1, 1, 1, 1]), ignored=[1])


def test_what_cannot_be_segmented_is_one_sentence() -> None:
    image = torch.full((1, 1, 12, 20), 0.5)
    with pytest.raises(ValueError, match="1 draw or more, found 0"):
        segmented(Bits(), image, PLACE, TWO, HOW, 0, Noise(0))
    with pytest.raises(ValueError, match="a model that segments"):
        segmented(Bits(), image, PLACE, Condition(MASK, ("a", "b")), HOW, 1, Noise(0))
    with pytest.raises(ValueError, match="resample them"):
        segmented(Bits(), image[..., :4], PLACE, TWO, HOW, 1, Noise(0))
