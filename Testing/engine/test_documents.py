"""The documents: their tables are those of the committed results, their links lead somewhere, their examples run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from benchmarks import few_views, protocol, table_texts, tables
from diffusion_engine.__main__ import _parser
from diffusion_engine.modalities.mri.readings.description import AXES, KEYS
from diffusion_engine.modalities.mri.readings.formats import ENDINGS
from diffusion_engine.run.presets import PRESETS
from diffusion_engine.solvers.listing import listed_methods

ROOT = tables.ROOT
ENGINE = ROOT / "DiffusionRecon" / "diffusion_engine" / "README.md"
MODULE = ROOT / "DiffusionRecon" / "README.md"
PRIORS = ROOT / "DiffusionRecon" / "Resources" / "Priors"
KSPACE = ROOT / "DiffusionRecon" / "diffusion_engine" / "modalities" / "mri" / "KSPACE.md"
PATHS = (
    *tables.DOCUMENTS, MODULE, tables.TRUTH, ROOT / "Testing" / "benchmarks" / "tried.md",
    ROOT / "DiffusionRecon" / "diffusion_engine" / "modalities" / "ct" / "GEOMETRY.md", KSPACE,
)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings."""
    heads = re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(path), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", tables.DOCUMENTS, ids=lambda path: path.parent.name)
def test_tables_are_those_of_the_committed_results(path: Path) -> None:
    assert tables.filled(text_of(path)) == text_of(path), "run python Testing/benchmarks/tables.py"


def test_every_table_has_a_place_and_rows() -> None:
    used = [name for path in tables.DOCUMENTS for name in tables.names_in(text_of(path))]
    assert sorted(used) == sorted(table_texts.TABLES)
    for name, table in table_texts.TABLES.items():
        assert table().count("\n") > 2, name
    assert text_of(tables.TRUTH) == table_texts.truth_in_full()


@pytest.mark.parametrize("path", tables.DOCUMENTS, ids=lambda path: path.parent.name)
def test_no_figure_is_typed(path: Path) -> None:
    """Decibels stand in tables alone, which are written from results."""
    assert not re.findall(r"\d\.\d+ dB", tables.PART.sub("", text_of(path)))


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(ValueError, match="found 'protocl'"):
        tables.filled("<!-- table: protocl -->\n<!-- end of table -->\n")


def test_a_table_follows_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: table() for name, table in table_texts.TABLES.items()}
    content = table_texts.result("protocol")
    for part in content["parts"]:
        for row in part["rows"]:
            row["psnr"] += 1 if row["method"] == "tv" else 0
    monkeypatch.setattr(table_texts, "result", lambda name: content)
    for name in ("protocol", "protocol-in-full"):
        assert table_texts.TABLES[name]() != before[name]


def protocol_row(method: str, case: int, psnr: float, covered: float | None = None) -> dict:
    row = {"item": "a", "case": case, "views": 20, "method": method, "psnr": psnr, "ssim": 0.5, "residual_ratio": 1.0}
    return row | dict.fromkeys(("coverage90", "coverage90_calibrated", "error_spread_corr"), covered)


