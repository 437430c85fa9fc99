"""What a run came to, from its summary: one line, or a small table for a notebook."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from lica_jax.runs.messages import named, percent
from lica_jax.runs.names import MODES
from lica_jax.runs.summary import best_run

COLUMNS = {
    f"{which} {mode}": (key, mode)
    for which, key in (("last", "final"), ("best", "best"))
    for mode in MODES
}


def one_line(summary: dict[str, Any], run_dir: Path | None) -> str:
    """Algorithm, task, seeds, length, the best policy's figures, and where the files are."""
    what = f"{summary['algorithm']} on {summary['task']}, {_runs(summary)}"
    said = [f"{int(max(summary['env_steps'])):,} env steps in {summary['seconds']:.0f} s"]
    if summary.get("stopped"):
        said.append(f"stopped by {summary['stopped']}")
    if summary["interrupted"]:
        said.append("interrupted")
    elif "best" not in summary:  # which is evaluated at the end of a budget
        failed = all(update is not None for update in summary["failed_at_update"])
        why = "the loss of every run became non-finite" if failed else summary.get("status")
        said.append(why or "not evaluated at its end")
    else:
        best = summary["best"][best_run(summary)]
        kind = "win rate" if "win_rate" in best["greedy"] else "return"
        figures = ", ".join(f"{mode} {_figure(best[mode])}" for mode in MODES)
        said.append(f"best policy's {kind}: {figures}")
        said += _failures(summary)
    if run_dir is not None:
        said.append(f"files in {run_dir}")
    return f"<Result {what}: {'; '.join(said)}>"


def table(summary: dict[str, Any], run_dir: Path | None) -> str:
    """HTML: a row of every run with its last and best policy's figures."""
    rows = []
    for i, label in enumerate(_labels(summary)):
        cells = [_cell(summary, i, *where) for where in COLUMNS.values()]
        rows.append([named(label), *cells, f"{int(summary['env_steps'][i]):,}"])
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *COLUMNS, "env steps"))
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    where = "no files" if run_dir is None else f"files in <code>{escape(str(run_dir))}</code>"
    source = f" ({summary['task_source']})" if summary["task_source"] else ""
    title = f"{summary['algorithm']} on {summary['task']}{source}"
    reason = summary.get("stopped")
    stopped = ", interrupted" if summary["interrupted"] else ""
    stopped += f", stopped by {escape(reason)}" if reason else ""
    status = summary.get("status")  # of a sweep's run
    words = _failures(summary) or ([status] if status not in (None, "finished") else [])
    stopped += "".join(f", {escape(text)}" for text in words)
    return (
        f"<table><caption><b>{escape(title)}</b>, {summary['seconds']:.0f} s{stopped}, {where}"
        f"</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _failures(summary: dict[str, Any]) -> list[str]:
    """Which runs failed, and when."""
    each = zip(_labels(summary), summary["failed_at_update"], strict=True)
    return [f"{named(label)} failed at update {at}" for label, at in each if at is not None]


def _labels(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return summary.get("runs") or [{"seed": seed} for seed in summary["seeds"]]


def _runs(summary: dict[str, Any]) -> str:
    seeds = summary["seeds"]
    if "runs" in summary:
        return f"{len(seeds)} runs"
    return f"seeds {seeds}" if len(seeds) <= 8 else f"{len(seeds)} seeds"


def _figure(figures: dict[str, Any]) -> str:
    """The win rate where there is one, else the return."""
    if (rate := figures.get("win_rate")) is not None:
        return percent(rate)
    mean = figures["return_mean"]
    return "none" if mean is None else f"{mean:.3g}"


def _cell(summary: dict[str, Any], i: int, key: str, mode: str) -> str:
    """Win rate and return of a run's policy; nothing where it was not evaluated at the end."""
    if key not in summary:
        return ""
    figures = summary[key][i][mode]
    mean = figures["return_mean"]
    if figures.get("win_rate") is None or mean is None:
        return _figure(figures)
    return f"{_figure(figures)} (return {mean:.3g})"
