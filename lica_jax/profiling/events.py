"""What a compiled program did while it ran: its instructions' own times, from JAX's profiler."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax


class Seen(NamedTuple):
    """How often an instruction was executed, and seconds of one time without those inside it.

    The seconds are the first decile's: what else runs on a machine lengthens many executions.
    """

    times: int
    seconds: float


def profiled(call: Callable[[], Any]) -> dict[str, Seen]:
    """Calls ``call``, waits for what it returns, and tells what was executed, by name.

    Among the names are those of the runtime's own doings.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            jax.block_until_ready(call())
        (path,) = Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(path))
    seen: dict[str, list[float]] = {}
    for plane in data.planes:
        named = _name if plane.name.startswith("/device") else _plain_name
        for line in plane.lines:
            spans = [(e.start_ns, e.duration_ns, named(e)) for e in line.events]
            for name, own in own_times(spans):
                seen.setdefault(name, []).append(own)
    return {
        name: Seen(len(taken), sorted(taken)[len(taken) // 10] / 1e9)
        for name, taken in seen.items()
    }


def _plain_name(event: Any) -> str:
    return event.name


def _name(event: Any) -> str:
    """The instruction of an event of an accelerator, which names its kernels otherwise."""
    return next((str(value) for key, value in event.stats if key == "hlo_op"), event.name)


def own_times(spans: Iterable[tuple[float, float, str]]) -> list[tuple[str, float]]:
    """``(name, duration without the spans inside)`` of spans ``(start, duration, name)``."""
    out: list[list[Any]] = []
    open_: list[tuple[float, int]] = []  # (end, where in `out`)
    for start, duration, name in sorted(spans, key=lambda s: (s[0], -s[1])):
        while open_ and open_[-1][0] <= start:
            open_.pop()
        if open_:
            out[open_[-1][1]][1] -= duration
        open_.append((start + duration, len(out)))
        out.append([name, duration])
    return [(name, max(own, 0.0)) for name, own in out]
