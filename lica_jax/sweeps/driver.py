"""A sweep from its plan to its table: what the call and the command line drive."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lica_jax.envs.registry import make_task
from lica_jax.errors import TrainingFailed
from lica_jax.files import as_word, put
from lica_jax.runs import directory
from lica_jax.runs.checks import check_played
from lica_jax.runs.compilation_cache import use_compilation_cache
from lica_jax.runs.notebook import in_notebook
from lica_jax.runs.signals import StopRequest, stopping_signals
from lica_jax.sweeps.display import best_text, duration, overrun_text
from lica_jax.sweeps.folder import FIGURE, STUDY, Wave
from lica_jax.sweeps.groups import describe_plan
from lica_jax.sweeps.ledger import Ledger
from lica_jax.sweeps.opening import open_sweep
from lica_jax.sweeps.outlook import Outlook
from lica_jax.sweeps.result import SweepResult
from lica_jax.sweeps.rungs import halve
from lica_jax.sweeps.schedule import Schedule
from lica_jax.sweeps.search import Study
from lica_jax.sweeps.table import GOING_ON, ended_where_it_was
from lica_jax.sweeps.wave import is_over
from lica_jax.sweeps.work import numbered


class Interrupted(BaseException):
    """A signal ended a wave early, or came between two of them."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[StopRequest]:
    """`stopping_signals` outside of training, where sessions take them, raise `Interrupted`.

    They are written down as well: what is raised inside of a callback of the garbage collector is
    printed and lost, so whoever begins something long looks there first.
    """
    request = StopRequest()

    def stop(number, frame):
        request.number = number
        raise Interrupted(number)

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {n: signal.signal(n, stop) for n in stopping_signals()}
    try:
        yield request
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)


