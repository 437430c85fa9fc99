"""Peak memory of whole training runs beside the estimate that refuses what cannot fit.

One JSON line per configuration, in MiB. Each is trained in a process of its own without a
compilation cache, through evaluations and checkpoints. ``peak`` is the most that the process has
held (VmHWM) beyond what it held when the run was planned (VmRSS then, in ``before``), which is what
the estimate is of; ``ratio`` is estimate over peak. ``temporaries`` are the compiler's own figure
of the training program.

    python benchmarks/memory.py [--only qmix] [--no-run-dir]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# Long enough for a few compiled calls, evaluations and checkpoints. What a run holds does not grow
# with what it has done: one call with its evaluation and its checkpoint, and a second one beside
# the checkpoint that is still being written, see the same peak as a whole run.
SHORT = {
    "total_steps": 60_000, "log_interval": 10_000,
    "eval": {"interval": 20_000, "episodes": 128, "final_episodes": 128},
}  # fmt: skip
WIDE = SHORT | {"total_steps": 12_000, "log_interval": 2_000}  # of many runs: first and last only
SLOW = SHORT | {
    "total_steps": 4_000, "log_interval": 2_000,
    "eval": {"interval": 4_000, "episodes": 32, "final_episodes": 32},
}  # fmt: skip
# Algorithm, task and settings, by name.
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "qmix, a replay of 1 GiB": ("qmix", "probe/two_step", {"algo": {"replay_capacity": 1_500_000}}),
    "lica, full hypernetwork": (
        "lica",
        "smax/5m_vs_6m",
        {"algo": {"hypernet_hidden": "full"}, **SLOW},
    ),
    "lica, 8 runs": ("lica", "smax/3m", {"seeds": list(range(8))}),
    "lica, 64 runs": ("lica", "smax/3m", {"seeds": list(range(64)), **WIDE}),
    "lica, 256 runs": ("lica", "smax/3m", {"seeds": list(range(256)), **SLOW}),
    "mappo, 256 environments": ("mappo", "smax/2s3z", {"collect": {"envs": 256}}),
    "lica, a probe": ("lica", "probe/match", {}),
}
MIB = 2**20


def measured(algorithm: str, task: str, settings: dict[str, Any], saves: bool) -> dict[str, Any]:
    """Trains in a process of its own, with checkpoints or without; the figures of one line."""
    job = json.dumps([algorithm, task, SHORT | settings, saves])
    done = subprocess.run(
        [sys.executable, __file__, "--child", job], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def train_here(algorithm: str, task: str, settings: dict[str, Any], saves: bool) -> dict[str, Any]:
    """Trains in this process, which must be a fresh one."""
    import jax

    from lica_jax.config import load_config
    from lica_jax.runs.plan import make_plan
    from lica_jax.runs.session import Session

    jax.config.update("jax_enable_compilation_cache", False)
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run" if saves else None
        plan = make_plan(load_config(algorithm, task, **settings), run_dir)
        parts, before = plan.memory, resident("VmRSS")
        session = Session(plan, "none")
        told = plan.engine.compiled(session.state, plan.hparams, plan.iterations).memory_analysis()
        session.run()
        peak = resident("VmHWM") - before
    estimate = sum(parts.values())
    return {
        "estimate": estimate // MIB, "peak": peak // MIB, "ratio": round(estimate / peak, 2),
        "before": before // MIB, "temporaries": told.temp_size_in_bytes // MIB,
        "parts": {name: round(size / MIB, 1) for name, size in parts.items()},
    }  # fmt: skip


def resident(what: str) -> int:
    """Bytes, from the system's account of this process: VmRSS now, VmHWM at most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {what}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases whose names hold this")
    parser.add_argument("--no-run-dir", action="store_true", help="without checkpoints")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(train_here(*json.loads(args.child))))
        return
    for name, (algorithm, task, settings) in CASES.items():
        if args.only in name:
            row = measured(algorithm, task, settings, not args.no_run_dir)
            print(json.dumps({"case": name, "saves": not args.no_run_dir} | row), flush=True)


if __name__ == "__main__":
    main()
