"""What an accelerator would be given, read in the program that is lowered for it; none is needed.

Trips of a loop that only the device knows make the host wait, and sorting or scattering over
environments in every step is what these machines are slow at.
"""

import re

import jax
import jax.numpy as jnp
import pytest

from lica_jax.config import load_config
from lica_jax.envs import make_task
from lica_jax.runs.plan import make_plan

B = 8
SLOW_IN_A_STEP = ("sort", "scatter", "gather", "dynamic_slice", "dynamic_update_slice")


def lowered(function, *args, platform="cuda") -> str:
    return jax.export.export(function, platforms=[platform])(*args).mlir_module()


def step_program(name: str, platform: str = "cuda") -> str:
    task = make_task(name)

    def step(keys, reset_keys, over, state, action):
        keys, reset_keys = map(jax.random.wrap_key_data, (keys, reset_keys))
        return task.step_or_reset_batch(keys, reset_keys, over, state, action)

    keys = jax.random.split(jax.random.key(0), B)
    state, _ = jax.eval_shape(task.reset_batch, keys)
    data = jax.eval_shape(jax.random.key_data, keys)
    action = jax.ShapeDtypeStruct((B, task.spec.n_agents), jnp.int32)
    over = jax.ShapeDtypeStruct((B,), bool)
    return lowered(jax.jit(step), data, data, over, state, action, platform=platform)


def check_loops(program: str) -> None:
    """Every loop counts to a constant."""
    conditions = re.findall(r"stablehlo\.while\(.*?cond \{(.*?)\} do \{", program, flags=re.S)
    assert conditions, "no loop was read"
    constants = set(re.findall(r"(%\w+) = stablehlo\.constant dense<\d+> : tensor<i\d+>", program))
    for condition in conditions:
        bounds = re.findall(r"compare\s+LT, %iterArg\w*, (%\w+)", condition)
        assert len(bounds) == 1 and bounds[0] in constants, condition
        assert len(condition.strip().splitlines()) <= 3, condition  # nothing else is asked


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("task", ["smax/2s3z", "mpe/simple_spread", "mpe/predator_prey"])
def test_a_step_on_an_accelerator(task, platform):
    program = step_program(task, platform)
    assert ("stablehlo.while" in program) == task.startswith("smax/")  # the ticks of a step
    if "stablehlo.while" in program:
        check_loops(program)
    for operation in SLOW_IN_A_STEP:
        assert f"stablehlo.{operation}" not in program, operation
    assert "f64" not in program and "callback" not in program


def test_the_same_battle_on_a_cpu_restarts_in_groups():
    """What the other test would find in the program of a CPU."""
    program = step_program("smax/2s3z", "cpu")
    with pytest.raises(AssertionError):
        check_loops(program)
    assert "stablehlo.scatter" in program


def test_both_ways_of_restarting_give_the_same_battles():
    task = make_task("smax/2s3z")
    keys = jax.random.split(jax.random.key(0), B)
    state, _ = jax.jit(task.reset_batch)(keys)
    over = jnp.arange(B) % 3 == 0
    new = jax.random.split(jax.random.key(1), B)
    few, every = (
        jax.jit(function)(new, over, state)
        for function in (task._restarted_few, task._restarted_all)
    )
    jax.tree.map(lambda a, b: (a == b).all() or pytest.fail(), few, every)
    moved = jax.tree.map(lambda a, b: (a != b).any(), few.x, state.x)
    assert moved, "nothing was restarted"


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize(
    "algorithm",
    ["lica", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mappo", "qmix"))],
)
def test_training_on_an_accelerator(algorithm, platform):
    """A whole chunk: rollout, update and episode statistics; the state's buffers are given back.

    Of LICA's critic the passes that only a CPU is given group their rows, in loops of lengths that
    only the device knows.
    """
    collect = {"mode": "steps", "envs": 4, "length": 3}
    more = {"algo": {"hypernet_hidden": "full"}} if algorithm == "lica" else {}  # both passes
    plan = make_plan(load_config(algorithm, "smax/2s3z", collect=collect, total_steps=100, **more))
    state = jax.eval_shape(plan.engine.init, plan.keys)
    program = lowered(plan.engine._chunk, state, plan.hparams, 1, platform=platform)
    check_loops(program)
    assert "f64" not in program and "callback" not in program
    assert "tf.aliasing_output" in program or "jax.buffer_donor" in program
