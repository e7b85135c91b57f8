"""The tables by name: each a function from committed results, cards and catalogue to Markdown."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import few_views, protocol
from benchmarks import lesion_table as of
from benchmarks.mri_tables import mri_gate_rows, mri_measured_rows, mri_short_rows, mri_table_rows
from benchmarks.pet_tables import pet_noise_rows, pet_table_rows
from diffusion_engine.modalities.ct.fingerprint import EVEN
from diffusion_engine.modalities.table import MODALITIES
from diffusion_engine.run.presets import PRESETS, Preset, serves
from diffusion_engine.solvers.listing import Listed, listed_method, listed_methods

RESULTS = Path(__file__).with_name("results")
CLASSICAL = {"fbp": "FBP", "tv": "TV", "tv-oracle": "best TV"}
LABELS = {
    "posterior": "posterior", "near-posterior": "near posterior", "concentrated": "spread of estimates",
    "point": "one estimate",
}
NO_ROWS = "To be measured anew."


def result(name: str) -> dict[str, Any]:
    """A committed result."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; one line in place of a table without rows."""
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines]) if lines else NO_ROWS


def cards() -> list[dict[str, Any]]:
    """The cards of the shipped priors, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(protocol.PRIORS.glob("*.json"))]


def _bold(cells: Sequence[str], values: Sequence[float | None]) -> list[str]:
    best = max(value for value in values if value is not None)
    return [f"**{cell}**" if value == best else cell for cell, value in zip(cells, values, strict=True)]


def _protocol_rows() -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The rows of the protocol that hold today, by column and number of views; in a fixed order of slices.

    A column is a classical image or a preset; its single sample has "draw" before its name.
    """
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for part in result("protocol")["parts"]:
        if part["preset"] not in protocol.PLANNED or not protocol.is_current(part):
            continue
        for row in sorted(part["rows"], key=lambda row: (row["item"], row["case"])):
            column = part["preset"] if row["method"] not in CLASSICAL else row["method"]
            column = f"draw {column}" if row["method"].endswith("-draw") else column
            found.setdefault((column, row["views"]), []).append(row)
    return found


def _columns(found: dict[tuple[str, int], list[dict[str, Any]]]) -> tuple[list[str], list[int]]:
    known = {column for column, _ in found}
    order = [*CLASSICAL, *(name for name in PRESETS if name in known)]
    return [name for name in order if name in known], sorted({views for _, views in found}, reverse=True)


def _title(column: str) -> str:
    return CLASSICAL[column] if column in CLASSICAL else PRESETS[column].title


def protocol_in_short() -> str:
    """PSNR and SSIM of every column, a row for each number of views; the best PSNR in bold."""
    found = _protocol_rows()
    columns, numbers = _columns(found)
    rows = []
    for views in numbers:
        here = [found.get((column, views)) for column in columns]
        psnr = [mean(row["psnr"] for row in part) if part else None for part in here]
        cells = [f"{mean(r['psnr'] for r in part):.1f} / {mean(r['ssim'] for r in part):.2f}" if part else ""
                 for part in here]
        rows.append([f"{views} views", *_bold(cells, psnr)])
    return table(["PSNR in dB / SSIM", *map(_title, columns)], rows)


def protocol_in_full() -> str:
    """A row for each way and number of views: a sample, the mean, its gain over the best TV, trust."""
    found = _protocol_rows()
    columns, numbers = _columns(found)
    rows = []
    for views in numbers:
        for column in columns:
            part = found.get((column, views))
            if not part:
                continue
            single, best = found.get((f"draw {column}", views)), found.get(("tv-oracle", views))
            gains = [a["psnr"] - b["psnr"] for a, b in zip(part, best, strict=True)] if best and single else []
            rows.append([
                f"{views}", _title(column), _pair(single) if single else "", _pair(part),
                f"{mean(gains):+.2f} ({min(gains):+.2f})" if gains else "",
                f"{mean(row['residual_ratio'] for row in part):.2f}",
                *(_mean_of(part, key) for key in ("coverage90", "coverage90_calibrated", "error_spread_corr")),
            ])
    head = ["views", "way", "one sample", "image delivered", "minus best TV: mean (worst)", "residual",
            "90 % interval holds", "after calibration", "error and spread"]
    return table(head, rows)


def _pair(rows: Sequence[dict[str, Any]]) -> str:
    return f"{mean(row['psnr'] for row in rows):.2f} / {mean(row['ssim'] for row in rows):.3f}"


def _mean_of(rows: Sequence[dict[str, Any]], key: str) -> str:
    known = [row[key] for row in rows if row[key] is not None]
    return f"{mean(known):.2f}" if len(known) == len(rows) else ""


def few_views_bought() -> str:
    """Work and PSNR of each way to spend it, by number of views and case."""
    content = result("few_views")
    today = [row for row in content["rows"] if few_views.is_current(row)]
    keys = sorted({key for row in today for key in row["psnr"]}, key=lambda key: (-int(key.split()[0]), key))
    rows = [
        [row["name"], f"{row['work']:.1f}", *(f"{row['psnr'][key]:.2f}" if key in row["psnr"] else "" for key in keys)]
        for row in today
    ]
    return table(["way", "work", *(key.replace("_", " ") for key in keys)], rows)


