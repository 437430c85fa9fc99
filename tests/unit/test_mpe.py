"""The paper's particle tasks by hand, against an independent core, and as frames."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.envs import make_task
from lica_jax.envs.frames import NONE
from lica_jax.envs.mpe import particles, physics
from lica_jax.envs.mpe.task import ParticleState
from lica_jax.errors import UserError
from lica_jax.training.rollout import select_env

PAPER = ("mpe/predator_prey", "mpe/cooperative_navigation", "mpe/cooperative_navigation_n5")
JAXMARL = (
    "mpe/simple_spread", "mpe/simple_spread_continuous", "mpe/simple_reference",
    "mpe/simple_speaker_listener",
)  # fmt: skip
FAR = 5.0  # further than any contact


def placed(task, position, landmark=None, velocity=None, t=0):
    """A state with bodies at ``position`` [N, 2]."""
    position = np.array(position, np.float32)
    away = [(FAR, FAR + i) for i in range(len(task.world.landmark_radius))]
    return ParticleState(
        position=position,
        velocity=np.zeros_like(position) if velocity is None else np.array(velocity, np.float32),
        landmark=np.array(away if landmark is None else landmark, np.float32),
        t=np.int32(t),
    )


def pounce(task, gap=0.15):
    """The first predator, ``gap`` away, at full speed towards a prey that cannot get away: the gap
    shrinks by 0.075, the prey moves 0.04 at most, and 0.125 is a catch."""
    velocity = [[-1, 0], [0, 0], [0, 0], [0, 0]]
    return placed(task, [[gap, 0], [1, 0], [0, 2], [0, 0]], velocity=velocity)


def idle(task):
    return np.zeros(task.spec.n_agents, np.int32)


# --- an independent core: one body, one pair, one number at a time --------------------------------


class Core:
    """The reference's rules as plain loops in float64."""

    def __init__(self, tag, n):
        self.tag, self.n = tag, n
        self.size = [0.075] * n + [0.05] if tag else [0.15] * n
        self.accel = [3.0] * n + [4.0] if tag else [5.0] * n
        self.max_speed = [1.0] * n + [1.3] if tag else [None] * n

    def force(self, delta, reach):
        dist = np.hypot(*delta)
        return 100.0 * 1e-3 * np.logaddexp(0.0, -(dist - reach) / 1e-3) * delta / dist

    def step(self, x, v, rocks, vectors):
        """``vectors`` [N, 5] of all bodies, the prey's in its own numbering."""
        bodies = len(x)
        force = np.zeros((bodies, 2))
        for i in range(bodies):
            sign = -1.0 if self.tag and i == self.n else 1.0
            c = vectors[i]
            force[i] += sign * self.accel[i] * np.array([c[1] - c[2], c[3] - c[4]])
            for j in range(bodies):
                if j != i:
                    force[i] += self.force(x[i] - x[j], self.size[i] + self.size[j])
            for rock in rocks if self.tag else ():
                force[i] += self.force(x[i] - rock, self.size[i] + 0.2)
        v = 0.75 * v + 0.1 * force
        for i in range(bodies):
            speed = np.hypot(*v[i])
            if self.max_speed[i] is not None and speed > self.max_speed[i]:
                v[i] *= self.max_speed[i] / speed
        return x + 0.1 * v, v

    def obs(self, x, v, rocks):
        rows = []
        for a in range(self.n):
            row = [*v[a], *x[a]]
            for rock in rocks:
                row += [*(rock - x[a])]
            for b in range(len(x)):
                if b != a:
                    row += [*(x[b] - x[a])]
            row += [*v[self.n]] if self.tag else [0.0, 0.0] * (self.n - 1)
            rows.append(row)
        return np.array(rows)

    def reward(self, x, rocks):
        total = 0.0
        for a in range(self.n):
            if self.tag:
                gaps = [np.hypot(*(x[p] - x[self.n])) for p in range(self.n)]
                total += -0.1 * sum(gaps) + 10.0 * sum(g < 0.125 for g in gaps)
            else:
                total -= sum(min(np.hypot(*(p - rock)) for p in x) for rock in rocks)
                total -= sum(np.hypot(*(x[a] - p)) < 0.3 for p in x)
        return total

    def caught(self, x):
        return self.tag and any(np.hypot(*(x[p] - x[-1])) < 0.125 for p in range(self.n))


@pytest.mark.parametrize("soft", [False, True], ids=["index", "vector"])
@pytest.mark.parametrize("name", PAPER)
def test_random_steps_are_those_of_an_independent_core(name, soft):
    """1000 steps in float32, teacher-forced from our states, crowded so that bodies touch."""
    task = make_task(name)
    n, tag = task.spec.n_agents, "prey" in name
    core, envs, steps = Core(tag, n), 40, 25

    def one(key):
        reset_key, key = jax.random.split(key)
        state, _ = task.reset(reset_key)
        # Where there is little room, contacts are frequent; the tasks' own square is much larger.
        state = state.replace(position=state.position * 0.4, landmark=state.landmark * 0.4)

        def step(state, key):
            act_key, step_key = jax.random.split(key)
            if soft:
                action = jax.nn.softmax(3 * jax.random.normal(act_key, (n, 5)))
            else:
                action = jax.random.randint(act_key, (n,), 0, 5)
            choice = jax.random.randint(step_key, (), 0, 5)  # the prey's
            after, ts = task.step(step_key, state, action)
            return after, (state, action, choice, after, ts)

        return jax.lax.scan(step, state, jax.random.split(key, steps))[1]

    keys = jax.random.split(jax.random.key(3), envs)
    before, action, choice, after, ts = jax.tree.map(
        lambda x: x.reshape(envs * steps, *x.shape[2:]),
        jax.device_get(jax.jit(jax.vmap(one))(keys)),
    )
    vectors = action if soft else np.eye(5)[action]
    if tag:
        vectors = np.concatenate([vectors, np.eye(5)[choice][:, None]], axis=1)
    x0, v0, rocks, x1, v1 = (
        np.asarray(a, np.float64)
        for a in (before.position, before.velocity, before.landmark, after.position, after.velocity)
    )
    x, v = (np.stack(a) for a in zip(*map(core.step, x0, v0, rocks, vectors), strict=True))
    np.testing.assert_allclose(x1, x, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(v1, v, rtol=1e-5, atol=1e-5)
    # Judged at our positions: a threshold may lie within rounding of theirs.
    np.testing.assert_allclose(ts.obs, [*map(core.obs, x1, v1, rocks)], atol=1e-5)
    np.testing.assert_allclose(ts.reward, [*map(core.reward, x1, rocks)], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(ts.terminated, [*map(core.caught, x1)])
    touched = np.zeros(len(x0), bool)
    for i, j in combinations(range(x0.shape[1]), 2):
        touched |= np.hypot(*(x0[:, i] - x0[:, j]).T) < core.size[i] + core.size[j]
    assert touched.sum() > 20, "hardly any contact was tested"


# --- rules worked by hand ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "sign"), [(0, (0, 0)), (1, (1, 0)), (2, (-1, 0)), (3, (0, 1)), (4, (0, -1))]
)
def test_positions_move_with_the_new_velocity(action, sign):
    """From rest: v = 5 x 0.1, then x = 0.1 v; JaxMARL's would still be at 0."""
    task = make_task("mpe/cooperative_navigation")
    state = placed(task, [[0, 0], [2, 0], [0, 2]])
    state, _ = jax.device_get(task.step(jax.random.key(0), state, np.array([action, 0, 0])))
    np.testing.assert_allclose(state.velocity[0], 0.5 * np.array(sign), atol=1e-6)
    np.testing.assert_allclose(state.position[0], 0.05 * np.array(sign), atol=1e-6)
    state, _ = jax.device_get(task.step(jax.random.key(0), state, idle(task)))
    np.testing.assert_allclose(state.velocity[0], 0.375 * np.array(sign), atol=1e-6)


@pytest.mark.parametrize("name", PAPER)
def test_an_index_is_its_one_hot_vector(name):
    task = make_task(name)
    state, _ = task.reset(jax.random.key(0))
    action = np.arange(task.spec.n_agents) % 5
    one = task.step(jax.random.key(1), state, action)
    two = task.step(jax.random.key(1), state, np.eye(5, dtype=np.float32)[action])
    jax.tree.map(np.testing.assert_array_equal, one, two)
    # Opposite halves cancel, and the weight of "nothing" does nothing.
    even = np.tile(np.float32([0.2, 0.3, 0.3, 0.1, 0.1]), (task.spec.n_agents, 1))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6),
        task.step(jax.random.key(1), state, even),
        task.step(jax.random.key(1), state, idle(task)),
    )


