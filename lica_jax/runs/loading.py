"""Results of runs that were trained before, from their directories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from lica_jax.errors import UserError
from lica_jax.files import as_path, read_json
from lica_jax.policy import Policy, chosen_policies
from lica_jax.runs import directory, messages
from lica_jax.runs.callbacks import Row, StopAt
from lica_jax.runs.display import say_once
from lica_jax.runs.plan import Plan
from lica_jax.runs.result import Result
from lica_jax.runs.rows import completed, read_rows


def load_result(run_dir: str | Path, *, unfinished: bool = False) -> Result:
    """Loads the result of a run from its directory, as `train` returned it.

    Args:
      run_dir: the directory of a run that has come to its end.
      unfinished: also of one that was stopped, by Ctrl-C for example: with the policies and the
        rows of then. (One that was killed has no policies yet; `load_runs` reads its rows.)

    Raises:
      UserError: there is no such run, or it has not ended.
    """
    path = as_path(run_dir, "run_dir")
    config = directory.read_config(path)
    result = path / directory.RESULT
    summary = read_json(result) if result.is_file() else {}
    sound = isinstance(summary, dict) and "algorithm" in summary
    # The result of a shorter budget is there until the run comes to its end once more.
    ended = sound and (directory.status(path) == "finished" or _all_failed(summary))
    if not ended and not (sound and unfinished):
        raise UserError(
            f"{path} has not come to its end: {messages.resume(path)}; or, in Python, "
            "load_result(..., unfinished=True)"
        )
    kept = {"best": chosen_policies(path, "all-seeds")}
    if (path / directory.POLICY_LAST).is_file():
        kept["last"] = chosen_policies(path, "all-seeds-last")
    evals, metrics = (
        _until(completed(read_rows(path / name), evaluations=name == directory.EVALS), summary)
        for name in (directory.EVALS, directory.METRICS)
    )
    return Result(
        config=config, summary=summary, evaluations=evals, metrics=metrics, run_dir=path,
        interrupted=None, spec=kept["best"][0].spec, params=_stacked(kept["best"]),
        last_params=_stacked(kept["last"]) if "last" in kept else None,
        facts={
            which: [
                {k: p.about[k] for k in ("env_steps", "score") if k in p.about} for p in policies
            ]
            for which, policies in kept.items()
        },
    )  # fmt: skip


def _all_failed(summary: dict[str, Any]) -> bool:
    """Whether the loss of every run became non-finite."""
    failed = summary.get("failed_at_update") or [None]
    return all(update is not None for update in failed)


def _until(rows: list[Row], summary: dict[str, Any]) -> list[Row]:
    """The rows up to the end that a summary tells of: a run may have gone on since, and been
    killed."""
    ends = summary["env_steps"]
    word, names = ("run", range(len(ends))) if "runs" in summary else ("seed", summary["seeds"])
    end = dict(zip(names, ends, strict=True))
    return [row for row in rows if row["env_steps"] <= end.get(row[word], 0)]


def _stacked(policies: Sequence[Policy]) -> PyTree:
    """Parameters with a leading axis of policies."""
    return jax.tree.map(lambda *xs: np.stack(xs), *(policy.params for policy in policies))


def ended_before(plan: Plan, display: str, goals: Sequence[StopAt] = ()) -> Result | None:
    """The result of a run that is to be resumed but has nothing left to do, and says so; else None.

    That is one whose directory holds all that this plan would write: its budget is spent, or one of
    ``goals`` was reached. Training it once more would only touch its files, which it does where
    some of its policies are missing or damaged: they are written anew.
    """
    path = plan.run_dir
    if not plan.resume or directory.status(path) != "finished":
        return None
    if directory.read_config(path) != plan.config:
        return None
    stopped = read_json(path / directory.RESULT).get("stopped", "")
    if stopped and not any(stopped.startswith(goal.reason) for goal in goals):
        return None
    try:
        result = load_result(path)
        for which in ("best", "last"):  # of the best seed, which has files of its own
            chosen_policies(path, which)
    except UserError:
        return None
    if [len(result.facts.get(which, ())) for which in ("best", "last")] != [len(plan.runs)] * 2:
        return None
    say_once(display, f"{path} has come to its end already\n{_last_words(plan, result)}")
    return result


def _last_words(plan: Plan, result: Result) -> str:
    """What the run said when it ended."""
    told = result.summary
    last, best = told["final"], told["best"]
    done = zip(told["env_steps"], told["failed_at_update"], strict=True)
    steps = min(steps for steps, failed in done if failed is None)
    chosen = [figures["env_steps"] for figures in best]
    return messages.final(plan, result.spec, steps, last, best, told["random"], chosen)
