"""Plugins: what registering needs and refuses, and what one line is enough for."""

import dataclasses
import re
import sys
import types
from dataclasses import dataclass
from importlib.metadata import EntryPoint

import jax
import jax.numpy as jnp
import pytest
from flax import struct

from lica_jax import (
    Family,
    UserError,
    evaluate,
    load_config,
    load_policy,
    make_task,
    plugins,
    register_algorithm,
    register_family,
    task_names,
    train,
)
from lica_jax.algorithms import algorithm_module, algorithm_names, make_algorithm
from lica_jax.cli.main import main
from lica_jax.config import resolve
from lica_jax.envs.probe import Probe
from lica_jax.sweeps.driver import Driver
from lica_jax.testing import check_algorithm, check_task
from lica_jax.types import number

SMALL = {
    "total_steps": 1000, "collect": {"envs": 8, "length": 8}, "log_interval": 64,
    "eval": {"interval": 500, "episodes": 8, "final_episodes": 16},
}  # fmt: skip


def module(name="own_module", **contents):
    made = types.ModuleType(name)
    vars(made).update(contents)
    sys.modules[name] = made
    return made


def copy_of_my_pg(**changes):
    """The page's algorithm under another name, with something changed."""
    from my_package import my_pg

    parts = {"Config": my_pg.Config, "HParams": my_pg.HParams, "make": my_pg.make}
    return module(**(parts | changes))


def test_a_plugin_is_used_like_everything_else(loaded, tmp_path):
    assert "my_pg" in algorithm_names() and "grid/switches" in task_names()
    assert make_task("grid/switches", length=9).spec.name == "grid/switches:length=9"
    result = train("my_pg", "grid/switches", run_dir=tmp_path / "run", display="none", **SMALL)
    assert result.config.plugins == ("my_package",)
    assert all("train/distance_mean" in row for row in result.metrics)
    policy = load_policy(tmp_path / "run")
    assert list(policy.about["plugins"]) == ["my_package"]
    assert evaluate(policy, episodes=8)["greedy"]["distance_mean"] >= 0
    # A sweep's file, too, says what another process must import.
    words = {"algorithm": "my_pg", "task": "grid/switches", "wave": 1} | SMALL
    assert Driver(words, tmp_path / "sweep", style="none").work.ask.plugins == ("my_package",)


