"""The particle tasks against the reference environment, each step from its stored predecessor, and
against JaxMARL's.

Contacts are stiff, so an open loop would only measure how rounding grows. The functions are those
that the tasks play with; every size and constant of the reference comes from the file.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.envs import make_task
from lica_jax.envs.jaxmarl_import import jaxmarl
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


def all_directions(name, traj):
    """Where all bodies push themselves [T, N, 2]: the agents, and the prey in tag."""
    agents = jax.vmap(physics.steer)(jnp.asarray(traj["actions"]))
    if name in SPREAD:
        return agents
    prey = jax.vmap(particles.prey_direction, in_axes=(0, None))(traj["prey_action"], agents.dtype)
    return jnp.concatenate([agents, prey], axis=1)


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
            all_directions(name, traj),
        )
        np.testing.assert_allclose(pos, traj["pos"], **EXACT)
        np.testing.assert_allclose(vel, traj["vel"], **EXACT)


def contacts(position, landmark, world):
    """Overlapping pairs: of bodies, and of bodies with landmarks that collide."""
    reach = np.asarray(world.radius)[:, None] + np.asarray(world.landmark_radius)
    near = physics.distances(landmark, position) < np.where(world.landmark_collides, reach, 0)
    return physics.overlaps(position, world.radius), jnp.sum(near)


@NAMES
def test_collision_counts(golden, name):
    g = golden(name)
    world = read_world(g)
    count = jax.jit(jax.vmap(lambda *args: contacts(*args, world), in_axes=(0, None)))
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
    reward = jax.vmap(lambda x: particles.predator_prey_reward(particles.prey_distance(x), radius))
    catches = jax.vmap(lambda x: particles.catches(particles.prey_distance(x), radius))
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


# --- JaxMARL's tasks -----------------------------------------------------------------------------

ENVS, LIMIT = 16, 25
THEIRS = {
    "simple_spread_n4": ("MPE_simple_spread_v3", {"num_agents": 4, "num_landmarks": 4}),
    "simple_spread_continuous": ("MPE_simple_spread_v3", {"action_type": "Continuous"}),
    "simple_reference": ("MPE_simple_reference_v3", {}),
    "simple_speaker_listener": ("MPE_simple_speaker_listener_v4", {}),
}


def five_numbers(force):
    """Forces ``[..., 2]`` in (-1, 1) as JaxMARL's continuous actions ``[..., 5]``."""
    x, y = force[..., 0], force[..., 1]
    return jnp.maximum(jnp.stack([jnp.zeros_like(x), -x, x, -y, y], axis=-1), 0)


@pytest.mark.parametrize("name", THEIRS)
def test_an_episode_is_jaxmarls(name):
    """The same start from the same keys, to the bit; each step from JaxMARL's state."""
    task = make_task(f"mpe/{name}")
    ident, options = THEIRS[name]
    env = jaxmarl.make(ident, max_steps=LIMIT - 1, **options)
    n, goals = task.spec.n_agents, task.n_goals
    keys = jax.random.split(jax.random.key(5), ENVS)
    shape = (LIMIT, ENVS, n)
    if task.spec.continuous:
        action = jax.random.uniform(jax.random.key(6), (*shape, 2), minval=-1)
        theirs = five_numbers(action)
    else:
        sizes = jnp.array([env.action_spaces[a].n for a in env.agents])
        theirs = action = jax.random.randint(jax.random.key(6), shape, 0, sizes)

    @jax.jit
    def play(keys):
        def step(state, action):
            actions = {a: action[:, i] for i, a in enumerate(env.agents)}
            obs, after, rewards, done, _ = jax.vmap(env.step_env)(keys, state, actions)
            out = (state, obs, sum(rewards.values()), done["__all__"])
            return after, out

        obs, start = jax.vmap(env.reset)(keys)
        return obs, jax.lax.scan(step, start, theirs)[1]

    first, (before, obs, reward, done) = play(keys)

    def same(ts, obs, atol):
        parts = [np.asarray(obs[a]).reshape(len(ts.obs), -1) for a in env.agents]
        np.testing.assert_allclose(ts.state, np.concatenate(parts, axis=-1), atol=atol)
        for i, part in enumerate(parts):
            np.testing.assert_allclose(ts.obs[:, i, : part.shape[1]], part, atol=atol)
            assert not np.any(ts.obs[:, i, part.shape[1] :])

    start, ts = jax.jit(task.reset_batch)(keys)
    same(ts, first, atol=0)
    assert not np.any(done[:-1]) and np.all(done[-1])

    # All steps at once, as a batch.
    flat = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, *x.shape[2:]), 0, -1), before)
    state = start.replace(
        position=flat.p_pos[:n], velocity=flat.p_vel[:n], landmark=flat.p_pos[n:], t=flat.step,
        goal=flat.goal.reshape(goals, -1) if goals else None,
        word=jnp.zeros((goals, LIMIT * ENVS), jnp.int32) if goals else None,
    )  # fmt: skip
    every = jnp.tile(keys, LIMIT)
    _, ts = jax.jit(task.step_batch)(every, state, action.reshape(-1, *action.shape[2:]))
    same(ts, obs, atol=2e-6)
    np.testing.assert_allclose(ts.reward, reward.reshape(-1), rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(ts.truncated, done.reshape(-1))
    assert not np.any(ts.terminated)
