"""``lica-jax render``."""

from __future__ import annotations

from pathlib import Path

from lica_jax.cli.parsing import Parser, count
from lica_jax.cli.progress import Counter


def render(argv: list[str]) -> int:
    """Writes a replay of a policy; returns the exit code."""
    parser = Parser(
        prog="lica-jax render",
        description="show episodes of a policy, with the credit that its critic gives each agent",
    )
    parser.add_argument(
        "path", type=Path, help="run directory, policy file (.safetensors) or zoo:NAME"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="page to write, such as battle.html"
    )
    parser.add_argument(
        "--gif", type=Path, metavar="FILE", help="also write the picture alone, as a GIF"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="also write all recorded numbers, as .json beside the page",
    )
    parser.add_argument(
        "--episodes", type=count, default=3, help="number of episodes, up to 20; default 3"
    )
    parser.add_argument("--seed", type=count, default=0, help="seed of the episodes; default 0")
    parser.add_argument(
        "--sampled", action="store_true", help="sample actions instead of taking the most likely"
    )
    parser.add_argument(
        "--which", metavar="best|last", help="which policy of a run directory; default best"
    )
    parser.add_argument(
        "--task", help="another task with the same sizes; default: that of training"
    )
    parser.add_plugin()
    args = parser.parse_args(argv)

    from lica_jax import rendering
    from lica_jax.plugins import load_plugins
    from lica_jax.rendering.replay import check_outputs

    json = args.out.with_suffix(".json") if args.json else None
    check_outputs(args.out, args.gif, json)
    load_plugins(args.plugin)
    with Counter("rendering", "episodes"):
        replay = rendering.render(
            args.path, which=args.which, task=args.task, episodes=args.episodes, seed=args.seed,
            sampled=args.sampled,
        )  # fmt: skip
        replay.save(args.out, gif=args.gif, json=json)
    for path in filter(None, (args.out, args.gif, json)):
        print(f"wrote {path} ({path.stat().st_size:,} bytes)")
    for note in replay.notes:
        print(f"note: {note}")
    return 0
