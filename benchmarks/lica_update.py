"""Seconds and memory of one LICA update, beside the official PyTorch learner's.

One update (a critic step, then an actor step) learns from 32 episodes at the sizes of a SMAC map,
in float32 and with the paper's full-width hypernetwork. The sides: ``dense`` and ``grouped``, this
package's exact ways to run the critic (``critic_pass``), and, with ``--lica-repo``, ``official``:
the authors' learner (github.com/mzho7212/LICA) on the CPU, for which PyTorch must be installed.

All sides get the same episodes and initial parameters. Losses and gradient norms of their first
updates are compared; more than 1e-3 apart ends the benchmark with code 1. Then timed updates of the
sides alternate; medians count. ``whole`` is `lica.update` here and both steps there. Another busy
process slows PyTorch's threads far more than XLA's: believe only ratios measured with
``others_cores`` (CPU cores that other processes used meanwhile) near 0. Memory is the peak of two
updates in a fresh process per side above what it held before (ours: with compiling, ~400 MiB).

    python benchmarks/lica_update.py --maps 5m_vs_6m --data smac --lica-repo ../LICA
"""

import argparse
import importlib
import json
import math
import multiprocessing
import os
import sys
import time
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import yaml

from lica_jax.algorithms.lica import actor_update, critic_update, lica
from lica_jax.algorithms.lica.learner import critic_batch, make_networks
from lica_jax.errors import UserError
from lica_jax.runs.versions import versions
from lica_jax.training.memory import available_bytes
from lica_jax.types import TaskSpec, TimeStep, Trajectory

EPISODES, TOLERANCE = 32, 1e-3
SIDES, PARTS = ("official", "dense", "grouped"), ("critic", "actor", "whole")
HP = lica.HParams()
MAPS = {  # agents, actions, observation, state (with all agents' last actions), limit
    "2s3z": TaskSpec("2s3z", 5, 11, 80, 120, 120),
    "5m_vs_6m": TaskSpec("5m_vs_6m", 5, 12, 55, 98, 70),
    "MMM2": TaskSpec("MMM2", 10, 18, 176, 322, 180),
}
FIGURES = {  # what must agree in the first update -> the official learner's name
    "critic_loss": "critic_loss", "critic_grad_norm": "critic_grad_norm",
    "actor_loss": "mix_loss", "actor_grad_norm": "agent_grad_norm", "entropy": "entropy",
}  # fmt: skip


def make_episodes(spec, kind, seed):
    """32 random episodes as arrays [episode, slot, ...]; the slot at the limit is the bootstrap's.

    ``full``: all last to the limit and are truncated there; every action is always available.
    ``smac``: they end terminally after 30 to 100 % of the limit, with zeros behind; some agents
    die on the way; availability is that of `smac_actions`.
    """
    rng, smac = np.random.default_rng(seed), kind == "smac"
    limit, slot = spec.episode_limit, np.arange(spec.episode_limit + 1)
    length = rng.integers(round(0.3 * limit) if smac else limit, limit + 1, (EPISODES, 1))
    when = rng.uniform(0.3, 1.0, (EPISODES, spec.n_agents)) * length
    death = np.where(smac & (rng.random(when.shape) < 0.4), when, np.inf)
    filled = slot <= length
    alive = (slot[:, None] < death[:, None]) & filled[..., None]
    avail = np.ones((*alive.shape, spec.n_actions), bool)
    avail = smac_actions(alive, filled, spec.n_actions, rng) if smac else avail
    normal = rng.standard_normal
    return {
        "obs": normal((*alive.shape, spec.obs_size), np.float32) * alive[..., None],
        "state": normal((*filled.shape, spec.state_size), np.float32) * filled[..., None],
        "reward": normal(filled.shape, np.float32) * (slot < length),
        "action": np.argmax(np.where(avail, rng.random(avail.shape), -1.0), axis=-1),
        "terminated": smac & (slot == length - 1), "avail": avail, "filled": filled, "alive": alive,
    }  # fmt: skip


