"""LICA from replayed segments: the same update, of older data; and without, as before."""

import dataclasses
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms import make_algorithm
from lica_jax.algorithms.lica import critic_update, lica
from lica_jax.algorithms.lica.learner import Learner, critic_batch
from lica_jax.algorithms.lica_adv import lica_adv
from lica_jax.config import load_config, resolve
from lica_jax.envs import make_task
from lica_jax.errors import UserError
from lica_jax.training import replay as replays
from lica_jax.training.loop import batch_runs, make_run, stack_hparams
from lica_jax.training.memory import estimate, tree_bytes
from lica_jax.types import Collect, Replay
from tests.unit.test_lica_remedies import begun, make_networks
from tests.unit.test_ppo import SPEC, START, B, battle, networks

ENVS, KEY = 4, jax.random.key(0)
SMALL = {"hidden": 8, "mixing_embed": 4, "hypernet_hidden": 8}
ALL = {"dueling": True, "critic_soft_inputs": True, "entropy_mode": "target", "actor_steps": 2}


def build(task="probe/two_step", mode="steps", **algo):
    task = make_task(task)
    collect = {"mode": mode, "envs": ENVS, "length": 4}
    config = load_config("lica", task.spec.name, collect=collect, algo=SMALL | algo)
    config = resolve(config, task.spec)
    algorithm = make_algorithm("lica", task.spec, config.algo)
    init, chunk = make_run(algorithm, task, config.collect, config.timeout_is_terminal)
    hp = jax.tree.map(lambda x: x[0], stack_hparams([config.hp]))
    chunk = jax.jit(chunk, static_argnums=2)
    return algorithm, init, lambda state, iterations=1: chunk(state, hp, iterations)[0]


def test_an_update_of_a_replay_that_holds_the_batch_alone_is_the_plain_one(x64):
    """Up to the order of the streams; memories and the policies that acted are replayed too."""
    traj = jax.tree.map(
        lambda x: np.asarray(x, float if x.dtype == jnp.float32 else x.dtype),
        battle(networks(actor="gru", critic="mlp")),
    )
    weights = np.where(traj.steps.avail, np.arange(1.0, SPEC.n_actions + 1), 0)
    traj = traj.replace(extras={"policy": weights / weights.sum(-1, keepdims=True)})
    replay = Replay("segment", B, B)

    @jax.jit
    def replay_of(traj):
        buffer = replays.add(replays.empty(replay, traj), replay, traj)
        return replays.sample(buffer, replay, KEY)

    # A draw of all that there is keeps their order, so they go in in another.
    turned = jax.tree.map(lambda x: np.roll(x, 1, axis=1), traj.replace(carry=()))
    carry = jax.tree.map(lambda x: np.roll(x, 1, axis=0), traj.carry)
    drawn = replay_of(turned.replace(carry=carry))
    assert not np.array_equal(drawn.steps.reward, traj.steps.reward)

    width = traj.carry.hidden.shape[-1]
    config = lica.Config(**SMALL | ALL | {"hidden": width}, critic_pass="dense")
    nets = make_networks(config, SPEC)
    learner = begun(nets)
    update = jax.jit(partial(lica.update, nets, hp=lica.HParams(), progress=START))
    plain, replayed = update(learner, traj, KEY), update(learner, drawn, KEY)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-10), plain, replayed)


def test_critic_and_actor_learn_from_older_policies_too():
    """What was played stays as it was while the policies change; every draw is an update."""
    algorithm, init, chunk = build(
        actor="mlp", replay_capacity=3 * ENVS, replay_batch=2 * ENVS, updates_per_collect=2,
        critic_minibatches=8, critic_steps=1, dueling=True,
    )  # fmt: skip
    assert algorithm.replay == Replay("segment", 12, 8, 1, 2)
    start = jax.jit(init)(KEY)
    one = chunk(start)  # four segments: no batch of eight yet
    jax.tree.map(np.testing.assert_array_equal, start.learner, one.learner)
    three = chunk(chunk(one))
    same = map(np.array_equal, *(jax.tree.leaves(x.learner.actor) for x in (one, three)))
    assert not any(same)
    assert int(three.learner.critic_steps) == 2 * 2 * 8  # learning collections, updates, steps

    def oldest(state):
        return jax.tree.map(lambda x: np.asarray(x)[:ENVS], state.replay.items)

    jax.tree.map(np.testing.assert_array_equal, oldest(one), oldest(three))
    policies = np.asarray(three.replay.items.extras["policy"])
    assert not np.allclose(policies[:ENVS], policies[2 * ENVS :], atol=1e-4)
    # The fourth collection takes the place of the first.
    assert not np.array_equal(oldest(chunk(three)).extras["policy"], oldest(one).extras["policy"])


