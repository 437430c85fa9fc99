"""The pages that the code writes are current, and the site builds without a warning, offline."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lica_jax.statistics import __all__ as STATISTICS

ROOT = Path(__file__).parents[2]


def test_the_reference_is_what_the_code_says():
    """In a process of its own: others have registered algorithms by now."""
    command = [sys.executable, "docs/build.py", "--check"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}run `python docs/build.py`"


def test_battles_of_the_pages_are_shown_by_the_viewer_of_now():
    """What is around the recorded numbers: `lica-jax render` again where it has changed."""
    viewer = (ROOT / "lica_jax" / "rendering" / "viewer.html").read_text()
    battles = list((ROOT / "docs" / "images").glob("battle_*.html"))
    assert battles
    for battle in battles:
        page, at = battle.read_text(), 0
        for part in re.split("__(?:TITLE|FACTS|BLOCK)__", viewer):
            found = page.find(part, at)
            assert found >= 0, f"{battle.name}: {part[:60]!r}"
            at = found + len(part)


def test_every_setting_is_listed():
    """Of every algorithm, with what it means."""
    from lica_jax.algorithms import algorithm_names, find_algorithm
    from lica_jax.config import load_config
    from lica_jax.config.schema import settings

    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    ours = [name for name in algorithm_names() if not find_algorithm(name).plugin]
    names = {s.name for a in ours for s in settings(load_config(a, "probe/match"))}
    assert not [name for name in names if f"| `{name}` |" not in page]
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) >= len(names) > 90
    assert not [row[0] for row in rows if not row[3].strip(" |")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: the extra `docs` has it")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_site_has_every_page(site):
    pages = [p.relative_to(ROOT / "docs") for p in ROOT.glob("docs/**/*.md")]
    pages += [p.relative_to(ROOT) for p in ROOT.glob("notebooks/*.ipynb")]
    missing = [page for page in pages if not (site / page).with_suffix(".html").is_file()]
    assert not missing
    home = (site / "index.html").read_text()  # which every page is to be found from
    assert not [p for p in pages if p.with_suffix(".html").as_posix() not in home]


def test_the_site_asks_nothing_of_other_servers(site):
    loads = re.compile(
        r"<(?:script|img|iframe|source)[^>]*\ssrc=\"(https?:|//)[^>]*>|<link[^>]*href=\"(?:https?:|//)[^>]*>"
    )
    for page in site.rglob("*.html"):
        found = [m[0] for m in loads.finditer(page.read_text()) if 'rel="canonical"' not in m[0]]
        assert not found, page
    assert not re.findall(
        r"url\(\s*[\"']?https?:", "".join(p.read_text() for p in site.rglob("*.css"))
    )
    assert len(list(site.rglob("*.html"))) > 40


def test_the_python_reference_is_filled_in(site):
    page = (site / "reference" / "python.html").read_text()
    for name in ("train", "evaluate", "load_policy", "sweep", "make_task", "UserError"):
        assert f'id="lica_jax.{name}"' in page, name
    for name in (
        "core.returns.lambda_returns", "core.entropy.entropy_bonus", "core.losses.critic_loss",
        "core.masking.masked_softmax", "networks.critics.MixingCritic", "diagnose",
        "networks.mixers.MonotonicMixer", "networks.agents.RecurrentAgent",
        *(f"statistics.{name}" for name in STATISTICS if name.lower() == name),
    ):  # fmt: skip
        assert f'id="lica_jax.{name}"' in page, name
    assert ":::" not in page
