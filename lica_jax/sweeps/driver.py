"""Sweeps from beginning to end: `sweep`, and the driver behind it and the command line."""

from __future__ import annotations

import dataclasses
import datetime
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lica_jax.config import is_settings_file
from lica_jax.config.presets import deep_update
from lica_jax.errors import TrainingFailed, UserError
from lica_jax.files import as_path, as_word, put, write_json
from lica_jax.runs import directory
from lica_jax.runs.compilation_cache import use_compilation_cache
from lica_jax.runs.display import check_style
from lica_jax.runs.notebook import in_notebook
from lica_jax.sweeps import table
from lica_jax.sweeps.devices import count_devices, use_no_device
from lica_jax.sweeps.display import best_text, duration
from lica_jax.sweeps.folder import FIGURE, STUDY, SUMMARY, TABLE, Folder, Progress, Wave, extended
from lica_jax.sweeps.groups import Group, describe_plan, make_groups
from lica_jax.sweeps.launchers import find_launcher
from lica_jax.sweeps.plans import Plans
from lica_jax.sweeps.request import SweepConfig, read_request, request, to_words
from lica_jax.sweeps.result import SweepResult
from lica_jax.sweeps.rungs import halve
from lica_jax.sweeps.search import Study, check_installed
from lica_jax.sweeps.settings import (
    Setting,
    base_config,
    ends_of_search,
    grid_values,
    group_key,
    make_settings,
    refuse,
)
from lica_jax.sweeps.wave import is_over
from lica_jax.sweeps.widths import balanced, check_width, fastest
from lica_jax.sweeps.work import Work, numbered


def sweep(
    algorithm: str | Path | Sequence[str] | None = None,
    task: str | Sequence[str] | None = None,
    *,
    sweep_dir: str | Path | None = None,
    resume: bool = False,
    display: str = "auto",
    on_signal: str = "raise",
    **words: Any,
) -> SweepResult:
    """Trains every setting with every seed, in waves of runs side by side.

    Args:
      algorithm: a name or several; or a YAML file with the words of a sweep.
      task: a name or several.
      sweep_dir: where to write; by default a new folder under ``sweeps/``.
      resume: go on with the sweep in ``sweep_dir``; ``seeds``, ``trials`` and ``total_steps`` may
        grow.
      display: "auto", "bar", "plain", "notebook" or "none".
      on_signal: as of `train`.
      words: fields of `SweepConfig`, such as ``seeds=range(8)``, ``grid={"hp.entropy_coef":
        [0.03, 0.1]}``, ``search={"hp.actor_lr": "log:1e-4:3e-3"}`` with ``trials=64``; everything
        else is a setting of every run, as of `train`: ``total_steps=2e6``.

    Returns:
      The result: a table with a row for every run, and the best setting.

    Raises:
      UserError: bad input; nothing was compiled or overwritten.
    """
    check_style(display)
    if on_signal not in ("raise", "return"):
        raise UserError(f'on_signal must be "raise" or "return", got {on_signal!r}')
    if is_settings_file(algorithm) and task is None:
        words = merged(read_request(Path(algorithm)), words)
    else:
        given = {"algorithm": algorithm, "task": task}
        words = {k: v for k, v in given.items() if v is not None} | words
    path = default_sweep_dir() if sweep_dir is None else as_path(sweep_dir, "sweep_dir")
    result = Driver(words, path, resume=resume, style=display).run()
    if result.interrupted is not None and on_signal == "raise":
        stop = result.interrupted
        raise KeyboardInterrupt if stop == signal.SIGINT else SystemExit(128 + stop)
    return result