def test_without_a_capacity_there_is_no_replay():
    algorithm, init, _ = build()
    state = jax.eval_shape(init, KEY)
    assert algorithm.replay is None and state.replay == () and type(state.learner) is Learner
    names = {f.name for f in dataclasses.fields(lica_adv.Config)}
    assert names.isdisjoint({"replay_capacity", "replay_batch", "updates_per_collect"})


def test_a_replays_settings_are_idle_without_one():
    reason = "algo.replay_capacity 0"
    names = ("algo.replay_batch", "algo.updates_per_collect", "algo.replay_for")
    assert lica.Config().idle(SPEC, lica.HParams())[reason] == names
    assert reason not in lica.Config(replay_capacity=64).idle(SPEC, lica.HParams())


@pytest.mark.parametrize(
    ("algo", "said"),
    [
        ({"replay_capacity": -1}, "algo.replay_capacity must be at least 0, got -1"),
        ({"replay_capacity": 16}, "replay_capacity 16 is smaller than one batch .*replay_batch 32"),
        ({"replay_capacity": 40}, "replay_capacity 40 is smaller than one collection of 64"),
        ({"replay_capacity": 64, "replay_batch": 0}, "replay_batch must be at least 1, got 0"),
        (
            {"replay_capacity": 64, "critic_minibatches": 64},
            "critic_minibatches 64 must divide algo.replay_batch 32: .* segments.*; use 32",
        ),
    ],
)
def test_replays_that_cannot_work(algo, said):
    spec = make_task("probe/match").spec
    envs = 8 if algo["replay_capacity"] == 16 else 64
    (problem,) = lica.Config(**algo).problems(spec, Collect(envs=envs))
    assert re.search(said, problem), problem
    # Minibatches are shares of what an update is given, of which fresh streams are no measure.
    sound = lica.Config(replay_capacity=64, replay_batch=12, critic_minibatches=3)
    assert not sound.problems(spec, Collect(envs=64))


def test_memory_is_estimated_for_the_streams_that_are_drawn():
    def temporaries(**algo):
        algorithm, init, _ = build(**algo)
        found = estimate(algorithm, make_task("probe/two_step"), Collect("steps", ENVS, 4), init)
        names = algorithm.scratch_bytes(1)
        return {name: found.per_run[name] for name in names}, found.per_run

    plain, _ = temporaries()
    replayed, parts = temporaries(replay_capacity=20, replay_batch=3 * ENVS)
    assert replayed == {name: 3 * size for name, size in plain.items()}
    assert any("the replay of 20 segments" in name for name in parts)
    beside, parts = temporaries(replay_capacity=20, replay_batch=3 * ENVS, replay_for="critic")
    assert beside == {name: 4 * size for name, size in plain.items()}
    assert "the draw beside the fresh batch" in parts


# --- the critic alone, with importance weights ---------------------------------------------------

CRITIC = {"replay_capacity": 3 * ENVS, "replay_batch": 2 * ENVS, "replay_for": "critic"}


def test_importance_by_hand(x64):
    """Two agents: 2 times likelier and half as likely; once each likelier; a slot of nobody."""
    before = np.array([[[0.2, 0.8], [0.5, 0.5]], [[0.5, 0.5], [0.1, 0.9]], [[0.0, 0.0]] * 2])
    now = np.array([[[0.4, 0.6], [0.8, 0.2]], [[0.7, 0.3], [0.3, 0.7]], [[0.0, 0.0]] * 2])
    action = np.array([[0, 1], [0, 0], [1, 1]])
    got = jax.jit(critic_update.importance)(action, before, now)
    np.testing.assert_allclose(got, [2 * 0.4, 1, 0])
    # However far policies have gone: two agents' ratios leave float32, the third's is 0.
    before = np.array([[[1e-30, 1.0], [1e-30, 1.0], [0.5, 0.5]]], np.float32)
    now = np.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]], np.float32)
    np.testing.assert_array_equal(critic_update.importance(np.zeros((1, 3), int), before, now), [0])


