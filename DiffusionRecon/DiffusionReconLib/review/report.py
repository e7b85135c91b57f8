"""A review as files: CSV, JSON, one self-contained HTML page, and a DICOM structured report."""

from __future__ import annotations

import base64
import csv
import html
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pydicom
import slicer
import vtk
from diffusion_engine.io.dicom_files import strictly
from slicer.i18n import tr as _
from vtk.util import numpy_support

from DiffusionReconLib.review.findings import (
    IMAGE_REFERENCE,
    REPORT_REFERENCE,
    banner,
    foundCount,
    listed,
    unitOf,
    verdict,
)
from DiffusionReconLib.review.table import readDraws, readLevel
from DiffusionReconLib.review.words import intervalWords, reasonWords, verdictWords, volumeWords
from DiffusionReconLib.scene.publish import ATTRIBUTE_PREFIX
from DiffusionReconLib.scene.results import resultNodes, resultReport

CSV_HEADER = (
    "Number", "Reason", "R (mm)", "A (mm)", "S (mm)", "Peak R (mm)", "Peak A (mm)", "Peak S (mm)", "Volume (mm3)",
    "Mean", "Low", "High", "Unit", "Low to high", "Contrast", "Score (mm)", "z", "Not determined (share)", "Segment",
    "Why", "Verdict", "Comment", "Reviewer", "Time",
)  # fmt: skip
# Spreadsheets run a cell that begins so as a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
PROVENANCE_ID = "diffusion-provenance"
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#1c1c22}
table{border-collapse:collapse;width:100%}th,td{padding:.35em .6em;border-bottom:1px solid #ccc;text-align:left;
vertical-align:top}td.n{text-align:right;white-space:nowrap}ul.banner{list-style:none;padding:0}
ul.banner li{padding:.3em .7em;margin:.2em 0;border-left:.4em solid #888;background:#f3f3f5}
li.good{border-color:#2a7d4f}li.warning{border-color:#c98a00}li.bad{border-color:#b3261e}
figure{display:inline-block;margin:0 1em 1em 0}img{max-width:100%}pre{overflow:auto;background:#f3f3f5;padding:1em}
.text{white-space:pre-wrap}
"""


def reviewContent(review: slicer.vtkMRMLTableNode) -> dict:
    """All of a review as plain JSON values: listed findings with verdicts, the whole's verdict, banner, provenance."""
    report = _report(review)
    image = review.GetNodeReference(IMAGE_REFERENCE)

    def attribute(name: str) -> str:
        return review.GetAttribute(ATTRIBUTE_PREFIX + name) or ""

    criteria = {
        "half_width": float(attribute("Threshold")),
        "not_seen_share": float(attribute("ShareThreshold")),
        "minimum_mm3": float(attribute("MinimumMm3")),
        "least_score_mm": float(attribute("LeastScoreMm") or 0.0),
        "interval_level": readLevel(review),
        "draws": readDraws(review),
    }
    draws, unit = criteria["draws"], unitOf(review)
    return {
        "image": image.GetName() if image is not None else "",
        "unit": unit,
        "coordinates": "RAS, mm, in the image's own frame",
        "criteria": criteria,
        "verdict": asdict(verdict(review)),
        "regions_found": foundCount(review),
        "findings": [
            {
                **asdict(each), "spread": each.spread_in_words(draws), "why": reasonWords(each, unit),
                **asdict(verdict(review, each.number)),
            }
            for each in listed(review)
        ],
        "banner": [asdict(line) for line in banner(report)],
        "provenance": report,
    }


def exportCsv(review: slicer.vtkMRMLTableNode, path: str | Path) -> Path:
    """One line a finding, with a header line; UTF-8 with a byte-order mark, as spreadsheets want it.

    Texts that a spreadsheet would run as a formula get an apostrophe in front. Raises ValueError for a place that
    cannot be written, as do the other exports.
    """
    content = reviewContent(review)
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(CSV_HEADER)
    for each in content["findings"]:
        numbers = ["" if each[key] is None else each[key] for key in ("contrast", "score_mm", "z", "not_seen_share")]
        texts = [each[key] or "" for key in ("segment", "why")] + [verdictWords(each["verdict"])]
        texts += [each[key] for key in ("comment", "reviewer", "time")]
        writer.writerow(
            [
                each["number"], each["reason"], *each["centre_ras_mm"], *each["peak_ras_mm"], each["volume_mm3"],
                each["mean_value"], *each["interval"], content["unit"], each["spread"], *numbers,
                *map(_harmless, texts),
            ]
        )  # fmt: skip
    return _write(path, stream.getvalue().encode("utf-8-sig"))


def exportJson(review: slicer.vtkMRMLTableNode, path: str | Path) -> Path:
    """`reviewContent` as a JSON file."""
    text = json.dumps(reviewContent(review), indent=2, ensure_ascii=False, allow_nan=False)
    return _write(path, (text + "\n").encode("utf-8"))


def exportHtml(
    review: slicer.vtkMRMLTableNode, path: str | Path, snapshots: Mapping[str, np.ndarray] | None = None
) -> Path:
    """One HTML file that needs no other: banner, findings, verdicts, `snapshots` by caption, provenance.

    A snapshot is (rows, columns, 3) uint8, top row first. The page runs no script; the element with the id
    "diffusion-provenance" holds the report as JSON.
    """
    content = reviewContent(review)
    unit, whole = content["unit"], content["verdict"]
    lines = "".join(f'<li class="{line["state"]}">{_text(line["text"])}</li>' for line in content["banner"])
    rows = "".join(_row(each, unit) for each in content["findings"])
    pictures = "".join(
        f'<figure><img alt="{_text(caption)}" src="data:image/png;base64,'
        f'{base64.b64encode(pngBytes(picture)).decode("ascii")}"><figcaption>{_text(caption)}</figcaption></figure>'
        for caption, picture in (snapshots or {}).items()
    )
    # In a script element nothing is unescaped: the only danger is its own end.
    provenance = json.dumps(content["provenance"], ensure_ascii=False, allow_nan=False)
    embedded = provenance.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    shown = json.dumps(content["provenance"], indent=2, ensure_ascii=False)
    criteria = content["criteria"]
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{_text(content["image"])}: review</title><style>{STYLE}</style></head><body>
<h1>Review of {_text(content["image"])}</h1>
<ul class="banner">{lines}</ul>
<h2>Verdict on the whole result</h2>
<p><strong>{_text(verdictWords(whole["verdict"]) or "none yet")}</strong> {_signature(whole)}</p>
<p class="text">{_text(whole["comment"])}</p>
<h2>Findings</h2>
<p>{_count(content)} A region is found where a structure's half width in the map of the uncertainty reaches
±{criteria["half_width"]:.3g} {_text(unit)}, or the scan does not determine {100 * criteria["not_seen_share"]:g} % of
the variance or more, over at least {criteria["minimum_mm3"]:g} mm³. They are ranked by spread against the contrast
around them, and size. Before them come the places that a map warns of, see the lines at the top. Places: R, A, S in
mm.</p>
<table><thead><tr><th>No.</th><th>Why</th><th>Place</th><th>Volume</th><th>Mean with spread</th>
<th>Not determined by the scan</th><th>Segment</th><th>Verdict</th><th>Comment</th></tr></thead>
<tbody>{rows}</tbody></table>
<h2>Pictures</h2>{pictures or "<p>None.</p>"}
<h2>Provenance</h2><details><summary>How the image was made</summary><pre>{_text(shown)}</pre></details>
<script type="application/json" id="{PROVENANCE_ID}">{embedded}</script>
</body></html>
"""
    return _write(path, page.encode("utf-8"))


def exportStructuredReport(
    review: slicer.vtkMRMLTableNode, path: str | Path, sources: Sequence[pydicom.Dataset]
) -> Path:
    """A DICOM Comprehensive 3D SR (TID 1500) of the findings in the study of `sources`, the input's images.

    Raises RuntimeError when the package highdicom is missing, ValueError without sources.
    """
    from DiffusionReconLib.review.structured_report import structuredReport

    stream = BytesIO()
    structuredReport(reviewContent(review), sources).save_as(stream, **strictly())
    return _write(path, stream.getvalue())


def pngBytes(picture: np.ndarray) -> bytes:
    """A picture (rows, columns, 3) uint8, top row first, as a PNG file's bytes; raises ValueError for another array."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.size == 0:
        raise ValueError(_(
            "A picture is (rows, columns, 3) uint8, but {shape} {dtype} was given."
        ).format(shape=picture.shape, dtype=picture.dtype))
    data = vtk.vtkImageData()
    data.SetDimensions(picture.shape[1], picture.shape[0], 1)
    flat = np.ascontiguousarray(picture[::-1]).reshape(-1, 3)
    data.GetPointData().SetScalars(numpy_support.numpy_to_vtk(flat, deep=True))
    writer = vtk.vtkPNGWriter()
    writer.WriteToMemoryOn()
    writer.SetInputData(data)
    writer.Write()
    return numpy_support.vtk_to_numpy(writer.GetResult()).tobytes()


def _report(review: slicer.vtkMRMLTableNode) -> dict:
    node = review.GetNodeReference(REPORT_REFERENCE)
    if node is None:
        raise ValueError(_("The reviewed result is no longer in the scene: reconstruct and review again."))
    return resultReport(resultNodes(node))


def _count(content: dict) -> str:
    shown, found = len(content["findings"]), content["regions_found"]
    return f"{shown} of {found} regions are listed." if shown < found else f"{found} regions."


def _row(finding: dict, unit: str) -> str:
    share = finding["not_seen_share"]
    place = ", ".join(f"{value:.1f}" for value in finding["peak_ras_mm"])
    mean = f"{intervalWords(finding['mean_value'], finding['interval'], unit)} ({finding['spread']})"
    numbers = [place, volumeWords(finding["volume_mm3"]), mean, "" if share is None else f"{100 * share:.0f} %"]
    cells = "".join(f'<td class="n">{_text(text)}</td>' for text in numbers)
    judged = f"{_text(verdictWords(finding['verdict']) or 'none yet')}<br>{_signature(finding)}"
    return (
        f'<tr><td class="n">{finding["number"]}</td><td>{_text(finding["why"])}</td>{cells}'
        f'<td>{_text(finding["segment"] or "")}</td><td>{judged}</td>'
        f'<td class="text">{_text(finding["comment"])}</td></tr>'
    )


def _signature(entry: dict) -> str:
    return _text(", ".join(entry[key] for key in ("reviewer", "time") if entry[key]))


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _write(path: str | Path, content: bytes) -> Path:
    """Write a file that appears under its name only when complete."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):  # where it could not be written it may not be looked for either
            partial.unlink(missing_ok=True)
        raise ValueError(_(
            "'{path}' could not be written ({reason}): choose a folder that exists and is writable."
        ).format(path=path, reason=error.strerror)) from error
    return path
