"""``lica-jax render``."""

from __future__ import annotations

from pathlib import Path

from lica_jax.cli.parsing import Parser, count
from lica_jax.cli.progress import Counter


def render(argv: list[str]) -> int:
    """Writes a replay of a policy; returns the exit code."""
    parser = Parser(
        prog="lica-jax render",
        description="play a policy to look at, with the credit that its critic gives each agent",
    )
    parser.add_argument(
        "path", type=Path, help="a run directory, a policy file (.safetensors) or zoo:NAME"
    )
    parser.add_argument("--out", type=Path, required=True, help="the page to write, battle.html")
    parser.add_argument("--gif", type=Path, metavar="FILE", help="the picture alone, too")
    parser.add_argument(
        "--json", action="store_true", help="all recorded numbers beside the page, as .json"
    )
    parser.add_argument("--episodes", type=count, default=3, help="how many, up to 20 (3)")
    parser.add_argument("--seed", type=count, default=0, help="seed of the episodes (0)")
    parser.add_argument(
        "--sampled", action="store_true", help="draw actions instead of taking the likeliest"
    )
    parser.add_argument(
        "--which", metavar="best|last", help="of a run directory: its best or last policy (best)"
    )
    parser.add_argument("--task", help="another task with the same sizes; default the trained one")
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
