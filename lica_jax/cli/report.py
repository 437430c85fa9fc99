"""``lica-jax report``."""

from __future__ import annotations

from pathlib import Path

from lica_jax.cli.parsing import Parser
from lica_jax.cli.progress import Counter


def report(argv: list[str]) -> int:
    """Writes a report of some runs and prints their scores; returns the exit code."""
    parser = Parser(
        prog="lica-jax report",
        description="compare runs: learning curves, scores with intervals, one page of it all",
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH",
        help="run directories, sweep directories, or folders with such at any depth",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="the directory to write to")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier report")
    args = parser.parse_args(argv)

    from lica_jax import reporting

    with Counter("reporting", "figures") as counter:
        made = reporting.report(args.paths, args.out, overwrite=args.overwrite, tell=counter.tell)
    print(made)
    print(f"\nwrote {args.out / 'report.html'}, figures, tables, marl_eval.json and report.json")
    return 0
