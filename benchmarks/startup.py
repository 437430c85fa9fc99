"""Seconds from `lica-jax train` to the first row of its log, with an empty cache and a full one.

A JSON line for every algorithm and task: ``cold`` and ``warm`` are seconds of the wall clock from
the start of the process to its first row (imports, plan, compilation, one call of training),
``cold_cpu`` and ``warm_cpu`` the processor's own seconds of the same, which other work on the
machine moves less. Every run is a process of its own and is stopped at its first row; the cache is
a temporary directory, of which ``cache_mib`` is the size.

    python benchmarks/startup.py --algorithms lica mappo --tasks smax/2s3z smax/MMM2
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lica_jax.config import load_config
from lica_jax.errors import UserError
from lica_jax.runs.plan import make_plan
from lica_jax.runs.versions import versions

ALGORITHMS = ("lica", "lica_adv", "mappo", "qmix", "coma")
MAPS = ("2s3z", "1c3s5z", "5m_vs_6m", "2c_vs_64zg", "MMM2", "3s5z_vs_3s6z")
TICK = os.sysconf("SC_CLK_TCK")


def busy_seconds(pid: int) -> float:
    """User and system seconds of a process so far (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def start(algorithm: str, task: str, args: argparse.Namespace, cache: Path) -> tuple[float, float]:
    """Seconds of the wall clock and of the processor until the first row of one run."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "lica_jax", "train", algorithm, task, "--preset", args.preset,
             "--total-steps", "1000000", "--progress", "none", "--run-dir", str(run)],
            env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                rows = run / "metrics.jsonl"
                while not (rows.exists() and rows.stat().st_size):
                    if process.poll() is not None:
                        raise UserError(process.stderr.read().strip().removeprefix("error: "))
                    if time.perf_counter() - began > args.limit:
                        raise UserError(f"{algorithm} on {task}: no row within {args.limit:g} s")
                    time.sleep(0.02)
                return time.perf_counter() - began, busy_seconds(process.pid)
            finally:
                process.kill()


def measure(algorithm: str, task: str, args: argparse.Namespace) -> dict[str, Any]:
    """The line of one algorithm on one task."""
    with tempfile.TemporaryDirectory() as directory:
        cache = Path(directory)
        cold, cold_cpu = start(algorithm, task, args, cache)
        warm, warm_cpu = start(algorithm, task, args, cache)
        size = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    return {
        "task": task, "algorithm": algorithm, "preset": args.preset,
        "cold": round(cold, 1), "warm": round(warm, 1),
        "cold_cpu": round(cold_cpu, 1), "warm_cpu": round(warm_cpu, 1),
        "cache_mib": round(size / 2**20, 1),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--algorithms", nargs="+", default=ALGORITHMS)
    parser.add_argument("--tasks", nargs="+", default=[f"smax/{name}" for name in MAPS])
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one start (600)")
    args = parser.parse_args()
    try:
        for task in args.tasks:
            for algorithm in args.algorithms:
                make_plan(load_config(algorithm, task, preset=args.preset))
        print(json.dumps(versions()), flush=True)
        for task in args.tasks:
            for algorithm in args.algorithms:
                print(json.dumps(measure(algorithm, task, args)), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through `finally`: no run is left
    sys.exit(main())
