"""Which runs go side by side, and in which order."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from lica_jax.errors import TrainingFailed, UserError
from lica_jax.runs import directory
from lica_jax.sweeps.folder import Wave
from lica_jax.sweeps.groups import Group, make_groups
from lica_jax.sweeps.settings import group_key
from lica_jax.sweeps.widths import balanced, fastest
from lica_jax.sweeps.work import Work


class Schedule:
    """Plans waves; writes down what it has decided before anything is done about it.

    Attributes:
      groups: settings by their programs.
      processes: that share the waves out.
    """

    def __init__(self, work: Work, groups: list[Group]):
        self._work, self.groups, self.processes = work, groups, 1

    def regroup(self) -> None:
        """There are more settings than before."""
        self.groups = make_groups(self._work.settings, self._work.plans)

    def plan_waves(self, runs: Sequence[int], rung: int) -> None:
        """Waves of the runs that are in none yet; cheap programs first."""
        progress = self._work.progress
        planned = {i for wave in progress.waves if wave.rung == rung for i in wave.runs}
        by_setting: dict[int, list[int]] = {}
        for i in runs:
            if i not in planned:
                by_setting.setdefault(progress.runs[i][0], []).append(i)
        for group in sorted(self.groups, key=lambda g: g.memory.run):
            own = [i for setting in group.settings for i in by_setting.get(setting.number, ())]
            own.sort(key=progress.runs.__getitem__)
            at = 0
            width = self.width(group, len(own)) if own else 1
            for size in balanced(len(own), width, self._work.plans.devices):
                progress.next_wave(own[at : at + size], rung)
                at += size
        self._work.folder.save(progress)

    def width(self, group: Group, runs: int) -> int:
        """Runs side by side: as asked, or as measured the first time."""
        work, widths = self._work, self._work.progress.widths
        most = group.widest(work.ask, runs)
        if work.ask.wave != "auto" or most == 1:
            return most
        if group.key not in widths:
            work.say(f"finding the width of the waves {group.name}".rstrip())
            config = group.settings[0].config
            share = -(-runs // self.processes)  # of one of several processes
            widths[group.key] = fastest(
                lambda n: work.plans.base(config, n), share, min(share, most), work.say,
                work.plans.devices,
            )  # fmt: skip
        return min(widths[group.key], most)

    def split(self, wave: Wave) -> None:
        """A wave that did not fit is tried again as two halves; raises ``TrainingFailed`` where it
        has been trained before, in more memory."""
        work, progress, runs = self._work, self._work.progress, wave.runs
        path = work.folder.wave(wave)
        if max(directory.checkpoints(path), default=0) > 0:
            raise TrainingFailed(
                f"wave {wave.name} of {len(runs)} runs, which has been trained before, needs more "
                f"memory than is free now; without {path} its runs begin again, fewer at once"
            )
        if len(runs) == 1:
            raise UserError(f"run {runs[0]} does not fit into memory even alone")
        shutil.rmtree(path, ignore_errors=True)
        middle = -(-len(runs) // 2)
        progress.told.append(f"wave {wave.name} of {len(runs)} ran out of memory: halved")
        work.say(f"  {progress.told[-1]}")
        progress.next_wave(runs[:middle], wave.rung)
        progress.next_wave(runs[middle:], wave.rung)
        progress.waves.remove(wave)
        setting = work.settings[progress.runs[runs[0]][0]]
        progress.widths[group_key(setting.config)] = middle  # later waves need not find out again
        work.folder.save(progress)
