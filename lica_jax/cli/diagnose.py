"""``lica-jax diagnose``."""

from __future__ import annotations

from pathlib import Path

from lica_jax.cli.parsing import Parser, count
from lica_jax.cli.progress import Counter


def diagnose(argv: list[str]) -> int:
    """Holds a run's critic against the simulator; returns the exit code."""
    parser = Parser(
        prog="lica-jax diagnose",
        description="compare what a run's critic says one agent's actions are worth with rollouts "
        "of the simulator",
    )
    parser.add_argument("path", type=Path, help="run directory")
    parser.add_argument(
        "--states",
        type=count,
        default=200,
        help="number of moments at which actions are tried; default 200",
    )
    parser.add_argument(
        "--rollouts", type=count, default=64, help="rollouts of each action; default 64"
    )
    parser.add_argument(
        "--gradient-steps", type=count, default=100_000, metavar="N",
        help="env steps to estimate the gradient that the policies climb; default 100000, "
        "0: leave this out",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="directory to write to; default PATH/diagnosis"
    )
    parser.add_argument("--seed", type=count, default=0, help="seed of the episodes; default 0")
    parser.add_argument(
        "--which", default="last", metavar="last|best", help="which policy of the run; default last"
    )
    parser.add_plugin()
    args = parser.parse_args(argv)

    from lica_jax import diagnosis
    from lica_jax.diagnosis.diagnosis import files_in
    from lica_jax.plugins import load_plugins

    load_plugins(args.plugin)
    out = args.path / "diagnosis" if args.out is None else args.out
    with Counter("diagnosing", "rollouts") as counter:
        found = diagnosis.diagnose(
            args.path, which=args.which, states=args.states, rollouts=args.rollouts,
            gradient_steps=args.gradient_steps, seed=args.seed, out=out, tell=counter.tell,
        )  # fmt: skip
    print(found)
    for path in files_in(out):
        print(f"wrote {path} ({path.stat().st_size:,} bytes)")
    return 0
