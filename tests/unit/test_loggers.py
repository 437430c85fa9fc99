"""Loggers: rows in other people's tools, each with its real library where it is installed."""

import os
import struct
import subprocess
import sys

import pytest

from lica_jax import UserError, train
from lica_jax.cli.main import main
from lica_jax.config import load_config
from lica_jax.envs import make_task
from lica_jax.loggers import LOGGERS, Logger, check_loggers, logger
from lica_jax.loggers.logger import Run
from lica_jax.runs.callbacks import Started
from tests.conftest import TINY


def events(folder):
    """``{(tag, step): value}`` of TensorBoard's event files, later ones on top, and the steps at
    which files say that what follows was written before a resumption."""
    from tensorboardX.proto.event_pb2 import Event

    found, purged = {}, []
    for path in sorted(folder.glob("events.*"), key=lambda p: p.stat().st_mtime_ns):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + size])
            at += 16 + size
            if event.HasField("session_log"):
                purged.append(event.step)
                found = {(tag, step): v for (tag, step), v in found.items() if step < event.step}
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
    return found, purged


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    pytest.importorskip("tensorboardX")
    run_dir = tmp_path_factory.mktemp("loggers") / "run"
    settings = TINY | {
        "total_steps": 400, "eval": {"interval": 200, "episodes": 8, "final_episodes": 8}
    }  # fmt: skip
    result = train(
        "lica", "probe/match", run_dir=run_dir, seeds=(0, 5), display="none", log="tensorboard",
        **settings,
    )  # fmt: skip
    return result, run_dir / "logs" / "tensorboard"


def test_every_row_is_in_tensorboard(logged):
    result, folder = logged
    assert {path.name for path in folder.iterdir()} == {"seed0", "seed5"}
    for i, seed in enumerate((0, 5)):
        found, purged = events(folder / f"seed{seed}")
        assert not purged
        rows = [row for row in result.metrics + result.evaluations if row["seed"] == seed]
        for row in rows:
            stamp = ("seed", *(logger.STAMP if "eval_index" in row else logger.STEPS))
            for name, value in row.items():
                if name not in stamp and isinstance(value, int | float):
                    assert found[name, row["env_steps"]] == pytest.approx(value, rel=1e-6), name
        final = result.summary["final"][i]["greedy"]["return_mean"]
        assert found["final/greedy/return_mean", rows[-1]["env_steps"]] == pytest.approx(final)
        assert ("test_return_mean", rows[-1]["env_steps"]) in found  # PyMARL's name


def test_a_resumed_run_hides_what_it_writes_again(logged):
    result, folder = logged
    run_dir = folder.parent.parent
    before = result.metrics[-1]["env_steps"]
    train(run_dir=run_dir, resume=True, total_steps=600, display="none", log=["tensorboard"])
    found, purged = events(folder / "seed5")
    assert purged == [before + 1]
    steps = [step for tag, step in found if tag == "critic_loss"]
    assert len(steps) == len(set(steps)) and steps[-1] >= 600


def test_what_a_killed_run_wrote_before_its_first_checkpoint_is_hidden(tmp_path):
    pytest.importorskip("tensorboardX")
    from lica_jax.loggers.tensorboard import TensorBoard

    folder = tmp_path / "tensorboard" / "seed3"
    for loss, steps in ((1.0, (8, 16, 24)), (2.0, (8, 16))):  # begun twice
        writer = TensorBoard(run_of(tmp_path))
        for step in steps:
            writer.write({"loss": loss}, step)
        writer.close()
        for path in folder.iterdir():  # it is named by the second
            path.rename(f"{path}.{loss}")
    found, _ = events(folder)
    losses = {at: value for at, value in found.items() if at[0] == "loss"}
    assert losses == {("loss", 8): 2.0, ("loss", 16): 2.0}


def run_of(folder, **more):
    return Run("seed3", "mine", folder, {"hp.gamma": 0.9, "algorithm": "lica"}, **more)


