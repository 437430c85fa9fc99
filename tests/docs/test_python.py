"""Python on the pages runs as it stands, and its comments say what comes out."""

import pkgutil
import re
from pathlib import Path

import pytest

import lica_jax

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHAPE = re.compile(r"^(\w+) = .*  # \[([^\]]*)\]", re.MULTILINE)
ESTIMATE = re.compile(r"^(statistics\..*)  # .*?(Estimate\(.*\))$", re.MULTILINE)


def blocks(page: str) -> list[str]:
    return BLOCK.findall((DOCS / page).read_text())


@pytest.fixture(scope="module")
def library():
    """The names that the page about parts leaves behind."""
    (code,) = blocks("library.md")
    names: dict = {}
    exec(code, names)
    return names


def test_arrays_of_the_library_page_have_the_shapes_of_its_comments(library):
    (code,) = blocks("library.md")
    told = SHAPE.findall(code)
    assert len(told) >= 10
    for name, sizes in told:
        assert library[name].shape == eval(f"({sizes},)" if sizes else "()", library), name


def test_the_update_of_the_library_page_is_a_sound_one(library):
    slope, valid, terminal = library["slope"], library["valid"], library["terminal"]
    assert bool(abs(slope[valid]).max() > 0) and not slope[~valid].any()
    assert not slope[..., 0].any()  # of an action that nobody may take
    assert library["target"][terminal] == library["reward"][terminal]
    assert 0 < library["loss"] < 100


def test_the_library_page_names_every_module():
    page = (DOCS / "library.md").read_text()
    for package in (lica_jax.core, lica_jax.networks):
        short = package.__name__.removeprefix("lica_jax.")
        names = [f"`{short}.{module.name}`" for module in pkgutil.iter_modules(package.__path__)]
        assert not [name for name in names if name not in page]
    for module in re.findall(r"^\| .*?`((?:core|networks)\.\w+)`", page, re.MULTILINE):
        part, name = module.split(".")
        assert getattr(getattr(lica_jax, part), name).__name__ == f"lica_jax.{module}"


def test_statistics_of_the_report_page_come_out_as_said():
    (code,) = [block for block in blocks("report.md") if "from lica_jax import statistics" in block]
    names: dict = {}
    exec(code, names)
    told = ESTIMATE.findall(code)
    assert len(told) == 3
    for call, said in told:
        assert repr(eval(call, names)) == said


def test_the_loop_of_the_migration_page_plays():
    (code,) = blocks("coming_from.md")
    names: dict = {}
    exec(code, names)
    reward, over, won = (names[name] for name in ("reward", "over", "won"))
    assert reward.shape == over.shape == won.shape == (100, 512) and bool(over.any(0).all())
    assert not over[1:][over[:-1]].any()  # the step behind an end is the reset, and never an end
    assert not reward[1:][over[:-1]].any() and 0 <= names["win_rate"] < 0.1


def test_the_scan_of_the_policies_page_wins():
    """About as often as the policy's record says, .84 by sampling."""
    (code,) = [block for block in blocks("policies.md") if "def wins" in block]
    names: dict = {}
    exec(code, names)
    assert names["wins"](names["jax"].random.key(1)).shape == (512,)
    assert 0.7 < float(names["win_rate"]) < 0.95
