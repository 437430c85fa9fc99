"""The live line of a run: a progress bar in a terminal, a text that changes in a notebook, plain
lines elsewhere, or nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from lica_jax.errors import unknown
from lica_jax.files import is_terminal, put
from lica_jax.runs.notebook import NotebookOutput, check_notebook, in_notebook

STYLES = ("auto", "bar", "plain", "none")  # of the command line
NOTEBOOK = "notebook"
COMPILING = "compiling; a minute or so the first time, then seconds"
BAR = 17  # letters of the percentage and the bar before the text
PAUSE = {"plain": 5.0, NOTEBOOK: 0.5}  # seconds between two live lines, at least


def check_style(style: str) -> None:
    """Raises ``UserError`` for a style that there is none of."""
    known = (*STYLES, NOTEBOOK)
    if style not in known:
        raise unknown("display", style, known, more="")
    if style == NOTEBOOK:
        check_notebook()


def say_once(style: str, text: str) -> None:
    """A text by itself, where there is nothing to show the progress of."""
    if style == "bar" or (style == "auto" and not in_notebook()):
        style = "plain"
    Display(style, 0).say(text)


class Display:
    """Shows env steps per second, episode return, win rate, entropy and the time left."""

    def __init__(self, style: str, total: int, runs: int = 1):
        if style == "auto":
            style = "bar" if is_terminal(sys.stderr) else NOTEBOOK if in_notebook() else "plain"
        self._style = style
        self._total, self._runs = total, runs
        self._clock: tuple[float, int] | None = None
        self._rate = 0.0
        self._last_print = -1e9
        self._notebook = NotebookOutput() if style == NOTEBOOK else None
        self._bar = self._task = None
        if style == "bar":
            self._bar = _make_bar()
            self._task = self._bar.add_task("", total=total, text=COMPILING)
            with self._watched():
                self._bar.start()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Around what draws the bar: a terminal that goes away is no reason to stop."""
        try:
            yield
        except (OSError, ValueError):
            self._bar, self._style = None, "none"

    def say(self, text: str) -> None:
        """A line that stays, above the bar; in a notebook until the next one."""
        if self._notebook:
            self._notebook.say(text)
        elif self._bar is not None:
            with self._watched():
                self._bar.console.print(text, highlight=False, markup=False)
        elif self._style == "plain":
            self._put(text)

    def _put(self, text: str) -> None:
        if not put(text, sys.stderr):  # nobody reads it: the run goes on in silence
            self._style = "none"

    def warn(self, text: str) -> None:
        """A line nobody should miss: shown in every style."""
        if self._bar is not None:
            self.say(text)
        else:
            put(text, sys.stderr)

    def notice(self, text: str) -> None:
        """A line about something that takes its time; not shown where nothing is."""
        if self._style != "none":
            self.warn(text)

    def tick(self, steps: int) -> float | None:
        """Env steps per second of one run since the first tick; None at the first.

        The clock starts at the first call, so that compilation is left out.
        """
        now = time.monotonic()
        if self._clock is None:
            self._clock = (now, steps)
        start, start_steps = self._clock
        rate = (steps - start_steps) / (now - start) if now > start else 0.0
        self._rate = rate * self._runs  # of all runs together, for a person
        return round(rate, 1) if rate else None

    def show(self, steps: int, rows: list[dict[str, Any]], names: tuple[str, ...]) -> None:
        """``steps``: env steps of one run so far; ``rows``: a chunk's figures of every run."""
        now = time.monotonic()
        if self._style == "none" or now - self._last_print < PAUSE.get(self._style, 0):
            return
        self._last_print = now
        figures = {"return": "train/return_mean", "win": "train/win_rate"}
        # Whatever else the task says of its episodes, then the algorithm's own figures.
        labels = (name for row in rows for name in row if name.startswith("train/"))
        own = {name: name.removeprefix("train/").removesuffix("_mean") for name in labels}
        shown = {*figures.values(), "train/episodes", "train/episode_length_mean"}
        figures |= {text: name for name, text in own.items() if name not in shown}
        figures |= {name: name for name in names}
        parts = [f"{steps / 1e3:,.0f}k/{self._total / 1e3:,.0f}k env steps"]
        if self._rate:
            left = max(self._total - steps, 0) * self._runs / self._rate
            of_all = f" of {self._runs} runs" if self._runs > 1 else ""
            parts.append(f"{self._rate / 1e3:.1f}k/s{of_all}")
            parts.append(f"ETA {clock(left)}")
        for label, name in figures.items():
            values = [row[name] for row in rows if row.get(name) is not None]
            if values:
                mean = sum(values) / len(values)
                parts.append(f"{label} {_figure(name, mean)}")
        text = " | ".join(parts)
        if self._bar is not None:
            with self._watched():
                # What does not fit in the line would take the bar's place.
                room = self._bar.console.width - BAR
                while len(text := " | ".join(parts)) > room and len(parts) > 1:
                    parts.pop()
                self._bar.update(
                    self._task, completed=min(steps, self._total), text=text, refresh=True
                )
        elif self._notebook:
            self._notebook.progress(text)
        else:
            self._put(text)

    def draw(self, curve: Callable[[], bytes]) -> None:
        """A picture (PNG), where there is a place for one; it is made there only."""
        if self._notebook:
            self._notebook.draw(curve())

    def close(self) -> None:
        """Ends what moves."""
        if self._notebook:
            self._notebook.progress("")
        if self._bar is not None:
            with self._watched():
                self._bar.stop()
                self._bar, self._style = None, "plain"


def _figure(name: str, value: float) -> str:
    """``94.5 %`` of a win rate, ``1.94`` of anything else."""
    return f"{100 * value:.1f} %" if name.endswith("win_rate") else f"{value:.3g}"


def clock(seconds: float) -> str:
    """``0:12``, ``59:59``, ``13 h 53 min``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _make_bar() -> Any:
    """rich's bar on stderr, which leaves it to us what follows when nobody reads it any more."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    class Stderr(Console):
        def on_broken_pipe(self) -> None:  # rich would end the process
            raise BrokenPipeError

    return Progress(
        TextColumn("{task.percentage:>3.0f}%"), BarColumn(bar_width=10),
        TextColumn("{task.fields[text]}"), console=Stderr(stderr=True), transient=True,
        auto_refresh=False,  # no thread: it is drawn when there is news
    )  # fmt: skip