class Driver:
    """A sweep from its plan to its table.

    Building it refuses everything that can be refused; nothing is written or compiled before `run`.

    Attributes:
      work: as it stands.
      schedule: which runs go side by side.
      launcher: what trains waves.
      skipped: what is to be said of settings that are left out.
    """

    def __init__(
        self, words: Mapping[str, Any], sweep_dir: Path, *, resume: bool | str = False,
        style: str = "auto", again: str = "",
    ):  # fmt: skip
        """``resume`` as in `open_sweep`; ``again``: the command that goes on with it, where it is
        not `lica-jax sweep`."""
        self.work, groups, self.launcher, self.skipped = open_sweep(words, sweep_dir, resume)
        self.work.style, self.work.say = style, self.say
        self.schedule = Schedule(self.work, groups)
        self._style, self._again, self._ledger = style, again, Ledger(self.work)
        self._outlook, self._resumed = Outlook(self.work), resume
        self._stop = StopRequest()

    @property
    def text(self) -> str:
        """The plan, in words."""
        work = self.work
        plan = describe_plan(work.ask, self.schedule.groups, work.shares, work.folder.path)
        return f"{self.skipped}\n{plan}" if self.skipped else plan

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._style != "none":
            put(text, sys.stdout if self._style == "notebook" or in_notebook() else sys.stderr)

    # --- from beginning to end -------------------------------------------------------------------

    def run(self) -> SweepResult:
        """Trains what is left of the sweep; returns what there is then.

        Raises:
          UserError: another process has been there since it was opened, or random play of
            somebody's own task shows numbers that would mislead.
          TrainingFailed: it cannot go on.
        """
        folder = self.work.folder
        use_compilation_cache()
        if not (self._resumed or self.work.plans.elsewhere):
            settings = [s for group in self.schedule.groups for s in group.settings]
            for name in dict.fromkeys(s.config.task for s in settings):
                check_played(make_task(name))
        folder.make()
        lock = directory.lock(folder.path)
        try:
            folder.check_still()
            return self._result(self._run())
        finally:
            directory.unlock(lock)

    def _run(self) -> int | None:
        """From beginning to end; returns the signal that stopped it, or None."""
        try:
            with interrupted_by_signals() as self._stop:
                self._begin()
                if self.work.ask.search:
                    self._search()
                else:
                    self._train()
        except Interrupted as error:
            return error.number
        except KeyboardInterrupt:
            return int(signal.SIGINT)
        except TrainingFailed as error:
            what = str(error).partition("\ncontinue with:")[0]  # which is about the wave
            raise TrainingFailed(f"{what}\n{self._how_to_go_on()}") from error
        return None

    def _begin(self) -> None:
        """Writes down what is going to be done, and says it."""
        work = self.work
        if not work.progress.values:
            work.progress.values += [setting.values for setting in work.settings]
        self._add_runs()
        work.folder.describe(work.ask, work.progress)
        self.say(self.text)
        work.minute = self._outlook.first_minute

    def _add_runs(self) -> None:
        """Runs of every setting with every seed that are not there yet."""
        there = set(self.work.progress.runs)
        for number in range(len(self.work.progress.values)):
            for seed in self.work.ask.seeds:
                if (number, seed) not in there:
                    self.work.progress.runs.append((number, seed))

    # --- search ----------------------------------------------------------------------------------

    def _search(self) -> None:
        """Draws a wave of settings, trains them, says how good they were, and so on; all at once
        where they are halved."""
        work, ask = self.work, self.work.ask
        if work.settings and len(work.shares) == 1:
            self._train()
            self._tell()
        while (left := ask.trials - len(work.settings)) > 0:
            if len(work.shares) == 1:
                width = self.schedule.width(self.schedule.groups[0], left * len(ask.seeds))
                left = min(left, max(1, width // len(ask.seeds)))
            self._draw(left)
            if len(work.shares) == 1:
                self._train()
                self._tell()
        if len(work.shares) > 1:
            self._train()
            self._tell()

    @cached_property
    def _study(self) -> Study:
        ask = self.work.ask
        known = self.work.progress.trials
        path = self.work.folder.path / STUDY
        return Study(path, ask.search, ask.sampler, ask.seeds[0], 1 + max(known, default=-1))

    def _draw(self, count: int) -> None:
        """Draws settings from the sampler and writes them down before anything is done."""
        work, progress = self.work, self.work.progress
        drawn = self._study.ask(count, progress.trials, len(work.settings))
        new = numbered(work.ask, [values for _, values in drawn], len(work.settings))
        work.settings += new
        progress.values += [setting.values for setting in new]
        progress.trials += [number for number, _ in drawn]
        self._add_runs()
        work.folder.save(progress)
        self.schedule.regroup()

    def _tell(self) -> None:
        """Tells the sampler about every setting whose runs have all come to their end."""
        found = self._ledger.scores()
        for setting, trial in enumerate(self.work.progress.trials):
            own = found[setting]
            self._study.tell(trial, sum(own) / len(own) if own else None)

    # --- waves -----------------------------------------------------------------------------------

    def _train(self) -> None:
        """Trains every run to its end; those of settings that are left behind to theirs."""
        work = self.work
        self.schedule.plan_waves(range(len(work.progress.runs)), 0)
        for rung in range(len(work.shares)):
            while left := [
                w for w in work.progress.waves if w.rung == rung and not is_over(work, w)
            ]:
                self._go_on(None)
                self._outlook.waves_begin()
                for wave, outcome in self.launcher(work, left):
                    if outcome.too_large:
                        self.schedule.split(wave)
                    elif outcome.whole:
                        self._report(wave)
                    self._go_on(outcome.interrupted)
            if rung + 1 < len(work.shares):
                halve(work, rung, self.schedule.plan_waves)

    def _go_on(self, interrupted: int | None) -> None:
        """Unless a wave was interrupted, or the sweep in a place where nothing could be raised."""
        number = self._stop.number if interrupted is None else interrupted
        if number is not None:
            raise Interrupted(number)

    # --- what there is to see --------------------------------------------------------------------

    def _report(self, wave: Wave) -> None:
        """A line about a wave that has ended, and the table so far."""
        progress, size = self.work.progress, len(wave.runs)
        progress.again = [i for i in progress.again if i not in wave.runs]
        self._ledger.forget(wave.runs)
        self.work.folder.save(progress)
        left = self._outlook.ended(wave)
        if not self.work.is_last(wave):
            runs = "1 run" if size == 1 else f"{size} runs"
            parts = [f"  wave {wave.name}: {runs} at the end of rung {wave.rung}", left]
            self.say("; ".join(filter(None, parts)))
            return
        rows, summary = self._ledger.write(self._importance())
        failed = sum(row["status"].startswith("failed") for row in rows)
        ask = self.work.ask
        total = max(len(progress.runs), ask.trials * len(ask.seeds))  # with those to be drawn
        count = sum(row["status"] != GOING_ON for row in rows)
        ended = f"  wave {wave.name}: {count} of {total} runs ended"
        ended += f", {failed} failed" if failed else ""
        tasks = {self.work.settings[progress.runs[i][0]].config.task for i in wave.runs}
        self.say("; ".join(filter(None, [ended, best_text(summary, tasks), left])))

    def _importance(self) -> dict[str, float] | None:
        """Of the fields of a search."""
        return self._study.importance() if self.work.progress.trials else None

    def _result(self, stopped: int | None) -> SweepResult:
        """What there is, and its figure."""
        path = self.work.folder.path
        rows, summary = self._ledger.write(self._importance())
        result = SweepResult(path, self.work.ask, rows, summary, stopped)
        if rows:
            result.plot(path / FIGURE)
        if stopped is None:
            seconds = duration(self._outlook.seconds)
            self.say(f"{len(rows)} runs, {seconds}; {best_text(summary)}")
            if over := self._overrun(rows, summary):
                self.say(over)
        else:
            self.say(f"stopped by {signal.Signals(stopped).name}; {self._how_to_go_on()}")
        return result

    def _overrun(self, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> str:
        """What to say of budgets that training itself has gone beyond."""
        folder, settings = self.work.folder, self.work.settings
        trained = [row for row in rows if not ended_where_it_was(folder.run(row["run"]))]
        budgets = [setting.config.total_steps for setting in settings]
        return overrun_text(trained, summary["settings"], budgets)

    def _how_to_go_on(self) -> str:
        own = f"lica-jax sweep --resume --sweep-dir {as_word(self.work.folder.path)}"
        return f"continue with: {self._again or own}"
