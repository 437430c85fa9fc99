"""JAX's own switches: 64-bit mode, and the checkers of keys, of ranks and of NaNs.

Tracing tells all but the NaNs, so nothing but one small run is compiled.
"""

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import get_args, get_type_hints

import jax
import jax.numpy as jnp
import pytest

from lica_jax import load_policy, train
from lica_jax.algorithms import algorithm_names, make_algorithm
from lica_jax.algorithms.registry import algorithm_module
from lica_jax.config import load_config, resolve
from lica_jax.diagnosis.playing import Mind, Player, at, episodes, rollouts
from lica_jax.engines.shapes import ShapeTask
from lica_jax.envs import make_task
from lica_jax.envs.checks import task_problems
from lica_jax.errors import UserError
from lica_jax.rendering.recording import film
from lica_jax.runs.checks import check_played
from lica_jax.testing import check_task
from lica_jax.training.evaluation import make_evaluator
from lica_jax.training.loop import batch_runs, make_run, stack_hparams

# One of each kind of arrays: our simulation's are float32 in every mode, the others' are JAX's
# default; and of each kind of actions.
FAMILIES = (
    "smax/MMM2:stats=sc2", "smax/2s3z:layout=smac,reward=smac", "mpe/predator_prey",
    "mpe/cooperative_navigation", "mpe/simple_speaker_listener", "mpe/simple_spread_continuous",
    "game/climbing", "game/two_step", "probe/private", "probe/aim",
)  # fmt: skip


class SinglePrecision(ShapeTask):
    """A task whose floats are float32 whatever JAX's default is, and whose actions are masked."""

    def reset(self, key):
        state, ts = super().reset(key)
        singles = {k: getattr(ts, k).astype(jnp.float32) for k in ("obs", "state", "reward")}
        return state, ts.replace(**singles)


@contextmanager
def strict(*, wide):
    """Key reuse and implicit rank promotion are errors; ``wide`` for 64-bit mode."""
    with ExitStack() as modes:
        modes.enter_context(jax.enable_x64(wide))
        modes.enter_context(jax.numpy_rank_promotion("raise"))
        modes.enter_context(jax.debug_key_reuse(True))
        yield


def traced(name, task, **algo):
    """Traces two runs and an evaluation of them; False where the settings are refused."""
    try:
        config = resolve(load_config(name, task.spec.name, algo=algo), task.spec)
    except UserError:
        return False
    algo = make_algorithm(name, task.spec, config.algo)
    init, chunk = batch_runs(*make_run(algo, task, config.collect, config.timeout_is_terminal), 2)
    hps = stack_hparams([config.hp] * 2)
    states = jax.eval_shape(init, jax.vmap(jax.random.key)(jnp.arange(2)))
    after, _ = jax.eval_shape(lambda s: chunk(s, hps, 2), states)
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, states)
    evaluate = jax.jit(jax.vmap(make_evaluator(algo, task, 2)))
    params = jax.eval_shape(algo.policy, states.learner)
    figures = jax.eval_shape(lambda p, k: evaluate(p, k, hps), params, states.key)
    assert figures["greedy"].returns.shape == (2, 2)
    return True


@pytest.mark.parametrize("name", algorithm_names())
def test_every_algorithm_traces_under_every_checker(name):
    """In 64-bit mode, on a task that keeps to float32: every type meets every other."""
    with strict(wide=True):
        assert traced(name, SinglePrecision(make_task("probe/match").spec))


@pytest.mark.parametrize("task", FAMILIES)
def test_every_family_traces_under_every_checker(task):
    with strict(wide=True):
        assert traced("lica", make_task(task))


@pytest.mark.slow
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", algorithm_names())
def test_every_pair_traces_under_every_checker(name, wide):
    with strict(wide=wide):
        assert sum(traced(name, make_task(task)) for task in FAMILIES) >= 5


def choices(name):
    """Every setting of an algorithm that is one of several words, or a switch."""
    hints = get_type_hints(algorithm_module(name).Config)
    for field, hint in hints.items():
        for value in (False, True) if hint is bool else get_args(hint):
            if isinstance(value, str | bool):
                yield {field: value}


