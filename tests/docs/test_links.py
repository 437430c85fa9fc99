"""Every link inside the documentation leads somewhere, on a plain git host."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("notebooks/*.md"),
        *ROOT.glob("benchmarks/*.md"),
        *ROOT.glob("notebooks/*.ipynb"),
    ]
)
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1`*\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+).+?\1")
# [text](target "title"), ![text](target), <img src="target">, <a href="target">
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?:src|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def text_of(page):
    """The Markdown of a page, of a notebook that of its text cells."""
    if page.suffix != ".ipynb":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def links(text):
    prose = CODE.sub("", FENCE.sub("", text))
    return [first or second for first, second in LINK.findall(prose)]


def anchors(text):
    """What GitHub and GitLab call the headings of a page."""
    found, seen = set(), {}
    for heading in HEADING.findall(FENCE.sub("", text)):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain.replace("`", "")).replace(" ", "-")
        again = seen.setdefault(slug, -1) + 1
        seen[slug] = again
        found.add(f"{slug}-{again}" if again else slug)
    return found


def problems(page, root=ROOT):
    """What is wrong with the links of a page, a line each."""
    out = []
    for link in links(text_of(page)):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):  # to another server, which no test asks
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if path.startswith("/") or root not in (target, *target.parents):
            out.append(f"{link} leaves the repository")
        elif not target.exists():
            out.append(f"{link}: no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors(text_of(target)):
            out.append(f"{link}: no such heading")
    return out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links(page):
    assert not problems(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_tables_are_whole(page):
    """A blank line ends a table: rows behind it would be shown as text."""
    blocks = re.split(r"\n\s*\n", FENCE.sub("", text_of(page)))
    tables = [re.findall(r"^\|.*", block, re.MULTILINE) for block in blocks]
    assert all(re.fullmatch(r"[|: -]+", rows[1]) for rows in tables if len(rows) > 1)
    assert all(len(rows) != 1 for rows in tables)


def test_there_is_something_to_check():
    assert len(PAGES) > 40
    assert sum(len(links(text_of(page))) for page in PAGES) > 150


def test_what_is_wrong_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`: three\n## Same\n## Same\n"
        "[a](#one-two-three) [b](#same-1) [c](page.md#same) [d](https://nowhere.invalid) `[e](f)`\n"
        "```\n# no heading\n[g](h)\n```\n"
        '[1](gone.md) ![2](../out.md) [3](#no-heading) [4](/page.md) <img src="none.png">\n'
    )
    assert [line.partition(":")[0].split()[0] for line in problems(page, tmp_path)] == [
        "gone.md", "../out.md", "#no-heading", "/page.md", "none.png",
    ]  # fmt: skip
