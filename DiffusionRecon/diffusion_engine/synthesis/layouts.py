"""Where the files of a synthetic data set lie: as nnU-Net (version 2) and as BIDS-like folders want them.

nnU-Net: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md; BIDS:
https://bids-specification.readthedocs.io. BIDS has no CT; its folders are called as its others are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import __version__
from .provenance import MARK, SENTENCE

LAYOUTS = ("nnunet", "bids")
ENDING = ".nii.gz"
FOLDERS = {"CT": ("ct", "ct"), "MR": ("anat", "MRw")}
"""Of BIDS-like layouts: folder and suffix of images."""


@dataclass(frozen=True)
class CaseFiles:
    """Paths of a case within the data set, with forward slashes: ``image``, ``labels``, ``note`` ("" for none)."""

    image: str
    labels: str
    note: str = ""


def case_files(layout: str, number: int, modality: str) -> CaseFiles:
    """Where case ``number`` (from 1 on) lies; raises ValueError for another layout or modality."""
    check_layout(layout, modality)
    name = f"{MARK}{number:04d}"
    if layout == "nnunet":
        return CaseFiles(f"imagesTr/{name}_0000{ENDING}", f"labelsTr/{name}{ENDING}")
    folder, suffix = FOLDERS[modality]
    stem = f"sub-{name}/{folder}/sub-{name}_{suffix}"
    return CaseFiles(
        stem + ENDING, f"derivatives/segmentations/sub-{name}/{folder}/sub-{name}_dseg{ENDING}", stem + ".json"
    )


def check_layout(layout: str, modality: str) -> None:
    """Raise ValueError, one sentence, for a layout or a modality that there is not."""
    if layout not in LAYOUTS:
        raise ValueError(f"expected one of {', '.join(LAYOUTS)} as layout, found {layout!r}: choose one of these")
    if modality not in FOLDERS:
        raise ValueError(f"expected CT or MR as modality of a data set, found {modality!r}: choose one")


def check_labels(layout: str, labels: Mapping[int, str]) -> None:
    """Raise ValueError, one sentence, for label names that nnU-Net would refuse."""
    if layout == "nnunet" and sorted(labels) != list(range(len(labels))):
        raise ValueError(
            f"expected labels 0, 1, 2 and so on without gaps for nnU-Net, found {sorted(labels)}: renumber them"
        )


def index_files(
    layout: str, name: str, modality: str, labels: Mapping[int, str], cases: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """The texts of the files that describe the whole data set, by path.

    ``labels``: name of each value, 0 the background; ``cases``: rows of the manifest, with case and source.
    """
    if layout == "nnunet":
        content = {
            "name": name, "description": f"{MARK}. {SENTENCE}", "channel_names": {"0": modality},
            # Its background must have this name.
            "labels": {"background" if value == 0 else text: value for value, text in sorted(labels.items())},
            "numTraining": len(cases), "file_ending": ENDING, "release": __version__,
        }
        return {"dataset.json": _json(content)}
    description = {
        "Name": f"{MARK} {name}", "BIDSVersion": "1.10.0", "DatasetType": "raw", "Acknowledgements": SENTENCE,
        "GeneratedBy": [{"Name": "DiffusionPriors", "Version": __version__}],
    }
    made = {
        "Name": f"{MARK} {name}, segmentations", "BIDSVersion": "1.10.0", "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "DiffusionPriors", "Version": __version__}],
    }
    people = [f"sub-{MARK}{row['case']:04d}\t{row['source']}" for row in cases]
    table = [f"{value}\t{text}" for value, text in sorted(labels.items())]
    return {
        "dataset_description.json": _json(description), "README": f"{MARK}. {SENTENCE}\n",
        "participants.tsv": "\n".join(["participant_id\tsource", *people]) + "\n",
        "derivatives/segmentations/dataset_description.json": _json(made),
        "derivatives/segmentations/dseg.tsv": "\n".join(["index\tname", *table]) + "\n",
    }


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
