"""``lica-jax reproduce table``: every figure at every scale, with what it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lica_jax.reproduce import FIGURES, SCALES
from lica_jax.reproduce.expected import expect, expected_text, rates
from lica_jax.reproduce.experiments import EXPERIMENTS
from lica_jax.reproduce.fig5 import INITS
from lica_jax.reproduce.trained import settings_of

HEAD = ("figure", "scale", "tasks", "methods", "seeds", "runs", "env steps", "expected time")
RIGHT = (4, 5, 6)  # columns of numbers


def table() -> Iterator[str]:
    """The lines of the table; `rates` names the machine of its times."""
    rows: list[Sequence[str]] = [HEAD]
    for figure in FIGURES:
        if figure in EXPERIMENTS:
            rows += [_row(figure, scale) for scale in SCALES]
    rows.insert(1, ("fig2a", "any", "none", "2", "", "", "", "seconds"))
    rows += [
        ("fig5", scale, "junction", "4", "", f"{4 * inits:,}", "", text)
        for scale, inits, text in (
            ("smoke", INITS["smoke"], "seconds"), ("others", INITS["paper"], "about 32 s"),
        )
    ]  # fmt: skip
    rows[1:] = sorted(rows[1:], key=lambda row: list(FIGURES).index(row[0]))
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    for row in rows:
        cells = (
            cell.rjust(width) if i in RIGHT else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
    yield f"Times are of one run after another on {rates()['machine']}, which was free; roughly:"
    yield "measured on another task. The sweep says how long is left after its first wave."
    yield "`lica-jax reproduce FIGURE --scale SCALE --out DIR --dry-run` says more."


def _row(figure: str, scale: str) -> Sequence[str]:
    ask, settings = settings_of(figure, scale)
    tasks = {s.config.task for s in settings}
    steps = sum(s.config.total_steps for s in settings) * len(ask.seeds)
    shown = f"{steps / 1e6:,.0f} M" if steps >= 1e6 else f"{steps / 1e3:,.0f} k"
    only = next(iter(tasks)).partition("/")[2] if len(tasks) == 1 else str(len(tasks))
    return (
        figure, scale, only, str(len(settings) // len(tasks)), str(len(ask.seeds)),
        str(len(settings) * len(ask.seeds)), shown, expected_text(expect(settings, len(ask.seeds))),
    )  # fmt: skip
