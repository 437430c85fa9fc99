"""JSON-lines files that survive a crash and a resume."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax.files import plain, write_whole
from lica_jax.runs.names import MODES

KEYS = ("update", "env_steps", "seed")  # what every row says, as an integer
# Names that an algorithm's figures cannot have: those of rows' other entries, and of the columns
# that tables of several runs add (`runs.tables`).
TAKEN = frozenset({
    *KEYS, "run", "step", "seconds", "env_steps_per_second", "eval_index", "lost_episodes",
    "t_env", "test_return_mean", "test_battle_won_mean", "test_double",
    "algorithm", "task", "run_dir",
})  # fmt: skip
TAKEN_STARTS = ("train/", "eval/", "games/", "hp.")


class RowFile:
    """Appends JSON rows to a file, or keeps them in memory only when ``path`` is None.

    A resumed run continues from its checkpoint: rows of updates after it are dropped, since they
    will be written again, and so is a last line that a crash cut short.
    """

    def __init__(self, path: Path | None, upto_update: int | None = None):
        self.rows: list[dict[str, Any]] = []
        self.problem = ""  # what was wrong with the rows of before, in words
        self._path = path
        if path is None:
            return
        if upto_update is not None and path.exists():
            rows, bad = sound_rows(path)
            self.rows = [row for row in rows if row["update"] <= upto_update]
            self.problem = f"{path.name}: {bad} damaged line(s) left out" if bad else ""
            if upto_update and not rows:
                self.problem = f"{path.name} is empty: the rows up to update {upto_update} are lost"
        elif upto_update:
            self.problem = f"{path.name} is missing: the rows up to update {upto_update} are lost"
        write_rows(path, self.rows)

    def append(self, row: dict[str, Any]) -> dict[str, Any]:
        """Keeps a row; returns it as the file has it."""
        row = plain(row)
        self.rows.append(row)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
        return row


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """A whole JSON-lines file."""
    write_whole(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def rows_by_run(
    rows: list[dict[str, Any]], labels: Sequence[dict[str, Any]]
) -> list[list[dict[str, Any]]]:
    """The rows of every run, by the runs' labels, in one pass; as they are where a run is alone:
    labelled by its seed. All labels have the same keys."""
    keys = tuple(labels[0])
    out: dict[tuple, list[dict[str, Any]]] = {tuple(label.values()): [] for label in labels}
    for row in rows:
        own = out.get(tuple(row.get(key) for key in keys))
        if own is not None:
            own.append({"seed": row["seed"]} | {k: v for k, v in row.items() if k not in keys})
    return [out[tuple(label.values())] for label in labels]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file that can be read."""
    return sound_rows(path)[0]


def sound_rows(path: Path, ended: bool = False) -> tuple[list[dict[str, Any]], int]:
    """The rows of a JSON-lines file that can be read, and how many lines cannot.

    A last line that only lacks its end is a row. One that was cut short does not count as long as
    its run may be writing it, or may have been killed over it: until it has ``ended``.
    """
    rows, bad = [], 0
    lines = path.read_text(errors="replace").split("\n")
    for number, line in enumerate(lines, start=1):
        if (row := _sound(line)) is not None:
            rows.append(row)
        elif line and (ended or number < len(lines)):
            bad += 1
    return rows, bad


def _sound(line: str) -> dict[str, Any] | None:
    """The row that a line holds; None where it holds none, or a part of one."""
    try:
        row = plain(json.loads(line))  # NaN, which Python reads, as what JSON knows
    except (ValueError, RecursionError):  # a number may have too many digits
        return None
    sound = isinstance(row, dict) and all(type(row.get(key)) is int for key in KEYS)
    return row if sound else None


def completed(rows: list[dict[str, Any]], evaluations: bool = False) -> list[dict[str, Any]]:
    """Rows with what those of earlier versions lack.

    ``step`` becomes the least of the env steps that runs had at that update, since the nominal
    number was not written; ``eval_index`` of ``evaluations`` counts the updates.
    """
    steps: dict[int, int] = {}
    for row in rows:
        own = row.get("env_steps", 0)
        steps[row["update"]] = min(own, steps.get(row["update"], own))
    order = {update: i for i, update in enumerate(sorted(steps))}

    def lacking(row: dict[str, Any]) -> dict[str, int]:
        update = row["update"]
        return {"step": steps[update]} | ({"eval_index": order[update]} if evaluations else {})

    return [row | {k: v for k, v in lacking(row).items() if k not in row} for row in rows]


def name_problems(names: Iterable[Any]) -> list[str]:
    """What is wrong with the names of an algorithm's figures, which become entries of rows."""
    out = []
    for name in names:
        if not isinstance(name, str):
            out.append(f"metric {name!r} must have a text as its name")
        elif name in TAKEN:
            out.append(f"metric {name!r} needs another name: rows have an entry of that name")
        elif start := next((s for s in TAKEN_STARTS if name.startswith(s)), ""):
            out.append(f"metric {name!r} needs another name: rows have other entries in {start}")
    return out


def chunk_row(metrics: Any, run: int) -> dict[str, float | None]:
    """Means over one chunk of one run: episodes that ended in it, then the algorithm's figures over
    updates that changed something (not of nothing, nor before a replay was ready).

    ``metrics`` is what ``loop.chunk`` returns, with leaves ``[R, iterations]``.
    """
    import jax  # here: reading rows needs none

    from lica_jax.types import metric_name

    episodes = jax.tree.map(lambda x: float(np.sum(x[run])), metrics["episodes"])
    n = episodes.episodes
    row: dict[str, float | None] = {
        "train/episodes": int(n),
        "train/return_mean": episodes.return_sum / n if n else None,
        "train/episode_length_mean": episodes.length_sum / n if n else None,
    }
    for key, total in episodes.info_sums.items():
        row[f"train/{metric_name(key)}"] = total / n if n else None
    if "lost_episodes" in metrics:  # of games
        row["lost_episodes"] = int(np.sum(metrics["lost_episodes"][run]))
    learned = np.asarray(metrics["learned"][run], bool)
    figures = {name: x[run][learned] for name, x in metrics["learn"].items()}
    return row | {name: float(np.mean(x)) if x.size else None for name, x in figures.items()}


def eval_entries(task: Any) -> list[str]:
    """The names of an evaluation's figures in a row, for a task."""
    import jax

    from lica_jax.engines.games import is_host_task
    from lica_jax.types import metric_name

    info = {"won": None} if task.spec.has_win else {}
    if not is_host_task(task):  # others say what they have once they play
        info |= jax.eval_shape(task.reset, jax.random.key(0))[1].info
    names = dict.fromkeys(metric_name(key) for key in info)
    names |= dict.fromkeys(("return_mean", "return_std", "episode_length_mean", "episodes"))
    return [f"{prefix}{name}" for prefix in MODES.values() for name in names]


def eval_row(
    stamp: dict[str, Any], summary: dict[str, dict[str, Any]], genuine: bool = True
) -> dict[str, Any]:
    """A row of ``eval.jsonl``: ``eval/*`` is greedy, ``eval/sampled/*`` sampled.

    Figures of a test double (not ``genuine``) say so, and have no names of other libraries.
    """
    greedy = summary["greedy"]
    figures = {f"{MODES[mode]}{k}": v for mode in MODES for k, v in summary[mode].items()}
    row = stamp | figures
    if not genuine:
        return row | {"test_double": True}
    # The same figures under PyMARL's names.
    row |= {"t_env": stamp["env_steps"], "test_return_mean": greedy["return_mean"]}
    return row | ({"test_battle_won_mean": greedy["win_rate"]} if "win_rate" in greedy else {})
