"""The voxels of an image file, read to the announced size and not a byte beyond a bound."""

from __future__ import annotations

import bz2
import io
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .. import memory
from .layout import Layout, Part, damaged

CHUNK = 1 << 20
SLACK = 1 << 20
"""Bytes that may follow the announced ones in a file that holds nothing else: padding, not another image."""

LARGEST_RATIO = 1040
"""Deflate packs at most 1032 bytes into one."""

TEXT_BYTES = 64
"""Most characters that a number in text takes, with its blanks."""


def read_voxels(layout: Layout) -> np.ndarray:
    """The values of an image, shape (slices, rows, columns), in the machine's byte order.

    Integers keep their type; with a scaling, value = slope * stored + intercept in float32, or float64 where the
    stored numbers have more than 24 bits. NaN stays NaN. Raises ValueError, one sentence, for files shorter or far
    longer than the header says and for an image that exceeds the free memory, before anything is allocated.
    """
    for part in layout.parts:
        _check_possible(layout, part)
    _check_memory(layout)
    if layout.encoding == "text":
        array = np.concatenate([_read_text(layout, part) for part in layout.parts])
    else:
        array = np.empty(layout.voxels, layout.dtype)
        target, first = array.view(np.uint8).data, 0
        for part in layout.parts:
            _fill(layout, part, target[first : first + part.size])
            first += part.size
        if not array.dtype.isnative:
            array = array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))
    columns, rows, slices = layout.extents
    return _scaled(array.reshape(slices, rows, columns), layout.scaling)


def check_voxels(layout: Layout) -> None:
    """Raise the errors of :func:`read_voxels` for binary files, without keeping the values."""
    for part in layout.parts:
        _check_possible(layout, part)
        _fill(layout, part, None)


def after_lines(place: Path, offset: int, lines: int) -> int:
    """The byte after ``lines`` line ends, counted from ``offset``."""
    with open_data(place) as stream:
        stream.seek(offset)
        while lines > 0:
            piece = stream.read(CHUNK)
            if not piece:
                raise damaged(place, "fewer lines than its header passes over")
            ends = piece.count(b"\n")
            if ends < lines:
                lines, offset = lines - ends, offset + len(piece)
                continue
            at = 0
            for _ in range(lines):
                at = piece.index(b"\n", at) + 1
            return offset + at
    return offset


def file_size(place: Path) -> int:
    """Bytes of a data file; ValueError when there is none."""
    if not place.is_file():
        raise ValueError(f"expected the data file {place}, found none: put it beside the header")
    return place.stat().st_size


def open_data(place: Path) -> BinaryIO:
    """A data file, opened; ValueError when there is none."""
    file_size(place)
    return open(place, "rb")


def unpacked(stream: BinaryIO, encoding: str) -> Callable[[int], bytes]:
    """``read(n)`` for the unpacked bytes from here on: some, at most ``n``, and none at the end."""
    if encoding == "packed":
        return _Inflated(stream).read
    return bz2.open(stream).read if encoding == "bzip2" else stream.read


