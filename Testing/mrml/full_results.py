"""A finished job folder with every volume and report key that a result can have, made without the engine.

The thorax of `host.results`; two regions are uncertain: around the nodule in the right lung (also not seen by the
scan) and a strip at the back. Draws vary there together, elsewhere voxel by voxel.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from diffusion_engine.io.images import read_volume, write_volume
from diffusion_engine.volume import Volume
from host.results import writeResultFolder

NODULE = (-0.42, 0.05, 0.0)  # i, j, k in -1..1 of the grid
DRAWS = 6


def regionMasks(shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """The two uncertain regions, (K,J,I) bool."""
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, count) for count in shape), indexing="ij")
    nodule = (i - NODULE[0]) ** 2 + (j - NODULE[1]) ** 2 + ((k - NODULE[2]) * 0.5) ** 2 < 0.16**2
    strip = (np.abs(i - 0.3) < 0.12) & (np.abs(j - 0.5) < 0.07) & (np.abs(k) < 0.5)
    return {"nodule": nodule, "strip": strip}


def writeFullResult(
    folder: str | Path, shape: tuple[int, int, int] = (24, 64, 64), passed: bool = True, warns: bool = False,
    **report: object,
) -> Path:
    """Write the folder; `passed`: whether the gate did (else there is a fallback); `warns`: whether a map warns of the
    middle; `report`: keys to replace."""
    folder = writeResultFolder(folder, shape)
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    mean, reference = read_volume(folder / "mean.nrrd"), read_volume(folder / "reference.nrrd")
    rng = np.random.default_rng(5)
    masks = regionMasks(shape)
    spread, share = np.full(shape, 4.0), np.full(shape, 0.2)
    spread[masks["nodule"]], spread[masks["strip"]] = 90.0, 60.0
    share[masks["nodule"]] = 0.8
    arrays = {
        "uncertainty": ("HU", spread),
        "not_seen": ("HU", spread * np.sqrt(share)),
        "not_seen_share": ("1", share),
        "residual": ("1", rng.normal(0, 1, shape) + 6 * masks["strip"]),
        "prior_decided": ("1", np.zeros(shape)),
        "data_disagree": ("1", np.zeros(shape)),
    }
    warned = [index // 2 for index in shape]
    for key, height in (("prior_decided", 7.0), ("data_disagree", 6.0)):
        arrays[key][1][tuple(slice(index - 1, index + 2) for index in warned)] = height
    place = (mean.ijk_to_ras[:3] @ [*warned[::-1], 1.0]).tolist()
    together = rng.normal(0, 1, (DRAWS, 2))
    for number in range(DRAWS):
        draw = mean.array + rng.normal(0, 4, shape)
        for name, amount in zip(("nodule", "strip"), together[number], strict=True):
            draw[masks[name]] += spread[masks[name]] * amount
        arrays[f"draw_{number + 1}"] = ("HU", draw)
    if not passed:
        arrays["fallback"] = ("HU", 0.5 * mean.array + 0.5 * reference.array)
    for key, (unit, array) in arrays.items():
        write_volume(Volume(array.astype(np.float32), mean.ijk_to_ras, unit), folder / f"{key}.nrrd")
        content["files"][key] = f"{key}.nrrd"
    content.update(
        {
            "draws": DRAWS,
            "solver": "dds",
            "preset": "standard",
            "residual_tests": [
                {"kind": "fbp", "ratio": 3.1, "accepted": [0.0, 4.0], "passed": True, "per_view": [3.0, 3.2]},
                {"kind": "mean", "ratio": 1.05, "accepted": [0.7, 1.6], "passed": True, "per_view": [1.0, 1.1]},
            ],
            "gate": {
                "score": 1.2 if passed else 3.4,
                "threshold": 2.0,
                "passed": passed,
                "blend": 0.0 if passed else 0.5,
                "sentence": "The image is like those of the prior." if passed else "The image is unlike the prior's.",
            },
            "calibration": {
                "matched": True,
                "factor": 2.4,
                "coverage90": 0.52,
                "coverage90_calibrated": 0.9,
                "sentence": "Calibrated on held-out chests with 60 views.",
            },
            "maps": {
                "prior_decided": {
                    "threshold": 5.0, "false_alarms_per_32_slices": 0.9, "sentence": "One place.",
                    "warnings": [{"ras": place, "z": 7.0, "size_mm": 10.0, "slice": warned[0]}] if warns else [],
                },
                "data_disagree": {
                    "threshold": None, "false_alarms_per_32_slices": None, "sentence": "No threshold.", "warnings": [],
                },
            },
            **report,
        }
    )
    (folder / "result.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder
