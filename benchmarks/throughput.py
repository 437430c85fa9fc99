"""Env steps per second of raw stepping, rollouts and LICA training, beside JaxMARL's own loop.

One JSON line per measurement, to stdout. Each measurement is a compiled call repeated until
``--seconds`` have passed; calls of the different kinds alternate, so that a busy machine slows all
of them, and the median call counts.

* ``jaxmarl``: JaxMARL's ``env.step`` (with its automatic reset) under a random policy: the peer.
* ``raw``: this package's task under the same random policy, with its next-step reset and its
  normalised critic state; ``ratio_to_jaxmarl`` compares the two of one run. A good part of it is
  the policy's `jax.random.categorical`: `smax_throughput.py` measures the simulation.
* ``rollout``: the same with LICA's recurrent actor choosing the actions.
* ``train``: collecting and learning with the ``fast`` preset's settings (4 critic steps and one
  actor step per segment), and its share of raw speed.

    python benchmarks/throughput.py --tasks smax/2s3z --envs 32 256
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lica_jax.algorithms import make_algorithm
from lica_jax.config import load_config, resolve
from lica_jax.envs import make_task
from lica_jax.envs.jaxmarl_import import jaxmarl
from lica_jax.errors import UserError
from lica_jax.runs.versions import versions
from lica_jax.training.loop import batch_runs, bound_act, make_run, stack_hparams
from lica_jax.training.rollout import start_stream, unroll
from lica_jax.types import Collect, Progress

TASKS = ("smax/2s3z", "smax/5m_vs_6m", "mpe/simple_spread")
LENGTH = 16


def random_actions(avail, key):
    return jax.random.categorical(key, jnp.where(avail, 0.0, -1e10))


# What `jaxmarl.make` calls a task. Of the paper's particle tasks, what is nearest to them.
JAXMARL_IDS = {
    "simple_spread": "MPE_simple_spread_v3", "cooperative_navigation": "MPE_simple_spread_v3",
    "simple_reference": "MPE_simple_reference_v3", "predator_prey": "MPE_simple_tag_v3",
    "simple_speaker_listener": "MPE_simple_speaker_listener_v4",
}  # fmt: skip


def jaxmarl_env(task):
    """JaxMARL's own environment of a task, or the nearest one."""
    spec = task.spec
    if spec.name.startswith("smax/"):
        return make_task(spec.name, backend="jaxmarl").env
    plain = re.sub(r"_n\d+$", "", spec.name.removeprefix("mpe/"))
    if plain not in JAXMARL_IDS:
        raise UserError(f"JaxMARL has nothing to compare {spec.name} with")
    n = {"num_agents": spec.n_agents, "num_landmarks": spec.n_agents} if "_n" in spec.name else {}
    return jaxmarl.make(JAXMARL_IDS[plain], max_steps=spec.episode_limit - 1, **n)


def jaxmarl_loop(task, envs, length=LENGTH, choose=random_actions):
    """JaxMARL's own stepping as its documentation shows it: `step`, and ask for the masks."""
    env = jaxmarl_env(task)
    sizes = np.array([[env.action_spaces[a].n] for a in env.agents])
    every = np.arange(sizes.max()) < sizes

    def avail_of(state):
        if not task.spec.has_win:  # MPE has no masks of its own
            return jnp.asarray(every)
        masks = env.get_avail_actions(state)
        return jnp.stack([masks[a] for a in env.agents]).astype(bool)

    def step(carry, key):
        obs, state = carry
        act_key, step_key = jax.random.split(key)
        avail = jnp.broadcast_to(jax.vmap(avail_of)(state), (envs, *every.shape))
        action = choose(avail, act_key)
        actions = {a: action[:, i] for i, a in enumerate(env.agents)}
        obs, state, reward, done, _ = jax.vmap(env.step)(
            jax.random.split(step_key, envs), state, actions
        )
        used = sum(jnp.sum(x) for x in (*obs.values(), *reward.values())) + jnp.sum(done["__all__"])
        return (obs, state), (used, jnp.asarray(envs))

    start = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), envs))

    def run(carry, key):
        carry, (used, count) = jax.lax.scan(step, carry, jax.random.split(key, length))
        return carry, (jnp.sum(used), jnp.sum(count))

    return jax.jit(run), start


