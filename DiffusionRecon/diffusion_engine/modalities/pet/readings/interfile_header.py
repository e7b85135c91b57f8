"""Headers of Interfile, as STIR and Siemens write them: keys, their numbered values, and where the numbers lie.

Keys are compared as STIR compares them: small letters, blanks, underscores and exclamation marks all alike, a leading
percent sign left out. Lines may end in LF, CR LF, CR CR LF or CR, be continued by a backslash, and be comments after a
semicolon.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....io.layout import beside

LONGEST = 1 << 20
"""Bytes of a header that are read."""

_INDEX = re.compile(r"\[\s*(\d+)\s*\]\s*$")


@dataclass(frozen=True)
class InterfileHeader:
    """``fields``: texts by standardised key and index, 0 for keys without one. ``path``: of the header; ``whole``: it
    ends as a header does."""

    path: Path
    fields: dict[tuple[str, int], str]
    whole: bool = True

    def text(self, key: str, index: int = 0) -> str:
        """The value of a key, "" where it is missing; a numbered key's first value also answers without number."""
        found = self.fields.get((key, index))
        if found is None and index <= 1:
            found = self.fields.get((key, 1 - index))
        return found or ""

    def texts(self, key: str, index: int = 0) -> list[str]:
        """The values of a list in braces, or the only one; none where it is missing or empty."""
        plain = self.text(key, index).strip().removeprefix("{").removesuffix("}")
        return [part.strip() for part in plain.split(",") if part.strip()]

    def numbers(self, key: str, index: int = 0) -> list[float]:
        """The finite numbers of a key; ValueError, one sentence, for other texts."""
        values = []
        for text in self.texts(key, index):
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                raise ValueError(f"{self.path.name}: expected numbers as '{key}', found '{text[:40]}': correct the "
                                 "header")
            values.append(value)
        return values

    def number(self, key: str, index: int = 0) -> float | None:
        """The only number of a key, None where it is missing."""
        found = self.numbers(key, index)
        if len(found) > 1:
            raise ValueError(f"{self.path.name}: expected one number as '{key}', found {len(found)}: correct the "
                             "header")
        return found[0] if found else None

    def whole_number(self, key: str, index: int = 0) -> int | None:
        """The only whole number of a key, None where it is missing."""
        found = self.number(key, index)
        if found is not None and not found.is_integer():
            raise ValueError(f"{self.path.name}: expected a whole number as '{key}', found {found:g}: correct the "
                             "header")
        return None if found is None else int(found)

    def positive(self, key: str) -> float | None:
        """A number above 0; None where it is missing, 0 or below, which STIR writes for what is not known."""
        found = self.number(key)
        return found if found is not None and found > 0 else None

    def indices(self, key: str) -> list[int]:
        """The numbers under which a key appears, in order."""
        return sorted(index for name, index in self.fields if name == key)

    @property
    def dtype(self) -> np.dtype:
        """Of the stored numbers, with their byte order (big-endian where the header names none, as Interfile says)."""
        name = self.text("number format").lower() or "unsigned integer"
        size = self.whole_number("number of bytes per pixel")
        if name in ("short float", "long float"):
            size = size or (4 if name == "short float" else 8)
            name = "float"
        kinds = {"float": ("f", (4, 8)), "signed integer": ("i", (1, 2, 4, 8)), "unsigned integer": ("u", (1, 2, 4, 8))}
        if name not in kinds or size not in kinds[name][1]:
            raise ValueError(
                f"{self.path.name}: expected float, signed or unsigned integer of 1, 2, 4 or 8 bytes as number format, "
                f"found '{name}' of {size if size else 'an unknown number of'} bytes: convert the file"
            )
        order = (self.text("imagedata byte order") or self.text("image data byte order")).upper()
        if order not in ("", "LITTLEENDIAN", "BIGENDIAN"):
            raise ValueError(f"{self.path.name}: expected LITTLEENDIAN or BIGENDIAN as byte order, found '{order}': "
                             "correct the header")
        return np.dtype(f"{'<' if order == 'LITTLEENDIAN' else '>'}{kinds[name][0]}{size}")

    def stored(self, count: int, offset: int, last: bool = True) -> np.ndarray:
        """``count`` numbers of the data file from byte ``offset``; ValueError where there are not as many.

        ``last``: nothing may follow them.
        """
        place, dtype = self.data_file(), self.dtype
        found, wanted = place.stat().st_size, offset + count * dtype.itemsize
        if found < wanted or (last and found > wanted):
            state = "shorter: the file is cut off, copy it again" if found < wanted else "longer: correct the header"
            raise ValueError(f"expected {wanted} bytes in {place.name} as {self.path.name} says, found {found}, it is "
                             f"{state}")
        with place.open("rb") as stream:
            stream.seek(offset)
            values = np.fromfile(stream, dtype, count)
        return values.astype(dtype.newbyteorder("="), copy=False)

    def data_file(self) -> Path:
        """The file of the numbers; ValueError, one sentence, where there is none."""
        name = self.text("name of data file")
        if not name:
            raise ValueError(f"expected the name of the data file in {self.path.name}, found none: correct the header")
        place = beside(self.path, name)
        if not place.is_file():
            raise ValueError(f"expected the data file '{name}' beside {self.path.name}, found none: put both files "
                             "together")
        if place.samefile(self.path):
            raise ValueError(f"expected a header with its data file, found the template {self.path.name}, which names "
                             "itself: choose the header of measured data")
        return place


def key_of(text: str) -> str:
    """A key as it is compared."""
    return re.sub(r"[\s_!]+", " ", text.strip().lstrip("%!").lower()).strip()


def is_interfile(path: Path) -> bool:
    """Whether a file begins as an Interfile header does."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError:
        return False
    return re.match(rb"\s*(;[^\n\r]*[\n\r]+\s*)*!?\s*INTERFILE\s*:=", head, re.IGNORECASE) is not None


def read_header(path: Path) -> InterfileHeader:
    """The header of an Interfile; raises ValueError, one sentence, for another file."""
    if not is_interfile(path):
        raise ValueError(f"expected an Interfile header that begins with '!INTERFILE :=', found {path.name}: choose "
                         "the header, not the data file")
    with path.open("rb") as stream:
        head = stream.read(LONGEST + 1)
    text = head.decode("utf-8", "replace")
    lines = re.split(r"\r*\n|\r+", text)
    fields: dict[tuple[str, int], str] = {}
    held, ended = "", False
    for line in lines:
        line = held + line
        if line.endswith("\\"):
            held = line[:-1]
            continue
        held = ""
        if line.lstrip().startswith(";"):
            continue
        name, sign, value = line.partition(":=")
        if not sign:
            continue
        index = _INDEX.search(name)
        key = key_of(name[: index.start()] if index else name)
        if key == "end of interfile":
            ended = True
            break
        fields[key, int(index.group(1)) if index else 0] = value.strip()
    return InterfileHeader(path, fields, ended)


def check_whole(header: InterfileHeader) -> None:
    """Raise ValueError, one sentence, for a header that breaks off."""
    if not header.whole:
        raise ValueError(f"expected '!END OF INTERFILE :=' at the end of {header.path.name}, found none: the header is "
                         "cut off, copy it again")
