"""Waiting in tests: for a condition, with an end that no loaded machine reaches. No test asks how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = 60.0, what: str = "") -> T:
    """The condition's value once it holds; AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"expected {what or condition} within {seconds:g} s"
        time.sleep(0.02)
    return value
