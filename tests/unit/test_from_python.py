"""What people hand over from Python: one message each, and nothing silently of another kind."""

import json
import pickle
import shutil
import signal
import sys
import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import lica_jax
from lica_jax import UserError, evaluate, load_config, load_policy, train
from lica_jax.envs import make_task
from lica_jax.envs.probe import Probe
from lica_jax.runs import in_words
from lica_jax.runs.checks import check_played, check_shapes
from tests.conftest import TINY

SMALL = TINY | {
    "total_steps": 64, "display": "none", "algo": {"hidden": 8, "minibatches": 2},
    "eval": {"interval": 10**6, "episodes": 8, "final_episodes": 8},
}  # fmt: skip


STATED = {name: value for name, value in SMALL.items() if name != "display"}


class Own(Probe):
    """A task of one's own, made with an argument."""

    def __init__(self, limit=4):
        super().__init__("match", limit, make_task("probe/match")._reward)
        self.spec = replace(self.spec, name="own")


class Endless(Own):
    """Its author forgot `truncated`."""

    def step(self, key, state, action):
        state, ts = super().step(key, state, action)
        never = jnp.zeros((), bool)
        return state, ts.replace(terminated=never, truncated=never)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "a"
    train("ippo", "game/climbing", run_dir=path, **SMALL)
    return path


def rich():
    """Of the same spec as `Own()`, and paid more."""
    task = Own()
    task._reward = lambda *_: 7.0
    return task


def test_an_object_made_with_other_arguments_is_another_task(tmp_path):
    """Whether its spec says so or not."""
    for name, own, other, told in (
        ("a", Own(6), Own(8), r"\(episode_limit 8, not 6\)"),
        ("b", rich(), Own(), r"\(its attributes have other values\)"),
    ):
        result, path = train("ippo", own, run_dir=tmp_path / name, **SMALL), tmp_path / name
        with pytest.raises(UserError, match=r":Own leads to another task than the one meant by"):
            evaluate(path, episodes=8)
        figures = evaluate(path, task=own, episodes=8)
        assert figures["task"] == "own"
        assert evaluate(result, episodes=8)["greedy"] == figures["greedy"]
        words = {"run_dir": path, "resume": True, "total_steps": 128, "display": "none"}
        for names, words_ in (
            ((), r":Own leads to another task"),
            (("ippo", f"{__name__}:Own"), "holds a run of another .*:Own"),
            ((load_config("ippo", f"{__name__}:Own", **STATED),), "holds a run of another .*:Own"),
        ):
            with pytest.raises(UserError, match=words_):
                train(*names, **words)
        if "limit" in told:
            with pytest.raises(UserError, match=rf"holds a run of another .*:Own {told}"):
                train("ippo", other, **words)
        longer = train("ippo", own, **SMALL | words)
        assert longer.summary["env_steps"][0] >= 128


def test_an_object_that_is_given_goes_on_with_a_warning(tmp_path):
    """What it keeps for itself may have changed since: nobody is locked out of a run."""
    words = SMALL | {"run_dir": tmp_path, "resume": "auto"}
    train("ippo", rich(), **words)
    used = rich()
    used.table = [1, 2]
    with pytest.warns(UserWarning, match=r"another .*:Own than it was begun with: its attributes"):
        longer = train("ippo", used, **words | {"total_steps": 128})
    assert longer.summary["env_steps"][0] >= 128
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train("ippo", used, **words | {"total_steps": 128})
    assert pickle.loads(pickle.dumps(longer)).task is None
    assert evaluate(longer.policy(), episodes=8)["task"] == "own"


KEPT = Own(6)