def truth_in_short() -> str:
    """Of each method the worst figure over all linear problems that it was run on; those near the posterior first."""
    from benchmarks.posterior_truth import LINEAR

    content = result("posterior_truth")
    linear = [name for name in content["problems"] if name in LINEAR]
    by: dict[str, list[dict[str, Any]]] = {}
    for row in content["rows"]:
        if row["problem"] in linear:
            by.setdefault(row["solver"], []).append(row)
    order = [*LABELS, ""]
    rows = []
    for name, part in sorted(by.items(), key=lambda item: (order.index(item[1][0]["spread"]), -len(item[1]))):
        label = "peer" if part[0]["peer"] else LABELS[part[0]["spread"]]
        rows.append([
            name, label, f"{len(part)} of {len(linear)}",
            *(_worst(part, key, ideal) for key, ideal in (
                ("variance_ratio_measured", 1.0), ("variance_ratio_unmeasured", 1.0), ("mean_error_sd", 0.0),
                ("coverage90", 0.9), ("mode_weight_error", 0.0))),
            f"{max(row['forwards'] for row in part)} + {max(row['vjps'] for row in part)}",
        ])
    head = ["method", "label", "problems", "variance found / true, seen", "unseen", "mean off, in SD",
            "90 % interval holds", "mode weights off", "calls + products"]
    return table(head, rows)


def _worst(rows: Sequence[dict[str, Any]], key: str, ideal: float) -> str:
    known = [row[key] for row in rows if row[key] is not None]
    return f"{max(known, key=lambda value: abs(value - ideal)):.2f}" if known else ""


def truth_in_full() -> str:
    """The whole truth table."""
    from benchmarks.posterior_truth import markdown

    return markdown(result("posterior_truth"))


def denoising() -> str:
    """Denoising PSNR of held-out images by each prior, as its card has it."""
    own = [card for card in cards() if card["denoising_psnr_db"]]
    levels = [level for level in own[0]["denoising_psnr_db"] if all(level in c["denoising_psnr_db"] for c in own)]
    rows = [
        [f"`{card['name']}`", f"{card['unit']} / {card['scale']:g}",
         *(f"{card['denoising_psnr_db'][level]:.1f}" for level in levels)]
        for card in own
    ]
    return table(["prior", "network unit", *levels], rows)


def calibrations() -> str:
    """The acquisitions whose spread the cards calibrate: those of a preset's method, steps, samples and options."""
    rows = []
    for card in cards():
        for entry in card["calibration"]:
            title = next((preset.title for preset in PRESETS.values() if _is_of(entry, preset, card)), None)
            if title is not None:
                by_ray = " by ray" if entry.get("noise_range", 1.0) > EVEN else ""
                noise = f"{entry['noise_percent']:.1g} %{by_ray}" if "noise_percent" in entry else "-"
                by_class = entry.get("coverage90_by_class", {})
                kept = entry.get("contrast_kept")
                rows.append([
                    title, f"`{card['name']}`", _scan_of(entry, card["modality"]), noise, f"{entry['factor']:.2f}",
                    f"{entry['coverage90']:.2f}", f"{entry['coverage90_calibrated']:.2f}",
                    " / ".join(f"{share:.2f}" for share in by_class.values()) or "-", f"{entry.get('gain', 0.0):g}",
                    "-" if kept is None else f"{kept:.2f}",
                ])
    return table([
        "preset", "prior", "scan", "noise", "factor", "90 % interval holds", "after calibration",
        "air and lung / soft / bone", "mean moved by", "contrast of lesions kept",
    ], rows)


def mri_in_short() -> str:
    """Simulated MR acquisitions of brains: what is delivered beside the best peer."""
    return table([
        "acceleration", "NRMSE", "best peer", "ratio: mean of items (worst)", "SSIM", "90 % interval holds",
        "contrast kept of lesions of 5 / 10 mm",
    ], mri_short_rows(_listed("mri")))


def mri_rows() -> str:
    """Simulated MR acquisitions of heads and of other parts: every method beside the best peer."""
    return table([
        "acceleration", "images", "method", "NRMSE", "times the best peer: mean (worst item)", "SSIM",
        "contrast kept of 5 mm", "of 10 mm", "90 % interval holds", "after calibration", "inside lesions",
    ], mri_table_rows(_listed("mri")))


def mri_gate() -> str:
    """How often the gate of MRI stops what is ordinary and what is not."""
    return table(
        ["images", "acceleration", "how many", "stopped, in part or in full", "in full"],
        mri_gate_rows(_listed("mri_gate")),
    )


def mri_measured() -> str:
    """A real acquisition: error on samples that were held out."""
    return table(
        ["acceleration", "image", "error of held-out samples", "noise alone leaves", "residual over noise"],
        mri_measured_rows(_listed("mri_measured")),
    )


