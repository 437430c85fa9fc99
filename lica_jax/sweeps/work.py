"""What every part of a sweep works on, made again from its folder in another process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lica_jax.runs.plan import Plan
from lica_jax.sweeps import halving
from lica_jax.sweeps.devices import count_devices
from lica_jax.sweeps.folder import Folder, Progress, Wave
from lica_jax.sweeps.groups import objective_for
from lica_jax.sweeps.plans import Plans
from lica_jax.sweeps.request import SweepConfig
from lica_jax.sweeps.settings import Setting, make_settings, refuse

Minute = Callable[[Wave, int, float], str]


def silent(text: str) -> None:
    """The `Work.say` of whoever is not listened to."""


def unknown_future(wave: Wave, steps: int, rate: float) -> str:
    """The `Work.minute` of whoever sees one wave only."""
    return ""


@dataclass
class Work:
    """A sweep as it stands.

    Attributes:
      ask: what was asked.
      folder: where it is.
      progress: what has been decided so far; grows.
      settings: those of ``progress.values``; grow in a search.
      plans: of waves, with their compiled programs.
      style: of the live line.
      say: takes lines that stay.
      minute: what to say a minute into a wave, by the env steps of each of its runs so far and
        the rate of all of them together.
    """

    ask: SweepConfig
    folder: Folder
    progress: Progress
    settings: list[Setting]
    plans: Plans
    style: str = "none"
    say: Callable[[str], None] = field(default=silent)
    minute: Minute = field(default=unknown_future)

    @property
    def objective(self) -> str:
        """What settings are compared by."""
        return objective_for(self.ask, self.settings)

    @property
    def shares(self) -> list[float]:
        """Of the whole budget, at which settings are compared."""
        return halving.budgets(self.ask.trials or len(self.settings), self.ask.halving)

    def is_last(self, wave: Wave) -> bool:
        """Whether a wave's runs are trained to their end."""
        return wave.rung == len(self.shares) - 1

    def plan(self, wave: Wave) -> Plan:
        """The plan of a wave in its folder."""
        members = self.progress.members(wave.runs)
        total = self.settings[members[0].setting].config.total_steps
        budget = halving.budget_of(total, self.shares[wave.rung])
        return self.plans.plan(self.settings, members, budget, self.folder.wave(wave))


def numbered(ask: SweepConfig, values: list, first: int = 0) -> list[Setting]:
    """The settings of values that have been taken before; raises ``UserError`` where they cannot
    be trained any more."""
    settings, refused = make_settings(ask, values, first)
    refuse(refused, False, len(settings))
    return settings


def open_work(path: Path) -> Work:
    """A sweep from its folder."""
    folder = Folder(path)
    ask, progress = folder.read()
    return Work(
        ask, folder, progress, numbered(ask, progress.values), Plans(count_devices(ask), ask.shard)
    )
