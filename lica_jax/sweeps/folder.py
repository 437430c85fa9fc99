"""The folder of a sweep: what is in it, and refusing to harm what is there already."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lica_jax.config.schema import settings
from lica_jax.errors import UserError
from lica_jax.files import make_folder, write_json, write_whole
from lica_jax.runs import directory
from lica_jax.runs.names import PLAN, SWEEP
from lica_jax.sweeps.request import RESUMABLE, SweepConfig, dump_request, read_request, request
from lica_jax.sweeps.settings import base_config

FORMAT = "lica_jax sweep 1"
RUNS, WAVES = "runs", "waves"
STUDY, TABLE, SUMMARY, FIGURE = "study.log", "results.csv", "summary.json", "sweep.png"
ORDERS = "orders"  # of process 0 to others
DONE = "done"  # in a wave's folder: it has come to the end of its rung


@dataclass(frozen=True)
class Member:
    """A run of the sweep: its number, its setting's number, its seed."""

    run: int
    setting: int
    seed: int


@dataclass(frozen=True)
class Wave:
    """Runs that are trained side by side.

    Attributes:
      name: of its folder.
      runs: numbers of its runs.
      rung: how many times settings have been left behind before.
    """

    name: str
    runs: tuple[int, ...]
    rung: int = 0


@dataclass
class Progress:
    """What ``plan.json`` holds beside the format: decisions, in the order in which they were made.

    Attributes:
      values: every setting's swept values.
      trials: of a search, their numbers in the study.
      runs: setting and seed of every run.
      waves: as they were planned; a wave that did not fit is replaced by its halves.
      widths: runs side by side that were measured to be fastest, by group.
      survivors: the settings that went on behind each rung.
      again: runs that have come to an end and go on, since the budget has grown.
      told: lines about what happened to waves.
    """

    values: list[dict[str, Any]] = field(default_factory=list)
    trials: list[int] = field(default_factory=list)
    runs: list[tuple[int, int]] = field(default_factory=list)
    waves: list[Wave] = field(default_factory=list)
    widths: dict[str, int] = field(default_factory=dict)
    survivors: list[list[int]] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def members(self, numbers: Sequence[int]) -> list[Member]:
        """The runs of these numbers."""
        return [Member(i, *self.runs[i]) for i in numbers]

    def next_wave(self, runs: Sequence[int], rung: int = 0) -> Wave:
        """A wave of these runs, added to the plan under a name of its own."""
        number = 1 + max((int(w.name.rpartition("-")[2]) for w in self.waves), default=-1)
        wave = Wave(f"{f'r{rung}-' if rung else ''}{number:03d}", tuple(runs), rung)
        self.waves.append(wave)
        return wave