def test_an_object_is_the_same_wherever_it_is_kept(tmp_path):
    """In a variable, or made once more as it was."""
    begun = train("ippo", Own(6), run_dir=tmp_path, **SMALL)
    words = SMALL | {"run_dir": tmp_path, "resume": "auto", "total_steps": 128}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        longer = train("ippo", KEPT, **words)
    assert begun.config.task.partition("#")[0].endswith(":Own")
    assert longer.config.task.partition("#")[0].endswith(":KEPT")
    assert longer.summary["env_steps"][0] >= 128 and evaluate(tmp_path, episodes=8)
    again = train("ippo", f"{__name__}:KEPT", **words)  # named by where it is
    assert again.config.task == longer.config.task


def test_a_run_of_before_knows_of_an_object_what_its_spec_says(tmp_path):
    train("ippo", Own(6), run_dir=tmp_path, **SMALL)
    stored = json.loads((tmp_path / "config.json").read_text())
    stored["task"] = stored["task"].partition("#")[0]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match=r"holds a run of another .*:Own .*not 6"):
        train(run_dir=tmp_path, resume=True, total_steps=128, display="none")
    longer = train("ippo", Own(6), run_dir=tmp_path, resume=True, **SMALL | {"total_steps": 128})
    assert longer.summary["env_steps"][0] >= 128


def test_a_class_is_no_task():
    with pytest.raises(UserError, match="task must be a name or an object, got the class Own"):
        train("ippo", Own, **SMALL)


def test_a_sweep_takes_a_task_that_is_an_object(tmp_path):
    """By what it is found again under: the class, where it needs no arguments."""
    words = SMALL | {"sweep_dir": tmp_path, "wave": 1}
    for other in (Own(6), rich()):
        with pytest.raises(UserError, match=r"cannot find the task own again: .*:Own leads to ano"):
            lica_jax.sweep("ippo", other, **words)
    with pytest.raises(UserError, match="must be a name or a list of names, or task objects"):
        lica_jax.sweep("ippo", Own, **words)
    found = lica_jax.sweep("ippo", Own(), grid={"hp.gamma": [0.9, 0.99]}, **words)
    assert {row["status"] for row in found.table} == {"finished"}
    assert repr(found).startswith("<SweepResult 2 runs; ") and str(tmp_path) in repr(found)
    assert found.run(0).config.task.partition("#")[0].endswith(":Own")


def test_a_result_has_both_policies_with_their_facts(tmp_path):
    """As `load_policy` finds them in the folder, and as `load_result` reads them back."""
    result = train("ippo", "probe/match", seeds=(3, 5), run_dir=tmp_path / "a", **SMALL)
    again = lica_jax.load_result(tmp_path / "a")
    obs = np.random.default_rng(0).normal(size=(8, 2, result.spec.obs_size))
    for seed, which in ((3, "best"), (5, "best"), (3, "last"), (5, "last")):
        stem = "policy" if which == "best" else "policy_last"
        policy = load_policy(tmp_path / "a" / f"{stem}_seed{seed}.safetensors")
        for one in (result.policy(seed, which=which), again.policy(seed, which=which)):
            assert json.loads(json.dumps(one.about)) == policy.about
            jax.tree.map(np.testing.assert_array_equal, one.params, policy.params)
            np.testing.assert_array_equal(one.act(obs)[0], policy.act(obs)[0])
    for which in ("last", "all-seeds"):
        of_files, of_result = (
            evaluate(x, which=which, episodes=8) for x in (tmp_path / "a", again)
        )
        assert of_files == of_result == evaluate(result, which=which, episodes=8)
    with pytest.raises(UserError, match="which must be best or last, got 'first'"):
        result.policy(which="first")
    with pytest.raises(UserError, match="which must be one of best, last, all-seeds"):
        evaluate(result, which="first")


class Interrupt:
    """Ctrl-C at the second look at the metrics."""

    def __init__(self):
        self.seen = 0

    def on_metrics(self, info):
        self.seen += 1
        if self.seen == 2:
            signal.raise_signal(signal.SIGINT)


LONG = SMALL | {"total_steps": 2000, "eval": {"interval": 64, "episodes": 8, "final_episodes": 8}}


