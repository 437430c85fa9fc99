"""How long a sweep is still going to take."""

from __future__ import annotations

import time

from lica_jax.sweeps import halving
from lica_jax.sweeps.display import duration
from lica_jax.sweeps.folder import Wave
from lica_jax.sweeps.settings import base_config
from lica_jax.sweeps.wave import is_over
from lica_jax.sweeps.work import Work


class Outlook:
    """Counts env steps of all runs together, and the seconds that they take.

    It is said once in the first wave, at the speed of its first minute, and behind every wave at
    the speed of all so far: compilation included, but not what went before the first of them.
    """

    def __init__(self, work: Work):
        self._work = work
        over = (wave for wave in work.progress.waves if is_over(work, wave))
        self._done = sum(steps_of(work, wave) for wave in over)
        self._before, self._began, self._said = self._done, time.monotonic(), False
        self._waves_began: float | None = None

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def waves_begin(self) -> None:
        """The first waves are about to be trained; later calls change nothing."""
        if self._waves_began is None:
            self._waves_began = time.monotonic()

    def first_minute(self, wave: Wave, steps: int, rate: float) -> str:
        """What to say a minute into a wave, whose runs have taken ``steps`` each, at ``rate`` env
        steps per second of all of them; "" behind the first wave."""
        if self._said or rate <= 0:
            return ""
        self._said = True
        share = max(0.0, steps_of(self._work, wave, steps))
        text = duration(max(0.0, all_steps(self._work) - self._done - share) / rate)
        return f"about {text} left at the speed of the first wave's first minute"

    def ended(self, wave: Wave) -> str:
        """What to say behind a wave; "" where nothing is left."""
        self._said = True
        self._done += steps_of(self._work, wave)
        left = all_steps(self._work) - self._done
        if left <= 0:
            return ""
        began = self._began if self._waves_began is None else self._waves_began
        seconds = time.monotonic() - began
        return f"about {duration(seconds / (self._done - self._before) * left)} left"


def all_steps(work: Work) -> float:
    """Env steps of the whole sweep, settings that are not drawn yet included."""
    budgets = [setting.config.total_steps for setting in work.settings]
    if to_draw := work.ask.trials - len(budgets):
        budgets += [base_config(work.ask).total_steps] * to_draw
    share = halving.effort(len(budgets), work.shares, work.ask.halving)
    return sum(budgets) * len(work.ask.seeds) * share


def steps_of(work: Work, wave: Wave, each: int | None = None) -> float:
    """Env steps that a wave takes from the end of the rung before to that of its own; or until its
    runs have taken ``each``."""
    before = work.shares[wave.rung - 1] if wave.rung else 0.0
    total = 0.0
    for run in wave.runs:
        budget = work.settings[work.progress.runs[run][0]].config.total_steps
        upto = budget * work.shares[wave.rung] if each is None else each
        total += upto - before * budget
    return total
