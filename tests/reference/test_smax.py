"""Our SMAX against JaxMARL's, teacher-forced: from JaxMARL's state, with the same key and actions.

Positions and observations agree to 2e-5 (5e-5 on maps of more than 40 units, whose crowds amplify
rounding within the eight ticks). A decision may differ only where some distance lies within 1e-5 of
a range: such steps are counted, shown, and checked to be what they claim.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.envs import make_task
from lica_jax.envs.smax.jaxmarl import native_state
from lica_jax.envs.smax.scenarios import SCENARIOS
from lica_jax.training.rollout import select

ENVS, STEPS, MARGIN = 8, 125, 1e-5
QUICK = ("2s3z", "5m_vs_6m", "3s5z_vs_3s6z", "smacv2_5_units")
MAPS = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name, scenario in SCENARIOS.items()
    if scenario.on_jaxmarl
]


@pytest.fixture(autouse=True)
def _float64():
    """JaxMARL's SMAX is a float32 program: none of this directory's float64."""


def batched(task, theirs):
    """JaxMARL's states, a batch of them, as ours: the batch last."""
    mine = native_state(theirs, task.battle.scenario.random)
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), mine)


def apart(a, b):
    """Largest difference per leaf and environment; B is the last axis of states, here first."""

    def difference(x, y):
        d = jnp.abs(x.astype(jnp.float32) - y.astype(jnp.float32))
        return jnp.max(d.reshape(ENVS, -1), axis=1)

    return jax.tree.map(difference, a, b)


def batch_first(state):
    return jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), state)


def closest_call(task, state) -> jax.Array:
    """How near any distance between living units is to a range, [B]."""
    units = task.battle.units(state.kind)
    dx, dy = state.x[:, None] - state.x, state.y[:, None] - state.y
    distance = jnp.sqrt(dx * dx + dy * dy)
    both = state.alive[:, None] & state.alive & ~jnp.eye(len(dx), dtype=bool)[..., None]
    margins = [jnp.abs(distance - r[:, None]) for r in (units.range, units.sight)]
    return jnp.min(jnp.where(both, jnp.minimum(*margins), jnp.inf), axis=(0, 1))


def bold(avail, key):
    """Random actions that attack when they can and otherwise tend to walk at the enemy."""
    action = jnp.arange(avail.shape[-1])
    taste = jnp.where(action > 4, 2.0, jnp.where(action == 1, 1.0, 0.0))
    return jax.random.categorical(key, jnp.where(avail, taste, -jnp.inf))


def compare(name):
    """Plays JaxMARL's task and ours from the same states; ``[STEPS, ENVS]`` differences."""
    theirs, ours = make_task(f"smax/{name}", backend="jaxmarl"), make_task(f"smax/{name}")

    def step(carry, key):
        state, ts = carry
        act_key, step_key, reset_key = jax.random.split(key, 3)
        action = bold(ts.avail, act_key)
        keys = jax.random.split(step_key, ENVS)
        after, ts = jax.vmap(theirs.step)(keys, state, action)
        before = batched(ours, state)
        mine, my_ts = ours.step_batch(keys, before, action)
        expected = batched(ours, after)
        out = {
            "state": apart(batch_first(mine), batch_first(expected)),
            "ts": apart(my_ts, ts),
            "margin": jnp.minimum(closest_call(ours, before), closest_call(ours, expected)),
            "over": ts.terminated | ts.truncated,
        }
        fresh = jax.vmap(theirs.reset)(jax.random.split(reset_key, ENVS))
        return select(out["over"], fresh, (after, ts)), out

    @jax.jit
    def run(key):
        reset_key, key = jax.random.split(key)
        keys = jax.random.split(reset_key, ENVS)
        state, ts = jax.vmap(theirs.reset)(keys)
        mine, my_ts = ours.reset_batch(keys)
        start = apart(batch_first(mine), batch_first(batched(ours, state))), apart(my_ts, ts)
        _, out = jax.lax.scan(step, (state, ts), jax.random.split(key, STEPS))
        return start, out

    return ours, *run(jax.random.key(3))


@pytest.mark.parametrize("name", MAPS)
def test_a_step_is_jaxmarls(name):
    task, start, out = compare(name)
    tolerance = 2e-5 if task.battle.u <= 40 else 5e-5
    for leaf in jax.tree.leaves(start):
        assert np.max(leaf) <= tolerance
    assert np.sum(out["over"]) >= 5, "too few episodes ended for this to mean much"
    differs = np.zeros((STEPS, ENVS), bool)
    for leaf in jax.tree.leaves((out["state"], out["ts"])):
        differs |= ~(np.asarray(leaf) <= tolerance)  # NaN, too
    margin = np.asarray(out["margin"])
    print(f"smax/{name}: {int(differs.sum())} of {differs.size} steps differ;", margin[differs])
    assert np.all(margin[differs] <= MARGIN), "a difference that no rounded distance explains"
    assert differs.mean() < 0.005