def pet_rows() -> str:
    """Simulated PET acquisitions: every method beside the better peer."""
    return table([
        "million counts", "images", "method", "NRMSE", "times the better peer: mean (worst item)", "SSIM",
        "contrast kept of 13 mm", "of 22 mm", "missed", "invented a slice", "90 % interval holds",
        "after calibration", "inside lesions", "inside, after calibration",
    ], pet_table_rows(_listed("pet")))


def pet_noise() -> str:
    """Ten realisations of the noise: bias and noise of patches, contrast of lesions."""
    columns = [
        column for size in ("13 mm", "22 mm")
        for column in (f"bias of a patch of {size}", "its noise", f"contrast kept of {size}", "its noise")
    ]
    return table(["million counts", "images", "method", *columns], pet_noise_rows(_listed("pet_noise")))


def _listed(name: str) -> list[dict[str, Any]]:
    """The rows of a committed result; none where there is none."""
    place = RESULTS / f"{name}.json"
    return json.loads(place.read_text(encoding="utf-8")) if place.exists() else []


def lesions() -> str:
    """Lesions inserted into real slices, by preset, views and noise."""
    rows = _listed("lesions")
    names = dict.fromkeys((row["preset"], row["views"], row["noise"]) for row in rows)
    return table([
        "preset", "views", "noise", "lesions", "kept: preset / TV", "good", "clear ones kept or warned of",
        "coverage inside", "false alarms in 32 slices", "invented a slice: preset / TV",
    ], [_of_lesions(name, [row for row in rows if (row["preset"], row["views"], row["noise"]) == name])
        for name in names])


def _of_lesions(name: tuple[str, int, str], rows: list[dict[str, Any]]) -> list[str]:
    found, slices = of.lesion_rows(rows), [row for row in rows if row["kind"] == "slice"]
    large = [row for row in found if row["diameter_mm"] >= of.LARGE_MM]
    clear = [row for row in large if row["signal"] > of.CLEAR]
    low, high = of.GOOD
    noticed = of.mean(of.is_kept(row) or of.is_warned(row) for row in clear)
    by_tv = of.mean(of.is_kept(row, "contrast_kept_tv") for row in found)
    invented = [of.mean(row[key] for row in slices) for key in ("invented", "invented_tv")]
    return [
        PRESETS[name[0]].title, str(name[1]), str(name[2]), str(len(found)),
        f"{of.mean(map(of.is_kept, found))} / {by_tv}", of.mean(low <= row["contrast_kept"] <= high for row in found),
        f"{noticed} of {len(clear)}", of.mean(row["coverage_inside"] for row in large), of.alarms(slices),
        " / ".join(invented),
    ]


def _scan_of(entry: dict[str, Any], modality: str) -> str:
    if "views" in entry:
        return f"{'parallel' if entry['geometry'] == 'parallel' else 'fan'}, {entry['views']} views"
    return MODALITIES[modality].in_words(entry)


def _is_of(entry: dict[str, Any], preset: Preset, card: dict[str, Any]) -> bool:
    changes, modality = preset.changes, card["modality"]
    if not serves(preset, modality):
        return False
    own = MODALITIES[modality].usual.get(entry["solver"], {})
    if entry["solver"] != preset.solver or entry["coupling"] != changes.get("coupling", "none"):
        return False
    usual = {option.name: option.default for option in listed_method(entry["solver"], modality).options}
    taught = {key: value for key, value in card["sampler"].items() if key in usual}
    same = entry["options"] == {**usual, **taught, **changes.get("solver_options", {})}
    steps = changes.get("steps", own.get("steps"))
    return same and (entry["steps"], entry["draws"]) == (steps, changes.get("draws"))


def methods() -> str:
    """The methods of the catalogue that are offered for CT."""
    rows = [_method(method) for method in listed_methods("ct").values()]
    return table(["name", "method", "for", "network calls of a sample", "its spread is a", "source"], rows)


def _method(method: Listed) -> list[str]:
    label = "sample of a posterior" if method.spread == "posterior" else LABELS[method.spread]
    return [f"`{method.name}`", method.title, method.purpose, method.calls, label, method.source]


def modality_example() -> str:
    """The entry of the example of a modality, as its file has it."""
    source = (protocol.ROOT / "Testing" / "engine" / "photo" / "entry.py").read_text(encoding="utf-8")
    entry = ast.parse(source).body[-1]
    return f"```py\n{ast.get_source_segment(source, entry)}\n```"


TABLES: dict[str, Callable[[], str]] = {
    "protocol": protocol_in_short,
    "protocol-in-full": protocol_in_full,
    "few-views": few_views_bought,
    "truth": truth_in_short,
    "pet": pet_rows,
    "pet-noise": pet_noise,
    "mri": mri_rows,
    "mri-in-short": mri_in_short,
    "mri-measured": mri_measured,
    "mri-gate": mri_gate,
    "denoising": denoising,
    "calibration": calibrations,
    "lesions": lesions,
    "methods": methods,
    "modality": modality_example,
}