def smac_actions(alive, filled, n_actions, rng):
    """SMAC-like availability, 40 % in all: no-op if dead, else stop, most moves, some attacks."""
    avail = np.zeros((*alive.shape, n_actions), bool)
    avail[..., 0] = filled[..., None] & ~alive
    avail[..., 1] = alive
    avail[..., 2:6] = alive[..., None] & (rng.random((*alive.shape, 4)) < 0.9)
    # The attacks make up the rest; an enemy stays in range for 8 steps on average.
    rest = 0.4 * n_actions * filled.sum() * alive.shape[-1] - avail.sum()
    share = np.clip(rest / alive.sum() / (n_actions - 6), 0.02, 0.9)
    near = rng.random((alive.shape[0], alive.shape[-1], n_actions - 6)) < share
    for t in range(alive.shape[1]):
        draw = 8 * rng.random(near.shape)
        near = np.where(near, draw >= 1, draw < share / (1 - share))
        avail[:, t, :, 6:] = near & alive[:, t, :, None]
    return avail


def as_trajectory(data, carry):
    """The episodes as ours: time first, rewards and endings in the slot they lead to."""
    by_time = {name: np.moveaxis(array, 1, 0) for name, array in data.items()}
    # The last slot holds neither a reward nor an ending.
    reward, terminated = (np.roll(by_time[name], 1, axis=0) for name in ("reward", "terminated"))
    first, truncated = np.zeros_like(terminated), np.zeros_like(terminated)
    first[0], truncated[-1] = True, by_time["filled"][-1] & ~terminated[-1]
    steps = TimeStep(
        **{name: by_time[name] for name in ("obs", "state", "avail", "alive")}, info={},
        reward=reward, terminated=terminated, truncated=truncated, first=first,
    )  # fmt: skip
    action, valid = by_time["action"].astype(np.int32), by_time["filled"][1:]
    return jax.tree.map(jnp.asarray, Trajectory(steps, action, valid, carry, extras={}))


class Ours:
    """This package's update with one critic pass; ``figures`` are those of the first update."""

    def __init__(self, spec, data, critic_pass):
        config = lica.Config(state_last_action=False, critic_pass=critic_pass)
        nets, key = make_networks(config, spec), jax.random.key(0)
        trajectory = as_trajectory(data, nets.actor.initial_carry(EPISODES))
        self.inputs = trajectory, jax.tree.map(jnp.asarray, HP)
        # Copies, as in the loop: no buffer can be donated twice.
        self.learner, self.figures = jax.tree.map(jnp.copy, lica.init(nets, key)), {}
        batch = partial(critic_batch, nets)
        functions = {
            "whole": lambda x, t, hp: lica.update(nets, x, t, key, hp=hp, progress=None),
            "critic": lambda x, t, hp: critic_update.update_critic(nets, x, batch(t), t, hp),
            "actor": lambda x, t, hp: actor_update.update_actor(nets, x, batch(t), t, hp),
        }
        begin, self.parts = time.perf_counter(), {}
        for name, f in functions.items():
            jitted = jax.jit(f, donate_argnums=0)
            self.parts[name] = jitted.lower(self.learner, *self.inputs).compile()
        self.compile_seconds = round(time.perf_counter() - begin, 2)

    def update(self):
        """A whole update, then one more critic step and one more actor step."""
        seconds = {}
        for part, function in self.parts.items():
            begin = time.perf_counter()
            self.learner, metrics = jax.block_until_ready(function(self.learner, *self.inputs))
            seconds[part] = time.perf_counter() - begin
            self.figures = self.figures or {name: float(metrics[name]) for name in FIGURES}
        return seconds


