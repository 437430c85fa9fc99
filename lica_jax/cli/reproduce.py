"""``lica-jax reproduce``."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from lica_jax.cli.parsing import Parser, count
from lica_jax.cli.progress import Counter
from lica_jax.errors import UserError, unknown
from lica_jax.files import put

TABLE = "table"
# Flags that not every figure knows.
FIG5_ONLY = ("inits", "iterations", "seed")
SWEEPS_ONLY = (
    "resume", "dry_run", "algorithms", "tasks", "seeds", "wave", "devices", "gather",
)  # fmt: skip


def reproduce(argv: list[str]) -> int:
    """Makes a figure of the paper again, or shows what there is; returns the exit code."""
    from lica_jax.reproduce import FIGURES, SCALES

    parser = _parser()
    args = parser.parse_args(argv)
    if args.figure in (None, TABLE):
        if given := [word for word in argv if word != TABLE]:
            raise UserError(
                f"name a figure: {', '.join(FIGURES)}; `{parser.prog} {TABLE}` takes no flags, got "
                + " ".join(given)
            )
        from lica_jax.reproduce.catalogue import table

        for line in table():
            print(line)
        return 0
    if args.figure not in FIGURES:
        known = [*FIGURES, TABLE]
        raise unknown("figure", args.figure, known, f"`{parser.prog} {TABLE}` says more")
    if args.scale not in (None, *SCALES):
        raise unknown("scale", args.scale, SCALES, "")
    if args.out is None:
        raise UserError("--out is missing: the directory to write to")
    trained = FIGURES[args.figure].endswith(".trained")
    _check_flags(args, (*FIG5_ONLY, "overwrite") if trained else SWEEPS_ONLY)
    if args.figure == "fig2a":
        _check_flags(args, FIG5_ONLY)

    from lica_jax.runs.compilation_cache import use_compilation_cache

    use_compilation_cache()
    return _trained(args) if trained else _computed(args)


def _parser() -> Parser:
    from lica_jax.reproduce import FIGURES, SCALES
    from lica_jax.runs.display import STYLES

    parser = Parser(prog="lica-jax reproduce", description="reproduce a figure of the paper")
    add = parser.add_argument
    add(
        "figure",
        nargs="?",
        help=f"{', '.join(FIGURES)}; `{TABLE}` or no name: list what each takes",
    )
    add("--scale", help=f"size of the experiment: {', '.join(SCALES)}; default cpu")
    add("--out", type=Path, help="directory to write to")
    add("--resume", action="store_true", help="continue the figure in --out")
    add("--dry-run", action="store_true", help="show what would be run and for how long")
    add("--algorithms", nargs="+", help="which of the figure's algorithms to run; default all")
    add("--tasks", nargs="+", help="which of the figure's tasks to run; default all")
    add("--seeds", nargs="+", help="seeds, instead of the scale's: 0 1 2, or a range 0:8")
    add("--wave", metavar="auto|N", help="runs side by side, as in `lica-jax sweep`")
    add("--devices", metavar="auto|N|all", help="devices to use, as in `lica-jax sweep`")
    add(
        "--gather", nargs="+", type=Path, metavar="DIR",
        help="train nothing: draw the finished runs of these folders, each the --out of a part of "
        "the figure",
    )  # fmt: skip
    add("--progress", choices=STYLES, default="auto", help="progress display; default auto")
    add("--overwrite", action="store_true", help="fig2a, fig5: replace the files of an earlier run")
    add(
        "--inits",
        type=count,
        help="fig5: number of random initialisations; default 20000, at scale smoke 200",
    )
    add("--iterations", type=count, help="fig5: updates from each initialisation; default 60")
    add("--seed", type=count, help="fig5: random seed; default 0")
    return parser


def _check_flags(args: Namespace, names: tuple[str, ...]) -> None:
    """Refuses flags that the figure does not know."""
    if given := [name for name in names if getattr(args, name) not in (None, False)]:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UserError(f"{args.figure} takes no {flags}: `lica-jax reproduce --help` says whose")


def _computed(args: Namespace) -> int:
    """A figure without training runs."""
    with Counter(f"reproducing {args.figure}", "methods") as counter:
        if args.figure == "fig2a":
            from lica_jax.reproduce import fig2a

            fig2a.reproduce(args.out, overwrite=args.overwrite, say=counter.say)
            return 0
        from lica_jax.reproduce import fig5

        given = {name: getattr(args, name) for name in FIG5_ONLY}
        settings = {"inits": fig5.INITS[args.scale or "cpu"]}
        settings |= {name: value for name, value in given.items() if value is not None}
        fig5.reproduce(
            args.out, **settings, overwrite=args.overwrite, say=counter.say, tell=counter.tell
        )
    return 0


def _trained(args: Namespace) -> int:
    """A figure that is a sweep."""
    if args.gather:
        return _gathered(args)
    from lica_jax.reproduce.trained import reproduce

    words = {k: v for k in ("seeds", "wave", "devices") if (v := getattr(args, k))}
    only = {k: v for k in ("algorithms", "tasks") if (v := getattr(args, k))}
    if args.resume and only:
        raise UserError(f"leave out --{next(iter(only))}: --resume knows what is run")
    stopped = reproduce(
        args.figure, args.scale or "cpu", args.out, resume=args.resume, dry_run=args.dry_run,
        only=only, words=words, style=args.progress, say=lambda text: put(text, sys.stdout),
        waiting=lambda: Counter(f"planning {args.figure}", "programs"),
    )  # fmt: skip
    return 128 + stopped if stopped else 0


def _gathered(args: Namespace) -> int:
    """A figure that was trained in parts."""
    from lica_jax.reproduce.gathering import gather

    given = [name for name in SWEEPS_ONLY if name != "gather" and getattr(args, name)]
    if given:
        raise UserError(f"leave out --{given[0].replace('_', '-')}: --gather trains nothing")
    gather(
        args.figure, args.scale or "cpu", args.out, args.gather,
        say=lambda text: put(text, sys.stdout),
    )  # fmt: skip
    return 0
