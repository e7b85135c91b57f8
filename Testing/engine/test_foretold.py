"""Readings that were left out: which image foretells them, and what the gate makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusion_engine.modalities.ct.problem import Problem, prepare
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.run import foretold as module
from diffusion_engine.run import verdicts
from diffusion_engine.run.foretold import Foretold, deciding, foretell
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.run.report import Tally
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume
from stub_priors import FAILS, PASSES, stub_prior, typicality

RUN: dict[str, Any] = {
    "methods": ["tv", "diffusion"], "views": 20, "draws": 2, "steps": 3, "tv_iterations": 150, "device": "cpu",
    "noise_percent": 0.5,
}


@pytest.fixture(scope="module")
def small() -> Volume:
    return synthetic_chest((2, 40, 40), (10.0, 9.0, 9.0))[0]


def problem_of(volume: Volume, **changes: Any) -> Problem:
    return prepare(volume, Settings.from_dict({**RUN, **changes}), torch.device("cpu"), None)


def outcome(steps: Any) -> Any:
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(("views", "apart"), [(8, [2, 6]), (19, [4, 13]), (20, [5, 15]), (45, [5, 15, 25, 35])])
def test_a_scan_is_divided_by_its_views(small: Volume, views: int, apart: list[int]) -> None:
    """Each part keeps its own angles and data, so that an image has the same residuals as in the whole scan."""
    system = problem_of(small, views=views, i0=1e5).delivered
    parts = system.divided()
    assert parts is not None
    rest = [n for n in range(views) if n not in apart]
    image = 0.1 * torch.randn(2, *system.grid.shape, generator=torch.Generator().manual_seed(0))
    whole = system.groups(image)
    for part, own in zip(parts, (rest, apart), strict=True):
        assert part.geometry.angles_rad == tuple(system.geometry.angles_rad[n] for n in own)
        torch.testing.assert_close(part.data, system.data[:, own])
        torch.testing.assert_close(part.groups(image), whole[:, own], rtol=1e-4, atol=1e-4)


def test_too_few_views_are_not_divided(small: Volume) -> None:
    assert problem_of(small, views=7).delivered.divided() is None
    tally = Tally({}, scores=[1.0, 2.0])
    found = foretell(problem_of(small, views=7), Settings.from_dict(RUN), None, tally)  # type: ignore[arg-type]
    assert outcome(found) is None


def test_the_slices_nearest_to_the_deciding_score_are_tried() -> None:
    assert deciding([9.0, 4.0, 5.0, 1.0, 6.0], 3) == [1, 2, 4]
    assert deciding([2.0], 3) == [0]
    assert deciding([2.0, 2.0, 2.0, 2.0], 3) == [0, 1, 2]


def test_readings_are_foretold_from_the_others_alone(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth misses them by the noise and the discretisation; one that has seen none of the object by far more."""
    problem = problem_of(small, noise_percent=2.0)
    assert problem.reference is not None
    truth, seen = problem.network(problem.reference), list[int]()

    def classical(part: Problem, *_: Any) -> Iterator[Any]:
        seen.append(len(part.delivered.geometry.angles_rad))
        assert part.prior is part.delivered
        yield None
        return torch.full_like(truth[:1], -1.0)

    def draw(part: Problem, settings: Any, prior: Any, surrogate: torch.Tensor, tally: Any) -> Iterator[Any]:
        assert float(surrogate.max()) == -1
        yield None
        return truth[part.places[0]][None]

    monkeypatch.setattr(module, "_classical", classical)
    monkeypatch.setattr(module, "_draw", draw)
    tally = Tally({}, scores=[1.0, 2.0])
    found = outcome(foretell(problem, Settings.from_dict(RUN), None, tally))  # type: ignore[arg-type]
    assert seen == [18, 18]
    assert found.draw == pytest.approx(1.0, abs=0.5)
    assert found.classical > 100
    assert found.draw_is_better
    assert found.readings == 2 * 2 * problem.delivered.data.shape[-1]


@pytest.mark.parametrize(("draw", "classical", "readings", "better"), [
    (2.0, 1.0, 1000, False), (1.4, 2.0, 1000, True), (1.6, 2.0, 1000, False), (0.9, 1.2, 1000, True),
    (0.99, 1.02, 1000, False), (0.99, 1.02, 100_000, True), (1.0, 1.0, 1000, False), (0.8, 0.9, 10**6, False),
])
def test_a_draw_must_be_better_by_far_and_by_more_than_chance(
    draw: float, classical: float, readings: int, better: bool
) -> None:
    assert Foretold(draw, classical, readings).draw_is_better == better


@pytest.mark.parametrize("found", [Foretold(1.2, 2.5, 400), Foretold(2.5, 1.2, 400), None])
def test_what_foretells_readings_better_is_delivered(
    small: Volume, monkeypatch: pytest.MonkeyPatch, found: Foretold | None
) -> None:
    stub_prior(monkeypatch, typicality=typicality(FAILS))
    asked = []

    def told(problem: Any, settings: Any, prior: Any, tally: Tally) -> Iterator[Any]:
        asked.append(len(tally.scores))
        yield from ()
        return found

    monkeypatch.setattr(verdicts, "foretell", told)
    result = reconstruct(small, RUN)
    gate = result.report["gate"]
    kept = found is not None and found.draw_is_better
    assert asked == [2]
    assert (gate["passed"], gate["kept"], gate["blend"]) == (False, kept, 0.0 if kept else 1.0)
    assert ("fallback" in result.volumes) == (not kept)
    assert gate["sentence"] in result.report["notes"]
    if kept:
        assert "misses them by 2.50 times the noise, the prior's by 1.20" in gate["sentence"]
        assert "The mean stays" in gate["sentence"]
    assert result.report["calibration"]["matched"] is False


@pytest.mark.parametrize("passes", [True, False])
def test_where_only_the_mean_explains_the_data_it_stays(
    small: Volume, monkeypatch: pytest.MonkeyPatch, passes: bool
) -> None:
    """A classical image that does not explain the data is no safer; where the mean fails too, no image is."""
    stub_prior(monkeypatch, typicality=typicality(FAILS))
    monkeypatch.setattr(verdicts, "_explains", lambda problem, settings, kind, *_: kind != "tv" and passes)
    monkeypatch.setattr(verdicts, "accepted_range", lambda *given, **named: (0.0, 1e9))
    result = reconstruct(small, RUN)
    gate = result.report["gate"]
    assert "fallback" not in result.volumes
    assert (gate["blend"], gate["kept"]) == (0.0, passes)
    assert ("; the mean does. The mean stays" in gate["sentence"]) == passes
    assert ("use none of the images" in gate["sentence"]) == (not passes)


def test_a_trial_is_one_draw_of_each_slice_and_only_of_what_failed(
    small: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The denoiser of white images foretells a chest less well than TV: the fallback is delivered."""
    asked = []
    for limits in (PASSES, FAILS):
        prior = stub_prior(monkeypatch, typicality=typicality(limits))
        result = reconstruct(small, RUN)
        asked.append(len(prior.asked))
    assert result.report["gate"]["kept"] is False
    assert "fallback" in result.volumes
    assert asked[1] - asked[0] == 2 * 3