def test_speed_is_limited_in_predator_prey_only():
    tag, spread = make_task("mpe/predator_prey"), make_task("mpe/cooperative_navigation")
    state = placed(tag, [[0, 0], [2, 0], [0, 2], [3, 3]], velocity=np.full((4, 2), 3.0))
    state, _ = tag.step(jax.random.key(0), state, idle(tag))
    np.testing.assert_allclose(physics.length(state.velocity), [1, 1, 1, 1.3], rtol=1e-6)
    state = placed(spread, [[0, 0], [2, 0], [0, 2]], velocity=np.full((3, 2), 3.0))
    state, _ = spread.step(jax.random.key(0), state, idle(spread))
    np.testing.assert_allclose(state.velocity, 2.25, rtol=1e-6)


def test_contact_pushes_both_apart_and_obstacles_stand_still():
    """Overlap 0.05: 100 x 0.05 each way. An obstacle pushes and is not moved."""
    world = particles.TAG
    apart = np.float32([[0.0, 0.0], [0.1, 0.0], [3.0, 0.0], [0.0, 3.0]])
    rocks = np.float32([[3.0, -0.25], [FAR, FAR]])
    push = jax.jit(physics.contact_force, static_argnums=2)
    force = push(apart, rocks, world)
    np.testing.assert_allclose(
        force, [[-5.0, 0.0], [5.0, 0.0], [0.0, 2.5], [0.0, 0.0]], rtol=1e-4, atol=1e-4
    )
    assert physics.overlaps(apart, world.radius) == 1
    spread = particles.spread(2)
    on_a_landmark = np.float32([[0.0, 0.0], [1.0, 0.0]])
    force = push(on_a_landmark, on_a_landmark + np.float32(0.01), spread)
    np.testing.assert_allclose(force, 0.0, atol=1e-6)


def test_two_bodies_in_one_point_stay_finite():
    task = make_task("mpe/cooperative_navigation")
    state, ts = task.step(jax.random.key(0), placed(task, np.zeros((3, 2))), idle(task))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((state, ts.obs, ts.reward)))


