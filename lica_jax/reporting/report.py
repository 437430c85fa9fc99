"""``report``: from folders of runs to figures, tables and a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lica_jax.files import as_paths, plain
from lica_jax.reporting import html
from lica_jax.reporting.collect import collect
from lica_jax.reporting.compare import Comparison, compare, remarks
from lica_jax.reporting.figures import SHOWN, draw_all
from lica_jax.reporting.groups import Group, make_groups, mixtures
from lica_jax.reporting.marl_eval import to_marl_eval
from lica_jax.reporting.picture import Picture
from lica_jax.reporting.reading import Run
from lica_jax.reporting.table import Table
from lica_jax.reporting.tables import make_tables
from lica_jax.reporting.write import check_out, write
from lica_jax.runs.names import MODES
from lica_jax.version import __version__

Tell = Callable[[int, int], None]
# The columns of scores that a terminal shows.
BRIEF = (
    "task", "method", "greedy", "sampled", "metric", "seeds", "episodes", "env_steps", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """A comparison of runs. Notebooks display it.

    Attributes:
      title, summary: what is compared, in words.
      notes: what a reader must know: omissions, mixtures, too few seeds.
      runs: the runs that were read.
      tables: tables by name: "scores", "time_to_threshold", "tasks", "runs", and, if there is
        something to compare, "probability_of_improvement" and "all_tasks". `Table.frame` returns a
        ``pandas.DataFrame``, `Table.rows` dictionaries.
      marl_eval: the same curves in the format of the package marl-eval.
    """

    title: str
    summary: str
    notes: list[str]
    runs: list[Run] = field(repr=False)
    tables: dict[str, Table] = field(repr=False)
    marl_eval: dict[str, Any] = field(repr=False)
    pictures: list[Picture] = field(repr=False)

    @cached_property
    def figures(self) -> dict[str, Any]:
        """The figures (``matplotlib.figure.Figure``) by name."""
        return {picture.name: picture.figure for picture in self.pictures}

    def write(
        self, out: str | Path, *, overwrite: bool = False, tell: Tell | None = None
    ) -> list[Path]:  # fmt: skip
        """Writes ``report.html``, figures, tables, ``marl_eval.json`` and ``report.json``.

        Args:
          out: folder to write to; it is made if it does not exist.
          overwrite: replace an earlier report in it.
          tell: called with the number of figures drawn so far, and the total.

        Returns:
          The files.

        Raises:
          UserError: the folder holds something else, or it cannot be written.
        """
        out = Path(out)
        check_out(out, overwrite)
        drawn: dict[str, Any] = {}
        for i, picture in enumerate(self.pictures, start=1):
            kinds = ("png", "pdf")
            drawn |= {f"figures/{picture.name}.{kind}": picture.file(kind) for kind in kinds}
            if tell is not None:
                tell(i, len(self.pictures))
        page = html.page(self.title, self._fragment(files=True))
        files: dict[str, Any] = {"report.html": page} | drawn
        for table in self.tables.values():
            texts = {"csv": table.csv(), "md": table.markdown(), "tex": table.latex()}
            files |= {f"tables/{table.name}.{kind}": text for kind, text in texts.items()}
        files["marl_eval.json"] = self.marl_eval
        about = {"lica_jax": __version__, "title": self.title, "notes": self.notes}
        return write(
            out, files, about | {"tables": {n: plain(t.plain) for n, t in self.tables.items()}}
        )

    def _fragment(self, files: bool) -> str:
        return html.fragment(
            self.title, self.summary, self.notes, self.tables, self.pictures, files
        )

    def _repr_html_(self) -> str:
        return self._fragment(files=False)

    def __str__(self) -> str:
        notes = "".join(f"\n  - {note}" for note in self.notes)
        return f"{self.title}\n{self.summary}{notes}\n\n{self.tables['scores'].text(BRIEF)}"


def report(
    *paths: str | Path | Iterable[str | Path], out: str | Path | None = None,
    algorithms: str | Sequence[str] = (), tasks: str | Sequence[str] = (), overwrite: bool = False,
    tell: Tell | None = None,
) -> Report:  # fmt: skip
    """Compares runs: learning curves, scores, performance profiles, probabilities of improvement,
    sample efficiency and times.

    Runs are grouped by algorithm, preset, task, and the settings in which they differ. Nothing is
    trained or evaluated, and JAX is not imported.

    Args:
      paths: run directories, sweep directories, or folders that contain some at any depth; or lists
        of these. Runs may be unfinished.
      out: folder to write everything to; None writes nothing.
      algorithms: names of the algorithms to report; all if empty.
      tasks: names of the tasks to report; all if empty.
      overwrite: replace an earlier report in ``out``.
      tell: as in `Report.write`.

    Returns:
      The report.

    Raises:
      UserError: there is no such folder, no run with evaluations, or none of those asked for; or
        ``out`` holds something other than a report.
    """
    if out is not None:
        check_out(Path(out), overwrite)
    wanted = {
        kind: [names] if isinstance(names, str) else list(names)
        for kind, names in (("algorithm", algorithms), ("task", tasks))
    }
    runs, told = collect(as_paths(paths), **wanted)
    groups = make_groups(runs)
    tasks = list(dict.fromkeys(group.task for group in groups))
    comparisons = [compare(task, groups, mode) for task in tasks for mode in MODES]
    methods = list(dict.fromkeys(group.label for group in groups))
    notes = told + mixtures(groups) + remarks(comparisons)
    if len(methods) > SHOWN:
        notes.append(f"Figures show the best {SHOWN} of {len(methods)} methods; tables show all.")
    made = Report(
        title=f"{_some(methods, 'methods')} on {_some(tasks, 'tasks')}",
        summary=_summary(groups, methods, tasks, comparisons), notes=notes, runs=runs,
        tables={table.name: table for table in make_tables(comparisons, groups)},
        marl_eval=to_marl_eval(groups), pictures=draw_all(comparisons),
    )  # fmt: skip
    if out is not None:
        made.write(out, overwrite=overwrite, tell=tell)
    return made


def _some(names: Sequence[str], kind: str) -> str:
    """A few names, or how many there are."""
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} {kind}"


def _summary(
    groups: Sequence[Group], methods: Sequence[str], tasks: Sequence[str],
    comparisons: Sequence[Comparison],
) -> str:  # fmt: skip
    runs = [run for group in groups for run in group.runs]
    # Of runs that count, as in notes and tables: one that has hardly begun is only drawn.
    seeds = sorted({len(entry.runs) for c in comparisons for entry in c.entries})
    each = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    steps = sum(run.steps[-1] for run in runs)

    def counted(n: int, word: str) -> str:
        return f"{n} {word}{'s' * (n != 1)}"

    return (
        f"{counted(len(runs), 'run')}: {counted(len(methods), 'method')}, "
        f"{counted(len(tasks), 'task')}, {each} seed{'s' * (seeds[-1] != 1)} each, "
        f"{steps:,.0f} env steps in all. Made with lica_jax {__version__}."
    )