@pytest.fixture
def heeding():
    """Ctrl-C counts, also where tests run in the background and were told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding")
def test_a_cell_may_be_run_again(tmp_path):
    """After Ctrl-C, and after it has come to its end; with other settings it is refused."""
    own = {"run_dir": tmp_path / "a", "resume": "auto"}
    with pytest.raises(
        KeyboardInterrupt, match=r"load_result\('.*/a', unfinished=True\) is the re"
    ):
        train("ippo", "game/climbing", callbacks=[Interrupt()], **LONG | own)
    with pytest.raises(UserError, match=r"has not come to its end: .*unfinished=True"):
        lica_jax.load_result(tmp_path / "a")
    stopped = lica_jax.load_result(tmp_path / "a", unfinished=True)
    assert stopped.summary["interrupted"] and 0 < stopped.summary["env_steps"][0] < 2000
    assert len(stopped.evaluations) and stopped.policy().spec.name == "game/climbing"
    again = train("ippo", "game/climbing", **LONG | own)
    assert again.summary["env_steps"][0] >= 2000
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*")}
    shutil.rmtree(tmp_path / "a" / "checkpoints")  # of a run that is not to be continued
    once_more = train("ippo", "game/climbing", **LONG | own)
    assert once_more.summary == again.summary and once_more.metrics == again.metrics
    jax.tree.map(np.testing.assert_array_equal, once_more.params, again.params)
    critics = (result.policy(which="last").critic for result in (once_more, again))
    jax.tree.map(np.testing.assert_array_equal, *critics)
    assert not [p for p in (tmp_path / "a").glob("*.*") if p.stat().st_mtime_ns != before[p]]
    less = {k: v for k, v in (LONG | own).items() if k != "algo"}
    for other, told in (
        (LONG | own | {"hp": {"gamma": 0.5}}, "hp.gamma"),
        (less, "algo.hidden: 8"),
    ):
        with pytest.raises(UserError, match=rf"another configuration:\n  - {told}"):
            train("ippo", "game/climbing", **other)
    with pytest.raises(UserError, match="needs the run_dir of a run that may be there"):
        train("ippo", "game/climbing", resume="auto", **SMALL)
    with pytest.raises(UserError, match="resume must be True, False or \"auto\", got 'yes'"):
        train("ippo", "game/climbing", run_dir=tmp_path / "a", resume="yes", **SMALL)
    with pytest.raises(KeyboardInterrupt, match="nothing was kept: train with run_dir="):
        train("ippo", "game/climbing", callbacks=[Interrupt()], **LONG)


@pytest.mark.usefixtures("heeding")
def test_a_run_that_has_not_ended_has_no_result(tmp_path):
    """Of several seeds, none of which failed: stopped, or continued and then killed."""
    words = LONG | {"seeds": [3, 5], "run_dir": tmp_path / "a"}
    with pytest.raises(KeyboardInterrupt):
        train("ippo", "game/climbing", callbacks=[Interrupt()], **words)
    with pytest.raises(UserError, match="has not come to its end"):
        lica_jax.load_result(tmp_path / "a")
    train(run_dir=tmp_path / "a", resume=True, display="none")
    shutil.copy(tmp_path / "a" / "result.json", tmp_path / "before.json")
    ended = lica_jax.load_result(tmp_path / "a")
    longer = {"resume": True, "display": "none", "total_steps": 3000}
    train(run_dir=tmp_path / "a", **longer)
    assert len(lica_jax.load_result(tmp_path / "a").evaluations) > len(ended.evaluations)
    shutil.copy(tmp_path / "before.json", tmp_path / "a" / "result.json")  # as if killed before
    with pytest.raises(UserError, match="has not come to its end"):
        lica_jax.load_result(tmp_path / "a")
    killed = lica_jax.load_result(tmp_path / "a", unfinished=True)
    assert killed.evaluations == ended.evaluations and killed.metrics == ended.metrics


@pytest.mark.parametrize("name", ["policy_seed1", "policy_last_seed0", "policy", "policy_last"])
def test_policies_that_are_missing_are_written_once_more(tmp_path, name):
    words = SMALL | {"seeds": [0, 1], "run_dir": tmp_path / "a"}
    before = train("ippo", "game/climbing", **words)
    whole = (path := tmp_path / "a" / f"{name}.safetensors").read_bytes()
    for damage in (path.unlink, lambda: path.write_bytes(whole[:100])):
        damage()
        again = train(run_dir=tmp_path / "a", resume=True, display="none")
        assert path.read_bytes() == whole
        jax.tree.map(np.testing.assert_array_equal, again.params, before.params)


def test_what_was_stopped_at_its_goal_has_ended_for_those_who_want_no_more(tmp_path):
    words = LONG | {"run_dir": tmp_path / "a", "resume": "auto"}
    goal = {"stop_at": "eval/return_mean=-1e9"}
    first = train("ippo", "game/climbing", **words, **goal)
    assert first.stopped and first.summary["env_steps"][0] < 1000
    again = train("ippo", "game/climbing", **words, **goal)
    assert again.summary == first.summary
    assert train("ippo", "game/climbing", **words).summary["env_steps"][0] >= 2000


def test_a_sweep_may_be_run_again(tmp_path):
    words = SMALL | {"sweep_dir": tmp_path / "s", "wave": 1, "resume": "auto", "seeds": 0}
    rows = lica_jax.sweep("ippo", "game/climbing", **words).table
    assert lica_jax.sweep("ippo", "game/climbing", **words).table == rows
    with pytest.raises(UserError, match="holds another sweep"):
        lica_jax.sweep("ippo", "game/climbing", **words | {"hp": {"gamma": 0.5}})
    with pytest.raises(UserError, match=r"holds another sweep:\n  - algorithms: .*ippo.*mappo"):
        lica_jax.sweep("mappo", "game/climbing", **words)
    with pytest.raises(UserError, match=r"holds another sweep:\n  - algo.hidden: 8"):
        lica_jax.sweep("ippo", "game/climbing", **{k: v for k, v in words.items() if k != "algo"})
    for odd in ({"resume": "yes"}, {"sweep_dir": None}):
        with pytest.raises(UserError, match=r'must be True, False or "auto"|say which sweep'):
            lica_jax.sweep("ippo", "game/climbing", **words | odd)


def test_a_result_goes_where_its_directory_goes(run_dir, tmp_path):
    result = lica_jax.load_result(run_dir)
    assert load_policy(result).about == load_policy(run_dir).about
    assert lica_jax.load_runs(result).equals(lica_jax.load_runs([run_dir]))
    assert lica_jax.load_runs(run_dir.parent).equals(lica_jax.load_runs([run_dir]))
    assert lica_jax.report([result]).summary == lica_jax.report(run_dir).summary
    with pytest.raises(UserError, match="needs at least one directory"):
        lica_jax.load_runs()
    twice = lica_jax.load_runs(run_dir, [result])
    assert len(twice) == 2 * len(lica_jax.load_runs(run_dir))
    with pytest.raises(UserError, match=r"no run directory: train with run_dir=.*\.policy\(\)"):
        load_policy(replace(result, run_dir=None))
    words = SMALL | {"sweep_dir": tmp_path / "s", "wave": 1}
    found = lica_jax.sweep("ippo", "game/climbing", seeds="0:2", **words)
    assert (
        set(lica_jax.load_runs(found)["seed"])
        == {0, 1}
        == {r.seed for r in lica_jax.report(found).runs}
    )
    with pytest.raises(UserError, match=r"is of a sweep: name one of its runs"):
        evaluate(found)


def test_numbers_as_people_write_them(run_dir):
    assert evaluate(run_dir, episodes=1e1)["greedy"]["episodes"] >= 10
    for odd in (1.5, True, "10", float("nan"), float("inf")):
        with pytest.raises(UserError, match="episodes must be an integer within"):
            evaluate(run_dir, episodes=odd)
    assert "2 episodes" in repr(lica_jax.render(run_dir, episodes=2e0))
    with pytest.raises(UserError, match=r"episodes must be an integer within 1 and 20, got 1\.5"):
        lica_jax.render(run_dir, episodes=1.5)
    assert train("ippo", "game/climbing", seeds="2:4", **SMALL).config.seeds == (2, 3)


def test_settings_on_top_of_a_configuration():
    base = load_config("ippo", "game/climbing", **STATED)
    over = {"seeds": 3, "hp": {"gamma": 0.5}, "display": "none"}
    config = train(base, **over).config
    assert config.seeds == (3,) and config.hp.gamma == 0.5 and config.algo == base.algo
    own = load_config("ippo", f"{__name__}:Own", **STATED)
    assert train(own, Own(), display="none").config.task.partition("#")[0] == own.task
    for asked in ({"task": "game/penalty"}, {"preset": "paper"}):
        with pytest.raises(UserError, match=f"a TrainConfig has its {next(iter(asked))} already"):
            train(base, **asked)


def test_a_result_draws_its_curve(run_dir, tmp_path):
    result = lica_jax.load_result(run_dir)
    figure = result.plot(tmp_path / "new" / "a.png")
    assert figure.axes[0].get_ylabel() == "episode return"
    left, right = (mine := Figure()).subplots(1, 2)
    assert result.plot(tmp_path / "two.png", ax=right) is right
    assert mine.axes == [left, right] and not left.lines
    drawn, alone = (axes.lines[0].get_xydata() for axes in (right, figure.axes[0]))
    np.testing.assert_array_equal(drawn, alone)
    assert (tmp_path / "two.png").is_file()
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match=r"a\.xyz cannot be written"):
        result.plot(tmp_path / "a.xyz")


def test_a_task_whose_episodes_never_end():
    with pytest.raises(UserError, match=r"no episode of own ended within spec\.episode_limit, 4"):
        train("ippo", Endless(), **SMALL)


class Odd(Own):
    """Something of a step is another value than it may be, from the second step on."""

    def __init__(self, **odd):
        super().__init__()
        self._odd = odd

    def step(self, key, state, action):
        state, ts = super().step(key, state, action)
        late = state.t > 1
        changed = {k: jnp.where(late, x, getattr(ts, k)) for k, x in self._odd.items()}
        return state, ts.replace(**changed)


def test_a_task_may_leave_nothing_to_do_where_its_episode_is_over():
    class Done(Own):
        def step(self, key, state, action):
            state, ts = super().step(key, state, action)
            return state, ts.replace(avail=ts.avail & ~(ts.terminated | ts.truncated))

    check_played(Done())


def test_own_tasks_are_played_with_the_types_of_training():
    """In 64-bit mode, too, where random draws are wider: a state may hold the last action."""

    class Keeping(Own):
        def reset(self, key):
            state, ts = super().reset(key)
            return (state, jnp.zeros(2, jnp.int32)), ts

        def step(self, key, state, action):
            state, ts = super().step(key, state[0], action)
            return (state, action), ts

    with jax.enable_x64(True):
        check_played(Keeping())


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"reward": jnp.nan}, "obs, state and reward must be finite, always"),
        ({"obs": jnp.inf}, "obs, state and reward must be finite, always"),
        ({"avail": False}, "every agent must have an available action until its episode ends"),
        ({"avail": jnp.arange(2) > 0}, r"unavailable: spec\.masks_actions must be True"),
        ({"first": True}, "first must be True at reset, and False after every step"),
    ],
)
def test_a_task_whose_numbers_would_mislead(odd, words, tmp_path, monkeypatch):
    """Without a word nothing would be learned, or battles won by nobody's actions."""
    with pytest.raises(UserError, match=r"task own cannot be trained .*\n  - .*" + words) as error:
        train("ippo", Odd(**odd), run_dir=tmp_path / "a", **SMALL)
    assert not (tmp_path / "a").exists()
    kept = Odd(**odd)
    monkeypatch.setattr(sys.modules[__name__], "KEPT", kept, raising=False)
    for _ in range(2):  # nothing is written that would be in the way
        with pytest.raises(UserError, match=r"task own cannot be trained"):
            lica_jax.sweep("ippo", kept, sweep_dir=tmp_path / "s", wave=1, **SMALL)
    assert not (tmp_path / "s").exists()
    assert "finite" in words or "finite" not in str(error.value)


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"first": False}, "first must be True at reset, and False after every step"),
        ({"terminated": True}, "an episode must not be over at reset"),
        ({"truncated": True}, "an episode must not be over at reset"),
    ],
)
def test_a_task_that_begins_oddly(odd, words):
    """A memory would go on into the next episode; training would never come to an end."""

    class Begun(Own):
        def reset(self, key):
            state, ts = super().reset(key)
            return state, ts.replace(**{k: jnp.full_like(getattr(ts, k), odd[k]) for k in odd})

    with pytest.raises(UserError, match=rf"task own cannot be trained .*\n  - {words}$"):
        check_played(Begun())


