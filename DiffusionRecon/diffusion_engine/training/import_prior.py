"""Import a diffusion model of another project as a prior, weights and card on disk, if it passes the self-test."""

from __future__ import annotations

import datetime
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ..io.folder import left_out, volumes_below
from ..orientation import axial_squares
from ..phantoms import synthetic_chest
from ..priors.card import PriorCard, sha256, write_card
from ..priors.foreign.families import (
    MONAI_SAMPLER,
    MONAI_SCHEDULE,
    Entry,
    read_diffusers,
    read_edm_network,
    read_guided,
    read_monai,
    tuples,
)
from ..priors.foreign.guided_unet import GuidedOptions
from ..priors.foreign.imported import ImportedDenoiser, build_imported
from ..priors.foreign.self_test import SelfTest, self_test
from ..priors.library import load_prior
from ..run.pipeline import choose_device
from .data import TrainingSlices
from .run import pixel_range
from .sources import as_source
from .units import UnitRule, rule_of
from .validate import denoising_psnr

DEPTHS = (0.5, 0.25, 0.75)
"""Where slices of a volume are taken for the self-test."""
CHEST_MM = 320.0
GUIDED_KEYS = {"steps", "prediction", "interpolate"}
MONAI_KEYS = {*MONAI_SCHEDULE, *MONAI_SAMPLER}
EDM_KEYS = {"sigma_data", "interpolate"}


@dataclass(frozen=True)
class ImportRequest:
    """The model to import, and what its file does not say.

    ``scale`` and ``offset``: network value = (value in ``unit`` - offset) / scale; for a.u. in units of the brightness
    that becomes 1 (see :class:`UnitRule`). ``schedule``: by the family's own names, "" for its default. ``options``:
    further ones by name, see :func:`read_model`. ``pixel_mm``: range of pixel sizes that it was trained on, by
    default those of the test volumes. ``data``: folder of images of the kind it was trained on, for the self-test; in
    HU the synthetic chest without one. ``slices``: how many to test on.
    """

    path: Path
    family: str
    unit: str
    scale: float
    offset: float = 0.0
    schedule: str = ""
    options: Mapping[str, Any] | None = None
    pixel_mm: tuple[float, float] | None = None
    data: Path | None = None
    files: str = "*"
    slices: int = 3
    licence: str = "as chosen by its authors"


def import_prior(request: ImportRequest, out: Path, name: str, device: str = "auto") -> dict[str, Any]:
    """Test a model as a prior and write NAME.safetensors and NAME.json into ``out``; returns the card.

    What is tested is what was written. Raises ValueError, and writes nothing, for a model that is not known, does not
    fit its description or fails the self-test; FloatingPointError where its estimates are not finite.
    """
    if not name or Path(name).name != name:
        raise ValueError(f"the name of a prior becomes that of its files, so '{name}' cannot be one: give a plain word")
    rule = rule_of(request.unit)
    entry, state = read_model(request)
    one = rule.scale or 1.0
    entry |= {"scale": request.scale / one, "offset": request.offset / one}
    levels = build_imported(entry)[1]
    sigma = (max(levels[0], rule.sigma[0]), min(levels[1], rule.sigma[1]))
    if not levels[1] >= rule.sigma_data:
        raise ValueError(
            f"at this scale the network knows noise up to {levels[1] * one:.3g} {request.unit} only, less than the "
            f"images vary: give the {request.unit} that make 1 in the network as the scale"
        )
    held = slices_to_test(request, rule)
    found = pixel_range(held)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / f"{name}.json"
        weights = draft.with_suffix(".safetensors")
        save_file({key: value.contiguous() for key, value in state.items()}, str(weights))
        card = PriorCard(
            name=name, title=name, modality=rule.modality, anatomy="as in its authors' training images",
            unit=rule.unit, offset=0.0, scale=one, sigma_data=rule.sigma_data, sigma=sigma,
            pixel_mm=request.pixel_mm or found, network=entry, weights=weights.name, sha256=sha256(weights),
            date=datetime.date.today().isoformat(), licence=request.licence, training={}, data=[],
            held_out=sorted({part for s in held for part in Path(s.name).parts[:1]}) if request.data else [],
            denoising_psnr_db={},
            not_for=["diagnosis", f"images in other units than {rule.unit}", "patches and stacks of slices"],
            scale_rule=rule.scale_rule,
        )
        write_card(card, draft)
        prior = load_prior(str(draft), choose_device(device), rule.unit)
        assert isinstance(prior.denoiser, ImportedDenoiser)
        test = self_test(prior.denoiser.rescaled, images_of(held, request.slices).to(prior.device))
        if not test.passed:
            raise ValueError(test.sentence)
        card = replace(
            card, training={"imported": request.path.name, "family": request.family, "self_test": _record(test)},
            denoising_psnr_db=denoising_psnr(load_prior(str(draft), unit=rule.unit).denoiser, held),
        )
        out.mkdir(parents=True, exist_ok=True)
        (out / weights.name).write_bytes(weights.read_bytes())
        write_card(card, out / draft.name)
    print(test.sentence)
    return asdict(card)


def _record(test: SelfTest) -> dict[str, Any]:
    """What a card says of a self-test."""
    return {
        "sentence": test.sentence,
        "levels": [{key: round(value, 4) for key, value in asdict(level).items()} for level in test.levels],
    }


