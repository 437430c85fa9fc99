"""Figures that are sweeps: files, plan, smoke runs, going on, and what is refused."""

import json
import shutil

import pytest

from lica_jax.cli.main import main
from lica_jax.config import preset_names
from lica_jax.reproduce import FIGURES, SCALES
from lica_jax.reproduce.expected import expect, expected_text
from lica_jax.reproduce.experiments import EXPERIMENTS
from lica_jax.reproduce.trained import settings_of

TRAINED = tuple(EXPERIMENTS)
UNMEASURED = {("fig3", "gpu"), ("fig3", "paper")}


@pytest.fixture
def idle(monkeypatch):
    """Makes training anything an error."""

    def run(*_):
        raise AssertionError("something was trained")

    monkeypatch.setattr("lica_jax.sweeps.driver.Driver.run", run)


@pytest.mark.parametrize("figure", TRAINED)
def test_every_file_is_a_sweep_that_can_be_trained(figure):
    """Each scale has the figure's methods under different names, and a time that is expected."""
    for scale in SCALES:
        ask, settings = settings_of(figure, scale)
        assert expect(settings, len(ask.seeds)).known or (figure, scale) in UNMEASURED
        pairs = [(s.config.task, EXPERIMENTS[figure].label(_words(s.config))) for s in settings]
        assert len(set(pairs)) == len(pairs), scale
        assert all(EXPERIMENTS[figure].measures(task) for task, _ in pairs)
    assert "figures" not in preset_names()


def _words(config):
    from lica_jax.config import to_dict

    return to_dict(config)


def test_the_papers_experiments():
    """Section 4: what the paper says that it ran."""
    labels = {f: [EXPERIMENTS[f].label(_words(s.config)) for s in settings_of(f, "paper")[1]]
              for f in TRAINED}  # fmt: skip
    assert set(labels["fig2"]) == {
        "ξ = 0.11", "ξ = 0.06", "β = 0.13", "β = 0.15", "β = 0.17", "ξ = 0.11 (C_MLP)",
        "ξ = 0.05 (C_MLP)",
    }  # fmt: skip
    assert set(labels["fig3"]) == {"LICA", "COMA", "IDDPG", "MADDPG", "SQDDPG"}
    assert set(labels["fig4"]) == {"LICA", "COMA", "LIIR", "VDN", "QMIX", "QTRAN"}
    assert set(labels["fig6"]) == {"LICA", "LICA (C_MLP, ξ = 0.05)", "LICA (Gumbel-Softmax)"}
    ask, settings = settings_of("fig4", "paper")
    budgets = {s.config.task: s.config.total_steps for s in settings}
    assert budgets == dict.fromkeys(("smax/2s3z", "smax/1c3s5z"), 32_000_000) | dict.fromkeys(
        ("smax/5m_vs_6m", "smax/2c_vs_64zg", "smax/MMM2", "smax/3s5z_vs_3s6z"), 64_000_000
    )
    assert len(ask.seeds) == 5
    evaluated = {(s.config.eval.interval, s.config.eval.episodes) for s in settings}
    assert evaluated == {(320_000, 32)}


def test_times_are_steps_over_rates(monkeypatch):
    """By hand: 2 seeds of 1 M env steps at 1,000 a second, and half a minute of compiling."""
    _, settings = settings_of("fig4", "cpu")
    lica = [s for s in settings if s.config.algorithm == "lica"]
    known = {"compile": 30, "steps_per_second": {"fast": {"lica": {"smax/2s3z": 1_000.0}}}}
    monkeypatch.setattr("lica_jax.reproduce.expected.rates", lambda: known)
    on_2s3z, on_5m = (expect([s], 2) for s in lica)
    assert on_2s3z == (2 * 2.5e6 / 1e3 + 30, 0.0, ("lica",), 0)
    assert on_5m.guessed == 1.0 and expected_text(on_5m).startswith("roughly 1 h 24 min")
    assert expect(settings, 2)[2:] == (("lica",), 10)
    assert "for lica, others not measured" in expected_text(expect(settings, 2))
    others = [s for s in settings if s.config.algorithm != "lica"]
    assert expected_text(expect(others, 2)) == "not measured"


def test_the_table(capsys):
    assert main(["reproduce"]) == 0
    text = capsys.readouterr().out
    for words in (*FIGURES, *SCALES, "9,600 M", "180", "expected time"):
        assert words in text
    assert main(["reproduce", "table"]) == 0
    assert capsys.readouterr().out == text


