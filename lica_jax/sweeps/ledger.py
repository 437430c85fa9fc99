"""What has come of a sweep so far: a row for every run, ``results.csv``, ``summary.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lica_jax.files import write_json
from lica_jax.sweeps import table
from lica_jax.sweeps.folder import SUMMARY, TABLE
from lica_jax.sweeps.work import Work


class Ledger:
    """Reads every ended run once."""

    def __init__(self, work: Work):
        self._work = work
        self._rows: dict[int, table.Row] = {}
        self._entries: dict[int, tuple[int, table.Row]] = {}  # by setting: ended runs, summary

    def forget(self, runs: Iterable[int]) -> None:
        """These have changed: they have gone on."""
        for run in runs:
            self._rows.pop(run, None)
            self._entries.pop(self._work.progress.runs[run][0], None)

    def rows(self) -> list[table.Row]:
        """A row for every run that has ended, in order."""
        progress = self._work.progress
        for member in progress.members(range(len(progress.runs))):
            if member.run not in self._rows and self._work.folder.has(member.run):
                values = progress.values[member.setting]
                row = table.run_row(self._work.folder, member, values)
                if member.run in progress.again:  # what it came to with the smaller budget
                    row["status"] = table.GOING_ON
                self._rows[member.run] = row
        return [self._rows[run] for run in sorted(self._rows)]

    def scores(self) -> dict[int, list[float]]:
        """Every setting's objective of its sound runs; [] where all have failed."""
        out: dict[int, list[float]] = {i: [] for i in range(len(self._work.settings))}
        objective = self._work.objective
        for row in self.rows():
            score = table.objective_of(row, objective)
            out[row["setting"]] += [] if score is None else [score]
        return out

    def write(
        self, importance: Mapping[str, float] | None = None
    ) -> tuple[list[table.Row], dict[str, Any]]:
        """Writes both files and returns what they hold; ``importance``: of fields, by a search."""
        work, rows = self._work, self.rows()
        folder, objective = work.folder.path, work.objective
        by_setting: dict[int, list[table.Row]] = {i: [] for i in range(len(work.settings))}
        for row in rows:
            by_setting[row["setting"]].append(row)
        for number, own in by_setting.items():
            if number not in self._entries or self._entries[number][0] != len(own):
                values = work.progress.values[number]
                entry = table.setting_entry(number, values, own, objective)
                self._entries[number] = len(own), entry
        entries = [self._entries[number][1] for number in by_setting]
        tasks = [setting.config.task for setting in work.settings]
        summary = table.summarise(work.progress, entries, tasks, objective, importance)
        table.write_table(folder / TABLE, rows)
        write_json(folder / SUMMARY, summary)
        return rows, summary