def test_predator_prey_reward_and_capture():
    """3 (-0.1 (0.1 + 1 + 2) + 10): a sum over predators, once for each of them."""
    task = make_task("mpe/predator_prey")
    radius = task.world.radius
    near = np.float32([[0.1, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    far = near.copy()
    far[0, 0] = 0.13

    @jax.jit
    def judged(position):
        distance = particles.prey_distance(position)
        reward = particles.predator_prey_reward(distance, radius)
        return reward, particles.catches(distance, radius)

    reward, caught = judged(near)
    assert float(reward) == pytest.approx(3 * (-0.31 + 10))
    assert caught.tolist() == [True, False, False]
    reward, caught = judged(far)
    assert float(reward) == pytest.approx(3 * -0.313)
    assert not np.any(caught)


def test_capture_terminates_even_at_the_limit():
    task = make_task("mpe/predator_prey")
    for state, t, ended in (
        (pounce(task), 10, (True, False)),
        (pounce(task), 199, (True, False)),
        (pounce(task, gap=0.5), 198, (False, False)),
        (pounce(task, gap=0.5), 199, (False, True)),
    ):
        _, ts = task.step(jax.random.key(0), state.replace(t=np.int32(t)), idle(task))
        assert (bool(ts.terminated), bool(ts.truncated)) == ended, (t, ended)


def test_the_prey_moves_by_chance_in_five_ways():
    task = make_task("mpe/predator_prey")
    state = placed(task, [[2, 2], [3, 3], [4, 4], [0, 0]])
    step = jax.jit(jax.vmap(lambda key: task.step(key, state, idle(task))[0].velocity[-1]))
    velocity = np.asarray(step(jax.random.split(jax.random.key(0), 2000)))
    ways, counts = np.unique(velocity.round(6), axis=0, return_counts=True)
    expected = [[-0.4, 0], [0, -0.4], [0, 0], [0, 0.4], [0.4, 0]]
    np.testing.assert_allclose(ways, expected, atol=1e-6)
    assert np.all(np.abs(counts / 2000 - 0.2) < 0.04)  # 4.5 standard errors


@jax.jit
def directions(choice):
    """Where a choice leads the prey and an agent."""
    agents = physics.steer(physics.as_vectors(choice[None], float))
    return particles.prey_direction(choice, float), agents


@pytest.mark.parametrize("choice", range(5))
def test_the_preys_numbers_have_the_opposite_sign(choice):
    ours, agents = directions(choice)
    np.testing.assert_array_equal(ours, -np.asarray(agents))


def test_navigation_reward_counts_collisions_with_oneself():
    """Perfect cover of 3 landmarks is worth -3 a step; a pair that touches costs 2."""
    task = make_task("mpe/cooperative_navigation")
    radius = task.world.radius
    reward = jax.jit(particles.cooperative_navigation_reward, static_argnums=2)
    spots = np.float32([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert float(reward(spots, spots, radius)) == pytest.approx(-3)
    together = np.float32([[0.0, 0.0], [1.0, 0.0], [0.2, 0.0]])
    assert float(reward(together, spots, radius)) == pytest.approx(-3 * 1.0 - 3 - 2)
    assert task.spec.max_return == -3 * 200


@pytest.mark.parametrize("name", PAPER)
def test_reset(name):
    task = make_task(name)
    keys = jax.random.split(jax.random.key(0), 2000)
    state, ts = jax.device_get(jax.jit(jax.vmap(task.reset))(keys))
    assert not np.any(state.velocity) and not np.any(state.t)
    half = 0.9 if "prey" in name else 1.0
    for x, bound in ((state.position, 1.0), (state.landmark, half)):
        assert 0.99 * bound < np.abs(x).max() <= bound
        np.testing.assert_allclose(np.mean(x, axis=0), 0, atol=0.07)
        np.testing.assert_allclose(np.std(x, axis=0), bound / np.sqrt(3), atol=0.03)
    np.testing.assert_array_equal(ts.state, ts.obs.reshape(2000, -1))


@pytest.mark.parametrize("name", ["mpe/predator_prey", "mpe/simple_reference"])
def test_a_step_or_a_new_start(name):
    """`step_or_reset_batch` is a choice between the two; nothing of a restart is left behind."""
    task = make_task(name)
    keys, other = (jax.random.split(jax.random.key(k), 3) for k in (1, 2))
    action = np.ones((3, task.spec.n_agents), np.int32)

    @jax.jit
    def both(over):
        before, _ = task.reset_batch(keys)
        either = task.step_or_reset_batch(keys, other, over, before, action)
        stepped = task.step_batch(keys, before, action)
        return either, select_env(task, over, task.reset_batch(other), stepped)

    for over in ((False,) * 3, (False, True, True)):
        either, expected = both(np.array(over))
        assert either[0].t.tolist() == [0 if new else 1 for new in over]
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), either, expected)


def test_float64_comes_out_where_float64_goes_in(x64):
    for name in PAPER:
        task = make_task(name)
        for dtype in (jnp.float32, jnp.float64):
            state, _ = jax.eval_shape(task.reset, jax.random.key(0))
            state = jax.tree.map(
                lambda x, dtype=dtype: x.update(dtype=dtype) if x.dtype == jnp.float64 else x, state
            )
            out = jax.eval_shape(task.step, jax.random.key(1), state, idle(task))
            floats = {
                x.dtype for x in jax.tree.leaves(out) if jnp.issubdtype(x.dtype, jnp.floating)
            }
            assert floats == {jnp.dtype(dtype)}


# --- names ---------------------------------------------------------------------------------------


def test_any_number_of_agents():
    task = make_task("mpe/cooperative_navigation_n4")
    assert task.spec.name == "mpe/cooperative_navigation_n4"
    assert (task.spec.n_agents, task.spec.obs_size) == (4, 4 + 8 + 12)
    assert make_task("mpe/cooperative_navigation_n3").spec.n_agents == 3


def test_navigation_needs_two_agents():
    for n in (0, 1):
        with pytest.raises(UserError, match="2 to 100"):
            make_task(f"mpe/cooperative_navigation_n{n}")


@pytest.mark.parametrize(
    "name",
    [
        "mpe/predator_pray",
        "mpe/predator_prey_n5",
        "mpe/cooperative_navigation_n",
        "mpe/cooperative_navigation_n" + "5" * 5000,
    ],
    ids=lambda name: name[:30],
)
def test_unknown_names(name):
    with pytest.raises(UserError, match="unknown task"):
        make_task(name)


def test_there_are_no_options():
    with pytest.raises(UserError, match="option"):
        make_task("mpe/predator_prey:prey=clever")


# --- frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PAPER, *JAXMARL])
def test_frames_show_the_state_after_the_step(name):
    task = make_task(name)
    state, ts = task.reset(jax.random.key(0))
    key, scene = jax.random.key(1), task.scene
    if task.spec.continuous:
        action = np.full(ts.avail.shape, 0.5, np.float32)
    else:
        action = np.ones(task.spec.n_agents, np.int32)
    frame = jax.device_get(task.frames(key, state, action))
    after, _ = task.step(key, state, action)
    things = len(scene.team)
    assert len(scene.agent) == things and frame.position.shape == (1, things, 2)
    for part in ("radius", "kind", "alive", "health", "energy", "target", "healing"):
        assert getattr(frame, part).shape == (1, things), part
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(frame))
    wanted = np.concatenate([after.position, after.landmark])
    np.testing.assert_allclose(frame.position[0], wanted, atol=1e-6)
    agents = [i for i, a in enumerate(scene.agent) if a >= 0]
    assert [scene.agent[i] for i in agents] == list(range(task.spec.n_agents))
    assert all(scene.team[i] == 0 for i in agents)
    assert np.all((np.asarray(frame.kind) >= 0) & (np.asarray(frame.kind) < len(scene.kinds)))
    assert np.all(np.asarray(frame.radius) > 0)
    assert np.all(np.asarray(frame.target) < things)


def test_frames_stack_under_vmap_and_scan():
    task = make_task("mpe/predator_prey")

    def film(key):
        state, _ = task.reset(key)

        def moment(state, key):
            frame = task.frames(key, state, idle(task))
            return task.step(key, state, idle(task))[0], frame

        return jax.lax.scan(moment, state, jax.random.split(key, 4))[1]

    frames = jax.jit(jax.vmap(film))(jax.random.split(jax.random.key(0), 2))
    assert frames.position.shape == (2, 4, 1, 6, 2)


def test_a_predator_hits_the_prey_it_catches():
    task = make_task("mpe/predator_prey")
    frame = jax.device_get(task.frames(jax.random.key(0), pounce(task), idle(task)))
    assert frame.target[0].tolist() == [3, NONE, NONE, NONE, NONE, NONE]
    kinds = [task.scene.kinds[k] for k in frame.kind[0].tolist()]
    assert kinds == ["predator"] * 3 + ["prey"] + ["obstacle"] * 2


def test_goals_are_a_kind_of_landmark():
    for name, shown in (("mpe/simple_speaker_listener", 1), ("mpe/simple_reference", 2)):
        task = make_task(name)
        state, _ = task.reset(jax.random.key(2))
        frame = jax.device_get(task.frames(jax.random.key(0), state, idle(task)))
        kinds = [task.scene.kinds[k] for k in frame.kind[0].tolist()]
        goals = {i - 2: k for i, k in enumerate(kinds) if k.startswith("goal")}
        assert set(goals) == set(np.atleast_1d(state.goal).tolist())
        assert shown == 1 or len(goals) == 2 or "goal_of_both" in goals.values()
