"""The page of a report: one file, no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from lica_jax.reporting.picture import Picture, css_colour, page_colours
from lica_jax.reporting.table import Table

MOST_BYTES = 2_900_000  # of a page; figures beyond that are files only
FEW_NOTES = 8
LONG = 16  # rows of a table that is folded
PAGE = 1060  # pixels for panels side by side, less the gaps
# Tables that stand behind the figures they belong to, folded.
BEHIND = {
    "all_tasks": ("all_tasks",),
    "probability_of_improvement": ("probability_of_improvement",),
    "time_to_threshold_sampled": ("time_to_threshold",),
}  # fmt: skip
STYLE = (
    """
.lica-report{"""
    + page_colours(dark=False)
    + """--page:#ffffff;--card:#f6f8fa;--note:#fff8e5;--edge:#e0b94a;--link:#0a58b0;
 color:var(--ink);background:var(--page);font:16px/1.5 system-ui,sans-serif;color-scheme:light dark}
@media(prefers-color-scheme:dark){.lica-report{"""
    + page_colours(dark=True)
    + """--page:#12161b;--card:#1a2027;--note:#2a2413;--edge:#8a6d1f;--link:#7ab8ff}}
.lica-report{max-width:1180px;margin:0 auto;padding:1.2rem;box-sizing:border-box}
.lica-report h1{font-size:1.7rem;line-height:1.2;margin:.2rem 0;overflow-wrap:anywhere}
.lica-report h2{font-size:1.2rem;margin:2.2rem 0 .3rem;overflow-wrap:anywhere}
.lica-report p{margin:.4rem 0;overflow-wrap:anywhere}
.lica-report a{color:var(--link)}
.lica-report .faint,.lica-report figcaption{color:var(--faint);font-size:.9rem;max-width:85ch}
.lica-report nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.92rem;margin:.8rem 0}
.lica-report .notes{background:var(--note);border-left:4px solid var(--edge);border-radius:4px;
 padding:.5rem 1rem;margin:1rem 0;overflow-wrap:anywhere}
.lica-report .notes ul{margin:.3rem 0;padding-left:1.2rem}
.lica-report figure{margin:.6rem 0}
.lica-report .panels{display:grid;gap:.7rem;
 grid-template-columns:repeat(auto-fit,minmax(min(100%,var(--least)),1fr))}
.lica-report .panel{background:var(--card);border-radius:8px;padding:.3rem;max-width:700px}
.lica-report svg{display:block;width:100%;height:auto}
.lica-report svg text{fill:var(--ink)}
.lica-report .legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;margin:.5rem 0;padding:0;
 list-style:none;font-size:.95rem;overflow-wrap:anywhere}
.lica-report .legend svg{display:inline-block;width:34px;height:10px;margin-right:.45rem;
 vertical-align:middle}
.lica-report .wide{overflow-x:auto;margin:.6rem 0}
.lica-report table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
.lica-report th,.lica-report td{text-align:left;padding:.3rem .7rem;border-bottom:1px solid
 var(--grid);white-space:nowrap;background:none;color:inherit}
.lica-report th{vertical-align:bottom;font-weight:600;white-space:normal}
.lica-report details{margin:.6rem 0}
.lica-report summary{cursor:pointer;color:var(--link)}
.lica-report summary:focus-visible,.lica-report a:focus-visible{outline:2px solid var(--link)}
@media print{.lica-report nav{display:none}.lica-report figure{break-inside:avoid}}
"""
)


def page(title: str, body: str) -> str:
    """A whole file around a fragment of `fragment`."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An empty icon: none is asked for from a server.
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n"
        "<style>body{margin:0}@media(prefers-color-scheme:dark){body{background:#12161b}}</style>\n"
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def fragment(
    title: str, summary: str, notes: Sequence[str], tables: dict[str, Table],
    pictures: Sequence[Picture], files: bool,
) -> str:  # fmt: skip
    """The report as HTML that may stand in another page.

    Args:
      title, summary: what it is of.
      notes: what must be told.
      tables, pictures: in reading order.
      files: the figures and tables lie beside it, and are linked.
    """
    behind = {name for names in BEHIND.values() for name in names}
    drawn = {p.name for p in pictures}
    folded = {"scores"} | {name for name in behind if _shown(name, drawn)}
    first, last = [tables["scores"]], [t for t in tables.values() if t.name not in folded]
    parts = [
        f"<header><h1>{escape(title)}</h1>\n<p>{escape(summary)}</p>\n"
        f"{_navigation(first, pictures, last)}</header>",
        _notes(notes),
        *(_table_section(table, files) for table in first),
        *_picture_sections(pictures, tables, files),
        *(_table_section(table, files) for table in last),
        _made_how(files),
    ]
    body = "\n".join(part for part in parts if part)
    return f'<div class="lica-report">\n<style>{STYLE}</style>\n{body}\n</div>'


def _shown(table: str, drawn: set[str]) -> bool:
    return any(table in names and picture in drawn for picture, names in BEHIND.items())


