"""Modal dialogs: shown on a desktop; in tests recorded and answered from a queue, so that nothing waits for a user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PySide6 import QtWidgets

FILE_FUNCTIONS = ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory")
INPUT_FUNCTIONS = ("getText", "getMultiLineText", "getInt", "getDouble", "getItem")
MESSAGE_FUNCTIONS = ("information", "warning", "critical", "question", "about")
MULTIPLE = "getOpenFileNames"


@dataclass(frozen=True)
class Shown:
    """A dialog that a user would have seen; `kind` is message, file, input or dialog."""

    kind: str
    text: str
    title: str = ""
    details: str = ""
    buttons: tuple[str, ...] = ()
    answer: Any = None


@dataclass
class Recorder:
    """What was shown, and the answers still to be given."""

    shown: list[Shown] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)

    def answer(self, *answers: Any) -> None:
        """Queue answers: a button's name ("Yes", "Cancel"), a path, an input, or for a dialog of one's own a function.

        The function gets the dialog, operates it, and returns the dialog's result. A path of "" is Cancel. A message
        with one button needs no answer; a question without one raises.
        """
        self.answers.extend(answers)

    def texts(self) -> list[str]:
        """What the recorded dialogs said."""
        return [one.text for one in self.shown]

    def _next(self, what: str) -> Any:
        if not self.answers:
            raise AssertionError(f"Expected a queued answer, found none for: {what}")
        return self.answers.pop(0)

    def message(self, box: Any) -> int:
        """Record a message box and return its button as exec_ does."""
        action = QtWidgets.QMessageBox.ActionRole  # that of "Show Details...", which closes nothing
        choices = [button for button in box.buttons() if box.buttonRole(button) != action]
        buttons = {_buttonName(box, button): button for button in choices}
        name = next(iter(buttons), "") if len(buttons) < 2 else self._next(box.text)
        if buttons and name not in buttons:
            raise AssertionError(f"Expected one of the buttons {', '.join(buttons)}, found {name!r} for: {box.text}")
        self.shown.append(
            Shown("message", box.text, box.windowTitle.strip(), box.detailedText, tuple(buttons), name)
        )
        if not buttons:
            return 0
        buttons[name].click()
        return int(box.standardButton(buttons[name]))

    def dialog(self, box: Any) -> int:
        """Record another modal dialog; one without buttons passes by itself."""
        labels = box.findChildren(QtWidgets.QLabel)
        text = labels[0].text if labels else box.windowTitle
        result = 0
        if box.findChildren(QtWidgets.QAbstractButton):
            operate = self._next(text)
            if not callable(operate):
                raise AssertionError(f"Expected a function to operate the dialog {text!r}, found {operate!r}")
            result = operate(box)
        self.shown.append(Shown("dialog", text, box.windowTitle, answer=result))
        return int(result or 0)

    def static(self, kind: str, name: str, arguments: tuple[Any, ...]) -> Any:
        """Record one of QFileDialog's or QInputDialog's functions."""
        words = [argument for argument in arguments if isinstance(argument, str)]
        caption = words[0] if words else name
        answer = self._next(caption)
        text = words[1] if kind == "input" and len(words) > 1 else caption
        self.shown.append(Shown(kind, text, caption, answer=answer))
        return answer


_current: list[Recorder] = []


def startRecording() -> Recorder:
    """Record and answer all modal dialogs from now on."""
    _current[:] = [Recorder()]
    return _current[0]


def stopRecording() -> None:
    """Show modal dialogs again."""
    _current.clear()


def _buttonName(box: Any, button: Any) -> str:
    standard = box.standardButton(button)
    return standard.name if int(standard) else button.text.replace("&", "")


def _replacement(original: Callable[..., Any], record: Callable[[Recorder, tuple], Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        if _current:
            return record(_current[0], (*arguments, *named.values()))
        result = original(*arguments, **named)
        return result[0] if isinstance(result, tuple) else result  # PythonQt drops C++'s output arguments

    return call


def _recordStatic(kind: str, name: str) -> Callable[[Recorder, tuple], Any]:
    def record(recorder: Recorder, arguments: tuple) -> Any:
        answer = recorder.static(kind, name, arguments)
        return tuple([answer] if isinstance(answer, str) and answer else answer) if name == MULTIPLE else answer

    return record


def _recordMessage(name: str) -> Callable[[Recorder, tuple], Any]:
    def record(recorder: Recorder, arguments: tuple) -> int:
        parent, title, text, *buttons = arguments
        box = QtWidgets.QMessageBox(parent)
        box.windowTitle, box.text = title, text
        standard = QtWidgets.QMessageBox.Yes | QtWidgets.QMessageBox.No
        default = standard if name == "question" else QtWidgets.QMessageBox.Ok
        box.setStandardButtons(QtWidgets.QMessageBox.StandardButton(int(buttons[0]) if buttons else int(default)))
        return recorder.message(box)

    return record


def install() -> None:
    """Let every modal dialog of Qt pass by the recorder."""
    box, dialog = QtWidgets.QMessageBox, QtWidgets.QDialog
    dialogRuns = _replacement(dialog.exec, lambda recorder, given: recorder.dialog(given[0]))
    boxRuns = _replacement(box.exec, lambda recorder, given: recorder.message(given[0]))
    for name in ("exec", "exec_"):
        setattr(dialog, name, dialogRuns)
        setattr(box, name, boxRuns)
    for names, kind, owner in ((FILE_FUNCTIONS, "file", QtWidgets.QFileDialog),
                               (INPUT_FUNCTIONS, "input", QtWidgets.QInputDialog)):
        for name in names:
            setattr(owner, name, staticmethod(_replacement(getattr(owner, name), _recordStatic(kind, name))))
    for name in MESSAGE_FUNCTIONS:
        setattr(box, name, staticmethod(_replacement(getattr(box, name), _recordMessage(name))))
