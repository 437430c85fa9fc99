"""How figures look: what stands for whom, and that all of it is on the sheet."""

from __future__ import annotations

import numpy as np
import pytest

from lica_jax.algorithms import algorithm_names
from lica_jax.reporting.picture import ALGORITHMS, Panel, Picture, Style, styles_of
from lica_jax.reporting.table import Column, Table
from lica_jax.reproduce import drawing
from lica_jax.reproduce.experiments import Experiment, Measure


def test_an_algorithm_looks_the_same_whoever_is_beside_it():
    assert set(ALGORITHMS) == set(algorithm_names())
    alone = styles_of({"lica": "lica"})["lica"]
    beside = styles_of({"mappo": "mappo", "qmix": "qmix", "lica": "lica"})
    assert beside["lica"] == alone == Style.number(0) and len(set(beside.values())) == 3
    assert list(beside) == ["mappo", "qmix", "lica"]
    others = {"a (lica_adv)": "lica_adv", "b (lica_adv)": "lica_adv", "mine": "mine"}
    some = styles_of(others | {"lica": "lica"})
    assert some["lica"] == alone and some["a (lica_adv)"] == Style.number(1)
    assert len(set(some.values())) == 4
    # Two that share a look, and more methods than looks.
    assert len(set(styles_of({"maddpg": "maddpg", "mappo": "mappo"}).values())) == 2
    assert len(styles_of({f"lica {i}": "lica" for i in range(11)})) == 11


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("length", [4, 30, 90])
def test_a_legend_is_on_the_sheet_and_read_along_rows(columns, length):
    names = [f"{i}".ljust(length, "x") for i in range(7)]
    panels = [Panel("p", lambda axes: axes.plot([0, 1]))] * columns
    styles = {name: Style.number(i) for i, name in enumerate(names)}
    picture = Picture("legend", "A title", "", panels, styles, columns)
    picture.file("png")
    figure = picture.figure
    (legend,) = figure.legends
    texts = legend.get_texts()
    boxes = [text.get_window_extent() for text in texts]
    assert len(texts) == len(names)
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)
    # Nothing of it lies over the panels.
    top = max(box.y1 for box in boxes)
    assert all(axes.get_tightbbox().y0 >= top for axes in figure.axes)
    read = sorted(zip(boxes, texts, strict=True), key=lambda p: (-round(p[0].y1 / 8), p[0].x0))
    assert [text.get_text()[0] for _, text in read] == [str(i) for i in range(7)]


def test_panels_show_what_there_is_to_see():
    """Hardly any wins, and curves that begin far away, are no flat lines."""
    experiment = Experiment(
        "things", "1", "single", lambda task: (Measure(task, "things", None),), lambda config: "l"
    )

    def limits(name: str, factor: float, y: list[float]) -> tuple[float, float]:
        measure = Measure(name, "things", None, factor=factor)
        method = {
            "label": "l", "algorithm": "lica", "x": list(range(len(y))), "seeds": [0], "runs": [y],
            "low": None, "iqm": y,
        }  # fmt: skip
        own = Experiment(**vars(experiment) | {"measures": lambda task: (measure,)})
        panel = {"title": "t", "task": "t", "measure": name, "methods": [method]}
        pictures = drawing.draw("fig9", own, {"scale": "cpu", "panels": [panel]})
        return pictures[0].figure.axes[0].get_ylim()

    assert limits("win_rate", 100, [0, 0.5, 0.9]) == pytest.approx((-3.09, 103))
    assert limits("win_rate", 100, [0, 0.01, 0.03]) == pytest.approx((-0.309, 10.3))
    late = list(np.linspace(-12, -10, 90))
    low, high = limits("reward", 1, [-200.0] * 10 + late)
    assert -16 < low < -13 and -10 <= high < -7
    low, _ = limits("reward", 1, [-15.0] * 10 + late)
    assert low < -15


def test_a_table_in_a_terminal_says_once_what_is_the_same():
    columns = [Column(key, key) for key in ("task", "method", "score", "seeds")]
    rows = [
        {"task": "smax/3m", "method": name, "score": text, "seeds": 3}
        for name, text in (("lica", "9.1 [8.0, 10.0]"), ("mappo", "10.2 [9.9, 11.0]"))
    ]
    text = Table("t", "T", "", columns, rows).text(["task", "method", "score", "seeds"])
    assert text.split("\n") == [
        "task     method             score",
        "smax/3m  lica     9.1 [8.0, 10.0]",
        "smax/3m  mappo   10.2 [9.9, 11.0]",
        "(all: seeds 3)",
    ]
    one = Table("t", "T", "", columns, rows[:1]).text(["method", "seeds"])
    assert one.split("\n") == ["method  seeds", "lica        3"]
