"""Perceptual colour tables: for uncertainty, dark violet to yellow; for differences, blue over grey to red.

Their own tables rather than Slicer's, so that a saved scene brings them along and they are the same without Slicer's
colour files.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import slicer

TABLE_NAME, DIFFERENCE_TABLE_NAME = "Diffusion uncertainty", "Diffusion difference"
COUNT = 256
# In Oklab (B. Ottosson, 2020, https://bottosson.github.io/posts/oklab/): lightness and hue in degrees along the
# table; chroma is this share of the largest that sRGB can show there.
LIGHTNESS = (0.2, 0.96)
HUES_DEGREES = (290.0, 470.0)
CHROMA_SHARE = 0.9
# Differences: light and colourless in the middle, one hue each side, equally dark and colourful at both ends.
DIFFERENCE_LIGHTNESS = (0.45, 0.95)
DIFFERENCE_HUES_DEGREES = (255.0, 25.0)
DIFFERENCE_CHROMA = 0.14

_OKLAB_TO_LMS = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def uncertaintyColours(count: int = COUNT) -> np.ndarray:
    """The table, (count, 3) sRGB in 0..1: even steps of Oklab lightness, hue from violet over red to yellow."""
    share = np.linspace(0.0, 1.0, count)
    lightness = LIGHTNESS[0] + (LIGHTNESS[1] - LIGHTNESS[0]) * share
    hue = np.radians(HUES_DEGREES[0] + (HUES_DEGREES[1] - HUES_DEGREES[0]) * share)
    low, high = np.zeros(count), np.full(count, 0.4)
    for _ in range(30):  # bisection for the largest chroma inside sRGB
        middle = (low + high) / 2
        linear = _linearRgb(lightness, middle, hue)
        inside = ((linear >= -1e-9) & (linear <= 1 + 1e-9)).all(axis=1)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    linear = np.clip(_linearRgb(lightness, CHROMA_SHARE * low, hue), 0.0, 1.0)
    return _srgb(linear)


def differenceColours(count: int = COUNT) -> np.ndarray:
    """A diverging table, (count, 3) sRGB in 0..1: blue below zero, near white at zero, red above, evenly both ways."""
    signed = np.linspace(-1.0, 1.0, count)
    away = np.abs(signed)
    dark, light = DIFFERENCE_LIGHTNESS
    hue = np.radians(np.where(signed < 0, *DIFFERENCE_HUES_DEGREES))
    return _srgb(np.clip(_linearRgb(light + (dark - light) * away, DIFFERENCE_CHROMA * away, hue), 0.0, 1.0))


def uncertaintyColourNode() -> slicer.vtkMRMLColorTableNode:
    """The scene's uncertainty colour table, added at its first use."""
    return _colourNode(TABLE_NAME, uncertaintyColours)


def differenceColourNode() -> slicer.vtkMRMLColorTableNode:
    """The scene's colour table of differences, added at its first use."""
    return _colourNode(DIFFERENCE_TABLE_NAME, differenceColours)


def _colourNode(name: str, colours: Callable[[], np.ndarray]) -> slicer.vtkMRMLColorTableNode:
    node = slicer.mrmlScene.GetFirstNode(name, "vtkMRMLColorTableNode")
    if node is not None:
        return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(name)
    node.SetTypeToUser()
    node.SetNumberOfColors(COUNT)
    for index, (red, green, blue) in enumerate(colours()):
        node.SetColor(index, f"{index}", float(red), float(green), float(blue), 1.0)
    node.SetHideFromEditors(False)
    return slicer.mrmlScene.AddNode(node)


def _linearRgb(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    return ((lab @ _OKLAB_TO_LMS.T) ** 3) @ _LMS_TO_RGB.T


def _srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
