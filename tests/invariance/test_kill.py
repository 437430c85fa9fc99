"""A run that is killed goes on from its last checkpoint; a run that is asked stops cleanly."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lica_jax.runs.rows import read_rows

SETTINGS = [
    "lica", "probe/two_step", "--collect.envs", "4", "--collect.length", "4",
    "--log-interval", "128",
    "--algo.hidden", "8", "--algo.mixing-embed", "8", "--algo.hypernet-hidden", "8",
    "--eval.interval", "2000", "--eval.episodes", "8", "--eval.final-episodes", "16",
    "--checkpoint.every-seconds", "0", "--progress", "plain",
]  # fmt: skip


def start(*args, **kwargs):
    return subprocess.Popen(
        [sys.executable, "-m", "lica_jax", "train", *map(str, args)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs,
    )  # fmt: skip


def finish(process, timeout=240):
    out, _ = process.communicate(timeout=timeout)
    return process.returncode, out


def wait_for_checkpoints(run_dir: Path, process, at_least: int):
    """Waits until some checkpoints beyond the first have been completed."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        steps = [int(p.name) for p in (run_dir / "checkpoints").glob("*") if p.name.isdigit()]
        if steps and max(steps) >= at_least:
            return max(steps)
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    raise AssertionError("no checkpoint appeared")


def test_sigkill_loses_at_most_the_steps_since_the_last_checkpoint(tmp_path):
    straight = tmp_path / "straight"
    assert finish(start(*SETTINGS, "--total-steps", 2000, "--run-dir", straight))[0] == 0

    killed = tmp_path / "killed"
    process = start(*SETTINGS, "--total-steps", 2000, "--run-dir", killed)
    kept = wait_for_checkpoints(killed, process, at_least=12)
    process.kill()
    process.communicate()
    assert not (killed / "result.json").exists()

    code, out = finish(start("--resume", "--run-dir", killed, "--progress", "plain"))
    assert code == 0, out
    assert "resuming at" in out
    resumed_at = int(out.split("resuming at ")[1].split(" ")[0].replace(",", ""))
    rows = read_rows(killed / "metrics.jsonl")
    assert resumed_at >= max(r["env_steps"] for r in rows if r["update"] <= kept)

    # The killed run ends where the other one does, bit for bit, and its log has no gap.
    a, b = (json.loads((d / "result.json").read_text()) for d in (straight, killed))
    for name in ("env_steps", "updates", "final", "random"):
        assert a[name] == b[name], name
    for name in ("policy.safetensors", "policy_last.safetensors"):
        assert (straight / name).read_bytes() == (killed / name).read_bytes(), name
    logs = [read_rows(d / "metrics.jsonl") for d in (straight, killed)]
    columns = [[(r["update"], r["critic_loss"]) for r in rows] for rows in logs]
    assert columns[0] == columns[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_writes_a_checkpoint_and_leaves(tmp_path, number):
    run_dir = tmp_path / "run"
    process = start(
        *SETTINGS, "--total-steps", 100_000_000, "--run-dir", run_dir, start_new_session=True
    )
    wait_for_checkpoints(run_dir, process, at_least=8)
    process.send_signal(number)
    code, out = finish(process, timeout=60)
    assert code == 128 + number, out
    assert "Traceback" not in out
    with pytest.raises(ProcessLookupError):  # nothing of its process group is left
        os.killpg(process.pid, 0)
    assert f"stopped by {number.name}" in out and "--resume --run-dir" in out
    result = json.loads((run_dir / "result.json").read_text())
    steps = [int(p.name) for p in (run_dir / "checkpoints").glob("*") if p.name.isdigit()]
    assert max(steps) == result["updates"][0]
    assert result["interrupted"] is True
    assert not list(run_dir.rglob("*.tmp*"))


LOOP = """
import sys
from lica_jax import train

small = {"algo": {"hidden": 8, "mixing_embed": 8, "hypernet_hidden": 8}, "log_interval": 128}
for i in range(3):
    train("lica", "probe/two_step", run_dir=f"{sys.argv[1]}/{i}", total_steps=1e8, display="none",
          collect={"envs": 4, "length": 4}, checkpoint={"every_seconds": 0}, **small)
    print("went on", flush=True)
"""


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGINT, -signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, 143, "")],
)
def test_a_signal_ends_a_loop_over_train_too(tmp_path, number, code, words):
    """From Python: the checkpoint is written, then the exception goes through the caller."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP, str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for_checkpoints(tmp_path / "0", process, at_least=8)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode in (code, 1 if number == signal.SIGINT else code)
    assert "went on" not in out and words in err
    result = json.loads((tmp_path / "0" / "result.json").read_text())
    assert result["interrupted"] and not (tmp_path / "1").exists()


def test_no_process_outlives_a_run(tmp_path):
    """The session's process group is empty once the run has ended."""
    process = start(
        *SETTINGS, "--total-steps", 1000, "--run-dir", tmp_path / "run", start_new_session=True
    )
    code, out = finish(process)
    assert code == 0, out
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
