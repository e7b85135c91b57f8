"""The tables of the documents, written from the results that are committed: no figure is typed.

    python Testing/benchmarks/tables.py

In DOCUMENTS, what stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->`` is replaced by the table of
that name, see table_texts.py. Rows that were measured with other weights or settings than today's are left out until
they are measured again; a test compares documents and results.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DiffusionRecon"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.table_texts import TABLES, truth_in_full

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "DiffusionRecon" / "diffusion_engine" / "README.md",
    ROOT / "DiffusionRecon" / "Resources" / "Priors" / "README.md",
    ROOT / "Testing" / "benchmarks" / "README.md",
)
TRUTH = ROOT / "Testing" / "benchmarks" / "results" / "posterior_truth.md"
PART = re.compile(r"(<!-- table: (?P<name>[a-z-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def names_in(text: str) -> list[str]:
    """The names of the tables that a document has, in their order."""
    return [match["name"] for match in PART.finditer(text)]


def filled(text: str) -> str:
    """A document with its tables written anew; raises ValueError for a name that no table has."""

    def table(match: re.Match[str]) -> str:
        if match["name"] not in TABLES:
            raise ValueError(f"expected a table out of {sorted(TABLES)}, found {match['name']!r}: correct the document")
        return f"{match[1]}{TABLES[match['name']]()}\n{match[3]}"

    return PART.sub(table, text)


def main() -> int:
    for path in DOCUMENTS:
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
    TRUTH.write_text(truth_in_full(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