@pytest.mark.parametrize("trained", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_conformance_suites_are_content(loaded, trained):
    check_task("grid/switches")
    check_algorithm("my_pg", "grid/switches", trained=trained)


def test_a_new_number_is_one_line(loaded, capsys):
    """Its range, what it is annealed from and that it is an epsilon are said where it is."""
    from my_package import my_pg

    @struct.dataclass
    class HParams(my_pg.HParams):
        """More numbers.

        Attributes:
          doubt: probability of doubting.
        """

        doubt: float = number(0.5, 0, 1, epsilon=True)
        lr_final: float | None = number(None, low=0, start="lr", steps="lr_steps")
        lr_steps: float = number(0.0, low=0)

    register_algorithm("doubting", copy_of_my_pg(HParams=HParams))
    spec = make_task("probe/match").spec
    config = resolve(load_config("doubting", "probe/match"), spec)
    assert config.hp.doubt == 0.5 and config.hp.lr_final == config.hp.lr
    for hp, words in (
        ({"doubt": 1.5}, "hp.doubt must be within 0 and 1, got 1.5"),
        ({"lr_final": 1.0}, "hp.lr_final needs hp.lr_steps"),
        ({"lr_final": -1.0, "lr_steps": 5}, "hp.lr_final must be at least 0"),
    ):
        with pytest.raises(UserError, match=words):
            resolve(load_config("doubting", "probe/match", hp=hp), spec)
    from lica_jax.training.evaluation import random_hparams

    random = random_hparams(jax.tree.map(jnp.asarray, config.hp))
    assert random.doubt == 1 and random.gamma == pytest.approx(0.99)
    assert main(["train", "doubting", "probe/match", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--hp.doubt FLOAT probability of doubting. 0 to 1. [0.5]" in text


class Told(Probe):
    """`probe/match` that tells how often the agents agreed: the one line is in `_timestep`."""

    def __init__(self):
        super().__init__("match", 1, lambda cue, t, action: 1.0 * jnp.all(action == cue))

    def _timestep(self, state, reward, *, first):
        ts = super()._timestep(state, reward, first=first)
        return ts.replace(info={"agreed": 2.0 * ts.reward})


TOLD = Told()


@pytest.mark.slow
def test_a_new_figure_is_one_line(tmp_path, capfd):
    """Rows, evaluations, the live line, the command line and the summary have it."""
    check_task(TOLD)
    algo = {"hidden": 8, "mixing_embed": 8, "hypernet_hidden": 8}
    result = train("lica", TOLD, run_dir=tmp_path / "r", display="plain", algo=algo, **SMALL)
    assert result.config.task == "tests.plugins.test_registering:TOLD"
    for row in result.metrics:
        assert row["train/agreed_mean"] == pytest.approx(2 * row["train/return_mean"])
    for row in result.evaluations:
        assert row["eval/agreed_mean"] == pytest.approx(2 * row["eval/return_mean"])
        assert "eval/sampled/agreed_mean" in row
    assert "agreed_mean" in result.summary["final"][0]["greedy"]
    assert "| agreed " in capfd.readouterr().err
    assert main(["eval", str(tmp_path / "r"), "--episodes", "8"]) == 0
    assert "agreed" in capfd.readouterr().out


@pytest.mark.slow
def test_a_task_that_is_an_object(tmp_path, monkeypatch, programs):
    """Stored by its import path; found again where that leads to it, else given again."""
    algo = {"hidden": 8, "mixing_embed": 8, "hypernet_hidden": 8}
    settings = SMALL | {"algo": algo}
    first = train("lica", TOLD, run_dir=tmp_path / "a", display="none", **settings)
    more = settings | {"total_steps": 1500}
    again = train("lica", TOLD, run_dir=tmp_path / "a", resume=True, display="none", **more)
    assert again.summary["env_steps"][0] > first.summary["env_steps"][0]
    # From the shell, by name: the module is there.
    argv = ["train", "--resume", "--run-dir", str(tmp_path / "a"), "--total-steps", "2000"]
    assert main([*argv, "--progress", "none"]) == 0
    assert evaluate(tmp_path / "a", episodes=8, task=TOLD)["greedy"]["episodes"] >= 8
    assert evaluate(first.policy(), episodes=8)["task"] == TOLD.spec.name

    class Local(Told):
        def __init__(self, more):
            del more
            super().__init__()

    train("lica", Local(1), run_dir=tmp_path / "b", display="none", **settings)
    programs.clear()
    argv[3] = str(tmp_path / "b")
    assert main([*argv, "--progress", "none"]) == 2
    assert not programs
    train("lica", Local(1), run_dir=tmp_path / "b", resume=True, display="none", **more)
    assert make_task("tests.plugins.test_registering:Told").spec.name == "probe/match"
    with pytest.raises(UserError, match=r"has not been imported.*--plugin nowhere\.tasks"):
        make_task("nowhere.tasks:Switches")
    with pytest.raises(UserError, match="cannot be found again"):
        make_task("subprocess:Popen")


def test_nothing_but_a_tasks_class_is_called():
    """A run directory names its task: that must not be a way to call things."""
    called = module(attack=lambda: pytest.fail("called"))
    called.attack.__module__ = "own_module"
    with pytest.raises(UserError, match="cannot be found again"):
        make_task("own_module:attack")


@dataclass(frozen=True)
class NoDefault:
    hidden: int


class Thawed:
    pass


@struct.dataclass
class Worded:
    name: str = "x"


BAD_MODULES = {
    "no make": ({"make": None}, "lacks make"),
    "a thawed Config": ({"Config": Thawed}, "Config must be a frozen dataclass"),
    "a Config without defaults": ({"Config": NoDefault}, "needs defaults for hidden"),
    "HParams of another kind": ({"HParams": Thawed}, "must be a flax.struct dataclass"),
    "HParams that are no numbers": ({"HParams": Worded}, "HParams.name must be a number"),
}


@pytest.mark.parametrize("case", BAD_MODULES)
def test_modules_that_are_no_algorithm(case, loaded, capsys, programs):
    changes, words = BAD_MODULES[case]
    made = copy_of_my_pg(**{k: v for k, v in changes.items() if v is not None})
    for name, value in changes.items():
        if value is None:
            delattr(made, name)
    register_algorithm("broken", made)
    assert main(["train", "broken", "probe/match"]) == 2
    err = capsys.readouterr().err
    assert words in err and err.startswith("error: algorithm 'broken'") and not programs


BAD_PLUGINS = {
    "not there": (None, "nowhere_at_all", "cannot be imported: ModuleNotFoundError"),
    "no module's name": (None, "my-package", "a plugin is the name of a module"),
    "our own": (None, "lica_jax.api", "belongs to this library"),
    "an error": ("1 / 0", "bad_module", "cannot be imported: ZeroDivisionError: division by zero"),
    "a name of ours": (
        "from lica_jax import register_algorithm\nregister_algorithm('lica', 'bad_module')",
        "bad_module", "an algorithm named 'lica' is registered already",
    ),
    "a family of ours": (
        "from lica_jax import register_family, Family\n"
        "register_family('smax', Family(names=(), make=print))",
        "bad_module", "a family of tasks named 'smax' is registered already",
    ),
    "no family": (
        "from lica_jax import register_family\nregister_family('grid', {})",
        "bad_module", "expected a lica_jax.Family",
    ),
    "a family that makes nothing": (
        "from lica_jax import register_family, Family\n"
        "register_family('grid', Family(names=('a',), make=None))",
        "bad_module", "make must be a function",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_PLUGINS)
def test_plugins_that_cannot_be_loaded(case, registries, tmp_path, monkeypatch, capsys):
    text, name, words = BAD_PLUGINS[case]
    monkeypatch.chdir(tmp_path)
    if text:
        (tmp_path / "bad_module.py").write_text(text)
    assert main(["train", "lica", "probe/match", "--plugin", name]) == 2
    err = capsys.readouterr().err
    assert words in err and err.startswith("error: ") and err.count("\n") == 1


def test_two_plugins_with_one_name(registries):
    register_algorithm("twin", "own_module.a")
    register_algorithm("twin", "own_module.a")  # a cell that ran twice
    with pytest.raises(UserError, match="registered already"):
        register_algorithm("twin", "other_module.a")

    def make(name):
        return Told()

    register_family("twins", Family(names=("a",), make=make))
    register_family("twins", Family(names=("a", "b"), make=make))
    assert "twins/b" in task_names()
    with pytest.raises(UserError, match="registered already"):
        register_family("twins", Family(names=("a",), make=Told))
    for bad in ("", "a/b", "a-b", 3):
        with pytest.raises(UserError, match="must be a word"):
            register_family(bad, Family(names=(), make=make))
        with pytest.raises(UserError, match="must be a word"):
            register_algorithm(bad, "own_module")


def test_entry_points_of_installed_packages(package, registries, monkeypatch, capsys):
    """Found without being named; a broken one is one message, and hurts nobody else."""
    points = {
        plugins.ALGORITHMS: {"my_pg": EntryPoint("my_pg", "my_package.my_pg", plugins.ALGORITHMS)},
        plugins.TASKS: {"grid": EntryPoint("grid", "my_package.grid:FAMILY", plugins.TASKS)},
    }
    monkeypatch.setattr(plugins, "entry_points", points.get)
    for where in ("lica_jax.algorithms.registry", "lica_jax.envs.registry"):
        monkeypatch.setattr(sys.modules[where], "entry_points", points.get)
    monkeypatch.syspath_prepend(str(package))
    assert load_config("my_pg", "grid/switches").total_steps == 100_000  # the plugin's preset
    assert "grid/switches" in task_names()
    points[plugins.ALGORITHMS]["gone"] = EntryPoint("gone", "gone_package", plugins.ALGORITHMS)
    assert main(["train", "gone", "probe/match"]) == 2
    assert "gone_package" in capsys.readouterr().err
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "gone" in out and "cannot be imported" in out and "smax/3m" in out


def test_tasks_whose_shapes_do_not_fit(tmp_path, programs):
    """In words, before anything compiles; training refuses them too."""

    class Wide(Told):
        def _timestep(self, state, reward, *, first):
            ts = super()._timestep(state, reward, first=first)
            return ts.replace(obs=jnp.zeros((2, 5)), reward=jnp.int32(0), info={"a": ts.obs})

    class Counting(Told):
        def _timestep(self, state, reward, *, first):
            ts = super()._timestep(state, reward, first=first)
            return ts.replace(info={"return": ts.reward})

    class Growing(Told):
        def step(self, key, state, action):
            state, ts = super().step(key, state, action)
            return state.replace(t=1.0 * state.t), ts

    class Failing(Told):
        def step(self, key, state, action):
            return state.missing

    class Gym(Told):
        def step(self, key, state, action):
            state, ts = super().step(key, state, action)
            return ts.obs, state, ts.reward, ts.terminated, ts.info

    class Stateless(Told):
        def reset(self, key):
            return super().reset(key)[1]

    for task, *words in (
        (Wide(), r"obs must be float32\[2, 2\] \(spec: n_agents, obs_size\), got float32\[2, 5\]",
         "reward must be float32", r"info\['a'\] must be a scalar"),
        (Counting(), r"info\['return'\] needs another name"),
        (Growing(), r"state.t is int32\[\] after reset and float32\[\] after a step"),
        (Failing(), r"step.* fails: AttributeError.*\(test_registering.py, line \d+\)"),
        (Gym(), r":\n  - step must return \(state, TimeStep\), got a tuple of 5$"),
        (Stateless(), r":\n  - reset must return \(state, TimeStep\), got TimeStep$"),
    ):  # fmt: skip
        for call in (check_task, lambda task: train("lica", task, run_dir=tmp_path / "run")):
            with pytest.raises(UserError) as error:
                call(task)
            for word in words:
                assert re.search(word, str(error.value)), word
    assert not programs and not (tmp_path / "run").exists()


def test_tasks_that_behave_badly():
    class Endless(Told):
        def step(self, key, state, action):
            state, ts = super().step(key, state, action)
            return state, ts.replace(terminated=jnp.array(False), first=jnp.array(True))

    class Rich(Told):
        def step(self, key, state, action):
            state, ts = super().step(key, state, action)
            return state, ts.replace(reward=ts.reward + 7)

    class Undefined(Told):
        """Of which each is told once, and nothing that follows from it."""

        def __init__(self, **odd):
            self.odd = odd
            super().__init__()

        def _timestep(self, state, reward, *, first):
            ts = super()._timestep(state, reward, first=first)
            return ts.replace(**{k: jnp.full_like(getattr(ts, k), x) for k, x in self.odd.items()})

    for odd in ({"reward": jnp.nan}, {"obs": jnp.nan}, {"reward": jnp.inf}):
        with pytest.raises(UserError) as error:
            check_task(Undefined(**odd))
        (line,) = str(error.value).splitlines()[1:]
        assert line == "".join(f"  - {k} must be finite, got {x}" for k, x in odd.items())
    with pytest.raises(UserError) as error:
        check_task(Endless())
    assert "outlived spec.episode_limit" in str(error.value)
    assert "a task never resets itself" in str(error.value)
    with pytest.raises(UserError, match=r"more than spec\.max_return 1"):
        check_task(Rich())
    with pytest.raises(UserError, match="a task has spec, reset and step"):
        check_task(object())
    nothing = Told()
    nothing.spec = dataclasses.replace(nothing.spec, episode_limit=None)
    with pytest.raises(UserError, match=r"spec\.episode_limit must be an integer"):
        check_task(nothing)


def test_a_family_whose_tasks_have_another_name(loaded):
    family = Family(("switches",), lambda name: make_task("grid/switches"), lambda name: "copied")
    register_family("copy", family)
    with pytest.raises(UserError, match=r"spec\.name must be 'copy/switches'"):
        check_task("copy/switches")
    with pytest.raises(UserError, match="names must be several"):
        register_family("word", dataclasses.replace(family, names="switches"))


def test_algorithms_need_a_spec_and_a_config(loaded):
    task = make_task("probe/match")
    for name in ("lica", "my_pg"):
        for spec, words in (
            (task, rf"give make_algorithm\('{name}', task.spec\), got the task probe/match itself"),
            ("probe/match", rf"\('{name}', make_task\('probe/match'\).spec\), got 'probe/match'"),
        ):
            with pytest.raises(UserError, match=words):
                make_algorithm(name, spec)
        for config, words in (
            ({"hidden": 8}, rf"give algorithm_module\('{name}'\).Config\(hidden=8\), got a dict"),
            (algorithm_module(name).Config, "got the class Config itself"),
            (load_config(name, "probe/match"), "got a TrainConfig"),
        ):
            with pytest.raises(UserError, match=words):
                make_algorithm(name, task.spec, config)
    from my_package import my_pg

    @dataclass(frozen=True)
    class Config:  # of a cell that ran again
        hidden: int = 8

    assert make_algorithm("my_pg", task.spec, Config()).hparams == my_pg.HParams()


def broken(what):
    """The page's algorithm with one thing wrong."""
    from my_package import my_pg

    def make(config, spec):
        algo = my_pg.make(config, spec)
        if what == "forgets the mask":

            def act(params, carry, ts, key, **more):
                free = ts.replace(avail=jnp.ones_like(ts.avail))
                return algo.act(params, carry, free, key, **more)

            return algo._replace(act=act)
        if what == "has no loss":

            def update(*args, **more):
                learner, metrics = algo.update(*args, **more)
                return learner, {k: v for k, v in metrics.items() if k != "loss"}

            return algo._replace(update=update)
        if what == "changes its learner":
            return algo._replace(update=lambda *a, **m: ({}, algo.update(*a, **m)[1]))
        if what == "acts in lists":
            return algo._replace(act=lambda p, c, *a, **m: (c, [0, 0], {}))
        if what == "is always random":
            sure = jnp.ones
            return algo._replace(
                act=lambda p, c, ts, k, explore, **m: algo.act(
                    p, c, ts, k, explore=sure(explore.shape, bool), **m
                )
            )
        return None

    return make


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("forgets the mask", "an unavailable action was chosen"),
        ("has no loss", 'must have "loss"'),
        ("changes its learner", "a learner like the one it was given"),
        ("is always random", "greedy play .* must not depend on the key"),
        ("acts in lists", "act must choose actions as an array, got list"),
        ("makes nothing", "make must return a lica_jax.types.Algorithm"),
    ],
)
def test_algorithms_that_behave_badly(what, words, loaded):
    with pytest.raises(UserError, match=words):
        check_algorithm(copy_of_my_pg(make=broken(what)), trained=False)
