"""``lica-jax eval``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lica_jax.cli.parsing import Parser, count
from lica_jax.cli.progress import Counter
from lica_jax.runs.names import MODES


def evaluate(argv: list[str]) -> int:
    """Evaluates a policy and prints its figures; returns the exit code."""
    parser = Parser(prog="lica-jax eval", description="evaluate a trained policy")
    parser.add_argument(
        "path", type=Path, help="run directory, policy file (.safetensors) or zoo:NAME"
    )
    parser.add_argument(
        "--which", metavar="best|last|all-seeds|all-seeds-last",
        help="policy of a run directory: best or last of its best seed, or of every seed; "
        "default best",
    )  # fmt: skip
    parser.add_argument(
        "--episodes", type=count, help="episodes per mode; default 512, on smac/ tasks 32"
    )
    parser.add_argument("--seed", type=count, default=0, help="seed of the episodes; default 0")
    parser.add_argument(
        "--task", help="another task with the same sizes; default: that of training"
    )
    parser.add_argument(
        "--envs", type=count, default=8, help="games in parallel, on smac/ tasks; default 8"
    )
    parser.add_argument(
        "--save-replay",
        type=Path,
        metavar="DIR",
        help="save the game's replays in DIR, on smac/ tasks",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_plugin()
    args = parser.parse_args(argv)

    from lica_jax import api
    from lica_jax.plugins import load_plugins

    load_plugins(args.plugin)
    with Counter("evaluating", "episodes") as counter:
        result = api.evaluate(
            args.path, task=args.task, episodes=args.episodes, seed=args.seed, envs=args.envs,
            save_replay=args.save_replay, which=args.which, tell=counter.tell,
        )  # fmt: skip
    print(json.dumps(result) if args.json else _in_words(result, args.save_replay))
    return 0


def _in_words(result: dict[str, Any], folder: Path | None) -> str:
    policies = result.get("policies", [result])
    facts = [one["policy"] for one in policies]
    per = " and policy" if len(policies) > 1 else ""
    lines = [
        f"{facts[0]['algorithm']} trained on {facts[0]['task']} for {_steps(facts)} env steps "
        f"({_label(facts[0]) if not per else f'{len(policies)} policies'})",
        f"{result['task']} ({result['task_source']}), {policies[0]['greedy']['episodes']} episodes "
        f"per mode{per}, with 95 % intervals:",
    ]
    labels = [_label(fact) for fact in facts] if per else [""]
    for mode in MODES:
        rows = list(zip(labels, (one[mode] for one in policies), strict=True))
        if per and mode in result:
            rows.append(("mean", result[mode]))
        width = max(len(label) for label, _ in rows)
        lines += [f"  {mode:8} {label:{width}}{' ' * bool(per)}{_figures(f)}" for label, f in rows]
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


def _steps(facts: list[dict[str, Any]]) -> str:
    """How long policies were trained, as far as their files say so."""
    known = [fact["env_steps"] for fact in facts if fact["env_steps"] is not None]
    ends = dict.fromkeys((min(known), max(known))) if known else ()
    return " to ".join(f"{n:,}" for n in ends) or "unknown"


def _label(fact: dict[str, Any]) -> str:
    """``seed 3``, or ``seed 0, hp.gamma 0.9`` where policies differ in hyper-parameters."""
    return ", ".join(f"{k} {v}" for k, v in fact.items() if k == "seed" or k.startswith("hp."))


def _figures(figures: dict[str, Any]) -> str:
    win, interval = figures.get("win_rate"), figures.get("win_rate_ci95")
    said = ""
    if win is not None:
        within = _interval(interval and [100 * x for x in interval], ".1f")
        said = f"win rate {100 * win:5.1f} %{within}   "
    if figures["return_mean"] is None:
        return "no episode was finished"
    return (
        f"{said}return {figures['return_mean']:.3f} +- {figures['return_std']:.3f}"
        f"{_interval(figures['return_mean_ci95'], '.3f')}   "
        f"length {figures['episode_length_mean']:.1f}{_others(figures)}"
    )


def _interval(ends: list[float] | None, form: str) -> str:
    return "" if ends is None else f" [{ends[0]:{form}}, {ends[1]:{form}}]"


def _others(figures: dict[str, Any]) -> str:
    """What else the task says of its episodes."""
    usual = (
        "win_rate", "win_rate_ci95", "return_mean", "return_mean_ci95", "return_std",
        "episode_length_mean", "episodes", "seeds",
    )  # fmt: skip
    own = {k.removesuffix("_mean"): v for k, v in figures.items() if k not in usual}
    return "".join(f"   {name} {value:.3g}" for name, value in own.items())
