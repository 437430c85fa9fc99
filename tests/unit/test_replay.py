"""The replay: what goes in, what is overwritten, what comes out, and what it costs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from lica_jax.algorithms import make_algorithm
from lica_jax.algorithms.q_learning import qmix
from lica_jax.config import load_config, resolve
from lica_jax.envs import make_task
from lica_jax.errors import UserError
from lica_jax.runs.plan import make_plan
from lica_jax.training import replay as replays
from lica_jax.training.loop import batch_runs, make_run, stack_hparams
from lica_jax.training.memory import check_fits, estimate, tree_bytes
from lica_jax.types import Replay, TimeStep, Trajectory

T, B, N = 3, 4, 2


def trajectory(start: int, valid=None) -> Trajectory:
    """Slots that tell where they come from: obs = start + 100 * environment + t."""
    slot = np.float32(start + 100.0 * np.arange(B) + np.arange(T + 1)[:, None])
    valid = np.ones((T, B), bool) if valid is None else np.asarray(valid)
    off = np.zeros((T + 1, B), bool)
    steps = TimeStep(
        obs=np.broadcast_to(slot[..., None, None], (T + 1, B, N, 1)), state=slot[..., None],
        avail=np.ones((T + 1, B, N, 2), bool), reward=slot, terminated=off, truncated=off,
        first=off, alive=np.ones((T + 1, B, N), bool), info={"won": off},
    )  # fmt: skip
    action = np.broadcast_to(slot[..., None], (T + 1, B, N)).astype(np.int32)
    carry = {"hidden": np.float32(start + np.arange(B)[:, None])}
    return Trajectory(steps, action, valid, carry, {})


add = jax.jit(replays.add, static_argnums=1)


def empty(replay):
    traj = trajectory(0)
    return jax.jit(lambda: replays.empty(replay, traj))()


def filled(replay, *starts):
    buffer = empty(replay)
    for start in starts:
        buffer = add(buffer, replay, trajectory(start))
    return buffer


def test_segments_come_out_as_they_went_in():
    replay = Replay("segment", capacity=8, batch=8)
    buffer = filled(replay, 0, 1000)
    sample = jax.jit(replays.sample, static_argnums=1)
    out = jax.device_get(sample(buffer, replay, jax.random.key(0)))
    assert out.steps.obs.shape == (T + 1, 8, N, 1) and out.valid.shape == (T, 8)
    assert out.steps.info == {}
    first = np.asarray(out.steps.reward[0])
    assert sorted(first) == [0, 100, 200, 300, 1000, 1100, 1200, 1300]
    np.testing.assert_array_equal(out.steps.reward, first + np.arange(T + 1)[:, None])
    np.testing.assert_array_equal(out.action[..., 1], out.steps.reward)
    # Each segment keeps the memory it began with: start + environment.
    start, env = np.divmod(first, 1000)
    np.testing.assert_array_equal(out.carry["hidden"][:, 0], 1000 * start + env // 100)


def test_transitions_are_pairs_of_neighbours_and_wasted_steps_are_not_stored():
    replay = Replay("transition", capacity=16, batch=4)
    valid = np.ones((T, B), bool)
    valid[1, 2] = valid[0, 0] = False
    buffer = jax.device_get(add(empty(replay), replay, trajectory(0, valid)))
    assert int(buffer.size) == int(buffer.head) == T * B - 2
    slots = buffer.items.steps.reward[: int(buffer.size)]
    np.testing.assert_array_equal(slots[:, 1], slots[:, 0] + 1)
    wanted = {100.0 * b + t for t in range(T) for b in range(B) if valid[t, b]}
    assert set(np.asarray(slots[:, 0])) == wanted
    assert np.all(buffer.items.valid[: int(buffer.size)])


def test_the_oldest_are_overwritten():
    replay = Replay("segment", capacity=6, batch=1)
    buffer = filled(replay, 0, 1000, 2000)  # twelve segments in six places
    assert int(buffer.size) == 6 and int(buffer.head) == 0
    kept = sorted(np.asarray(buffer.items.steps.reward)[:, 0])
    assert kept == [1200, 1300, 2000, 2100, 2200, 2300]


def test_of_more_than_fit_the_last_are_kept():
    """Eleven transitions into five places, each of which is written once."""
    replay = Replay("transition", capacity=5, batch=1)
    valid = np.ones((T, B), bool)
    valid[2, 0] = False
    buffer = filled(replay, 5000)  # the head is somewhere else
    assert int(buffer.head) == 2
    places = jax.jit(replays.places, static_argnums=1)
    at = np.asarray(places(buffer, replay, valid.reshape(-1)))
    assert sorted(at[at < 5]) == [0, 1, 2, 3, 4]
    buffer = jax.device_get(add(buffer, replay, trajectory(0, valid)))
    assert int(buffer.size) == 5 and int(buffer.head) == (2 + 11) % 5
    kept = buffer.items.steps.reward[:, 0]
    assert sorted(kept) == [102, 201, 202, 301, 302]  # t + 100 b, the last in time
    np.testing.assert_array_equal(buffer.items.action[:, 0, 0], kept)


def test_no_item_twice_in_a_batch_and_all_are_equally_likely():
    replay = Replay("segment", capacity=12, batch=3, draws=2)
    buffer = filled(replay, 0, 1000)  # eight of twelve places
    draw = jax.jit(jax.vmap(lambda key: replays.draw(buffer, replay, key)))
    at = np.asarray(draw(jax.random.split(jax.random.key(0), 4000))).reshape(-1, 3)
    assert all(len(set(row)) == 3 for row in at)
    assert at.max() == 7, "an empty place was drawn"
    counts = np.bincount(at.reshape(-1), minlength=8)
    # 24,000 draws over 8 places, 3000 each: four standard deviations are about 170.
    assert np.all(np.abs(counts - 3000) < 200), counts
    # The two minibatches of an update are independent: they share items.
    pairs = at.reshape(-1, 2, 3)
    shared = np.mean([len(set(a) & set(b)) for a, b in pairs])
    assert 3 * 3 / 8 - 0.1 < shared < 3 * 3 / 8 + 0.1


def test_not_ready_before_a_batch_is_there():
    replay = Replay("segment", capacity=12, batch=5)
    assert not replays.is_ready(filled(replay, 0), replay)
    assert replays.is_ready(filled(replay, 0, 1000), replay)


# --- in the loop ---------------------------------------------------------------------------------


def build(mode="steps", **algo):
    task = make_task("probe/two_step")
    config = load_config(
        "qmix", "probe/two_step", total_steps=1000, collect={"mode": mode, "envs": 4, "length": 4},
        algo={"hidden": 8, "replay_capacity": 12, "replay_batch": 8, "updates_per_collect": 2}
        | algo,
    )  # fmt: skip
    config = resolve(config, task.spec)
    algorithm = make_algorithm("qmix", task.spec, config.algo)
    run = make_run(algorithm, task, config.collect, config.timeout_is_terminal)
    return task, config, algorithm, run


@pytest.mark.parametrize("mode", ["steps", pytest.param("episode", marks=pytest.mark.slow)])
def test_learning_starts_when_the_replay_is_ready(mode):
    _, config, _, (init, chunk) = build(mode)
    hp = jax.tree.map(lambda x: np.asarray(x)[0], stack_hparams([config.hp] * 1))
    chunk = jax.jit(chunk, static_argnums=2)
    start = jax.jit(init)(jax.random.key(0))
    waited, _ = chunk(start, hp, 1)
    jax.tree.map(np.testing.assert_array_equal, start.learner, waited.learner)
    assert int(waited.replay.size) == 4 and int(waited.updates) == 1 and waited.failed_at == -1
    learned, _ = chunk(start, hp, 2)
    before, after = start.learner.params.agent, learned.learner.params.agent
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    )
    # Splitting a chunk changes nothing, the replay's contents included.
    again, _ = chunk(waited, hp, 1)
    jax.tree.map(np.testing.assert_array_equal, learned.replay, again.replay)
    jax.tree.map(np.testing.assert_array_equal, learned.learner, again.learner)


def test_episodes_are_counted():
    _, config, _, (init, chunk) = build("episode")
    hp = jax.tree.map(lambda x: np.asarray(x)[0], stack_hparams([config.hp] * 1))
    state, _ = jax.jit(chunk, static_argnums=2)(jax.jit(init)(jax.random.key(0)), hp, 5)
    assert int(state.episodes) == 20 and int(state.env_steps) == 40


def test_the_ring_is_written_in_place():
    """A copy of the replay in every iteration would double its memory."""
    _, config, _, run = build(replay_capacity=20_000)
    init_all, chunk_all = batch_runs(*run, 2)
    keys = jax.vmap(jax.random.key)(jnp.arange(2, dtype=jnp.uint32))
    states = jax.eval_shape(init_all, keys)
    size = tree_bytes(states.replay)
    compiled = chunk_all.lower(states, stack_hparams([config.hp] * 2), 3).compile()
    memory = compiled.memory_analysis()
    assert memory.alias_size_in_bytes >= size  # donated
    assert memory.temp_size_in_bytes < size / 2, (memory.temp_size_in_bytes, size)


# --- refusals ------------------------------------------------------------------------------------


def test_the_memory_check_names_the_replays_largest_leaf_and_the_remedy():
    task, config, algorithm, (init, _) = build(replay_capacity=1_000_000)
    parts = estimate(algorithm, task, config.collect, init).parts(5)
    with pytest.raises(UserError) as caught:
        check_fits(parts, available=2**20)
    message = str(caught.value)
    assert "the replay of 1000000 segments" in message and "of 5 runs" in message
    assert "float32[1000000, " in message and "--algo.replay-capacity" in message
    state = jax.eval_shape(init, jax.random.key(0))
    (size,) = (value for name, value in parts.items() if "the replay of" in name)
    assert size == 5 * tree_bytes(state.replay)


@pytest.mark.parametrize(
    ("algo", "collect", "match"),
    [
        ({"replay_capacity": 16}, {}, "replay_capacity 16 is smaller than one batch"),
        ({"replay_batch": 0}, {}, "replay_batch must be at least 1"),
        ({"updates_per_collect": 0}, {}, "updates_per_collect must be at least 1"),
        ({"replay_batch": 8, "replay_capacity": 16}, {"envs": 32}, "smaller than one collection"),
    ],
)
def test_settings_that_cannot_work(algo, collect, match):
    spec = make_task("probe/match").spec
    config = load_config("vdn", "probe/match", algo=algo, collect=collect)
    with pytest.raises(UserError, match=match):
        resolve(config, spec)


def test_whole_episodes_of_transitions_must_fit():
    """In episode mode a collection is as long as episodes may be, whatever collect.length is."""
    collect = {"mode": "episode", "envs": 64, "length": 1}
    with pytest.raises(UserError, match=r"one collection of 12800 transitions.*up to 200 steps"):
        make_plan(load_config("maddpg", "mpe/predator_prey", collect=collect), None)
    short = {"mode": "episode", "envs": 1024, "length": 500}
    make_plan(load_config("maddpg", "game/climbing", collect=short), None)


def test_runs_with_and_without_a_number_are_not_stacked():
    """A None is another program: it must not erase the numbers of the runs beside it."""

    @struct.dataclass
    class Own:
        a: float = 1.0
        b: float | None = None

    assert stack_hparams([Own(), Own(2.0)]).b is None
    np.testing.assert_array_equal(stack_hparams([Own(b=3.0), Own(b=4.0)]).b, [3, 4])
    for pair in ([Own(), Own(b=3.0)], [Own(b=3.0), Own()]):
        with pytest.raises(UserError, match=r"hp\.b is none in some runs and a number in others"):
            stack_hparams(pair)


def test_a_mixer_needs_a_state():
    spec = dataclasses.replace(make_task("probe/match").spec, name="blind", state_size=0)
    config = load_config("qmix", "probe/match")
    with pytest.raises(UserError, match=r"blind has no state.*state_obs true, or use iql or vdn"):
        resolve(config, spec)
    resolve(load_config("qmix", "probe/match", algo={"state_obs": True}), spec)
    assert not qmix.Config().problems(make_task("probe/match").spec, config.collect)
