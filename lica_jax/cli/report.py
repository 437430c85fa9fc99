"""``lica-jax report``."""

from __future__ import annotations

from pathlib import Path

from lica_jax.cli.parsing import Parser
from lica_jax.cli.progress import Counter
from lica_jax.errors import UserError


def report(argv: list[str]) -> int:
    """Prints the scores of some runs and writes a report of them; returns the exit code."""
    parser = Parser(
        prog="lica-jax report",
        description="compare runs: learning curves and scores with intervals, on one page",
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH",
        help="run directories, sweep directories, or folders that contain some at any depth",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, help="directory to write to; without it, scores are only printed"
    )
    parser.add_argument(
        "--algorithms",
        nargs="+",
        default=(),
        metavar="NAME",
        help="algorithms to report; default all",
    )
    parser.add_argument(
        "--tasks", nargs="+", default=(), metavar="NAME", help="tasks to report; default all"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier report")
    args = parser.parse_args(argv)
    if args.overwrite and args.out is None:
        raise UserError("--overwrite is of --out, which is missing")

    from lica_jax import reporting

    with Counter("reporting", "figures") as counter:
        made = reporting.report(
            args.paths, out=args.out, algorithms=args.algorithms, tasks=args.tasks,
            overwrite=args.overwrite, tell=counter.tell,
        )  # fmt: skip
    print(made)
    if args.out is None:
        print("\nnothing was written: --out DIR makes a page of it, with figures and tables")
        return 0
    print(f"\nwrote {args.out / 'report.html'}, figures, tables, marl_eval.json and report.json")
    return 0
