"""Env steps per second of SMAX under a random policy: our simulation beside JaxMARL's.

Both sides run a jitted scan of stepping with automatic reset, legal random actions from the same
sampler, and use every output (observations, masks, rewards, ends; ours also the normalised critic
state, JaxMARL's its world state). Calls of the sides alternate, so that a busy machine slows both;
medians count. A row per map and number of environments; the ratio is of the medians of that row.

``--smac-layout`` adds a side: the same map with ``layout=smac``, and its share of the plain rate.
``--rng fast`` adds one with cheap random numbers, ``--devices 2`` every side of ours once more with
its environments shared out over that many devices of the CPU (JAX_NUM_CPU_DEVICES=2).
``--split`` adds where our step's time goes, in microseconds per batched step, each part compiled
alone.

    python benchmarks/smax_throughput.py --maps 2s3z 5m_vs_6m 3s5z_vs_3s6z --envs 256
"""

from __future__ import annotations

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np
import throughput

from lica_jax.core import bits
from lica_jax.envs import make_task
from lica_jax.envs.smax import simulation
from lica_jax.envs.smax.observe import critic_state, observe
from lica_jax.envs.smax.scenarios import SCENARIOS
from lica_jax.errors import UserError
from lica_jax.runs.versions import versions
from lica_jax.training.loop import over_runs

MAPS = ("2s3z", "5m_vs_6m", "3s5z_vs_3s6z")


def random_actions(avail, key):
    """Uniform among the available actions [..., A]; cheap, to leave the time to the simulation."""
    index = np.arange(avail.size, dtype=np.uint32).reshape(avail.shape)
    noise = bits.uniform(bits.as_key(key), index, 0, 1)
    return jnp.argmax(jnp.where(avail, noise, -1), axis=-1).astype(jnp.int32)


def used(tree):
    """A number that every output takes part in."""
    return sum(jnp.sum(x, dtype=jnp.float32) for x in jax.tree.leaves(tree))


def our_loop(task, envs, length, choose=random_actions, devices=1):
    """``(run, start)`` of a batch; each of several devices has its part of it."""
    if envs % devices:
        raise UserError(f"{envs} environments cannot be shared out evenly over {devices} devices")
    envs //= devices

    def step(carry, key):
        state, ts = carry
        act_key, step_key, reset_key = jax.random.split(key, 3)
        action = choose(ts.avail, act_key)
        keys, reset_keys = (jax.random.split(k, envs) for k in (step_key, reset_key))
        over = ts.terminated | ts.truncated
        state, ts = task.step_or_reset_batch(keys, reset_keys, over, state, action)
        return (state, ts), (used(ts), envs - jnp.sum(over))

    def run(carry, key):
        carry, (numbers, count) = jax.lax.scan(step, carry, jax.random.split(key, length))
        return carry, (jnp.sum(numbers), jnp.sum(count))

    def begin(key):
        return task.reset_batch(jax.random.split(key, envs))

    def all_parts(carry, key):
        carry, counts = over_runs(run, devices, devices)(carry, jax.random.split(key, devices))
        return carry, jax.tree.map(jnp.sum, counts)

    start = jax.jit(over_runs(begin, devices, devices))
    return jax.jit(all_parts), start(jax.random.split(jax.random.key(0), devices))


def split(task, envs):
    """Microseconds of the parts of one batched step."""
    battle = task.battle
    keys = jax.random.split(jax.random.key(0), envs)
    state, ts = jax.jit(task.reset_batch)(keys)
    action, key = random_actions(ts.avail, jax.random.key(1)), bits.as_key(keys)

    def units(state):
        return battle.units(state.kind)

    @jax.jit
    def orders(state, key, action):
        return simulation.orders(battle, units(state), state, key, action)

    noted, aim = orders(state, key, action.T)
    parts = {
        "orders of both teams": (orders, state, key, action.T),
        "eight world ticks": (
            lambda s, aim, k: simulation.ticks(battle, units(s), aim, s, k), noted, aim, key,
        ),
        "observations and masks": (lambda s: observe(battle, units(s), s), noted),
        "critic state": (lambda s: critic_state(battle, units(s), s), noted),
        "whole step": (task.step_batch, keys, state, action),
    }  # fmt: skip
    return throughput.microseconds(parts, 30)


def measure(name, envs, args):
    task = make_task(f"smax/{name}")
    mine = {"ours": task}
    if args.rng == "fast":
        mine["fast_rng"] = make_task(f"smax/{name}", rng="fast")
    if args.smac_layout:
        mine["smac_layout"] = make_task(f"smax/{name}", layout="smac")
    loops = {side: our_loop(task, envs, args.length) for side, task in mine.items()}
    if SCENARIOS[name].on_jaxmarl:
        theirs = make_task(f"smax/{name}", backend="jaxmarl")
        loops["jaxmarl"] = throughput.jaxmarl_loop(theirs, envs, args.length, random_actions)
    if args.devices > 1:
        for side, task in mine.items():
            shared = our_loop(task, envs, args.length, devices=args.devices)
            loops[f"{side}_on_{args.devices}_devices"] = shared
    median, sides = throughput.side_by_side(loops, args.seconds)
    row = {
        "map": name, "envs": envs,
        **sides,
    }  # fmt: skip
    if "jaxmarl" in median:
        row["ratio"] = round(median["ours"] / median["jaxmarl"], 1)
    if args.smac_layout:
        row["smac_layout_share"] = round(median["smac_layout"] / median["ours"], 2)
    if args.split:
        row["microseconds"] = split(task, envs)
    return row


def main():
    formatter = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--maps", nargs="+", choices=SCENARIOS, default=MAPS, metavar="MAP")
    parser.add_argument("--envs", nargs="+", type=int, default=(256,))
    parser.add_argument("--length", type=int, default=32, help="batched steps per call")
    parser.add_argument("--seconds", type=float, default=15.0, help="per row")
    parser.add_argument(
        "--smac-layout", action="store_true", help="layout=smac beside the default (SMAC's maps)"
    )
    parser.add_argument(
        "--rng", choices=("jaxmarl", "fast"), default="jaxmarl", help="fast: rng=fast beside it"
    )
    parser.add_argument("--devices", type=int, default=1, help="devices of the CPU to share over")
    parser.add_argument("--split", action="store_true", help="where the time goes")
    args = parser.parse_args()
    if min(*args.envs, args.length, args.devices) < 1 or args.seconds <= 0:
        parser.error("--envs, --length, --devices and --seconds must be positive")
    if args.devices > len(jax.devices()):
        parser.error(f"--devices {args.devices}: start it with JAX_NUM_CPU_DEVICES={args.devices}")
    print(json.dumps({"machine": versions()}), flush=True)
    try:
        for name in args.maps:
            for envs in args.envs:
                print(json.dumps(measure(name, envs, args)), flush=True)
    except UserError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
