"""The nav takes new pages by itself, links lead into the site, notebooks keep their outputs."""

import importlib.util
import json
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed: the extra `docs` has it")
PATH = Path(__file__).parents[2] / "docs" / "site_hooks.py"
spec = importlib.util.spec_from_file_location("site_hooks", PATH)
hooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hooks)


def test_patterns_take_what_no_other_entry_names():
    nav = [{"Home": "index.md"}, {"Guides": ["b.md", "*.md"]}, {"More": ["more/*.md", "c.md"]}]
    pages = ["a.md", "b.md", "c.md", "index.md", "more/deep/x.md", "more/x.md"]
    assert hooks.expanded(nav, pages) == [
        {"Home": "index.md"}, {"Guides": ["b.md", "a.md"]}, {"More": ["more/x.md", "c.md"]},
    ]  # fmt: skip


def test_links_are_turned_to_where_the_site_has_their_files():
    text = (
        "[a](../../notebooks/03_sweeps.ipynb) [b](lica.md#x) [c](https://d.e/../README.md) [f](#g)"
    )
    turned = hooks.turned(text, "docs/algorithms/coma.md", "algorithms/coma.md")
    assert turned == text.replace("../../notebooks/03_sweeps.ipynb", "../notebooks/03_sweeps.md")
    text = "[a](../docs/sweeps.md#measured) [b](03_sweeps.ipynb) [c](../LICENSE)"
    turned = hooks.turned(text, "notebooks/01_quick_start.ipynb", "notebooks/01_quick_start.md")
    assert turned == "[a](../sweeps.md#measured) [b](03_sweeps.md) [c](../LICENSE)"


def test_a_notebook_as_a_page(tmp_path):
    outputs = [
        {"output_type": "stream", "text": ["one\n", "two\n"]},
        {"data": {"image/png": "AA\nBB", "text/plain": ["<Figure>"]}},
        {"data": {"text/html": ["<b>\n", "x</b>"]}},
        {"data": {"text/html": ['<iframe srcdoc="\n"></iframe>']}},
    ]
    badge = "[![Colab](https://x.invalid/badge.svg)](https://y.invalid)\n"
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", badge]},
        {"cell_type": "code", "source": ["f()"], "outputs": outputs},
    ]
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    expected = [
        "# Title\n", "````python\nf()\n````", "````text\none\ntwo\n````",
        '<img alt="output" src="data:image/png;base64,AABB">',
        '<div class="output"><b> x</b></div>',
        '<div class="output"><iframe srcdoc="&#10;"></iframe></div>',
    ]  # fmt: skip
    assert hooks.notebook(path) == "\n\n".join(expected)