def test_the_protocols_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two slices: means, the gain over the best TV in the mean and in the worst slice, the best figure in bold."""
    rows = [protocol_row("tv-oracle", 2, 30.0), protocol_row("tv-oracle", 1, 28.0)]
    rows += [protocol_row("dds-draw", case, psnr) for case, psnr in ((1, 31.0), (2, 32.0))]
    rows += [protocol_row("dds", case, psnr, 0.6) for case, psnr in ((1, 32.0), (2, 33.0))]
    parts = [{**protocol.part_of("standard"), "rows": rows}]
    monkeypatch.setattr(table_texts, "result", lambda name: {"parts": parts})
    assert table_texts.protocol_in_short().splitlines()[2:] == ["| 20 views | 29.0 / 0.50 | **32.5 / 0.50** |"]
    assert table_texts.protocol_in_full().splitlines()[2:] == [
        "| 20 | best TV |  | 29.00 / 0.500 |  | 1.00 |  |  |  |",
        "| 20 | Standard | 31.50 / 0.500 | 32.50 / 0.500 | +3.50 (+3.00) | 1.00 | 0.60 | 0.60 | 0.60 |",
    ]


def test_the_truth_tables_worst_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figure farthest from its ideal, either side; Poisson counts are not among the linear problems."""
    keys = ("variance_ratio_measured", "variance_ratio_unmeasured", "mean_error_sd", "coverage90", "mode_weight_error")
    found = {"gauss_ct": (0.8, None, 0.2, 0.95, None), "mixture": (1.1, 0.9, 0.1, 0.8, 0.03)}
    found |= {"poisson": (9, 9, 9, 9, 9), "pet_body": (9, 9, 9, 9, 9)}
    rows = [
        {"solver": "dds", "problem": name, "peer": False, "spread": "concentrated", "forwards": 30, "vjps": n}
        | dict(zip(keys, values, strict=True))
        for n, (name, values) in enumerate(found.items())
    ]
    monkeypatch.setattr(table_texts, "result", lambda name: {"problems": found, "rows": rows})
    assert table_texts.truth_in_short().splitlines()[2:] == [
        "| dds | spread of estimates | 2 of 2 | 0.80 | 0.90 | 0.20 | 0.80 | 0.03 | 30 + 1 |"
    ]


def test_calibrations_are_those_of_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries with a method's options of another day, other steps or another number of samples are none of today's."""
    usual = {option.name: option.default for option in listed_methods()["dds"].options}
    entry = {
        "geometry": "fan_flat", "views": 60, "solver": "dds", "coupling": "none", "options": usual, "steps": 30,
        "draws": 4, "factor": 2.346, "coverage90": 0.614, "coverage90_calibrated": 0.9,
    }
    others = [{"options": {**usual, "prior_variance": 7.0}}, {"steps": 31}, {"draws": 5}, {"coupling": "noise"}]
    calibration = [entry, *(entry | other for other in others)]
    card = {"name": "mine", "modality": "ct", "sampler": {}, "calibration": calibration}
    monkeypatch.setattr(table_texts, "cards", lambda: [card])
    assert table_texts.calibrations().splitlines()[2:] == [
        "| Standard | `mine` | fan, 60 views | - | 2.35 | 0.61 | 0.90 | - | 0 | - |"
    ]


def test_figures_of_other_weights_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are replaced take their figures along, and no others."""
    own = protocol.weights_of

    def replaced(name: str) -> str:
        return "0" * 64 if name == "ct-body-medium" else own(name)

    for module in (protocol, few_views):
        monkeypatch.setattr(module, "weights_of", replaced)
    found = table_texts.protocol_in_full()
    assert "Few views" not in found
    assert "Standard" in found
    bought = table_texts.few_views_bought()
    assert "| standard |" in bought
    assert "thorough" not in bought


def test_figures_of_other_settings_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    part = next(part for part in table_texts.result("protocol")["parts"] if part["preset"] == "standard")
    assert protocol.is_current(part)
    assert not protocol.is_current({**part, "settings": {**part["settings"], "steps": 29}})


def test_the_protocol_asks_the_shell_for_the_presets_settings(tmp_path: Path) -> None:
    for preset in protocol.PLANNED:
        part = protocol.part_of(preset)
        given = protocol.arguments_of(part, 20, tmp_path)
        options = _parser().parse_args(given)
        settings = part["settings"]
        assert (options.prior, options.draws, options.steps) == (part["prior"], settings["draws"], settings["steps"])
        assert settings["solver"] in options.methods.split(",")
    assert given[-6:] == ["--option", "prior_variance=2.0", "--option", "products=3", "--option", "antithetic=true"]