@pytest.mark.slow
@pytest.mark.parametrize("name", algorithm_names())
def test_every_choice_traces_under_every_checker(name):
    task = SinglePrecision(make_task("probe/match").spec)
    with strict(wide=True):
        assert sum(traced(name, task, **choice) for choice in choices(name)) >= 2


def test_jaxmarls_simulation_is_refused_in_64_bit_mode(x64):
    with pytest.raises(UserError, match=r"64-bit mode .*leave out backend=jaxmarl"):
        make_task("smax/3m:backend=jaxmarl")


@pytest.mark.parametrize("task", ["smax/3m", "game/climbing"])
def test_looking_at_policies_traces_under_every_checker(task):
    """`render` and `diagnose`, in 64-bit mode on a task that keeps to float32 and on one that does
    not."""
    with strict(wide=True):
        task = make_task(task)
        config = resolve(load_config("lica", task.spec.name), task.spec)
        algo = make_algorithm("lica", task.spec, config.algo)
        key = jax.random.key(0)
        learner = jax.eval_shape(algo.init, key)
        mind = Mind(learner.actor, learner.critic, config.hp)
        shown = jax.eval_shape(partial(film, algo, task, 2, True), *mind, key)
        assert shown.reward.shape == (task.spec.episode_limit, 2)
        player = Player(algo, task, 1.0, False)
        moments, _ = jax.eval_shape(partial(episodes, player, 2), mind, 0.8, key)
        some = jax.eval_shape(lambda m: at(m, task, jnp.zeros(3, int), jnp.zeros(3, int)), moments)
        joint = jnp.zeros((5, task.spec.n_agents), jnp.int32)
        play = partial(rollouts, player, 4)
        returned = jax.eval_shape(play, mind, some, jnp.zeros(5, int), joint, key)
        assert returned.shape == (5, 4)


@pytest.mark.parametrize("task", ["smax/3m", "probe/aim"])
def test_a_sound_task_conforms_under_every_checker(task):
    with strict(wide=True):
        check_task(task)


class Keeping(ShapeTask):
    """A task of somebody's that keeps its last actions, in 32 bits."""

    def reset(self, key):
        ts = super().reset(key)[1]
        floats, n = self.spec.continuous, self.spec.n_agents
        last = jnp.zeros(ts.avail.shape, jnp.float32) if floats else jnp.zeros(n, jnp.int32)
        return {"last": last}, ts.replace(first=jnp.ones((), bool))

    def step(self, key, state, action):
        ts = super().step(key, (), action)[1]
        return {"last": action}, ts.replace(first=jnp.zeros((), bool))


def test_a_task_for_narrower_actions_is_told_of_in_64_bit_mode(x64):
    (problem,) = task_problems(Keeping(make_task("probe/aim").spec))
    assert "state.last is float32[2, 1] after reset and float64[2, 1] after a step" in problem


def test_indices_have_32_bits_in_64_bit_mode_too():
    task = Keeping(make_task("probe/match").spec)
    with strict(wide=True):
        assert not task_problems(task)
        check_played(task)


def test_a_key_that_is_used_twice_would_be_found():
    def twice(key):
        return jax.random.normal(key) + jax.random.normal(key)

    with strict(wide=False), pytest.raises(jax.errors.KeyReuseError):
        jax.eval_shape(jax.jit(twice), jax.random.key(0))


def test_a_run_in_64_bit_mode_under_every_checker(tiny, tmp_path):
    """Trained, evaluated, saved and exported; and its policy plays in the usual mode, too."""
    with strict(wide=True), jax.debug_nans(True):
        result = train("lica", "probe/match", run_dir=tmp_path / "run", display="none", **tiny)
    assert {x.dtype for x in jax.tree.leaves(result.params)} == {jnp.dtype("float64")}
    assert result.summary["final"][0]["greedy"]["episodes"] == 16
    action, _ = load_policy(tmp_path / "run").act(jnp.ones((2, 2)), jnp.ones((2, 2), bool))
    assert action.shape == (2,)