def default_sweep_dir() -> Path:
    """``sweeps/20260101-120000``."""
    return Path("sweeps") / f"{datetime.datetime.now():%Y%m%d-%H%M%S}"


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The words of a sweep with those that are given again on top."""
    out: dict[str, Any] = {}
    deep_update(out, old)
    deep_update(out, new)
    return out


class Interrupted(Exception):
    """A signal ended a wave early."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class Driver:
    """A sweep from its plan to its table.

    Building it refuses everything that can be refused; nothing is written or compiled before `run`.
    """

    def __init__(
        self, words: Mapping[str, Any], sweep_dir: Path, *, resume: bool = False,
        style: str = "auto", again: str = "",
    ):  # fmt: skip
        """``again``: the command that goes on with it, where it is not `lica-jax sweep`."""
        folder, progress = Folder(sweep_dir), Progress()
        if resume:
            old, progress = folder.read()
            ask = extended(old, request(merged(to_words(old), words)), sweep_dir)
            if base_config(old).total_steps != base_config(ask).total_steps:
                _grow(ask, folder, progress)
        else:
            ask = request(words)
            folder.check_new()
        self.processes = 1  # that share the waves out
        self.launcher, elsewhere = find_launcher(ask.launcher), ask.launcher != "local"
        if elsewhere and ask.wave == "auto":
            raise UserError("say --wave N: what fits on the workers cannot be seen from here")
        if elsewhere:
            use_no_device()
        devices = 1 if elsewhere else count_devices(ask)  # before anything looks at the machine
        plans = Plans(devices, ask.shard, elsewhere)
        if ask.search:
            check_installed(ask.sampler)
            _check_search(ask)
        settings, self.skipped = _first_settings(ask, progress)
        self.work = Work(ask, folder, progress, settings, plans, style, self.say)
        self._style, self._again = style, again
        self.objective = self.work.objective
        self.groups = make_groups(settings or [_middle(ask)], plans)
        for group in self.groups if ask.wave != "auto" else ():
            runs = (ask.trials or len(group.settings)) * len(ask.seeds)
            check_width(min(ask.wave, runs), group.memory, group.name or "this sweep")
        self._rows: dict[int, table.Row] = {}  # of ended runs: read once
        self._began, self._ended = time.monotonic(), 0

    @property
    def text(self) -> str:
        """The plan, in words."""
        work = self.work
        plan = describe_plan(work.ask, self.groups, work.shares, work.folder.path)
        return f"{self.skipped}\n{plan}" if self.skipped else plan

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._style != "none":
            put(text, sys.stdout if self._style == "notebook" or in_notebook() else sys.stderr)

    # --- from beginning to end -------------------------------------------------------------------

    def run(self) -> SweepResult:
        """Trains what is left of the sweep; returns what there is then."""
        work, stopped = self.work, None
        use_compilation_cache()
        work.folder.make()
        lock = directory.lock(work.folder.path)
        try:
            if not work.progress.values:
                work.progress.values += [setting.values for setting in work.settings]
            self._add_runs()
            work.folder.describe(work.ask, work.progress)
            self.say(self.text)
            if work.ask.search:
                self._search()
            else:
                self._train()
        except Interrupted as error:
            stopped = error.number
        except KeyboardInterrupt:
            stopped = int(signal.SIGINT)
        except TrainingFailed as error:
            what = str(error).partition("\ncontinue with:")[0]  # which is about the wave
            raise TrainingFailed(f"{what}\n{self._how_to_go_on()}") from error
        finally:
            directory.unlock(lock)
        return self._result(stopped)

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
                width = self._width(self.groups[0], left * len(ask.seeds))
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
        return Study(self.work.folder.path / STUDY, ask.search, ask.sampler, ask.seeds[0])

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
        self.groups = make_groups(work.settings, work.plans)

    def _tell(self) -> None:
        """Tells the sampler about every setting whose runs have all come to their end."""
        study, rows = self._study, self._table()
        for setting, trial in enumerate(self.work.progress.trials):
            own = [row for row in rows if row["setting"] == setting]
            scores = [s for r in own if (s := table.objective_of(r, self.objective)) is not None]
            study.tell(trial, sum(scores) / len(scores) if scores else None)

    # --- waves -----------------------------------------------------------------------------------

    def _train(self) -> None:
        """Trains every run to its end; those of settings that are left behind to theirs."""
        work = self.work
        self._plan_waves(range(len(work.progress.runs)), 0)
        for rung in range(len(work.shares)):
            while left := [
                w for w in work.progress.waves if w.rung == rung and not is_over(work, w)
            ]:
                for wave, outcome in self.launcher(work, left):
                    if outcome.interrupted is not None:
                        raise Interrupted(outcome.interrupted)
                    if outcome.too_large:
                        self._split(wave)
                    else:
                        self._report(wave)
            if rung + 1 < len(work.shares):
                halve(work, rung, self._plan_waves)

    def _plan_waves(self, runs: Sequence[int], rung: int) -> None:
        """Waves of the runs that are in none yet; cheap programs first."""
        progress = self.work.progress
        planned = {i for wave in progress.waves if wave.rung == rung for i in wave.runs}
        left = [i for i in runs if i not in planned]
        for group in sorted(self.groups, key=lambda g: g.memory.run):
            numbers = {setting.number for setting in group.settings}
            own = [i for i in left if progress.runs[i][0] in numbers]
            own.sort(key=progress.runs.__getitem__)
            at = 0
            width = self._width(group, len(own)) if own else 1
            for size in balanced(len(own), width, self.work.plans.devices):
                progress.next_wave(own[at : at + size], rung)
                at += size
        self.work.folder.save(progress)

    def _width(self, group: Group, runs: int) -> int:
        """Runs side by side: as asked, or as measured the first time."""
        widths, plans = self.work.progress.widths, self.work.plans
        most = group.widest(self.work.ask, runs)
        if self.work.ask.wave != "auto" or most == 1:
            return most
        if group.key not in widths:
            self.say(f"finding the width of the waves {group.name}".rstrip())
            config = group.settings[0].config
            share = -(-runs // self.processes)  # of one of several processes
            widths[group.key] = fastest(
                lambda n: plans.base(config, n), share, min(share, most), self.say
            )
        return min(widths[group.key], most)

    def _split(self, wave: Wave) -> None:
        """A wave that did not fit is tried again as two halves."""
        progress, runs = self.work.progress, wave.runs
        if len(runs) == 1:
            raise UserError(f"run {runs[0]} does not fit into memory even alone")
        shutil.rmtree(self.work.folder.wave(wave), ignore_errors=True)
        middle = -(-len(runs) // 2)
        progress.told.append(f"wave {wave.name} of {len(runs)} ran out of memory: halved")
        self.say(f"  {progress.told[-1]}")
        progress.next_wave(runs[:middle], wave.rung)
        progress.next_wave(runs[middle:], wave.rung)
        progress.waves.remove(wave)
        setting = self.work.settings[progress.runs[runs[0]][0]]
        progress.widths[group_key(setting.config)] = middle  # later waves need not find out again
        self.work.folder.save(progress)

    # --- what there is to see --------------------------------------------------------------------

    def _report(self, wave: Wave) -> None:
        """A line about a wave that has ended, and the table so far."""
        progress, size = self.work.progress, len(wave.runs)
        progress.again = [i for i in progress.again if i not in wave.runs]
        for run in wave.runs:
            self._rows.pop(run, None)
        self.work.folder.save(progress)
        self._ended += size
        if not self.work.is_last(wave):
            runs = "1 run" if size == 1 else f"{size} runs"
            self.say(f"  wave {wave.name}: {runs} at the end of rung {wave.rung}")
            return
        rows, summary = self._write_table()
        total = len(progress.runs)
        failed = sum(row["status"].startswith("failed") for row in rows)
        text = f"  wave {wave.name}: {len(rows)} of {total} runs ended"
        text += f", {failed} failed" if failed else ""
        text += f"; {best_text(summary['best'], self.objective)}"
        if len(rows) < total and len(self.work.shares) == 1:
            seconds = (time.monotonic() - self._began) / self._ended * (total - len(rows))
            text += f"; about {duration(seconds)} left"
        self.say(text)

    def _table(self) -> list[table.Row]:
        """A row for every run that has ended, in order."""
        for member in self.work.progress.members(range(len(self.work.progress.runs))):
            if member.run not in self._rows and self.work.folder.has(member.run):
                values = self.work.progress.values[member.setting]
                self._rows[member.run] = table.run_row(self.work.folder, member, values)
        return [self._rows[run] for run in sorted(self._rows)]

    def _write_table(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """``results.csv`` and ``summary.json``."""
        folder, progress, rows = self.work.folder, self.work.progress, self._table()
        table.write_table(folder.path / TABLE, rows)
        importance = self._study.importance() if progress.trials else None
        summary = table.summarise(progress, rows, self.objective, importance)
        write_json(folder.path / SUMMARY, summary)
        return rows, summary

    def _result(self, stopped: int | None) -> SweepResult:
        """What there is, and its figure."""
        path = self.work.folder.path
        rows, summary = self._write_table()
        result = SweepResult(path, self.work.ask, rows, summary, stopped)
        if rows:
            result.plot(path / FIGURE)
        if stopped is None:
            seconds = duration(time.monotonic() - self._began)
            self.say(f"{len(rows)} runs, {seconds}; {best_text(summary['best'], self.objective)}")
        else:
            self.say(f"stopped by {signal.Signals(stopped).name}; {self._how_to_go_on()}")
        return result

    def _how_to_go_on(self) -> str:
        own = f"lica-jax sweep --resume --sweep-dir {as_word(self.work.folder.path)}"
        return f"continue with: {self._again or own}"


def _grow(ask: SweepConfig, folder: Folder, progress: Progress) -> None:
    """The budget has grown: what has ended goes on from its waves' checkpoints."""
    if ask.halving or ask.search:
        raise UserError("a search and a sweep with halving cannot be made longer: begin another")
    ended = [i for i in range(len(progress.runs)) if folder.has(i)]
    progress.again = sorted({*progress.again, *ended})


def _first_settings(ask: SweepConfig, progress: Progress) -> tuple[list[Setting], str]:
    """All settings of a grid, and what to say of those skipped; of a search those drawn before."""
    if ask.search:
        return numbered(ask, progress.values), ""
    settings, refused = make_settings(ask, grid_values(ask))
    return settings, refuse(refused, ask.skip_invalid, len(settings))


def _middle(ask: SweepConfig) -> Setting:
    """The preset's own values: what a search is planned with before anything is drawn."""
    plain = dataclasses.replace(ask, search={}, trials=0)
    (setting,) = numbered(plain, [{}])
    return setting._replace(values=dict.fromkeys(ask.swept, "?"))


def _check_search(ask: SweepConfig) -> None:
    """Refuses a search that can draw what cannot be trained; each field by itself."""
    _, refused = make_settings(ask, ends_of_search(ask))
    if refused:
        told = "\n".join(f"  - {line}" for line in refused)
        raise UserError(f"the search may draw what cannot be trained:\n{told}")
