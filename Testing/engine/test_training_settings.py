"""What a training is asked for is checked before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from diffusion_engine.training.settings import PriorTraining
from diffusion_engine.training.units import LINE_INTEGRAL


@pytest.mark.parametrize(("wrong", "sentence"), [
    ({"steps": 0}, "1 training step or more, found 0"),
    ({"patches": (64, 8)}, r"16 pixels or more, found \[64, 8\]"),
    ({"pixels": 255}, "256 pixels or more in a step, found 255"),
    ({"rate": 0.0}, "learning rate above 0, found 0.0"),
    ({"log_sigma": (-1.0,)}, "two numbers such as"),
    ({"log_sigma": (-1.0, 0.0)}, "two numbers such as"),
    ({"processes": 0}, "1 process or more, found 0"),
    ({"sees": "cube"}, "a network cannot see a 'cube': choose from slice, neighbours, volume"),
    ({"unit": "mm"}, "no rule to train on the unit 'mm'"),
    ({"unit": LINE_INTEGRAL, "augment": True}, "variants of sinograms"),
])
def test_what_cannot_be_trained_is_refused_in_one_sentence(wrong: dict[str, Any], sentence: str) -> None:
    good: dict[str, Any] = {"data": Path("data"), "steps": 1, "patches": (16,), "pixels": 256, "log_sigma": (-1.0, 0.1)}
    PriorTraining(**good)
    with pytest.raises(ValueError, match=sentence):
        PriorTraining(**{**good, **wrong})
