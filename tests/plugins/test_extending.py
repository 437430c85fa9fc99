"""docs/extending.md does what it says: its files and its commands, in processes of their own."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.plugins.conftest import PAGE

SMALL = ["--total-steps", "3000", "--eval.episodes", "8", "--eval.final-episodes", "16"]


def command(folder, *words, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "lica_jax", *words], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONSAFEPATH": "1"},  # as the installed command: no working directory
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_pages_commands(package):
    """All of them, with smaller budgets."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    words = [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]
    assert len(words) == 7
    for line in words:
        if line[0] == "train" and "--help" not in line:
            line += ["--total-steps", "6000", *SMALL[2:]] if "--resume" in line else SMALL
        if line[0] == "eval":
            line += ["--episodes", "16"]
        out = command(package, *line)
        if line[0] == "list":
            assert "my_pg" in out and "grid/switches" in out and "[plugin my_package]" in out
        elif "--help" in line:
            text = " ".join(out.split())
            assert "--hp.lr FLOAT step size. At least 0. [0.005]" in text
            assert "[100000, fast/my_pg.yaml]" in text
    assert "<canvas" in (package / "switches.html").read_text()
    rows = [json.loads(s) for s in (package / "runs/a/eval.jsonl").read_text().splitlines()]
    assert {row["seed"] for row in rows} == {0, 1, 2}
    assert all(row["eval/distance_mean"] >= 0 for row in rows)
    assert "eval/sampled/distance_mean" in rows[0] and "distance" in out
    config = json.loads((package / "runs/b/config.json").read_text())
    assert config["hp"]["entropy_coef"] == 0.1  # the plugin's preset for LICA on its tasks
    assert config["plugins"] == ["my_package"]
    result = json.loads((package / "runs/a/result.json").read_text())
    assert min(result["env_steps"]) >= 6000

    # Without the plugin: one message, and how to load it; nothing is imported by itself.
    for line in (["eval", "runs/a"], ["train", "--resume", "--run-dir", "runs/b"]):
        out = command(package, *line, code=2)
        assert out.startswith("error: ") and "add --plugin my_package" in out
    # What its own `Config` says of a range.
    bad = ["train", "my_pg", "grid/switches", "--plugin", "my_package", "--algo.hidden", "-4"]
    assert "algo.hidden must be at least 1, got -4" in command(package, *bad, code=2)
    # The settings as a file, which imports it.
    given = ["--plugin", "my_package", "--hp.lr", "0.02"]
    text = command(package, "train", "my_pg", "grid/switches", *given, "--dump-config")
    (package / "again.yaml").write_text(text)
    more = ["--run-dir", "runs/c", *SMALL, "--hp.gamma", "0.9"]
    command(package, "train", "again.yaml", *more)
    config = json.loads((package / "runs/c/config.json").read_text())
    assert (config["hp"]["lr"], config["hp"]["gamma"]) == (0.02, 0.9)
    assert config["total_steps"] == 3000 and config["task"] == "grid/switches"
