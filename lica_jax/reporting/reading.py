"""Runs as their files tell them, finished or not."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax.errors import UserError
from lica_jax.files import leaves
from lica_jax.runs import names
from lica_jax.runs.rows import sound_rows

FIGURES = ("win_rate", "return_mean", "episodes")
# What may differ between two runs of the same settings: how long, and how often looked at.
UNCOUNTED = ("algorithm", "task", "preset", "seeds", "total_steps", "log_interval", "plugins")
UNCOUNTED_GROUPS = ("eval.", "checkpoint.")
FINISHED = "finished"


@dataclass(frozen=True)
class Run:
    """One run: a seed and its settings, and what its evaluations said.

    Attributes:
      path: its directory, which it may share with others.
      settings: by their names with dots, those that change what is learned.
      steps, seconds: of every evaluation ``[E]``; env steps of this run alone, and seconds behind
        ``setup``.
      figures: ``[E]`` by mode and name: ``figures["greedy"]["win_rate"]``; NaN where there is none.
      last, best: figures by mode on fresh episodes of the last policy and of the best one; {} where
        the run has not ended.
      random: the uniformly random policy's figures.
      status: in words.
      ended: it came to its end, of its budget or (``failed``) because its loss was not finite.
      together: how many runs were trained side by side, whose seconds are the same.
      origin: versions and machine by name.
      setup: seconds until the first evaluation, before training, was there: set-up and compilation,
        which depend on what a process had compiled before; None where no row tells.
      resumed: it was started more than once, and its seconds hold the later starts' set-up.
      beside: names of settings that were not as the preset said; runs of versions that did not keep
        them have none.
    """

    path: Path
    algorithm: str
    task: str
    preset: str
    seed: int
    settings: dict[str, Any]
    total_steps: int
    steps: np.ndarray
    seconds: np.ndarray
    figures: dict[str, dict[str, np.ndarray]]
    last: dict[str, dict[str, float]]
    best: dict[str, dict[str, float]]
    random: dict[str, Any]
    status: str
    ended: bool
    failed: bool
    together: int
    test_double: bool
    origin: dict[str, str] = field(default_factory=dict)
    setup: float | None = None
    resumed: bool = False
    beside: tuple[str, ...] = ()

    def curve(self, mode: str, metric: str, axis: str) -> tuple[np.ndarray, np.ndarray]:
        """A figure along ``axis`` ("steps" or "seconds"), without evaluations that lack it."""
        y = self.figures[mode][metric]
        have = np.isfinite(y)
        return getattr(self, axis)[have], y[have]

    def has(self, metric: str) -> bool:
        """Whether any evaluation has the figure, in both modes."""
        return all(np.isfinite(self.figures[mode][metric]).any() for mode in names.MODES)


def read_run_dir(run_dir: Path) -> tuple[list[Run], list[str]]:
    """The runs of a run directory, and what is wrong with them.

    Raises:
      UserError: there is nothing to report of it.
    """
    config = _config(run_dir)
    if not (run_dir / names.EVALS).is_file():
        raise UserError(f"{run_dir} has no evaluations: {names.EVALS} is missing")
    result, problem = _result(run_dir)
    rows, bad = _rows(run_dir / names.EVALS, ended=bool(result))
    told = [f"{run_dir / names.EVALS}: {bad} damaged or empty row(s) left out."] if bad else []
    if not rows:
        raise UserError(f"{run_dir} has no evaluations: {names.EVALS} holds no sound row")
    told += [problem] if problem else []
    own: dict[tuple[Any, int], list[dict[str, Any]]] = {}
    for row in rows:
        own.setdefault((row.get("run"), row["seed"]), []).append(row)
    versions = _json(run_dir / names.VERSIONS) or {}
    width = result.get("side_by_side")  # a sweep's runs have a directory each
    together = width if type(width) is int else len(own)
    return [_run(run_dir, config, mine, result, versions, together) for mine in own.values()], told


def _config(run_dir: Path) -> dict[str, Any]:
    path = run_dir / names.CONFIG
    config = _json(path)
    if config is None:
        raise UserError(f"{path} is damaged")
    texts, total = (
        [config.get(k) for k in ("algorithm", "task", "preset")],
        config.get("total_steps"),
    )
    if not all(isinstance(text, str) for text in texts) or not isinstance(total, int):
        raise UserError(f"{path} is no configuration of lica_jax")
    return config


def _json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none that can be read."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _rows(path: Path, ended: bool) -> tuple[list[dict[str, Any]], int]:
    """Rows with a seed, a place and a figure, in order, and how many others there were."""
    try:
        rows, bad = sound_rows(path, ended)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    sound = [
        row
        for row in rows
        if isinstance(row.get("run"), int | None)
        and all(0 <= number(row.get(k)) < np.inf for k in ("env_steps", "seconds"))
        and all(
            np.isfinite(number(row.get(prefix + key)))
            for prefix in names.MODES.values()
            for key in ("return_mean", "episodes")
        )
    ]
    by_place = {(row.get("run"), row["seed"], row["env_steps"]): row for row in sound}
    return sorted(by_place.values(), key=lambda row: row["env_steps"]), bad + len(rows) - len(sound)


def exact(value: Any) -> str:
    """A setting's value as a text that equal values have and no others; 1 and 1.0 are equal."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True, default=str)


