"""Playing trained policies: what is played, on what, and how they did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from lica_jax.engines.base import Engine
from lica_jax.engines.games import HostTask
from lica_jax.envs.names import is_import_path
from lica_jax.envs.registry import check_known_task, is_task, make_task
from lica_jax.errors import UserError
from lica_jax.files import make_folder
from lica_jax.policy import Policy, chosen_policies
from lica_jax.training.evaluation import EXPORTED, MODES, Tell, evaluation_keys, silent
from lica_jax.training.figures import over_seeds, with_intervals
from lica_jax.training.loop import stack_hparams
from lica_jax.types import Task, differing


def alike(policy: Policy | str | Path, which: str | None) -> list[Policy]:
    """What is evaluated; policies that are made alike."""
    if not isinstance(policy, Policy):
        policies = chosen_policies(policy, which)
    elif which is None:
        policies = [policy]
    else:
        raise UserError(f"which={which!r} chooses among the policies of a run directory")
    made = [{k: p.about[k] for k in ("algorithm", "config", "spec")} for p in policies]
    if any(facts != made[0] for facts in made):
        raise UserError(f"the policies in {policy} are not of one run: their settings differ")
    return policies


def fitting_task(policy: Policy, task: str | Task | HostTask | None) -> Task | HostTask:
    """The task that is played; raises ``UserError`` where the policy does not fit it."""
    task = policy.task if task is None else task
    target = task if is_task(task) else make_task(_known_task(task, policy))
    # An older version's name of an object does not say what it was made of.
    if task is None and is_import_path(policy.about["task"]) and target.spec != policy.spec:
        raise UserError(
            f"{policy.about['task']} leads to another task than this policy's, which was made with "
            f"other arguments or by older code ({target.spec.unlike(policy.spec)}): give the task "
            "itself, in Python with task=..."
        )
    check_sizes(policy, target)
    check_state(policy, target)
    return target


def play(
    engine: Engine, policies: list[Policy], seed: int, episodes: int, folder: Path | None,
    tell: Tell = silent,
) -> dict[str, Any]:  # fmt: skip
    """Plays all policies, in one program where the task is one, and says how they did; ``tell`` is
    called with the episodes played so far and those that will be."""
    out: dict[str, Any] = {"task_source": engine.open().source}
    params = jax.tree.map(lambda *xs: jnp.stack(xs), *(p.params for p in policies))
    keys = evaluation_keys((seed,) * len(policies), EXPORTED)
    if len(policies) > 1:  # episodes of their own: seeds are independent of each other
        keys = jax.vmap(jax.random.fold_in)(keys, jnp.arange(len(policies)))
    hp = stack_hparams([p.hp for p in policies])
    each = [
        {"policy": about} | {mode: with_intervals(figures[mode]) for mode in MODES}
        for about, figures in zip(
            _labels(policies), engine.evaluate(params, keys, hp, episodes, tell=tell), strict=True
        )
    ]
    if len(each) == 1:
        out |= each[0]
    else:
        out |= {"policies": each} | _together(each)
    out |= engine.losses()
    if folder is not None:
        out["replays"], problem = engine.save_replays(folder)
        out |= {"replays_missing": problem} if problem else {}
    return out


def _labels(policies: list[Policy]) -> list[dict[str, Any]]:
    """What tells policies apart: where they come from, and numbers in which they differ."""
    hps = [policy.about["hp"] for policy in policies]
    swept = [f"hp.{k}" for k in differing([policy.hp for policy in policies])]
    usual = ("algorithm", "task", "seed", "env_steps")
    return [
        {k: policy.about.get(k) for k in usual} | {k: hp[k.removeprefix("hp.")] for k in swept}
        for policy, hp in zip(policies, hps, strict=True)
    ]


def _together(each: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds; none where policies differ in hyper-parameters too."""
    facts = [one["policy"] for one in each]
    if any(key.startswith("hp.") for key in facts[0]):
        return {}
    about = facts[0] | {key: [fact[key] for fact in facts] for key in ("seed", "env_steps")}
    return {"policy": about} | {mode: over_seeds([one[mode] for one in each]) for mode in MODES}


def _known_task(name: str | None, policy: Policy) -> str:
    """``name``, or the policy's own task; raises ``UserError`` where only a plugin that is not
    loaded knows it."""
    name = policy.about["task"] if name is None else name
    check_known_task(name, policy.about.get("plugins", ()))
    return name


def empty_folder(folder: Path) -> Path:
    """Makes a folder for replays; raises ``UserError`` where there is something in it."""
    make_folder(folder, str(folder))
    if any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: choose another folder for the replays")
    return folder


def check_sizes(policy: Policy, target: Task | HostTask) -> None:
    """What the policy's networks were made for is what the task has."""
    for name in ("n_agents", "n_actions", "continuous", "obs_size"):
        have, need = getattr(policy.spec, name), getattr(target.spec, name)
        if have != need:
            raise UserError(
                f"this policy was trained on {policy.spec.name} ({name} {have}) and cannot play "
                f"{target.spec.name} ({name} {need}){_hint(policy.spec.name, target.spec.name)}"
            )
    if policy.plays_weights and not target.spec.weighs_actions:
        raise UserError(
            f"this policy plays weights of actions, as {policy.spec.name} takes them, and cannot "
            f"play {target.spec.name}, which takes an action's number"
        )


def check_state(policy: Policy, target: Task | HostTask) -> None:
    """Some policies carry a critic that takes the state; the others do not mind its size."""
    have, need = policy.spec.state_size, target.spec.state_size
    if have == need:
        return
    algo = policy.algo_for(target.spec)
    wanted = jax.eval_shape(lambda key: algo.policy(algo.init(key)), jax.random.key(0))
    if jax.tree.map(jnp.shape, policy.params) != jax.tree.map(jnp.shape, wanted):
        raise UserError(
            f"this policy was trained on {policy.spec.name} (state_size {have}), which its critic "
            f"takes, and cannot play {target.spec.name} (state_size {need})"
        )


def _hint(trained: str, target: str) -> str:
    """smax/ tasks take what was trained on smac/, in SMAC's layout."""
    both = {name.partition("/")[0] for name in (trained, target)} == {"smac", "smax"}
    return "; SMAX tasks have SMAC's sizes with layout=smac" if both else ""
