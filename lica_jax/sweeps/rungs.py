"""From rung to rung of successive halving, in folders; resumed wherever it was left."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

from lica_jax.runs.plan import Plan
from lica_jax.sweeps import halving
from lica_jax.sweeps.folder import Wave
from lica_jax.sweeps.wave import export_wave, is_over, restored, scores_of
from lica_jax.sweeps.work import Work


def halve(work: Work, rung: int, plan_waves: Callable[[Sequence[int], int], None]) -> None:
    """Leaves settings behind at the end of a rung, and makes the waves of those that go on.

    Every step is repeated harmlessly: decisions are written down before they are acted on, and the
    waves of this rung stay until those of the next one are whole.
    """
    progress = work.progress
    waves = [wave for wave in progress.waves if wave.rung == rung]
    if len(progress.survivors) <= rung:
        progress.survivors.append(halving.survivors(scores(work, waves), work.ask.halving))
        work.folder.save(progress)
    going = set(progress.survivors[rung])
    runs = [i for wave in waves for i in wave.runs]
    if not any(wave.rung == rung + 1 for wave in progress.waves):
        plan_waves([i for i in runs if progress.runs[i][0] in going], rung + 1)
    if any(work.folder.wave(wave).is_dir() for wave in waves):
        _leave_behind(work, waves, going)
        _gather(work, waves, [wave for wave in progress.waves if wave.rung == rung + 1])
    for wave in waves:
        shutil.rmtree(work.folder.wave(wave), ignore_errors=True)
    work.say(f"  {len(going)} of {len({progress.runs[i][0] for i in runs})} settings go on")


def scores(work: Work, waves: Sequence[Wave]) -> dict[int, halving.Score]:
    """The means over sound seeds of what every setting is compared by; -inf where all failed."""
    found: dict[int, list[halving.Score]] = {}
    for wave in waves:
        for i, score in zip(wave.runs, scores_of(work.folder.wave(wave)) or [], strict=True):
            own = found.setdefault(work.progress.runs[i][0], [])
            own.extend([] if score is None else [score])
    return {
        k: tuple(sum(x) / len(x) for x in zip(*v, strict=True)) if v else (float("-inf"),)
        for k, v in found.items()
    }


def _leave_behind(work: Work, waves: Sequence[Wave], going: set[int]) -> None:
    """Writes the folders of the runs that stop here."""
    for wave in waves:
        members = work.progress.members(wave.runs)
        out = [i for i, m in enumerate(members) if m.setting not in going]
        left = [i for i in out if not work.folder.has(members[i].run)]
        if left and scores_of(work.folder.wave(wave)) is not None:
            export_wave(work, wave, restored(work.plan(wave)), left, halving.HALVED)


def _gather(work: Work, waves: Sequence[Wave], new: Sequence[Wave]) -> None:
    """Makes the folders of the next rung's waves where they are not there yet."""
    where = {run: (wave, i) for wave in waves for i, run in enumerate(wave.runs)}
    for wave in new:
        if work.folder.wave(wave).is_dir() or is_over(work, wave):
            continue
        sources: list[tuple[Plan, list[int]]] = []
        before = None
        for run in wave.runs:
            old, i = where[run]
            if old is not before:
                sources.append((work.plan(old), []))
                before = old
            sources[-1][1].append(i)
        halving.gather(sources, work.plan(wave))
