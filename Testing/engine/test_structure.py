"""What the engine's source must keep to: outside its folder no modality is named, and the table's entries fit a run."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import diffusion_engine
import pytest
from diffusion_engine.modalities.table import MODALITIES
from diffusion_engine.run.presets import PRESETS
from diffusion_engine.run.settings import Settings
from diffusion_engine.solvers.catalogue import METHODS

ENGINE = Path(diffusion_engine.__file__).parent
ROOMS = ("run", "evaluation", "posterior", "jobs", "solvers", "coupling", "likelihoods")
TABLES = ("run/presets.py", "solvers/catalogue.py", "solvers/listed.py")
"""Literal tables: what is offered, and for which modalities."""
WORDS = {
    "ct", "hu", "hounsfield", "sinogram", "sinograms", "water", "attenuation", "fbp", "backprojection", "fan", "photon",
    "photons", "mr", "mri", "kspace", "coil", "coils", "pet", "spect", "suv", "tomography", "tomographic", "radon",
    "backproject", "gantry", "isocentre", "kvp", "tesla", "tracer", "tracers", "becquerel", "osem", "mlem",
}
"""Modalities, their units and images, and what only one of them has. Views, detectors and bodies are of several."""
READ = {
    tokenize.NAME, tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING),
    getattr(tokenize, "TSTRING_MIDDLE", tokenize.STRING),
}
"""Identifiers, comments and strings, from Python 3.12 on also what stands between the braces of an f-string."""
PENALTIES = ("solvers",)
"""Where "tv" is a penalty of a network's image, not an image that a modality makes."""
OTHER_NAMES = re.compile(r"score[-_]?mri|pet[-_]?dds|z-?tv", re.IGNORECASE)
"""Published methods are called what their authors call them; z-TV ties slices of any modality."""


def sources() -> Iterator[Path]:
    for room in ROOMS:
        yield from sorted((ENGINE / room).rglob("*.py"))


def words_of(text: str) -> Iterator[tuple[int, str]]:
    """Line and word of identifiers, strings and comments, in lower case; those of a compound one by one."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in READ:
            continue
        plain = OTHER_NAMES.sub("", token.string).replace("k-space", "kspace")
        for word in re.findall(r"[A-Z]+(?![a-z])|[A-Za-z]?[a-z]+", plain):
            yield token.start[0], word.lower()


def test_no_modality_is_named_outside_its_folder() -> None:
    found = []
    for path in sources():
        name = path.relative_to(ENGINE).as_posix()
        banned = WORDS if name.split("/")[0] in PENALTIES else WORDS | {"tv"}
        if name not in TABLES:
            text = path.read_text(encoding="utf-8")
            found += [f"{name}:{line} {word}" for line, word in words_of(text) if word in banned]
    assert found == []


def test_the_search_finds_what_it_looks_for() -> None:
    text = "def fbp_image(x_HU, CTScan):\n    'of water and k-space, Score-MRI'  # tv\n    return hurry(contact)\n"
    text += "print(f'{hurry} of a sinogram {contact:.1f} photons')\n"
    found = {word for _, word in words_of(text) if word in WORDS | {"tv"}}
    assert found == {"fbp", "hu", "ct", "water", "kspace", "tv", "sinogram", "photons"}


def test_a_run_imports_no_modality() -> None:
    for path in sources():
        text = path.read_text(encoding="utf-8")
        for name in MODALITIES:
            assert f"modalities.{name}" not in text, path


@pytest.mark.parametrize("name", list(MODALITIES))
def test_an_entry_of_the_table_is_whole(name: str) -> None:
    entry = MODALITIES[name]
    assert entry.name == name
    assert is_dataclass(entry.scan)
    own = {known.name for known in fields(entry.scan)}
    assert not own & {known.name for known in fields(Settings)}, "settings of a scan and of a run lie side by side"
    assert entry.fallback in {image.name for image in entry.classical}
    assert entry.image(entry.fallback).fitted
    assert Settings(modality=name).methods == entry.methods
    assert entry.scale.unit == entry.unit
    assert any(name in method.modalities for method in METHODS.values())


def test_presets_and_methods_name_modalities_that_there_are_or_will_be() -> None:
    known = {*MODALITIES, "mri", "pet"}
    for preset in PRESETS.values():
        assert preset.modalities
        assert set(preset.modalities) <= known
    for method in METHODS.values():
        assert set(method.earned) <= set(method.modalities) <= known
