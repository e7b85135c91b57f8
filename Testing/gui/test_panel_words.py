"""The panel says what the field says: samples, trained model, not determined by the scan, noise level, another scan."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from diffusion_engine.coupling import COUPLINGS
from diffusion_engine.run.presets import PRESETS
from DiffusionReconLib.panel import method

MODULE = Path(method.__file__).resolve().parents[2]
OURS = re.compile(r"\bdraws\b|\bdrawn? \d|\bpriors?\b|\bnot seen\b|\brescan|(?<!noise )\blevels?\b", re.IGNORECASE)


def translated(path: Path) -> Iterator[str]:
    """The texts that a source file gives to `_()`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
            yield from (each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and each.value)


def ofWidgets(path: Path) -> Iterator[str]:
    """The texts and tooltips of a .ui file."""
    for element in ElementTree.parse(path).iter("string"):
        if element.get("notr") != "true":
            yield element.text or ""


def ours(texts: Iterator[str]) -> list[str]:
    """Those with a word that is ours alone; names of arguments in quotes are what they are."""
    return [text for text in texts if OURS.search(re.sub(r"\{\w+\}|'[^']*'", "", str(text)))]


@pytest.mark.parametrize("path", sorted((MODULE / "Resources" / "UI").glob("*.ui")), ids=lambda path: path.name)
def test_theWidgetsSpeakTheFieldsWords(path: Path) -> None:
    assert ours(ofWidgets(path)) == []


def test_theSentencesSpeakTheFieldsWords() -> None:
    paths = sorted((MODULE / "DiffusionReconLib").rglob("*.py"))
    assert [(path.name, text) for path in paths for text in ours(translated(path))] == []


def test_presetsAndCouplingsSpeakTheFieldsWords() -> None:
    assert ours(f"{preset.title} {preset.description}" for preset in PRESETS.values()) == []
    assert ours(coupling.title for coupling in COUPLINGS.values()) == []


def test_theSearchSeesWhatItIsFor() -> None:
    theirs = ("4 samples", "the last noise level", "draw it", "needs another scan", "not determined by the scan")
    assert ours(iter(theirs)) == []
    found = ("4 Draws", "the prior sees", "Level:", "Not seen", "Rescan")
    assert ours(iter(found)) == list(found)
