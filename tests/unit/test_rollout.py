"""The rollout's bookkeeping on a task whose every reward is known."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from lica_jax.training.evaluation import evaluation_keys, play_episodes, summarise
from lica_jax.training.rollout import learning_view, start_stream, unroll
from lica_jax.types import TaskSpec, TimeStep


@struct.dataclass
class CountState:
    t: jax.Array
    length: jax.Array


class Counting:
    """Reward at step t is t + 1. Episodes end after 2 or 3 steps; those of 3 by the limit."""

    spec = TaskSpec(
        "count", n_agents=1, n_actions=2, obs_size=1, state_size=1, episode_limit=3, has_win=True
    )

    def reset(self, key):
        state = CountState(jnp.int32(0), 2 + jax.random.bernoulli(key).astype(jnp.int32))
        return state, self._timestep(state, 0.0, True)

    def step(self, key, state, action):
        state = state.replace(t=state.t + 1)
        return state, self._timestep(state, 1.0 * state.t, False)

    def _timestep(self, state, reward, first):
        ended = state.t >= state.length
        return TimeStep(
            obs=jnp.full((1, 1), 1.0 * state.t), state=jnp.full(1, 1.0 * state.t),
            avail=jnp.ones((1, 2), bool), reward=jnp.asarray(reward, float),
            terminated=ended & (state.length == 2), truncated=ended & (state.length == 3),
            first=jnp.array(first), alive=jnp.ones(1, bool),
            info={"won": ended & (state.length == 2)},
        )  # fmt: skip


class BatchedCounting(Counting):
    """The same task with a batched step of its own."""

    calls = 0

    def reset_batch(self, keys):
        return jax.vmap(self.reset)(keys)

    def step_batch(self, keys, state, action):
        type(self).calls += 1
        return jax.vmap(self.step)(keys, state, action)


def act(carry, ts, key):
    return carry + 1, jax.random.randint(key, (ts.obs.shape[0], 1), 0, 2), {"seen": ts.obs[:, 0, 0]}


COUNTING = Counting()

start = jax.jit(start_stream, static_argnums=(0, 3))
roll = jax.jit(unroll, static_argnums=(0, 1, 4), static_argnames="restart")
evaluate = jax.jit(play_episodes, static_argnums=(0, 1, 4))


@cache
def play(task=COUNTING, length=12, envs=4, restart=True):
    """A trajectory and its figures."""
    stream = start(task, np.int32(0), jax.random.key(0), envs)
    return jax.device_get(roll(task, act, stream, jax.random.key(1), length, restart=restart)[1:])


def test_streaming_keeps_the_terminal_observation_and_marks_the_reset():
    traj, stats = play()
    steps = traj.steps
    over = np.asarray(steps.terminated | steps.truncated)
    first = np.asarray(steps.first)
    np.testing.assert_array_equal(traj.valid, ~over[:-1])
    np.testing.assert_array_equal(first[1:], over[:-1])  # behind every end stands a start
    assert not np.any(np.asarray(steps.reward)[first])
    # A terminal observation is the episode's last one, not the next episode's first.
    t = np.asarray(steps.state)[..., 0]
    assert set(t[np.asarray(steps.terminated)]) <= {2.0}
    assert set(t[np.asarray(steps.truncated)]) <= {3.0}
    # Returns: 1 + 2 = 3 after two steps, 1 + 2 + 3 = 6 after three.
    n2, n3 = int(steps.terminated[1:].sum()), int(steps.truncated[1:].sum())
    assert n2 > 0 and n3 > 0
    assert int(stats.episodes) == n2 + n3
    assert float(stats.return_sum) == 3 * n2 + 6 * n3
    assert float(stats.length_sum) == 2 * n2 + 3 * n3
    assert float(stats.info_sums["won"]) == n2


def test_episode_mode_plays_one_episode_and_stands_still():
    traj, stats = play(length=3, restart=False)
    lengths = np.asarray(traj.valid).sum(0)
    assert set(lengths) == {2, 3}
    assert int(stats.episodes) == 4
    assert float(stats.length_sum) == lengths.sum()
    short = lengths == 2
    np.testing.assert_array_equal(
        np.asarray(traj.steps.state)[3, short], np.asarray(traj.steps.state)[2, short]
    )


def test_segments_join_without_a_seam():
    """Two segments of 6 hold the same transitions as one of 12: nothing is lost at the cut."""
    stream = start(COUNTING, np.int32(0), jax.random.key(0), 4)
    stream, *first = roll(COUNTING, act, stream, jax.random.key(1), 6, restart=True)
    _, *second = roll(COUNTING, act, stream, jax.random.key(2), 6, restart=True)
    (a, stats_a), (b, stats_b) = jax.device_get((first, second))
    np.testing.assert_array_equal(a.steps.state[-1], b.steps.state[0])
    np.testing.assert_array_equal(a.steps.first[-1], b.steps.first[0])
    assert int(b.carry) == 6  # the memory goes on; the bootstrap action does not count
    valid = np.concatenate([a.valid, b.valid])
    rewards = np.concatenate([a.steps.reward[1:], b.steps.reward[1:]])
    over = np.concatenate([x.steps.terminated[1:] | x.steps.truncated[1:] for x in (a, b)])
    assert int(stats_a.episodes + stats_b.episodes) == (over & valid).sum()
    t = np.concatenate([a.steps.state[:-1], b.steps.state[:-1]])[..., 0]
    np.testing.assert_array_equal(rewards[valid], t[valid] + 1)


def test_extras_and_actions_have_a_bootstrap_slot():
    traj, _ = play()
    assert traj.action.shape == (13, 4, 1)
    np.testing.assert_array_equal(traj.extras["seen"], traj.steps.state[..., 0])


def test_a_batched_step_is_used_and_agrees():
    plain, batched = play()[0], play(BatchedCounting())[0]
    assert BatchedCounting.calls > 0
    jax.tree.map(np.testing.assert_array_equal, plain, batched)


@pytest.mark.parametrize("timeout_is_terminal", [True, False])
def test_the_learning_view_scales_rewards_and_defines_timeouts(timeout_is_terminal):
    traj, _ = play()
    view = learning_view(traj, 10.0, timeout_is_terminal)
    np.testing.assert_allclose(view.steps.reward, 10 * traj.steps.reward)
    if timeout_is_terminal:
        over = traj.steps.terminated | traj.steps.truncated
        np.testing.assert_array_equal(view.steps.terminated, over)
        assert not np.any(view.steps.truncated)
    else:
        np.testing.assert_array_equal(view.steps.truncated, traj.steps.truncated)


def test_evaluation_plays_each_environment_once():
    episodes = jax.device_get(evaluate(COUNTING, act, np.int32(0), jax.random.key(3), 64))
    assert np.all(episodes.finished)
    two = np.asarray(episodes.length) == 2
    assert 0 < two.sum() < 64
    np.testing.assert_array_equal(episodes.info["won"], two)
    np.testing.assert_array_equal(episodes.returns, np.where(two, 3, 6))


def test_figures_count_finished_episodes_only():
    episodes = evaluate(COUNTING, act, np.int32(0), jax.random.key(3), 8)
    episodes = jax.tree.map(lambda x: np.asarray(x)[None], episodes)
    episodes = episodes.replace(finished=np.arange(8)[None] < 3)
    figures = summarise(episodes, run=0)
    assert figures["episodes"] == 3
    assert figures["return_mean"] == pytest.approx(episodes.returns[0, :3].mean())
    none = summarise(episodes.replace(finished=np.zeros((1, 8), bool)), run=0)
    assert none["win_rate"] is None and none["episodes"] == 0


def test_every_evaluation_has_keys_of_its_own():
    """By seed, purpose and update; and apart from the key that training starts from."""
    paths = [(purpose, update) for purpose in range(5) for update in (0, 1, 700)]
    keys = [evaluation_keys((0, 1), *path) for path in paths]
    keys.append(jax.vmap(jax.random.key)(jnp.arange(2, dtype=jnp.uint32)))
    numbers = np.concatenate([jax.random.key_data(k) for k in keys])
    assert len(np.unique(numbers, axis=0)) == len(numbers) == 2 * (len(paths) + 1)
