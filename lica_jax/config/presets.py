"""Presets: YAML files by preset, task and algorithm, each one on top of a more general one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from lica_jax.algorithms import algorithm_names, find_algorithm
from lica_jax.config.reading import read_yaml
from lica_jax.config.schema import DEFAULT_PRESET
from lica_jax.envs.names import is_import_path, plain_name
from lica_jax.errors import UserError, unknown
from lica_jax.files import leaves
from lica_jax.plugins import preset_folders

EVERY = "all"  # the file of a folder that is read for every algorithm
ABLATIONS = "ablations"  # the folder of changes that can be put on top of any preset
FIGURES = "figures"  # the folder of sweeps, which are no presets
EXTENDS, INHERITED = "extends", "inherited"  # keys of a file that are no settings


@dataclass
class Preset:
    """Values for the fields of a configuration, and the file that each one comes from.

    Attributes:
      values: nested as the configuration is.
      sources: ``{"hp.gamma": "fast/smax/lica.yaml"}``.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def update(self, values: Mapping[str, Any], source: str) -> None:
        """Puts the values of a file on top."""
        deep_update(self.values, values)
        self.sources |= {name: source for name, _ in leaves(values)}


def presets_dir() -> Path:
    """Our preset folder: inside the package in a wheel, beside it in a source checkout."""
    here = Path(__file__).resolve().parent.parent
    inside = here / "configs"
    return inside if inside.is_dir() else here.parent / "configs"


def roots() -> list[Path]:
    """Our preset folder, then those of plugins."""
    return [presets_dir(), *preset_folders()]


def preset_names() -> list[str]:
    """All presets."""
    folders = {p.name for root in roots() for p in root.iterdir() if p.is_dir()}
    return sorted(folders - {ABLATIONS, FIGURES, "__pycache__"})


def lineage(algorithm: str) -> list[str]:
    """The algorithms whose files are read for ``algorithm``, itself last."""
    before = find_algorithm(algorithm).presets_of
    return [*(lineage(before) if before else []), algorithm]


def preset_coverage(preset: str) -> list[str]:
    """What a preset has values for: ``smax/: coma, qmix`` for a family of tasks, and what is there
    for one task only: ``smax/5m_vs_6m: mappo``."""
    folders: dict[PurePosixPath, set[str]] = {}
    heirs = {name: lineage(name) for name in algorithm_names()}
    for root in roots():
        for path in (root / preset).rglob("*.yaml"):
            place = PurePosixPath(path.relative_to(root / preset).parent.as_posix())
            own, shared = {path.stem} - {EVERY}, read_yaml(path).get(INHERITED, True)
            found = {name for name, line in heirs.items() if path.stem in line and shared} | own
            folders.setdefault(place, set()).update(found)
    lines = []
    for place, names in sorted(folders.items()):
        more = names.difference(*(folders.get(above, ()) for above in place.parents))
        if more:
            where = f"{place}/" if len(place.parts) == 1 else str(place)
            lines.append(f"{where if place.parts else 'every task'}: {', '.join(sorted(more))}")
    return lines


def ablation_files(algorithm: str) -> dict[str, Path]:
    """The files of an algorithm's ablations by name."""
    files = [p for root in roots() for p in sorted((root / ABLATIONS / algorithm).glob("*.yaml"))]
    return {path.stem: path for path in files}


def ablation_names(algorithm: str) -> dict[str, str]:
    """Ablations of an algorithm, ``name -> one line about it`` (the file's first comment)."""
    files = ablation_files(algorithm).items()
    return {name: path.read_text().splitlines()[0].removeprefix("# ") for name, path in files}


def load_preset(preset: str, task: str, algorithm: str) -> Preset:
    """The values of ``configs/<preset>/.../<algorithm>.yaml``, from general to specific.

    For task ``smax/3m`` the files ``<preset>/lica.yaml``, ``<preset>/smax/lica.yaml`` and
    ``<preset>/smax/3m/lica.yaml`` are read in this order, each one overriding the one before.
    In each folder ``all.yaml`` comes first, then the files of the algorithm that this one's presets
    start from (the registry's ``presets_of``; not those that say ``inherited: false``), then its
    own, and plugins' files behind ours.
    A file that says ``extends: ../smax/lica`` starts from the values of another one.
    ``paper+beta_0.13`` puts ``ablations/lica/beta_0.13.yaml`` on top; several may follow.

    Raises:
      UserError: no such preset or ablation, or the preset has nothing for the algorithm there. The
        default preset has something for all of them: where no file says more, their defaults.
    """
    plain, *changes = preset.split("+")
    if plain not in preset_names():
        raise unknown("preset", plain, preset_names())
    known = ablation_files(algorithm)
    for change in changes:
        if change not in known:
            raise unknown(f"ablation of {algorithm}", change, known)
        if changes.count(change) > 1:
            raise UserError(f"preset {preset!r} names ablation {change} twice")
    merged, found = Preset(), False
    for root, place in _files(plain, task, algorithm):
        if not _applies(root / place, algorithm):
            continue
        found = found or place.stem != EVERY
        for values, source in _chain(root, place):
            merged.update(values, source)
    if not found and plain != DEFAULT_PRESET:
        raise UserError(
            f"preset {plain!r} has nothing for algorithm {algorithm!r} on {task!r}; it covers "
            + "; ".join(preset_coverage(plain))
        )
    _put_on_top(merged, {change: known[change] for change in changes}, algorithm)
    return merged


def _files(preset: str, task: str, algorithm: str) -> Iterator[tuple[Path, Path]]:
    """The files that may have something to say, the most general first: root, and place in it."""
    folders = [Path(preset)]
    if not is_import_path(task):
        *parents, last = plain_name(task).split("/")
        # A task of any number of agents takes what is written for its kind.
        for part in (*parents, re.sub(r"_n\d+", "", last)):
            folders.append(folders[-1] / part)
    for folder in folders:
        for root in roots():
            for name in (EVERY, *lineage(algorithm)):
                place = folder / f"{name}.yaml"
                if (root / place).is_file():
                    yield root, place


def _applies(path: Path, algorithm: str) -> bool:
    """Whether an ancestor's file is meant for its heirs too."""
    return path.stem in (EVERY, algorithm) or read_yaml(path).get(INHERITED, True)


def _chain(root: Path, place: Path) -> list[tuple[dict[str, Any], str]]:
    """The values of a file and its name, behind those of the file that its ``extends`` names."""
    values = read_yaml(root / place)
    base = values.pop(EXTENDS, None)
    values.pop(INHERITED, None)
    before = _chain(root, Path(os.path.normpath(place.parent / f"{base}.yaml"))) if base else []
    return [*before, (values, place.as_posix())]


def _put_on_top(preset: Preset, changes: Mapping[str, Path], algorithm: str) -> None:
    """Ablations on top of a preset; those that contradict each other are refused."""
    said: dict[str, tuple[Any, str]] = {}
    for change, path in changes.items():
        values = read_yaml(path)
        for name, value in leaves(values):
            before, other = said.setdefault(name, (value, change))
            if before != value:
                raise UserError(
                    f"ablations {other} and {change} contradict each other: {name} would be "
                    f"{before!r} and {value!r}"
                )
        preset.update(values, f"{ABLATIONS}/{algorithm}/{path.name}")


def deep_update(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Puts nested values on top of others."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            inner = into.get(name)
            into[name] = dict(inner) if isinstance(inner, dict) else {}
            deep_update(into[name], value)
        else:
            into[name] = value
