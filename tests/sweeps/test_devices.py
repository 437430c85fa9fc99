"""More than one device, process or place: the numbers are those of one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from lica_jax.sweeps.request import dump_request, request
from tests.sweeps.conftest import WORDS, contents, untimed

TWO = """
import json, sys
import jax
import numpy as np
jax.config.update("jax_num_cpu_devices", 2)
from lica_jax import sweep
from lica_jax.sweeps.plans import Plans
from lica_jax.sweeps.request import request
from lica_jax.sweeps.settings import grid_values, make_settings

words = json.loads(sys.argv[1])
for devices in (1, 2):
    sweep(**words, devices=devices, sweep_dir=f"{sys.argv[2]}/{devices}", display="none")
ask = request(words)
(first, *_), _ = make_settings(ask, grid_values(ask))
NAMES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
facts = {"devices": len(jax.devices())}


def collectives(plan):
    state = jax.eval_shape(plan.engine.init, plan.keys)
    lowered = plan.engine._chunk.lower(state, plan.hparams, plan.iterations)
    text = lowered.compile().as_text()
    return [name for name in NAMES if name in text], len(text)


def learned(plan):
    state = plan.engine.init(plan.keys)
    _, metrics = plan.engine.chunk(state, plan.hparams, plan.iterations)
    return {k: np.asarray(v).tolist() for k, v in metrics["learn"].items()}


pair = Plans(2).base(first.config, 2)
facts["runs"] = collectives(pair)
facts["spread"] = len(jax.tree.leaves(pair.engine.init(pair.keys))[0].sharding.device_set)
one, two = (Plans(n, "envs").base(first.config, 1) for n in (1, 2))
facts["envs"] = collectives(two)
facts["one"], facts["two"] = learned(one), learned(two)
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def on_two(tmp_path_factory):
    """What one process with two CPU devices found."""
    path = tmp_path_factory.mktemp("two")
    words = WORDS | {"grid": {"hp.entropy_coef": [0.03, 0.3]}, "total_steps": 640, "wave": 2}
    words["eval"] = words["eval"] | {"interval": 320}
    output = subprocess.run(
        [sys.executable, "-c", TWO, json.dumps(words), str(path)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return path, json.loads(output.splitlines()[-1])


def test_two_devices(on_two):
    """The numbers of one device; the compiled program has no collective."""
    path, facts = on_two
    names, length = facts["runs"]
    assert facts["devices"] == facts["spread"] == 2 and names == [] and length > 10_000
    one, two = (untimed(_table(path / str(n))) for n in (1, 2))
    assert [row["status"] for row in two] == ["finished"] * 2
    for a, b in zip(one, two, strict=True):
        assert a["env_steps"] == b["env_steps"]
        got, want = (float(row["final/return_mean"]) for row in (a, b))
        assert got == pytest.approx(want, abs=0.3)


def test_environments_on_two_devices(on_two):
    """One run over two devices: they add up what they learn, to the rounding of sums."""
    _, facts = on_two
    names, _ = facts["envs"]
    assert "all-reduce" in names
    for name, one in facts["one"].items():
        np.testing.assert_allclose(facts["two"][name], one, rtol=1e-4, atol=1e-5, err_msg=name)


def _table(path):
    import csv

    with (path / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_two_processes(words, tmp_path):
    """Two local processes with gloo give the table of one."""
    words |= {"grid": {"hp.entropy_coef": [0.03, 0.3]}, "total_steps": 640, "wave": 1}
    words["eval"]["interval"] = 320
    (tmp_path / "sweep.yaml").write_text(dump_request(request(words)))
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
    subprocess.run([*command, "--sweep-dir", str(tmp_path / "one")], check=True)
    assert untimed(_table(tmp_path / "two")) == untimed(_table(tmp_path / "one"))
    for run in ("0000", "0001"):
        assert contents(tmp_path / "two/runs" / run) == contents(tmp_path / "one/runs" / run)
    assert not (tmp_path / "two/orders").exists()


def test_slurm_jobs(words, tmp_path):
    """submitit's local executor runs the same waves."""
    pytest.importorskip("submitit")
    from lica_jax.sweeps import sweep

    words |= {"grid": {"hp.entropy_coef": [0.03, 0.3]}, "total_steps": 320, "wave": 2}
    words["eval"]["interval"] = 320
    result = sweep(**words, launcher="slurm:local", sweep_dir=tmp_path / "s", display="none")
    assert [row["status"] for row in result.table] == ["finished"] * 2
    assert not list((tmp_path / "s/waves").iterdir())
