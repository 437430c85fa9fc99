"""What must not change the numbers: chunking, batching runs, resuming, evaluating more often."""

import copy
import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax import train
from lica_jax.algorithms import make_algorithm
from lica_jax.config import load_config, resolve
from lica_jax.envs import make_task
from lica_jax.runs.checkpoint import keys_to_data
from lica_jax.training.loop import all_finite, batch_runs, make_run, stack_hparams
from tests.conftest import new_session

TASK = "probe/two_step"


def build(tiny, mode="steps", **algo):
    tiny["algo"] |= algo
    tiny["collect"]["mode"] = mode
    task = make_task(TASK)
    config = resolve(load_config("lica", TASK, **tiny), task.spec)
    algorithm = make_algorithm("lica", task.spec, config.algo)
    return config, make_run(algorithm, task, config.collect, config.timeout_is_terminal)


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, keys_to_data(a), keys_to_data(b))


@pytest.mark.parametrize("mode", ["steps", "episode"])
def test_one_chunk_equals_two_halves(tiny, mode):
    config, (init, chunk) = build(tiny, mode)
    chunk = jax.jit(chunk, static_argnums=2)
    hp = jax.tree.map(lambda x: x[0], stack_hparams([config.hp] * 1))
    start = init(jax.random.key(3))
    whole, metrics = chunk(start, hp, 6)
    half, first = chunk(start, hp, 3)
    halves, second = chunk(half, hp, 3)
    equal(whole, halves)
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)
    equal(metrics, joined)


def test_a_run_alone_equals_its_row_in_a_batch(tiny):
    config, (init, chunk) = build(tiny)
    keys = jax.vmap(jax.random.key)(jnp.arange(4, dtype=jnp.uint32))
    init_all, chunk_all = batch_runs(init, chunk, 4)
    batch, _ = chunk_all(init_all(keys), stack_hparams([config.hp] * 4), 5)
    init_one, chunk_one = batch_runs(init, chunk, 1)
    alone, _ = chunk_one(init_one(keys[2:3]), stack_hparams([config.hp] * 1), 5)
    # Same decisions exactly; sums inside matrix products may be ordered differently by a vmap.
    row = jax.tree.map(lambda x: x[2:3], batch)
    equal(row.stream.env, alone.stream.env)
    equal(row.key, alone.key)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), row.learner, alone.learner
    )


def test_hyper_parameters_are_per_run_and_do_not_recompile(tiny):
    # Else the temperature, the weight of the divergence or the average changes nothing.
    tiny["algo"].update(
        policy_input="straight_through", actor_steps=2, entropy_mode="target", critic_average=True,
        trust_region=True, kl_mode="target",
    )  # fmt: skip
    tiny["hp"] = {"temperature_final": 0.2, "temperature_steps": 1e3, "kl_coef": 1.0}
    tiny["hp"].update(kl_limit=1e-5, kl_target=1e-4)
    tiny["hp"].update(entropy_final=0.05, entropy_steps=1e3)
    tiny["hp"].update(entropy_target_final=0.2, entropy_target_steps=1e3, average_decay=0.2)
    tiny["hp"].update(lr_end=0.5, lr_steps=1e3)
    config, (init, chunk) = build(tiny)
    traces = []

    def counted(state, hp, iterations):
        traces.append(1)
        return chunk(state, hp, iterations)

    keys = jax.vmap(jax.random.key)(jnp.zeros(2, jnp.uint32))  # the same seed twice
    init_all, chunk_all = batch_runs(init, counted, 2)
    hp = stack_hparams([config.hp] * 2)
    names = [f.name for f in dataclasses.fields(hp) if f.name != "target_interval"]
    assert len(names) == 22
    for name in names:
        # Small enough to be felt within five updates: clipping at 10 is not.
        value = 0.01 if name == "grad_norm_clip" else getattr(hp, name)
        swept = dataclasses.replace(hp, **{name: value * jnp.array([1.0, 0.5])})
        state, _ = chunk_all(init_all(keys), swept, 5)
        leaves = jax.tree.leaves(state.learner)
        assert any(not np.array_equal(x[0], x[1]) for x in leaves), f"{name} changes nothing"
    state, _ = chunk_all(init_all(keys), hp, 5)
    assert all(np.array_equal(x[0], x[1]) for x in jax.tree.leaves(state.learner))
    assert len(traces) == 1


def test_a_seed_that_fails_stops_alone_at_its_last_sound_parameters(tiny):
    config, (init, chunk) = build(tiny)
    keys = jax.vmap(jax.random.key)(jnp.zeros(2, jnp.uint32))
    init_all, chunk_all = batch_runs(init, chunk, 2)
    hp = stack_hparams([config.hp] * 2)
    broken = dataclasses.replace(
        hp, critic_lr=jnp.array([5e-3, 1e30]), grad_norm_clip=jnp.array([10.0, 1e30])
    )
    state, metrics = chunk_all(init_all(keys), broken, 5)
    healthy, _ = chunk_all(init_all(keys), hp, 5)
    assert state.failed_at[0] == -1 and state.updates[0] == 5
    failed_at = int(state.failed_at[1])
    assert 0 <= failed_at < 5 and state.updates[1] == failed_at
    assert state.env_steps[1] < state.env_steps[0] and state.episodes[1] < state.episodes[0]
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state.learner))
    first = jax.tree.map(lambda x: x[0], (state.learner, healthy.learner))
    equal(*first)  # the other seed does not notice
    assert metrics["counts"]["failed_at"].shape == (2, 5)


