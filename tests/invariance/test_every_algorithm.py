"""What every algorithm gets from the machinery: seeds in one program, resuming, export, presets."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax import load_policy, train
from lica_jax.algorithms import REGISTRY, make_algorithm
from lica_jax.config import load_config, presets_dir, resolve
from lica_jax.envs import make_task, task_names
from lica_jax.errors import UserError
from lica_jax.runs.checkpoint import keys_to_data
from lica_jax.runs.session import Session

TASK = "probe/match"
SMALL = {
    "total_steps": 512,
    "seeds": (3, 5),
    "collect": {"mode": "steps", "envs": 4, "length": 4},
    "log_interval": 32,
    "eval": {"interval": 256, "episodes": 8, "final_episodes": 16},
}
# A replay that is ready, and overwritten, within the run.
REPLAY = {"replay_capacity": 24, "replay_batch": 6}


def small(name, **overrides):
    algo = {"hidden": 8}
    spec = make_task(TASK).spec
    replay = make_algorithm(name, spec).replay
    if replay:
        algo |= REPLAY
    if replay and replay.unit == "transition":
        algo["critic_steps"] = 2
    return load_config(name, TASK, algo=algo, **(SMALL | overrides))


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, keys_to_data(a), keys_to_data(b))


# One of each kind of state: replayed segments, replayed transitions, and a critic with a memory.
# LICA has tests of its own.
KINDS = {"qmix", "maddpg", "mappo"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in KINDS else pytest.mark.slow) for n in sorted(REGISTRY)],
)
def test_resumed_in_the_middle_and_exported(name, tmp_path):
    """Half a run, resumed, equals a whole one bitwise, and its policy file plays as it does."""
    half = train(small(name, total_steps=256), run_dir=tmp_path / "run", display="none")
    assert half.interrupted is None and max(half.summary["env_steps"]) < 512
    resumed = train(small(name), run_dir=tmp_path / "run", resume=True, display="none")
    straight = Session(small(name), None, display="none")
    straight.run()
    losses = [(r["seed"], r["update"], r["loss"]) for r in straight.metrics.rows]
    assert losses == [(r["seed"], r["update"], r["loss"]) for r in resumed.metrics]
    assert np.all(np.isfinite([loss for *_, loss in losses]))
    assert resumed.summary["final"] == straight.summary["final"]
    # Both seeds learn, and differently.
    first = jax.tree.leaves(straight.algo.policy(straight._state.learner))
    assert any(not np.array_equal(x[0], x[1]) for x in first)

    policy, best = load_policy(tmp_path / "run"), resumed.policy()
    obs = np.random.default_rng(0).normal(size=(6, 2, straight.spec.obs_size)).astype(np.float32)
    np.testing.assert_array_equal(policy.act(obs)[0], best.act(obs)[0])
    action, _ = policy.act(obs, key=jax.random.key(1))
    assert action.shape[:2] == (6, 2)


@functools.cache
def specs():
    return {task: make_task(task).spec for task in task_names()}


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_task_can_be_trained_or_is_refused_with_a_reason(name):
    """The default preset of every task; whoever is refused is told what to use instead."""
    for task, spec in specs().items():
        try:
            config = resolve(load_config(name, task), spec)
        except UserError as error:
            message = str(error)
            assert spec.continuous or spec.masks_actions, message
            assert "use " in message and any(other in message for other in REGISTRY), message
        else:
            assert config.total_steps > 0


PAPER_SMAX = ("lica", "coma", "liir", "vdn", "qmix", "qtran")
PAPER_MPE = ("lica", "coma_fc", "iddpg", "maddpg", "sqddpg")


@pytest.mark.parametrize(
    ("names", "tasks"),
    [
        (PAPER_SMAX, ["2s3z", "1c3s5z", "5m_vs_6m", "2c_vs_64zg", "MMM2", "3s5z_vs_3s6z"]),
        (PAPER_MPE, ["predator_prey", "cooperative_navigation", "cooperative_navigation_n5"]),
    ],
)
def test_the_paper_preset_covers_the_paper(names, tasks):
    family = "smax" if names is PAPER_SMAX else "mpe"
    for task in tasks:
        spec = make_task(f"{family}/{task}").spec
        for name in names:
            config = resolve(load_config(name, f"{family}/{task}", preset="paper"), spec)
            if family == "smax":
                easy = task in ("2s3z", "1c3s5z")
                assert config.total_steps == (32_000_000 if easy else 64_000_000)
                assert (config.collect.mode, config.collect.envs) == ("episode", 32)
                assert (config.eval.interval, config.eval.episodes) == (320_000, 32)
            else:
                # 5000 episodes of at most 200 steps, an update every 100 steps of one environment.
                assert config.total_steps == 1_000_000
                assert (config.collect.envs, config.collect.length) == (1, 100)


def test_every_preset_belongs_to_an_algorithm():
    names = {path.stem for path in presets_dir().glob("[!a]*/**/*.yaml")}
    assert names <= set(REGISTRY) | {"all"}, names - set(REGISTRY)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_random_play_is_uniform(name):
    """Zero parameters, and every epsilon at 1: what the random policy of a report is."""
    from functools import partial

    from lica_jax.training.evaluation import random_hparams, random_params
    from lica_jax.types import Progress

    task = make_task("game/nonmonotonic")
    algo = make_algorithm(name, task.spec)
    params = random_params(algo.policy(jax.eval_shape(algo.init, jax.random.key(0))))
    _, ts = jax.vmap(task.reset)(jax.random.split(jax.random.key(1), 3000))
    hp = random_hparams(algo.hparams)
    act = jax.jit(
        partial(algo.act, hp=hp, progress=Progress.finished(), explore=jnp.ones(3000, bool))
    )
    action = act(params, algo.initial_carry(3000), ts, jax.random.key(2))[1]
    joint = np.bincount(np.asarray(action @ jnp.array([3, 1])), minlength=9)
    assert np.all(np.abs(joint - 3000 / 9) < 75), joint  # four standard deviations are 69


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_what_list_says_of_replay_is_true(name):
    replay = make_algorithm(name, make_task(TASK).spec).replay
    unit = {"segment": "episodes or segments", "transition": "transitions"}
    assert REGISTRY[name].replay == (unit[replay.unit] if replay else "")
