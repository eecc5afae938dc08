"""What is shown of a build, and of a batch."""
from __future__ import annotations

import sys
import time

from . import _lathe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Progress = bool | Callable[[str, int, int], object] | None

_REDRAW_S = 0.1
_FIRST_LINE_S = 10.0


def _interactive() -> bool:
    """A terminal, or a notebook, which redraws a line after a carriage return as a terminal does."""
    return "ipykernel" in sys.modules or bool(getattr(sys.stderr, "isatty", bool)())


class Bar:
    """A line on standard error: redrawn in place on a terminal; elsewhere one after 10, 20, 40, ... seconds."""

    def __init__(self) -> None:
        self.interactive = _interactive()
        self.label = ""
        self.begin = self.drawn_at = time.monotonic()
        self.wait = _REDRAW_S if self.interactive else _FIRST_LINE_S
        self.drawn = False

    def update(self, label: str, done: int, total: int, counted: bool) -> None:
        now = time.monotonic()
        if label != self.label:
            self.label, self.begin = label, now
        if now - self.drawn_at < self.wait:
            return
        self.drawn_at = now
        line: Any = _lathe.render_progress(label, done, total, counted, now - self.begin, 79)
        if self.interactive:
            sys.stderr.write("\r" + line.ljust(79))
            self.drawn = True
        else:
            self.wait *= 2
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def clear(self) -> None:
        if self.drawn:
            sys.stderr.write("\r" + " " * 79 + "\r")
            sys.stderr.flush()
            self.drawn = False


class Events:
    """Told what happens while a model is built or opened: True or None draws a bar, a function is called with
    (stage, done, total), False says nothing. Warnings are Python's."""

    def __init__(self, progress: Progress, model: str = "") -> None:
        self.call = progress if callable(progress) else None
        self.bar = Bar() if progress in (None, True) else None
        self.model = model
        self.announced = self.bar is None or self.bar.interactive

    def progress(self, stage: str, done: int, total: int, counted: bool) -> None:
        if self.call is not None:
            self.call(stage, done, total)
        if self.bar is not None:
            self.bar.update(stage, done, total, counted)

    def building(self, stage: str, done: int, total: int, counted: bool) -> None:
        if not self.announced and self.model:
            self.announced = True
            sys.stderr.write(f"lathe: building an engine of {self.model} for this machine (once)\n")
        self.progress(stage, done, total, counted)

    def resolved(self) -> None:
        if self.bar is not None:
            self.bar.clear()

    def warning(self, text: str) -> None:
        import warnings
        warnings.warn(text, stacklevel=3)  # of who called LLM, build, ... 

    def built(self, path: str, file_bytes: int, seconds: float) -> None:
        if self.bar is not None:
            sys.stderr.write(f"lathe: built {path} in {seconds:.1f} s\n")

    def rebuilding(self, why: str) -> None:
        if self.bar is not None:
            sys.stderr.write(f"lathe: building the cached engine again: {why}\n")
