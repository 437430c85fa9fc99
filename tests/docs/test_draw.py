"""The pictures of docs/results come from the numbers beside them."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def draw():
    return runpy.run_path(str(DOCS / "results/draw.py"))


def test_every_picture_can_be_drawn(draw):
    known = draw["recorded"]()
    for name, asked in draw["SHEETS"].items():
        assert (DOCS / f"images/{name}.png").is_file()
        picture = draw["sheet"](name, asked, known)
        assert len(picture.panels) == (4 if asked.timed else 2)
        assert set(picture.legend) == {curve.label for curve in asked.curves}
    assert (DOCS / "images/learning_lica_maps.png").is_file()
    assert len(draw["maps"]("maps", known).panels) == 7


def test_curves_are_what_was_recorded(draw):
    known = draw["recorded"]()
    asked = draw["SHEETS"]["lica_5m_vs_6m"]
    picture = draw["sheet"]("one", asked, known)
    axes = picture.figure.axes[0]
    want = next(run for run in known["a_5mc"] if run["seed"] == 1)["evaluations"]
    steps, greedy, _ = np.array(want).T
    assert any(
        np.allclose(line.get_xydata(), np.stack([steps / 1e6, 100 * greedy], -1))
        for line in axes.lines
        if len(line.get_xdata()) == len(steps)
    )
    (alone,) = (line for line in axes.lines if line.get_marker() == "s")
    assert alone.is_dashed(), "the one seed is drawn as the legend shows its method"
    with pytest.raises(SystemExit):
        draw["runs_of"](asked.curves[1]._replace(where={"hp.kl_coef": 7}), known)


def test_the_first_table_says_what_was_recorded(draw):
    """README's scores are means of the runs that its figure shows, with their number and price."""
    known, readme = draw["recorded"](), (DOCS.parent / "README.md").read_text()
    assert (DOCS / "images/who_wins.png").is_file()
    assert len(draw["winners"]("who_wins", known).panels) == 2
    assert f"\n{draw['table'](known)}\n" in readme  # python docs/results/draw.py table
    for task, methods in draw["WINNERS"].items():
        (row,) = re.findall(rf"^\| {task} \|(.*)\|$", readme, re.MULTILINE)
        cells = dict(zip(draw["METHODS"], row.split(" | "), strict=True))
        for algorithm, sweeps in methods.items():
            runs = np.array(draw["finals"](sweeps, known))
            assert runs.shape[1] == 2 and len(runs) >= 3
            scores = " / ".join(f"{mean:.3f}".removeprefix("0") for mean in runs.mean(0))
            assert scores in cells[algorithm], (task, algorithm, scores)
            assert f" M x {len(runs)}, " in cells[algorithm], (task, algorithm)
            if len(runs) == 3:
                ends = [
                    f"[{a:.3f}, {b:.3f}]" for a, b in zip(runs.min(0), runs.max(0), strict=True)
                ]
                spread = " / ".join(ends).replace("[0.", "[.").replace(" 0.", " .")
                assert spread in cells[algorithm], (task, algorithm, spread)
            assert ("**" in cells[algorithm]) == (runs.mean(0).min() >= 0.9), (task, algorithm)


def test_the_first_table_is_written_in_its_place(draw, tmp_path):
    known = draw["recorded"]()
    readme, write = tmp_path / "README.md", draw["write_table"]
    write.__globals__["HERE"] = tmp_path / "docs" / "results"
    try:
        old = "| map | LICA | other |\n|---|---|---|\n| x | 1 | 2 |"
        readme.write_text(f"before\n\n{old}\n\nafter\n")
        (tmp_path / "docs/results").mkdir(parents=True)
        (tmp_path / "docs/results/cpu.json").write_text('{"sweeps": []}')
        write(known)
        assert readme.read_text() == f"before\n\n{draw['table'](known)}\n\nafter\n"
        assert "min" not in readme.read_text()  # nothing is known to be timed on a CPU
        readme.write_text("no table")
        with pytest.raises(SystemExit, match="no table"):
            write(known)
        assert readme.read_text() == "no table"
    finally:
        write.__globals__["HERE"] = DOCS / "results"
