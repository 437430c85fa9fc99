"""The live line of a run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lica_jax.runs import display
from lica_jax.runs.display import Display, clock

ROWS = [
    {"train/return_mean": 1.9, "train/win_rate": 0.945, "entropy": 0.555, "value_loss": 0.01},
    {"train/return_mean": 1.7, "train/win_rate": 0.925, "entropy": 0.5, "value_loss": 0.01},
]


@pytest.fixture
def bar(monkeypatch):
    """``bar(columns)``: what a terminal of that width was written, in lines."""

    def shown(columns):
        screen = io.StringIO()
        plain = display._make_bar

        def made():
            progress = plain()
            progress.live.console = Console(file=screen, width=columns, force_terminal=True)
            return progress

        monkeypatch.setattr(display, "_make_bar", made)
        live = Display("bar", 800_000, 2)
        live.tick(0)
        live.tick(200_000)
        live.show(400_000, ROWS, ("entropy", "value_loss"))
        live.close()
        monkeypatch.undo()
        return screen.getvalue()

    return shown


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_the_bar_is_seen_at_every_width(bar, columns):
    """What does not fit is left out, from behind, instead of taking the bar's place."""
    text = bar(columns)
    assert " 50%" in text and "━" in text and "400k/800k env steps" in text and "…" not in text
    assert ("value_loss" in text) == (columns == 200)
    assert ("win 93.5 %" in text) == (columns >= 120)


def test_a_line_says_whose_rate_it_is(capsys):
    for runs in (1, 2):
        live = Display("plain", 800_000, runs)
        live.tick(0)
        live.tick(10**9)
        live.show(400_000, ROWS, ())
        text = capsys.readouterr().err
        assert ("k/s of 2 runs" in text) == (runs == 2) and "return 1.8 | win 93.5 %" in text
    assert [clock(s) for s in (5, 65, 3_599, 50_000)] == ["0:05", "1:05", "59:59", "13 h 53 min"]
