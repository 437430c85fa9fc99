"""Tasks outside JAX: the same episodes and the same update as tasks inside, and lost episodes."""

import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms import make_algorithm
from lica_jax.api import evaluate, train
from lica_jax.config import load_config, resolve
from lica_jax.engines.games import Moment, Stopped, is_host_task
from lica_jax.engines.lockstep import LockstepEngine, make_programs
from lica_jax.engines.playing import MAX_LOST, Recorder, play
from lica_jax.engines.shapes import ShapeTask
from lica_jax.envs import make_task
from lica_jax.errors import TrainingFailed, UserError
from lica_jax.policy import Policy
from lica_jax.training.loop import bound_act, make_learn, make_run, progress_of
from lica_jax.training.rollout import start_stream, unroll
from lica_jax.types import EpisodeStats, Progress, TaskSpec, TimeStep

N_ENVS, LIMIT = 5, 7


class Race:
    """Agents that agree on action 1 get on; over after a random number of such steps (won) or at
    the limit. A JAX task whose episodes have different lengths."""

    spec = TaskSpec(
        name="race/track", n_agents=2, n_actions=3, obs_size=3, state_size=4, episode_limit=LIMIT,
        has_win=True, masks_actions=True, timeout_is_terminal=True, source="test",
    )  # fmt: skip

    def _show(self, goal, done, t, reward, first):
        won = done >= goal
        own = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        obs = jnp.concatenate([own, jnp.full((2, 1), goal / 4.0)], axis=1)
        state = jnp.stack([goal / 4.0, done / 4.0, t / LIMIT, 1.0])
        return TimeStep(
            obs=obs, state=state, avail=jnp.array([[True, True, True], [True, True, False]]),
            reward=reward, terminated=won, truncated=(t >= LIMIT) & ~won, first=first,
            alive=jnp.ones(2, bool), info={"won": won},
        )  # fmt: skip

    def reset(self, key):
        goal = jax.random.randint(key, (), 2, 4).astype(jnp.float32)
        zero = jnp.zeros(())
        return (goal, zero, zero), self._show(goal, zero, zero, zero, jnp.array(True))

    def step(self, key, state, action):
        goal, done, t = state
        together = jnp.all(action == 1) | jax.random.bernoulli(key, 0.2)
        done = done + together
        after = (goal, done, t + 1)
        return after, self._show(*after, together / goal, jnp.array(False))


@partial(jax.jit, static_argnums=1)
def race_reset(key, n):
    return jax.vmap(Race().reset)(jax.random.split(key, n))


@jax.jit
def race_step(key, env, action):
    return jax.vmap(Race().step)(jax.random.split(key, len(action)), env, action)


class RaceGames:
    """`Race` behind the interface of games outside JAX; rows in ``faults`` break off at a step."""

    source, genuine, reason = "race", True, "it broke off"

    def __init__(self, n, keys=None, faults=()):
        self.n = n
        self._keys = keys or (jax.random.key(i) for i in range(10**6))
        self._faults = list(faults)  # (row, number of its step), each happens once
        self._t = np.zeros(n, int)
        self.closed = False
        self._env = self._shown = None

    def _keep(self, which, env, ts):
        if self._env is None:
            self._env, self._shown = env, ts

        def pick(new, old):
            return np.where(which.reshape(-1, *[1] * (np.ndim(new) - 1)), new, old)

        self._env = jax.tree.map(pick, env, self._env)
        self._shown = jax.tree.map(pick, ts, self._shown)

    def _moment(self, lost):
        s = self._shown
        return Moment(
            *map(np.asarray, (s.obs, s.state, s.avail, s.alive, s.reward)),
            *map(np.asarray, (s.terminated, s.truncated)),
            {"won": np.asarray(s.info["won"])}, lost,
        )  # fmt: skip

    def start(self, which):
        self._t[which] = 0
        self._keep(which, *jax.device_get(race_reset(next(self._keys), self.n)))
        return self._moment(np.zeros(self.n, bool))

    def step(self, action, which):
        assert not (self._shown.terminated | self._shown.truncated)[which].any()
        after = race_step(next(self._keys), self._env, np.asarray(action))
        self._keep(which, *jax.device_get(after))
        lost = np.zeros(self.n, bool)
        for row in np.flatnonzero(which):
            if (row, self._t[row]) in self._faults:
                lost[row] = True
                self._faults.remove((row, self._t[row]))
        self._t += which
        return self._moment(lost)

    def save_replays(self, folder):
        return [], "races have none"

    def stats(self):
        return {"restarts": 0}

    def close(self):
        self.closed = True


