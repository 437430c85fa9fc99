"""``lica-jax bench``."""

from __future__ import annotations

import json
import math
from argparse import ArgumentTypeError
from typing import Any

from lica_jax.cli.parsing import Parser, count
from lica_jax.errors import UserError

KINDS = ("cpu", "gpu", "tpu")


def bench(argv: list[str]) -> int:
    """Measures training and prints a row for each program; returns the exit code."""
    args = _parser().parse_args(argv)

    import jax

    from lica_jax.plugins import load_plugins
    from lica_jax.profiling.bench import bench_plan, measure

    load_plugins(args.plugin)
    if args.device and jax.default_backend() != args.device:
        raise UserError(
            f"--device {args.device}: JAX runs on {jax.default_backend()} here (JAX_PLATFORMS "
            "chooses among what is installed)"
        )
    plans = [
        bench_plan(algorithm, task, preset=args.preset, envs=envs, plugins=args.plugin)
        for task in args.tasks
        for algorithm in args.algorithm
        for envs in args.envs
    ]
    _use_cache(jax)
    for plan in plans:
        row = measure(plan, args.seconds, with_parts=args.breakdown)
        print(json.dumps(row) if args.json else in_words(row), flush=True)
    return 0


def _parser() -> Parser:
    from lica_jax.config import DEFAULT_PRESET

    parser = Parser(
        prog="lica-jax bench",
        description="measure training in env steps per second, next to plain matrix products",
    )
    parser.add_argument("tasks", nargs="+", metavar="TASK", help="tasks to train on")
    parser.add_argument(
        "--algorithm",
        nargs="+",
        default=["lica"],
        metavar="NAME",
        help="algorithms to train; default lica",
    )
    parser.add_argument(
        "--preset", default=DEFAULT_PRESET, help=f"preset; default {DEFAULT_PRESET}"
    )
    parser.add_argument(
        "--envs", nargs="+", type=count, default=[None], metavar="N",
        help="numbers of parallel environments; default: the preset's",
    )  # fmt: skip
    parser.add_argument(
        "--seconds",
        type=duration,
        default=10.0,
        help="time to measure each program, compilation excluded; default 10",
    )
    parser.add_argument(
        "--breakdown", action="store_true",
        help="also divide time and matrix products among collection, agents, critic, optimiser",
    )  # fmt: skip
    parser.add_argument(
        "--device", choices=KINDS, help="refuse to measure on any other kind of device"
    )
    parser.add_argument("--json", action="store_true", help="print JSON objects, one per line")
    parser.add_plugin()
    return parser


def duration(word: str) -> float:
    """Seconds; not negative, and finite."""
    seconds = float(word)
    if not 0 <= seconds < math.inf:
        raise ArgumentTypeError(f"{word} is no number of seconds")
    return seconds


def _use_cache(jax: Any) -> None:
    """Programs from the cache whose instructions say where they come from in *this* source."""
    from lica_jax.runs.compilation_cache import use_compilation_cache

    jax.config.update("jax_compilation_cache_include_metadata_in_key", True)
    use_compilation_cache()


def in_words(row: dict[str, Any]) -> str:
    """A row for people."""
    lines = [
        f"{row['task']} {row['algorithm']}, preset {row['preset']}, {row['envs']} environments, "
        f"{row['updates_per_call']} updates a call: {row['env_steps_per_second']:,} env steps/s",
        f"  {row['env_steps_per_busy_second']:,} per second of the process's own; plain matrix "
        f"products: {row['product_gflops']:,} GFLOP/s; set up in {row['compile_seconds']} s",
    ]
    if "parts" not in row:
        return "\n".join(lines)
    lines += [
        f"  {row['product_flop_per_env_step']:,} FLOP of matrix products per env step, at "
        f"{row['of_product_rate']:.2f} of that rate:",
        f"    {'part':16} {'time':>7} {'FLOP/step':>12} {'of the rate':>12}",
    ]
    for name, part in row["parts"].items():
        lines.append(
            f"    {name:16} {100 * part['share']:5.1f} % {part['product_flop_per_env_step']:12,} "
            f"{part['of_product_rate']:12.2f}"
        )
    return "\n".join(lines)
