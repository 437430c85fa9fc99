"""What a sweep tells while it goes on: a line for each wave, and a live one for the present."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from lica_jax.files import put
from lica_jax.runs.display import Display
from lica_jax.runs.messages import LARGE_OVERRUN

EVERY = 30.0  # seconds between two lines of a wave where there is no terminal
MOST_NAMED = 6  # settings in a line
MINUTE = 60.0  # seconds behind the first compiled call after which a wave's speed is known


class WaveDisplay(Display):
    """The live line of one wave; what a session says of itself is left out."""

    def __init__(
        self, style: str, total: int, runs: int, head: str,
        minute: Callable[[int, float], str] = lambda steps, rate: "",
        tell: Callable[[str], None] = lambda text: None,
    ):  # fmt: skip
        """``minute``: what to say a minute after the first compiled call, by the env steps of each
        run and the rate of all; ``tell``: takes it where no bar moves."""
        super().__init__(style, total, runs)
        self._head, self._minute, self._tell = head, minute, tell
        self._shown = time.monotonic()
        self._known = False

    def say(self, text: str) -> None:
        """Nothing: a session's own lines are of a single run."""

    def draw(self, curve: Callable[[], bytes]) -> None:
        """Nothing: a curve is of a single run."""

    def warn(self, text: str) -> None:
        """A line nobody should miss, above the bar."""
        super().say(text) if self._bar is not None else put(text, sys.stderr)

    def show(self, steps: int, rows: list[dict[str, Any]], names: tuple[str, ...]) -> None:
        if not self._known and self._clock and time.monotonic() - self._clock[0] >= MINUTE:
            self._known = True
            if text := self._minute(steps, self._rate):
                (self._tell if self._bar is None else super().say)(f"  {text}")
        if self._bar is None:
            if time.monotonic() - self._shown < EVERY:
                return
            self._shown = time.monotonic()
        super().show(steps, rows, names)

    def _put(self, text: str) -> None:
        super()._put(f"  {self._head}: {text}")


def duration(seconds: float) -> str:
    """``50 s``, ``12 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def score_text(value: float, objective: str) -> str:
    """``81.0 %`` of a win rate, ``3.21`` of a return."""
    return f"{100 * value:.1f} %" if objective.endswith("win_rate") else f"{value:.3g}"


def best_text(summary: Mapping[str, Any], tasks: Collection[str] = ()) -> str:
    """The best setting so far with its interval; of several tasks one for each, or for each of
    ``tasks``."""
    best, objective = summary["best_by_task"], summary["objective"]
    settings = summary["settings"]
    if len(best) == 1:
        return _best(*best.values(), settings, objective)
    return "; ".join(
        f"{task}: {_best(entry, settings, objective)}"
        for task, entry in best.items()
        if not tasks or task in tasks
    )


def _best(
    best: Mapping[str, Any] | None, settings: Sequence[Mapping[str, Any]], objective: str
) -> str:  # fmt: skip
    if best is None:
        return "nothing finished yet"
    level = sum(_score(entry) == _score(best) for entry in settings) - 1
    values = {k: v for k, v in best["values"].items() if k != "task"}
    objective = best.get("figure", objective)  # summaries of earlier versions have none
    others = f" ({level} other{'s' * (level > 1)} as good)" if level > 0 else ""
    named = values_text(values, settings)
    text = f"best {named}{others}: {objective} {score_text(best['mean'], objective)}"
    if best.get("interval"):
        low, high = (score_text(x, objective) for x in best["interval"])
        return f"{text} (95 % {low} to {high}, {best['seeds']} seeds)"
    return f"{text} ({best['seeds']} seed{'s' * (best['seeds'] > 1)})"


def _score(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """What settings of a task are ranked by."""
    return (
        entry["values"].get("task"),
        entry.get("finished"),
        entry.get("failed"),
        entry.get("mean"),
        entry.get("return_mean"),
    )


def overrun_text(
    rows: Sequence[Mapping[str, Any]], settings: Sequence[Mapping[str, Any]], budgets: Sequence[int]
) -> str:
    """Which settings' runs went more than `LARGE_OVERRUN` beyond their budgets, how far and why; ""
    where none did.

    Args:
      rows: of the table.
      settings, budgets: what the summary says of every setting, and its env steps.
    """
    found: dict[int, list[int]] = {}
    for row in rows:
        if row["env_steps"] > (1 + LARGE_OVERRUN) * budgets[row["setting"]]:
            found.setdefault(row["setting"], []).append(row["env_steps"])
    named = [
        f"{values_text(settings[i]['values'], settings)} "
        f"({_runs(own)}{max(own):,} of {budgets[i]:,} env steps)"
        for i, own in found.items()
    ]
    if not named:
        return ""
    rest = len(named) - MOST_NAMED
    told = ", ".join(named[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
    return (
        f"more than {100 * LARGE_OVERRUN:.0f} % beyond the budget: {told}; runs end between "
        "compiled calls, which a smaller log_interval or collect.envs makes shorter"
    )


def _runs(own: Sequence[Any]) -> str:
    return f"{len(own)} runs, up to " if len(own) > 1 else "1 run, "


def values_text(values: Mapping[str, Any], settings: Sequence[Mapping[str, Any]] = ()) -> str:
    """A setting by its swept values, as they are told from those of all ``settings``."""
    known = {k: [entry["values"].get(k) for entry in settings] for k in values}
    return ", ".join(f"{k} {short(v, known[k])}" for k, v in values.items()) or "the one setting"


def short(value: Any, others: Iterable[Any] = ()) -> str:
    """A value to be read: a number that was drawn has sixteen digits, of which four are shown, or
    as many as tell it from ``others``."""
    if not isinstance(value, float):
        return str(value)
    others = [x for x in others if isinstance(x, float) and x != value]
    texts = {n: f"{value:.{n}g}" for n in range(4, 18)}
    told = (t for n, t in texts.items() if t not in {f"{x:.{n}g}" for x in others})
    return next(told, str(value))