def test_info_keeps_its_types():
    """A scan cannot bear that it does not; numbers of Python's are of any type."""

    class Told(Own):
        def __init__(self, start, later):
            super().__init__()
            self._infos = start, later

        def reset(self, key):
            state, ts = super().reset(key)
            return state, ts.replace(info=self._infos[0])

        def step(self, key, state, action):
            state, ts = super().step(key, state, action)
            return state, ts.replace(info=self._infos[1])

    check_shapes(Told({"far": 0}, {"far": jnp.float32(1)}))
    for start, later, words in (
        ({"far": jnp.array(False)}, {"far": jnp.float32(1)},
         r"info\.far is bool\[\] at reset and float32\[\] after a step"),
        ({}, {"far": jnp.float32(1)}, "info must keep its structure; after a step it has far more"),
        ({"far": 0}, {}, "info must keep its structure; after a step it lacks far"),
        ({"far": {"a": 0}}, {"far": 0}, r"reset: info\['far'\] must be a scalar"),
        ({"far": None}, {"far": 0}, r"reset: info\['far'\] must be a scalar"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            check_shapes(Told(start, later))


@pytest.mark.parametrize("algorithm", ["iddpg", "coma_fc"])
def test_nobody_acts_on_nothing(algorithm):
    class Blind(Own):
        def __init__(self):
            super().__init__()
            self.spec = replace(self.spec, obs_size=0)

        def _timestep(self, *args, **more):
            ts = super()._timestep(*args, **more)
            return ts.replace(obs=jnp.zeros((2, 0)))

    with pytest.raises(UserError, match="own has no observations, which are all that these"):
        train(algorithm, Blind(), **SMALL | {"algo": {}})


def test_a_policy_is_pickled_and_finds_its_critic_from_anywhere(run_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(run_dir.parent)
    policy = load_policy("a")
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(pickle.dumps(policy))
    obs = np.random.default_rng(0).normal(size=(2, policy.spec.obs_size))
    np.testing.assert_array_equal(again.act(obs)[0], policy.act(obs)[0])
    assert policy.critic is not None and again.critic is not None


def test_a_memory_or_a_key_that_is_none(run_dir):
    policy = load_policy(run_dir)
    obs = np.zeros((2, policy.spec.obs_size), np.float32)
    _, alone = policy.act(obs)
    assert policy.act(obs, None, alone, key=jax.random.PRNGKey(1))[0].shape == (2,)
    for observed, carry in ((np.stack([obs] * 3), alone), (obs, policy.initial_carry(1))):
        with pytest.raises(UserError, match=r"carry is not the memory of.*initial_carry\("):
            policy.act(observed, None, carry)
    with pytest.raises(UserError, match=r"one array of all agents: jnp\.stack"):
        policy.act({"agent_0": obs[0], "agent_1": obs[1]})
    for key in (0, np.random.default_rng(0), jax.random.split(jax.random.key(0))):
        with pytest.raises(UserError, match="key must be a key"):
            policy.act(obs, key=key)


@pytest.mark.parametrize(
    "changes",
    [{"seeds": 0}, {"algorithm": "mappo"}, {"hp": 3}, {"collect": []}, {"preset": 3}],
    ids=str,
)
def test_a_configuration_that_is_put_together_wrongly(changes, programs):
    config = replace(load_config("lica", "game/climbing"), **changes)
    with pytest.raises(UserError):
        train(config, display="none")
    assert not programs


def test_what_is_no_path(run_dir, tmp_path):
    for call in (lica_jax.render, lica_jax.report):
        for wrong in (None, 3, b"runs", object()):
            with pytest.raises(UserError, match="must be a path"):
                call(wrong)
    with pytest.raises(UserError, match=r"is not a run directory: it has no config\.json"):
        train(run_dir=tmp_path / "misspelt", resume=True)
    with pytest.raises(UserError, match="which sweep to go on with"):
        lica_jax.sweep(resume=True)


class Stateless:
    """A task that gives no state: whoever needs none takes it."""

    def __init__(self, inner=None):
        self._inner = inner or make_task("probe/match")
        self.spec = replace(self._inner.spec, name="stateless", state_size=0)

    def reset(self, key):
        state, ts = self._inner.reset(key)
        return state, ts.replace(state=ts.state[:0])

    def step(self, key, state, action):
        state, ts = self._inner.step(key, state, action)
        return state, ts.replace(state=ts.state[:0])


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("ippo", "steps"),
        ("iql", "episode"),
        ("iddpg", "steps"),
        ("lica_adv", "steps"),
        ("qmix", "steps"),
        ("lica", "steps"),
        ("coma", "steps"),
        ("liir", "steps"),
    ],
)
def test_a_task_without_a_state_is_trained_and_resumed(name, mode, tmp_path):
    task = Stateless()
    words = SMALL | {"collect": {"mode": mode, "envs": 4, "length": 4}, "algo": {"hidden": 8}}
    if name in ("iql", "iddpg", "qmix"):
        words["algo"] |= {"replay_capacity": 128, "replay_batch": 16}
    if name in ("lica_adv", "qmix", "lica"):  # their critics read the observations instead
        words["algo"] |= {"state_obs": True, "state_last_action": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(name, task, run_dir=tmp_path, **words)
        more = train(name, task, run_dir=tmp_path, resume=True, total_steps=640, display="none")
    assert more.summary["env_steps"][0] >= 640
    assert load_policy(tmp_path).spec.state_size == 0


def test_a_run_that_goes_on_has_no_result(run_dir, tmp_path):
    """The one of its shorter budget is there until it comes to its end once more."""
    path = shutil.copytree(run_dir, tmp_path / "r")
    config = json.loads((path / "config.json").read_text())
    config["total_steps"] *= 10
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="has not come to its end: "):
        lica_jax.load_result(path)


def test_a_run_says_why_it_ended(run_dir):
    summary = lica_jax.load_result(run_dir).summary
    left = {k: v for k, v in summary.items() if k not in ("final", "best")}
    left |= {"status": "stopped by halving"}
    assert "; stopped by halving>" in in_words.one_line(left, None)
    assert ", stopped by halving" in in_words.table(left, None)
    failed = left | {"status": "failed at update 3", "failed_at_update": [3]}
    assert "the loss of every run became non-finite" in in_words.one_line(failed, None)
    one = summary | {"seeds": [0, 1], "failed_at_update": [None, 3]}
    for text in (in_words.one_line(one, None), in_words._failures(one)[0]):
        assert "seed 1 failed at update 3" in text


def test_names_are_offered_once():
    assert len(dir(lica_jax)) == len(set(dir(lica_jax))) and "importlib" not in dir(lica_jax)
    assert {"train", "sweep", "load_policy"} <= set(dir(lica_jax))
