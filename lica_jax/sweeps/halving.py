"""Successive halving: the best settings go on, in narrower programs, from where they are.

Jamieson and Talwalkar 2016; budgets are B / eta^k.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from lica_jax.files import make_folder
from lica_jax.runs import directory
from lica_jax.runs.plan import Plan, stored_runs
from lica_jax.runs.rows import read_rows, rows_by_run, write_rows
from lica_jax.runs.saver import Arrays, Saver
from lica_jax.runs.session import fresh_arrays
from lica_jax.runs.state import Counters, HostState

HALVED = "stopped by halving"  # the status of a run whose setting was left behind
Score = tuple[float, ...]  # what settings are compared by, and then by what where it ties


def return_name(objective: str) -> str:
    """The return beside an objective, which tells apart those that win nothing yet."""
    return objective.replace("win_rate", "return_mean")


RUNGS = 2  # settings are left behind this often, at most: at 1/eta^2 and 1/eta of the budget


def budgets(settings: int, eta: int | None) -> list[float]:
    """The shares of the whole budget at which settings are compared; the last is 1."""
    if eta is None or settings < eta:
        return [1.0]
    rungs = min(RUNGS, int(math.log(settings, eta) + 1e-9))
    return [eta ** float(k - rungs) for k in range(rungs + 1)]


def budget_of(total_steps: int, share: float) -> int:
    """Env steps of a rung."""
    return max(1, math.ceil(total_steps * share))


def effort(settings: int, shares: Sequence[float], eta: int | None) -> float:
    """What all rungs together take, as a share of training all settings to their end."""
    left, spent, before = settings, 0.0, 0.0
    for share in shares:
        spent += left * (share - before)
        before, left = share, left_of(left, eta or 1)
    return spent / settings


def left_of(settings: int, eta: int) -> int:
    """How many go on behind a rung."""
    return max(1, settings // eta)


def survivors(scores: Mapping[int, Score], eta: int) -> list[int]:
    """The best 1/eta of the settings, at least one, in their order; ties go to the earlier."""
    ranking = sorted(scores, key=lambda setting: ([-x for x in scores[setting]], setting))
    return sorted(ranking[: left_of(len(scores), eta)])


def gather(sources: Sequence[tuple[Plan, Sequence[int]]], target: Plan) -> None:
    """Makes the folder of a wave from runs of others: rows of their arrays, and of their files.

    The folder appears whole. Numbers do not change: a run goes on exactly as it would have, but for
    the rounding of a program of another width.

    Args:
      sources: plans of waves that have come to the end of a rung, and which runs of each.
      target: the plan of the new wave; its runs are those, in this order.
    """
    folder = target.run_dir
    scratch = folder.with_name(f".{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    make_folder(scratch, str(scratch))
    parts, hosts = [], []
    rows: dict[str, list] = {directory.METRICS: [], directory.EVALS: []}
    labels = iter(target.labels)
    for plan, which in sources:
        saver = Saver(plan.run_dir, plan.config.checkpoint)
        arrays, host, _ = saver.restore(jax.eval_shape(partial(fresh_arrays, plan)))
        saver.close()
        index = jnp.array(which)
        parts.append(jax.tree.map(lambda x, i=index: x[i], arrays))
        hosts.append((host, [host.random[i] for i in which]))
        before = {name: rows_by_run(read_rows(plan.run_dir / name), plan.labels) for name in rows}
        for i in which:
            label = next(labels)
            for name, kept in rows.items():
                kept.extend(label | row for row in before[name][i])
    arrays: Arrays = jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)
    host = HostState(
        # Each run's share of the time of its wave.
        seconds=sum(h.seconds * len(own) / len(h.random) for h, own in hosts),
        next_eval=max(host.next_eval for host, _ in hosts),
        random=[figures for _, random in hosts for figures in random],
    )
    saver = Saver(scratch, target.config.checkpoint)
    saver.save(Counters.of(arrays.state).update, arrays, host, None)
    saver.close()
    for name, kept in rows.items():
        write_rows(scratch / name, sorted(kept, key=lambda row: row["update"]))
    directory.describe(scratch, target.config, target.task.spec, stored_runs(target))
    scratch.rename(folder)
