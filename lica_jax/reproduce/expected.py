"""How long a figure's runs are expected to take, from rates that were measured before."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from lica_jax.config.presets import presets_dir
from lica_jax.config.reading import read_yaml
from lica_jax.envs.names import plain_name
from lica_jax.sweeps.display import duration
from lica_jax.sweeps.settings import Setting, program_key

RATES = "rates.yaml"
SHORT = 10_000  # env steps of a run that takes no time beside compiling its program


class Expected(NamedTuple):
    """The time of all runs one after another.

    Attributes:
      seconds: of training what has a rate, and of compiling every program of it once.
      guessed: share of its env steps whose rate was measured on another task of the family.
      known: algorithms that there is a rate of.
      others: how many settings there is none of.
    """

    seconds: float
    guessed: float
    known: tuple[str, ...]
    others: int


@cache
def rates() -> dict[str, Any]:
    """``configs/figures/rates.yaml``: ``machine``, ``compile`` and ``steps_per_second`` by preset,
    algorithm and task."""
    return read_yaml(presets_dir() / "figures" / RATES)


def expect(settings: Sequence[Setting], seeds: int) -> Expected:
    """The time of some settings with so many seeds each on the machine of `rates`."""
    steps = guessed = seconds = 0.0
    programs, known, others = set(), {}, 0
    for setting in settings:
        config = setting.config
        rate, own = _rate(config.preset.partition("+")[0], config.algorithm, config.task)
        if rate is None and config.total_steps > SHORT:
            others += 1
            continue
        known[config.algorithm] = None
        programs.add(program_key(config))
        if rate is None:
            continue
        steps += (own_steps := config.total_steps * seeds)
        guessed += 0 if own else own_steps
        seconds += own_steps / rate
    seconds += len(programs) * rates()["compile"]
    return Expected(seconds, guessed / max(steps, 1), tuple(known), others)


def _rate(preset: str, algorithm: str, task: str) -> tuple[float | None, bool]:
    """Env steps per second of a run, and whether they are the task's own; of a task that was not
    measured, the slowest of its family."""
    by_task = rates()["steps_per_second"].get(preset, {}).get(algorithm, {})
    name = plain_name(task)
    if name in by_task:
        return by_task[name], True
    family = [r for other, r in by_task.items() if other.split("/")[0] == name.split("/")[0]]
    return (min(family), False) if family else (None, False)


def expected_text(expected: Expected) -> str:
    """``about 3 h``, ``roughly 39 days for lica, others not measured``, ``not measured``."""
    if not expected.known:
        return "not measured"
    about = "roughly" if expected.guessed > 0.1 else "about"
    text = f"{about} {long_duration(expected.seconds)}"
    if not expected.others:
        return text
    return f"{text} for {', '.join(expected.known)}, others not measured"


def long_duration(seconds: float) -> str:
    """`duration`, in days from two on."""
    return duration(seconds) if seconds < 2 * 86_400 else f"{seconds / 86_400:,.0f} days"
