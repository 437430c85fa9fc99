"""A counter for what takes its time and says nothing by itself."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

from lica_jax.files import is_terminal, put, put_over

# Seconds: before the first word, between two in a terminal, between two lines elsewhere.
PATIENCE, EVERY, EVERY_LINE = 2.0, 1.0, 60.0


class Counter:
    """Tells on stderr how far something is, while it is entered: in a terminal in one line that
    changes in place and goes away, elsewhere in a line a minute. Nothing in the first two seconds.

    Args:
      what: what is going on: ``evaluating``.
      unit: what is counted: ``episodes``.
      stream: where to; stderr when None.
    """

    def __init__(self, what: str, unit: str, stream: TextIO | None = None):
        self._what, self._unit = what, unit
        self._stream = sys.stderr if stream is None else stream
        self._terminal = is_terminal(self._stream)
        self._done, self._total = 0, 0
        self._begun = time.monotonic()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)

    def tell(self, done: int, total: int) -> None:
        """``done`` of ``total`` are finished."""
        self._done, self._total = done, total

    def say(self, text: str) -> None:
        """Prints a line to stdout, where a terminal shows it above the counter's."""
        with self._lock:
            self._wipe()
            put(text, sys.stdout)  # nobody reads it: what is made goes on

    def __enter__(self) -> Counter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._wipe()

    def _talk(self) -> None:
        wait = PATIENCE
        while not self._over.wait(wait):
            with self._lock:
                if self._terminal:
                    put_over(self._text(), self._stream)
                else:
                    put(self._text(), self._stream)
            wait = EVERY if self._terminal else EVERY_LINE

    def _text(self) -> str:
        seconds = int(time.monotonic() - self._begun)
        count = f", {self._done:,} of {self._total:,} {self._unit}" if self._total else ""
        return f"{self._what}{count} ({seconds // 60}:{seconds % 60:02d})"

    def _wipe(self) -> None:
        if self._terminal:
            put_over("", self._stream)
