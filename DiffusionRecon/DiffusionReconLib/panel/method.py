"""Method and outputs: preset, draws, prior with its card, and the line that says what is about to happen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import slicer
from diffusion_engine.priors.adapter_card import read_any_card as read_card
from diffusion_engine.priors.card import PriorCard, check_use
from diffusion_engine.run.presets import PRESETS, available_presets
from diffusion_engine.run.settings import Settings
from diffusion_engine.solvers.listing import listed_methods
from slicer.i18n import tr as _

from DiffusionReconLib.jobs.estimate import Estimate, Rate, estimate, rateOf, workingShape
from DiffusionReconLib.jobs.trained_priors import ownCards
from DiffusionReconLib.panel.part import Choices, Part, setText

PRIORS_FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "Priors"
RATE_KEY = "DiffusionRecon/Rate"
OTHER = "other"


class MethodPart(Part):
    """The sections Method and Outputs."""

    def __init__(self, ui: Any) -> None:
        super().__init__(ui)
        self._preset = Choices(ui.presetComboBox, self._takePreset)
        self._prior = Choices(ui.priorComboBox, self._takePrior)
        self._cards: dict[str, PriorCard | str] = {}
        self._calibrated = False
        self._rate = Rate()
        self._readRate()

    def notReady(self) -> str:
        """Why nothing can be run with this method, "" when it can."""
        if self.parameters.preset not in self._preset.names:
            return _("Choose a preset: '{name}' is not offered here").format(name=self.parameters.preset)
        card = self.card()
        if not self.diffusion:
            return ""
        if isinstance(card, str):
            return card
        try:
            check_use(card, self.solver, self.parameters.coupling)
        except ValueError as error:
            return str(error)
        return ""

    @property
    def solver(self) -> str:
        """The diffusion method by name, the preset's unless one was chosen; "" for classical methods alone."""
        known = PRESETS.get(self.parameters.preset)
        return self.parameters.solver or (known.solver if known else None) or ""

    @property
    def diffusion(self) -> bool:
        """Whether a diffusion prior is used at all."""
        return bool(self.solver)

    def card(self) -> PriorCard | str:
        """The chosen prior's card, or why it cannot be used."""
        name = self.parameters.prior
        if name not in self._cards:
            path = PRIORS_FOLDER / f"{name}.json"
            try:
                self._cards[name] = read_card(path if path.is_file() else Path(name))
            except (ValueError, OSError) as error:
                self._cards[name] = str(error)
        return self._cards[name]

    def priors(self, modality: str) -> list[tuple[str, str]]:
        """The priors of a modality, shipped and trained here: what they are loaded by, and their titles."""
        named = dict(sorted((path.stem, path) for path in PRIORS_FOLDER.glob("*.json")))
        named.update((str(path), path) for path in ownCards())
        found = []
        for name, path in named.items():
            if name not in self._cards:
                self._cards[name] = _readQuietly(path)
            card = self._cards[name]
            if isinstance(card, PriorCard) and card.modality == modality:
                found.append((name, card.title))
        return found

    def forgetCards(self) -> None:
        """Read all cards again: there is a new one."""
        self._cards.clear()

    def update(self) -> None:
        """Show the parameters."""
        modality = self.parameters.modality or "ct"
        self._preset.fill((preset.name, preset.title) for preset in available_presets(listed_methods(modality)))
        self._preset.show(self.parameters.preset)
        preset = PRESETS.get(self.parameters.preset)
        text = preset.description[:1].upper() + preset.description[1:] + "." if preset else ""
        if self.parameters.solver:
            text = _("The method chosen under Advanced replaces the preset's.")
        setText(self.ui.presetLabel, text)
        self.showRow("drawsSpinBox", self.diffusion)
        self._updatePrior(modality)
        for name in ("keepUncertaintyCheckBox", "keepNotSeenCheckBox", "keepDrawsCheckBox"):
            getattr(self.ui, name).enabled = self.diffusion

    def showEstimate(self, settings: dict[str, Any] | None, shape: tuple[int, int, int] | None,
                     pixelMm: tuple[float, float] | None) -> Estimate | None:
        """Say what a run of `shape` (slices, rows, columns) with these settings will take."""
        if settings is None or shape is None:
            setText(self.ui.estimateLabel, "")
            return None
        card = self.card()
        if pixelMm is not None:
            smallest = card.pixel_mm[0] if isinstance(card, PriorCard) and self.diffusion else 1.25
            shape = workingShape(shape, pixelMm, smallest)
        try:
            found = estimate(settings, shape, self._rate, self._calibrated)
        except ImportError:
            setText(self.ui.estimateLabel, _("The first Apply sets up what is needed; then times are estimated here."))
            return None
        setText(self.ui.estimateLabel, found.text, not found.fits)
        return found

    def learn(self, report: dict[str, Any], slices: int) -> None:
        """Take the rate of a finished run for the next estimates."""
        rate = rateOf(report, slices)
        if rate is not None:
            self._rate, self._calibrated = rate, True
            slicer.app.settings().setValue(RATE_KEY, json.dumps(rate.toDict()))

    def _readRate(self) -> None:
        stored = slicer.app.settings().value(RATE_KEY)
        if stored:
            try:
                self._rate, self._calibrated = Rate.fromDict(json.loads(stored)), True
            except (ValueError, TypeError):
                self._rate = Rate()

    def _updatePrior(self, modality: str) -> None:
        self.showRow("priorComboBox", self.diffusion)
        if not self.diffusion:
            setText(self.ui.priorCardLabel, "")
            return
        entries = self.priors(modality)
        chosen = self.parameters.prior
        if chosen not in [name for name, _title in entries]:
            entries.append((chosen, Path(chosen).stem))
        self._prior.fill([*entries, (OTHER, _("Load other..."))])
        self._prior.show(chosen)
        card = self.card()
        if isinstance(card, str):
            setText(self.ui.priorCardLabel, card, True)
        else:
            setText(self.ui.priorCardLabel, _("{anatomy}. {unit}, {date}, {licence}").format(
                anatomy=card.anatomy, unit=card.unit, date=card.date, licence=card.licence))

    def _takePreset(self, name: str) -> None:
        if self.parameters is None:
            return
        before = self.parameters.StartModify()
        left = PRESETS.get(self.parameters.preset)
        self.store("preset", name)
        self.store("solver", "")
        self.store("steps", 0)
        changes, card = PRESETS[name].changes, self.card()
        if "draws" in changes:
            self.store("draws", changes["draws"])
        for field in ("prior", "coupling"):
            # What came with the preset before goes with it, and so do weights that serve one method and no other.
            brought = left is not None and left.changes.get(field) == getattr(self.parameters, field)
            bound = field == "prior" and isinstance(card, PriorCard) and bool(card.sampler)
            if field in changes:
                self.store(field, changes[field])
            elif brought or bound:
                self.store(field, getattr(Settings(), field))
        self.parameters.EndModify(before)

    def _takePrior(self, name: str) -> None:
        if name != OTHER:
            self.store("prior", name)
            return
        import qt

        path = qt.QFileDialog.getOpenFileName(None, _("Choose a prior's model card"), "", _("Model cards (*.json)"))
        if path:
            self.store("prior", path)
        self._prior.show(self.parameters.prior)


def _readQuietly(path: Path) -> PriorCard | str:
    try:
        return read_card(path)
    except (ValueError, OSError) as error:
        return str(error)
