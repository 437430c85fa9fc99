"""How fast training is: env steps per second, beside plain matrix products of the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lica_jax.config import load_config
from lica_jax.engines.compiled import CompiledEngine
from lica_jax.errors import UserError
from lica_jax.profiling.breakdown import Part, breakdown
from lica_jax.runs.plan import Plan, make_plan

TOTAL_STEPS = 10**9  # of which a few are taken
LEAST_CALLS = 3
MOST_UPDATES = 10  # in a call; a profile of many more takes long to read
PRODUCT_SIZE = {"cpu": 1024}  # rows and columns of the plain products
LARGE_PRODUCT = 8192  # on accelerators


def bench_plan(
    algorithm: str, task: str, *, preset: str, envs: int | None = None, plugins: Sequence[str] = ()
) -> Plan:
    """What is going to be measured: one run, as `lica-jax train` would begin it.

    Raises:
      UserError: it cannot be trained, or not as one compiled program.
    """
    collect = {} if envs is None else {"envs": envs}
    config = load_config(
        algorithm, task, preset=preset, plugins=list(plugins), collect=collect,
        total_steps=TOTAL_STEPS, seeds=[0],
    )  # fmt: skip
    plan = make_plan(config)
    if not isinstance(plan.engine, CompiledEngine):
        raise UserError(f"{task} is played outside JAX: bench measures compiled programs")
    return plan


class Calls(NamedTuple):
    """What each call of one kind took, in seconds of the wall clock and of `busy_time`."""

    wall: list[float]
    busy: list[float]

    def add(self, call: Callable[[], Any]) -> Any:
        """Makes a call, waits for it and returns what it returns."""
        wall, busy = time.perf_counter(), busy_time()
        out = jax.block_until_ready(call())
        self.wall.append(time.perf_counter() - wall)
        self.busy.append(busy_time() - busy)
        return out


def busy_time() -> float:
    """Seconds of the process's own on the CPU, whatever else runs there; of an accelerator the wall
    clock's."""
    return time.process_time() if jax.default_backend() == "cpu" else time.perf_counter()


def measure(plan: Plan, seconds: float, with_parts: bool = False) -> dict[str, Any]:
    """A row of figures: compiles the training program and calls it for about that long.

    Calls alternate with plain float32 matrix products; medians count. With ``with_parts`` one more
    call is taken apart (`breakdown`).
    """
    engine, hps, updates = plan.engine, plan.hparams, min(plan.iterations, MOST_UPDATES)
    begin = time.perf_counter()
    states = engine.init(plan.keys)
    program = engine.compiled(states, hps, updates)
    compiling = time.perf_counter() - begin
    size = PRODUCT_SIZE.get(jax.default_backend(), LARGE_PRODUCT)
    matrix = jnp.ones((size, size), jnp.float32)
    multiply = jax.jit(jnp.matmul)
    for _ in range(2):
        states = jax.block_until_ready(program(states, hps)[0])
        jax.block_until_ready(multiply(matrix, matrix))
    training, products = Calls([], []), Calls([], [])
    first, begin = int(states.env_steps[0]), time.perf_counter()
    while time.perf_counter() - begin < seconds or len(training.wall) < LEAST_CALLS:
        states = training.add(lambda: program(states, hps))[0]  # noqa: B023
        products.add(lambda: multiply(matrix, matrix))
    steps = max(int(states.env_steps[0]) - first, 1) / len(training.wall)
    rate = 2 * size**3 / median(products.busy)
    row = {
        "task": plan.config.task, "algorithm": plan.config.algorithm, "preset": plan.config.preset,
        "envs": plan.config.collect.envs, "updates_per_call": updates,
        "calls": len(training.wall), "compile_seconds": round(compiling, 1),
        "env_steps_per_second": round(steps / median(training.wall)),
        "env_steps_per_busy_second": round(steps / median(training.busy)),
        "product_gflops": round(rate / 1e9, 2),
    }  # fmt: skip
    if not with_parts:
        return row
    parts = breakdown(program, lambda: program(states, hps))
    return row | _shares(parts, steps, median(training.busy) * rate)


def _shares(parts: dict[str, Part], steps: float, most: float) -> dict[str, Any]:
    """What a row says of its parts; a call takes so many env steps, and plain products would make
    ``most`` operations meanwhile.

    Parts are measured without disturbances: their times are stretched to the call's.
    """
    total = sum(part.seconds for part in parts.values())
    if not total:
        raise UserError("JAX's profiler names no instruction of the program on this device")
    products = sum(part.products for part in parts.values())
    rate = most / total
    return {
        "product_flop_per_env_step": round(products / steps),
        "of_product_rate": round(products / most, 3),
        "parts": {
            name: {
                "share": round(part.seconds / total, 4),
                "product_flop_per_env_step": round(part.products / steps),
                "of_product_rate": round(part.products / max(part.seconds, 1e-9) / rate, 3),
            }
            for name, part in parts.items()
        },
    }
