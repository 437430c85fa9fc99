"""What the site has beyond docs/: patterns in its nav, the notebooks, the change log.

mkdocs calls the functions that begin with ``on_`` (mkdocs.yml names this file). Pages are written
for a plain git host; what they link to outside of docs/ is put into the site under `OUTSIDE`, and
the links are turned there.
"""

from __future__ import annotations

import fnmatch
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
# Pages of the site by the files, relative to the repository, that they are made of.
OUTSIDE = {
    **{f"notebooks/{p.name}": f"notebooks/{p.stem}.md" for p in ROOT.glob("notebooks/*.ipynb")},
    "notebooks/README.md": "notebooks/index.md",
    "benchmarks/README.md": "results/benchmarks.md",
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
}
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")  # its path; without the anchor
_BADGE = re.compile(r"^\[!\[.*\]\(http.*\)\n*", re.MULTILINE)  # a picture from another server


# --- called by mkdocs ----------------------------------------------------------------------------


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages from outside, then says in which order all of them are."""
    for source, page in OUTSIDE.items():
        path = ROOT / source
        if page not in files.src_uris and path.is_file():
            text = notebook(path) if path.suffix == ".ipynb" else path.read_text()
            files.append(File.generated(config, page, content=turned(text, source, page)))
    pages = sorted(f.src_uri for f in files.documentation_pages())
    config.nav = expanded(config.nav, pages)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns a page's links out of docs/ to where the site has those files."""
    uri = page.file.src_uri
    if page.file.generated_by:
        return markdown
    return turned(markdown, f"docs/{uri}", uri)


# --- nav -----------------------------------------------------------------------------------------


def expanded(nav: list[Any], pages: list[str]) -> list[Any]:
    """A nav whose patterns are replaced by the pages that they match and no other entry names."""
    left = [page for page in pages if page not in set(_named(nav))]

    def fill(entries: list[Any]) -> list[Any]:
        out = []
        for entry in entries:
            if isinstance(entry, dict):
                ((title, inner),) = entry.items()
                out.append({title: fill(inner) if isinstance(inner, list) else inner})
            elif "*" in entry:
                found = [p for p in left if _matches(p, entry)]
                left[:] = [p for p in left if p not in found]
                out += found
            else:
                out.append(entry)
        return out

    return fill(nav)


def _named(entries: list[Any]) -> list[str]:
    """All pages that a nav names."""
    out = []
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            out += _named(value) if isinstance(value, list) else [value]
    return out


def _matches(page: str, pattern: str) -> bool:
    """As a shell would have it: ``*`` stays within a folder."""
    return page.count("/") == pattern.count("/") and fnmatch.fnmatch(page, pattern)


# --- links ---------------------------------------------------------------------------------------


def turned(text: str, source: str, page: str) -> str:
    """The links of ``source`` (a file of the repository) as they are from ``page`` of the site."""
    folder, here = posixpath.dirname(source), posixpath.dirname(page)

    def turn(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        inside = target.removeprefix("docs/") if target.startswith("docs/") else None
        to = OUTSIDE.get(target, inside)
        return match[1] if to is None else posixpath.relpath(to, here or ".")

    return _LINK.sub(turn, text)


# --- notebooks -----------------------------------------------------------------------------------


def notebook(path: Path) -> str:
    """A notebook as Markdown, with the outputs of its last run."""
    cells = json.loads(path.read_text())["cells"]
    parts = [_cell(cell) for cell in cells]
    return "\n\n".join(part for part in parts if part)


def _cell(cell: dict[str, Any]) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return _BADGE.sub("", source)
    if cell["cell_type"] != "code":
        return ""
    return "\n\n".join([_fenced(source, "python"), *map(_output, cell["outputs"])])


def _output(output: dict[str, Any]) -> str:
    """A picture, a table or a text, the richest there is."""
    data = {kind: "".join(text) for kind, text in output.get("data", {}).items()}
    if "image/png" in data:
        encoded = "".join(data["image/png"].split())
        return f'<img alt="output" src="data:image/png;base64,{encoded}">'
    if "text/html" in data:
        # Whatever it is, it stays in a box of its own.
        return f'<div class="output">{_one_line(data["text/html"])}</div>'
    if "text/markdown" in data:
        return data["text/markdown"]
    text = data.get("text/plain") or "".join(output.get("text", ""))
    return _fenced(text.rstrip(), "text") if text else ""


def _one_line(text: str) -> str:
    """HTML without line breaks, at which Markdown would begin a new paragraph."""
    return text.strip().replace("\n", "&#10;" if "srcdoc" in text else " ")


def _fenced(text: str, language: str) -> str:
    return f"````{language}\n{text}\n````"
