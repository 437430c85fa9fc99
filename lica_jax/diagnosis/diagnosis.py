"""What a run's critic knows: played, measured against the simulator, and told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax.algorithms import algorithm_names
from lica_jax.config import TrainConfig
from lica_jax.diagnosis import climbing
from lica_jax.diagnosis.agreement import Figure
from lica_jax.diagnosis.curves import ends, read_curves
from lica_jax.diagnosis.measuring import Held, Tried, figures, measure
from lica_jax.diagnosis.picture import picture
from lica_jax.diagnosis.playing import Mind, Player
from lica_jax.engines.games import is_host_task
from lica_jax.errors import UserError
from lica_jax.files import as_path, make_folder, plain, write_whole
from lica_jax.policy import Policy, chosen_policies
from lica_jax.runs import directory
from lica_jax.runs.evaluating import fitting_task
from lica_jax.runs.words import whole_number
from lica_jax.training.evaluation import Tell, silent
from lica_jax.types import Task, TaskSpec

JSON, PNG = "diagnosis.json", "diagnosis.png"
LOW_CEILING = 0.5  # of the correlation: below it a figure says more of the rollouts
MOST = {"states": 100_000, "rollouts": 10_000, "gradient_steps": 10**9}
# Lambdas of the returns that a critic of joint actions is fitted to.
LAMBDAS = ("mixing_lambda", "td_lambda", "gae_lambda")
WORDS = {
    "explained_variance": "return explained by {value}",
    "effect_correlation": "effect of one agent's action: correlation with the truth",
    "effect_correlation_ceiling": "  the most that so many rollouts can show",
    "effect_rank_correlation": "  rank correlation within a moment",
    "held_out_correlation": "  correlation with G({lam:g}) - {value}, fresh episodes",
    "gradient_correlation": "{credit}: correlation with the true effects",
    "gradient_cosine": "  cosine within a moment",
    "gradient_rank_correlation": "  rank correlation within a moment",
    "climb_cosine": "what policies climb: cosine with the gradient of the return",
    "climb_ceiling": "  the most that so many env steps can show",
    "climb_cosine_beside_entropy": "  without the direction of the entropy",
    "climb_ceiling_beside_entropy": "    the most that so many env steps can show",
    "effect_std": "standard deviation of the true effects",
    "critic_effect_std": "  of the critic's",
    "return_std": "  of the return of one action at one moment",
}


@dataclass(frozen=True)
class Diagnosis:
    """The result of a diagnosis.

    Attributes:
      about: the policy, its critic, and the arguments of the diagnosis.
      figures: estimates with standard errors, by the names in `WORDS`.
      curves: what the run logged about its updates (`curves.read_curves`).
      tried, held: the data behind the figures.
      labels: names of the critic's value and credit, and lambda.
      notes: what a reader should know, one line each.
    """

    about: dict[str, Any]
    figures: dict[str, Figure]
    curves: dict[str, dict[str, Any]]
    tried: Tried
    held: Held
    labels: dict[str, Any]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """A short table."""
        a = self.about
        lines = [
            f"{a['algorithm']} on {a['task']}, seed {a['seed']}: {a['which']} policy of "
            f"{_steps(a['env_steps'])} env steps, critic of {_steps(a['critic_env_steps'])}",
            f"{a['states']} moments of {a['episodes']} episodes, {a['rollouts']} rollouts of "
            "every action; in units of scaled reward, +- standard error",
        ]
        if a["gradient_steps"]:
            lines.append(f"{_steps(a['gradient_steps'])} more env steps for what policies climb")
        rows = [(self.words(name), f) for name, f in self.figures.items()]
        width = max(len(text) for text, _ in rows)
        for text, f in rows:
            alone = "-" if not np.isfinite(f.value) else f"{f.value:.3f}"
            said = f.in_words if np.isfinite(f.error) else alone
            lines.append(f"  {text:{width}}  {said:<18} {f.count:>7,}")
        for curve in self.curves.values():
            first, last = ends(curve)
            lines.append(f"  {curve['metric'] + ', first to last tenth':{width}}  "
                         f"{first:.4g} to {last:.4g}")  # fmt: skip
        return "\n".join(lines + [f"note: {note}" for note in self.notes])

    def words(self, name: str) -> str:
        """The description of a figure."""
        return WORDS[name].format(**self.labels)

    def json(self) -> str:
        """Everything, as JSON."""
        figures = {
            name: f._asdict() | {"what": self.words(name).strip()}
            for name, f in self.figures.items()
        }
        out = {
            "about": self.about, "figures": figures, "notes": self.notes, "training": self.curves,
            "moments": _moments(self.tried),
        }  # fmt: skip
        return json.dumps(plain(out), allow_nan=False, indent=1) + "\n"

    def png(self) -> bytes:
        """The figure, as PNG."""
        return self.picture.file("png")

    @property
    def picture(self) -> Any:
        a = self.about
        title = f"{a['algorithm']} on {a['task']}, seed {a['seed']}, {a['which']} policy"
        return picture(title, self.tried, self.held, self.curves, self.figures, self.labels)

    def save(self, folder: str | Path) -> None:
        """Writes `JSON` and `PNG` into a folder; raises ``UserError`` if one exists already."""
        check_folder(folder)
        contents = self.json().encode(), self.png()
        for path, content in zip(files_in(folder), contents, strict=True):
            write_whole(path, content)


def diagnose(
    run_dir: str | Path, *, which: str = "last", states: int = 200, rollouts: int = 64,
    gradient_steps: int = 100_000, seed: int = 0, out: str | Path | None = None,
    tell: Tell = silent,
) -> Diagnosis:  # fmt: skip
    """Compares what a run's critic says about one agent's actions with rollouts of the simulator.

    Args:
      run_dir: directory of a finished run of an algorithm with a critic of joint actions.
      which: which policy plays: the "last" (default) or the "best" one. The critic is always that
        of the last update, and may not know the best policy.
      states: number of moments at which all available actions of one agent are tried.
      rollouts: number of rollouts of each action.
      gradient_steps: env steps from which to estimate the gradient that the policies climb and that
        of the return, for algorithms whose policies climb their critic; 0 leaves this out.
      seed: seed of the episodes and of the choice of moments.
      out: folder for `Diagnosis.save`; None writes nothing.
      tell: called with the number of rollouts made so far, and the total.

    Raises:
      UserError: there is no such run, its algorithm or task cannot be diagnosed, no critic was
        kept, a number is out of range, or there is too little memory.
    """
    states = whole_number("states", states, 2, MOST["states"])
    rollouts = whole_number("rollouts", rollouts, 4, MOST["rollouts"])
    gradient_steps = whole_number("gradient_steps", gradient_steps, 0, MOST["gradient_steps"])
    seed = whole_number("seed", seed, 0, 2**31 - 1)
    run_dir = as_path(run_dir, "the run directory")
    config, policy, task = _subject(run_dir, which)
    if out is not None:
        check_folder(out)
    insight, hp = policy.algo.insight, policy.hp
    lam = lambda_of(config.algo, task.spec, hp)
    scale = getattr(hp, "reward_scale", task.spec.reward_scale)  # its own, where runs differ in it
    climbed = 0 if insight.climb is None else gradient_steps
    player = Player(policy.algo, task, scale, bool(config.timeout_is_terminal))
    mind = Mind(policy.params, policy.critic.params, hp)
    tried, held = measure(
        player, mind, states=states, n_rollouts=rollouts,
        lam=lam, slopes=insight.credit.startswith("dQ"), seed=seed, tell=tell,
    )  # fmt: skip
    about = _about(policy, which) | {
        "critic_env_steps": policy.critic.env_steps, "states": len(tried.t), "rollouts": rollouts,
        "gradient_steps": climbed,
        "episodes": int(held.episode.max()) + 1, "sample_seed": seed, "lambda": lam,
    }  # fmt: skip
    labels = {"value": insight.value, "credit": insight.credit, "lam": lam}
    curves = read_curves(run_dir, policy.about)
    shown = figures(tried, held)
    if climbed:
        shown |= climbing.measure(player, mind, held, climbed, seed)
    notes = _notes(about, states, curves, shown["effect_correlation_ceiling"].value)
    found = Diagnosis(about, shown, curves, tried, held, labels, notes)
    if out is not None:
        found.save(out)
    return found


def lambda_of(config: Any, spec: TaskSpec, hp: Any) -> float:
    """Lambda of the returns that a critic is fitted to; 1 where its settings leave none in use."""
    groups = config.idle(spec, hp).values() if hasattr(config, "idle") else ()
    idle = {name for names in groups for name in names}
    used = (x for x in LAMBDAS if hasattr(hp, x) and f"hp.{x}" not in idle)
    return next((float(getattr(hp, x)) for x in used), 1.0)


def _subject(run_dir: Path, which: str) -> tuple[TrainConfig, Policy, Task]:
    """Who is asked, and on what; raises ``UserError`` where that cannot be."""
    if which not in ("last", "best"):
        raise UserError(f"which must be last or best, got {which!r}")
    if str(run_dir).startswith("zoo:"):
        raise UserError(
            f"{run_dir} is a policy without its run, which a diagnosis reads: make one with the "
            "command on its card (python -m lica_jax.zoo card "
            f"{str(run_dir).removeprefix('zoo:')})"
        )
    config = directory.read_config(run_dir)
    policy = chosen_policies(run_dir, which)[0]
    check_askable(policy)
    task = fitting_task(policy, None)
    if is_host_task(task):
        raise UserError(
            f"{task.spec.name} is played by the game, which cannot go back to a moment: diagnose a "
            "run on smax/"
        )
    if policy.critic is None:
        raise UserError(
            f"no critic was kept beside the policies in {run_dir} (older versions kept none, and "
            "large ones are not kept)"
        )
    return config, policy, task


def check_askable(policy: Policy) -> None:
    """Raises ``UserError`` where the algorithm has no critic of joint actions."""
    insight, name = policy.algo.insight, policy.about["algorithm"]
    if policy.spec.continuous:
        raise UserError(f"{policy.spec.name} has continuous actions, which cannot all be tried")
    if insight is None or insight.deviations is None:
        able = [x for x in ("lica", "lica_adv", "coma") if x in algorithm_names()]
        kind = policy.about["config"].get("advantage")
        said = f" with algo.advantage {kind}" if name == "lica_adv" else ""
        raise UserError(
            f"{name}{said} has no critic that says what one agent's actions are worth to the team; "
            f"{', '.join(able)} have one"
        )


def files_in(folder: str | Path) -> tuple[Path, Path]:
    """The files that a diagnosis is written to."""
    folder = as_path(folder, "the folder")
    return folder / JSON, folder / PNG


def check_folder(folder: str | Path) -> None:
    """Raises ``UserError`` where a file of a diagnosis is there already, or the folder cannot be
    written."""
    for path in files_in(folder):
        if path.exists():
            raise UserError(f"{path} is there already: choose another folder (--out)")
    make_folder(Path(folder), str(folder))


def _about(policy: Policy, which: str) -> dict[str, Any]:
    return {k: policy.about.get(k) for k in ("algorithm", "task", "seed", "env_steps")} | {
        "which": which
    }


def _notes(
    about: dict[str, Any], wanted: int, curves: dict[str, Any], ceiling: float
) -> tuple[str, ...]:
    notes = []
    if not ceiling >= LOW_CEILING:
        notes.append(
            f"too few rollouts to tell actions apart ({about['rollouts']} of each; the ceiling of "
            "the correlation is itself an estimate): take more"
        )
    if about["env_steps"] != about["critic_env_steps"]:
        notes.append("the critic is that of the run's last update, the policy is not")
    if about["states"] < wanted:
        notes.append(f"only {about['states']} moments had an agent with a choice")
    if "kl" not in curves:
        notes.append("the run wrote no KL (lica does with algo.actor_steps 2 or more)")
    return tuple(notes)


def _steps(steps: int | None) -> str:
    return "unknown" if steps is None else f"{steps:,}"


def _moments(tried: Tried) -> list[dict[str, Any]]:
    """Every moment that was tried, with its available actions."""
    out = []
    for s in range(len(tried.t)):
        there = np.flatnonzero(np.isfinite(tried.truth[s]))
        row = {
            "episode": tried.episode[s], "t": tried.t[s], "agent": tried.agent[s],
            "action": tried.action[s], "actions": there, "policy": tried.policy[s, there],
            "return": tried.truth[s, there], "return_error": tried.error[s, there],
            "critic": tried.critic[s, there],
        }  # fmt: skip
        out.append(row if tried.slope is None else row | {"slope": tried.slope[s, there]})
    return out