class RaceTask:
    """A host task."""

    spec = Race.spec

    def __init__(self, faults=()):
        self.faults, self.opened = faults, []

    playable = True

    def check(self):
        if not self.playable:
            raise UserError("no such game here")

    def open(self, envs, seed):
        self.opened.append((envs, seed, RaceGames(envs, faults=self.faults)))
        return self.opened[-1][-1]


def settings(name="lica", **changes):
    small = {"hidden": 8}
    if name == "lica":
        small |= {"mixing_embed": 4, "hypernet_hidden": 4, "critic_pass": "dense"}
    values = {"collect": {"mode": "episode", "envs": N_ENVS}, "algo": small}
    return resolve(load_config(name, "probe/match", **values | changes), Race.spec)


@pytest.fixture(scope="module")
def parts():
    config = settings()
    algo = make_algorithm("lica", Race.spec, config.algo)
    init, _ = make_run(algo, Race(), config.collect, True)
    state = jax.jit(init)(jax.random.key(3))
    hp = jax.tree.map(np.asarray, config.hp)
    explore = np.ones(N_ENVS, bool)
    act = jax.jit(
        partial(bound_act, algo, algo.policy(state.learner), hp, progress_of(state), explore)
    )
    return algo, state, hp, act


@pytest.fixture(scope="module")
def learn(parts):
    return jax.jit(make_learn(parts[0], Race.spec, True))


PLAY_KEY, RESET_KEY = jax.random.key(11), jax.random.key(12)


@pytest.fixture(scope="module")
def inside(parts):
    """Episodes played by the compiled rollout, and their figures."""
    algo, _, _, act = parts

    @jax.jit
    def run(reset_key, key):
        stream = start_stream(Race(), algo.initial_carry(N_ENVS), reset_key, N_ENVS)
        return unroll(Race(), act, stream, key, LIMIT, restart=False)[1:]

    return jax.device_get(run(RESET_KEY, PLAY_KEY))


def outside(parts, faults=()):
    """The same episodes played by the host, from the same keys; from others with ``faults``."""
    algo, _, _, act = parts
    keys = jax.random.split(PLAY_KEY, LIMIT + 1)
    act_keys = [jax.random.split(k, 3)[0] for k in keys[:-1]] + [keys[-1]]
    env_keys = iter([RESET_KEY, *(jax.random.split(k, 3)[1] for k in keys[:-1])])
    games = RaceGames(N_ENVS, env_keys if not faults else None, faults)
    recorder = Recorder(Race.spec, N_ENVS)
    spare = [jax.random.key(i) for i in range(100, 200)]
    supply = spare if faults else act_keys
    carry = algo.initial_carry(N_ENVS)
    episodes, lost = play(games, lambda c, ts, call: act(c, ts, supply[call]), carry, recorder)
    return recorder.trajectory(carry), episodes, lost


def test_the_host_plays_the_compiled_rollouts_episodes(parts, inside):
    theirs, stats = inside
    ours, episodes, lost = outside(parts)
    np.testing.assert_array_equal(ours.valid, theirs.valid)
    assert 0 < theirs.valid.sum() < theirs.valid.size  # episodes of different lengths
    assert lost == 0 and episodes.finished.all()
    np.testing.assert_allclose(episodes.returns.sum(), stats.return_sum, rtol=1e-6)
    assert (
        episodes.length.sum() == stats.length_sum
        and episodes.info["won"].sum() == stats.info_sums["won"]
    )
    # Everything up to the end of each episode, the action of the last slot included; behind it the
    # end is repeated in both.
    seen = np.concatenate([np.ones((1, N_ENVS), bool), theirs.valid])
    for a, b in zip(jax.tree.leaves(theirs.steps), jax.tree.leaves(ours.steps), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(theirs.action[seen], ours.action[seen])


def test_the_same_batch_gives_the_same_parameters(parts, inside, learn):
    _, state, hp, _ = parts
    theirs, stats = inside
    batches = theirs, outside(parts)[0]
    after = [learn(state, x, stats, jax.random.key(5), hp)[0] for x in batches]
    for a, b in zip(*(jax.tree.leaves(s.learner) for s in after), strict=True):
        np.testing.assert_array_equal(a, b)
    before = jax.tree.leaves(state.learner)
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(before, jax.tree.leaves(after[0].learner), strict=True)
    )


