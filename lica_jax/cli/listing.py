"""``lica-jax list``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from lica_jax.cli.parsing import Parser


def show(argv: list[str]) -> int:
    """Prints algorithms, tasks, presets and ablations, or one of these; returns the exit code."""
    kinds = {
        "algorithms": _algorithms, "tasks": _tasks, "presets": _presets, "ablations": _ablations,
        "zoo": _zoo,
    }  # fmt: skip
    parser = Parser(
        prog="lica-jax list",
        description="list algorithms, tasks, presets, ablations and trained policies (zoo)",
    )
    parser.add_argument(
        "what", nargs="?", choices=tuple(kinds), help="what to list; default everything"
    )
    parser.add_plugin()
    args = parser.parse_args(argv)

    from lica_jax.plugins import load_plugins

    load_plugins(args.plugin)
    for name, lines in kinds.items():
        if args.what in (None, name):
            for line in lines():
                print(line)
    return 0


def _algorithms() -> Iterator[str]:
    from lica_jax.algorithms import algorithm_names, find_algorithm

    yield "algorithms"
    for name in algorithm_names():
        entry = find_algorithm(name)
        policy = f"off-policy, replays {entry.replay}" if entry.replay else "on-policy"
        paper = entry.paper or "unpublished"
        yield f"  {name:12} {paper} ({entry.actions} actions, {policy}){_from(entry.plugin)}"


def _tasks() -> Iterator[str]:
    from lica_jax.envs import describe_task, task_names, task_options
    from lica_jax.envs.names import Free
    from lica_jax.envs.registry import task_plugin

    yield "tasks"
    for family, names in groupby(task_names(), key=lambda name: name.partition("/")[0]):
        told = {name: describe_task(name) + _from(task_plugin(name)) for name in names}
        # What all of a family have behind their semicolons is said once.
        ends = {text.partition("; ")[2] for text in told.values()}
        shared = f"; {ends.pop()}" if len(ends) == 1 and len(told) > 1 else ""
        yield f"  {family}/{f': {shared[2:]}' if shared[2:] else ''}"
        for name, text in told.items():
            yield f"    {name:28} {text.removesuffix(shared)}"
    yield "task options, default first, as in smax/2s3z:reward=smac,stats=sc2"
    for name, options in task_options().items():
        for option, values in options.items():
            shown = values.default if isinstance(values, Free) else "|".join(values)
            yield f"  {name:30} {option}={shown}"


def _from(plugin: str) -> str:
    return f" [plugin {plugin}]" if plugin else ""


def _presets() -> Iterator[str]:
    from lica_jax.config import DEFAULT_PRESET, preset_coverage, preset_names

    yield "presets"
    for name in preset_names():
        yield f"  {name}{' (default)' if name == DEFAULT_PRESET else ''}"
        yield from (f"    {line}" for line in preset_coverage(name))


def _zoo() -> Iterator[str]:
    from lica_jax.zoo import cards

    yield "trained policies, for eval, render and load_policy"
    for card in cards():
        yield f"  zoo:{card.name:30} {card.line}"


def _ablations() -> Iterator[str]:
    from lica_jax.algorithms import algorithm_names
    from lica_jax.config import ablation_names

    yield "ablations, on top of any preset: --preset paper+NAME"
    for algorithm in algorithm_names():
        for name, about in ablation_names(algorithm).items():
            yield f"  {algorithm:12} {name:26} {about}"
