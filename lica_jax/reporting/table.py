"""A table that is CSV, Markdown, LaTeX, HTML and a data frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from lica_jax.statistics import Estimate

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column; ``text`` writes a row's entry for people."""

    key: str
    title: str
    text: Callable[[dict[str, Any]], str] | None = None

    def write(self, row: dict[str, Any]) -> str:
        if self.text is not None:
            return self.text(row)
        value = row.get(self.key)
        return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


@dataclass(frozen=True)
class Table:
    """Rows by key.

    Attributes:
      name: of its files.
      about: what its numbers are.
      columns: those that people see.
      rows: everything that is known; an `Estimate` is written as three numbers in files.
    """

    name: str
    title: str
    about: str
    columns: Sequence[Column]
    rows: list[dict[str, Any]]

    def __repr__(self) -> str:
        return f"<Table {self.name}: {len(self.rows)} rows>"

    @property
    def plain(self) -> list[dict[str, Any]]:
        """Rows of numbers and text only: estimates as ``score``, ``score_low``, ``score_high``;
        non-finite numbers as None."""
        return [_flat(row) for row in self.rows]

    def frame(self) -> Any:
        """A ``pandas.DataFrame`` of `plain`."""
        import pandas  # here: reports of the command line need none

        return pandas.DataFrame(self.plain)

    def csv(self) -> str:
        """Comma-separated, all digits."""
        rows, text = self.plain, io.StringIO()
        keys = dict.fromkeys(key for row in rows for key in row)
        writer = csv.DictWriter(text, keys, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def markdown(self) -> str:
        """A pipe table."""
        cells = [[c.title for c in self.columns], ["---"] * len(self.columns), *self._texts()]
        return "".join(f"| {' | '.join(x.replace('|', '/') for x in row)} |\n" for row in cells)

    __str__ = _repr_markdown_ = markdown  # in print and in a notebook's cell

    def latex(self) -> str:
        """A ``tabular`` with rules of the booktabs package."""
        head = _latex_row([column.title for column in self.columns])
        body = "".join(_latex_row(row) for row in self._texts())
        return (
            f"% {self.title}: {self.about}\n\\begin{{tabular}}{{{'l' * len(self.columns)}}}\n"
            f"\\toprule\n{head}\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"
        )

    def html(self) -> str:
        """A ``<table>``."""
        head = "".join(f'<th scope="col">{escape(c.title)}</th>' for c in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>\n"
            for row in self._texts()
        )
        return (
            f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n'
            f"<tbody>{body}</tbody></table></div>"
        )

    def _texts(self) -> list[list[str]]:
        return [[column.write(row) for column in self.columns] for row in self.rows]

    def text(self, keys: Sequence[str]) -> str:
        """Some columns, for a terminal: names to the left, numbers to the right; of several rows
        what is the same in all stands behind them, so that lines are short."""
        columns = [column for column in self.columns if column.key in keys]
        written = {c.title: [c.write(row) for row in self.rows] for c in columns}
        alike = [
            title
            for title, texts in list(written.items())[1:]
            if len(texts) > 1 and len(set(texts)) == 1
        ]
        shown = {title: texts for title, texts in written.items() if title not in alike}
        blocks = [[title, *texts] for title, texts in shown.items()]
        lines = ["  ".join(row).rstrip() for row in zip(*map(_aligned, blocks), strict=True)]
        if alike:
            lines.append(f"(all: {'; '.join(f'{title} {written[title][0]}' for title in alike)})")
        return "\n".join(lines)


def _aligned(block: Sequence[str]) -> list[str]:
    """A column, its title first, to one width."""
    width = max(map(len, block))
    numbers = all(text[:1].isdigit() or text[:1] in "-+." for text in block[1:])
    return [text.rjust(width) if numbers else text.ljust(width) for text in block]


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Estimate):
            out |= {key: value.value, f"{key}_low": value.low, f"{key}_high": value.high}
        else:
            out[key] = value
    return {key: _finite(value) for key, value in out.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


def _latex_row(cells: Sequence[str]) -> str:
    texts = ["".join(_LATEX.get(ch, ch) for ch in cell) for cell in cells]
    return " & ".join(texts) + r" \\" + "\n"


# --- numbers for people --------------------------------------------------------------------------


def figures(value: float, percent: bool = False) -> str:
    """A score with as many digits as are worth reading."""
    if not np.isfinite(value):
        return "-"
    return f"{100 * value:.1f}" if percent else f"{value:.3g}"


def estimate_text(estimate: Estimate | None, percent: bool = False) -> str:
    """``96.1 [94.0, 98.2]``; the point alone where there is no interval."""
    if estimate is None:
        return "-"
    text = figures(estimate.value, percent)
    if not np.isfinite(estimate.low):
        return text
    return f"{text} [{figures(estimate.low, percent)}, {figures(estimate.high, percent)}]"


def steps_text(steps: float) -> str:
    """``1.95 M``, ``40 k``, ``800``."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if steps >= 0.9995 * size:  # which three digits make a whole one of
            text = f"{steps / size:.3g}"
            return f"{text if 'e' not in text else f'{steps / size:.0f}'}{unit}"
    return f"{steps:.0f}"


def seconds_text(seconds: float) -> str:
    """``2.1 h``, ``34 min``, ``17 s``."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
