"""``lica-jax eval``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lica_jax.cli.parsing import Parser, count


def evaluate(argv: list[str]) -> int:
    """Evaluates a policy and prints its figures; returns the exit code."""
    parser = Parser(prog="lica-jax eval", description="evaluate a trained policy")
    parser.add_argument("path", type=Path, help="a run directory or a policy file (.safetensors)")
    parser.add_argument("--episodes", type=count, help="episodes per mode (512; 32 on smac/ tasks)")
    parser.add_argument("--seed", type=count, default=0, help="seed of the episodes (0)")
    parser.add_argument("--task", help="another task with the same sizes; default the trained one")
    parser.add_argument("--envs", type=count, default=8, help="games at once, on smac/ tasks (8)")
    parser.add_argument("--save-replay", type=Path, metavar="DIR", help="store the game's replays")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_plugin()
    args = parser.parse_args(argv)

    from lica_jax import api
    from lica_jax.plugins import load_plugins

    load_plugins(args.plugin)
    result = api.evaluate(
        args.path, task=args.task, episodes=args.episodes, seed=args.seed, envs=args.envs,
        save_replay=args.save_replay,
    )  # fmt: skip
    print(json.dumps(result) if args.json else _in_words(result, args.save_replay))
    return 0


def _in_words(result: dict[str, Any], folder: Path | None) -> str:
    about = result["policy"]
    lines = [
        f"{about['algorithm']} trained on {about['task']} for {about['env_steps']:,} env steps "
        f"(seed {about['seed']})",
        f"{result['task']} ({result['task_source']}), {result['greedy']['episodes']} episodes per "
        "mode:",
    ]
    for mode in ("greedy", "sampled"):
        figures = result[mode]
        win = f"win rate {100 * figures['win_rate']:5.1f} %   " if "win_rate" in figures else ""
        lines.append(
            f"  {mode:8} {win}return {figures['return_mean']:.3f} +- {figures['return_std']:.3f}   "
            f"length {figures['episode_length_mean']:.1f}{_others(figures)}"
        )
    if folder:
        problem = result.get("replays_missing")
        lines.append(
            f"{len(result['replays'])} replays are in {folder}"
            + (f"; not all of them: {problem}" if problem else "")
        )
    if result.get("lost_episodes"):
        lines.append(
            f"{result['lost_episodes']} episode(s) were lost and replaced; the last: "
            f"{result['lost_because']}"
        )
    return "\n".join(lines)


def _others(figures: dict[str, Any]) -> str:
    """What else the task says of its episodes."""
    usual = ("win_rate", "return_mean", "return_std", "episode_length_mean", "episodes")
    own = {k.removesuffix("_mean"): v for k, v in figures.items() if k not in usual}
    return "".join(f"   {name} {value:.3g}" for name, value in own.items())
