"""Sweeps on this machine: runs per hour against width and devices (memory: `memory.py`).

    python benchmarks/sweep.py widths --task smax/3m   one timing for every width
    python benchmarks/sweep.py devices --task smax/3m  16 runs on one and on two CPU devices
    python benchmarks/sweep.py shard --task smax/2s3z  one run, its environments on both

Timings of widths and of devices alternate within one process, and are given as ratios too: the
machine's speed changes from minute to minute. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import json
import time

from lica_jax.errors import UserError

ROUNDS = 3


def base_plan(algorithm: str, task: str, width: int, settings: dict, **devices):
    """A plan of ``width`` runs; on how many ``devices``, and what these ``shard``."""
    from lica_jax.config import load_config
    from lica_jax.runs.plan import make_plan

    config = load_config(algorithm, task, seeds=tuple(range(width)), **settings)
    return make_plan(config, **devices)


def compile_all(plans) -> None:
    """Compiles the programs of plans side by side; the calls find them in the cache."""
    from concurrent.futures import ThreadPoolExecutor

    import jax

    from lica_jax.runs.compilation_cache import use_compilation_cache

    use_compilation_cache()

    def compile(plan):
        states = jax.eval_shape(plan.engine.init, plan.keys)
        plan.engine.compiled(states, plan.hparams, plan.iterations)

    with ThreadPoolExecutor() as pool:
        list(pool.map(compile, plans))


def timed(plan, state, calls: int):
    """Seconds of some compiled calls, and the state behind them."""
    import jax

    start = time.perf_counter()
    for _ in range(calls):
        state, metrics = plan.engine.chunk(state, plan.hparams, plan.iterations)
    jax.block_until_ready(metrics)
    return time.perf_counter() - start, state


def env_steps(state) -> int:
    """Of all runs so far."""
    from lica_jax.runs.state import Counters

    return int(Counters.of(state).env_steps.sum())


def compare(plans: dict[str, object], steps: int) -> list[dict]:
    """Env steps per second of plans, in turns; best of the rounds."""
    states = {}
    for name, plan in plans.items():
        states[name] = timed(plan, plan.engine.init(plan.keys), 1)[1]
    best = dict.fromkeys(plans, 0.0)
    for _ in range(ROUNDS):
        for name, plan in plans.items():
            calls = max(1, steps // (plan.chunk_steps * len(plan.runs)))
            before = env_steps(states[name])
            seconds, states[name] = timed(plan, states[name], calls)
            done = env_steps(states[name]) - before
            best[name] = max(best[name], done / seconds)
    first = next(iter(best.values()))
    return [
        {"what": name, "env_steps_per_second": round(rate), "ratio": round(rate / first, 3)}
        for name, rate in best.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["widths", "devices", "shard"])
    parser.add_argument("--algorithm", default="lica")
    parser.add_argument("--task", default="smax/3m")
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--envs", type=int, nargs="+", default=[64, 512], help="shard: of a run")
    parser.add_argument("--steps", type=int, default=200_000, help="env steps of one timing")
    args = parser.parse_args()
    if args.what != "widths":
        import jax

        jax.config.update("jax_num_cpu_devices", 2)

    def plan(runs: int, settings: dict | None = None, **devices):
        return base_plan(args.algorithm, args.task, runs, settings or {}, **devices)

    try:
        if args.what == "widths":
            sides = [{f"width {n}": plan(n) for n in args.widths}]
        elif args.what == "devices":
            sides = [
                {f"{args.runs} runs, {n} device(s)": plan(args.runs, devices=n) for n in (1, 2)}
            ]
        else:
            sides = [
                {
                    f"one run of {envs} environments, {n} device(s)": plan(
                        1, {"collect": {"envs": envs}}, devices=n, shard="envs"
                    )
                    for n in (1, 2)
                }
                for envs in args.envs
            ]
    except (UserError, ValueError) as error:  # the latter where two devices cannot share it out
        parser.error(str(error))
    for plans in sides:
        for row in compare(plans, args.steps):
            total = plans[row["what"]].config.total_steps
            row |= {
                "task": args.task,
                "runs_per_hour": round(3600 * row["env_steps_per_second"] / total, 1),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
