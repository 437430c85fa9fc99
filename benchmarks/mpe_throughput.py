"""Env steps per second of the particle tasks under a random policy, beside JaxMARL's own stepping.

Both sides run a jitted scan of stepping with automatic reset, random actions from the same sampler,
and use every output (`smax_throughput.py`). The peer is JaxMARL's task of the same name, and the
nearest one of the paper's tasks: its simple_spread of cooperative_navigation, its simple_tag, whose
prey is a fourth agent, of predator_prey. Calls of the sides alternate, so that a busy machine slows
both; medians count. A row per task and number of environments; the ratio is of the medians of that
row.

``--split`` adds where our step's time goes, in microseconds per batched step, each part compiled
alone.

    python benchmarks/mpe_throughput.py --tasks mpe/simple_spread --envs 256 1024
"""

from __future__ import annotations

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np
import throughput
from smax_throughput import our_loop

from lica_jax.core import bits
from lica_jax.envs import make_task
from lica_jax.envs.mpe import physics
from lica_jax.errors import UserError
from lica_jax.runs.versions import versions

TASKS = (
    "mpe/simple_spread", "mpe/simple_reference", "mpe/simple_speaker_listener",
    "mpe/cooperative_navigation", "mpe/predator_prey",
)  # fmt: skip


def random_actions(sizes):
    """``choose(avail, key)``, uniform among the first ``sizes[a]`` actions of agent a: these tasks
    mask none, and counting masks would take a fifth of our step. One number each."""
    sizes = np.asarray(sizes)

    def choose(avail, key):
        shape = avail.shape[:-1]
        index = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
        unit = bits.uniform(bits.as_key(key), index, 0, 1)
        return (unit * sizes[None]).astype(jnp.int32)

    return choose


def split(task, envs):
    """Microseconds of the parts of one batched step."""
    keys = jax.random.split(jax.random.key(0), envs)
    state, ts = jax.jit(task.reset_batch)(keys)
    choose = random_actions(task.avail.sum(-1))
    action = choose(ts.avail, jax.random.key(1))
    over = ts.terminated
    direction, _ = task.orders(bits.as_key(keys), state, action.T)
    moving = (state.position, state.velocity, state.landmark, direction)
    parts = {
        "actions": (choose, ts.avail, jax.random.key(1)),
        "a start": (task.start, keys),
        "motion": (lambda *args: physics.move(*args, task.world), *moving),
        "observations": (lambda state: task.observe(state), state),
        "rewards": (task.score_step, state),
        "whole step": (task.step_or_reset_batch, keys, keys, over, state, action),
    }
    return throughput.microseconds(parts, 60)


def measure(name, envs, args):
    task = make_task(name)
    env = throughput.jaxmarl_env(task)
    ours = random_actions(task.avail.sum(-1))
    theirs = random_actions([env.action_spaces[a].n for a in env.agents])
    loops = {
        "ours": our_loop(task, envs, args.length, ours),
        "jaxmarl": throughput.jaxmarl_loop(task, envs, args.length, theirs),
    }
    median, sides = throughput.side_by_side(loops, args.seconds)
    row = {
        "task": name, "peer": env.name, "envs": envs,
        **sides,
        "ratio": round(median["ours"] / median["jaxmarl"], 1),
    }  # fmt: skip
    if args.split:
        row["microseconds"] = split(task, envs)
    return row


def main():
    formatter = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS, metavar="TASK")
    parser.add_argument("--envs", nargs="+", type=int, default=(256, 1024))
    parser.add_argument("--length", type=int, default=32, help="batched steps per call")
    parser.add_argument("--seconds", type=float, default=15.0, help="per row")
    parser.add_argument("--split", action="store_true", help="where the time goes")
    args = parser.parse_args()
    if min(*args.envs, args.length, 10**9) < 1 or args.seconds <= 0:
        parser.error("--envs, --length and --seconds must be positive")
    print(json.dumps({"machine": versions()}), flush=True)
    try:
        for name in args.tasks:
            for envs in args.envs:
                print(json.dumps(measure(name, envs, args)), flush=True)
    except UserError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
