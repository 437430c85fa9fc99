"""Env steps per second of the StarCraft II bridge, beside its limit and its peer.

Without StarCraft II everything runs on FakeSC2, so the figures are the cost of the bridge, not of
the game. Sides, measured in turns within one run, medians of ``--repeats``:

* ``protocol``: action, step and observation sent at once and the answers parsed, nothing else: the
  limit of any environment on this game.
* ``env``: one `StarCraft2Env` in this process; ``unpipelined``: the same, one request at a time.
* ``smac``: the genuine `smac` package, with ``--smac CHECKOUT`` (needs pysc2).
* ``fleet-N``: N games in lock step, each in a worker.

    python benchmarks/sc2_lockstep.py --maps 3m 2s3z MMM2 --games 1 2 4
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lica_jax.runs.versions import versions
from lica_jax.starcraft2.env.environment import StarCraft2Env
from lica_jax.starcraft2.fleet.fleet import Fleet
from lica_jax.starcraft2.game import messages
from lica_jax.starcraft2.game.install import find_install
from lica_jax.starcraft2.game.process import Game
from lica_jax.starcraft2.game.temp import temp_root
from lica_jax.starcraft2.testing.install import make_install


def choose(avail, rng):
    """Random available actions."""
    return np.argmax(np.where(avail, rng.random(avail.shape), -1.0), axis=-1)


def env_loop(env, steps, rng):
    env.reset()
    for _ in range(steps):
        if env.step(choose(env.avail(), rng).tolist())[1]:
            env.reset()
        env.obs(), env.state()


def smac_loop(env, steps, rng):
    env.reset()
    for _ in range(steps):
        avail = np.array(env.get_avail_actions(), bool)
        if env.step(choose(avail, rng).tolist())[1]:
            env.reset()
        env.get_obs(), env.get_state()


def protocol_loop(env, steps, rng):
    """The requests of a step with units that stand still; `env` has begun an episode."""
    del rng
    env.reset()
    client = env._games._game.client
    stop = messages.Request(action=messages.RequestAction(actions=[]))
    step = messages.Request(step=messages.RequestStep(count=8))
    look = messages.Request(observation=messages.RequestObservation())
    for _ in range(steps):
        client.calls([stop, step, look])


def fleet_loop(fleet, steps, rng):
    n = fleet.n
    shown = fleet.start(np.ones(n, bool))
    for _ in range(steps):
        over = shown.terminated | shown.truncated
        if over.any():
            shown = fleet.start(over)
        shown = fleet.step(choose(shown.avail, rng), np.ones(n, bool))


def rate(loop, subject, steps, count=1):
    loop(subject, 20, np.random.default_rng(0))
    start = time.perf_counter()
    loop(subject, steps, np.random.default_rng(1))
    return count * steps / (time.perf_counter() - start)


def genuine(checkout, map_name):
    sys.path.insert(0, str(checkout))
    from smac.env import StarCraft2Env as Smac

    return Smac(map_name=map_name, seed=1)


def measure(map_name, args, temp):
    install = find_install()

    def env(pipeline):
        launch = lambda number: Game.launch(install, temp)  # noqa: E731
        return StarCraft2Env(map_name, launch=launch, pipeline=pipeline)

    sides = {
        "protocol": (protocol_loop, env(True), 1), "env": (env_loop, env(True), 1),
        "unpipelined": (env_loop, env(False), 1),
    }  # fmt: skip
    if args.smac:
        sides["smac"] = (smac_loop, genuine(args.smac, map_name), 1)
    sides |= {f"fleet-{n}": (fleet_loop, Fleet(map_name, n), n) for n in args.games}
    rates = {name: [] for name in sides}
    for _ in range(args.repeats):
        for name, (loop, subject, count) in sides.items():
            rates[name].append(rate(loop, subject, args.steps, count))
    for _, subject, _ in sides.values():
        subject.close()
    medians = {name: round(statistics.median(v)) for name, v in rates.items()}
    share = {name: round(v / medians["protocol"], 2) for name, v in medians.items()}
    return {"map": map_name, "steps_per_second": medians, "of_protocol": share}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", nargs="+", default=["3m", "2s3z", "MMM2"])
    parser.add_argument("--games", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smac", type=Path, help="a checkout of oxwhirl/smac")
    parser.add_argument("--real", action="store_true", help="on SC2PATH instead of FakeSC2")
    args = parser.parse_args()
    with temp_root() as temp, tempfile.TemporaryDirectory() as folder:
        if not args.real:
            os.environ["SC2PATH"] = str(make_install(Path(folder) / "sc2"))
        print(json.dumps({"versions": versions(), "fake": not args.real}))
        for map_name in args.maps:
            print(json.dumps(measure(map_name, args, temp)), flush=True)


if __name__ == "__main__":
    main()
