"""``lica-jax reproduce``."""

from __future__ import annotations

import importlib
from pathlib import Path

from lica_jax.cli.parsing import Parser, count
from lica_jax.cli.progress import Counter
from lica_jax.errors import unknown


def reproduce(argv: list[str]) -> int:
    """Makes a figure of the paper again; returns the exit code."""
    from lica_jax.reproduce import FIGURES

    parser = Parser(prog="lica-jax reproduce", description="reproduce a figure of the paper")
    parser.add_argument("figure", help=f"one of {', '.join(FIGURES)}")
    parser.add_argument("--out", type=Path, required=True, help="the directory to write to")
    parser.add_argument("--inits", type=count, default=20_000, help="random starts (20000)")
    parser.add_argument("--iterations", type=count, default=60, help="updates of each (60)")
    parser.add_argument("--seed", type=count, default=0, help="seed of everything random (0)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run's files")
    args = parser.parse_args(argv)
    if args.figure not in FIGURES:
        raise unknown("figure", args.figure, FIGURES, "`lica-jax reproduce --help` shows all")

    from lica_jax.runs.compilation_cache import use_compilation_cache

    use_compilation_cache()
    settings = {name: value for name, value in vars(args).items() if name != "figure"}
    with Counter(f"reproducing {args.figure}", "methods") as counter:
        figure = importlib.import_module(FIGURES[args.figure])
        figure.reproduce(**settings, say=counter.say, tell=counter.tell)
    return 0
