"""JaxMARL's MAPPO, IPPO, PQN-VDN and QMIX beside this package, on one SMAX map: steps and seconds.

    git clone https://github.com/FLAIROx/JaxMARL ../JaxMARL
    pip install six flashbax    # which its wrappers, and its QMIX, import
    python benchmarks/peers/jaxmarl_baselines.py ../JaxMARL --algorithms mappo pqn_vdn \
        --ours mappo lica_adv lica --map 2s3z --total-steps 700000

Theirs are the scripts of the checkout with the settings of its YAML files, of which only the map,
the budget and the seed are changed (and what ``--set NUM_ENVS=64`` says); ours are `lica-jax train`
with a preset. Each runs in a process of its own, one after another. Of every side one JSON line:

* ``sampled``: training win rate, mean of the rows of the last 50,000 env steps (with the
  epsilon of PQN and QMIX in it), and ``greedy`` where a side plays greedily on the way (those do);
* ``reached``: env steps and seconds at which that mean first was .5, .8 and .95;
* ``first_update``: seconds from the start to the first row, compilation with it.

Their battles are not quite ours: walls kill and enemies are met by the nearest first, as their
files say. distrax does not import beside today's JAX; where it does not, the one class of it that
is used, a categorical distribution, is replaced by one here. wandb and hydra are not needed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax.config import load_config
from lica_jax.envs.jaxmarl_import import jaxmarl  # noqa: F401  without its lines
from lica_jax.errors import UserError

Q_SETTINGS = "QLearning/config/config.yaml"
SOURCES = {  # script, files of settings
    "mappo": ("MAPPO/mappo_rnn_smax.py", ["MAPPO/config/mappo_homogenous_rnn_smax.yaml"]),
    "ippo": ("IPPO/ippo_rnn_smax.py", ["IPPO/config/ippo_rnn_smax.yaml"]),
    "pqn_vdn": (
        "QLearning/pqn_vdn_rnn.py",
        [Q_SETTINGS, "QLearning/config/alg/pqn_vdn_rnn_smax.yaml"],
    ),
    "qmix": ("QLearning/qmix_rnn.py", [Q_SETTINGS, "QLearning/config/alg/ql_rnn_smax.yaml"]),
}
LEVELS, WINDOW = (0.5, 0.8, 0.95), 50_000


# --- theirs --------------------------------------------------------------------------------------


def stand_in(name: str, **contents: Any) -> None:
    """A module of that name with these contents, where it cannot be imported."""
    try:
        __import__(name)
    except Exception:
        module = types.ModuleType(name)
        vars(module).update(contents)
        sys.modules[name] = module


def categorical() -> type:
    import jax
    import jax.numpy as jnp

    class Categorical:
        """Over the last axis of ``logits``."""

        def __init__(self, logits):
            self.logits = jax.nn.log_softmax(logits)

        def sample(self, *, seed):
            return jax.random.categorical(seed, self.logits)

        def log_prob(self, value):
            return jnp.take_along_axis(self.logits, value[..., None], axis=-1)[..., 0]

        def entropy(self):
            return -jnp.sum(jnp.exp(self.logits) * self.logits, axis=-1)

    return Categorical


def train_theirs(checkout: Path, algorithm: str, changes: dict[str, Any]) -> None:
    """Runs one of their scripts; prints a row for every update."""
    import jax
    import yaml

    start = time.perf_counter()

    def log(metrics, step=None):
        row = {k: np.asarray(v).item() for k, v in metrics.items() if np.size(v) == 1}
        won = "returned_won_episode"
        print(json.dumps({
            "env_steps": row["env_step"], "seconds": round(time.perf_counter() - start, 2),
            "sampled": row.get("win_rate", row.get(won)), "greedy": row.get(f"test_{won}"),
        }), flush=True)  # fmt: skip

    stand_in("wandb")
    sys.modules["wandb"].log = log
    stand_in("hydra", main=lambda **_: lambda function: function)
    stand_in("omegaconf", OmegaConf=None)
    stand_in("distrax", Categorical=categorical())
    folder, (script, files) = checkout / "baselines", SOURCES[algorithm]
    config: dict[str, Any] = {}
    for file in files:
        config |= yaml.safe_load((folder / file).read_text())
    # "disabled" is where the Q-learners do not log at all.
    config |= {"WANDB_MODE": "here", "NUM_SEEDS": 1, "SAVE_PATH": None} | changes
    spec = importlib.util.spec_from_file_location(algorithm, folder / script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    keys = jax.random.split(jax.random.PRNGKey(config["SEED"]), 1)
    if Q_SETTINGS in files:
        env, _ = module.env_from_config(config)
        train = jax.vmap(module.make_train(config, env))
        jax.block_until_ready(jax.jit(train)(keys))
    else:
        jax.block_until_ready(jax.jit(module.make_train(config))(keys[0]))


def their_rows(command: list[str], seconds: float) -> Iterator[dict[str, Any]]:
    """The rows of a script of theirs, until it has taken so many seconds by its own clock."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("{"):
                yield (row := json.loads(line))
                if row["seconds"] > seconds:
                    process.kill()
                    return
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with code {process.returncode}")


# --- ours ----------------------------------------------------------------------------------------


def our_rows(
    algorithm: str, preset: str, args: argparse.Namespace
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """`lica-jax train` without evaluations: its rows, and the last policy's win rates."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        subprocess.run(
            [sys.executable, "-m", "lica_jax", "train", algorithm, f"smax/{args.map}",
             "--preset", preset, "--total-steps", str(args.total_steps), "--seeds", str(args.seed),
             "--eval.interval", str(args.total_steps), "--eval.episodes", "8",
             "--eval.final-episodes", "512", "--run-dir", str(run), "--progress", "none"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        (final,) = json.loads((run / "result.json").read_text())["final"]
    out = [
        {"env_steps": r["env_steps"], "seconds": r["seconds"], "sampled": r["train/win_rate"]}
        for r in rows
    ]
    return out, {mode: round(final[mode]["win_rate"], 4) for mode in ("greedy", "sampled")}


# --- both ----------------------------------------------------------------------------------------


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of rows in order of env steps."""
    reached, mean = {}, None
    for i, row in enumerate(rows):
        recent = [
            r["sampled"] for r in rows[: i + 1]
            if r["env_steps"] > row["env_steps"] - WINDOW and r["sampled"] is not None
        ]  # fmt: skip
        recent = [x for x in recent if x == x]  # no episode has ended in a row
        mean = float(np.mean(recent)) if recent else None
        for level in LEVELS:
            if mean is not None and mean >= level and str(level) not in reached:
                reached[str(level)] = [int(row["env_steps"]), row["seconds"]]
    last = rows[-1]
    greedy = {"greedy": round(last["greedy"], 4)} if last.get("greedy") is not None else {}
    return {
        "env_steps": int(last["env_steps"]), "seconds": last["seconds"],
        "first_update": rows[0]["seconds"], "sampled": mean and round(mean, 4), **greedy,
        "reached": reached,
    }  # fmt: skip


def preset_of(name: str) -> str:
    """Of ``NAME`` or ``NAME:PRESET``."""
    return name.partition(":")[2] or "fast"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path, help="a local checkout of JaxMARL")
    parser.add_argument("--algorithms", nargs="*", default=["mappo"], choices=list(SOURCES))
    parser.add_argument("--ours", nargs="*", default=["mappo"], metavar="NAME[:PRESET]")
    parser.add_argument("--map", default="2s3z")
    parser.add_argument("--total-steps", type=int, default=700_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="most of one of theirs")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="of theirs")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    for name in args.algorithms:
        if not (path := args.checkout / "baselines" / SOURCES[name][0]).is_file():
            parser.error(f"{args.checkout} is no checkout of JaxMARL: {path} is not there")
    if args.total_steps < WINDOW:
        parser.error(f"--total-steps {args.total_steps}: at least {WINDOW:,}")
    try:
        args.set = {k: json.loads(v) for k, v in (text.split("=", 1) for text in args.set)}
    except ValueError:
        parser.error(f"--set takes NAME=VALUE, numbers or JSON, not {' '.join(args.set)}")
    from jaxmarl.environments.smax import map_name_to_scenario

    try:
        map_name_to_scenario(args.map)
        for name in args.ours:
            load_config(name.partition(":")[0], f"smax/{args.map}", preset=preset_of(name))
    except (KeyError, AssertionError):
        parser.error(f"JaxMARL has no map {args.map!r}")
    except UserError as error:
        parser.error(str(error))
    return args


def main() -> None:
    args, given = parsed(), sys.argv[1:]
    changes = {"MAP_NAME": args.map, "SEED": args.seed, "TOTAL_TIMESTEPS": args.total_steps}
    if args.child:
        return train_theirs(args.checkout, args.child, changes | args.set)
    about = {"map": args.map, "seed": args.seed}
    for name in args.algorithms:
        command = [sys.executable, __file__, *given, "--child", name]
        rows = list(their_rows(command, args.seconds))
        print(json.dumps({"side": f"JaxMARL {name}"} | about | summary(rows)), flush=True)
    for name in args.ours:
        rows, final = our_rows(name.partition(":")[0], preset_of(name), args)
        side = {"side": f"lica_jax {name}"} | about | summary(rows)
        print(json.dumps(side | {"last_policy": final}), flush=True)


if __name__ == "__main__":
    main()
