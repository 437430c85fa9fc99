"""A figure as panels: all of them on one sheet (PNG, PDF), each by itself for a page (SVG)."""

from __future__ import annotations

import importlib
import io
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lica_jax.runs.look import COLOURS, FAINT, GRID, INK, LOOK

DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1.5, 1.5)))
MARKERS = "osD^vPX*"
# Algorithms look alike in every figure: the number of their style. Those that share one are hardly
# ever compared with each other.
ALGORITHMS = {
    "lica": 0, "lica_adv": 1, "mappo": 2, "qmix": 3, "coma": 4, "vdn": 5, "liir": 6, "qtran": 7,
    "coma_fc": 4, "maddpg": 2, "iddpg": 3, "sqddpg": 6, "ippo": 5, "iql": 6, "qtran_alt": 4,
}  # fmt: skip
_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)", GRID: "var(--grid)"} | {
    colour: f"var(--c{i})" for i, colour in enumerate(COLOURS)
}
FONTS = "DejaVu Sans,Verdana,Arial,sans-serif"  # on a page: matplotlib's, or as wide a one
PANEL = (4.7, 3.1)  # inches
EDGE = 0.62  # inches of it to the left of its plot
CHARACTERS, SMALL = 12, 17  # of a title and of a caption, per inch
LETTER, HANDLE = 0.076, 0.6  # inches of the legend: a letter; a line with the space around it


@dataclass(frozen=True)
class Style:
    """How a method is drawn everywhere in a report."""

    colour: str
    dashes: Any
    marker: str

    @classmethod
    def number(cls, i: int) -> Style:
        """The i-th style; after eight they come again."""
        colours = list(COLOURS)
        return cls(colours[i % 8], DASHES[i % 4], MARKERS[i % 8])


def styles_of(algorithms: Mapping[str, str]) -> dict[str, Style]:
    """A style for every label, by the algorithm that each belongs to.

    The first label of an algorithm, by name, looks as that algorithm does everywhere; others take
    what is left, so that neither depends on who is ahead.
    """
    numbers: dict[str, int] = {}
    free = list(range(len(COLOURS)))
    for label, algorithm in sorted(algorithms.items()):
        home = ALGORITHMS.get(algorithm)
        if home in free and algorithm not in {algorithms[name] for name in numbers}:
            numbers[label] = home
            free.remove(home)
    for label in sorted(set(algorithms) - set(numbers)):
        numbers[label] = free.pop(0) if free else len(numbers)
    return {label: Style.number(numbers[label]) for label in algorithms}


def verbatim(name: str) -> str:
    """A name to be drawn as it is: what stands between dollars would be set as a formula."""
    return name.replace("$", r"\$")


@dataclass(frozen=True)
class Panel:
    """One plot: ``draw`` gets its axes; ``height`` in inches."""

    title: str
    draw: Callable[[Any], None]
    height: float = PANEL[1]


def _wrapped(title: str, inches: float) -> str:
    """The lines of a title, broken where they would be wider than the sheet."""
    most = int(inches * CHARACTERS)
    return "\n".join(textwrap.fill(line, most) for line in title.split("\n"))


def _in_two_lines(title: str, inches: float) -> str:
    """A title above a plot, without its middle where that would take much of the room."""
    most = 2 * int(inches * CHARACTERS)
    whole = len(title) <= most
    return _wrapped(title if whole else f"{title[: most // 2]} … {title[-most // 3 :]}", inches)


