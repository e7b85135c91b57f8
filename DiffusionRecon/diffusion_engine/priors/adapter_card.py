"""The card of an adapter: a small change of one base prior, which it names together with the hash of its weights."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..checks import whole
from .card import PriorCard, read_card

FORMAT = "diffusion-priors adapter 1"
SHIPPED = Path(__file__).resolve().parents[2] / "Resources" / "Priors"
"""Where the priors lie that come with the module."""


@dataclass(frozen=True)
class AdapterCard:
    """What the JSON beside an adapter's weights holds.

    ``base`` and ``base_sha256``: name and weight hash of the prior that it changes; ``rank``: of the change of each
    layer; ``pixel_mm``: range of in-plane pixel sizes it was adapted on; ``data``: what it was adapted on;
    ``denoising_psnr_db``: see :class:`PriorCard`, of base and adapter together on held-out volumes.
    """

    name: str
    title: str
    base: str
    base_sha256: str
    rank: int
    weights: str
    sha256: str
    date: str
    licence: str
    pixel_mm: tuple[float, float]
    training: dict[str, Any]
    data: list[dict[str, str]]
    held_out: list[str]
    denoising_psnr_db: dict[str, float]
    format: str = FORMAT


def is_adapter(path: Path) -> bool:
    """Whether a JSON file says that it is an adapter's card; False for files that cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def read_adapter(path: Path) -> AdapterCard:
    """Read and check an adapter's card; raises ValueError with one sentence for what is missing or wrong."""
    if not is_adapter(path):
        raise ValueError(f"{path.name} is not an adapter's card of format '{FORMAT}': give the JSON that came with it")
    content = json.loads(path.read_text(encoding="utf-8"))
    known = {entry.name for entry in fields(AdapterCard)}
    if set(content) != known:
        raise ValueError(
            f"the adapter's card {path.name} has missing keys {sorted(known - set(content))} and unknown keys "
            f"{sorted(set(content) - known)}: expected {sorted(known)}"
        )
    rank, pixel = content["rank"], content["pixel_mm"]
    if not whole(rank) or rank < 1:
        raise ValueError(f"the adapter's card {path.name} has rank {rank!r}: expected a whole number of 1 or more")
    if not isinstance(pixel, list) or len(pixel) != 2 or not all(isinstance(p, (int, float)) for p in pixel) or not (
        0 < pixel[0] <= pixel[1]
    ):
        raise ValueError(f"the adapter's card {path.name} has pixel_mm {pixel!r}: expected two rising positive numbers")
    for key in ("base", "weights"):
        if not isinstance(content[key], str) or Path(content[key]).name != content[key]:
            raise ValueError(f"the adapter's card {path.name} must name its {key} without a folder: correct it")
    content["pixel_mm"] = tuple(pixel)
    return AdapterCard(**content)


def write_adapter_card(card: AdapterCard, path: Path) -> None:
    """Write the card as indented JSON."""
    path.write_text(json.dumps(asdict(card), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_any_card(path: Path) -> PriorCard:
    """The card of a prior, or of an adapter together with its base; raises ValueError as these do."""
    if not is_adapter(path):
        return read_card(path)
    adapter = read_adapter(path)
    return adapted_card(read_card(base_card_path(adapter, path)), adapter)


def base_card_path(adapter: AdapterCard, path: Path) -> Path:
    """Card of the base prior, beside the adapter's card at ``path`` or among those shipped.

    Raises ValueError when there is none, or when its weights are not those that the adapter was made for.
    """
    for folder in (path.parent, SHIPPED):
        found = folder / f"{adapter.base}.json"
        if found.exists():
            break
    else:
        raise ValueError(
            f"the adapter {adapter.name} changes the prior {adapter.base}, which is neither beside it nor installed: "
            "put that prior's card and weights beside the adapter"
        )
    digest = read_card(found).sha256
    if digest != adapter.base_sha256:
        raise ValueError(
            f"the adapter {adapter.name} was made for other weights of {adapter.base} (hash "
            f"{adapter.base_sha256[:12]}, found {digest[:12]}): use that version of the prior, or adapt again"
        )
    return found


def adapted_card(base: PriorCard, adapter: AdapterCard) -> PriorCard:
    """The card of base and adapter together; what was measured of the base alone is left out.

    ``weights`` and ``sha256`` are the adapter's, which name the base by its hash in turn.
    """
    measured = {
        entry.name: entry.default_factory() for entry in fields(PriorCard)
        if entry.default_factory is not MISSING and entry.name != "start_error"
    }
    pixels = (*base.pixel_mm, *adapter.pixel_mm)
    return replace(
        base, **measured, name=adapter.name, title=adapter.title, weights=adapter.weights, sha256=adapter.sha256,
        date=adapter.date, licence=adapter.licence, pixel_mm=(min(pixels), max(pixels)),
        training={"base": base.name, "base_sha256": base.sha256, "rank": adapter.rank, **adapter.training},
        data=[*base.data, *adapter.data], held_out=adapter.held_out, denoising_psnr_db=adapter.denoising_psnr_db,
    )
