"""One wave: runs side by side in one session, then a folder for each of them."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from lica_jax.errors import Diverged, is_out_of_memory
from lica_jax.files import make_folder, write_json
from lica_jax.loggers import Logger
from lica_jax.machine import return_memory
from lica_jax.policy import CRITICS_BYTES, kept_critics, save_critic
from lica_jax.runs import directory
from lica_jax.runs.display import Display
from lica_jax.runs.export import export_policies, export_runs
from lica_jax.runs.names import LOGS
from lica_jax.runs.plan import Plan
from lica_jax.runs.rows import rows_by_run, write_rows
from lica_jax.runs.session import Session
from lica_jax.runs.summary import of_run
from lica_jax.sweeps.display import WaveDisplay
from lica_jax.sweeps.folder import DONE, Wave
from lica_jax.sweeps.halving import Score, return_name
from lica_jax.sweeps.settings import Setting
from lica_jax.sweeps.work import Work


class Outcome(NamedTuple):
    """How a wave ended, wherever that was.

    Attributes:
      interrupted: the signal that came while it was trained, or None. One that comes behind the
        last step of training, while policies are evaluated, ends the sweep but not the wave.
      too_large: it ran out of memory.
      whole: it came to the end of its rung.
    """

    interrupted: int | None = None
    too_large: bool = False
    whole: bool = False


def train_wave(
    plan: Plan, *, final: bool, display: Display, loggers: Sequence[Logger] = ()
) -> Session:  # fmt: skip
    """Trains a wave to the end of its budget, or until a signal; writes into its folder only, but
    for what ``loggers`` write."""
    session = Session(plan, display, loggers)
    # Every run's loss may become non-finite: that is a result of each of them.
    with contextlib.suppress(Diverged):
        session.run(final=final, export=False)  # every run has a folder of its own
    return session


def run_wave(work: Work, wave: Wave) -> Outcome:
    """Trains a wave to the end of its rung, or from where it was left; behind the last rung writes
    the folders of its runs. Nothing else in the sweep's folder is touched."""
    try:
        return _run_wave(work, wave)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return Outcome(too_large=True)
    finally:
        work.plans.let_go()
        gc.collect()  # a session's arrays, before the next wave makes its own
        return_memory()


def _run_wave(work: Work, wave: Wave) -> Outcome:
    path, last = work.folder.wave(wave), work.is_last(wave)
    if not directory.checkpoints(path):  # new, or killed before there was anything to keep
        shutil.rmtree(path, ignore_errors=True)
        make_folder(path, str(path))
    plan = work.plan(wave)
    head = f"wave {wave.name}, {len(wave.runs)} run{'s' * (len(wave.runs) > 1)}"
    display = WaveDisplay(
        work.style, plan.config.total_steps, len(plan.runs), head, partial(work.minute, wave),
        work.say,
    )  # fmt: skip
    session = train_wave(plan, final=last, display=display, loggers=_loggers(work, wave))
    if session.interrupted is not None:
        return Outcome(session.interrupted)
    if not last:  # what has failed goes on with nobody
        export_wave(work, wave, session, np.flatnonzero(~session.counters.alive).tolist())
        mark_done(session, work.objective)
        return Outcome(session.stop.number, whole=True)
    export_wave(work, wave, session, range(len(wave.runs)))
    if not work.ask.keep_checkpoints:
        shutil.rmtree(path, ignore_errors=True)
    return Outcome(session.stop.number, whole=True)


def _loggers(work: Work, wave: Wave) -> list[Logger]:
    """A logger of each kind; every run of the wave is one of its own in it, in every rung."""
    folder, names = work.folder, [work.folder.run(i).name for i in wave.runs]
    group = folder.path.resolve().name
    return [Logger(kind, folder.path / LOGS, group, names) for kind in work.ask.log]


