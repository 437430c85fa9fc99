"""Opening a sweep: everything that can be refused is, before anything is written or compiled."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lica_jax.errors import UserError
from lica_jax.loggers import check_loggers
from lica_jax.sweeps.devices import count_devices, use_no_device
from lica_jax.sweeps.folder import Folder, Progress, extended
from lica_jax.sweeps.groups import Group, make_groups, objective_for
from lica_jax.sweeps.launchers import Launcher, find_launcher
from lica_jax.sweeps.plans import Plans
from lica_jax.sweeps.request import SweepConfig, merged, request, to_words
from lica_jax.sweeps.search import check_installed
from lica_jax.sweeps.settings import (
    Setting,
    base_config,
    ends_of_search,
    grid_values,
    make_settings,
    refuse,
)
from lica_jax.sweeps.widths import check_width
from lica_jax.sweeps.work import Work, numbered


class Opened(NamedTuple):
    """A sweep that can begin, or go on.

    Attributes:
      work: as it stands.
      groups: its settings by their programs; of a search that has drawn nothing yet, the preset's.
      launcher: what trains waves.
      skipped: what is to be said of settings that are left out; "" where none is.
    """

    work: Work
    groups: list[Group]
    launcher: Launcher
    skipped: str


def open_sweep(words: Mapping[str, Any], sweep_dir: Path, resume: bool | str) -> Opened:
    """A new sweep of these words; or that in the folder, with the words given again on top, or if
    ``resume`` is "auto" with these words and no others.

    Raises:
      UserError: bad input.
    """
    folder, progress = Folder(sweep_dir), Progress()
    if resume:
        old, progress = folder.read()
        ended = bool(folder.ended(progress))
        again = merged(to_words(old), words)
        if resume == "auto" and "algorithm" in words:  # plugins are known from the sweep as well
            again = {"plugins": list(old.plugins)} | words
        ask = extended(old, request(again), sweep_dir, ended)
        if base_config(old).total_steps != base_config(ask).total_steps:
            _change_budget(ask, folder, progress)
    else:
        ask = request(words)
        folder.check_new()
    ask = dataclasses.replace(ask, log=check_loggers(ask.log))
    launcher, elsewhere = find_launcher(ask.launcher), ask.launcher != "local"
    if elsewhere and ask.wave == "auto":
        raise UserError("say --wave N: what fits on the workers cannot be seen from here")
    if elsewhere:
        use_no_device()
    devices = 1 if elsewhere else count_devices(ask)  # before anything looks at the machine
    plans = Plans(devices, ask.shard, elsewhere)
    if ask.search:
        check_installed(ask.sampler)
        _check_search(ask)
    settings, skipped = _first_settings(ask, progress)
    work = Work(ask, folder, progress, settings, plans)
    if ask.halving and len(work.shares) == 1:
        raise UserError(
            f"halving {ask.halving} keeps one of {ask.halving} settings, and there "
            f"{'is 1' if (n := ask.trials or len(settings)) == 1 else f'are {n}'}: sweep more, or "
            "leave it out"
        )
    objective_for(ask, settings)
    groups = make_groups(settings or [_middle(ask)], plans)
    if elsewhere:
        _check_importable(groups)
    work.ask = ask = _with_plugins(ask, groups)
    for group in groups if ask.wave != "auto" else ():
        runs = (ask.trials or len(group.settings)) * len(ask.seeds)
        check_width(min(ask.wave, runs), group.memory, group.name or "this sweep")
    return Opened(work, groups, launcher, skipped)


def _with_plugins(ask: SweepConfig, groups: list[Group]) -> SweepConfig:
    """With the packages that algorithms and tasks come from, whoever imported them: another process
    must, too."""
    found = [p for group in groups for s in group.settings for p in s.config.plugins]
    plugins = dict.fromkeys([*ask.plugins, *(p for p in found if p != "__main__")])
    return dataclasses.replace(ask, plugins=tuple(plugins))


def _check_importable(groups: list[Group]) -> None:
    """Refuses to send to other processes what only this one's script has."""
    configs = [s.config for group in groups for s in group.settings]
    for config in configs:
        if "__main__" in config.plugins or config.task.startswith("__main__:"):
            raise UserError(
                f"{config.algorithm} or {config.task} is made in this script or notebook, which "
                "workers cannot import: put it into a module and name that with plugins=[...]"
            )


def _change_budget(ask: SweepConfig, folder: Folder, progress: Progress) -> None:
    """The budget is another one: what has ended goes on from its waves' checkpoints."""
    if ask.halving or ask.search:
        raise UserError("a search and a sweep with halving keep their total_steps: begin another")
    progress.again = sorted({*progress.again, *folder.ended(progress)})


def _first_settings(ask: SweepConfig, progress: Progress) -> tuple[list[Setting], str]:
    """All settings of a grid, and what to say of those skipped; of a search those drawn before."""
    if ask.search:
        return numbered(ask, progress.values), ""
    settings, refused = make_settings(ask, grid_values(ask))
    return settings, refuse(refused, ask.skip_invalid, len(settings))


def _middle(ask: SweepConfig) -> Setting:
    """The preset's own values: what a search is planned with before anything is drawn."""
    plain = dataclasses.replace(ask, search={}, trials=0)
    (setting,) = numbered(plain, [{}])
    return setting._replace(values=dict.fromkeys(ask.swept, "?"))


def _check_search(ask: SweepConfig) -> None:
    """Refuses a search that can draw what cannot be trained; each field by itself."""
    _, refused = make_settings(ask, ends_of_search(ask))
    if refused:
        told = "\n".join(f"  - {line}" for line in refused)
        raise UserError(f"the search may draw what cannot be trained:\n{told}")
