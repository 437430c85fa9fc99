"""``lica-jax reproduce``: what it writes and says, and what it refuses."""

import json

import numpy as np
import pytest

from lica_jax.cli.main import main
from lica_jax.reproduce import FIGURES, SCALES, fig5

SMALL = ["--inits", "20", "--iterations", "3"]


def test_figure_5(tmp_path, capsys):
    out = tmp_path / "a" / "b"
    assert main(["reproduce", "fig5", "--out", str(out), *SMALL, "--seed", "4"]) == 0
    text = capsys.readouterr().out
    for words in ("(1,0)", "(0,1)", "(0,0)", "(1,1)", "lica", "coma_repo", "coma_on_policy"):
        assert words in text
    assert sorted(p.name for p in out.iterdir()) == ["fig5.json", "fig5.pdf", "fig5.png"]
    assert all(str(p) in text for p in out.iterdir())
    settings = json.loads((out / "fig5.json").read_text())["settings"]
    assert (settings["inits"], settings["iterations"], settings["seed"]) == (20, 3, 4)


@pytest.fixture
def idle(monkeypatch):
    """Makes compiling or running anything an error."""

    def timed(*_):
        raise AssertionError("something was run")

    monkeypatch.setattr(fig5, "_timed", timed)


BAD = {
    "near name": (["fig55", "--out", "o"], "did you mean fig5"),
    "far name": (["walrus", "--out", "o"], "known: fig2, fig2a"),
    "scale": (["fig5", "--out", "o", "--scale", "tiny"], "known: cpu, gpu, paper, smoke"),
    "nowhere": (["fig5"], "--out"),
    "no inits": (["fig5", "--out", "o", "--inits", "0"], "--inits must be at least 1, got 0"),
    "negative": (["fig5", "--out", "o", "--iterations", "-3"], "--iterations must be at least 1"),
    "both": (["fig5", "--out", "o", "--inits", "0", "--iterations", "0"], "; --iterations"),
    "half": (["fig5", "--out", "o", "--inits", "2.5"], "--inits"),
    "word": (["fig5", "--out", "o", "--iterations", "many"], "--iterations"),
    "seed": (["fig5", "--out", "o", "--seed", "-1"], "--seed must be within"),
    "large seed": (["fig5", "--out", "o", "--seed", "2147483648"], "--seed must be within"),
    "too many": (["fig5", "--out", "o", "--inits", "1e13"], "GiB are free; use fewer --inits"),
    "too long": (["fig5", "--out", "o", "--iterations", "1e13"], "GiB are free"),
    "misspelled": (["fig5", "--out", "o", "--init", "5"], "did you mean --inits"),
    "a file": (["fig5", "--out", "file"], "is a file"),
    "below a file": (["fig5", "--out", "file/o"], "cannot be written"),
    "not empty": (["fig5", "--out", "full"], "already holds fig5.json"),
    "partly there": (["fig5", "--out", "partly", *SMALL], "already holds fig5.pdf"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_exit_code_2(case, tmp_path, monkeypatch, capfd, idle):
    (tmp_path / "file").write_text("x")
    for folder, name in (("full", "fig5.json"), ("partly", "fig5.pdf")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("precious")
    monkeypatch.chdir(tmp_path)
    before = {p: p.is_file() and p.read_text() for p in tmp_path.rglob("*")}
    argv, words = BAD[case]
    assert main(["reproduce", *argv]) == 2
    out = capfd.readouterr()
    assert words in out.err and out.err.startswith("error: ") and out.err.count("error:") == 1
    assert "Traceback" not in out.err and out.out == ""
    assert before == {p: p.is_file() and p.read_text() for p in tmp_path.rglob("*")}


def test_overwrite_replaces_only_its_own_files(tmp_path, monkeypatch):
    probs = np.random.default_rng(0).random((20, 3, 2))
    monkeypatch.setattr(fig5, "_timed", lambda *_: (probs, {"compile": 0.0, "run": 0.0}))
    monkeypatch.setattr(fig5, "begin", lambda _: ((None, None), {}))
    (tmp_path / "fig5.json").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["reproduce", "fig5", "--out", str(tmp_path), *SMALL, "--overwrite"]) == 0
    assert json.loads((tmp_path / "fig5.json").read_text())["figure"] == "fig5"
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 4


def test_help_and_registry(capsys):
    assert main(["--help"]) == 0
    assert "reproduce a figure of the paper" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for words in ("fig5", "--scale", "--out", "--inits", "--iterations", "--seed", "--overwrite"):
        assert words in out
    import importlib

    for module in FIGURES.values():
        assert callable(importlib.import_module(module).reproduce)


def test_scales_of_figure_5(tmp_path, monkeypatch, capsys):
    """Only smoke has fewer starts than the paper; what is said wins."""
    asked = []
    monkeypatch.setattr(fig5, "reproduce", lambda out, **given: asked.append(given))
    for words in ([], *(["--scale", scale] for scale in SCALES), ["--inits", "7"]):
        assert main(["reproduce", "fig5", "--out", str(tmp_path), *words]) == 0
    assert [given["inits"] for given in asked] == [20_000, 200, 20_000, 20_000, 20_000, 7]
    assert all("iterations" not in given for given in asked)
