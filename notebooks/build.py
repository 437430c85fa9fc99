"""Makes the notebooks from the .py files beside them, and runs them.

    python notebooks/build.py                   all of them
    python notebooks/build.py 03_sweeps         one
    python notebooks/build.py --texts           new words between cells that have not changed
    python notebooks/build.py --repository you/lica_jax

The last two run nothing. The last one writes the address of a copy of this repository on GitHub
into the badges and install cells. Needs the extra `notebook`.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).resolve().parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
ADDRESS = re.compile(r"(github(?:\.com)?/)[\w.-]+/[\w.-]+(?=/blob/main/notebooks/|\.git\b)")


def sources() -> list[Path]:
    """The notebooks as Python files, in the order in which they are read."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def read(source: Path) -> nbformat.NotebookNode:
    """A notebook without outputs, from its .py file (jupytext's percent format)."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # not random: the same file gives the same notebook
    return notebook


def run(notebook: nbformat.NotebookNode, folder: Path, timeout: float = 1800) -> None:
    """Runs a notebook's cells in ``folder``; their outputs are in it afterwards.

    Raises:
      CellExecutionError: a cell failed.
    """
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources=resources,
        record_timing=False, coalesce_streams=True,
    ).execute()  # fmt: skip
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})


def compact(png: str) -> str:
    """A picture (base64) with 256 colours, none mixed of others: as it was, half as large."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def build(source: Path) -> None:
    """Runs a notebook and writes it, outputs and all."""
    notebook = read(source)
    with tempfile.TemporaryDirectory() as folder:
        run(notebook, Path(folder))
    for output in (out for cell in notebook.cells for out in cell.get("outputs", ())):
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = compact(output.data["image/png"])
    nbformat.write(notebook, source.with_suffix(".ipynb"))


def renew_texts(source: Path) -> None:
    """Writes the words of a notebook anew and keeps the outputs of its last run.

    Raises:
      ValueError: its code has changed since.
    """
    notebook, path = read(source), source.with_suffix(".ipynb")
    before = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [cell.source for cell in code] != [cell.source for cell in before]:
        raise ValueError(f"the code of {source.name} has changed: run it")
    for cell, old in zip(code, before, strict=True):
        cell.outputs, cell.execution_count = old.outputs, old.execution_count
    nbformat.write(notebook, path)


def set_repository(name: str, paths: Iterable[Path]) -> None:
    """Writes ``owner/name`` into the badges and install cells of notebooks and their sources."""
    for path in paths:
        path.write_text(ADDRESS.sub(rf"\g<1>{name}", path.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the notebooks and runs them.")
    parser.add_argument("names", nargs="*", help="such as 03_sweeps; all by default")
    parser.add_argument("--texts", action="store_true", help="renew the words, keep the outputs")
    parser.add_argument("--repository", metavar="OWNER/NAME", help="only set the address on GitHub")
    given = parser.parse_args()
    known = {source.stem: source for source in sources()}
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"no notebook {unknown[0]}; there are {', '.join(known)}")
    if given.repository:
        pairs = [[s, s.with_suffix(".ipynb")] for s in known.values()]
        set_repository(given.repository, [path for pair in pairs for path in pair])
        return
    for name in given.names or known:
        if given.texts:
            renew_texts(known[name])
            continue
        print(f"running {name}", file=sys.stderr)
        build(known[name])


if __name__ == "__main__":
    main()
