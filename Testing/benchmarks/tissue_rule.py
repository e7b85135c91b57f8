"""How well the rule of tissue classes agrees with the organ labels of a trained segmentation.

    .venv/bin/python Testing/benchmarks/tissue_rule.py --data FOLDER [--json FILE]

FOLDER holds ctseg_torso_totalseg_3mm (ct_sm.nii.gz, seg_sm_total117.nii.gz) and ctseg_tissue_totalseg_3mm
(subcutaneous_fat, torso_fat, skeletal_muscle). Rows of name, item, value: Dice over the voxels of the class, by rule
and by labels. Neither is the truth. Spongy bone below 150 HU is soft tissue to the rule, not to the labels; muscle is
what lies in the body's wall to the rule, whatever its name.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DiffusionRecon"))

from diffusion_engine.evaluation.faithfulness import dice
from diffusion_engine.io.images import read_volume
from diffusion_engine.synthesis.classes import BONE, FAT, LUNG, MUSCLE, ct_classes

LUNGS, BONES = range(10, 15), (*range(25, 51), *range(69, 79), *range(91, 117))
"""Labels of the "total" task, version 2."""


def rows(data: Path) -> list[dict[str, object]]:
    """The agreement of each class that the labels know."""
    torso, tissue = data / "ctseg_torso_totalseg_3mm", data / "ctseg_tissue_totalseg_3mm"
    found = ct_classes(read_volume(torso / "ct_sm.nii.gz", "HU")).array
    organs = read_volume(torso / "seg_sm_total117.nii.gz").array
    names = ("subcutaneous_fat", "torso_fat", "skeletal_muscle")
    subcutaneous, inner, muscle = (read_volume(tissue / f"{name}.nii.gz").array > 0 for name in names)
    pairs = {
        "lung": (found == LUNG, np.isin(organs, LUNGS)), "bone": (found == BONE, np.isin(organs, BONES)),
        "fat": (found == FAT, subcutaneous | inner), "muscle": (found == MUSCLE, muscle),
    }
    return [{"name": "dice", "item": item, "value": round(dice(*pair), 4)} for item, pair in pairs.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = rows(options.data)
    for row in result:
        print(f"{row['name']:8} {row['item']:8} {row['value']}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
