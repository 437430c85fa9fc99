"""What a sweep refuses: one message, exit code 2, before anything is compiled or written."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.cli.main import main
from lica_jax.engines.compiled import CompiledEngine
from lica_jax.errors import TooLarge, UserError
from lica_jax.sweeps import devices, opening, sweep, widths
from lica_jax.sweeps.folder import Folder, Progress, extended
from lica_jax.sweeps.groups import describe_plan, make_groups
from lica_jax.sweeps.plans import Plans
from lica_jax.sweeps.request import dump_request, read_request, request
from lica_jax.sweeps.search import Distribution, read_distribution
from lica_jax.sweeps.settings import grid_values, make_settings, refuse
from lica_jax.sweeps.widths import Memory, balanced

BASE = ["sweep", "lica", "probe/match"]
GRID = ["--grid", "hp.entropy-coef=0.1,0.2"]
SEARCH = ["--search", "hp.actor-lr=log:1e-4:1e-2", "--trials", "4"]
MUCH = ["--total-steps", "2000000000"]
# Words, and what the message says.
BAD = [
    (["sweep"], "needs an algorithm and a task"),
    (["sweep", "lica"], "needs an algorithm and a task"),
    (["sweep", "lcia", "probe/match", *GRID], "did you mean lica"),
    (["sweep", "lica", "probe/mach", *GRID], "did you mean probe/match"),
    (["sweep", "no_such.yaml"], "no sweep at"),
    ([*BASE, "--grid", "hp.entropy-cof=0.1,0.2"], "did you mean hp.entropy_coef"),
    ([*BASE, "--grid", "hp.entropy-coef="], "empty value"),
    ([*BASE, "--grid", "hp.entropy-coef=0.1,,0.2"], "empty value"),
    ([*BASE, "--grid", "hp.entropy-coef"], "FIELD=A,B,C"),
    ([*BASE, "--grid", "hp.entropy-coef=[]"], "no values"),
    ([*BASE, "--grid", "hp.entropy-coef=[0.1"], "no YAML list"),
    ([*BASE, "--grid", "hp.entropy-coef=[2020-99-99]"], "no YAML list"),
    ([*BASE, "--grid", "hp.entropy-coef=" + "[" * 2000], "no YAML list"),
    ([*BASE, "--grid", "hp.entropy-coef=0.1,0.1"], "asked for twice"),
    ([*BASE, "--grid", "hp.entropy-coef=0.1,1e-1"], "asked for twice"),
    ([*BASE, "--grid", "hp.entropy-coef=0.1,nan"], "must be a finite number"),
    ([*BASE, "--grid", "hp.entropy-coef=0.1,inf"], "must be a finite number"),
    ([*BASE, "--grid", "hp.entropy-coef=0.1,-1"], "at least 0"),
    ([*BASE, "--grid", "hp.entropy-coef=0.1,blue"], "valid number"),
    ([*BASE, "--grid", "algo.actor=gru,lstm"], "'gru' or 'mlp'"),
    ([*BASE, "--grid", "preset=fast,sloow"], "unknown preset"),
    ([*BASE, "--grid", "task=probe/match,probe/mach"], "did you mean probe/match"),
    ([*BASE, "--grid", "seeds=1,2"], "--seeds"),
    ([*BASE, "--grid", "wave=1,2"], "about the sweep"),
    ([*BASE, *GRID, *GRID], "names a field twice"),
    ([*BASE, *GRID, "--grid", "hp.entropy_coef=0.3"], "names hp.entropy_coef twice"),
    ([*BASE, *GRID, "--hp.entropy-coef", "0.3"], "both swept and set"),
    ([*BASE, "--grid", "algo.hidden=8,16", "--algo.hidden", "8"], "both swept and set"),
    ([*BASE, *GRID, "--hp.entropy-cof", "0.3"], "unknown flag"),
    ([*BASE, *GRID, "--seeds", "0", "0"], "named twice"),
    ([*BASE, *GRID, "--seeds", "3:3"], "at least one seed"),
    ([*BASE, *GRID, "--seeds", "-1"], "within 0 and 2^31"),
    ([*BASE, *GRID, "--seeds", "blue"], "seeds"),
    ([*BASE, *GRID, "--wave", "0"], "at least 1"),
    ([*BASE, *GRID, "--wave", "wide"], "wave"),
    ([*BASE, *GRID, "--devices", "0"], "at least 1"),
    ([*BASE, *GRID, "--devices", "many"], "devices"),
    ([*BASE, *GRID, "--halving", "1"], "at least 2"),
    ([*BASE, *GRID, "--launcher", "cloud"], "unknown launcher"),
    ([*BASE, *GRID, "--launcher", "slurm:local"], "--wave N"),
    ([*BASE, *GRID, "--objective", "loss"], "eval/win_rate"),
    ([*BASE, *GRID, "--objective", "eval/win_rate"], "nothing is won"),
    ([*BASE, *GRID, "--total-steps", "0"], "total_steps"),
    ([*BASE, *GRID, *MUCH, "--collect.envs", "200000000"], "GiB are free; the largest part is"),
    ([*BASE, *MUCH, "--collect.envs", "20000", "--seeds", "0:9000", "--wave", "9000"], "fit: use"),
    ([*BASE, *GRID, "--sampler", "tpee", *SEARCH], "did you mean tpe"),
    ([*BASE, *GRID, *SEARCH], "either grid or search"),
    ([*BASE, *SEARCH[:2]], "--trials"),
    ([*BASE, *GRID, "--trials", "3"], "trials are of a search"),
    ([*BASE, *GRID, "--sampler", "sobol"], "a sampler is of a search"),
    ([*BASE, "--grid", "algorithm=iql,qmix"], "lica is named, and is not among those swept"),
    ([*BASE, "--grid", "task=probe/state,probe/aim"], "is not among those swept"),
    ([*BASE, "--grid", "preset=fast,paper", "--preset", "paper"], "both swept and set"),
    ([*BASE, *GRID, "--halving", "9"], "halving 9 keeps one of 9 settings, and there are"),
    ([*BASE, *GRID, "--processes", "2"], "--processes is of --distributed"),
    ([*BASE, *GRID, "--total-steps", "1:30"], "got '1:30'"),  # not 90
    ([*BASE, "--grid", "hp.gamma=[0.5, 1:30]"], "got '1:30'"),
    ([*BASE, "--search", "hp.actor-lr", "--trials", "3"], "FIELD=DISTRIBUTION"),
    ([*BASE, "--search", "hp.actor-lr=lg:1:2", "--trials", "3"], "unknown distribution"),
    ([*BASE, "--search", "hp.actor-lr=log:0:2", "--trials", "3"], "above 0"),
    ([*BASE, "--search", "hp.actor-lr=log:3:2", "--trials", "3"], "below its highest"),
    ([*BASE, "--search", "hp.actor-lr=log:a:2", "--trials", "3"], "must read log:LOW:HIGH"),
    ([*BASE, "--search", "hp.actor-lr=float:0:nan", "--trials", "3"], "must read float"),
    ([*BASE, "--search", "hp.actor-lr=float:0:1:1e-300", "--trials", "3"], "a step must be"),
    ([*BASE, "--search", "algo.hidden=int:8:16.5", "--trials", "3"], "of integers"),
    ([*BASE, "--search", "algo.actor=choice:gru", "--trials", "3"], "two or more"),
    ([*BASE, *SEARCH, "--halving", "3"], "random or sobol"),
    ([*BASE, "--search", "hp.entropy-cof=log:0.1:1", "--trials", "3"], "did you mean hp.entropy"),
    ([*BASE, "--search", "hp.gamma=float:0:5", "--trials", "3"], "within 0 and 1"),
    ([*BASE, "--search", "algo.actor=choice:gru,lstm", "--trials", "3"], "'gru' or 'mlp'"),
    ([*BASE, "--search", "task=choice:probe/match,probe/aim", "--trials", "3"], "on one task"),
    ([*BASE, "--grid", "task=probe/match,probe/state", "--halving", "2"], "several tasks"),
    ([*BASE, *GRID, "--objective", "eval/episode_length_mean"], "objective must be"),
    ([*BASE, *GRID, "--launcher", "local:x"], "takes no address"),
    ([*BASE, *GRID, "--launcher", "slurm:foo", "--wave", "2"], "no NAME=VALUE"),
    ([*BASE, *GRID, "--launcher", "slurm:time=5", "--wave", "2"], "no srun"),
    ([*BASE, *GRID, "--distributed", "--dry-run"], "leave out --distributed"),
    (["sweep", "--resume"], "--sweep-dir"),
    ([*BASE, "--resume", "--sweep-dir", "nowhere"], "leave out lica"),
    (["sweep", "--resume", "--sweep-dir", "nowhere"], "not a sweep directory"),
]


@pytest.mark.parametrize("argv, says", BAD, ids=[" ".join(a[3:] or a)[:60] for a, _ in BAD])
def test_bad_input(argv, says, tmp_path, monkeypatch, capfd, programs):
    monkeypatch.chdir(tmp_path)
    if "nowhere" not in argv and "--resume" not in argv:
        argv = [*argv, "--sweep-dir", "out"]
    assert main(argv) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ") and says in error and "Traceback" not in error
    assert not programs and not list(tmp_path.iterdir())


FILES = [
    ("gird: {hp.entropy_coef: [0.1]}", "unknown setting 'gird'; did you mean grid?"),
    (
        "hp: {entropy_coeff: 1}",
        "unknown setting 'hp.entropy_coeff'; did you mean hp.entropy_coef or",
    ),
    ("entropy_coef: 1", "unknown setting 'entropy_coef'; did you mean hp.entropy_coef?"),
    ("grid: {hp.gamma: [0.9]}", "f.yaml says grid twice, in lines 3 and 4"),
    ("trials: true", "trials: Input should be a valid integer, got True"),
    ("3: 4", "unknown setting 3; settings have names"),
]


@pytest.mark.parametrize("line, says", FILES)
def test_a_bad_file(line, says, tmp_path, monkeypatch, capfd, programs):
    """Told once, however many settings there are."""
    monkeypatch.chdir(tmp_path)
    text = f"algorithm: lica\ntask: probe/match\ngrid: {{hp.actor_lr: [0.1, 0.2]}}\n{line}\n"
    Path("f.yaml").write_text(text)
    assert main(["sweep", "f.yaml", "--sweep-dir", "out"]) == 2
    assert capfd.readouterr().err.startswith(f"error: {says}")
    assert not programs and not Path("out").exists()


@pytest.mark.parametrize("field", ["hp.entropy-coef", "hp.entropy_coef"])
def test_another_grid_on_resume(field, tmp_path, capfd, words):
    """However the field is spelled."""
    folder = Folder(tmp_path / "s")
    folder.make()
    folder.describe(request(words | {"grid": {"hp.entropy_coef": [0.1, 0.2]}}), Progress())
    says = r"holds another sweep:\n  - grid: .*may change on --resume"
    with pytest.raises(UserError, match=f"(?s){says}"):
        sweep(sweep_dir=folder.path, resume=True, grid={field: [0.1, 0.3]})
    argv = ["sweep", "--resume", "--sweep-dir", str(folder.path), "--grid", f"{field}=0.1,0.3"]
    assert main(argv) == 2
    assert re.search(f"(?s){says}", capfd.readouterr().err)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.array([0.1, np.nan])])
def test_numbers_from_python_that_are_none(words, value):
    """Neither a missing value nor another setting."""
    with pytest.raises(UserError, match="finite number"):
        request(words | {"grid": {"hp.entropy_final": value}})


def test_what_python_says(words):
    """A seed by itself, and arrays, as `train` takes them."""
    ask = request(words | {"seeds": 3, "grid": {"hp.entropy_coef": np.array([0.1, 0.5])}})
    assert ask.seeds == (3,) and ask.grid == {"hp.entropy_coef": (0.1, 0.5)}
    ask = request(words | {"grid": {"hp.gamma": jnp.array([0.9, 0.99])}})
    assert ask.grid == {"hp.gamma": (0.9, 0.99)}  # not 0.8999999761581421
    for several in (jnp.array([1, 2]), (x for x in (1, 2)), {1: None, 2: None}.keys(), range(1, 3)):
        assert request(words | {"grid": {"algo.actor_steps": several}}).grid == {
            "algo.actor_steps": (1, 2)
        }


def test_a_sweep_that_was_killed_before_it_began(tmp_path, words):
    """It is begun anew; what somebody put there is not."""
    (tmp_path / "plan.json").write_text("{}")
    (tmp_path / "runs").mkdir()
    Folder(tmp_path).check_new()
    (tmp_path / "runs/thesis.tex").write_text("the only copy")
    with pytest.raises(UserError, match="not empty"):
        Folder(tmp_path).check_new()


@pytest.mark.parametrize("text", [False, True])
def test_the_same_budget_again(words, tmp_path, text):
    """From a flag it is text; that changes nothing. Once a run has ended, less is refused."""
    old = request(words)
    same = words | {"total_steps": str(words["total_steps"]) if text else words["total_steps"]}
    assert extended(old, request(same), tmp_path, ended=True)
    for less in (800, "8e2"):
        shorter = request(words | {"total_steps": less})
        assert extended(old, shorter, tmp_path, ended=False) == shorter
        with pytest.raises(UserError, match="more, not fewer"):
            extended(old, shorter, tmp_path, ended=True)


@pytest.mark.parametrize(
    "fits, seconds, runs, devices, chosen, looked",
    [
        (99, {1: 100, 4: 90, 16: 95, 64: 1}, 64, 1, 4, [1, 4, 16]),
        (99, {1: 100, 4: 99}, 4, 1, 1, [1, 4]),  # gains less than can be told from noise
        (99, {1: 100, 4: 90, 9: 80}, 9, 1, 9, [1, 4, 9]),
        (4, {1: 100, 4: 90}, 64, 1, 4, [1, 4, 16]),  # what does not fit ends the search
        (99, {1: 100, 2: 60, 8: 65}, 64, 2, 2, [1, 2, 8]),  # both cores, and no wider
        (99, {1: 100, 2: 110}, 64, 2, 1, [1, 2]),
        (99, {1: 100, 3: 60}, 3, 8, 3, [1, 3]),
    ],
)
def test_the_fastest_width(fits, seconds, runs, devices, chosen, looked, monkeypatch):
    """Wider, and over more devices, as long as it gains."""
    asked = []

    def base(width):
        asked.append(width)
        if width > fits:
            raise TooLarge("too large")
        return SimpleNamespace(width=width, task=None)

    monkeypatch.setattr(widths, "is_host_task", lambda task: False)
    monkeypatch.setattr(
        widths, "measure", lambda plan: widths.Timing(plan.width, 1.0, seconds[plan.width])
    )
    told = []
    assert widths.fastest(base, runs, runs, told.append, devices) == chosen
    assert list(dict.fromkeys(asked)) == looked
    assert ("on 2 devices" in told[-1]) == (devices == 2)


@pytest.mark.parametrize(
    "more, several",
    [
        ({}, True),
        ({"wave": 4}, False),
        ({"shard": "envs"}, False),
        ({"launcher": "ray"}, False),
        ({"devices": 1}, False),
    ],
)
def test_the_cores_of_a_cpu(words, monkeypatch, more, several):
    """Are its devices where the width is measured, unless JAX has been used already."""
    asked = []
    monkeypatch.setattr(devices, "_split_cpu", asked.append)
    monkeypatch.setattr(devices, "usable_cores", lambda: 7)
    found = devices.count_devices(request(words | more))
    assert asked == [7] * several and found == (len(jax.local_devices()) if several else 1)


def test_measuring_asks_for_memory_first(words, plans):
    """A width whose program does not fit is never run; where it is that of one run, it is said."""
    settings, _ = make_settings(request(words), [{}])
    base = partial(plans.base, settings[0].config)
    ran, told, most = [], [], 1

    def check(self, states, hps, iterations):
        if jax.tree.leaves(hps)[0].shape[0] > most:
            raise MemoryError("needs 99 GiB")

    def chunk(self, states, hps, iterations, real=CompiledEngine.chunk):
        ran.append(jax.tree.leaves(hps)[0].shape[0])
        return real(self, states, hps, iterations)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(widths, "SECONDS", 0.0)
        patch.setattr(widths, "SHARE", float("inf"))
        patch.setattr(CompiledEngine, "check_memory", check)
        patch.setattr(CompiledEngine, "chunk", chunk)
        assert widths.fastest(base, 2, 2, told.append) == 1
        assert set(ran) == {1} and " env steps/s" in told[0]
        assert told[1:] == ["  2 side by side do not fit"]
        most = 0
        with pytest.raises(TooLarge, match="not even one run fits: needs 99 GiB"):
            widths.fastest(base, 2, 2, told.append)


@pytest.mark.parametrize(
    "more, runs, cores, says",
    [
        ({}, 8, 2, "2 cores: --devices 2 "),
        ({}, 3, 16, "16 cores: --devices 3 "),
        ({"wave": 4}, 8, 2, "--devices 2 "),
        ({}, 8, 1, ""),
        ({}, 1, 2, ""),
        ({"wave": 1}, 8, 2, ""),
        ({"devices": "all"}, 8, 2, ""),
        ({"launcher": "ray"}, 8, 2, ""),
    ],
)
def test_a_cpu_that_would_stand_idle(words, monkeypatch, more, runs, cores, says):
    """The plan says how its cores are used."""
    monkeypatch.setattr(devices, "usable_cores", lambda: cores)
    found = devices.advice(request(words | more), runs)
    assert says in found and bool(says) == bool(found)


def test_devices_share_out_evenly():
    """As many as can, and widths are their multiples where there is room."""
    assert balanced(10, 10, 4) == [10] and balanced(10, 12, 4) == [12 - 2]
    assert balanced(20, 8, 4) == [8, 8, 4] and balanced(9, 8, 2) == [6, 3]


def test_a_folder_of_something_else(tmp_path, capfd):
    """Nothing is overwritten."""
    (tmp_path / "thesis.tex").write_text("the only copy")
    assert main([*BASE, *GRID, "--sweep-dir", str(tmp_path)]) == 2
    assert "is not empty" in capfd.readouterr().err
    assert main([*BASE, *GRID, "--sweep-dir", str(tmp_path / "thesis.tex")]) == 2
    assert "is a file" in capfd.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_version_and_damage(tmp_path, capfd, words):
    ask = request(words)
    (tmp_path / "sweep.yaml").write_text(dump_request(ask))
    known = {"format": "lica_jax sweep 1", "values": [{}], "runs": [[0, 0]], "waves": []}
    wave = {"name": "000", "runs": [0]}
    for plan, says in (
        ('{"format": "lica_jax sweep 9"}', "another version"), ("[]", "another version"),
        ("{", "damaged"), ('{"format": "lica_jax sweep 1", "runs": 3}', "damaged"),
        ("[" * 100_000, "damaged"), (known | {"values": 3}, "damaged"),
        (known | {"values": [1]}, "damaged: values must be"),
        (known | {"runs": [[99, 0]]}, "damaged: a run is of a setting that is not there"),
        (known | {"waves": [wave | {"runs": [77]}]}, "damaged: a wave is of a run that is not"),
        (known | {"waves": [wave | {"name": "../x"}]}, "damaged: a wave has no name of a wave"),
    ):  # fmt: skip
        (tmp_path / "plan.json").write_text(plan if isinstance(plan, str) else json.dumps(plan))
        assert main(["sweep", "--resume", "--sweep-dir", str(tmp_path)]) == 2
        assert says in capfd.readouterr().err
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/0000").write_text("the only copy")
    (tmp_path / "plan.json").write_text(json.dumps(known | {"waves": [wave]}))
    assert main(["sweep", "--resume", "--sweep-dir", str(tmp_path)]) == 2
    assert "0000 is a file in the place of a run's folder" in capfd.readouterr().err


def test_more_devices_than_there_are(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("lica_jax.sweeps.devices._split_cpu", lambda devices: None)
    argv = [*BASE, *GRID, "--devices", "7", "--sweep-dir", str(tmp_path / "s")]
    assert main(argv) == 2
    assert f"7 asked for, {len(jax.devices())} found" in capfd.readouterr().err


def test_missing_extras(tmp_path, capfd, monkeypatch):
    """The message has the line that installs them."""
    import builtins
    import importlib.util

    real, find = builtins.__import__, importlib.util.find_spec

    def without(name, *args, **kwargs):
        if name.partition(".")[0] in ("optuna", "cmaes"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n in ("ray", "submitit") else find(n)
    )
    for words, says in (
        (SEARCH, "lica_jax[search]"), ([*GRID, "--launcher", "ray"], "lica_jax[ray]"),
        ([*GRID, "--launcher", "slurm"], "lica_jax[slurm]"),
    ):  # fmt: skip
        assert main([*BASE, *words, "--sweep-dir", str(tmp_path / "s")]) == 2
        assert says in capfd.readouterr().err


def test_invalid_settings_are_told_together(words):
    """All of them at once; on request the others go on."""
    grid = {"hp.entropy_coef": [0.1, -1], "algo.actor": ["gru", "lstm"]}
    ask = request(words | {"grid": grid})
    settings, refused = make_settings(ask, grid_values(ask))
    assert len(settings) == 1 and len(refused) == 3
    with pytest.raises(UserError, match="3 of 4 settings cannot be trained") as caught:
        refuse(refused, skip=False, left=1)
    assert "hp.entropy_coef=-1" in str(caught.value) and "lstm" in str(caught.value)
    with pytest.raises(UserError, match="no setting can be trained"):
        refuse(refused, skip=True, left=0)


def test_invalid_settings_are_skipped_on_request(sharing, run_sweep, tmp_path, capfd, words):
    """Told, left out of the table, and left out again on resuming."""
    words |= {
        "total_steps": 160,
        "grid": {"hp.entropy_coef": [-1, 0.1], "algo.actor": ["x", "gru"]},
    }
    words["eval"]["interval"] = 160
    (tmp_path / "sweep.yaml").write_text(dump_request(request(words | {"wave": 1})))
    argv = ["sweep", str(tmp_path / "sweep.yaml"), "--sweep-dir", str(tmp_path / "s")]
    assert main(argv) == 2 and "--skip-invalid goes on" in capfd.readouterr().err
    with sharing():
        assert main([*argv, "--skip-invalid"]) == 0
        said = capfd.readouterr().err
        assert "3 setting(s) skipped" in said and "hp.entropy_coef=-1" in said
        assert "1 setting x 1 seed = 1 run" in said
    result = run_sweep(tmp_path / "s", resume=True)
    assert [(row["run"], row["hp.entropy_coef"]) for row in result.table] == [(0, 0.1)]


def test_a_field_that_one_algorithm_lacks(words):
    words |= {"algorithm": ["lica", "vdn"], "grid": {"hp.entropy_coef": [0.1, 0.2]}}
    del words["algo"]
    ask = request(words)
    _, refused = make_settings(ask, grid_values(ask))
    assert len(refused) == 2 and "algorithm=vdn" in refused[0] and "entropy_coef" in refused[0]


def test_the_file_repeats_the_request(words, tmp_path):
    """sweep.yaml reads as what was asked."""
    for more in (
        {"grid": {"hp.entropy-coef": [0.1, 0.2], "task": ["probe/match", "probe/aim"]}},
        {"search": {"hp.actor_lr": "log:1e-4:1e-2"}, "trials": 8, "sampler": "random"},
        {"algorithm": ["lica", "coma"], "seeds": "0:4", "halving": 3, "wave": 4},
    ):
        ask = request(words | more)
        path = tmp_path / "sweep.yaml"
        path.write_text(dump_request(ask))
        assert request(read_request(path)) == ask
    assert request(words | {"seeds": "2:5"}).seeds == (2, 3, 4)


def test_distributions():
    """Both ends are possible; steps and logarithms as said."""
    assert read_distribution("x", "log:1e-4:3e-3") == Distribution("log", 1e-4, 3e-3)
    # A range ends at the last value that its step comes to, to the bit: samplers would warn, and
    # leave that out.
    assert read_distribution("x", "int:1:8:3") == Distribution("int", 1, 7, 3)
    for text, high in (("0:1:0.3", 0.9), ("0:1:0.1", 1.0), ("0.1:0.75:0.2", 0.7), ("0:2:1", 2.0)):
        assert read_distribution("x", f"float:{text}").high == high
    assert read_distribution("x", "int:32:256:32") == Distribution("int", 32, 256, 32)
    assert read_distribution("x", "choice:gru,mlp") == Distribution(
        "choice", choices=("gru", "mlp")
    )


@pytest.mark.parametrize(
    "runs, width, sizes",
    [
        (6, 4, [3, 3]),
        (10, 4, [4, 4, 2]),
        (48, 12, [12] * 4),
        (5, 8, [5]),
        (0, 4, []),
        (7, 1, [1] * 7),
    ],
)
def test_waves_are_as_equal_as_can_be(runs, width, sizes):
    """One size for all but the last: every size is a program."""
    assert balanced(runs, width) == sizes


def test_what_fits():
    assert Memory(run=100, free=1000).widest == 9
    assert Memory(run=100, free=50).widest == 0
    assert Memory(run=100, free=None).widest > 1e6


def test_the_plan_in_words(words, tmp_path):
    """Settings, programs, waves and memory, before anything is compiled."""
    words |= {"grid": {"hp.entropy_coef": [0.1, 0.2, 0.3], "collect.envs": [4, 8]}, "wave": 4}
    del words["collect"]["envs"]
    ask = request(words | {"seeds": "0:4"})
    settings, _ = make_settings(ask, grid_values(ask))
    text = describe_plan(ask, make_groups(settings, Plans()), [1.0], tmp_path)
    assert "6 settings x 4 seeds = 24 runs of 1,600 env steps" in text
    assert "2 programs (collect.envs)" in text
    assert text.count("12 runs, 3 waves of 4, ") == 2 and " MiB of " in text


@pytest.mark.parametrize(
    ("task", "plugins"), [("__main__:Mine", ()), ("grid/switches", ("__main__",))]
)
def test_what_a_script_makes_is_not_sent_to_workers(task, plugins):
    """They could not import it, and would say so in files of their own only."""
    config = SimpleNamespace(algorithm="lica", task=task, plugins=plugins)
    groups = [SimpleNamespace(settings=[SimpleNamespace(config=config)])]
    with pytest.raises(UserError, match=r"workers cannot import: put it into a module"):
        opening._check_importable(groups)
