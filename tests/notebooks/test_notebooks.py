"""The notebooks run from top to bottom, are what their .py files say, and are small."""

import base64
import importlib.util
import os
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("notebooks_build", ROOT / "notebooks" / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)

SOURCES = build.sources()
LONG = ("02", "03", "04", "05", "06", "07", "08")  # they compile the most
each = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def committed(source):
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def outputs(notebook):
    return [out for cell in notebook.cells for out in cell.get("outputs", ())]


@pytest.mark.parametrize(
    "source",
    [pytest.param(s, marks=pytest.mark.slow if s.stem[:2] in LONG else ()) for s in SOURCES],
    ids=lambda path: path.stem,
)
def test_runs_in_fast_mode(source, tmp_path, monkeypatch):
    monkeypatch.setenv("LICA_JAX_FAST", "1")
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    notebook = build.read(source)
    build.run(notebook, tmp_path, timeout=300)  # raises where a cell does
    shows = [bool(cell.get("outputs")) for cell in notebook.cells]
    assert shows == [bool(cell.get("outputs")) for cell in committed(source).cells]


@each
def test_is_what_its_py_file_says(source):
    def cells(notebook):
        return [(cell.cell_type, cell.source) for cell in notebook.cells]

    assert cells(committed(source)) == cells(build.read(source))


@each
def test_has_the_outputs_of_one_whole_run(source):
    notebook = committed(source)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(out.output_type != "error" for out in outputs(notebook))
    pictures = [
        out.data["image/png"] for out in outputs(notebook) if "image/png" in out.get("data", ())
    ]
    assert all(len(base64.b64decode(picture)) < 60_000 for picture in pictures)
    text = source.with_suffix(".ipynb").read_text()
    assert len(text) < 300_000
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users|private)/", text)


@each
def test_opens_in_colab_and_installs_there(source):
    first, second = (cell.source for cell in build.read(source).cells[:2])
    repository = re.search(r"github\.com/([\w.-]+/[\w.-]+)\.git", second)[1]
    address = (
        f"colab.research.google.com/github/{repository}/blob/main/notebooks/{source.stem}.ipynb"
    )
    assert address in first


def test_the_readme_names_every_notebook():
    readme = (ROOT / "notebooks" / "README.md").read_text()
    for source in SOURCES:
        assert f"[{source.stem}]({source.stem}.ipynb)" in readme


def test_another_repository(tmp_path):
    """A copy on GitHub gets badges and an install line of its own, and nothing else changes."""
    text = SOURCES[0].read_text()
    copy = tmp_path / "copy.py"
    copy.write_text(text)
    build.set_repository("someone/a-copy", [copy])
    old = re.search(r"github\.com/([\w.-]+/[\w.-]+)\.git", text)[1]
    assert copy.read_text() == text.replace(old, "someone/a-copy")
    assert copy.read_text().count("someone/a-copy") == 2