def read_model(request: ImportRequest) -> tuple[Entry, dict[str, Tensor]]:
    """Entry and tensors of the model, by its family and options.

    edm: ``schedule`` edm, ve, vp or iddpm; option sigma_data. diffusers: a folder; its files say all. guided-diffusion:
    ``schedule`` linear or cosine; options steps, prediction and those of :class:`GuidedOptions`. monai: ``schedule`` as
    in its scheduler; options of scheduler and network by name. All: interpolate. Raises ValueError for another option.
    """
    options = dict(request.options or {})
    family, schedule = request.family, request.schedule
    if family not in READERS:
        raise ValueError(f"no family of networks '{family}': choose from {sorted(READERS)}")
    try:
        return READERS[family](request.path, schedule, options)
    except TypeError as error:
        raise ValueError(f"the options of the network cannot be used ({error}): correct them") from None


def _known(options: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(f"options {unknown} are not known for this family: choose from {sorted(known)}")
    return dict(options)


def _read_diffusers(path: Path, schedule: str, options: Mapping[str, Any]) -> tuple[Entry, dict[str, Tensor]]:
    if schedule:
        raise ValueError("the schedule of a diffusers model is in its scheduler_config.json: leave --schedule out")
    return read_diffusers(path, **_known(options, {"interpolate"}))


def _read_edm(path: Path, schedule: str, options: Mapping[str, Any]) -> tuple[Entry, dict[str, Tensor]]:
    return read_edm_network(path, schedule, **_known(options, EDM_KEYS))


def _read_guided(path: Path, schedule: str, options: Mapping[str, Any]) -> tuple[Entry, dict[str, Tensor]]:
    names = {entry.name for entry in fields(GuidedOptions)}
    known = _known(options, names | GUIDED_KEYS)
    network = GuidedOptions(**tuples({key: value for key, value in known.items() if key in names}))
    return read_guided(
        path, network, schedule or "linear", **{key: value for key, value in known.items() if key in GUIDED_KEYS}
    )


def _read_monai(path: Path, schedule: str, options: Mapping[str, Any]) -> tuple[Entry, dict[str, Tensor]]:
    scheduler = {key: value for key, value in options.items() if key in MONAI_KEYS}
    if schedule:
        scheduler["schedule"] = schedule
    network = {key: value for key, value in options.items() if key not in {*MONAI_KEYS, "interpolate"}}
    if not {"in_channels", "out_channels", "channels"} <= set(network):
        raise ValueError(
            "a state dict of MONAI does not tell its network: give in_channels, out_channels, channels and what else "
            "DiffusionModelUNet was made with as options"
        )
    return read_monai(path, network, scheduler, bool(options.get("interpolate", True)))


READERS: dict[str, Callable[[Path, str, Mapping[str, Any]], tuple[Entry, dict[str, Tensor]]]] = {
    "diffusers": _read_diffusers, "edm": _read_edm, "guided-diffusion": _read_guided, "monai": _read_monai,
}


def slices_to_test(request: ImportRequest, rule: UnitRule) -> list[TrainingSlices]:
    """The volumes to test on, in network units at a pixel size that the model knows.

    A volume of half that size is averaged 2 x 2. Raises ValueError where there is none.
    """
    known = request.pixel_mm
    if known is not None and not 0 < known[0] <= known[1]:
        raise ValueError(f"expected two rising positive pixel sizes in mm, found {known}")
    if request.data is None:
        if rule.unit != "HU" or known is None:
            raise ValueError(
                "nothing to test the model on: give --data with images of the kind that it was trained on"
                + (", or --pixel-mm for a test on the synthetic chest" if rule.unit == "HU" else "")
            )
        pixel, size = known[1], round(CHEST_MM / known[1])
        chest = synthetic_chest((3, size, size), (5.0, pixel, pixel))[0]
        return [as_source("synthetic chest", chest, np.full(3, pixel), replace(rule, fine_pixel_mm=0.0))]
    held, skipped = [], []
    wanted = request.files
    volumes = volumes_below(
        request.data, "HU" if rule.unit == "HU" else None, lambda place: wanted == "*" or place.match(wanted)
    )
    for place, volume in volumes:
        question = volume if isinstance(volume, str) else rule.question(volume)
        if question is None and not isinstance(volume, str):
            try:
                volume = axial_squares(volume)[0]
            except ValueError as error:
                skipped.append(f"{place.as_posix()}: {error}")
                continue
            pixel = volume.spacing_mm[0]
            fits = [known is None or known[0] * 0.98 <= p <= known[1] * 1.02 for p in (pixel, 2 * pixel)]
            if any(fits):
                # Fine pixels of the file's own are kept where the model knows them.
                own = replace(rule, fine_pixel_mm=0.0 if fits[0] else math.inf)
                pixels = np.full(len(volume.array), pixel)
                held.append(as_source(place.as_posix(), volume, pixels, own))
                continue
            question = f"its pixels of {pixel:.3g} mm are not those of the model"
        skipped.append(f"{place.as_posix()}: {question}")
    if not held:
        raise ValueError(
            f"no volume in {rule.unit} to test on below {request.data}{left_out(skipped)}: give images of the kind "
            "that the model was trained on"
        )
    return held


def images_of(held: Sequence[TrainingSlices], count: int) -> Tensor:
    """``count`` slices, of different volumes first: (slices, 1, rows, columns), cut to their common centre."""
    chosen = [source.values[int(depth * len(source.values))] for depth in DEPTHS for source in held][: max(1, count)]
    rows, columns = (min(image.shape[axis] for image in chosen) for axis in (0, 1))
    cut = []
    for image in chosen:
        top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
        cut.append(image[top : top + rows, left : left + columns].astype(np.float32))
    return torch.from_numpy(np.stack(cut))[:, None]
