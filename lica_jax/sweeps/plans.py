"""Plans of waves, which share compiled programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax

from lica_jax.config import TrainConfig
from lica_jax.engines.games import is_host_task
from lica_jax.runs import directory
from lica_jax.runs.plan import Plan, Run, make_plan
from lica_jax.sweeps.devices import sharing
from lica_jax.sweeps.folder import Member
from lica_jax.sweeps.settings import Setting, program_key
from lica_jax.training.loop import RUNS

KEPT = 16  # plans, each with an engine: some widths of some groups


class Plans:
    """Plans of waves. Those of a group and width share an engine, hence its compiled programs.

    The last `KEPT` stay: a sweep over many settings that need programs of their own, of some 100 MB
    each, would fill the machine otherwise. Programs that are needed again come from the compilation
    cache.
    """

    def __init__(
        self, devices: int = 1, shard: str = RUNS, elsewhere: bool = False, kept: int = KEPT
    ):  # fmt: skip
        """``elsewhere``: other machines train, these plans are only looked at."""
        self.devices, self.elsewhere, self._shard = devices, elsewhere, shard
        self._kept, self._dropped = kept, False
        self._bases: dict[tuple[str, int], Plan] = {}  # the last one asked for is last

    def base(self, config: TrainConfig, width: int) -> Plan:
        """A plan of ``width`` runs whose seeds and numbers are to be replaced."""
        key = (program_key(config), width)
        if key in self._bases:
            self._bases[key] = self._bases.pop(key)
        else:
            seeds = dataclasses.replace(config, seeds=tuple(range(width)))
            shared = width if self._shard == RUNS else config.collect.envs
            self._bases[key] = make_plan(
                seeds, devices=sharing(shared, self.devices), shard=self._shard,
                elsewhere=self.elsewhere,
            )  # fmt: skip
        if len(self._bases) > self._kept:
            del self._bases[next(iter(self._bases))]
            self._dropped = True
        return self._bases[key]

    def plan(
        self, settings: Sequence[Setting], members: Sequence[Member], budget: int, folder: Path
    ) -> Plan:
        """The plan of a wave in a folder, which is resumed where it has been begun."""
        of = [settings[m.setting].config for m in members]
        runs = tuple(Run(m.seed, config.hp) for m, config in zip(members, of, strict=True))
        seeds = tuple(dict.fromkeys(m.seed for m in members))
        config = dataclasses.replace(of[0], seeds=seeds, total_steps=budget)
        resume = bool(directory.checkpoints(folder))
        base = self.base(of[0], len(members))
        called = tuple(_called(m, settings[m.setting]) for m in members)
        if is_host_task(base.task):  # games are opened and closed: an engine is used once
            own = make_plan(config, folder, resume=resume, runs=runs)
            return dataclasses.replace(own, called=called)
        return dataclasses.replace(
            base, config=config, runs=runs, run_dir=folder, resume=resume, called=called
        )

    def let_go(self) -> None:
        """What JAX itself keeps of the plans that did not stay; between waves."""
        if self._dropped:
            jax.clear_caches()
            self._dropped = False


def _called(member: Member, setting: Setting) -> str:
    """``run 7 (hp.entropy_coef 0.1, seed 3)``: by its number in the sweep."""
    values = "".join(f"{k} {v}, " for k, v in setting.values.items())
    return f"run {member.run} ({values}seed {member.seed})"