def _legend_of(labels: Sequence[str], inches: float) -> tuple[list[str], int]:
    """The lines of a legend's entries, and how many stand side by side, so that all are on a sheet
    of that width and rows are about equally long."""
    most = int((inches - HANDLE) / LETTER)
    names = [textwrap.fill(label, most) for label in labels]
    longest = max((len(line) for name in names for line in name.split("\n")), default=0)
    fit = max(1, int(inches / (HANDLE + LETTER * longest)))
    rows = -(-len(names) // fit)
    return names, -(-len(names) // rows) if names else 1


@dataclass(frozen=True)
class Picture:
    """Panels that belong together.

    Attributes:
      name: of its files.
      caption: what is drawn and of how many runs and episodes.
      panels: in reading order.
      legend: what a style stands for.
      columns: of the sheet.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    legend: dict[str, Style] = field(default_factory=dict)
    columns: int = 2

    @cached_property
    def figure(self) -> Any:
        """All panels on one sheet, a ``matplotlib.figure.Figure``."""
        columns = min(self.columns, len(self.panels))
        rows = -(-len(self.panels) // columns)
        tall = max(panel.height for panel in self.panels)
        names, across = _legend_of(list(self.legend), PANEL[0] * columns)
        legend = 0.2 * sum(
            max(name.count("\n") + 1 for name in names[i : i + across])
            for i in range(0, len(names), across)
        )
        told = textwrap.wrap(self.caption, int(PANEL[0] * columns * SMALL))
        height, note = tall * rows + legend + 0.4, 0.14 * len(told)
        with _style():
            figure = _new_figure((PANEL[0] * columns, height + note))
            figure.set(facecolor="white", dpi=150, layout_engine="constrained")
            sheet = figure
            if told:
                sheet, foot = figure.subfigures(2, 1, height_ratios=(height, note))
                foot.text(0.01, 0.5, verbatim("\n".join(told)), size=7.5, color=FAINT, va="center")
            sheet.suptitle(verbatim(_wrapped(self.title, PANEL[0] * columns)), fontsize=11)
            axes = sheet.subplots(rows, columns, squeeze=False).flat
            for i, place in enumerate(axes):
                if i < len(self.panels):
                    _draw(self.panels[i], place)
                else:
                    place.set_visible(False)
            if self.legend:
                self._add_legend(sheet, names, across)
        return figure

    def _add_legend(self, sheet: Any, names: Sequence[str], across: int) -> None:
        from matplotlib.lines import Line2D

        handles = [
            Line2D([], [], color=s.colour, ls=s.dashes, lw=2, label=verbatim(name))
            for name, s in zip(names, self.legend.values(), strict=True)
        ]
        # matplotlib fills columns first; a reader goes along rows.
        order = [i for start in range(across) for i in range(start, len(handles), across)]
        sheet.legend(handles=[handles[i] for i in order], loc="outside lower center", ncols=across)

    def file(self, kind: str) -> bytes:
        """The sheet as "png" or "pdf"."""
        data, dpi = io.BytesIO(), self.figure.dpi
        with _style():
            if kind == "pdf":  # without a date: equal runs give equal files
                _canvas("pdf")(self.figure).print_pdf(data, metadata={"CreationDate": None})
                self.figure.dpi = dpi
            else:
                _canvas("agg")(self.figure).print_png(data)
        self.figure.set_layout_engine("none")  # it is laid out now, which takes time
        return data.getvalue()

    def svgs(self) -> list[str]:
        """Every panel as an SVG whose colours are the page's variables (`page_colours`)."""
        return [self._svg(panel, f"{self.name}-{i}") for i, panel in enumerate(self.panels)]

    def _svg(self, panel: Panel, name: str) -> str:
        data = io.StringIO()
        with _style({"svg.hashsalt": name}):
            figure = _new_figure((PANEL[0], panel.height))
            axes = figure.subplots()
            _draw(panel, axes)
            figure.subplots_adjust(**_margins(axes, panel.height))
            _canvas("svg")(figure).print_svg(data, metadata={"Date": None})
        text = data.getvalue()
        text = text[text.index("<svg") :]
        text = _lean(text)
        for plain, variable in _VARIABLES.items():
            text = text.replace(plain, variable)
        # Names must be unique on the page, and sizes are its own.
        text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
        label = re.sub(r'[&<>"]', " ", f"{self.title}: {panel.title}")
        return re.sub(
            r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
            rf'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="\1" role="img" '
            rf'aria-label="{label}" font-family="{FONTS}">',
            text, count=1,
        )  # fmt: skip


def _lean(text: str) -> str:
    """An SVG without what is not seen: a page has room for more."""
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # A hundredth of a point is enough; what stands between tags is for people.
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), text)
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"\s+", " ", tag[0]), text)
    text = re.sub(r">\s+<", "><", text)
    text = re.sub(r"font-family: [^;]*; ", "", text)  # the whole has one
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    return re.sub(r' id="([^"]+)"', lambda name: name[0] if name[1] in used else "", text)


def page_colours(dark: bool) -> str:
    """The CSS variables that pictures are drawn in."""
    ink = ("#e6edf3", "#9aa4af", "#30363d") if dark else (INK, FAINT, GRID)
    lines = [
        f"--{name}:{value};" for name, value in zip(("ink", "faint", "grid"), ink, strict=True)
    ]
    chosen = COLOURS.values() if dark else COLOURS.keys()
    return "".join(lines + [f"--c{i}:{value};" for i, value in enumerate(chosen)])


def css_colour(style: Style) -> str:
    """A style's colour as the page knows it."""
    return _VARIABLES[style.colour]


def _style(more: dict[str, Any] | None = None) -> Any:
    import matplotlib

    return matplotlib.rc_context(LOOK | (more or {}))


def _new_figure(size: tuple[float, float]) -> Any:
    from lica_jax.runs.figure import OwnFigure

    return OwnFigure(figsize=size, facecolor="none")


def _canvas(kind: str) -> Any:
    """What writes a kind of file. Directly: ``savefig`` draws everything twice."""
    module = importlib.import_module(f"matplotlib.backends.backend_{kind}")
    return getattr(module, f"FigureCanvas{kind.capitalize() if kind != 'svg' else 'SVG'}")


def _margins(axes: Any, height: float) -> dict[str, float]:
    """Room around a single panel. Constrained layout would draw it several times to know."""
    longest = max(
        (len(line) for label in axes.get_yticklabels() for line in label.get_text().split("\n")),
        default=0,
    )
    named = axes.yaxis.get_label().get_text() == ""
    left = min(0.2 + 0.07 * longest, 0.5 * PANEL[0]) if named else EDGE
    titles = 0.28 + 0.16 * axes.get_title(loc="left").count("\n")
    return {
        "left": left / PANEL[0], "right": 1 - 0.12 / PANEL[0], "bottom": 0.48 / height,
        "top": 1 - titles / height,
    }  # fmt: skip


def _draw(panel: Panel, axes: Any) -> None:
    axes.set_title(verbatim(_in_two_lines(panel.title, PANEL[0] - EDGE)))
    panel.draw(axes)
