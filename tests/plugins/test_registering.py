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
    load_runs,
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
from lica_jax.envs.frames import Scene, disks
from lica_jax.envs.probe import Probe
from lica_jax.rendering.replay import check_visible
from lica_jax.runs.checks import trace_algorithm
from lica_jax.runs.rows import name_problems
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
    # None of what rows and tables have besides can be the name of an algorithm's figure.
    rows = (*result.metrics, *result.evaluations, *load_runs(tmp_path / "run").to_dict("records"))
    names = {name for row in rows for name in row}
    assert len(names) > 20 and len(name_problems(names - FIGURES)) == len(names - FIGURES)
    assert not name_problems(FIGURES) and name_problems([3])
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
    assert re.fullmatch(r"tests.plugins.test_registering:TOLD#[0-9a-f]{8}", result.config.task)
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
    "a script": (
        "import sys; sys.exit()", "bad_module", "ends the program when it is imported",
    ),
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


def test_pictures_that_are_none():
    """In words, whoever asks; the rest of the task is sound."""
    scene = Scene((0, 0, 1, 1), ("thing",), team=(0, 0), agent=(0, 1))

    def drawn(frames, scene=scene):
        task = Told()
        task.frames = frames
        if scene is not None:
            task.scene = scene
        return task

    place, size, kind = jnp.zeros((2, 2)), jnp.ones(2), jnp.zeros(2, int)
    sound = drawn(lambda key, state, action: disks(place, size, kind))
    check_task(sound)
    check_visible(sound)
    for task, words in (
        (drawn(lambda key, state, action: (state, None)), "frames.Frame alone, got tuple"),
        (drawn(lambda key, state, action: state.missing), r"frames\(.*\) fails: AttributeError"),
        (drawn(lambda key, state, action: disks(place[:1], size[:1], kind[:1])),
         r"position must be \[K, 2, 2\], K moments of the 2 things of scene.team, got \[1, 1, 2\]"),
        (drawn(lambda key, state, action: jax.tree.map(lambda x: x[0], disks(place, size, kind))),
         r"frames: alive must be \[K, 2\]"),
        (drawn(sound.frames, scene={}), "a lica_jax.envs.frames.Scene, got dict"),
        (drawn(sound.frames, scene=None), "scene and frames belong together"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            check_task(task)
        if hasattr(task, "scene"):
            with pytest.raises(UserError, match="cannot be drawn: .*" + words):
                check_visible(task)


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
    sound = nothing.spec
    for name, size in (
        ("episode_limit", None),
        ("n_actions", 0),
        ("n_actions", 2.5),
        ("n_agents", "2"),
    ):
        nothing.spec = dataclasses.replace(sound, **{name: size})
        with pytest.raises(UserError, match=rf"spec\.{name} must be an integer of at least 1, got"):
            check_task(nothing)


def test_a_family_whose_tasks_have_another_name(loaded):
    family = Family(("switches",), lambda name: make_task("grid/switches"), lambda name: "copied")
    register_family("copy", family)
    with pytest.raises(UserError, match=r"spec\.name must be 'copy/switches'"):
        check_task("copy/switches")
    with pytest.raises(UserError, match="names must be several"):
        register_family("word", dataclasses.replace(family, names="switches"))


def replaced(**changes):
    """A ``make`` of the page's algorithm with fields replaced: functions of it."""
    from my_package import my_pg

    def make(config, spec):
        algo = my_pg.make(config, spec)
        return algo._replace(**{name: change(algo) for name, change in changes.items()})

    return make


def acting(change):
    """``act`` with ``change(carry, action, extras)`` of what it returns."""
    return replaced(act=lambda algo: lambda *args, **more: change(*algo.act(*args, **more)))


def updating(change, **more):
    """``update`` with ``change(learner, metrics)`` of what it returns."""
    return replaced(
        update=lambda algo: lambda *args, **given: change(*algo.update(*args, **given)), **more
    )


def telling(**metrics):
    """``update`` with other metrics, too."""
    return updating(lambda learner, told: (learner, told | metrics))


def value(x):
    """A field that is ``x``."""
    return lambda algo: x


ONE, FIGURES = jnp.zeros(()), {"entropy", "grad_norm", "loss"}  # of the page's algorithm
SHAPES = {
    "makes nothing": (
        lambda: lambda config, spec: None,
        ["make must return a lica_jax.types.Algorithm, got NoneType"],
    ),
    "makes a dictionary": (
        lambda: lambda config, spec: {}, ["make must return a lica_jax.types.Algorithm, got dict"],
    ),
    "fields that are none": (
        lambda: replaced(init=value(None), replay=value({}), metrics=value("entropy")),
        ["init must be a function, got NoneType", "replay must be None or", "metrics must be a tu"],
    ),
    "the class HParams": (
        lambda: replaced(hparams=lambda algo: type(algo.hparams)),
        ["hparams must be an instance, HParams(), got the class itself"],
    ),
    "no hparams": (
        lambda: replaced(hparams=value(None)),
        ["hparams must be an instance of HParams, got NoneType"],
    ),
    "carries without a batch": (
        lambda: replaced(initial_carry=value(lambda: jnp.zeros(1)), init=value(lambda: {})),
        ["init(key) fails: TypeError: ", "initial_carry(batch) fails: TypeError: "],
    ),
    "carries of one": (
        lambda: replaced(initial_carry=value(lambda batch: jnp.zeros(1))),
        ["initial_carry(batch) must have a leading axis of that size in every leaf"],
    ),
    "acts in pairs": (
        lambda: acting(lambda carry, action, extras: (carry, action)),
        ["act must return (carry, action, extras), got a tuple of 2"],
    ),
    "acts in lists": (
        lambda: acting(lambda carry, action, extras: (carry, [0, 0], {})),
        ["act must choose actions as an array, got list"],
    ),
    "one-hot actions": (
        lambda: acting(lambda carry, action, extras: (carry, jax.nn.one_hot(action, 2), {})),
        ["act must choose actions [5, 2] (environments, n_agents), got [5, 2, 2]: an index for ev",
         "actions of probe/match must be integers, got float32"],
    ),
    "another carry, and odd extras": (
        lambda: acting(lambda carry, *_: (carry.astype(jnp.bfloat16), _[0], {"a": ONE})),
        ["act: carry is float32[5, 1] before and bfloat16[5, 1] after",
         "act's extras must be a dictionary of arrays with an entry per environment"],
    ),
    "updates to the learner": (
        lambda: updating(lambda learner, told: learner),
        ["update must return (learner, metrics), got the learner alone"],
    ),
    "updates to three things": (
        lambda: updating(lambda learner, told: (learner, told, told)),
        ["update must return (learner, metrics), got a tuple of 3"],
    ),
    "updates the other way round": (
        lambda: updating(lambda learner, told: (told, learner)),
        ["update must return (learner, metrics), got them in the other order"],
    ),
    "updates to another learner": (
        lambda: updating(lambda learner, told: (learner.params, told)),
        ["update: learner must keep its structure; after it is dict, not Learner"],
    ),
    "updates to a learner that grows": (
        lambda: updating(lambda learner, told: (learner.replace(opt={"n": ONE}), told)),
        ["update: learner must keep its structure; after it lacks opt.count, opt.mu.params.Dense_0."
         "bias, opt.mu.params.Dense_0.kernel, opt.mu.params.Dense_1.bias and 5 more and has opt.n"],
    ),
    "has no loss": (
        lambda: updating(lambda learner, told: (learner, {"entropy": ONE})),
        ['update\'s metrics must have "loss", which is not finite when it went wrong'],
    ),
    "tells a list": (
        lambda: updating(lambda learner, told: (learner, list(told.values()))),
        ["update's metrics must be a dictionary, got a list of 3"],
    ),
    "other types": (
        lambda: updating(
            lambda learner, told: (jax.tree.map(lambda x: x.astype(jnp.bfloat16), learner), told)
        ),
        ["update: learner.params.params.Dense_0.bias is float32[2] before and bfloat16[2] after",
         *["update: learner.params.params."] * 3, "update: learner: 9 more leaves change"],
    ),
    "metrics that are no scalars": (
        lambda: telling(many=jnp.zeros(3), word="x"),
        ["metric 'many' must be a scalar, got float32[3]", "metric 'word' must be a scalar, got s"],
    ),
    "metrics that are not there": (
        lambda: replaced(metrics=value(("entropy", "nosuch"))),
        ["metrics names ['nosuch'], which update does not return"],
    ),
    "metrics of taken names": (
        lambda: telling(**{"step": ONE, "train/mine": ONE, "hp.lr": ONE}),
        ["metric 'hp.lr' needs another name: rows have other entries in hp.",
         "metric 'step' needs another name: rows have an entry of that name",
         "metric 'train/mine' needs another name: rows have other entries in train/"],
    ),
    "scratch that is a number": (
        lambda: replaced(scratch_bytes=value(lambda rows: 8)),
        ["scratch_bytes must return {name: bytes}, got 8"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SHAPES)
def test_algorithms_whose_shapes_do_not_fit(case, loaded, tmp_path, programs):
    """In words, a line for each fault, before anything compiles or is written."""
    change, lines = SHAPES[case]
    made = copy_of_my_pg(make=change())
    register_algorithm("broken", made)
    with pytest.raises(UserError) as error:
        train("broken", "probe/match", run_dir=tmp_path / "run", display="none", **SMALL)
    first, *told, last = str(error.value).splitlines()
    assert first == "algorithm broken cannot be trained on probe/match:"
    assert last == "(lica_jax.testing.check_algorithm looks for more)"
    assert not programs and not (tmp_path / "run").exists()
    for line, start in zip(told, lines, strict=True):
        assert line.startswith(f"  - {start}"), line
    with pytest.raises(UserError, match="does not conform") as error:
        check_algorithm(made, trained=False)
    assert told == str(error.value).splitlines()[1:]


def test_numbers_without_a_type_of_their_own(loaded, x64):
    """Which the loop gives the type that they had."""

    def change(learner, told):
        count = jnp.where(learner.opt.count > 3, 3, 0)  # a weak int64
        return learner.replace(opt=learner.opt._replace(count=count)), told | {"one": 1}

    register_algorithm("typeless", copy_of_my_pg(make=updating(change)))
    task = make_task("probe/match")
    config = resolve(load_config("typeless", "probe/match"), task.spec)
    traced = trace_algorithm(make_algorithm("typeless", task.spec), task, config)
    assert not traced.problems and set(traced.metrics) == {*FIGURES, "one"}
    # Of a task outside JAX, its sizes do.
    outside = types.SimpleNamespace(spec=task.spec, open=None)
    assert trace_algorithm(make_algorithm("typeless", task.spec), outside, config) == traced


def test_the_command_line_refuses_an_algorithm(loaded, tmp_path, capsys, programs):
    """One message, exit code 2, and nothing written: alone and in a sweep."""
    register_algorithm("broken", copy_of_my_pg(make=SHAPES["acts in pairs"][0]()))
    folder = tmp_path / "runs"
    sweep = ["sweep", "broken", "probe/match", "--sweep-dir", str(folder), "--seeds", "0", "1"]
    for argv in (["train", "broken", "probe/match", "--run-dir", str(folder)], sweep):
        assert main(argv) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: algorithm broken cannot be trained on probe/match:\n  - act ")
        assert not folder.exists() and not programs


def test_what_an_algorithm_raises_has_a_line(package, registries, tmp_path, monkeypatch):
    """The message names it; in Python the error itself stands before it."""
    page = (package / "my_package" / "my_pg.py").read_text()
    line = page[: page.index("traj.valid.astype")].count("\n") + 1
    text = page.replace("traj.valid.astype", "traj.nosuch.astype")
    (tmp_path / "own_module.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_module", raising=False)
    register_algorithm("broken", "own_module")
    with pytest.raises(UserError, match=rf"'nosuch' \(own_module.py, line {line}\)") as error:
        train("broken", "probe/match", **SMALL)
    assert "update(learner, trajectory, key, ...) fails: AttributeError" in str(error.value)
    assert isinstance(error.value.__cause__, AttributeError)
    (tmp_path / "bad_module.py").write_text(page.replace("net = Pol", "net = nosuch or Pol"))
    register_algorithm("worse", "bad_module")
    with pytest.raises(UserError, match=r"make\(config, spec\) fails: NameError.*bad_module.py"):
        train("worse", "probe/match", **SMALL)


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
        if what in ("counts from one", "counts three from one"):
            first = int(what == "counts from one" or spec.n_actions == 3)

            def act(*args, **more):
                carry, action, extras = algo.act(*args, **more)
                return carry, action + first, extras

            return algo._replace(act=act)
        if what == "computes its policy":
            return algo._replace(policy=lambda x: jax.tree.map(lambda y: y * 1.0, algo.policy(x)))
        if what == "has no parameters":
            params = algo.policy(algo.init(jax.random.key(0)))
            return algo._replace(
                policy=lambda _: {}, act=lambda _, *a, **m: algo.act(params, *a, **m)
            )
        if what == "is always random":
            sure = jnp.ones
            return algo._replace(
                act=lambda p, c, ts, k, explore, **m: algo.act(
                    p, c, ts, k, explore=sure(explore.shape, bool), **m
                )
            )
        raise AssertionError(what)

    return make


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("forgets the mask", "an unavailable action was chosen"),
        ("counts from one", r"conform:\n  - act chose action 2; those of probe/match are 0 to 1$"),
        (
            "counts three from one",
            r"conform:\n  - act chose action 3; those of game/nonmonotonic are 0 to 2$",
        ),
        ("has no parameters", "must be the parameters that act needs; there are none"),
        ("is always random", "greedy play .* must not depend on the key"),
    ],
)
def test_algorithms_that_behave_badly(what, words, loaded):
    with pytest.raises(UserError, match=words):
        check_algorithm(copy_of_my_pg(make=broken(what)), trained=False)


def test_a_policy_may_be_computed(loaded):
    """An average of weights, say."""
    check_algorithm(copy_of_my_pg(make=broken("computes its policy")), trained=False)
