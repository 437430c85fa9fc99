"""Bad words, folders and arguments: one message, exit code 2, nothing compiled or changed."""

import json
import os
from pathlib import Path

import pytest

from lica_jax import UserError, evaluate, train
from lica_jax.cli.main import main
from lica_jax.config import load_config, resolve, to_dict
from lica_jax.envs import make_task

MATCH = ["train", "lica", "probe/match"]
RESUME = ["train", "--resume", "--run-dir", "run"]
LONG, DEEP = "x" * 300, "[" * 200_000

# Commands by what is wrong with them, and words of the message.
WORDS = {
    "nowhere to write": (["reproduce", "fig5", "--out", ""], "the word after '--out' is empty"),
    "an unset variable": (["reproduce", "fig5", "--out="], "--out has an empty value"),
    "no run directory": ([*MATCH, "--run-dir", ""], "after '--run-dir' is empty"),
    "a blank one": ([*MATCH, "--run-dir", "  "], "after '--run-dir' is empty"),
    "no task to play": (["eval", "run", "--task", ""], "after '--task' is empty"),
    "no policy": (["eval", ""], "after 'eval' is empty"),
    "no name": (["train", "", "smax/3m"], "after 'train' is empty"),
    "no task": (["train", "lica", ""], "after 'lica' is empty"),
    "no file": (["train", "--config", ""], "after '--config' is empty"),
    "no plugin": ([*MATCH, "--plugin", ""], "after '--plugin' is empty"),
    "no number": ([*MATCH, "--hp.gamma="], "--hp.gamma has an empty value"),
    "no kind": (["list", ""], "after 'list' is empty"),
    "no options": (["train", "lica", "smax/3m:"], "options are written as smax/3m:a=x,b=y"),
    "options of nothing": (["train", "lica", "smax/3m:,"], "options are written as"),
    "an option without a value": (["train", "lica", "smax/3m:reward="], "options are written as"),
    "an option too few": (["train", "lica", "smax/3m:reward=smac,"], "options are written as"),
    "undecodable": ([*MATCH, "--run-dir", "a\udcff"], "'a\\udcff' is no text"),
    "undecodable figures": (["reproduce", "fig5", "--out", "\udc80"], "is no text"),
    "undecodable policy": (["eval", "\udc80"], "is no text"),
    "two lines": ([*MATCH, "--run-dir", "a\nb"], "'a\\nb' is no text"),
    "a zero": ([*MATCH, "--run-dir", "a\0b"], "'a\\x00b' is no text"),
    "a long name": ([*MATCH, "--run-dir", LONG], "--run-dir cannot be xxx"),
    "a long way": ([*MATCH, "--run-dir", "x/" * 3000], "--run-dir cannot be x/x/"),
    "a long name to resume": ([*RESUME[:-1], LONG], "--run-dir cannot be xxx"),
    "a long name of a policy": (["eval", LONG], "path cannot be xxx"),
    "a long name for figures": (["reproduce", "fig5", "--out", LONG], "--out cannot be xxx"),
    "a long name of settings": (["train", "--config", LONG], "--config cannot be xxx"),
    "on and off": (
        [*MATCH, "--algo.target-critic", "--algo.no-target-critic"],
        "--algo.target-critic and --algo.no-target-critic contradict each other",
    ),
    "off and on": (
        [*MATCH, "--algo.no_target_critic", "--algo.target_critic=true"],
        "contradict each other",
    ),
    "two ends": ([*MATCH, "--dry-run", "--dump-config"], "choose one"),
    "names and a file": ([*MATCH, "--config", "a.yaml"], "leave out lica probe/match"),
    "two files": (["train", "a.yaml", "--config", "a.yaml"], "leave out a.yaml"),
    "a file of a run": ([*RESUME, "--config", "a.yaml"], "leave out --config"),
    "a file that is not there": (["train", "--config", "b.yaml"], "no settings at b.yaml"),
    "a folder as a file": (["train", "--config", "run"], "no settings at run"),
    "a plan of nothing": (["train", "--dry-run"], "needs an algorithm and a task"),
    "a plan of too much": ([*MATCH, "--dry-run", "--total-steps", "3"], "one iteration"),
    "a plan in a full place": ([*MATCH, "--dry-run", "--run-dir", "run"], "already holds a run"),
    "a plan that cannot go on": (
        ["train", "--dry-run", "--resume", "--run-dir", "full"], "no config.json",
    ),
    "a file's place": ([*MATCH, "--run-dir", "a.yaml"], "is a file"),
    "below a file": ([*MATCH, "--run-dir", "a.yaml/b"], "cannot be written"),
    "somebody's folder": ([*MATCH, "--run-dir", "full"], "is not empty"),
    "nobody's run": ([*RESUME[:-1], "full"], "no config.json"),
    "no range": ([*MATCH, "--seeds", "5:5"], "at least one seed"),
    "a long range": ([*MATCH, "--seeds", "0:900000"], "at most 100,000"),
    "twice the same": ([*MATCH, "--seeds", "0:3", "1"], "seeds must differ"),
    "a date": ([*MATCH, "--hp.gamma", "2001-99-99"], "hp.gamma: "),
    "a deep number": ([*MATCH, "--hp.gamma", DEEP], "hp.gamma: "),
    "a long number": ([*MATCH, "--total-steps", "9" * 5000], "total_steps: "),
    "a number without end": ([*MATCH, "--total-steps", "1e400"], "total_steps: "),
    "episodes without end": (["eval", "run", "--episodes", "1e400"], "--episodes"),
    "episodes without number": (["eval", "run", "--episodes", "9" * 5000], "--episodes"),
    "a speed of nothing": (["bench"], "TASK"),
    "a speed of no task": (["bench", "smax/2s3"], "did you mean smax/2s3z"),
    "a speed of no algorithm": (
        ["bench", "probe/match", "--algorithm", "lica", "licka"], "unknown algorithm 'licka'",
    ),
    "a speed of no preset": (["bench", "probe/match", "--preset", "quick"], "preset"),
    "a speed of no environment": (["bench", "probe/match", "--envs", "0"], "collect.envs"),
    "a speed of no number": (["bench", "probe/match", "--envs", "many"], "--envs"),
    "a speed without end": (["bench", "probe/match", "--seconds", "inf"], "no number of seconds"),
    "a speed of no chip": (["bench", "probe/match", "--device", "tpu"], "JAX runs on cpu here"),
    "a speed of no kind": (["bench", "probe/match", "--device", "npu"], "--device"),
    "a speed of too many": (
        ["bench", "probe/match", "--algorithm", "mappo", "--envs", "4", "5"], "minibatches",
    ),
    "a plugin of no name": ([*MATCH, "--plugin", "a b"], "name of a module"),
    "a plugin of ours": ([*MATCH, "--plugin", "lica_jax.api"], "is no plugin"),
}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a run that has a checkpoint, somebody's folder and a file."""
    monkeypatch.chdir(tmp_path)
    config = resolve(load_config("lica", "probe/match"), make_task("probe/match").spec)
    Path("run/checkpoints/7").mkdir(parents=True)
    Path("run/config.json").write_text(json.dumps(to_dict(config)))
    Path("run/command.txt").write_text("lica-jax train\n")
    Path("full").mkdir()
    Path("full/thesis.txt").write_text("x")
    Path("a.yaml").write_text("algorithm: lica\ntask: probe/match\n")
    return tmp_path


