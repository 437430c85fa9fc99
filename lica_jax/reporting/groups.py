"""Which runs are the same thing with other seeds, what they are called, and what must be told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lica_jax.reporting.collect import listed
from lica_jax.reporting.reading import Run, exact

UNSET = "unset"  # a setting that runs of another version have
DIGITS = range(6, 18)  # of a float: as few as tell those of a report apart; 17 tell any two


class Method(NamedTuple):
    """What is compared: ``changed`` are the settings in which runs of an algorithm differ, as texts
    that are as different as the values."""

    algorithm: str
    preset: str
    changed: tuple[tuple[str, str], ...] = ()
    test_double: bool = False


@dataclass(frozen=True)
class Group:
    """The runs of a method on a task, which differ in their seed only.

    Attributes:
      label: of the method, unique in a report.
    """

    method: Method
    label: str
    task: str
    runs: tuple[Run, ...]


def make_groups(runs: Sequence[Run]) -> list[Group]:
    """Runs by task and method, in the order in which they come."""
    found: dict[tuple[str, Method], list[Run]] = {}
    alike: dict[Any, list[Run]] = {}
    for run in runs:
        alike.setdefault((run.task, run.algorithm, run.preset, run.test_double), []).append(run)
    # What differs on one task names methods on all of them: a method has one name in a report.
    differ: dict[Any, dict[str, None]] = {}
    for (_, *kind), same in alike.items():
        differ.setdefault(tuple(kind), {}).update(dict.fromkeys(changed_settings(same)))
    for kind, named in _beside_presets(alike).items():
        differ[kind].update(dict.fromkeys(named))
    texts = {name: _texts(runs, name) for named in differ.values() for name in named}
    for (task, algorithm, preset, double), same in alike.items():
        for run in same:
            named = differ[algorithm, preset, double]
            changed = tuple((name, texts[name][_identity(run, name)]) for name in named)
            key = (task, Method(algorithm, preset, changed, double))
            found.setdefault(key, []).append(run)
    names = labels({method for _, method in found})
    return [Group(method, names[method], task, tuple(g)) for (task, method), g in found.items()]


def _beside_presets(alike: Mapping[Any, list[Run]]) -> dict[Any, list[str]]:
    """Of an algorithm with several presets: the settings in which runs are not as their preset
    says, unless all of its runs on the task have them alike. A preset's name alone would claim
    otherwise."""
    by_algorithm: dict[Any, list[Run]] = {}
    presets: dict[str, set[str]] = {}
    for (task, algorithm, preset, _), runs in alike.items():
        by_algorithm.setdefault((task, algorithm), []).extend(runs)
        presets.setdefault(algorithm, set()).add(preset)
    differ = {key: changed_settings(runs) for key, runs in by_algorithm.items()}
    found: dict[Any, list[str]] = {}
    for (task, algorithm, *rest), runs in alike.items():
        if len(presets[algorithm]) > 1:
            set_by_hand = {name for run in runs for name in run.beside}
            named = [name for name in differ[task, algorithm] if name in set_by_hand]
            found.setdefault((algorithm, *rest), []).extend(named)
    return found


def changed_settings(runs: Iterable[Run]) -> list[str]:
    """The names of settings in which runs differ; those that some do not have count only where the
    others differ. The end of a schedule is not named where it is its start in every run."""
    runs = list(runs)
    known = dict.fromkeys(name for run in runs for name in run.settings)
    values = {name: [exact(r.settings[name]) for r in runs if name in r.settings] for name in known}
    differ = [name for name in known if len(set(values[name])) > 1]

    def says_nothing(name: str) -> bool:
        stem, end = name.removesuffix("_final"), name.endswith("_final")
        others = (x for x in differ if x != name and x.startswith(stem))
        return end and any(values[other] == values[name] for other in others)

    return [name for name in differ if not says_nothing(name)]


def _identity(run: Run, name: str) -> str:
    return exact(run.settings[name]) if name in run.settings else UNSET


def _texts(runs: Iterable[Run], name: str) -> dict[str, str]:
    """What stands for each value of a setting, by its identity; no two values look alike."""
    values = {_identity(run, name): run.settings.get(name, UNSET) for run in runs}
    for digits in DIGITS:
        texts = {key: _text(value, digits) for key, value in values.items()}
        if len(set(texts.values())) == len(values):
            return texts
    return {key: key for key in values}  # such as a number and the same as a text


def _text(value: Any, digits: int) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def labels(methods: Iterable[Method]) -> dict[Method, str]:
    """A name for every method: its algorithm, the preset where there are several, its changes."""
    methods = list(methods)
    presets = {m.preset for m in methods}
    short = _short_names({name for m in methods for name, _ in m.changed})
    out = {}
    for m in methods:
        words = [m.algorithm, *([f"({m.preset})"] if len(presets) > 1 else [])]
        words += [f"{short[name]}={value}" for name, value in m.changed]
        out[m] = " ".join(words + (["[test double]"] if m.test_double else []))
    return out


def _short_names(names: set[str]) -> dict[str, str]:
    """``entropy_coef`` for ``hp.entropy_coef`` where no other name ends so."""
    last = Counter(name.rpartition(".")[2] for name in names)
    return {n: n.rpartition(".")[2] if last[n.rpartition(".")[2]] == 1 else n for n in names}


# --- what must be told ---------------------------------------------------------------------------


def mixtures(groups: Sequence[Group]) -> list[str]:
    """Everything in which runs of a figure differ beside what tells them apart."""
    told = differences(groups)
    presets = {g.method.preset: None for g in groups}
    if len(presets) > 1:
        told.append(f"Presets differ: {', '.join(presets)}. They are told apart by their names.")
    told += _set_by_hand(groups)
    doubles = [g.label for g in groups if g.method.test_double]
    if doubles:
        told.append(f"Not the real game but a test double: {listed(list(dict.fromkeys(doubles)))}.")
    return told + _together(groups) + _set_up(groups)


def _set_by_hand(groups: Sequence[Group]) -> list[str]:
    """What all runs of a method have otherwise than its preset, where its name does not say it."""
    owners: dict[str, dict[str, None]] = {}
    for group in groups:
        said = {name for name, _ in group.method.changed}
        for name in group.runs[0].beside:
            if name not in said and all(name in run.beside for run in group.runs):
                text = f"{name}={_text(group.runs[0].settings[name], 6)}"
                owners.setdefault(text, {})[group.label] = None
    together: dict[str, list[str]] = {}  # settings that the same methods have
    for text, who in owners.items():
        whose = "all" if len(who) == len({g.label for g in groups}) else listed(list(who))
        together.setdefault(whose, []).append(text)
    parts = [f"{', '.join(texts)} ({whose})" for whose, texts in together.items()]
    return [f"Not as the presets say: {'; '.join(parts)}."] if parts else []


def differences(groups: Sequence[Group]) -> list[str]:
    """What runs of a task were made with, where that is not the same, and settings that only some
    of a group have."""
    told = []
    for task in dict.fromkeys(group.task for group in groups):
        own = [group for group in groups if group.task == task]
        for name in dict.fromkeys(k for g in own for r in g.runs for k in r.origin):
            told += _mixed(f"Mixed on {task}: {name}", own, lambda run, k=name: run.origin.get(k))
        told += _mixed(
            f"Mixed on {task}: episodes per evaluation", own,
            lambda run: f"{run.figures['greedy']['episodes'][-1]:.0f}",
        )  # fmt: skip
    for group in groups:
        every = [set(run.settings) for run in group.runs]
        if some := set.union(*every) - set.intersection(*every):
            told.append(
                f"{group.label} on {group.task}: only some runs say {listed(sorted(some))}, which "
                "others, of another version, do not have."
            )
    return told


def _mixed(what: str, groups: Sequence[Group], value: Any) -> list[str]:
    """A line that says which value whose runs have, where there are several."""
    owners: dict[str, dict[str, None]] = {}
    for group in groups:
        for run in group.runs:
            if value(run) is not None:
                owners.setdefault(value(run), {})[group.label] = None
    if len(owners) < 2:
        return []
    parts = "; ".join(f"{text} ({listed(list(who))})" for text, who in owners.items())
    return [f"{what} is {parts}."]


def _together(groups: Sequence[Group]) -> list[str]:
    """Seconds of runs that were trained side by side are those of all of them."""
    widths: dict[int, dict[str, None]] = {}
    for group in groups:
        for run in group.runs:
            widths.setdefault(run.together, {})[f"{group.label} on {group.task}"] = None
    if set(widths) <= {1}:
        return []
    if len(widths) == 1:
        return [
            f"All runs were trained {min(widths)} at once: times are those of all of these "
            "together."
        ]
    parts = [
        f"{'alone' if n == 1 else f'{n} at once'}: {listed(list(who))}"
        for n, who in sorted(widths.items())
    ]
    return [
        "Runs that were trained side by side share their times, which are those of all of them "
        f"({'; '.join(parts)})."
    ]


def _set_up(groups: Sequence[Group]) -> list[str]:
    """Which runs' seconds hold more than training and evaluations."""

    def where(runs: Iterable[Run]) -> str:
        return listed([f"{run.path} seed {run.seed}" for run in runs])

    runs = [run for group in groups for run in group.runs]
    told = []
    if unknown := [run for run in runs if run.setup is None]:
        told.append(
            "Seconds with set-up and compilation, since there is no evaluation before training "
            f"that tells how long those took: {where(unknown)}."
        )
    if again := [run for run in runs if run.resumed and len(run.steps) > 1]:
        told.append(f"Seconds with the set-up of a second or later start: {where(again)}.")
    return told