def number(value: Any) -> float:
    """A number as it is, anything else as NaN."""
    try:
        plain = isinstance(value, int | float) and type(value) is not bool
        return float(value) if plain else np.nan
    except OverflowError:  # of hundreds of digits
        return np.nan


def _result(run_dir: Path) -> tuple[dict[str, Any], str]:
    path = run_dir / names.RESULT
    result = _json(path)
    if result is None and path.exists():
        return {}, f"{path} is damaged; what a run says at its end is left out."
    return result or {}, ""


def _run(
    run_dir: Path, config: dict[str, Any], rows: list[dict[str, Any]], result: dict[str, Any],
    versions: dict[str, Any], together: int,
) -> Run:  # fmt: skip
    """One run of a directory from its rows."""
    seed, row = rows[0]["seed"], rows[-1]
    place = _place(result, seed, row.get("run"))
    swept = {key: value for key, value in row.items() if key.startswith("hp.")}
    settings = {
        name: value
        for name, value in (dict(leaves(config)) | swept).items()
        if name not in UNCOUNTED and not name.startswith(UNCOUNTED_GROUPS)
    }
    total, steps = config["total_steps"], np.array([r["env_steps"] for r in rows], float)
    # A result stays there while a run goes on behind its end; until the next one it says nothing.
    told = {} if number(_at(result, "env_steps", place)) < steps[-1] else result
    status, ended, failed = _status(told, place, total)
    setup = rows[0]["seconds"] if rows[0]["env_steps"] == 0 else None
    return Run(
        path=run_dir, algorithm=config["algorithm"], task=config["task"], preset=config["preset"],
        seed=seed, settings=settings, total_steps=total, steps=steps,
        seconds=np.array([r["seconds"] for r in rows], float) - (setup or 0.0),
        figures=_figures(rows),
        last=_entry(told, "final", place), best=_entry(told, "best", place),
        random=result["random"] if isinstance(result.get("random"), dict) else {},
        status=status, ended=ended, failed=failed, together=together,
        test_double=bool(row.get("test_double")),
        origin=_made_with(versions, result) | _scale(settings, result),
        setup=setup, resumed=bool(versions.get("resumed")),
        beside=tuple(name for name in _names(versions.get("beside_preset")) if name in settings),
    )  # fmt: skip


def _names(value: Any) -> list[str]:
    return [x for x in value if isinstance(x, str)] if isinstance(value, list) else []


def _figures(rows: list[dict[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
    return {
        mode: {k: np.array([number(row.get(prefix + k)) for row in rows]) for k in FIGURES}
        for mode, prefix in names.MODES.items()
    }


def _place(result: dict[str, Any], seed: int, run: Any) -> int | None:
    """Which entry of the lists in a result is a run's."""
    if isinstance(run, int):
        return run
    seeds = result.get("seeds")
    return seeds.index(seed) if isinstance(seeds, list) and seed in seeds else None


def _at(result: dict[str, Any], name: str, place: int | None) -> Any:
    values = result.get(name)
    have = isinstance(values, list) and place is not None and place < len(values)
    return values[place] if have else None


def _entry(result: dict[str, Any], name: str, place: int | None) -> dict[str, dict[str, float]]:
    figures = _at(result, name, place)
    if not isinstance(figures, dict) or not all(
        isinstance(figures.get(m), dict) for m in names.MODES
    ):
        return {}
    found = {mode: {k: number(figures[mode].get(k)) for k in FIGURES} for mode in names.MODES}
    sound = all(np.isfinite([f["return_mean"], f["episodes"]]).all() for f in found.values())
    return found if sound else {}


def _status(result: dict[str, Any], place: int | None, total: int) -> tuple[str, bool, bool]:
    """In words, whether it ended, and whether that was a failure."""
    update = _at(result, "failed_at_update", place)
    if update is not None:
        return f"failed at update {update}", True, True
    if not result:
        return "still going or killed", False, False
    if result.get("interrupted") or number(_at(result, "env_steps", place)) < total:
        said = result.get("status")  # a sweep's runs say why
        if isinstance(stopped := result.get("stopped"), str):  # before its budget was spent
            return f"stopped by {stopped}", False, False
        return said if isinstance(said, str) and said != FINISHED else "interrupted", False, False
    return FINISHED, True, False


def _made_with(versions: dict[str, Any], result: dict[str, Any]) -> dict[str, str]:
    """What a run was made with, as far as runs should not differ in it."""
    packages = versions.get("packages")
    packages = packages if isinstance(packages, dict) else {}
    devices = versions.get("devices")
    devices = ", ".join(map(str, devices)) if isinstance(devices, list) else None
    found = {
        "lica_jax": packages.get("lica_jax"),
        "commit": versions.get("commit"),
        "jax": packages.get("jax"),
        "precision": versions.get("precision"),
        "machine": _joined(versions.get("cpu"), versions.get("cpu_count"), devices),
        "task source": result.get("task_source"),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _scale(settings: dict[str, Any], result: dict[str, Any]) -> dict[str, str]:
    """The reward scale, which settings say from the start; the result has that of a task whose
    algorithm has no such setting."""
    scale = settings.get("hp.reward_scale")
    scale = result.get("reward_scale") if scale is None else scale
    return {} if scale is None else {"reward scale": str(scale)}


def _joined(cpu: Any, cores: Any, devices: str | None) -> str | None:
    parts = [cpu and str(cpu), cores and f"{cores} cores", devices]
    return ", ".join(part for part in parts if part) or None
