"""What the machine has left."""

import subprocess
import sys

import pytest

from lica_jax import machine
from lica_jax.training import memory


def test_available_memory_counts_the_container(monkeypatch, tmp_path):
    for name, text in {
        "meminfo": "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n",
        "memory.max": "3000000\n",
        "memory.current": "2000000\n",
        "memory.stat": "anon 5\ninactive_file 500000\n",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "PROC", tmp_path)
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert machine.available_memory() == 1_500_000
    # A job's limit inside the machine's: the smaller one counts.
    job = tmp_path / "slurm" / "job_7"
    job.mkdir(parents=True)
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text("0::/slurm/job_7/step\n")
    for name, text in (("max", "900000"), ("current", "500000"), ("stat", "anon 5")):
        (job / f"memory.{name}").write_text(text + "\n")
    assert machine.available_memory() == 400_000
    (job / "memory.max").write_text("max\n")
    assert machine.available_memory() == 1_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.available_memory() == 8000 * 1024


def test_arrays_have_what_the_container_leaves(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 123)
    assert memory.available_bytes() == 123


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_memory_goes_back_to_the_system():
    """Of a process that has freed much between what it still uses."""
    code = """
from lica_jax.machine import return_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

blocks = [bytes(60_000) for _ in range(5_000)]
kept = blocks[::100]  # somewhere between them
full = resident()
del blocks
held = resident()
return_memory()
print(full, held, resident())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    full, held, left = map(int, done.stdout.split())
    if held < full - 100e6:
        pytest.skip("this system takes freed memory back by itself")
    assert left < full - 150e6