def test_finished_parts_of_the_protocol_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run measures only what is missing, and an ended one loses no finished part."""
    asked: list[tuple[str, str]] = []

    def shell(arguments: list[str]) -> int:
        options = _parser().parse_args(arguments)
        asked.append((options.prior, options.views))
        if options.views == "8":
            return 2
        row = {"views": int(options.views), "method": "dds"}
        Path(options.json).write_text(json.dumps([row]), encoding="utf-8")
        return 0

    monkeypatch.setattr(protocol, "shell", shell)
    call = ["--data", str(tmp_path), "--json", str(tmp_path / "p.json"), "--presets", "standard"]
    assert protocol.main([*call, "--views", "20"]) == 0
    assert protocol.main(call) == 2
    assert asked == [("ct-body", "20"), ("ct-body", "60"), ("ct-body", "8")]
    assert [row["views"] for row in json.loads((tmp_path / "p.json").read_text())["parts"][0]["rows"]] == [20, 60]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text_of(path)):
        if target.startswith("https://"):
            continue
        place, _, anchor = target.partition("#")
        file = (path.parent / place).resolve() if place else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_key_of_a_description_is_explained() -> None:
    table = text_of(KSPACE).partition("## The description")[2].partition("\n## ")[0]
    cells = "".join(re.findall(r"^\|([^|]+)\|", table, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", cells)) == set(KEYS)
    axes = next(line for line in table.splitlines() if line.startswith("| `axes`"))
    assert re.findall(r"`(\w+)`", axes.split("|")[2]) == list(AXES)
    for block in blocks(KSPACE, "json"):
        assert set(json.loads(block)) <= set(KEYS)


def test_every_format_of_raw_data_is_explained() -> None:
    table = text_of(KSPACE).partition("## K-space as it is used")[0]
    assert set(re.findall(r"`(\.\w+)`", table)) == set(ENDINGS) - {".hdf5"}


def test_pictures_are_small_and_shown() -> None:
    texts = "".join((ROOT / place / "README.md").read_text(encoding="utf-8") for place in (".", "DiffusionRecon"))
    pictures = [ROOT / "Resources" / "views.png", *(ROOT / "Resources" / "Screenshots").glob("*.png")]
    assert len(pictures) == 11
    assert [path.name for path in pictures if path.stat().st_size > 200_000 or path.name not in texts] == []


def test_the_first_page_is_short() -> None:
    """From its title to a first reconstruction of one's own in Slicer: five minutes of 230 words at most."""
    text = text_of(ROOT / "README.md")
    assert text.count("\n") <= 150
    assert len(text.split()) <= 1500
    assert len(text.partition("## What it reaches now")[0].split()) <= 5 * 230


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_programs_and_files_that_are_named_exist(path: Path) -> None:
    for name in re.findall(r"\bTesting/[\w/]+\.\w+", text_of(path)):
        assert (ROOT / name).exists(), name


def test_every_benchmark_is_named() -> None:
    text = text_of(ROOT / "Testing" / "benchmarks" / "README.md")
    for path in (ROOT / "Testing" / "benchmarks").glob("*.py"):
        if "__main__" in path.read_text(encoding="utf-8"):
            assert path.name in text, path.name


def test_every_preset_is_explained() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", text_of(MODULE).split("## Presets")[1].split("##")[0], re.MULTILINE)
    assert rows[1:] == [preset.title for preset in PRESETS.values()]


def test_every_prior_has_its_ten_lines() -> None:
    parts = text_of(PRIORS / "README.md").split("\n## ")
    described = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in parts[1:]}
    for card in PRIORS.glob("*.json"):
        lines = described[card.stem].split("\n")
        assert len(lines) <= 10, card.stem
        for head in ("For ", "Not for ", "How good: ", "How made: "):
            assert any(line.startswith(head) for line in lines), (card.stem, head)


def test_commands_are_understood() -> None:
    """Each line for a shell has options that its command knows."""
    lines = [line for block in blocks(ENGINE, "sh") for line in block.splitlines()]
    lines += re.findall(r"`(python -m diffusion_engine \w[^`]*)`", "".join(map(text_of, PATHS)))
    assert len(lines) > 15
    for line in lines:
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "diffusion_engine"], line
        _parser().parse_args(words[3:])


def test_the_worked_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    for number, block in enumerate(blocks(ENGINE, "python"), 1):
        exec(compile(block, f"{ENGINE.name}, example {number}", "exec"), scope)
    expected = {
        "fbp", "mean", "not_seen", "not_seen_share", "prior_decided", "reference", "residual", "tv", "uncertainty",
    }
    assert set(scope["result"].volumes) - {"fallback"} == expected
    assert scope["mean"].array.shape == (1, 40, 48)
    assert set(scope["files"]) == {"fbp", "reference"}
    assert scope["error"] < 0.35
    assert (tmp_path / "mine" / "mine.json").is_file()
