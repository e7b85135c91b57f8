"""A perceptual colour table for uncertainty: lightness grows evenly from dark violet to yellow.

Its own table rather than Slicer's Inferno, so that a saved scene brings it along and it is the same without Slicer's
colour files.
"""

from __future__ import annotations

import numpy as np
import slicer

TABLE_NAME = "Diffusion uncertainty"
COUNT = 256
# In Oklab (B. Ottosson, 2020, https://bottosson.github.io/posts/oklab/): lightness and hue in degrees along the
# table; chroma is this share of the largest that sRGB can show there.
LIGHTNESS = (0.2, 0.96)
HUES_DEGREES = (290.0, 470.0)
CHROMA_SHARE = 0.9

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
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def uncertaintyColourNode() -> slicer.vtkMRMLColorTableNode:
    """The scene's uncertainty colour table, added at its first use."""
    node = slicer.mrmlScene.GetFirstNode(TABLE_NAME, "vtkMRMLColorTableNode")
    if node is not None:
        return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(TABLE_NAME)
    node.SetTypeToUser()
    node.SetNumberOfColors(COUNT)
    for index, (red, green, blue) in enumerate(uncertaintyColours()):
        node.SetColor(index, f"{index}", float(red), float(green), float(blue), 1.0)
    node.SetHideFromEditors(False)
    return slicer.mrmlScene.AddNode(node)


def _linearRgb(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    return ((lab @ _OKLAB_TO_LMS.T) ** 3) @ _LMS_TO_RGB.T
