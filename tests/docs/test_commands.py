"""Every `lica-jax` command that the pages show is one that this version takes."""

import contextlib
import re
import shlex
from pathlib import Path

import pytest

from lica_jax.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES.remove(ROOT / "docs" / "reference" / "command_line.md")  # what the program itself says
# What only the reader has: FILE.yaml, a variable, a module that a page writes, the game itself.
PLACEHOLDER = re.compile(r"^[A-Z]{2,}(\.yaml)?$|^\$|^my_|^a\.yaml$|^smac/")


def commands(text: str) -> list[list[str]]:
    """The words behind `lica-jax` of the commands in a page's code blocks."""
    found, language = [], None  # None: outside of a block
    for line in text.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("```"):
            language = line.strip(" `") if language is None else None
        line = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
        if language in ("", "bash", "console") and line.startswith("lica-jax "):
            words = shlex.split(line, comments=True)[1:]
            found.append(words[: words.index(">")] if ">" in words else words)
    return found


def all_commands() -> list[tuple[str, ...]]:
    words = {tuple(words) for page in PAGES for words in commands(page.read_text())}
    return sorted(words)


def test_commands_are_found():
    text = (
        "```bash\nlica-jax train lica \\\n  smax/3m  # why\nmake\n```\n"
        "```\n$ lica-jax list > out\n```\n"
    )
    assert commands(text) == [["train", "lica", "smax/3m"], ["list"]]
    assert len(all_commands()) > 100


def test_options_of_the_commands_exist(capsys):
    """Those of a command itself, and for sweeps what is a setting of training."""

    def helped(*words: str) -> str:
        with contextlib.suppress(SystemExit):
            assert main([*words, "--help"]) == 0
        return capsys.readouterr().out

    settings, shown = helped("train", "lica", "smax/3m"), {}
    for words in all_commands():
        command = words[:2] if words[0] == "sc2" else words[:1]
        if command not in shown:
            shown[command] = helped(*command)
            if command[0] in ("train", "sweep"):
                shown[command] += settings
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        options -= {o for o in options if o.startswith(("--algo.", "--hp."))}  # of any algorithm
        assert not [o for o in options if not re.search(rf"{o}\b", shown[command])], words


def is_planned(words: tuple[str, ...]) -> bool:
    """Whether the command trains as it stands, in any directory and without StarCraft II."""
    elsewhere = {"--resume", "--help", "--dump-config"}.intersection(words)
    trains = words[0] in ("train", "sweep") and not elsewhere
    return trains and not any(PLACEHOLDER.search(word) for word in words)


@pytest.mark.slow  # a second or two for each of ninety
@pytest.mark.parametrize("words", [*filter(is_planned, all_commands())], ids=" ".join)
def test_training_as_the_pages_say(words, tmp_path, monkeypatch, capsys):
    """Every setting, preset and task of it is accepted, and the memory is there."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    dry = [] if "--dry-run" in words else ["--dry-run"]
    assert main([*words, *dry]) == 0, capsys.readouterr().err