class _Inflated:
    """A zlib stream, or gzip members one after the other; EOFError where they break off."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._engine = zlib.decompressobj(47)  # zlib or gzip by the first bytes
        self._rest = b""

    def read(self, size: int) -> bytes:
        while True:
            if self._engine.eof:
                following = self._engine.unused_data
                following += self._stream.read(2 if len(following) < 2 else 0)
                if following[:2] != b"\x1f\x8b":
                    return b""
                self._engine, self._rest = zlib.decompressobj(47), following
            packed = self._rest or self._stream.read(CHUNK // 4)
            if not packed:
                raise EOFError
            piece = self._engine.decompress(packed, size)
            self._rest = self._engine.unconsumed_tail
            if piece:
                return piece


def _check_possible(layout: Layout, part: Part) -> None:
    """Raise ValueError when a file is too short for the voxels that its header announces."""
    stored = max(0, file_size(part.place) - part.offset)
    if part.offset < 0:
        raise damaged(part.place, f"{part.size + part.offset} of {part.size} bytes")
    if layout.encoding == "raw" and stored < part.size:
        raise damaged(part.place, f"{stored + part.offset} of {part.size + part.offset} bytes")
    if layout.encoding == "packed":
        least = (part.inner + part.size) // LARGEST_RATIO
    elif layout.encoding == "text":
        least = 2 * (part.size // layout.dtype.itemsize) - 1
    else:
        least = 2 * part.size if layout.encoding == "hex" else 1
    if layout.encoding != "raw" and stored < least:
        raise damaged(part.place, f"{stored} bytes, which cannot hold the {part.size} that its header announces")


def _check_memory(layout: Layout) -> None:
    """Raise ValueError when the image exceeds the free memory."""
    stored = layout.voxels * layout.dtype.itemsize
    needed = stored + (layout.voxels * _scaled_type(layout.dtype).itemsize if layout.scaling else 0)
    if layout.encoding in ("text", "hex"):
        needed += sum(part.place.stat().st_size for part in layout.parts)
    if needed < CHUNK:
        return
    free = memory.free_memory_mb()
    if needed / memory.MEGABYTE > free:
        raise ValueError(
            f"expected an image that fits in the free memory of {free:.0f} MB, found {layout.place} with "
            f"{' x '.join(map(str, layout.extents))} voxels ({needed / memory.MEGABYTE:.0f} MB): "
            "crop it, or close other programs"
        )


def _fill(layout: Layout, part: Part, target: memoryview | None) -> None:
    """Read a part into ``target`` (None: only count its bytes); ValueError for too few bytes or far too many."""
    wanted = part.inner + part.size
    found = 0
    try:
        with open_data(part.place) as stream:
            stream.seek(part.offset)
            if layout.encoding == "hex":
                stream = io.BytesIO(_from_hex(layout, part, stream))
            read = unpacked(stream, layout.encoding)
            while found < wanted:
                piece = read(min(CHUNK, wanted - found))
                if not piece:
                    base = 0 if layout.encoding != "raw" else part.offset
                    raise damaged(part.place, f"{found + base} of {wanted + base} bytes")
                if target is not None and found + len(piece) > part.inner:
                    kept = piece[max(0, part.inner - found) :]
                    end = found + len(piece) - part.inner
                    target[end - len(kept) : end] = kept
                found += len(piece)
            if layout.whole or layout.encoding != "raw":
                _check_end(part, read)
    except (EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise ValueError(
                f"expected to read {part.place}, but it failed ({error.strerror}): check the file"
            ) from error
        raise damaged(part.place, "a compressed stream that is damaged or breaks off") from error


def _check_end(part: Part, read: Callable[[int], bytes]) -> None:
    """Read on to the end, at most ``SLACK`` bytes: this also compares a compressed stream with its check sum."""
    beyond = 0
    while piece := read(CHUNK):
        beyond += len(piece)
        if beyond > SLACK:
            raise ValueError(
                f"expected {part.size} bytes of voxels in {part.place} by its header, found far more: "
                "the header belongs to another image, or the file is damaged"
            )


def _from_hex(layout: Layout, part: Part, stream: BinaryIO) -> bytes:
    text = stream.read(2 * part.size + SLACK)
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError as error:
        raise damaged(layout.place, "voxels that are not hexadecimal digits") from error


def _read_text(layout: Layout, part: Part) -> np.ndarray:
    """Numbers in text, as the announced type; ValueError for a word that is none or lies outside the type."""
    wanted = part.size // layout.dtype.itemsize
    with open_data(part.place) as stream:
        stream.seek(part.offset)
        text = stream.read(TEXT_BYTES * wanted + SLACK).replace(b",", b" ")
    dtype = layout.dtype.newbyteorder("=")
    floats = dtype.kind == "f"
    wide = np.float64 if floats else np.uint64 if dtype.kind == "u" else np.int64
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            if dtype.kind == "u" and b"-" in text:
                raise ValueError("a negative number")
            found = np.fromstring(text.decode("ascii"), dtype=wide, sep=" ")
        except (ValueError, DeprecationWarning) as error:
            raise damaged(part.place, f"text that is not {'' if floats else 'whole '}numbers") from error
    if found.size != wanted:
        raise damaged(part.place, f"{found.size} of {wanted} numbers")
    if not floats and (found.min() < np.iinfo(dtype).min or found.max() > np.iinfo(dtype).max):
        raise damaged(part.place, f"numbers from {found.min()} to {found.max()}, outside {dtype}")
    return found.astype(dtype)


def _scaled_type(stored: np.dtype) -> np.dtype:
    """The least float type that holds every stored number."""
    return np.dtype(np.float32 if stored.itemsize <= 2 or stored == np.dtype(np.float32) else np.float64)


def _scaled(array: np.ndarray, scaling: tuple[float, float] | None) -> np.ndarray:
    if scaling is None:
        return array
    values = np.empty(array.shape, _scaled_type(array.dtype))
    for k, stored in enumerate(array):  # a slice at a time: double precision needs little memory then
        values[k] = stored.astype(np.float64) * scaling[0] + scaling[1]
    return values
