"""The command line: what it leaves behind, and what it refuses."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lica_jax
from lica_jax import UserError, load_policy, train
from lica_jax.cli.main import main
from lica_jax.cli.settings import flagged, parse_settings
from lica_jax.cli.train import resumed_config
from lica_jax.config import load_config, merge, to_dict
from lica_jax.runs import messages

FAST = [
    "--total-steps=1e3", "--collect.envs", "4", "--collect.length", "4", "--log-interval", "64",
    "--algo.hidden", "8", "--algo.mixing-embed", "8", "--algo.hypernet-hidden", "8",
    "--eval.episodes", "8", "--eval.final-episodes", "16", "--progress", "plain",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", "lica", "probe/match", *FAST, "--run-dir", str(run_dir)]) == 0
    return run_dir


def test_settings_reach_the_run(tmp_path):
    code = main([
        "train", "lica", "probe/match", *FAST, "--run-dir", str(tmp_path / "r"),
        "--seeds", "3", "5", "--hp.entropy-coef", "0.25", "--algo.no-share-params",
    ])  # fmt: skip
    assert code == 0
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert config["seeds"] == [3, 5] and config["total_steps"] == 1000
    assert config["hp"]["entropy_coef"] == 0.25 and config["algo"]["share_params"] is False


def test_training_tells_what_happens(tmp_path, capfd):
    main(["train", "lica", "probe/match", *FAST, "--run-dir", str(tmp_path / "r")])
    out = capfd.readouterr()
    for words in (
        "uniformly random policy: return",
        "eval at",
        "last policy",
        "best policy",
        "rewards as they are",
    ):
        assert words in out.err
    assert str(tmp_path / "r") in out.out


def test_an_untrained_best_policy_is_told():
    assert messages._untrained([7], "seeds") == messages._untrained([7, 9], "seeds") == ""
    assert messages._untrained([0], "seeds").startswith(" (the untrained one: no later evaluation")
    assert " of 2 of 3 runs" in messages._untrained([0, 5, 0], "runs")


def test_what_a_run_was_made_with(tmp_path, run):
    """What was set beside the preset, but for what the task decides, and the precision."""
    made = json.loads((run / "versions.json").read_text())
    config = json.loads((run / "config.json").read_text())
    assert made["precision"] == "float32" and "collect.envs" in made["beside_preset"]
    assert config["hp"]["reward_scale"] == 1.0
    assert not {"hp.reward_scale", "hp.gamma", "algo.actor"} & set(made["beside_preset"])


def test_a_flag_that_is_given_twice_is_told(capfd):
    words = ["--seeds", "4", "--total-steps", "1000", "--seeds", "0", "7", "--run-dir", "x"]
    assert main(["train", "lica", "probe/match", *words, "--run-dir", "y", "--dump-config"]) == 0
    told = capfd.readouterr().err
    assert told.count("--seeds is given twice: the last one counts") == 1
    assert told.count("--run-dir is given twice") == 1 and told.count("twice") == 2


def test_output_of_another_encoding():
    """A mark for what it does not have, instead of an error behind all work."""
    code = (
        "import lica_jax.cli.main as m; "
        "print(m.run_command(lambda words: print('entropy of \u03c0') or 0, []))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True,
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
    )  # fmt: skip
    assert done.stdout.split() == [b"entropy", b"of", b"?", b"0"]


def test_eval_prints_both_modes(run, capsys):
    assert main(["eval", str(run), "--episodes", "20", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["task"] == "probe/match"
    assert result["greedy"]["episodes"] >= 20 and result["sampled"]["episodes"] >= 20
    assert main(["eval", str(run / "policy.safetensors"), "--episodes", "20"]) == 0
    text = capsys.readouterr().out
    assert "greedy" in text and "sampled" in text and "return" in text
    figures = result["greedy"]
    low, high = figures["return_mean_ci95"]
    assert low <= figures["return_mean"] <= high
    assert f"[{low:.3f}, {high:.3f}]" in text


def test_resume_extends_a_run(run, tmp_path):
    import shutil

    shutil.copytree(run, tmp_path / "r")
    assert (
        main(["train", "--resume", "--run-dir", str(tmp_path / "r"), "--total-steps", "2e3"]) == 0
    )
    assert json.loads((tmp_path / "r" / "result.json").read_text())["env_steps"][0] >= 2000
    assert len((tmp_path / "r" / "command.txt").read_text().splitlines()) == 2


def test_one_command_begins_a_run_and_continues_it(tmp_path, capfd):
    """As a job that a cluster kills and starts again: by names, or by a file."""
    (tmp_path / "a.yaml").write_text("algorithm: lica\ntask: probe/match\ntotal_steps: 1000")
    for i, names in enumerate((["lica", "probe/match"], [str(tmp_path / "a.yaml")])):
        where = ["--run-dir", str(tmp_path / f"r{i}"), "--auto-resume"]
        for total in ("1e3", "1e3", "2e3"):
            assert main(["train", *names, *FAST, *where, "--total-steps", total]) == 0
        result = json.loads((tmp_path / f"r{i}" / "result.json").read_text())
        assert result["env_steps"][0] >= 2000
        # The second found it at its end, and touched nothing.
        assert len((tmp_path / f"r{i}" / "command.txt").read_text().splitlines()) == 2
        assert "r0 has come to its end already\nafter 1," in capfd.readouterr().err or i
        capfd.readouterr()
        assert main(["train", *names, *FAST, *where, "--hp.gamma", "0.5"]) == 2
        assert "hp.gamma: 0.99 -> 0.5" in capfd.readouterr().err


def test_one_command_begins_a_sweep_and_continues_it(tmp_path, capfd):
    words = ["sweep", "lica", "probe/match", *FAST, "--sweep-dir", str(tmp_path / "s")]
    for seeds in ("0:2", "0:2", "0:3"):
        again = [*words, "--auto-resume", "--wave", "3", "--seeds", seeds]
        assert main([*again, "--total-steps", "300"]) == 0
    assert len((tmp_path / "s" / "results.csv").read_text().splitlines()) == 4
    capfd.readouterr()
    assert main([*words, "--auto-resume", "--hp.gamma", "0.5"]) == 2
    assert "holds another sweep" in capfd.readouterr().err


def test_list_shows_everything(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in (
        "lica",
        "smax/5m_vs_6m",
        "smax/smacv2_10_units",
        "mpe/simple_spread",
        "paper",
        "fast",
        "straight_through",
        "smax/2c_vs_64zg",
        "2 colossi vs 64 zerglings",
        "backend=native|jaxmarl",
    ):
        assert name in out
    assert main(["list", "presets"]) == 0
    out = capsys.readouterr().out
    tuned = "tuned\n    smax/: coma, lica, lica_adv, qmix\n    smax/5m_vs_6m: mappo"
    assert "smax/3m" not in out and tuned in out
    assert "figures" not in out


def test_help_shows_the_settings(capsys):
    assert main(["train", "lica", "smax/3m", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--hp.entropy-coef" in out and "--run-dir" in out and "--collect.envs" in out
    # Each with its meaning, its range, its value here and the file that says so.
    text = " ".join(out.split())
    assert "--hp.gamma FLOAT discount factor. 0 to 1. [0.99]" in text
    assert "xi of Eq. 6" in text and "[0.3, fast/smax/3m/lica.yaml]" in text
    assert main(["help", "train"]) == 0 and "usage: lica-jax train" in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert main(["--version"]) == 0


def test_negative_numbers_are_values():
    """With an exponent, too, which argparse takes for a flag."""
    config = load_config("lica", "probe/match")
    for text in ("-1e-3", "-.5", "-2", "-1E+2"):
        (found,) = parse_settings(config, ["--hp.entropy-final", text])["hp"].values()
        assert float(found) == float(text)


BAD = {
    "unknown task": (["train", "lica", "smax/3mm"], "did you mean smax/3m"),
    "unknown map": (["train", "lica", "smax/MMM3"], "did you mean smax/MMM"),
    "unknown option": (["train", "lica", "smax/3m:backnd=jaxmarl"], "did you mean backend"),
    "unknown option value": (["train", "lica", "smax/3m:reward=smax2"], "did you mean smax"),
    "a map JaxMARL lacks": (["train", "lica", "smax/MMM:backend=jaxmarl"], "cannot play"),
    "unknown algorithm": (["train", "licca", "smax/3m"], "did you mean lica"),
    "unknown preset": (["train", "lica", "smax/3m", "--preset", "papper"], "did you mean paper"),
    "unknown ablation": (
        ["train", "lica", "smax/3m", "--preset", "fast+mlp"],
        "did you mean mlp_critic",
    ),
    "relaxing continuous actions": (
        [
            *("train", "lica", "mpe/simple_spread_continuous"),
            *("--algo.policy-input", "straight_through"),
        ],
        "has continuous actions",
    ),
    "monte carlo on segments": (
        ["train", "lica", "probe/match", "--algo.targets", "monte_carlo"],
        'needs collect.mode "episode"',
    ),
    "unknown flag": (
        ["train", "lica", "probe/match", "--hp.entropy-coeff", "1"],
        "--hp.entropy-coef",
    ),
    "unknown meta flag": (["train", "lica", "probe/match", "--runn-dir", "x"], "--run-dir"),
    "unknown command": (["trian"], "did you mean train"),
    "nothing to train": (["train"], "needs an algorithm and a task"),
    "no task": (["train", "lica"], "needs an algorithm and a task"),
    "flags first": (["train", "--seeds", "0", "lica", "probe/match"], "before any flag"),
    "not a number": (["train", "lica", "probe/match", "--hp.gamma", "x"], "hp.gamma: "),
    "nan": (["train", "lica", "probe/match", "--hp.gamma", "nan"], "finite number"),
    "negative": (["train", "lica", "probe/match", "--hp.actor-lr", "-1"], "at least 0"),
    "too short": (["train", "lica", "probe/match", "--total-steps", "3"], "one iteration"),
    "too large": (
        ["train", "lica", "probe/match", "--collect.envs", "50000000", "--total-steps", "1e9"],
        "GiB are free",
    ),
    "another algorithm by a flag": (
        ["train", "lica", "probe/match", "--algorithm", "mappo"],
        "lica-jax train mappo probe/match",
    ),
    "another task by a flag": (
        ["train", "lica", "probe/match", "--task", "probe/state"],
        "lica-jax train lica probe/state",
    ),
    "no preset": (["train", "lica", "probe/match", "--preset", ""], "after '--preset' is empty"),
    "a preset for others": (
        ["train", "iql", "smax/3m", "--preset", "tuned"],
        "it covers smax/: coma, lica, lica_adv, qmix; smax/5m_vs_6m: mappo",
    ),
    "a preset for another map": (
        ["train", "mappo", "smax/3m", "--preset", "tuned"],
        "nothing for algorithm 'mappo' on 'smax/3m'; it covers",
    ),
    "the last part of a flag": (["train", "lica", "smax/3m", "--lr", "1"], "--hp.actor-lr"),
    "a switch that is neither": (
        ["train", "lica", "smax/3m", "--algo.target-critic=maybe"],
        "algo.target_critic: Input should be a valid boolean",
    ),
    "an integer that wraps": (
        ["train", "lica", "probe/match", "--hp.target-interval", "3e9"],
        "hp.target_interval must be at most 2147483647",
    ),
    "infinite in float32": (
        ["train", "lica", "probe/match", "--hp.actor-lr", "1e39"],
        "hp.actor_lr must be at most 3.4",
    ),
    "endless evaluations": (
        ["train", "lica", "probe/match", "--eval.episodes", "1e12"],
        "at most 1,000,000",
    ),
    "a long log": (["train", "lica", "probe/match", "--log-interval", "5e9"], "log_interval"),
    "an option twice": (["train", "lica", "smax/3m:reward=smac,reward=smax"], "given twice"),
    "too many agents": (["train", "lica", "mpe/simple_spread_n300"], "2 to 100 agents"),
    "help for half a name": (["train", "mappo", "--help"], "name a task as well"),
    "eval of no seed": (["eval", "nowhere", "--seed", "-1"], "seed must be"),
    "no run to resume": (["train", "--resume", "--run-dir", "nowhere"], "no config.json"),
    "resume what": (["train", "--resume"], "--run-dir"),
    "resume what there is": (["train", "lica", "smax/3m", "--auto-resume"], "--run-dir of a run"),
    "sweep what there is": (["sweep", "lica", "smax/3m", "--auto-resume"], "--sweep-dir of a"),
    "eval of nothing": (["eval", "nowhere"], "no policy at"),
    "eval of which": (["eval", "nowhere", "--which", "worst"], "which must be one of best, last"),
    "eval of no episodes": (["eval", "nowhere", "--episodes", "0"], "within 1 and"),
    "list of what": (["list", "taks"], "invalid choice"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_exit_code_2(case, tmp_path, monkeypatch, capfd, programs):
    monkeypatch.chdir(tmp_path)
    argv, words = BAD[case]
    assert main(argv) == 2
    out = capfd.readouterr()
    assert not programs, "something was compiled"
    assert words in out.err and out.err.startswith("error: ")
    assert "Traceback" not in out.err and out.out == ""
    assert not list(tmp_path.iterdir()), "bad input left something behind"


def test_run_directories_that_cannot_be_used(run, tmp_path, capfd):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="unknown display"):
        train("lica", "probe/match", display="loud")
    for path, words in (
        (run, "already holds a run"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "below", "cannot be written"),
        (tmp_path / "full", "is not empty"),
    ):
        assert main(["train", "lica", "probe/match", *FAST, "--run-dir", str(path)]) == 2
        assert words in capfd.readouterr().err
    assert (tmp_path / "full" / "thesis.txt").read_text() == "x"


def test_a_policy_does_not_play_another_task(run, capfd):
    assert main(["eval", str(run), "--task", "smax/3m"]) == 2
    assert "trained on probe/match" in capfd.readouterr().err


def test_resuming_something_else(run, capfd):
    base = ["train", "--resume", "--run-dir", str(run)]
    assert main([*base, "--hp.gamma", "0.5"]) == 2
    assert "hp.gamma: 0.99 -> 0.5" in capfd.readouterr().err
    assert main(["train", "lica", "probe/state", "--resume", "--run-dir", str(run)]) == 2
    assert "holds lica on probe/match" in capfd.readouterr().err


def test_resuming_another_run_and_damaged_notes(run, tmp_path, capfd):
    """What differs is named first, whatever else is wrong with it; notes are not needed."""
    import shutil

    base = ["train", "--resume", "--run-dir", str(run)]
    for more in (["--algorithm", "mappo"], ["--task", "smax/8m"]):
        assert main([*base, *more]) == 2
        assert "holds lica on probe/match, not" in capfd.readouterr().err
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "versions.json").write_bytes(b"{\xff")
    (copy / "command.txt").write_bytes(b"\xff\n")
    more = ["--total-steps", "3000", "--progress", "none"]
    assert main(["train", "--resume", "--run-dir", str(copy), *more]) == 0
    assert json.loads((copy / "versions.json").read_text())["packages"]["jax"]
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"algorithm": 5}))
    assert main(["train", "--resume", "--run-dir", str(copy)]) == 2
    assert "is no name" in capfd.readouterr().err


def test_a_resumed_runs_time_outs_may_be_named_with_its_task(tmp_path):
    config = load_config("lica", "smac/3m")
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    args = argparse.Namespace(run_dir=tmp_path, preset=None)
    patient = "smac/3m:start_timeout=300"
    assert resumed_config(args, ["lica", patient])[0].task == patient
    assert resumed_config(args, [])[0].task == "smac/3m"
    with pytest.raises(UserError, match="holds lica on smac/3m, not lica on smac/3m:step_mul=4"):
        resumed_config(args, ["lica", "smac/3m:step_mul=4"])


def test_switches_take_words_too():
    config = load_config("lica", "probe/match")
    assert {"algo.target_critic", "timeout_is_terminal"} <= {s.name for s in flagged(config)}
    for words, value in (
        ("--algo.target-critic False --total-steps 5", False),
        ("--algo.target-critic --total-steps 5", True),
        ("--algo.target_critic=true", True),
        ("--algo.target-critic=no", False),
        ("--algo.no-target-critic", False),
        ("--algo.no_target_critic", False),
    ):
        parsed = merge(config, parse_settings(config, words.split()))
        assert parsed.algo.target_critic is value, words
        assert parsed.total_steps == (5 if "5" in words else config.total_steps)
    for words, value in (
        ("--timeout-is-terminal False", False),
        ("--timeout-is-terminal None", None),
        ("--timeout-is-terminal true", True),
    ):
        assert merge(config, parse_settings(config, words.split())).timeout_is_terminal is value
    assert merge(config, parse_settings(config, ["--save-replay"])).eval.save_replay is True


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, capfd):
    """Exit code 1, the update is named, and the last good checkpoint stays."""
    code = main([
        "train", "lica", "probe/match", *FAST, "--run-dir", str(tmp_path / "r"),
        "--hp.critic-lr", "1e30", "--hp.grad-norm-clip", "1e30",
    ])  # fmt: skip
    err = capfd.readouterr().err
    assert code == 1
    assert "seed 0: the loss is not finite at update" in err
    steps = [int(p.name) for p in (tmp_path / "r" / "checkpoints").iterdir() if p.name.isdigit()]
    assert steps
    import jax
    import numpy as np

    from lica_jax import load_result
    from lica_jax.reporting.collect import collect
    from lica_jax.runs.directory import read_config, status
    from tests.conftest import new_session

    session = new_session(read_config(tmp_path / "r"), tmp_path / "r", resume=True)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(session.state.learner))
    sound = session.algo.policy(session.state.learner)
    session.close()
    # Its last sound policy is a file all the same.
    last = load_policy(tmp_path / "r" / "policy_last.safetensors").params
    jax.tree.map(lambda x, own: np.testing.assert_array_equal(x[0], own), sound, last)
    assert (tmp_path / "r" / "policy.safetensors").is_file()
    # A report counts it as a failed run, and it can be read and gone on with as before.
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert result["failed_at_update"][0] is not None and result["interrupted"] is False
    (run,), (told,) = collect([tmp_path / "r"])
    assert run.failed and told.startswith("Failed, their scores count on as they were: ")
    assert "non-finite" in repr(load_result(tmp_path / "r"))
    assert status(tmp_path / "r") == "interrupted"
    assert main(["train", "--resume", "--run-dir", str(tmp_path / "r")]) == 1
    assert "seed 0: the loss is not finite at update" in capfd.readouterr().err
    again = json.loads((tmp_path / "r" / "result.json").read_text())
    assert again["failed_at_update"] == result["failed_at_update"]


@pytest.mark.parametrize(
    ("command", "how"),
    [("train", "closed reader"), ("train", "full disk"), ("train", "no streams"),
     ("sweep", "full disk")],
)  # fmt: skip
def test_output_does_not_decide_a_runs_fate(command, how, tmp_path):
    """A run whose reader went away, or whose log is full, ends as it would have."""
    end = {
        "closed reader": "2>&1 | head -1", "full disk": ">/dev/full 2>/dev/full",
        "no streams": ">&- 2>&-",
    }[how]  # fmt: skip
    where, run = {"train": ("--run-dir r", "r"), "sweep": ("--sweep-dir r", "r/runs/0000")}[command]
    words = f"{command} lica probe/match {' '.join(FAST)} {where} {end}"
    script = f"set -o pipefail; {sys.executable} -m lica_jax {words}; echo code $?"
    # Buffered, as it is by default: what could not be written is still there at the end.
    here = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True,
        env=here | {"PYTHONPATH": str(Path(lica_jax.__file__).parents[1])},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "code 0", done
    assert "Traceback" not in done.stderr + done.stdout
    result = json.loads((tmp_path / run / "result.json").read_text())
    assert not result["interrupted"] and (tmp_path / run / "policy.safetensors").is_file()


@pytest.mark.parametrize(("end", "code"), [("| head -1", 0), (">/dev/full", 1), (">&-", 0)])
def test_lists_that_cannot_be_written(end, code):
    command = f"set -o pipefail; {sys.executable} -m lica_jax list {end}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == code
    assert done.stderr == ("error: [Errno 28] No space left on device\n" if code else "")


def test_ranges_of_seeds(tmp_path, capfd):
    argv = ["train", "lica", "probe/match", "--dump-config", "--seeds"]
    assert main([*argv, "0:3", "8"]) == 0
    assert "seeds: [0, 1, 2, 8]" in capfd.readouterr().out
    assert main([*argv, "8"]) == 0
    assert "seeds: [8]" in capfd.readouterr().out
    hint = "one run, of seed 8; 8 runs are seeds 0:8"
    for command, seeds, told in (("train", "8", 1), ("sweep", "8", 1), ("train", "0:8", 0)):
        where = ["--seeds", seeds, "--dry-run", f"--{command}-dir".replace("train", "run")]
        assert main([command, "lica", "probe/match", *where, str(tmp_path / "x")]) == 0
        assert capfd.readouterr().out.count(hint) == told


def test_the_module_is_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "lica_jax", "list", "algorithms"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "lica" in done.stdout


def test_a_truncated_checkpoint_is_one_message(run, tmp_path):
    """Seen from outside: orbax's orphaned reads print nothing behind it."""
    import shutil

    shutil.copytree(run, tmp_path / "r")
    for p in (tmp_path / "r" / "checkpoints").rglob("*"):
        if p.is_file() and p.parent.name == "d":
            p.write_bytes(p.read_bytes()[: p.stat().st_size // 3])
    done = subprocess.run(
        [
            sys.executable, "-m", "lica_jax", "train", "--resume", "--run-dir", str(tmp_path / "r"),
            "--total-steps", "2e3",
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: checkpoint") and done.stderr.count("\n") == 1