class Official:
    """The official learner, set up and called as its ``run.py`` does."""

    def __init__(self, spec, data, repo, start=None):
        source, torch = import_official(repo)
        from components.episode_buffer import EpisodeBatch
        from controllers import REGISTRY as controllers
        from learners import REGISTRY as learners

        slots = np.count_nonzero(data["filled"].any(axis=0))  # cut to the longest, as there
        data = {name: torch.from_numpy(array[:, :slots].copy()) for name, array in data.items()}
        filled, action = data["filled"][..., None], data["action"]
        one_hot = torch.nn.functional.one_hot(action, spec.n_actions) * filled[..., None]
        fields = {
            "state": data["state"], "obs": data["obs"], "filled": filled.long(),
            "actions": action[..., None], "actions_onehot": one_hot.float(),
            "avail_actions": data["avail"].int(), "reward": data["reward"][..., None],
            "terminated": data["terminated"][..., None].to(torch.uint8),
        }  # fmt: skip
        args, groups = SimpleNamespace(), {"agents": spec.n_agents}
        for file in ("default.yaml", "algs/lica.yaml"):
            vars(args).update(yaml.safe_load((source / "config" / file).read_text()))
        args.n_agents, args.n_actions = spec.n_agents, spec.n_actions
        args.state_shape, args.entropy_coef = spec.state_size, HP.entropy_coef
        scheme = {"obs": {"vshape": spec.obs_size}, "actions_onehot": {"vshape": (spec.n_actions,)}}
        contents = SimpleNamespace(transition_data=fields, episode_data={})
        self.batch = EpisodeBatch(scheme, groups, EPISODES, slots, contents)
        self.logged, self.compile_seconds = {}, 0.0
        self.facts = {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}
        logger = SimpleNamespace(
            log_stat=lambda name, value, t_env: self.logged.update({name: float(value)}),
            console_logger=SimpleNamespace(info=lambda message: None),
        )
        controller = controllers[args.mac](scheme, groups, args)
        self.learner = learners[args.learner](controller, scheme, logger, args)
        if start is not None:
            controller.agent.load_state_dict(torch_weights(start.actor))
            self.learner.critic.load_state_dict(torch_weights(start.critic))
            self.learner.target_critic.load_state_dict(torch_weights(start.critic))

    def first_update(self):
        """Sets ``figures``; norms by row, as PyTorch's of a large array is off (pytorch#169237)."""
        utils, norms = sys.modules["torch"].nn.utils, []
        clip = utils.clip_grad_norm_

        def recording(params, limit):
            rows = [p.grad.reshape(len(p), -1).norm(dim=1) for p in params]
            norms.append(math.hypot(*(float(x.double().norm()) for x in rows)))
            return clip(params, limit)

        utils.clip_grad_norm_ = recording
        self.update()
        utils.clip_grad_norm_ = clip
        self.figures = {ours: self.logged[theirs] for ours, theirs in FIGURES.items()}
        self.figures["critic_grad_norm"], self.figures["actor_grad_norm"] = norms

    def update(self):
        """One critic step and one actor step."""
        begin = time.perf_counter()
        self.learner.train_critic_td(self.batch, t_env=0, episode_num=0)
        middle = time.perf_counter()
        self.learner.train(self.batch, t_env=0, episode_num=0)
        end = time.perf_counter()
        return {"whole": end - begin, "critic": middle - begin, "actor": end - middle}


def import_official(repo):
    """Makes the official modules importable; returns their folder and PyTorch."""
    source = Path(repo).resolve()
    source = source / "src" if (source / "src").is_dir() else source
    if not (source / "learners" / "lica_learner.py").is_file():
        raise UserError(f"--lica-repo: there is no learners/lica_learner.py in {source}")
    sys.path.insert(0, str(source))
    return source, importlib.import_module("torch")


def torch_weights(params):
    """Our parameters as a PyTorch state dictionary of the official networks."""
    words, out = {"layer_0": "0", "layer_1": "2", "kernel": "weight"}, {}
    for path, leaf in jax.tree.leaves_with_path(params["params"]):
        name = ".".join(words.get(k.key, k.key.replace("kernel_", "weight_")) for k in path)
        tensor = sys.modules["torch"].from_dlpack(leaf)
        out[name] = tensor if path[-1].key == "weight" else tensor.t()  # of a vector: itself
    return out


def memory_peak(side, spec, data, repo):
    """MiB of two updates in this process at their peak, above what it holds now."""

    def mib(field):  # ru_maxrss would not do: Linux starts a child's at its parent's
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

    if side == "official":
        import_official(repo)
    before = mib("VmRSS")
    learner = Official(spec, data, repo) if side == "official" else Ours(spec, data, side)
    for _ in range(2):
        learner.update()
    return round(mib("VmHWM") - before)


def check_fits(spec, sides):
    """Refuses what will not fit: critic, target, moments, gradient; temporaries of one side."""
    width = lica.Config().mixing_embed * spec.n_agents * spec.n_actions
    rows = 5 * (width + spec.state_size) * len(sides) + 6 * EPISODES * spec.episode_limit
    need, free = 4 * width * rows, available_bytes()
    if free is not None and need > 0.9 * free:
        sizes = f"about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free"
        raise UserError(f"{spec.name} needs {sizes}; choose fewer --sides or a smaller map")