def is_over(work: Work, wave: Wave) -> bool:
    """Whether nothing is left to do for a wave in its rung."""
    if work.is_last(wave):
        again = work.progress.again
        return all(work.folder.has(i) and i not in again for i in wave.runs)
    behind = len(work.progress.survivors) > wave.rung
    return behind or scores_of(work.folder.wave(wave)) is not None


def export_wave(
    work: Work, wave: Wave, session: Session, which: Sequence[int], status: str = ""
) -> None:
    """Writes the folders of some of a wave's runs; each appears whole, those there stay.

    Args:
      which: places in the wave.
      status: of runs that have not failed; by default that they are finished.
    """
    members, logs, labels = work.progress.members(wave.runs), session.logs, session.plan.labels
    metrics, evals = (rows_by_run(log.rows, labels) for log in (logs.metrics, logs.evals))
    for i in which:
        member, target = members[i], work.folder.run(members[i].run)
        if work.folder.has(member.run) and member.run not in work.progress.again:
            continue
        scratch = work.folder.path / f".{target.name}"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        rows = {directory.METRICS: metrics[i], directory.EVALS: evals[i]}
        _export_run(session, scratch, work.settings[member.setting], i, status, rows)
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)


def _export_run(
    session: Session, path: Path, setting: Setting, i: int, status: str, rows: dict[str, list]
) -> None:
    """The folder of one run, as `train` writes it, without checkpoints; ``rows``: by file."""
    plan, counters = session.plan, session.counters
    run = plan.runs[i]
    config = dataclasses.replace(setting.config, seeds=(run.seed,))
    own = dataclasses.replace(plan, config=config, runs=(run,), run_dir=path, resume=False)
    failed = counters.failed_at[i]
    summary = of_run(session.summary, session.host.random, i) | {
        "status": f"failed at update {failed}" if failed >= 0 else status or "finished",
        "side_by_side": len(plan.runs),
    }
    if session.done_before >= plan.config.total_steps:  # the budget was made smaller than that
        summary["ended_where_it_was"] = True
    directory.describe(path, config, session.spec)
    # Every command of the sweep: this process may be a worker, or the one that resumed it.
    shutil.copyfile(path.parent / directory.COMMANDS, path / directory.COMMANDS)
    for name, own_rows in rows.items():
        write_rows(path / name, own_rows)
    export_runs(own, session.spec, summary, rows[directory.EVALS])
    arrays = (session.best, session.algo.policy(session.state.learner), session.state.env_steps)
    best, last, steps = jax.tree.map(lambda x: x[i : i + 1], arrays)
    export_policies(own, session.spec, 0, best, last, steps)
    most = CRITICS_BYTES // len(plan.runs)  # of the wave together
    kept = kept_critics(session.algo, session.state.learner, {path.name: i}, most)
    for critic in kept.values():
        save_critic(path / directory.CRITIC, critic, config.algorithm, run.seed, int(steps[0]))


def restored(plan: Plan) -> Session:
    """A session that stands where a wave has ended, to export runs of it."""
    session = Session(dataclasses.replace(plan, resume=True), Display("none", 1))
    session.close()
    session.describe()
    return session


def mark_done(session: Session, objective: str) -> None:
    """Says in a wave's folder that it has come to the end of its rung, and how good its runs were
    at their last evaluation: the objective, and the return, which tells those apart that win
    nothing yet. None for those that failed."""
    names = (objective, return_name(objective))
    scores: list[Score | None] = []
    for i, rows in enumerate(rows_by_run(session.logs.evals.rows, session.plan.labels)):
        known = rows and session.counters.alive[i] and objective in rows[-1]
        scores.append(tuple(rows[-1][name] for name in names) if known else None)
    write_json(session.plan.run_dir / DONE, scores)


def scores_of(folder: Path) -> list[Score | None] | None:
    """What `mark_done` said; None where the wave has not come to its end."""
    path = folder / DONE
    if not path.is_file():
        return None
    return [None if score is None else tuple(score) for score in json.loads(path.read_text())]