def test_a_dry_run_says_what_and_how_long(tmp_path, capsys, idle):
    out = tmp_path / "o"
    words = ["--algorithms", "lica", "--tasks", "mpe/predator_prey", "--seeds", "0:2"]
    assert main(["reproduce", "fig3", "--out", str(out), "--dry-run", *words]) == 0
    text = capsys.readouterr().out
    assert "scale cpu" in text and "methods  LICA\n" in text and "runs     2, 2 seeds" in text
    assert "section 4.1" in text and "time  " in text and not out.exists()


def smoke(figure, out, capsys):
    """Makes a figure at smoke; what it printed, and what its JSON holds."""
    argv = ["reproduce", figure, "--scale", "smoke", "--out", str(out), "--progress", "none"]
    assert main(argv) == 0
    text = capsys.readouterr().out
    names = [f"{figure}{part}" for part in (".json", ".pdf", ".png", "_iqm.pdf", "_iqm.png")]
    assert sorted(p.name for p in out.iterdir()) == sorted([*names, "reproduce.json", "sweep"])
    for name in names:
        assert str(out / name) in text
    return text, json.loads((out / f"{figure}.json").read_text())


def test_figures_at_smoke(tmp_path, capsys, monkeypatch):
    """Figures 3 and 6 from the command to the files; with --resume nothing is trained again."""
    text, found = smoke("fig3", tmp_path / "fig3", capsys)
    (panel,) = found["panels"]
    assert panel["x"] == "episodes" and panel["methods"][0]["seeds"] == [0, 1, 2]
    assert all(-100 < reward < 0 for reward in panel["methods"][0]["final"]["runs"])
    assert "mean ± std" in text

    out = tmp_path / "fig6"
    text, found = smoke("fig6", out, capsys)
    (panel,) = found["panels"]
    assert [m["label"] for m in panel["methods"]] == ["LICA", "LICA (C_MLP, ξ = 0.05)"]
    assert all(0 <= rate <= 1 for m in panel["methods"] for rate in m["median"])

    before = (out / "fig6.json").read_text()
    (out / "fig6.png").unlink()
    again = ["reproduce", "fig6", "--scale", "smoke", "--out", str(out), "--resume"]
    monkeypatch.setattr("lica_jax.sweeps.wave.train_wave", None)  # would fail
    assert main(again) == 0
    assert (out / "fig6.json").read_text() == before and (out / "fig6.png").exists()
    assert main([*again[:4], "--out", str(out)]) == 2
    assert "go on with --resume" in capsys.readouterr().err

    # The same runs in two folders, the second method's first, are the same figure.
    parts, whole = [tmp_path / "b", tmp_path / "a"], out / "sweep" / "runs"
    for part, ours in zip(parts, ("0003 0005", "0000 0001 0002 0004"), strict=True):
        shutil.copytree(out, part)
        for run in whole.iterdir():
            if run.name not in ours:
                shutil.rmtree(part / "sweep" / "runs" / run.name)
    gather = [*again[:4], "--gather", *map(str, parts), "--out"]
    assert main([*gather, str(tmp_path / "together")]) == 0
    assert f"{parts[0]}: 2 of 6 runs have come to their ends" in capsys.readouterr().out
    assert (tmp_path / "together" / "fig6.json").read_text() == before
    assert main([*gather[:-1], str(out), "--out", str(tmp_path / "twice")]) == 2
    assert "are both lica on smax/" in capsys.readouterr().err and not (tmp_path / "twice").exists()

    # Of one part alone what it lacks is said; a run with another setting is refused.
    alone = [*again[:4], "--gather", str(parts[0]), "--out"]
    assert main([*alone, str(tmp_path / "alone")]) == 0
    told = "Not here: lica on smax/5m_vs_6m, preset fast+xi_0.11."
    assert told in capsys.readouterr().out
    assert told in json.loads((tmp_path / "alone" / "fig6.json").read_text())["notes"]
    changed = parts[0] / "sweep" / "runs" / "0005" / "config.json"
    config = json.loads(changed.read_text())
    config["hp"]["actor_lr"] = 0.5
    changed.write_text(json.dumps(config))
    assert main([*alone, str(tmp_path / "mixed")]) == 2
    assert "but differ in hp.actor_lr (" in capsys.readouterr().err
    changed.write_text("{}")
    assert main([*alone, str(tmp_path / "mixed")]) == 2
    assert "config.json is damaged" in capsys.readouterr().err
    assert not (tmp_path / "mixed").exists()


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["fig2", "fig4"])
def test_more_figures_at_smoke(figure, tmp_path, capsys):
    _, found = smoke(figure, tmp_path / "o", capsys)
    assert len(found["panels"]) == (2 if figure == "fig2" else 1)