def other_seconds():
    """CPU seconds that everything but this process has used."""
    ticks = [int(x) for x in Path("/proc/stat").read_text().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK") - time.process_time()


def run_map(spec, args):
    """Measures one map; returns the row of its JSON line."""
    data, repo, memory = make_episodes(spec, args.data, args.seed), args.lica_repo, {}
    check_fits(spec, args.sides)
    for side in args.sides if args.memory else ():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            memory[side] = fresh.submit(memory_peak, side, spec, data, repo).result()
    sides = {side: Ours(spec, data, side) for side in args.sides if side != "official"}
    if "official" in args.sides:  # first in every round, and the one to compare with
        start = next((side.learner for side in sides.values()), None)
        sides = {"official": Official(spec, data, repo, start), **sides}
        sides["official"].first_update()
    for side in sides.values():
        side.update()  # warms up
    first, base = {name: side.figures for name, side in sides.items()}, next(iter(sides))
    values = np.array([list(figures.values()) for figures in first.values()])
    apart = np.abs(values / values[0] - 1).max(axis=1)
    if not (apart <= TOLERANCE).all():
        raise SystemExit(f"error: the first updates differ: {json.dumps(first, indent=1)}")
    taken = {side: {part: [] for part in PARTS} for side in sides}
    begin, others, rounds = time.perf_counter(), other_seconds(), 0
    while rounds < args.rounds and (not rounds or time.perf_counter() - begin < args.budget):
        for side, learner in sides.items():
            for part, seconds in learner.update().items():
                taken[side][part].append(seconds)
        rounds += 1
    others = (other_seconds() - others) / (time.perf_counter() - begin)
    fs = (np.median, min, max)
    taken = {s: {p: [round(f(x), 4) for f in fs] for p, x in t.items()} for s, t in taken.items()}
    threads, one = {"jax_threads": len(os.sched_getaffinity(0))}, taken[base]
    machine = versions() | threads | getattr(sides[base], "facts", {})
    return {
        "map": spec.name, "data": args.data, "seed": args.seed, "rounds": rounds,
        "others_cores": round(others, 2),
        "valid_fraction": round(float(data["filled"][:, 1:].mean()), 3),
        "available_fraction": round(float(data["avail"][data["filled"]].mean()), 3),
        "seconds_median_min_max": taken,
        "compile_seconds": {name: side.compile_seconds for name, side in sides.items()},
        "ratio": {s: {p: round(one[p][0] / x[p][0], 2) for p in PARTS} for s, x in taken.items()},
        "peak_mib": memory, "first_update": first, "machine": machine,
        "first_update_apart": dict(zip(first, apart.tolist(), strict=True)),
    }  # fmt: skip


def show(row):
    """The row for people."""
    print("\n" + ", ".join(f"{k} {v}" for k, v in row.items() if not isinstance(v, dict)))
    for side, seconds in row["seconds_median_min_max"].items():
        for part in PARTS:
            spread = "{:8.3f} s ({:.3f}-{:.3f})".format(*seconds[part])
            print(f"  {side:9}{part:7}{spread:28}{row['ratio'][side][part]:6.2f}x")
        more = ("compile_seconds", "peak_mib", "first_update_apart", "first_update")
        print("".join(f"    {name} {row[name].get(side)}\n" for name in more), end="")


def main():
    formatter = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("--maps", nargs="+", choices=MAPS, default=tuple(MAPS))
    add("--data", choices=("full", "smac"), default="full")
    add("--sides", nargs="+", choices=SIDES, help="default: all there are")
    add("--lica-repo", metavar="PATH", help="checkout of the official code")
    add("--rounds", type=int, default=5, help="timed updates of each side")
    add("--budget", type=float, default=240, help="seconds of a map after which no round begins")
    add("--memory", action=argparse.BooleanOptionalAction, default=True)
    add("--seed", type=int, default=0)
    add("--json", action="store_true", help="print JSON lines only")
    args = parser.parse_args()
    args.sides = args.sides or (SIDES if args.lica_repo else SIDES[1:])
    try:
        if "official" in args.sides:
            if not args.lica_repo or jax.default_backend() != "cpu":
                raise UserError("the official side needs --lica-repo PATH and JAX_PLATFORMS=cpu")
            import_official(args.lica_repo)
        for name in args.maps:
            row = run_map(MAPS[name], args)
            if not args.json:
                show(row)
            print(json.dumps(row), flush=True)
    except (UserError, ImportError, BrokenExecutor) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