def tree(folder):
    return {p: os.readlink(p) if p.is_symlink() else p.is_file() and p.read_bytes()
            for p in folder.rglob("*")}  # fmt: skip


def refused(argv, words, here, capfd, programs):
    before = tree(here)
    assert main(argv) == 2
    out = capfd.readouterr()
    assert words in out.err and out.err.startswith("error: "), out.err[:2000]
    assert "Traceback" not in out.err and out.out == "" and not programs
    assert tree(here) == before


@pytest.mark.parametrize("case", WORDS)
def test_words_that_no_command_can_take(case, here, capfd, programs):
    refused(*WORDS[case], here, capfd, programs)


def _folder(name):
    path = Path("run") / name
    path.unlink(missing_ok=True)
    path.mkdir()


def _link(name):
    path = Path("run") / name
    path.unlink(missing_ok=True)
    path.symlink_to(Path("a.yaml").resolve())


def _text(name, text):
    (Path("run") / name).write_text(text)


FOLDERS = {
    "nested deeply": (lambda: _text("config.json", DEEP), "config.json is damaged"),
    "nested objects": (lambda: _text("config.json", '{"a":' * 10_000), "config.json is damaged"),
    "a long number": (lambda: _text("config.json", "9" * 5000), "config.json is damaged"),
    "a list": (lambda: _text("config.json", "[]"), "not a lica_jax configuration"),
    "half a file": (lambda: _text("config.json", '{"algorithm"'), "config.json is damaged"),
    "no file": (lambda: _folder("config.json"), "no config.json"),
    "deep runs": (lambda: _text("runs.json", DEEP), "runs.json is damaged"),
    "a folder of commands": (lambda: _folder("command.txt"), "must be a file, not a folder"),
    "a link to a victim": (lambda: _link("command.txt"), "must be a file, not a link"),
    "a lock elsewhere": (lambda: _link(".lock"), "must be a file, not a link"),
    "rows elsewhere": (lambda: _link("metrics.jsonl"), "must be a file, not a link"),
    "a folder of rows": (lambda: _folder("eval.jsonl"), "must be a file, not a folder"),
    "replays in a file": (lambda: _text("replays", "x"), "must be a folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS)
def test_run_directories_that_cannot_go_on(case, here, capfd, programs):
    harm, words = FOLDERS[case]
    harm()
    refused(RESUME, words, here, capfd, programs)


CALLS = {
    "a number for a folder": (lambda: train("lica", "smax/3m", run_dir=1), "must be a path"),
    "an empty folder": (lambda: train("lica", "smax/3m", run_dir=""), "run_dir must be a path"),
    "bytes for a folder": (lambda: train("lica", "smax/3m", run_dir=b"a"), "must be a path"),
    "a long folder": (lambda: train("lica", "smax/3m", run_dir=Path(LONG)), "run_dir cannot be"),
    "no display": (lambda: train("lica", "smax/3m", display=None), "unknown display None"),
    "a number for a display": (lambda: train("lica", "smax/3m", display=3), "unknown display 3"),
    "bytes for seeds": (lambda: train("lica", "smax/3m", seeds=b"lica"), "seeds must be"),
    "a text for seeds": (lambda: train("lica", "smax/3m", seeds="012"), "seeds must be"),
    "a mapping for seeds": (lambda: train("lica", "smax/3m", seeds={0: 1}), "seeds must be"),
    "no options": (lambda: make_task("smax/3m:"), "options are written as"),
    "no policy": (lambda: evaluate(None), "policy must be a path"),
    "a number for a policy": (lambda: evaluate(3), "policy must be a path"),
    "an empty policy": (lambda: evaluate(""), "policy must be a path"),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_arguments_of_wrong_types(case, here, programs):
    call, words = CALLS[case]
    before = tree(here)
    with pytest.raises(UserError) as error:
        call()
    assert words in str(error.value) and not programs and tree(here) == before