def test_mlflow(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    from mlflow.tracking import MlflowClient

    from lica_jax.loggers.mlflow import MLflow

    for step, more in ((8, {}), (16, {"env_steps": 8})):  # the second is resumed
        writer = MLflow(run_of(tmp_path, **more))
        writer.write({"eval/win_rate": step / 16, "critic_loss": 3.0}, step)
        writer.close()
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lica_jax/mine")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["hp.gamma"] == "0.9"
    history = client.get_metric_history(run.info.run_id, "eval/win_rate")
    assert [(m.step, m.value) for m in history] == [(8, 0.5), (16, 1.0)]


TRACKIO = """
from pathlib import Path
from lica_jax.loggers.logger import Run
from lica_jax.loggers.trackio import Trackio
runs = [Run(name, "mine", Path("."), {"hp.gamma": 0.9}) for name in ("seed3", "seed4")]
writers = [Trackio(run) for run in runs]
for step in (8, 16):
    for i, writer in enumerate(writers):
        writer.write({"eval/win_rate": step / 16 + i}, step)
for writer in writers:
    writer.close()
from trackio.sqlite_storage import SQLiteStorage
for run in runs:
    logs = SQLiteStorage.get_logs("lica_jax", f"mine-{run.name}")
    print(run.name, [(row["step"], row["eval/win_rate"]) for row in logs])
"""


def test_trackio(tmp_path):
    """In a process of its own: trackio reads where to write when it is imported."""
    pytest.importorskip("trackio")
    env = os.environ | {"TRACKIO_DIR": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", TRACKIO], capture_output=True, text=True, env=env, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "seed3 [(8, 0.5), (16, 1.0)]" in done.stdout
    assert "seed4 [(8, 1.5), (16, 2.0)]" in done.stdout


def leveldb_records(data, block=32768, at=7):
    """The records of a log in LevelDB's format, behind a header of 7 bytes."""
    parts = b""
    while at + 7 <= len(data):
        if block - at % block < 7:  # too little of the block is left for another one
            at += block - at % block
            continue
        size, kind = struct.unpack_from("<HB", data, at + 4)
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole one, or the last part of one
            yield parts
            parts = b""


def test_wandb(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    from wandb.proto import wandb_internal_pb2

    from lica_jax.loggers.wandb import Wandb

    writers = [Wandb(Run(name, "mine", tmp_path, {"hp.gamma": 0.9})) for name in ("a", "b")]
    for i, writer in enumerate(writers):
        writer.write({"eval/win_rate": 0.5 + i}, 8)
    for writer in writers:
        writer.close()
    wandb.teardown()  # it writes in a process of its own
    for i, name in enumerate("ab"):
        (path,) = tmp_path.glob(f"wandb/offline-run-*-{name}/run-*.wandb")
        said = {}
        for data in leveldb_records(path.read_bytes()):
            items = wandb_internal_pb2.Record.FromString(data).history.item
            said |= {"/".join(x.nested_key) or x.key: x.value_json for x in items}
        assert said["eval/win_rate"] == str(0.5 + i) and said["_step"] == "8"


def started(warn, **more):
    config = load_config("lica", "probe/match")
    spec = make_task("probe/match").spec
    return Started(config, spec, [{"seed": 0}], ["seed0"], None, 0, [0], warn)


def test_a_tool_that_fails_is_given_up_and_the_run_goes_on(tmp_path, monkeypatch):
    class Full:
        def __init__(self, run):
            self.tried = 0

        def write(self, values, step):
            self.tried += 1
            raise OSError(28, "No space left on device")

        def close(self):
            closed.append(self.tried)
            raise OSError(28, "No space left on device")

    closed = []
    monkeypatch.setattr("lica_jax.loggers.tensorboard.open_writer", Full)
    said = []
    one = Logger("tensorboard", tmp_path / "logs", "mine")
    one.on_start(started(said.append))
    for step in (1, 2):
        one.on_metrics({"seed": 0, "env_steps": step, "loss": 1.0})
    one.close()
    (line,) = said
    assert closed == [1]  # once it had failed nothing more was written, but it is told of the end
    assert line.startswith("  --log tensorboard has failed and is left out from here on: OSError")


FULL = """
import resource, signal, sys
from pathlib import Path
from lica_jax.loggers.logger import Run
from lica_jax.loggers.tensorboard import TensorBoard
writer = TensorBoard(Run("seed0", "mine", Path(sys.argv[1]), {}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    for step in range(100):
        writer.write({f"metric_{i}": float(i) for i in range(300)}, step)
except OSError:
    print("told", flush=True)
"""


def test_a_full_disk_holds_up_no_run(tmp_path):
    """However many numbers a row has: the thread that writes ends, and who waits for it with it."""
    pytest.importorskip("tensorboardX")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "told\n", done.stderr


def test_what_is_missing_is_said_before_anything_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(LOGGERS, "wandb", "no_such_package")
    words = ["train", "lica", "probe/match", "--run-dir", str(tmp_path / "r"), "--log"]
    assert main([*words, "wandb"]) == 2
    assert capsys.readouterr().err == (
        "error: --log wandb needs no_such_package: pip install 'lica_jax[wandb]'\n"
    )
    assert main([*words, "tensorbord"]) == 2
    sweep = ["sweep", "lica", "probe/match", "--sweep-dir", str(tmp_path / "s"), "--log", "wandb"]
    assert main(sweep) == 2
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(LOGGERS, "wandb", "json")
    with pytest.raises(UserError, match="log='wandb' needs a run_dir"):
        train("lica", "probe/match", log="wandb")
    with pytest.raises(UserError, match="unknown logger 'tensorbord'; did you mean tensorboard"):
        check_loggers("tensorbord")


def test_what_is_no_number_is_no_figure():
    row = {"seed": 1, "step": 4, "train/win_rate": None, "test_double": True, "loss": 2}
    assert logger.figures_of(row, ("seed", "step")) == {"loss": 2.0}