class Folder:
    """Paths of a sweep, and its plan on disk."""

    def __init__(self, path: Path):
        self.path = path
        self._seen: tuple[bytes, ...] = ()  # what has been read of it

    def run(self, number: int) -> Path:
        return self.path / RUNS / f"{number:04d}"

    def wave(self, wave: Wave) -> Path:
        return self.path / WAVES / wave.name

    def has(self, number: int) -> bool:
        """Whether a run has come to its end, whatever that was: its folder appears whole."""
        return self.run(number).is_dir()

    def ended(self, progress: Progress) -> list[int]:
        """The runs that have come to their ends."""
        return [i for i in range(len(progress.runs)) if self.has(i)]

    def check_new(self) -> None:
        """Refuses a folder that holds anything; writes nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"sweep directory {self.path} is a file")
        if self.path.is_dir() and not self._never_began():
            if (self.path / SWEEP).is_file():
                raise UserError(
                    f"{self.path} already holds a sweep; go on with --resume (in Python "
                    "resume=True) or choose another --sweep-dir (sweep_dir)"
                )
            raise UserError(f"{self.path} is not empty; choose another --sweep-dir")

    def check_still(self) -> None:
        """Refuses what another process has made of the folder since `read` or, of a new sweep,
        `check_new`; for who has its lock."""
        if not self._seen:
            self.check_new()
        elif self._contents() != self._seen:
            raise UserError(
                f"{self.path} was written by another process meanwhile: --resume once more"
            )

    def _contents(self) -> tuple[bytes, ...]:
        """Of the files that say what is to be done."""
        paths = (self.path / SWEEP, self.path / PLAN)
        return tuple(path.read_bytes() if path.is_file() else b"" for path in paths)

    def has_begun(self) -> bool:
        """Whether there is something to go on with, or to refuse."""
        return self.path.is_dir() and not self._never_began()

    def _never_began(self) -> bool:
        """Whether there is nothing, or what a sweep writes before it says what was asked."""
        scratch = {f"{name}.tmp" for name in (PLAN, SWEEP)}
        names = {path.name for path in self.path.iterdir()}
        if not names <= {directory.LOCK, directory.COMMANDS, ORDERS, PLAN, RUNS, WAVES, *scratch}:
            return False
        folders = (self.path / name for name in (RUNS, WAVES))
        return not any(folder.is_dir() and any(folder.iterdir()) for folder in folders)

    def make(self) -> None:
        """Creates the folder."""
        make_folder(self.path, f"sweep directory {self.path}")

    def describe(self, ask: SweepConfig, progress: Progress) -> None:
        """Writes what was asked, by which command, and what has been decided."""
        for name in (RUNS, WAVES):
            make_folder(self.path / name, str(self.path / name))
        self.save(progress)
        directory.note_command(self.path)
        write_whole(self.path / SWEEP, dump_request(ask))

    def save(self, progress: Progress) -> None:
        write_json(self.path / PLAN, {"format": FORMAT} | dataclasses.asdict(progress))

    def read(self) -> tuple[SweepConfig, Progress]:
        """What was asked and decided; raises ``UserError`` where this is no sweep."""
        if not (self.path / SWEEP).is_file():
            raise UserError(f"{self.path} is not a sweep directory: it has no {SWEEP}")
        self._seen = self._contents()
        ask = request(read_request(self.path / SWEEP))
        path = self.path / PLAN
        try:
            stored = json.loads(self._seen[1])
            if not isinstance(stored, dict) or stored.pop("format", None) != FORMAT:
                raise UserError(
                    f"{path} was written by another version of lica_jax; this one reads {FORMAT!r}"
                )
            stored["runs"] = [(int(a), int(b)) for a, b in stored["runs"]]
            stored["waves"] = [
                Wave(**wave | {"runs": tuple(wave["runs"])}) for wave in stored["waves"]
            ]
            progress = Progress(**stored)
            _check_plan(progress)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path} is damaged: {error}") from None
        for run in map(self.run, range(len(progress.runs))):
            if run.exists() and not run.is_dir():
                raise UserError(f"{run} is a file in the place of a run's folder")
        return ask, progress


def _check_plan(progress: Progress) -> None:
    """Raises ``ValueError`` where a plan names what it does not have."""
    if not all(isinstance(values, dict) for values in progress.values):
        raise ValueError("values must be those of settings, by name")
    if not {setting for setting, _ in progress.runs} <= set(range(len(progress.values))):
        raise ValueError("a run is of a setting that is not there")
    runs = {*progress.again, *(i for wave in progress.waves for i in wave.runs)}
    if not runs <= set(range(len(progress.runs))):
        raise ValueError("a wave is of a run that is not there")
    if not all(re.fullmatch(r"(r\d+-)?\d{3,}", wave.name) for wave in progress.waves):
        raise ValueError("a wave has no name of a wave")


def extended(old: SweepConfig, new: SweepConfig, name: Path, ended: bool) -> SweepConfig:
    """The request that a sweep goes on with: ``new``, which is ``old`` but for what may change.

    Args:
      old: what the sweep was begun with.
      new: what is asked for now.
      name: of its folder, for messages.
      ended: whether a run has come to its end. Until then the budget may be any.

    Raises:
      UserError: something else differs, there are fewer seeds or trials, or a budget that runs
        which have ended cannot take.
    """
    changed = [
        f"{f.name}: {a} -> {b}"
        for f in dataclasses.fields(old)
        if f.name not in (*RESUMABLE, "settings")
        and (a := getattr(old, f.name)) != (b := getattr(new, f.name))
    ]
    # As configurations: a flag's text is the number that the file has.
    before, after = ({s.name: s.value for s in settings(base_config(ask))} for ask in (old, new))
    budget, longer = before.pop("total_steps"), after.pop("total_steps")
    changed += [
        f"{k}: {before[k]} -> {v}"
        for k, v in after.items()
        if k in before and before[k] != v  # another algorithm has other settings
    ]
    if changed:
        raise UserError(
            f"{name} holds another sweep:\n"
            + "\n".join(f"  - {line}" for line in changed)
            + f"\nonly total_steps and {', '.join(RESUMABLE)} may change on --resume"
        )
    if ended and longer < budget:
        raise UserError(
            f"{name} has runs that came to their end, {budget:,} env steps: --resume takes more, "
            "not fewer"
        )
    if missing := [s for s in old.seeds if s not in new.seeds]:
        raise UserError(f"{name} has seed {missing[0]} too: --resume takes more seeds, not fewer")
    if old.halving and (new.seeds, new.trials) != (old.seeds, old.trials):
        raise UserError(
            f"{name} compares settings by the seeds and trials it was begun with: halving takes no "
            "more of them"
        )
    if new.trials < old.trials:
        raise UserError(f"{name} has {old.trials} trials: --resume takes more, not fewer")
    if ended and budget != longer and not old.keep_checkpoints:
        raise UserError(
            f"{name} keeps no checkpoints of finished runs, so total_steps stays as it is; a sweep "
            "with --keep-checkpoints can be made longer"
        )
    return new
