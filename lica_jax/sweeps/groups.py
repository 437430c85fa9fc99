"""The plan of a sweep: what is going to be trained, in which programs, and how much it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lica_jax.envs.registry import make_task
from lica_jax.errors import UserError
from lica_jax.machine import gib
from lica_jax.runs.messages import idle, single_seed
from lica_jax.sweeps import halving
from lica_jax.sweeps.devices import advice
from lica_jax.sweeps.plans import Plans
from lica_jax.sweeps.request import SweepConfig
from lica_jax.sweeps.settings import Setting, group_key, static_fields
from lica_jax.sweeps.widths import Memory, balanced, check_width, memory_of


@dataclass(frozen=True)
class Group:
    """Settings that one program trains.

    Attributes:
      name: its static values in words; "" where there is one group only.
      settings: those in it.
      memory: of its runs.
    """

    name: str
    settings: tuple[Setting, ...]
    memory: Memory

    @property
    def key(self) -> str:
        return group_key(self.settings[0].config)

    def widest(self, ask: SweepConfig, runs: int) -> int:
        """The most runs that may go side by side."""
        asked = runs if ask.wave == "auto" else ask.wave
        return max(1, min(asked, runs, self.memory.widest))


def make_groups(settings: Sequence[Setting], plans: Plans) -> list[Group]:
    """Settings by their programs, in the order asked.

    Raises:
      UserError: a run of one does not fit even alone, or cannot be planned.
    """
    by_key: dict[str, list[Setting]] = {}
    for setting in settings:
        by_key.setdefault(group_key(setting.config), []).append(setting)
    groups = []
    for members in by_key.values():
        first = members[0]
        static = [f"{first.values[k]}" for k in static_fields(members)]
        name = " ".join(static) if len(by_key) > 1 else ""
        memory = memory_of(plans.base(first.config, 1), plans.devices, plans.elsewhere)
        check_width(1, memory, name or f"{first.config.algorithm} on {first.config.task}")
        groups.append(Group(name, tuple(members), memory))
    return groups


def describe_plan(
    ask: SweepConfig, groups: Sequence[Group], budgets: Sequence[float], sweep_dir: Path | None
) -> str:
    """The plan in words: settings, programs, waves, memory."""
    settings = sum(len(group.settings) for group in groups)
    first = groups[0].settings[0].config
    drawn = f" of {ask.trials} to be drawn ({ask.sampler})" if ask.search else ""
    total = sorted({s.config.total_steps for group in groups for s in group.settings})
    steps = f"{total[0]:,}" if len(total) == 1 else f"{total[0]:,} to {total[-1]:,}"
    runs = (ask.trials or settings) * len(ask.seeds)
    lines = [
        f"{ask.trials or settings} setting{_s(ask.trials or settings)}{drawn} x {len(ask.seeds)} "
        f"seed{_s(len(ask.seeds))} = {runs} run{_s(runs)} of {steps} env steps"
    ]
    if max(len(ask.algorithms), len(ask.tasks)) == 1:
        lines[0] = f"{first.algorithm} on {first.task}, preset {first.preset!r}: {lines[0]}"
    fields = [k for k in static_fields(groups[0].settings) if len(groups) > 1]
    lines.append(
        f"{len(groups)} program{_s(len(groups))}" + (f" ({', '.join(fields)})" if fields else "")
    )
    width = max(len(group.name) for group in groups)
    lines += [f"  {group.name:{width}}  {_waves(ask, group)}" for group in groups]
    lines += _without_effect(ask, [s for group in groups for s in group.settings])
    lines += single_seed(ask.seeds)
    if len(budgets) > 1:
        lines.append(_rungs(ask, settings, budgets))
    if found := advice(ask, runs):
        lines.append(found)
    if sweep_dir is not None:
        lines.append(f"files in {sweep_dir}")
    return "\n".join(line.rstrip() for line in lines)


def _without_effect(ask: SweepConfig, settings: Sequence[Setting]) -> list[str]:
    """Swept fields that change nothing, all settings being as they are, or in some of them."""
    specs = {name: make_task(name).spec for name in {s.config.task for s in settings}}
    found = Counter(
        (field, reason)
        for setting in settings
        for reason, names in idle(setting.config, specs[setting.config.task]).items()
        if reason.split()[0] not in ask.search  # which draws others
        for field in ask.swept
        if field in names
    )
    return [
        f"{field} has no effect with {reason}"
        + ("" if times == len(settings) else f", in {times} of {len(settings)} settings")
        for (field, reason), times in found.items()
    ]


def _waves(ask: SweepConfig, group: Group) -> str:
    """``48 runs, 4 waves of 12, 12.9 GiB of 14.2 GiB free``."""
    runs = (ask.trials or len(group.settings)) * len(ask.seeds)
    most = group.widest(ask, runs)
    need, free = group.memory.of, group.memory.free
    of = "" if free is None else f" of {gib(free)} free"
    if ask.wave == "auto" and most > 1:
        return (
            f"{runs} runs, as many side by side as is fastest, at most {most} "
            f"({gib(need(most))}{of})"
        )
    sizes = balanced(runs, most)
    return (
        f"{runs} run{_s(runs)}, {len(sizes)} wave{_s(len(sizes))} of {sizes[0]}, "
        f"{gib(need(sizes[0]))}{of}"
    )


def _rungs(ask: SweepConfig, settings: int, budgets: Sequence[float]) -> str:
    """``halving by 3: 27 settings to 1/9 of the steps, ...``."""
    left, parts = settings, []
    for share in budgets:
        parts.append(f"{left} to {share:.3g}")
        left = halving.left_of(left, ask.halving)
    return (
        f"halving by {ask.halving}: settings by share of the env steps: {', '.join(parts)}; "
        f"{halving.effort(settings, budgets, ask.halving):.0%} of the env steps of all"
    )


def _s(n: int) -> str:
    return "" if n == 1 else "s"


def objective_for(ask: SweepConfig, settings: Sequence[Setting]) -> str:
    """What the settings are compared by: as asked, or the greedy win rate where something is won on
    every task, else the greedy return.

    Raises:
      UserError: no evaluation has that.
    """
    tasks = sorted({s.config.task for s in settings} or set(ask.tasks))
    wins = all(make_task(task).spec.has_win for task in tasks)
    name = ask.objective or ("eval/win_rate" if wins else "eval/return_mean")
    plain = name.removeprefix("eval/").removeprefix("sampled/")
    if not name.startswith("eval/") or plain not in ("win_rate", "return_mean"):
        raise UserError(
            "objective must be eval/win_rate, eval/return_mean, eval/sampled/win_rate or "
            f"eval/sampled/return_mean, got {name!r}"
        )
    if plain == "win_rate" and not wins:
        raise UserError(f"objective {name}: nothing is won on {tasks[0]}; use eval/return_mean")
    return name