def test_stopped_it_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    """Its own command, not the sweep's; what was begun goes on."""
    out = tmp_path / "o"

    def stop(work, waves):
        raise KeyboardInterrupt

    monkeypatch.setattr("lica_jax.sweeps.opening.find_launcher", lambda name: stop)
    argv = ["reproduce", "fig6", "--scale", "smoke", "--out", str(out)]
    assert main(argv) == 130
    assert f"continue with: lica-jax {' '.join(argv)} --resume" in capsys.readouterr().err
    assert main([*argv, "--resume"]) == 130  # stopped again
    assert main(argv) == 2


BAD = {
    "near name": (["fig33", "--out", "o"], "did you mean"),
    "scale": (["fig3", "--out", "o", "--scale", "gppu"], "unknown scale 'gppu'; did you mean gpu"),
    "nowhere": (["fig3"], "--out is missing"),
    "full": (["fig3", "--out", "full"], "--out full is not empty; go on with --resume"),
    "a file": (["fig3", "--out", "file"], "--out file is a file"),
    "nothing there": (["fig3", "--out", "full", "--resume"], "holds no figure's runs"),
    "another": (["fig3", "--out", "held", "--resume"], "holds fig4 at scale smoke, not fig3"),
    "damaged": (["fig3", "--out", "damaged", "--resume"], "is damaged"),
    "not begun": (["fig3", "--out", "new", "--resume"], "leave out --resume"),
    "not its flag": (["fig3", "--out", "o", "--inits", "3"], "fig3 takes no --inits"),
    "no sweep": (["fig5", "--out", "o", "--resume"], "fig5 takes no --resume"),
    "no starts": (["fig2a", "--out", "o", "--seed", "3"], "fig2a takes no --seed"),
    "algorithm": (["fig3", "--out", "o", "--algorithms", "qmix"], "of this figure and scale"),
    "task": (["fig4", "--out", "o", "--tasks", "smax/2s3zz"], "did you mean smax/2s3z"),
    "wave": (["fig3", "--out", "o", "--wave", "0"], "wave must be at least 1"),
    "seeds": (["fig3", "--out", "o", "--seeds", "5:5"], "at least one seed"),
    "both": (["fig3", "--out", "held", "--resume", "--tasks", "mpe/predator_prey"], "leave out"),
    "a table": (["table", "--out", "o"], "takes no flags, got --out o"),
    "no figure": (["--resume"], "name a figure: "),
    "no figure, with a place": (["--out", "o"], "takes no flags, got --out o"),
    "gather nothing": (["fig3", "--gather", "o", "--out", "p"], "--gather o is not a directory"),
    "gather what": (["fig3", "--gather", "full", "--out", "p"], "--gather full holds no figure's"),
    "gather another": (["fig3", "--gather", "held", "--out", "p"], "--gather held holds fig4"),
    "gather and run": (["fig3", "--gather", "new", "--seeds", "1", "--out", "p"], "trains nothing"),
    "gathered none": (["fig3", "--gather", "new", "--out", "p"], "there is nothing to draw"),
    "gather over": (["fig3", "--gather", "new", "--out", "full"], "--out full is there already"),
    "below a file": (["fig6", "--out", "file/o", "--scale", "smoke"], "cannot be written"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_exit_code_2(case, tmp_path, monkeypatch, capfd, idle):
    (tmp_path / "file").write_text("x")
    for folder, text in (("full", None), ("held", {"figure": "fig4", "scale": "smoke"})):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "notes.txt").write_text("precious")
        if text:
            (tmp_path / folder / "reproduce.json").write_text(json.dumps(text))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "reproduce.json").write_text('{"figure": "fig3", "scale": "cpu"}')
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "reproduce.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    before = {p: p.is_file() and p.read_text() for p in tmp_path.rglob("*")}
    argv, words = BAD[case]
    assert main(["reproduce", *argv]) == 2
    err = capfd.readouterr().err
    assert words in err and err.count("error:") == 1 and "Traceback" not in err
    assert before == {p: p.is_file() and p.read_text() for p in tmp_path.rglob("*")}