def older(traj, by):
    """What policies that were ``by`` times as likely to do what was done have played."""
    return traj.replace(extras={"policy": traj.extras["policy"] * by})


def test_the_actor_learns_from_the_fresh_streams_alone():
    """Whatever stands beside them; the critic learns from all, corrected."""
    config = lica.Config(**SMALL | {"replay_capacity": B, "replay_batch": B}, replay_for="critic")
    config = dataclasses.replace(config, actor="mlp", critic_pass="dense")
    nets = make_networks(config, SPEC)
    learner = begun(nets)
    fresh = battle(networks(actor="mlp", critic="mlp"))
    fresh = fresh.replace(carry=nets.actor.initial_carry(B))

    @jax.jit
    def policies(learner, traj):
        batch = critic_batch(nets, older_by_none(traj))
        return critic_update.correction(nets, learner.actor, batch, traj).policy

    fresh = fresh.replace(extras={"policy": np.asarray(policies(learner, fresh))})
    update = jax.jit(lica.update, static_argnums=0)
    beside = jax.jit(replays.side_by_side)
    hp = lica.HParams()
    off = older(fresh, np.float32(4))
    (same, shown), (changed, less) = (
        update(nets, learner, beside(fresh, x), KEY, hp=hp, progress=START) for x in (fresh, off)
    )
    assert shown["importance_weight"] == pytest.approx(1, abs=1e-5)
    assert less["importance_weight"] < 0.3
    moved = [
        max(
            np.abs(np.asarray(x) - y).max()
            for x, y in zip(*map(jax.tree.leaves, pair), strict=True)
        )
        for pair in ((same.critic, changed.critic), (learner.critic, same.critic))
    ]
    assert min(moved) > 1e-6
    # With a critic that stands still the actor's way is that of the fresh batch.
    plain = make_networks(dataclasses.replace(config, replay_capacity=0), SPEC)
    hp = lica.HParams(critic_lr=0.0)
    off = off.replace(steps=off.steps.replace(obs=-np.asarray(off.steps.obs)))
    one, other = (
        update(own, learner, x, KEY, hp=hp, progress=START)[0].actor
        for own, x in ((plain, fresh), (nets, beside(fresh, off)))
    )
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), one, other)


def older_by_none(traj):
    n = SPEC.n_actions
    return traj.replace(extras={"policy": jnp.ones((*traj.action.shape, n)) / n})


def test_a_run_whose_critic_remembers():
    algorithm, init, chunk = build(actor="mlp", critic_minibatches=3, critic_steps=1, **CRITIC)
    assert algorithm.replay == Replay("segment", 12, 8, beside=True)
    start = jax.jit(init)(KEY)
    two = chunk(start, 2)  # behind four segments and beside four: no eight older ones yet
    jax.tree.map(np.testing.assert_array_equal, start.learner, two.learner)
    four = chunk(two, 2)
    assert int(four.learner.critic_steps) == 2 * 3 and int(four.failed_at) == -1


def test_policies_rest_where_the_fresh_batch_is_resets_alone():
    """Games of one step, one step at a time: every second batch has no transition."""
    spec, collect = make_task("game/climbing").spec, {"mode": "steps", "envs": ENVS, "length": 1}
    algo = {"replay_for": "critic", "replay_capacity": 2 * ENVS, "replay_batch": ENVS}
    config = resolve(load_config("lica", spec.name, collect=collect, algo=algo), spec)
    algorithm = make_algorithm("lica", spec, config.algo)
    init, chunk = make_run(
        algorithm, make_task(spec.name), config.collect, config.timeout_is_terminal
    )
    step, moved = jax.jit(chunk, static_argnums=2), {True: [], False: []}
    state = init(KEY)
    for _ in range(8):
        after, _ = step(state, config.hp, 1)
        pairs = zip(*(jax.tree.leaves(s.learner.actor) for s in (state, after)), strict=True)
        played = bool(after.env_steps > state.env_steps)
        moved[played].append(any(bool(jnp.any(a != b)) for a, b in pairs))
        state = after
    assert moved[True][-1] and len(moved[False]) == 4 and not any(moved[False])


