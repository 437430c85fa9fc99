"""What the machine has left."""

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
