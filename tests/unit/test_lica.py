"""LICA's view of a trajectory: what carries over a seam between segments must not be lost."""

import dataclasses
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.actors import actor_step, previous_actions
from lica_jax.algorithms.heads import NO_ACTION
from lica_jax.algorithms.lica import actor_update, lica
from lica_jax.algorithms.lica.learner import critic_batch, make_networks
from lica_jax.config import load_config, resolve
from lica_jax.core.entropy import categorical_entropy
from lica_jax.envs import make_task
from lica_jax.errors import UserError
from lica_jax.training.rollout import start_stream, unroll
from lica_jax.types import Progress
from tests.unit.test_lica_remedies import begun

PROGRESS = Progress(jnp.zeros(()), jnp.int32(0))
HP = lica.HParams(reward_scale=1.0)

# Hundreds of operations on their own take several times as long to compile.
critic_batch = jax.jit(critic_batch, static_argnums=0)
actor_objective = jax.jit(actor_update.actor_objective, static_argnums=1)
update_actor = jax.jit(actor_update.update_actor, static_argnums=0)
update = jax.jit(lica.update, static_argnums=0)


@pytest.fixture(scope="module", params=["gru", "mlp"])
def segments(request):
    """Two joined segments on simple_spread; the second begins in the middle of an episode."""
    task = make_task("mpe/simple_spread")
    config = lica.Config(actor=request.param, hidden=16, mixing_embed=8, hypernet_hidden=8)
    nets = make_networks(config, task.spec)
    learner = begun(nets)
    # Larger weights than the initial ones, so that memory and last actions matter.
    learner = learner.replace(actor=jax.tree.map(lambda x: 4 * x, learner.actor))
    act = partial(
        lica.act, nets, learner.actor, hp=HP, progress=PROGRESS, explore=jnp.ones(4, bool)
    )

    @jax.jit
    def play(stream, key):
        return unroll(task, act, stream, key, 10, restart=True)[:2]

    start = jax.jit(lambda key: start_stream(task, nets.actor.initial_carry(4), key, 4))
    stream = start(jax.random.key(1))
    parts = []
    for i in range(4):
        stream, traj = play(stream, jax.random.key(2 + i))
        parts.append(jax.device_get(traj))
    return nets, learner, parts


def test_the_learner_sees_the_policy_that_played(segments):
    """The actor's loss unrolls from the stored memory and last action, through episode ends."""
    nets, learner, parts = segments

    @jax.jit
    def step(carry, obs, first, avail):
        hidden, logits = actor_step(nets.actor, learner.actor, carry, obs, first)
        return hidden, categorical_entropy(logits, avail)

    for traj in parts[1:]:
        batch = critic_batch(nets, traj)
        _, seen = actor_objective(learner.actor, nets, learner.critic, batch, traj, HP)
        carry, entropies, steps = traj.carry, [], traj.steps
        for t in range(10):
            hidden, entropy = step(carry, steps.obs[t], steps.first[t], steps.avail[t])
            entropies.append(entropy)
            carry = carry.replace(hidden=hidden, last_action=traj.action[t])
        expected = np.mean(np.stack(entropies)[traj.valid])
        assert float(seen["entropy"]) == pytest.approx(float(expected), rel=1e-4)


def test_previous_actions_cross_the_seam_and_forget_at_a_start(segments):
    nets, _, parts = segments
    first_seen = False
    for before, after in pairwise(parts):
        previous = np.asarray(previous_actions(nets.actor.head, after))
        first = np.asarray(after.steps.first)
        # The earlier segment's bootstrap action was not played; the carry holds the one that was.
        played = np.concatenate([np.asarray(before.action)[9:10], np.asarray(after.action)[:-1]])
        np.testing.assert_array_equal(previous[~first], played[~first])
        assert np.all(previous[first] == NO_ACTION)
        first_seen |= bool(first.any())
    assert first_seen


def test_the_critics_state_holds_all_previous_actions(segments):
    nets, _, parts = segments
    traj = parts[1]
    batch = critic_batch(nets, traj)
    size = traj.steps.state.shape[-1]
    np.testing.assert_array_equal(batch.state[..., :size], traj.steps.state)
    appended = np.asarray(batch.state[..., size:]).reshape(11, 4, 3, 5)
    previous = np.asarray(previous_actions(nets.actor.head, traj))
    np.testing.assert_array_equal(appended.sum(-1), previous != NO_ACTION)
    known = previous != NO_ACTION
    np.testing.assert_array_equal(appended.argmax(-1)[known], previous[known])
    np.testing.assert_array_equal(batch.action, traj.action)


def test_the_actors_loss_does_not_touch_the_critic(segments):
    """Gradients go through the probabilities alone; the critic is a constant of the actor step."""
    nets, learner, parts = segments
    batch = critic_batch(nets, parts[1])
    new, _ = update_actor(nets, learner, batch, parts[1], HP)
    jax.tree.map(np.testing.assert_array_equal, new.critic, learner.critic)
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(new.actor), jax.tree.leaves(learner.actor), strict=True)
    )


def test_invalid_transitions_do_not_count(segments):
    """What stands in the slots of a reset changes neither loss."""
    nets, learner, parts = segments
    traj = next(p for p in parts if not np.all(p.valid))
    poisoned = traj.replace(
        steps=traj.steps.replace(
            reward=np.concatenate(
                [traj.steps.reward[:1], np.where(traj.valid, traj.steps.reward[1:], 1e6)],
                dtype=np.float32,
            )
        )
    )
    results = []
    for t in (traj, poisoned):
        _, metrics = update(nets, learner, t, jax.random.key(0), hp=HP, progress=PROGRESS)
        results.append((float(metrics["critic_loss"]), float(metrics["actor_loss"])))
    assert results[0] == results[1]


def test_a_task_without_a_state():
    """What there is to be a function of are then the agents' last actions."""
    spec = dataclasses.replace(make_task("probe/match").spec, name="blind", state_size=0)
    config = load_config("lica", "probe/match", algo={"state_last_action": False})
    with pytest.raises(
        UserError, match=r"blind has no state, and without algo.state_last_action or"
    ):
        resolve(config, spec)
    resolve(load_config("lica", "probe/match", algo={"state_last_action": True}), spec)
