"""What the environment may spoil: one line and an exit code, and logs without banners."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lica_jax
from lica_jax.cli import process
from lica_jax.cli.main import main
from lica_jax.errors import UserError

ROOT = str(Path(lica_jax.__file__).parents[1])
MATCH = "train lica probe/match --run-dir run"


def shell(command, folder, **environment):
    return subprocess.run(
        ["bash", "-c", command.replace("lica-jax", f"{sys.executable} -m lica_jax")],
        cwd=folder, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": ROOT} | environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("command", "environment", "words"),
    [
        (f"lica-jax {MATCH}", {"JAX_PLATFORMS": "foo"}, "JAX cannot start: Unable to initialize"),
        (f"lica-jax {MATCH}", {"JAX_PLATFORMS": "rocm"}, "JAX cannot start: "),
        (f"lica-jax {MATCH}", {"JAX_ENABLE_X64": "zz"}, "JAX cannot be imported: invalid truth"),
        (f"ulimit -v 2000000; lica-jax {MATCH}", {}, "raise the limit (ulimit -v)"),
    ],
)
def test_an_environment_that_jax_cannot_use(command, environment, words, tmp_path):
    done = shell(command, tmp_path, **environment)
    assert done.returncode == 2 and done.stdout == "" and not list(tmp_path.iterdir()), done
    assert done.stderr.startswith("error: ") and words in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1
    assert all(f"{k}={v}" in done.stderr for k, v in environment.items())


def test_help_fits_into_any_terminal(monkeypatch, capsys):
    """In one column argparse alone never ends."""
    for columns in ("1", "5", "60"):
        monkeypatch.setenv("COLUMNS", columns)
        assert main(["train", "lica", "probe/match", "--help"]) == 0
        assert "--hp.entropy-coef" in capsys.readouterr().out


def test_a_device_that_is_not_there_is_named(monkeypatch):
    """JAX ends in an assertion where a platform is known and no device of it is found."""

    def devices():
        raise AssertionError

    monkeypatch.setattr("jax.devices", devices)
    process.find_device()  # of the CPU, which the tests run on, nothing need be asked
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(UserError, match=r"no such device is here .*JAX_PLATFORMS=cuda"):
        process.find_device()


def test_what_is_said_of_no_memory_and_no_device():
    full = RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.\nmore")
    assert process.explained(full) == (f"out of memory: {str(full).splitlines()[0]}", 1)
    assert process.explained(MemoryError())[1] == 1
    text, code = process.explained(RuntimeError("Unable to initialize backend 'cuda': no GPU"))
    assert code == 2 and "'cuda'" in text and f"JAX_PLATFORMS={os.environ['JAX_PLATFORMS']}" in text
    assert process.explained(RuntimeError("a fault")) is None


def test_a_limit_of_addresses_is_seen(monkeypatch):
    from lica_jax import machine

    monkeypatch.setattr(process, "address_space", lambda: 10**9)
    with pytest.raises(UserError, match=r"953\.7 MiB of address space"):
        process.import_jax()
    monkeypatch.setattr(machine, "address_space", lambda: 12_345)
    assert machine.available_memory() == 12_345


SLOW = """
from lica_jax.cli.process import import_jax, quiet_libraries
quiet_libraries()
import_jax()
import jax
import jax.numpy as jnp


def slow_to_fold():
    x = jnp.zeros((100, 100)) + jnp.arange(100.0)
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, (12, 12), (1, 1), "SAME").sum()


jax.config.update("jax_enable_compilation_cache", False)
jax.jit(slow_to_fold)()
print("compiled")
jax.devices("nowhere")
"""


@pytest.mark.slow
def test_slow_compilations_are_not_complained_of_and_errors_are(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    for level, banner in (("unset", False), ("0", True)):
        setting = "unset TF_CPP_MIN_LOG_LEVEL" if level == "unset" else ""
        command = f"{setting}; {sys.executable} slow.py".lstrip("; ")
        done = shell(command, tmp_path, TF_CPP_MIN_LOG_LEVEL=level)
        assert "compiled" in done.stdout and done.returncode == 1
        assert ("slow_operation_alarm" in done.stderr) is banner
        assert "RuntimeError: " in done.stderr and "nowhere" in done.stderr  # what fails is raised
    done = shell(f"unset TF_CPP_MIN_LOG_LEVEL; lica-jax {MATCH}", tmp_path, XLA_FLAGS="--xla_no")
    assert done.returncode and "xla_no" in done.stderr  # and what ends the process is said
