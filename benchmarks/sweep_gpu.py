"""Runs side by side on one GPU: seconds per run of smax/2s3z against the width of a wave.

    python benchmarks/sweep_gpu.py [--widths 1 8 64 512] [--algorithm lica] [--steps 10000000]

The figure to hold it against: 512 IPPO runs of 2s3z in JaxMARL, 10 M env steps each, took 1,950 s
on an A100, 3.8 s a run. Prints a JSON line for every width; needs a GPU, and says so where there is
none.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

JAXMARL = 3.8  # seconds a run


def rows(widths, algorithm: str, steps: int = 10_000_000, timed: int = 2_000_000):
    """A row for every width that fits."""
    import jax
    from sweep import base_plan, compare, compile_all

    from lica_jax.errors import UserError

    plans = {}
    for width in widths:
        try:
            plans[width] = base_plan(algorithm, "smax/2s3z", width, {})
        except UserError as error:  # it does not fit
            yield {"width": width, "left_out": str(error)}
            break
    compile_all(plans.values())
    for width, plan in plans.items():
        (row,) = compare({width: plan}, timed)
        yield {
            "device": jax.devices()[0].device_kind, "algorithm": algorithm, "width": width,
            "env_steps_per_second": row["env_steps_per_second"],
            "seconds_per_run": round(steps / row["env_steps_per_second"], 2),
            "jaxmarl_seconds_per_run": JAXMARL,
            "gib": round(sum(plan.memory.values()) / 2**30, 2),
        }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 4, 16, 64, 128, 256, 512])
    parser.add_argument("--algorithm", default="lica")
    parser.add_argument("--steps", type=int, default=10_000_000, help="of a whole run")
    parser.add_argument("--timed", type=int, default=2_000_000, help="env steps of one timing")
    args = parser.parse_args()

    import jax

    if jax.default_backend() == "cpu":
        print("no accelerator: benchmarks/sweep.py measures a CPU", file=sys.stderr)
        return 2
    for row in rows(args.widths, args.algorithm, args.steps, args.timed):
        print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