@pytest.mark.parametrize("algorithm", ["lica", "mappo"])
def test_a_collection_of_nothing_is_no_batch(algorithm):
    """Games of one step, one step at a time: every other one only begins anew. Counters that are
    at their end stay there."""
    config = load_config(
        algorithm, "game/climbing", collect={"mode": "steps", "envs": 4, "length": 1},
        algo={"hidden": 4} | ({"minibatches": 2} if algorithm == "mappo" else {}),
    )  # fmt: skip
    task = make_task(config.task)
    config = resolve(config, task.spec)
    algo = make_algorithm(algorithm, task.spec, config.algo)
    init, chunk = make_run(algo, task, config.collect, config.timeout_is_terminal)
    hp = jax.tree.map(lambda x: x[0], stack_hparams([config.hp]))
    chunk = jax.jit(chunk, static_argnames="iterations")
    before = jax.jit(init)(jax.random.key(0))
    moved = []
    for _ in range(4):
        state, _ = chunk(before, hp, iterations=1)
        same = jax.tree.map(np.array_equal, state.learner, before.learner)
        played = int(state.env_steps) - int(before.env_steps)
        moved.append((played, not all(jax.tree.leaves(same))))
        before = state
    assert sorted(moved) == [(0, False), (0, False), (4, True), (4, True)]
    full = before.replace(env_steps=jnp.uint32(2**32 - 2))
    state = chunk(chunk(full, hp, iterations=1)[0], hp, iterations=1)[0]
    assert int(state.env_steps) == 2**32 - 1


@pytest.mark.parametrize(
    "algo",
    [
        {},
        # The policies that acted are stored, too.
        pytest.param(
            {"replay_capacity": 24, "replay_batch": 6, "dueling": True}, marks=pytest.mark.slow
        ),
    ],
    ids=["fresh", "replay"],
)
def test_resuming_is_bitwise(tiny, tmp_path, algo, programs):
    """Train 2N equals train N, stop, resume, N; by the same program."""
    tiny["algo"] |= algo
    tiny["total_steps"] = 1_500
    short = train("lica", TASK, run_dir=tmp_path / "short", display="none", **copy.deepcopy(tiny))
    assert short.summary["env_steps"][0] < 2_000
    tiny["total_steps"] = 3_000
    config = load_config("lica", TASK, **tiny)
    resumed = train(config, run_dir=tmp_path / "short", resume=True, display="none")
    assert programs.count("chunk_all") == 1
    straight = new_session(config, tmp_path / "straight")
    straight.run()
    again = new_session(config, tmp_path / "short", resume=True)
    equal(again.state, straight.state)
    # And the logs are those of one run: no row twice, none missing.
    rows = [(r["update"], r["critic_loss"]) for r in resumed.metrics]
    assert rows == [(r["update"], r["critic_loss"]) for r in straight.logs.metrics.rows]
    again.close()


def test_evaluating_more_often_changes_nothing(tiny, tmp_path):
    results = []
    for interval, episodes in ((400, 8), (100, 24)):
        tiny["eval"] |= {"interval": interval, "episodes": episodes}
        session = new_session(load_config("lica", TASK, **copy.deepcopy(tiny)))
        session.run()
        results.append(session)
    assert len(results[1].logs.evals.rows) > len(results[0].logs.evals.rows)
    equal(results[0].state, results[1].state)


def test_training_does_not_touch_the_configuration(tiny):
    before = copy.deepcopy(tiny)
    config = load_config("lica", TASK, **tiny)
    kept = copy.deepcopy(config)
    result = train(config, display="none")
    assert config == kept and tiny == before
    assert result.config.hp.reward_scale == 1.0 and config.hp.reward_scale is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.task = "smax/3m"


def test_a_run_compiles_its_chunk_once(tiny, monkeypatch):
    import lica_jax.engines.compiled as module

    traces = []
    original = module.make_run

    def counting(*args):
        init, chunk = original(*args)

        def counted(state, hp, iterations):
            traces.append(iterations)
            return chunk(state, hp, iterations)

        return init, counted

    monkeypatch.setattr(module, "make_run", counting)
    train("lica", TASK, display="none", **tiny)
    # Once for the memory check's shapes at most, once for the program itself.
    assert len(traces) == 1


def test_whether_an_update_is_sound_is_computed_once():
    """Not again for every array that is chosen by it, which made programs twice as long."""
    arrays = {f"array {i}": jnp.ones(3 + i) for i in range(12)}

    def chosen(new, old):
        return jax.tree.map(partial(jnp.where, all_finite(new)), new, old)

    text = jax.jit(chosen).lower(arrays, arrays).compile().as_text()
    assert text.count(" is-finite(") >= 12 > text.count(" and(") / 4
    for bad, sound in ((1.0, True), (jnp.inf, False), (jnp.nan, False)):
        new = arrays | {"array 7": arrays["array 7"].at[2].set(bad)}
        assert bool(all_finite(new)) is sound
