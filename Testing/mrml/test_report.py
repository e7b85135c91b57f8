"""A review as CSV, JSON, HTML and DICOM SR, written from a real MRML scene and read back by other readers."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pydicom
import pytest
import slicer
from DiffusionReconLib.review import findings as review
from DiffusionReconLib.review import report, words
from DiffusionReconLib.scene.publish import publishResult
from DiffusionReconLib.scene.results import resultNodes
from full_results import DRAWS, writeFullResult
from host.application import Application
from pydicom.uid import generate_uid

SHAPE = (8, 48, 48)
COMMENT = '=HYPERLINK("http://x") </script><script>alert(1)</script> & "Größe"\nzweite Zeile'


@pytest.fixture
def table(application: Application, tmp_path: Path) -> slicer.vtkMRMLTableNode:
    """Two findings, one judged, and a report that tries to break out of the page."""
    folder = writeFullResult(tmp_path / "job", SHAPE, notes=["</script><img src=x onerror=alert(1)> Größe"])
    made = review.makeReview(publishResult(folder, withDraws=True))
    review.setVerdict(made, 1, "doubt", COMMENT, "Dr. Ö")
    review.setVerdict(made, None, "rescan", "Bewegung", "Dr. Ö")
    return made


class Page(HTMLParser):
    """Elements and texts of a page, and what would be loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements:
            self.texts.append((self.elements[-1][0], data))


def test_csvHoldsEveryFindingAndRunsNoFormula(table: slicer.vtkMRMLTableNode, tmp_path: Path) -> None:
    path = report.exportCsv(table, tmp_path / "Übersicht.csv")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    found = review.findings(table)
    assert [int(row["Number"]) for row in rows] == [1, 2]
    for row, finding in zip(rows, found, strict=True):
        assert float(row["Mean"]) == finding.mean_value
        assert (float(row["Low"]), float(row["High"])) == finding.interval
        assert float(row["Peak S (mm)"]) == finding.peak_ras_mm[2]
        assert row["Unit"] == "HU"
        assert row["Low to high"] == f"smallest to largest of {DRAWS} samples"
    assert rows[0]["Comment"] == f"'{COMMENT}"
    assert (rows[0]["Verdict"], rows[1]["Verdict"]) == ("Doubt", "")


def test_jsonIsTheWholeReview(table: slicer.vtkMRMLTableNode, tmp_path: Path) -> None:
    content = json.loads(report.exportJson(table, tmp_path / "review.json").read_text(encoding="utf-8"))
    assert content == json.loads(json.dumps(report.reviewContent(table)))
    assert content["findings"][0]["comment"] == COMMENT
    assert content["verdict"]["verdict"] == "rescan"
    assert content["provenance"]["seed"] == 7
    assert content["banner"][-1]["text"] == "Not for diagnostic use."
    assert content["criteria"]["not_seen_share"] == 0.5
    assert (content["criteria"]["interval_level"], content["criteria"]["draws"]) == (None, DRAWS)
    assert {each["spread"] for each in content["findings"]} == {f"smallest to largest of {DRAWS} samples"}
    assert content["unit"] == "HU"


def test_htmlIsOneFileThatRunsAndLoadsNothing(table: slicer.vtkMRMLTableNode, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (12, 20, 3), dtype=np.uint8)
    path = report.exportHtml(table, tmp_path / "review.html", {'Axial "1" <b>': picture})
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    tags = [tag for tag, _ in page.elements]
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert scripts == [{"type": "application/json", "id": report.PROVENANCE_ID}]
    assert tags.count("img") == 1
    assert not [a for _, a in page.elements if any(name.startswith("on") or name == "href" for name in a)]
    sources = [attributes["src"] for _, attributes in page.elements if "src" in attributes]
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    embedded = re.search(rf'id="{report.PROVENANCE_ID}">(.*?)</script>', text, re.DOTALL).group(1)
    assert json.loads(embedded) == report.reviewContent(table)["provenance"]
    shown = " ".join(words for tag, words in page.texts if tag != "style")
    assert f"smallest to largest of {DRAWS} samples" in shown
    # The one percentage is the banner's, of voxels on held-out cases.
    assert shown.partition("Findings")[2].partition("Provenance")[0].count("90 %") == 0
    for text in (COMMENT, "Dr. Ö", "Needs another scan", "Not for diagnostic use.", 'Axial "1" <b>', "Doubt"):
        assert text in shown


def test_pictureInThePageIsTheOneGiven(tmp_path: Path) -> None:
    import SimpleITK as sitk

    picture = np.random.default_rng(1).integers(0, 255, (7, 11, 3), dtype=np.uint8)
    path = tmp_path / "back.png"
    path.write_bytes(base64.b64decode(base64.b64encode(report.pngBytes(picture))))
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), picture)
    with pytest.raises(ValueError, match="uint8"):
        report.pngBytes(picture.astype(float))


def test_placesThatCannotBeWrittenAndLostResultsAreSaid(table: slicer.vtkMRMLTableNode, tmp_path: Path) -> None:
    for export in (report.exportCsv, report.exportJson, report.exportHtml):
        with pytest.raises(ValueError, match="could not be written"):
            export(table, tmp_path / "missing" / "file")
    assert not (tmp_path / "missing").exists()
    slicer.mrmlScene.RemoveNode(table.GetNodeReference("DiffusionPriors.Review.Report"))
    with pytest.raises(ValueError, match="no longer in the scene"):
        report.exportJson(table, tmp_path / "review.json")
    assert not list(tmp_path.glob("review*"))


