"""Presets and the list of methods, which a panel shows without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from diffusion_engine.run.presets import PRESETS, available_presets, preset_named
from diffusion_engine.run.settings import Settings
from diffusion_engine.solvers import listing

ENGINE = Path(listing.__file__).resolve().parents[2]


def test_listing_is_the_catalogue() -> None:
    from diffusion_engine.solvers.listed import COUPLED, LISTED

    renew = "the catalogue has changed: run `python -m diffusion_engine.solvers.listing` in DiffusionRecon"
    assert list(listing.catalogue_entries()) == LISTED, renew
    assert listing.coupling_titles() == COUPLED == listing.listed_couplings(), renew
    assert Path(listing.__file__).with_name("listed.py").read_text(encoding="utf-8") == listing.table_text(), renew


def test_options_of_the_list_are_options_of_the_method() -> None:
    from diffusion_engine.solvers.catalogue import method_named

    for name, method in listing.listed_methods().items():
        given = {option.name: option.default for option in method.options}
        built = method_named(name).options(given, steps=method.steps)
        assert all(getattr(built, key) == value for key, value in given.items())


def test_total_variation_along_z_and_neighbours_need_a_method_that_ties_stacks() -> None:
    from diffusion_engine.run.draws import check_method

    methods = listing.listed_methods("ct")
    for name, method in methods.items():
        for coupling in listing.listed_couplings():
            settings = Settings(solver=name, coupling=coupling)
            if ("ztv" in coupling or coupling in ("neighbours", "volume")) and not method.stacks:
                with pytest.raises(ValueError, match=rf"{name} cannot tie slices .*'dds'"):
                    check_method(settings)
            else:
                check_method(settings)
    assert {method.stacks for method in methods.values()} == {True, False}


def test_presets_and_listing_need_no_torch() -> None:
    """Nor anything else that a panel has to install first."""
    code = (
        "import sys\n"
        "for name in ('torch', 'scipy', 'psutil', 'safetensors', 'monai', 'pydicom', 'h5py', 'SimpleITK'):\n"
        "    sys.modules[name] = None\n"
        "import diffusion_engine.run.presets, diffusion_engine.run.settings, diffusion_engine.priors.card\n"
        "import diffusion_engine.run.disk, diffusion_engine.solvers.listing as listing\n"
        "assert listing.listed_methods('ct') and listing.listed_couplings()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ENGINE, check=True)


def test_only_presets_with_a_listed_solver_are_offered() -> None:
    assert [preset.name for preset in available_presets([])] == ["classical"]
    offered = [preset.name for preset in available_presets(listing.listed_methods("ct"))]
    assert {"fast", "standard", "low-dose", "classical"} <= set(offered)
    assert offered == [name for name in PRESETS if name in offered]


@pytest.mark.parametrize("name", list(PRESETS))
def test_changes_of_a_preset_are_settings(name: str) -> None:
    changes = {key: value for key, value in PRESETS[name].changes.items() if key != "preset"}
    settings = Settings.from_dict(changes)
    assert all(getattr(settings, key) == value for key, value in changes.items())
    assert PRESETS[name].changes["preset"] == name


def test_unknown_preset_is_refused_with_the_names() -> None:
    with pytest.raises(ValueError, match=r"'slow'.*standard"):
        preset_named("slow")
