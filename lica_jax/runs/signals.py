"""Ctrl-C and SIGTERM as a wish to stop at the next safe point."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class StopRequest:
    """``number`` is the signal that asked the run to stop, or None."""

    number: int | None = None


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turns the first SIGINT or SIGTERM into a request; a second one acts as it always does.

    Outside the main thread (where Python delivers no signals) the request is never made.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {n: signal.getsignal(n) for n in numbers}

    def restore():
        for n, handler in previous.items():
            signal.signal(n, handler)

    def ask(number, frame):
        request.number = number
        restore()

    for n in numbers:
        signal.signal(n, ask)
    try:
        yield request
    finally:
        restore()