def test_what_stands_beside_a_fresh_batch_was_there_before_it():
    """An update that only looks: the fresh rewards first, then all that were played before."""
    task, collect = make_task("probe/two_step"), Collect("steps", ENVS, 4)
    config = load_config("lica", task.spec.name, collect={"envs": ENVS, "length": 4})
    config = resolve(config, task.spec)
    algorithm = make_algorithm("lica", task.spec, config.algo)

    def look(learner, traj, key, *, hp, progress):
        return learner, {"loss": jnp.float32(0), "action": traj.action}

    learner = jax.jit(algorithm.init)(KEY)

    @partial(jax.jit, static_argnums=0)
    def played(beside):
        replay = Replay("segment", ENVS * (1 + beside), ENVS, beside=beside)
        looking = algorithm._replace(init=lambda _: learner, update=look, replay=replay)
        init, chunk = make_run(looking, task, collect, config.timeout_is_terminal)
        return chunk(init(KEY), config.hp, 6)[1]["learn"]["action"]

    # Without it the ring holds the fresh batch alone.
    both, drawn = (np.asarray(played(beside)) for beside in (True, False))

    def streams(x):
        return sorted(map(bytes, np.moveaxis(x, 1, 0)))

    for t in range(1, 6):
        assert streams(both[t][:, :ENVS]) == streams(drawn[t])
        assert streams(both[t][:, ENVS:]) == streams(both[t - 1][:, :ENVS])


@pytest.mark.parametrize(
    ("algo", "said"),
    [
        ({"dueling": True}, "with algo.dueling; use"),
        ({"critic_soft_inputs": True}, "with algo.critic_soft_inputs; use"),
        ({"targets": "monte_carlo"}, 'with algo.targets "monte_carlo"; use "critic_and_actor"'),
        ({"updates_per_collect": 2}, "with algo.updates_per_collect 2; use"),
        (
            {"dueling": True, "critic_soft_inputs": True},
            "algo.dueling, algo.critic_soft_inputs; use",
        ),
        ({"critic_minibatches": 5}, r"must divide collect.envs \+ algo.replay_batch 12"),
        ({"replay_capacity": 2 * ENVS + 3}, "no room for a batch of older .* at least 12 "),
    ],
)
def test_what_the_correction_is_not_made_for(algo, said):
    config = lica.Config(**CRITIC | algo)
    mode = "episode" if "targets" in algo else "steps"
    (problem,) = config.problems(make_task("probe/match").spec, Collect(mode, envs=ENVS))
    assert re.search(said, problem), problem


def test_the_ring_is_written_in_place_beside_fresh_batches():
    config = load_config(
        "lica", "probe/two_step", collect={"envs": ENVS, "length": 4},
        algo=CRITIC | {"replay_capacity": 20_000, "hidden": 8, "hypernet_hidden": 8},
    )  # fmt: skip
    task = make_task("probe/two_step")
    config = resolve(config, task.spec)
    algorithm = make_algorithm("lica", task.spec, config.algo)
    run = make_run(algorithm, task, config.collect, config.timeout_is_terminal)
    init_all, chunk_all = batch_runs(*run, 1)
    states = jax.eval_shape(init_all, jax.vmap(jax.random.key)(jnp.arange(1, dtype=jnp.uint32)))
    compiled = chunk_all.lower(states, stack_hparams([config.hp]), 3).compile()
    size, memory = tree_bytes(states.replay), compiled.memory_analysis()
    assert memory.temp_size_in_bytes < size / 2, (memory.temp_size_in_bytes, size)


def test_a_ring_without_room_for_older_segments_is_refused():
    """Also an algorithm's of somebody's own, before anything is compiled."""
    algorithm, *_ = build(actor="mlp", critic_minibatches=3, critic_steps=1, **CRITIC)
    tight = algorithm._replace(replay=Replay("segment", 11, 8, beside=True))
    collect = Collect("steps", ENVS, 4)
    init, chunk = make_run(tight, make_task("probe/two_step"), collect, True)
    with pytest.raises(UserError, match=r"replay of 11 segments has no room for 8 .* beside the 4"):
        jax.eval_shape(lambda s: chunk(s, algorithm.hparams, 1), jax.eval_shape(init, KEY))


def test_points_have_no_probabilities():
    (problem,) = lica.Config(**CRITIC).problems(make_task("probe/aim").spec, Collect(envs=ENVS))
    assert "not together with continuous actions" in problem