def test_a_compiled_chunk_is_collection_and_learning(parts):
    """`make_learn` is what `chunk` does: no update of its own for host tasks."""
    algo, state, hp, _ = parts
    _, chunk = make_run(algo, Race(), settings().collect, True)
    whole, metrics = jax.jit(chunk, static_argnums=2)(state, hp, 1)
    assert metrics["learn"]["loss"].shape == (1,)
    assert int(whole.updates) == 1 and int(whole.episodes) == N_ENVS


def test_a_lost_episode_is_replaced_and_leaves_no_trace(parts):
    played, episodes, lost = outside(parts, faults=[(1, 0), (3, 1)])
    assert lost == 2 and episodes.finished.all()
    np.testing.assert_array_equal(played.valid.sum(axis=0), episodes.length)
    first, valid = np.asarray(played.steps.first), np.asarray(played.valid)
    assert first[0].all() and not first[1:-1][valid[1:]].any()
    over = played.steps.terminated | played.steps.truncated
    assert not over[:-1][valid].any(), "a transition that counts begins in an episode that goes on"
    for row in range(N_ENVS):
        assert over[episodes.length[row], row]
        rewards = played.steps.reward[1:, row][valid[:, row]]
        np.testing.assert_allclose(rewards.sum(), episodes.returns[row], rtol=1e-6)


def test_an_environment_that_only_loses_is_left_out(parts, inside, learn):
    faults = [(2, 1)] * MAX_LOST  # after a step that was written down
    played, episodes, lost = outside(parts, faults)
    assert lost == MAX_LOST
    assert list(episodes.finished) == [True, True, False, True, True]
    assert not played.valid[:, 2].any() and played.valid[:, 1].any()
    _, state, hp, _ = parts
    after, metrics = learn(state, played, inside[1], jax.random.key(5), hp)
    assert np.isfinite(metrics["learn"]["loss"]) and int(after.updates) == 1
    assert int(after.env_steps) == played.valid.sum()


shared_programs = cache(make_programs)


def lockstep(algo, task, n_runs=1):
    programs = shared_programs(algo, task.spec, N_ENVS, True)
    return LockstepEngine(task, programs, n_runs=n_runs, seed="0")


@partial(jax.jit, static_argnums=1)
def of_runs(state, n):
    """A run's state as that of ``n`` runs."""
    return jax.tree.map(lambda x: jnp.stack([x] * n), state)


def test_every_step_draws_anew(parts):
    """With one key for all steps, agents who see the same would do the same all along."""
    algo, state, hp, _ = parts
    zeros = jax.tree.map(np.zeros_like, jax.device_get(state.learner))
    states = of_runs(state.replace(learner=zeros), 1)
    trajectory = lockstep(algo, RaceTask())._collect(states, 0, hp, lambda: False)[0]
    action, valid = np.asarray(trajectory.action)[:-1], np.asarray(trajectory.valid)
    assert any(len(set(action[valid[:, b], b, 0])) > 1 for b in range(N_ENVS))
    assert len({tuple(a) for a in action[0]}) > 1  # nor do all environments do the same


def test_training_stops_when_no_episode_can_be_played(parts):
    algo, state, hp, _ = parts
    runs = lockstep(algo, RaceTask([(i, 0) for i in range(N_ENVS)] * MAX_LOST))
    hp = jax.tree.map(lambda x: x[None], hp)
    with pytest.raises(TrainingFailed, match=r"lost 3 episodes in a row.*it broke off"):
        runs.chunk(of_runs(state, 1), hp, 1)


@pytest.fixture
def race():
    """``race/track`` as a registered host task."""
    from lica_jax.envs import Family, registry

    task = RaceTask([(0, 1)])
    family = Family(names=("track",), make=lambda name: task)
    with pytest.MonkeyPatch.context() as patch:  # no program knows it: none is to be forgotten
        patch.setitem(registry._REGISTERED, "race", family)
        yield task


def tiny(name="lica", **changes):
    base = settings(name)
    eval_settings = {"interval": 200, "episodes": 6, "final_episodes": 8}
    values = {"task": "race/track", "total_steps": 600, "log_interval": 1, "seeds": (0, 1)}
    algo = dataclasses.replace(base.algo, **changes)
    config = dataclasses.replace(base, **values, algo=algo)
    return dataclasses.replace(config, eval=dataclasses.replace(config.eval, **eval_settings))


