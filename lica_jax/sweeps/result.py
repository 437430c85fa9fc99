"""What `sweep` returns."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lica_jax.errors import UserError
from lica_jax.files import as_path
from lica_jax.runs.loading import load_result
from lica_jax.runs.result import Result
from lica_jax.sweeps.display import best_text
from lica_jax.sweeps.figure import draw_sweep
from lica_jax.sweeps.folder import Folder
from lica_jax.sweeps.request import SweepConfig

SHOWN = 20  # rows of a table in a notebook


@dataclass(frozen=True, repr=False)
class SweepResult:
    """The result of a sweep.

    Attributes:
      sweep_dir: directory of the sweep.
      config: the sweep that was asked for.
      table: one row for every run that has ended, ready for ``pandas.DataFrame``: ``run``,
        ``setting``, ``seed``, the swept fields, ``env_steps``, ``status``, the figures of the final
        policy, of the best policy and of the last periodic evaluation, and ``seconds`` (the run's
        share of its wave's time).
      summary: contents of ``summary.json``: for every setting the mean, IQM and 95 % interval over
        seeds of its ``figure``, which names a column of the table.
      interrupted: number of the signal that ended the sweep early, or None.
    """

    sweep_dir: Path
    config: SweepConfig
    table: list[dict[str, Any]]
    summary: dict[str, Any]
    interrupted: int | None = None

    def __repr__(self) -> str:
        stopped = "; interrupted" if self.interrupted is not None else ""
        return f"<SweepResult {self._in_words()}{stopped}; files in {self.sweep_dir}>"

    def __fspath__(self) -> str:
        """The sweep's directory, so that a result can be given wherever one is asked for."""
        return str(self.sweep_dir)

    def _in_words(self) -> str:
        runs = len(self.table)
        return f"{runs} run{'s' * (runs != 1)}; {best_text(self.summary)}"

    @property
    def best(self) -> dict[str, Any] | None:
        """The best setting that was trained to its end, as in the summary. None if there is none
        yet, or if there are several tasks (see `best_by_task`)."""
        return self.summary["best"]

    @property
    def best_by_task(self) -> dict[str, dict[str, Any] | None]:
        """The best setting of every task."""
        return self.summary["best_by_task"]

    def run(self, number: int) -> Result:
        """The run with this number, as `train` returned it: rows, figures, best policy."""
        folder = Folder(self.sweep_dir)
        found = next((row["run"] for row in self.table if row["run"] == number), None)
        if found is None:
            raise UserError(f"this sweep has no ended run {number!r}; it has {len(self.table)}")
        return load_result(folder.run(found))

    def frame(self) -> Any:
        """The table as a ``pandas.DataFrame``."""
        import pandas

        return pandas.DataFrame(self.table)

    def plot(self, path: str | Path | None = None) -> Any:
        """Draws the sweep's figure (matplotlib), and writes it to ``path`` if that is given. Raises
        ``UserError`` if it cannot be written."""
        path = None if path is None else as_path(path, "path")
        return draw_sweep(Folder(self.sweep_dir), self.table, self.summary, path)

    def _repr_html_(self) -> str:
        columns = list(dict.fromkeys(name for row in self.table for name in row))
        head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
        body = "".join(_html_row(row, columns) for row in self.table[:SHOWN])
        more = len(self.table) - SHOWN
        foot = f"<p>and {more} more rows, in <code>.table</code></p>" if more > 0 else ""
        caption = html.escape(self._in_words())
        return (
            f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>{foot}"
        )


def _html_row(row: dict[str, Any], columns: Sequence[str]) -> str:
    def cell(value: Any) -> str:
        text = f"{value:.4g}" if isinstance(value, float) else str("" if value is None else value)
        return f"<td>{html.escape(text)}</td>"

    return f"<tr>{''.join(cell(row.get(name)) for name in columns)}</tr>"
