"""Ctrl-C, SIGTERM and a terminal that is closed as a wish to stop at the next safe point."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class StopRequest:
    """``number`` is the signal that asked the run to stop, or None."""

    number: int | None = None


def stopping_signals() -> list[int]:
    """SIGINT, SIGTERM and SIGHUP, but for those that this process was told to ignore (nohup)."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # not every system has the last one
    there = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [n for n in there if signal.getsignal(n) not in (signal.SIG_IGN, None)]


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turns the first of `stopping_signals` into a request; a second one acts as it always does.

    Outside the main thread (where Python delivers no signals) the request is never made.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {n: signal.getsignal(n) for n in stopping_signals()}

    def restore():
        for n, handler in previous.items():
            signal.signal(n, handler)

    def ask(number, frame):
        request.number = number
        restore()

    for n in previous:
        signal.signal(n, ask)
    try:
        yield request
    finally:
        restore()