def _navigation(first: Sequence[Table], pictures: Sequence[Picture], last: Sequence[Table]) -> str:
    entries = [(f"table-{t.name}", t.title) for t in first]
    entries += [(p.name, p.title) for p in pictures]
    entries += [(f"table-{t.name}", t.title) for t in last]
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title in entries)
    return f'<nav aria-label="Sections">{links}</nav>'


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = [f"<li>{escape(note)}</li>" for note in notes]
    text = f"<ul>{''.join(items[:FEW_NOTES])}</ul>"
    if len(items) > FEW_NOTES:
        text += (
            f"<details><summary>{len(items) - FEW_NOTES} more</summary>"
            f"<ul>{''.join(items[FEW_NOTES:])}</ul></details>"
        )
    return f'<section class="notes"><strong>Before you read on</strong>{text}</section>'


def _table_section(table: Table, files: bool) -> str:
    links = _links(f"tables/{table.name}", ("csv", "md", "tex")) if files else ""
    rows = table.html()
    if len(table.rows) > LONG and table.name != "scores":
        rows = f"<details><summary>{len(table.rows)} rows</summary>{rows}</details>"
    return (
        f'<section id="table-{table.name}"><h2>{escape(table.title)}</h2>\n'
        f'{rows}\n<p class="faint">{escape(table.about)}{links}</p></section>'
    )


def _picture_sections(
    pictures: Sequence[Picture], tables: dict[str, Table], files: bool
) -> Iterator[str]:
    drawn = _drawn(pictures, MOST_BYTES - sum(len(table.html()) for table in tables.values()))
    for picture in pictures:
        svgs = drawn.get(picture.name, ())
        panels = "".join(f'<div class="panel">{svg}</div>' for svg in svgs)
        if not svgs:
            place = f"figures/{picture.name}.png" if files else f'.figures["{picture.name}"]'
            panels = f"<p>This page is full: see {escape(place)}.</p>"
        links = _links(f"figures/{picture.name}", ("png", "pdf")) if files else ""
        folded = "".join(
            f'<details id="table-{name}"><summary>{escape(tables[name].title)}: the numbers'
            f"</summary>{tables[name].html()}"
            f'<p class="faint">{escape(tables[name].about)}'
            f"{_links(f'tables/{name}', ('csv', 'md', 'tex')) if files else ''}</p></details>"
            for name in BEHIND.get(picture.name, ())
            if name in tables
        )
        yield (
            f'<section id="{picture.name}"><h2>{escape(picture.title)}</h2>\n'
            f"<figure>{_legend(picture)}"
            f'<div class="panels" style="--least:{PAGE // picture.columns}px">{panels}</div>\n'
            f"<figcaption>{escape(picture.caption)}{links}</figcaption></figure>{folded}</section>"
        )


def _drawn(pictures: Sequence[Picture], room: int) -> dict[str, list[str]]:
    """The panels that there is room for on a page, by their pictures' names: first the scores of
    all tasks, then every task's learning curves, then what is made of them."""

    def rank(picture: Picture) -> int:
        curves = picture.name.startswith("learning_curves")
        return 0 if picture.name == "final_scores" else 1 if curves else 2

    out: dict[str, list[str]] = {}
    for picture in sorted(pictures, key=rank):
        svgs = picture.svgs() if room > 0 else []
        size = sum(map(len, svgs))
        if svgs and size <= room:
            out[picture.name], room = svgs, room - size
    return out


def _legend(picture: Picture) -> str:
    """Line samples and what they stand for."""
    if not picture.legend:
        return ""
    items = []
    for label, style in picture.legend.items():
        dashes = "" if style.dashes == "-" else ",".join(f"{2.2 * x:g}" for x in style.dashes[1])
        line = (
            f'<line x1="1" y1="5" x2="33" y2="5" style="stroke:{css_colour(style)};stroke-width:3;'
            f'stroke-dasharray:{dashes or "none"}"/>'
        )
        items.append(
            f'<li><svg viewBox="0 0 34 10" aria-hidden="true">{line}</svg>{escape(label)}</li>'
        )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _links(stem: str, kinds: Sequence[str]) -> str:
    return " " + " ".join(f'<a href="{stem}.{kind}">{kind.upper()}</a>' for kind in kinds)


def _made_how(files: bool) -> str:
    data = ' All of it as data: <a href="report.json">report.json</a>, ' if files else ""
    data += '<a href="marl_eval.json">marl_eval.json</a> (for marl-eval).' if files else ""
    return (
        '<footer><p class="faint">Statistics after Agarwal et al., “Deep Reinforcement Learning at '
        "the Edge of the Statistical Precipice” (NeurIPS 2021), and Gorsane et al., “Towards a "
        "Standardised Performance Evaluation Protocol for Cooperative MARL” (NeurIPS 2022): "
        "interquartile means; 95 % percentile bootstrap of 2,000 samples, seeds drawn with "
        "replacement within each task. Intervals of three or four seeds are too narrow rather than "
        f"too wide.{data}</p></footer>"
    )
