"""The particle tasks against the reference environment, each step from its stored predecessor.

Contacts are stiff, so an open loop would only measure how rounding grows. The functions are those
that the tasks play with; every size and constant comes from the file.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.envs import make_task
from lica_jax.envs.mpe import particles, physics

EXACT = {"rtol": 1e-9, "atol": 1e-9}
TAG, SPREAD = ["mpe_simple_tag"], ["mpe_simple_spread", "mpe_simple_spread5"]
NAMES = pytest.mark.parametrize("name", TAG + SPREAD)


def read_world(g):
    """The constants of a file."""
    of_agents = {
        "radius": "agent_size", "accel": "agent_accel_sensitivity",
        "max_speed": "agent_max_speed", "mass": "mass",
    }  # fmt: skip
    n = len(g.shaped("meta.agent_size", None))
    m = len(g.shaped("meta.landmark_size", None))
    return physics.World(
        **{ours: g.shaped(f"meta.{theirs}", n) for ours, theirs in of_agents.items()},
        landmark_radius=g.shaped("meta.landmark_size", m),
        landmark_collides=g.shaped("meta.landmark_collide", m),
        **{
            part: g.shaped(f"meta.{part}").item()
            for part in ("dt", "damping", "contact_force", "contact_margin")
        },
    )


def trajectories(g):
    """The trajectories of a file, as arrays of a checked shape."""
    n, m = len(g["meta.agent_size"]), len(g["meta.landmark_size"])
    agents, o = g["meta.n_policy_agents"].item(), g["meta.obs_dim"].item()
    count = g["meta.n_traj"].item()
    assert count >= 1
    for i in range(count):
        part = g.under(f"traj{i}.")
        steps = len(part["reward"])
        yield {
            "init_pos": part.shaped("init_pos", n, 2),
            "init_vel": part.shaped("init_vel", n, 2),
            "landmark": part.shaped("landmark_pos", m, 2),
            "init_obs": part.shaped("init_obs", agents, o),
            "actions": part.shaped("actions", steps, agents, g["meta.n_actions"].item()),
            "prey_action": part.shaped("prey_action", steps),
            "pos": part.shaped("pos", steps, n, 2),
            "vel": part.shaped("vel", steps, n, 2),
            "obs": part.shaped("obs", steps, agents, o),
            "reward": part.shaped("reward", steps, agents),
            "done": part.shaped("done", steps, agents),
            "n_agent_collisions": part.shaped("n_agent_collisions", steps),
            "n_landmark_contacts": part.shaped("n_landmark_contacts", steps),
        }


def before(now, first):
    """What each step started from: the initial arrays, then the stored ones."""
    return np.concatenate([first[None], now[:-1]])


def all_weights(name, traj):
    """All bodies' action vectors [T, N, 5]: the agents', and the prey's choice in tag."""
    agents = jnp.asarray(traj["actions"])
    if name in SPREAD:
        return agents
    prey = jax.vmap(particles.prey_weights, in_axes=(0, None))(traj["prey_action"], agents.dtype)
    return jnp.concatenate([agents, prey[:, None]], axis=1)


@NAMES
def test_the_tasks_have_the_constants_of_our_files(request, golden, name):
    if request.config.getoption("--goldens"):
        pytest.skip("other files may have other worlds")
    task = make_task({
        "mpe_simple_tag": "mpe/predator_prey",
        "mpe_simple_spread": "mpe/cooperative_navigation",
        "mpe_simple_spread5": "mpe/cooperative_navigation_n5",
    }[name])  # fmt: skip
    g = golden(name)
    for part, theirs in read_world(g)._asdict().items():
        np.testing.assert_allclose(getattr(task.world, part), theirs, err_msg=part)
    sizes = [g[f"meta.{k}"].item() for k in ("n_policy_agents", "obs_dim", "n_actions")]
    assert sizes == [task.spec.n_agents, task.spec.obs_size, task.spec.n_actions]


@NAMES
def test_motion(golden, name):
    g = golden(name)
    world = read_world(g)
    move = jax.jit(jax.vmap(lambda *args: physics.move(*args, world), in_axes=(0, 0, None, 0)))
    for traj in trajectories(g):
        pos, vel = move(
            before(traj["pos"], traj["init_pos"]),
            before(traj["vel"], traj["init_vel"]),
            traj["landmark"],
            all_weights(name, traj),
        )
        np.testing.assert_allclose(pos, traj["pos"], **EXACT)
        np.testing.assert_allclose(vel, traj["vel"], **EXACT)


@NAMES
def test_collision_counts(golden, name):
    g = golden(name)
    world = read_world(g)
    count = jax.jit(jax.vmap(lambda *args: physics.contacts(*args, world), in_axes=(0, None)))
    for traj in trajectories(g):
        agents, landmarks = count(traj["pos"], traj["landmark"])
        np.testing.assert_array_equal(agents, traj["n_agent_collisions"])
        np.testing.assert_array_equal(landmarks, traj["n_landmark_contacts"])


@NAMES
def test_observations(golden, name):
    g = golden(name)
    observe = particles.predator_prey_obs if name in TAG else particles.cooperative_navigation_obs
    every = jax.jit(jax.vmap(observe, in_axes=(0, 0, None)))
    for traj in trajectories(g):
        first = observe(*(jnp.asarray(traj[k]) for k in ("init_pos", "init_vel", "landmark")))
        np.testing.assert_allclose(first, traj["init_obs"], **EXACT)
        obs = every(traj["pos"], traj["vel"], traj["landmark"])
        np.testing.assert_allclose(obs, traj["obs"], **EXACT)


@pytest.mark.parametrize("name", TAG)
def test_predator_prey_reward_and_end(golden, name):
    g = golden(name)
    radius = g["meta.agent_size"]
    reward = jax.vmap(lambda x: particles.predator_prey_reward(x, radius))
    catches = jax.vmap(lambda x: particles.catches(x, radius))
    for traj in trajectories(g):
        ours = reward(jnp.asarray(traj["pos"]))[:, None]
        np.testing.assert_allclose(
            np.broadcast_to(ours, traj["reward"].shape), traj["reward"], **EXACT
        )
        caught = np.asarray(catches(jnp.asarray(traj["pos"]))).any(axis=1)
        # The file goes on after a catch, and its flag stays up until the reset.
        done = np.logical_or.accumulate(caught)[:, None]
        np.testing.assert_array_equal(np.broadcast_to(done, traj["done"].shape), traj["done"])


@pytest.mark.parametrize("name", SPREAD)
def test_cooperative_navigation_reward_and_end(golden, name):
    g = golden(name)
    radius = g["meta.agent_size"]
    reward = jax.vmap(
        lambda x, landmark: particles.cooperative_navigation_reward(x, landmark, radius),
        in_axes=(0, None),
    )
    for traj in trajectories(g):
        ours = reward(jnp.asarray(traj["pos"]), jnp.asarray(traj["landmark"]))[:, None]
        np.testing.assert_allclose(
            np.broadcast_to(ours, traj["reward"].shape), traj["reward"], **EXACT
        )
        assert not traj["done"].any()
