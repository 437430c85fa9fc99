"""Everything that an accelerator decides, in one command of less than 20 minutes:

    python benchmarks/gpu.py [--only raw widths wide long] [--json FILE]

* ``raw``: SMAX under a random policy in 10,000 environments, beside JaxMARL's own stepping in the
  same process, and beside the env steps per second that JaxMARL's authors give for an A100 (2s3z
  2.71 M, 27m_vs_30m 0.19 M).
* ``widths``: `sweep_gpu.py`, seconds per run of 2s3z against the width of a wave, beside JaxMARL's
  3.8 s.
* ``wide``: training with 64, 1,024 and 4,096 environments.
* ``long``: hours that 64 M env steps of 2s3z take, the paper's budget on its harder maps, from the
  rate measured here.

Training's programs are compiled side by side first and then timed one after the other. Prints a
JSON line each.
Needs an accelerator, and says so where there is none.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

PARTS = ("raw", "widths", "wide", "long")
PUBLISHED = {"2s3z": 2.71e6, "27m_vs_30m": 0.19e6}  # env steps/s of JaxMARL, A100, 10,000 envs
PAPER_STEPS = 64e6


def raw(maps, envs: int, seconds: float):
    """Rows of raw stepping; both sides of a map alternate."""
    import throughput
    from smax_throughput import our_loop, random_actions

    from lica_jax.envs import make_task

    length = 64

    def loops(name):
        task, theirs = make_task(f"smax/{name}"), make_task(f"smax/{name}", backend="jaxmarl")
        return {
            "ours": our_loop(task, envs, length),
            "jaxmarl": throughput.jaxmarl_loop(theirs, envs, length, random_actions),
        }

    for name in maps:
        median, sides = throughput.side_by_side(loops(name), seconds)
        yield {
            "part": "raw", "map": name, "envs": envs,
            **sides, "ratio": round(median["ours"] / median["jaxmarl"], 2),
            "published_a100": PUBLISHED.get(name),
        }  # fmt: skip


def training(name: str, rate: float, plan, **more) -> dict:
    """A row about training's rate."""
    estimate = sum(plan.memory.values())
    return {"part": name, **more, "env_steps_per_second": rate, "gib": round(estimate / 2**30, 2)}


def wide(task: str, widths, timed: int):
    """Rows of LICA's training with that many environments, one run each."""
    from sweep import base_plan, compare, compile_all

    plans = {n: base_plan("lica", task, 1, {"collect": {"envs": n}}) for n in widths}
    compile_all(plans.values())
    for row in compare(plans, timed):
        envs = row["what"]
        yield training("wide", row["env_steps_per_second"], plans[envs], task=task, envs=envs)


def long(task: str, timed: int):
    """Rows: what 64 M env steps take with one run, and with 16 side by side."""
    from sweep import base_plan, compare, compile_all

    plans = {n: base_plan("lica", task, n, {}) for n in (1, 16)}
    compile_all(plans.values())
    for row in compare(plans, timed):
        hours = row["what"] * PAPER_STEPS / row["env_steps_per_second"] / 3600
        yield training(
            "long", row["env_steps_per_second"], plans[row["what"]], task=task, runs=row["what"],
            hours_for_64m_steps=round(hours, 2),
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--maps", nargs="+", default=list(PUBLISHED))
    parser.add_argument("--envs", type=int, default=10_000, help="of raw stepping")
    parser.add_argument("--seconds", type=float, default=5, help="of raw stepping, per map")
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 16, 64, 256, 512])
    parser.add_argument("--timed", type=int, default=1_000_000, help="env steps of one timing")
    parser.add_argument("--json", type=Path, help="a file for the rows, too")
    args = parser.parse_args()

    import jax
    import sweep_gpu

    if jax.default_backend() == "cpu":
        print("error: no accelerator: benchmarks/throughput.py measures a CPU", file=sys.stderr)
        return 2
    from lica_jax.errors import UserError
    from lica_jax.runs.versions import versions

    parts = {
        "raw": lambda: raw(args.maps, args.envs, args.seconds),
        "widths": lambda: sweep_gpu.rows(args.widths, "lica", timed=args.timed),
        "wide": lambda: wide("smax/2s3z", (64, 1024, 4096), args.timed),
        "long": lambda: long("smax/2s3z", args.timed),
    }
    written = [{"machine": versions()}]
    print(json.dumps(written[0]), flush=True)
    for part in args.only:
        begin = time.perf_counter()
        try:
            for row in parts[part]():
                written.append(row)
                print(json.dumps(row), flush=True)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print(f"{part}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    if args.json:
        args.json.write_text("".join(json.dumps(row) + "\n" for row in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