@pytest.mark.parametrize("name", ["lica", "qmix"])
def test_training_evaluating_and_files(race, tmp_path, name):
    changes = {"replay_capacity": 20, "replay_batch": 8} if name == "qmix" else {}
    result = train(tiny(name, **changes), run_dir=tmp_path / "run", display="none")
    (envs, _, games), *more = race.opened
    assert envs == N_ENVS and not more and games.closed
    assert result.summary["task_source"] == "race" and "test_double" not in result.summary
    assert min(result.summary["env_steps"]) >= 600
    rows = result.metrics
    assert {row["seed"] for row in rows} == {0, 1}
    assert sum(row["lost_episodes"] for row in rows) <= 1
    losses = [row["loss"] for row in rows]
    waits = sum(loss is None for loss in losses)  # of each run, until its replay has a batch
    assert waits == (2 * (-(-8 // N_ENVS) - 1) if name == "qmix" else 0)
    assert all(loss is None or np.isfinite(loss) for loss in losses)
    assert result.summary["final"][0]["greedy"]["episodes"] >= 8
    figures = evaluate(tmp_path / "run", episodes=6, envs=3)
    assert figures["greedy"]["episodes"] == 6 and race.opened[-1][0] == 3
    assert figures["lost_episodes"] == 1 and figures["lost_because"] == "it broke off"
    assert race.opened[-1][-1].closed


def test_a_resumed_run_goes_on_with_other_games(race, tmp_path, programs):
    config = dataclasses.replace(tiny(), total_steps=300)
    first = train(config, run_dir=tmp_path / "run", display="none")
    more = dataclasses.replace(config, total_steps=600)
    second = train(more, run_dir=tmp_path / "run", resume=True, display="none")
    assert min(second.summary["env_steps"]) >= 600 > min(first.summary["env_steps"]) >= 300
    seeds = [seed for _, seed, _ in race.opened]
    assert len(set(seeds)) == 2
    assert sorted(programs) == ["init", "learn_at"]  # those of the first run


def test_a_test_doubles_figures_are_marked(race, tmp_path, monkeypatch):
    monkeypatch.setattr(RaceGames, "genuine", False)
    config = dataclasses.replace(tiny(), total_steps=100)
    result = train(config, run_dir=tmp_path / "run", display="none")
    assert result.summary["test_double"] is True
    assert result.evaluations and all(
        row["test_double"] and "test_battle_won_mean" not in row for row in result.evaluations
    )
    assert evaluate(result.policy(), episodes=2, envs=2, task="race/track")["test_double"] is True


def test_what_cannot_be_played_is_refused_before_anything_is_opened(race, tmp_path):
    steps = dataclasses.replace(tiny(), collect=dataclasses.replace(tiny().collect, mode="steps"))
    with pytest.raises(UserError, match="whole episodes"):
        train(steps, run_dir=tmp_path / "a", display="none")
    race.playable = False
    with pytest.raises(UserError, match="no such game here"):
        train(tiny(), run_dir=tmp_path / "b", display="none")
    race.playable = True
    replay = dataclasses.replace(tiny().eval, save_replay=True)
    with pytest.raises(UserError, match="replay"):
        train("lica", "probe/match", eval=replay, display="none")
    with pytest.raises(UserError, match="replay files"):
        evaluate(untrained("probe/match"), episodes=2, save_replay=tmp_path / "replays")
    with pytest.raises(UserError, match="envs must be an integer within 1"):
        evaluate(untrained("race/track"), envs=0)
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


def untrained(task):
    """A policy whose parameters are those of its start."""
    spec = Race.spec if task == "race/track" else make_task(task).spec
    config = dataclasses.replace(tiny(), task=task)
    algo = make_algorithm("lica", spec, config.algo)
    start = jax.jit(lambda key: algo.policy(algo.init(key)))
    return Policy.of(config, spec, start(jax.random.key(0)), seed=0)


def test_shape_tasks_have_the_shapes_of_real_ones():
    spec = make_task("smax/3m").spec
    blank = jax.eval_shape(ShapeTask(spec).reset, jax.random.key(0))[1]
    real = jax.eval_shape(make_task("smax/3m").reset, jax.random.key(0))[1].replace(info={})
    for a, b in zip(jax.tree.leaves(blank), jax.tree.leaves(real), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert is_host_task(RaceTask()) and not is_host_task(make_task("probe/match"))


def test_learning_writes_the_replay_in_place():
    """A replay may be most of the memory: no batch may copy it."""
    config = settings("qmix", algo={"hidden": 8, "replay_capacity": 4000, "replay_batch": 8})
    algo = make_algorithm("qmix", Race.spec, config.algo)
    runs = lockstep(algo, RaceTask())
    states = jax.eval_shape(runs.init, jax.random.key(0)[None])
    hp = jax.tree.map(np.asarray, config.hp)
    recorder = Recorder(Race.spec, N_ENVS)
    carry = algo.initial_carry(N_ENVS)
    shapes = jax.eval_shape(lambda key: algo.policy(algo.init(key)), jax.random.key(0))
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    explore = np.ones(N_ENVS, bool)
    act = jax.jit(partial(bound_act, algo, params, hp, Progress.finished(), explore))
    act_now = lambda c, ts, call: act(c, ts, jax.random.key(call))  # noqa: E731
    play(RaceGames(N_ENVS), act_now, carry, recorder)
    one = np.float32(1.0)
    stats = EpisodeStats(np.int32(1), one, one, {"won": one})
    key = jax.random.key(1)
    program = runs._programs.learn.lower(
        states, 0, recorder.trajectory(carry), stats, key, key, hp
    ).compile()
    memory = program.memory_analysis()
    replay = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(states.replay.items))
    assert replay > 1e6
    assert memory.alias_size_in_bytes >= replay and memory.temp_size_in_bytes < replay / 2


def test_a_stop_gives_a_batch_up_and_keeps_what_was_learned(parts):
    """Nothing of the batch is learned, and none of its games is started again."""
    algo, state, hp, _ = parts
    runs, states = lockstep(algo, RaceTask(), n_runs=2), of_runs(state, 2)
    hp = jax.tree.map(lambda x: np.full(2, x), hp)
    calls = []

    def stop():
        calls.append(1)
        return len(calls) > 60

    states, metrics = runs.chunk(states, hp, 50, stop)
    done = metrics["counts"]["updates"].shape[1]
    assert metrics["counts"]["updates"].shape == (2, done) and 0 < done < 50
    assert list(states.updates) == [done, done]
    with pytest.raises(Stopped):
        runs.chunk(states, hp, 1, stop)
    # The states are still there: nothing was handed to an update.
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(states.learner)))


def test_every_lost_episode_is_told_of_in_the_end(race, capsys, monkeypatch):
    """Also those lost within a minute of the last complaint."""
    race.faults, calls, step = [], [], RaceGames.step

    def lossy(self, action, which):
        calls.append(1)
        lost = np.zeros(self.n, bool)
        lost[np.flatnonzero(which)[0]] = len(calls) in (1, 200)
        return step(self, action, which)._replace(lost=lost)

    monkeypatch.setattr(RaceGames, "step", lossy)
    train(tiny(), display="none")
    lines = [line for line in capsys.readouterr().err.splitlines() if "lost and replaced" in line]
    told = [line.strip().partition(";")[0] for line in lines]
    assert told == [f"1 episode(s) lost and replaced, {n} so far" for n in (1, 2)]
    assert len(calls) > 200 and lines[-1].endswith("the last: it broke off")


def test_a_run_that_cannot_start_can_be_begun_again(race, tmp_path, monkeypatch, capsys):
    config = dataclasses.replace(tiny(), total_steps=100)
    config = dataclasses.replace(config, eval=dataclasses.replace(config.eval, save_replay=True))
    with monkeypatch.context() as broken:
        broken.setattr(RaceTask, "open", refuse)
        with pytest.raises(UserError, match="no memory"):
            train(config, run_dir=tmp_path / "run", display="none")
    train(config, run_dir=tmp_path / "run", display="none")
    assert (tmp_path / "run" / "replays").is_dir()
    assert f"0 of {N_ENVS} replays are in" in (said := capsys.readouterr().err)
    assert "races have none" in said


def refuse(*_):
    raise UserError("no memory for games")


def test_replays_need_a_place(race, tmp_path):
    config = tiny()
    config = dataclasses.replace(config, eval=dataclasses.replace(config.eval, save_replay=True))
    with pytest.raises(UserError, match="needs a run directory"):
        train(config, display="none")
    policy = untrained("race/track")
    (tmp_path / "file").write_text("")
    for folder, message in ((tmp_path / "file", "cannot be written"), (tmp_path, "not empty")):
        with pytest.raises(UserError, match=message):
            evaluate(policy, episodes=2, envs=2, task="race/track", save_replay=folder)