def task_loop(task, envs, act, carry):
    """This package's rollout; everything it returns is used."""

    def run(stream, key):
        stream, trajectory, stats = unroll(task, act, stream, key, LENGTH, restart=True)
        used = sum(jnp.sum(x) for x in jax.tree.leaves((trajectory.steps, stats)))
        return stream, (used, jnp.sum(trajectory.valid))

    return jax.jit(run), jax.jit(lambda k: start_stream(task, carry, k, envs))(jax.random.key(0))


def loops(task, envs):
    """Name -> (function, carry); a call returns ``(carry, (outputs, transitions played))``."""
    config = resolve(
        load_config(
            "lica", task.spec.name, collect=Collect("steps", envs, LENGTH), total_steps=1e9
        ),
        task.spec,
    )
    algo = make_algorithm("lica", task.spec, config.algo)
    params = algo.policy(algo.init(jax.random.key(0)))
    progress = Progress(jnp.zeros(()), jnp.int32(0))
    policy = partial(bound_act, algo, params, config.hp, progress, jnp.ones(envs, bool))
    init, chunk = batch_runs(*make_run(algo, task, config.collect, config.timeout_is_terminal), 1)
    hp = stack_hparams([config.hp])
    state = init(jax.vmap(jax.random.key)(jnp.zeros(1, jnp.uint32)))

    def train(state, key):
        before = int(state.env_steps[0])
        state, metrics = chunk(state, hp, 1)
        return state, (metrics, state.env_steps[0] - before)

    return {
        "jaxmarl": jaxmarl_loop(task, envs),
        "raw": task_loop(task, envs, lambda c, ts, k: (c, random_actions(ts.avail, k), {}), ()),
        "rollout": task_loop(task, envs, policy, algo.initial_carry(envs)),
        "train": (train, state),
    }


def measure(named, seconds):
    """Transitions per second of each kind (median call), first-call seconds, and all rates."""
    carry = {name: start for name, (_, start) in named.items()}
    rates: dict[str, list[float]] = {name: [] for name in named}
    first = {}
    key = jax.random.key(1)

    def call(name):
        nonlocal key
        key, sub = jax.random.split(key)
        begin = time.perf_counter()
        carry[name], (used, count) = named[name][0](carry[name], sub)
        jax.block_until_ready((carry[name], used))
        seconds = time.perf_counter() - begin
        return int(count) / seconds, seconds

    for name in named:
        first[name] = call(name)[1]
        call(name)
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or len(rates[name]) < 3:
        for name in named:
            rates[name].append(call(name)[0])
    return {name: statistics.median(r) for name, r in rates.items()}, first, rates


def side_by_side(named, seconds):
    """Medians, and what a row says of the sides of a comparison (env steps per second)."""
    median, first, taken = measure(named, seconds)
    return median, {
        "env_steps_per_second": {side: round(r) for side, r in median.items()},
        "fastest": {side: round(max(r)) for side, r in taken.items()},
        "calls": len(taken["ours"]),
        "first_call_seconds": {side: round(s, 1) for side, s in first.items()},
    }  # fmt: skip


def microseconds(parts, calls):
    """Median microseconds of functions ``{name: (function, *args)}``, each compiled alone."""
    out = {}
    for name, (function, *args) in parts.items():
        jitted, taken = jax.jit(function), []
        for _ in range(calls):
            begin = time.perf_counter()
            jax.block_until_ready(jitted(*args))
            taken.append(time.perf_counter() - begin)
        out[name] = round(1e6 * statistics.median(taken[5:]))
    return out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--envs", nargs="+", type=int, default=(32, 256, 1024))
    parser.add_argument("--seconds", type=float, default=10.0, help="per task and number of envs")
    args = parser.parse_args()
    print(json.dumps({"machine": versions()}), flush=True)
    for name in args.tasks:
        task = make_task(name)
        for envs in args.envs:
            median, first, rates = measure(loops(task, envs), args.seconds)
            for kind, rate in median.items():
                spread = sorted(rates[kind])
                row = {
                    "task": name, "envs": envs, "kind": kind,
                    "env_steps_per_second": round(rate),
                    "calls": len(spread), "slowest_over_fastest": round(spread[-1] / spread[0], 2),
                    "first_call_seconds": round(first[kind], 1),
                }  # fmt: skip
                if kind != "jaxmarl":
                    row["ratio_to_jaxmarl"] = round(rate / median["jaxmarl"], 3)
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
