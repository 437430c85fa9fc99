"""What a run shows in a notebook: a text that changes in place, and its learning curve below."""

from __future__ import annotations

import base64
import sys
from contextlib import suppress
from typing import Any

from lica_jax.errors import UserError


def _shell() -> Any:
    """IPython's running shell, or None: who runs in one has imported it."""
    ipython = sys.modules.get("IPython")
    return ipython and ipython.get_ipython()


def in_notebook() -> bool:
    """Whether what is displayed can change afterwards (Jupyter, not a terminal)."""
    return hasattr(_shell(), "kernel")


def check_notebook() -> None:
    """Raises ``UserError`` outside a notebook."""
    if _shell() is None:
        raise UserError(
            'display "notebook" needs a notebook (pip install notebook), and this runs in none; '
            '"auto" finds what suits'
        )


class NotebookOutput:
    """Two displays of one cell, made when they are first needed."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}
        self._said = self._now = ""

    def say(self, text: str) -> None:
        """What was said last stands above the live line."""
        self._said = text
        self._write()

    def progress(self, text: str) -> None:
        """The live line; "" ends it."""
        self._now = text
        self._write()

    def draw(self, png: bytes) -> None:
        """The learning curve as it is now."""
        data = {"image/png": base64.b64encode(png).decode(), "text/plain": "(learning curve)"}
        self._show("curve", data)

    def _write(self) -> None:
        lines = [text for text in (self._said, self._now) if text]
        self._show("text", {"text/plain": "\n".join(lines)})

    def _show(self, name: str, data: dict[str, str]) -> None:
        from IPython.display import display

        with suppress(OSError, ValueError):  # nobody reads it: the run goes on
            if name in self._handles:
                self._handles[name].update(data, raw=True)
            else:
                self._handles[name] = display(data, raw=True, display_id=True)
