"""More than one device, process or place: the numbers are those of one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lica_jax.runs.rows import read_rows
from lica_jax.sweeps.plans import Plans
from lica_jax.sweeps.request import dump_request, request
from lica_jax.sweeps.settings import grid_values, make_settings
from tests.conftest import ROOT
from tests.sweeps.conftest import WORDS, contents, untimed

# What takes a process with two devices; everything that one can do is done in this one.
TWO = """
import json, shutil, sys
import jax
import numpy as np
jax.config.update("jax_num_cpu_devices", 2)
from lica_jax import sweep
from lica_jax.runs import learning_curve
from lica_jax.sweeps.plans import Plans
from tests.sweeps.test_devices import first_of, learned

learning_curve.run_curve = lambda *_: b""
words = json.loads(sys.argv[1])
sweep(**words, devices=2, sweep_dir=sys.argv[2], display="none", keep_checkpoints=True)
shutil.copytree(sys.argv[2], sys.argv[3])
more = {"sweep_dir": sys.argv[3], "resume": True, "display": "none"}
sweep(**more, total_steps=640, devices=2, shard="envs")
first = first_of(words)
NAMES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
facts = {"devices": len(jax.devices())}


def collectives(plan):
    state = jax.eval_shape(plan.engine.init, plan.keys)
    text = plan.engine._chunk.lower(state, plan.hparams, plan.iterations).compile().as_text()
    return [name for name in NAMES if name in text], len(text)


pair, shared = Plans(2).base(first.config, 2), Plans(2, "envs").base(first.config, 1)
facts["runs"], facts["envs"] = collectives(pair), collectives(shared)
facts["spread"] = len(jax.tree.leaves(pair.engine.init(pair.keys))[0].sharding.device_set)
facts["learned"] = learned(shared)
print(json.dumps(facts))
"""


def first_of(words):
    """The first setting that is asked for."""
    ask = request(words)
    return make_settings(ask, grid_values(ask))[0][0]


def learned(plan):
    """What the first compiled call says of learning."""
    state = plan.engine.init(plan.keys)
    _, metrics = plan.engine.chunk(state, plan.hparams, plan.iterations)
    return {k: np.asarray(v).tolist() for k, v in metrics["learn"].items()}


def two_runs(wave):
    """The words of two short runs."""
    words = WORDS | {"grid": {"hp.entropy_coef": [0.03, 0.3]}, "total_steps": 320, "wave": wave}
    return words | {"eval": WORDS["eval"] | {"interval": 320}}


@pytest.fixture(scope="module")
def on_two(tmp_path_factory):
    """What one process with two CPU devices found."""
    path = tmp_path_factory.mktemp("two") / "two"
    output = subprocess.run(
        [sys.executable, "-c", TWO, json.dumps(two_runs(2)), str(path), f"{path}_on"],
        check=True, capture_output=True, text=True, cwd=ROOT,
    ).stdout  # fmt: skip
    return path, json.loads(output.splitlines()[-1])


# In a process that has not used JAX yet, on a machine of three cores.
CORES = """
import json, sys
from lica_jax.sweeps import devices
from lica_jax.sweeps.plans import Plans
from lica_jax.sweeps.request import request

devices.usable_cores = lambda: 3
words = json.loads(sys.argv[1])
found = devices.count_devices(request(words))
from tests.sweeps.test_devices import first_of  # uses JAX
engine = Plans(found).base(first_of(words).config, 3).engine
print(found, len(engine._place.device_set))
"""


def test_the_cores_of_a_cpu_are_devices():
    words = two_runs("auto")
    command = [sys.executable, "-c", CORES, json.dumps(words)]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.stdout.split() == ["3", "3"]


def test_two_devices(on_two, run_sweep, tmp_path):
    """The numbers of one device; the compiled program has no collective."""
    path, facts = on_two
    names, length = facts["runs"]
    assert facts["devices"] == facts["spread"] == 2 and names == [] and length > 10_000
    one, two = run_sweep(tmp_path / "one", **two_runs(2)).table, _table(path)
    assert [row["status"] for row in two] == ["finished"] * 2
    for a, b in zip(one, two, strict=True):
        assert a["env_steps"] == int(b["env_steps"])
        got, want = (float(row["final/return_mean"]) for row in (a, b))
        assert got == pytest.approx(want, abs=0.3)
    for run in ("runs/0000", "runs/0001"):  # before learning has amplified what is rounded
        a, b = (read_rows(folder / run / "metrics.jsonl")[0] for folder in (tmp_path / "one", path))
        for name in ("critic_loss", "actor_loss", "entropy", "actor_grad_norm"):
            assert a[name] == pytest.approx(b[name], rel=1e-3), (run, name)


def test_environments_on_two_devices(on_two):
    """One run over two devices: they add up what they learn, to the rounding of sums."""
    _, facts = on_two
    names, _ = facts["envs"]
    assert "all-reduce" in names
    # What is shared out by environments stays so from the collection to the update.
    assert "all-to-all" not in names
    for name, one in learned(Plans().base(first_of(two_runs(2)).config, 1)).items():
        two = facts["learned"][name]
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5, err_msg=name)


def test_runs_go_on_with_other_devices(on_two, run_sweep, tmp_path):
    """Runs of a device each: their environments on both, as that process did, or all on one."""
    path, _ = on_two
    assert [row["env_steps"] for row in _table(f"{path}_on")] == ["640"] * 2
    shutil.copytree(path, tmp_path / "on")
    found = run_sweep(tmp_path / "on", resume=True, total_steps=640, devices=1)
    assert [(row["env_steps"], row["status"]) for row in found.table] == [(640, "finished")] * 2


def _table(path):
    import csv

    with (Path(path) / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_two_processes(run_sweep, tmp_path):
    """Two local processes with gloo give the table of one."""
    one = run_sweep(tmp_path / "one", **two_runs(1))  # compiles what they find in the cache
    (tmp_path / "sweep.yaml").write_text(dump_request(request(two_runs(1))))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "lica_jax", "sweep", str(tmp_path / "sweep.yaml")]
    together = ["--distributed", "--coordinator", f"127.0.0.1:{port}", "--processes", "2"]
    started = [
        subprocess.Popen(
            [*command, "--sweep-dir", str(tmp_path / "two"), *together, "--process", str(i)],
            stderr=subprocess.PIPE, text=True, env=os.environ,
        )
        for i in range(2)
    ]  # fmt: skip
    errors = [process.communicate(timeout=600)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], errors
    assert untimed(_table(tmp_path / "two")) == untimed(_table(one.sweep_dir))
    for run in ("0000", "0001"):
        assert contents(tmp_path / "two/runs" / run) == contents(tmp_path / "one/runs" / run)
    assert not (tmp_path / "two/orders").exists()


def test_slurm_jobs(run_sweep, tmp_path):
    """submitit's local executor runs the same waves."""
    pytest.importorskip("submitit")
    words = two_runs(1) | {"grid": {"hp.entropy_coef": [0.03]}}
    result = run_sweep(tmp_path / "s", **words, launcher="slurm:local")
    here = run_sweep(tmp_path / "here", **words)
    assert untimed(_table(tmp_path / "s")) == untimed(_table(tmp_path / "here"))
    assert result.table[0]["status"] == here.table[0]["status"] == "finished"
    assert not list((tmp_path / "s/waves").iterdir())
