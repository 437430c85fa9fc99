"""How many runs go side by side: what fits into memory, then what is fastest."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax

from lica_jax.engines.games import is_host_task
from lica_jax.errors import TooLarge, UserError, first_line, is_out_of_memory
from lica_jax.runs.plan import Plan
from lica_jax.runs.state import Counters
from lica_jax.sweeps.devices import sharing
from lica_jax.training.memory import USABLE, free_on

FACTOR = 4  # between two widths that are tried
START = 2.0  # seconds that a wave takes beside training: files, checkpoints
SHARE = 0.1  # of the expected time of all runs, at most, for finding the width
SECONDS = 2.0  # of a timing, at least
GAIN = 1.03  # what a wider wave must be faster by


class Memory(NamedTuple):
    """Of runs side by side, in bytes.

    Attributes:
      run: of each.
      free: what there is for all of them, over all devices.
      fixed: whatever their number.
    """

    run: int
    free: int | None
    fixed: int = 0

    def of(self, width: int) -> int:
        """What so many need together."""
        return self.fixed + width * self.run

    @property
    def widest(self) -> int:
        """The most runs that fit together; 0 where not even one does."""
        if self.free is None:
            return 2**31
        return max(0, int((USABLE * self.free - self.fixed) / max(self.run, 1)))


def memory_of(plan: Plan, devices: int, elsewhere: bool) -> Memory:
    """What runs of a plan's kind need, and what there is for them on so many devices; ``plan`` is
    of one run, ``elsewhere`` says that another machine trains."""
    estimate = plan.engine.estimate
    fixed = estimate.total(0)
    free = None if elsewhere else free_on(devices)
    return Memory(estimate.total(1, saves=True) - fixed, free, fixed)


def balanced(runs: int, width: int, devices: int = 1) -> list[int]:
    """The sizes of the waves in which so many runs go, at most ``width`` each: as equal as can be
    with one size for all but the last, since every size is a program, and where there is room a
    multiple of the devices."""
    if runs == 0:
        return []
    even = math.ceil(runs / math.ceil(runs / width))
    shared = math.ceil(even / devices) * devices
    even = shared if shared <= width else even
    full, rest = divmod(runs, even)
    return [even] * full + ([rest] if rest else [])


class Timing(NamedTuple):
    """Of waves of one width.

    Attributes:
      width: runs side by side.
      steps_per_second: env steps of all of them together.
      seconds_per_run: of a whole run, its share of the wave.
    """

    width: int
    steps_per_second: float
    seconds_per_run: float


def fastest(
    base: Callable[[int], Plan],
    runs: int,
    widest: int,
    tell: Callable[[str], None],
    devices: int = 1,
) -> int:
    """The width whose first compiled calls were the fastest per run.

    Tries 1, 4, 16 ... (a run, then 1, 4, 16 ... on every one of several devices) while it gains
    and costs little beside the runs themselves.

    Args:
      base: a plan of so many runs, compiled when it is first used.
      runs: how many there are.
      widest: how many fit.
      tell: what takes a line about each width.
      devices: that share a wave out.

    Raises:
      TooLarge: not even one run fits.
    """
    if is_host_task(base(1).task):
        return 1
    timings: list[Timing] = []
    began = time.monotonic()
    for width in _candidates(min(runs, widest), devices):
        try:
            timing = measure(base(width))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if not timings:
                raise TooLarge(f"not even one run fits: {first_line(error)}") from error
            tell(f"  {width} side by side do not fit")
            break
        timings.append(timing)
        shared = sharing(width, devices)
        where = f" on {shared} devices" if shared > 1 else ""
        tell(
            f"  {width} side by side{where}: {timing.steps_per_second:,.0f} env steps/s, "
            f"{timing.seconds_per_run:.1f} s a run"
        )
        best = min(t.seconds_per_run for t in timings)
        if timing.seconds_per_run > GAIN * best or (time.monotonic() - began > SHARE * best * runs):
            break
    chosen = timings[0]
    for timing in timings[1:]:
        if timing.seconds_per_run * GAIN < chosen.seconds_per_run:
            chosen = timing
    return chosen.width


def _candidates(most: int, devices: int) -> Iterator[int]:
    """1, 4, 16, ..., or one run and such numbers on every device, and the widest where it is
    another."""
    width = 1
    while width < most:
        yield width
        width = devices if width == 1 < devices else FACTOR * width
    yield most


def measure(plan: Plan) -> Timing:
    """Times compiled calls of a plan behind the first one; nothing is kept of what they do.

    Raises:
      MemoryError: the compiled program needs more than there is; it has not been run.
    """
    engine, hp = plan.engine, plan.hparams
    state = engine.init(plan.keys)
    engine.check_memory(state, hp, plan.iterations)
    state, metrics = engine.chunk(state, hp, plan.iterations)
    jax.block_until_ready(metrics)
    before = int(Counters.of(state).env_steps.sum())
    calls, start = 0, time.monotonic()
    while calls == 0 or (time.monotonic() - start < SECONDS and calls < 20):
        state, metrics = engine.chunk(state, hp, plan.iterations)
        jax.block_until_ready(metrics)
        calls += 1
    seconds, width = time.monotonic() - start, len(plan.runs)
    rate = (int(Counters.of(state).env_steps.sum()) - before) / seconds
    return Timing(width, rate, plan.config.total_steps / rate + START / width)


def check_width(width: int, memory: Memory, name: str) -> None:
    """Raises ``UserError`` where ``width`` runs side by side do not fit."""
    if width <= memory.widest:
        return
    free = (memory.free or 0) / 2**30
    if memory.widest == 0:
        raise UserError(
            f"a run of {name} needs about {memory.of(1) / 2**30:.1f} GiB and {free:.1f} GiB are "
            "free: it does not fit even alone. Use fewer environments (--collect.envs) or smaller "
            "networks (--algo.*)"
        )
    raise UserError(
        f"{width} runs of {name} side by side need about {memory.of(width) / 2**30:.1f} GiB and "
        f"{free:.1f} GiB are free; at most {memory.widest} fit: use --wave {memory.widest} or auto"
    )
