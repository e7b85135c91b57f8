"""Method: preset, samples, trained model with its card, and the line that says what is about to happen."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import qt
import slicer
from diffusion_engine.priors.adapter_card import read_any_card as read_card
from diffusion_engine.priors.card import PriorCard, check_use
from diffusion_engine.run.detection import detection_sentence
from diffusion_engine.run.presets import PRESETS, available_presets
from diffusion_engine.run.settings import Settings
from diffusion_engine.run.surer import surer
from diffusion_engine.solvers.listing import listed_methods
from slicer.i18n import tr as _

from DiffusionReconLib.jobs.estimate import Estimate, Rate, estimate, rateOf, timeText, workingShape
from DiffusionReconLib.jobs.settings import hasPhase
from DiffusionReconLib.jobs.trained_priors import ownCards
from DiffusionReconLib.modalities.contract import Modality, Suggestion
from DiffusionReconLib.panel.part import Choices, Part, setText
from DiffusionReconLib.panel.tones import PLAIN, toneColour

PRIORS_FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "Priors"
RATE_KEY = "DiffusionRecon/Rate"
OTHER = "other"
USUAL = {"prior": "", "coupling": Settings().coupling}
"""What stands where a preset brings nothing: the modality's trained model, each slice alone."""


class MethodPart(Part):
    """The section Method; `modality` gives the one to reconstruct, `suggestion` the presets that fit the input."""

    def __init__(
        self, ui: Any, modality: Callable[[], Modality], suggestion: Callable[[], Suggestion | None]
    ) -> None:
        super().__init__(ui)
        self._modality, self._suggestion = modality, suggestion
        ui.suggestionLabel.connect("linkActivated(QString)", self._takePreset)
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

    @property
    def _hasPull(self) -> bool:
        """Whether a run has a sample with a surer prior, whose difference the map of where the prior decided is."""
        modality = self._modality().name
        if self.solver not in listed_methods(modality):
            return False
        return surer(Settings(modality=modality, solver=self.solver, draws=int(self.parameters.draws))) is not None

    @property
    def prior(self) -> str:
        """The trained model by name: the chosen one, else the modality's usual one."""
        return self.parameters.prior or self._modality().model

    def card(self) -> PriorCard | str:
        """The trained model's card, or why it cannot be used."""
        name = self.prior
        if name not in self._cards:
            path = PRIORS_FOLDER / f"{name}.json"
            self._cards[name] = _readQuietly(path if path.is_file() else Path(name))
        card, modality = self._cards[name], self._modality()
        if isinstance(card, PriorCard) and card.modality != modality.name:
            return _("The trained model '{name}' is for {other}, not for {wanted}: choose another one under Advanced"
                     ).format(name=card.title, other=card.modality.upper(), wanted=modality.title)
        return card

    def priors(self, modality: str) -> list[tuple[str, str]]:
        """The priors of a modality, shipped and trained here: what they are loaded by, and their titles."""
        named = dict(sorted((path.stem, path) for path in PRIORS_FOLDER.glob("*.json")))
        named.update((str(path), path) for path in ownCards())
        found = []
        for name, path in named.items():
            if name not in self._cards:
                self._cards[name] = _readQuietly(path)
            card = self._cards[name]
            if isinstance(card, PriorCard) and card.modality == modality and card.reconstructs:
                found.append((name, card.title))
        return found

    def forgetCards(self) -> None:
        """Read all cards again: there is a new one."""
        self._cards.clear()

    def update(self) -> None:
        """Show the parameters."""
        modality = self._modality().name
        offered = available_presets(listed_methods(modality), modality)
        self._preset.fill((preset.name, preset.title) for preset in offered)
        self._preset.show(self.parameters.preset)
        setText(self.ui.presetLabel, self.sentence())
        self._suggest()
        self.showRow("drawsSpinBox", self.diffusion)
        self._updatePrior(modality)
        for name in ("keepUncertainty", "keepNotSeen", "keepDataDisagree", "keepDraws"):
            getattr(self.ui, f"{name}CheckBox").enabled = self.diffusion
        self.ui.keepPriorDecidedCheckBox.enabled = self._hasPull
        self.ui.keepPhaseCheckBox.enabled = hasPhase(modality)

    def sentence(self) -> str:
        """What the preset is for, "" for one that this version does not have."""
        if self.parameters.solver:
            return _("The method chosen under Advanced replaces the preset's.")
        preset = PRESETS.get(self.parameters.preset)
        if preset is None:
            return ""
        own = preset.description[:1].upper() + preset.description[1:] + "."
        return self._modality().sentences.get(preset.name, own)

    def _suggest(self) -> None:
        """Name the preset that fits the input, to be taken by one press, unless it or its like is chosen."""
        found = self._suggestion()
        offered = [] if found is None else [name for name in found.presets if name in self._preset.names]
        if not offered or self.parameters.solver or self.parameters.preset in offered:
            setText(self.ui.suggestionLabel, "")
            return
        text = _("{reason}: the preset {preset} fits better").format(
            reason=found.reason, preset=PRESETS[offered[0]].title)
        colour = toneColour(self.ui.suggestionLabel, PLAIN)  # a link's own may be unreadable
        setText(self.ui.suggestionLabel, f'<a href="{offered[0]}" style="color: {colour}">{escape(text)}</a>')

    def showReason(self, reason: str) -> None:
        """Say why nothing can be run, in the place of the estimate, unless the model's line says it already."""
        setText(self.ui.estimateLabel, "" if reason == self.ui.priorCardLabel.text else reason)
        setText(self.ui.detectionLabel, "")

    def showEstimate(self, settings: dict[str, Any], shape: tuple[int, int, int],
                     pixelMm: tuple[float, float] | None, simulated: bool) -> Estimate | None:
        """Say what a run of `shape` (slices, rows, columns) with these settings will take, and what it may miss.

        The latter of a scan that is `simulated`: of measured readings their noise tells, which only the run looks at.
        """
        card = self.card()
        known = isinstance(card, PriorCard) and self.diffusion and simulated
        limit = detection_sentence(card, Settings.from_dict(settings)) if known else None
        setText(self.ui.detectionLabel, limit or "")
        if pixelMm is not None:
            smallest = card.pixel_mm[0] if isinstance(card, PriorCard) and self.diffusion else 1.25
            shape = workingShape(shape, pixelMm, smallest)
        try:
            found = estimate(settings, shape, self._rate, self._calibrated)
        except ImportError:
            setText(self.ui.estimateLabel, _("The first Apply sets up what is needed; then times are estimated here."))
            return None
        setText(self.ui.estimateLabel, found.text, not found.fits)
        setText(self.ui.presetLabel, _("{sentence} Takes about {time} here.").format(
            sentence=self.sentence(), time=timeText(found.seconds)))
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
        chosen = self.prior
        if chosen not in [name for name, _title in entries]:
            entries.append((chosen, Path(chosen).stem))
        self._prior.fill([*entries, (OTHER, _("Load other..."))])
        self._prior.show(chosen)
        card = self.card()
        if isinstance(card, str):
            setText(self.ui.priorCardLabel, card, True)
            self.ui.priorCardLabel.toolTip = _("Choose another trained model under Advanced")
        else:
            setText(self.ui.priorCardLabel, anatomyText(card))
            self.ui.priorCardLabel.toolTip = cardText(card)

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
                self.store(field, USUAL[field])
        self.parameters.EndModify(before)

    def _takePrior(self, name: str) -> None:
        if name != OTHER:
            self.store("prior", name)
            return
        path = qt.QFileDialog.getOpenFileName(None, _("Choose a trained model's card"), "", _("Model cards (*.json)"))
        if path:
            self.store("prior", path)
        self._prior.show(self.prior)


def anatomyText(card: PriorCard) -> str:
    """What a trained model is for and what it is not for, without the reasons."""
    text = _("Trained on {anatomy}.").format(anatomy=card.anatomy)
    if card.not_for:
        text += " " + _("Not for {uses}.").format(uses="; ".join(use.partition(":")[0] for use in card.not_for))
    return text


def cardText(card: PriorCard) -> str:
    """All that a card says in words, a line each."""
    lines = [card.title, *card.not_for, _("Unit: {unit}").format(unit=card.unit),
             _("Trained: {date}").format(date=card.date), _("Licence: {licence}").format(licence=card.licence)]
    return "\n".join(lines)


def _readQuietly(path: Path) -> PriorCard | str:
    try:
        return read_card(path)
    except (ValueError, OSError) as error:
        return str(error)