def sourceImage() -> pydicom.Dataset:
    """A CT header without the attributes that an anonymiser takes away."""
    data = pydicom.Dataset()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.FrameOfReferenceUID, data.Rows = generate_uid(), 48
    data.PatientID = "P-1"
    return data


def test_structuredReportReadsBack(table: slicer.vtkMRMLTableNode, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed (it is optional)")
    from highdicom import sr

    source = sourceImage()
    path = report.exportStructuredReport(table, tmp_path / "review.dcm", [source])
    document = sr.Comprehensive3DSR.from_dataset(pydicom.dcmread(path))
    assert document.StudyInstanceUID == source.StudyInstanceUID
    assert document.PatientID == "P-1"
    groups = document.content.get_planar_roi_measurement_groups()
    found = review.findings(table)
    assert len(groups) == len(found) == 2
    for group, finding in zip(groups, found, strict=True):
        right, anterior, superior = finding.peak_ras_mm
        assert group.roi.value[0] == pytest.approx([-right, -anterior, superior], abs=1e-3)
        assert group.roi.frame_of_reference_uid == source.FrameOfReferenceUID
        measured = [(each.name.meaning, each.value, each.unit.value) for each in group.get_measurements()]
        assert measured[0] == ("Volume", pytest.approx(finding.volume_mm3, rel=1e-6), "mm3")
        assert [value for _, value, _ in measured[1:4]] == pytest.approx([finding.mean_value, *finding.interval])
        assert measured[1][2] == "[hnsf'U]"
        ends = [each.derivation for each in group.get_measurements()[2:4]]
        assert [(end.value, end.meaning) for end in ends] == [
            ("spread-low", f"Low end: smallest to largest of {DRAWS} samples"),
            ("spread-high", f"High end: smallest to largest of {DRAWS} samples"),
        ]
        assert measured[4][1] == pytest.approx(finding.not_seen_share)
    assert [e.value.meaning for e in groups[0].get_qualitative_evaluations()] == ["Doubtful"]
    assert groups[1].get_qualitative_evaluations() == []
    whole = document.content.get_image_measurement_groups()
    assert [e.value.meaning for e in whole[0].get_qualitative_evaluations()] == ["Needs another scan"]
    texts = [element.value for element in pydicom.dcmread(path).iterall() if element.keyword == "TextValue"]
    assert COMMENT in texts
    assert "Not for diagnostic use." in texts
    assert [str(element.value) for element in pydicom.dcmread(path).iterall() if element.keyword == "PersonName"] == [
        "Dr. Ö^"]


def test_aReviewersNameIsOneOfDicom(table: slicer.vtkMRMLTableNode, tmp_path: Path) -> None:
    """Without what parts names there, and within its 64 characters."""
    pytest.importorskip("highdicom", reason="highdicom is not installed (it is optional)")
    review.setVerdict(table, None, "trust", "", "A^B=C\\D " + "x" * 80)
    path = report.exportStructuredReport(table, tmp_path / "review.dcm", [sourceImage()])
    names = [element.value for element in pydicom.dcmread(path).iterall() if element.keyword == "PersonName"]
    assert [str(name) for name in names] == ["A B C D " + "x" * 55 + "^"]


def test_structuredReportNeedsAStudyAndItsPackage(
    table: slicer.vtkMRMLTableNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "highdicom" else real(name))
    with pytest.raises(RuntimeError, match="install highdicom"):
        report.exportStructuredReport(table, tmp_path / "review.dcm", [sourceImage()])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(ValueError, match="came without DICOM"):
        report.exportStructuredReport(table, tmp_path / "review.dcm", [])
    with pytest.raises(ValueError, match="one study"):
        report.exportStructuredReport(table, tmp_path / "review.dcm", [sourceImage(), sourceImage()])
    assert not (tmp_path / "review.dcm").exists()


def test_reportsSayTheSameWordsAndHowManyRegionsThereAre(
    table: slicer.vtkMRMLTableNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "MOST", 1)
    other = review.makeReview(resultNodes(table.GetNodeReference("DiffusionPriors.Review.Report")))
    review.setVerdict(other, 1, "rescan")
    content = report.reviewContent(other)
    assert (content["regions_found"], [each["number"] for each in content["findings"]]) == (2, [1])
    assert content["findings"][0]["verdict"] == "rescan"
    assert content["criteria"]["least_score_mm"] == review.LEAST_SCORE_MM
    rows = list(csv.DictReader(io.StringIO(report.exportCsv(other, tmp_path / "a.csv").read_text("utf-8-sig"))))
    page = report.exportHtml(other, tmp_path / "a.html").read_text("utf-8")
    findingsPart = page.partition("<h2>Findings</h2>")[2].partition("<h2>Provenance")[0]
    assert len(rows) == 1
    assert rows[0]["Verdict"] == "Needs another scan"
    assert rows[0]["Why"] == words.reasonWords(review.findings(other)[0], "HU")
    assert float(rows[0]["Score (mm)"]) == review.findings(other)[0].score_mm
    assert "1 of 2 regions are listed." in findingsPart
    for text in (rows[0]["Why"], "Needs another scan", "Not determined by the scan"):
        assert text in findingsPart
    for old in ("Not seen", "not seen", "escan<", "draws"):
        assert old not in findingsPart
