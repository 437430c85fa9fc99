"""What the trained figures of the paper show: measures, names of methods, form of drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from lica_jax.envs.names import plain_name
from lica_jax.reproduce.series import (
    Reading,
    Source,
    entropy,
    episode_length,
    mean_reward,
    win_rate,
)

# Section 4.2; a task's name goes with its options here, and without them on the axes.
DIFFICULTY = {
    "2s3z": "Easy", "1c3s5z": "Easy", "5m_vs_6m": "Hard", "2c_vs_64zg": "Hard",
    "MMM2": "Super Hard", "3s5z_vs_3s6z": "Super Hard",
}  # fmt: skip
ALGORITHMS = {"coma_fc": "COMA"}  # what the paper calls them, where it is not the name in capitals


@dataclass(frozen=True)
class Measure:
    """What is drawn along training.

    Attributes:
      name: in files.
      label: along the axis; ``unit`` follows in final scores.
      read: takes it from a run, or raises ``UserError`` with the reason why not.
      x: what it goes along, "env_steps" or "episodes".
      factor: what values are multiplied by in figures and tables; files have them as they are.
      digits: behind the point, in tables.
      most: of ``x`` that is shown; None for all.
    """

    name: str
    label: str
    read: Callable[[Source], Reading]
    x: Literal["env_steps", "episodes"] = "env_steps"
    factor: float = 1.0
    digits: int = 1
    most: float | None = None

    @property
    def words(self) -> str:
        """``win rate``: in a sentence."""
        return self.name.replace("_", " ")


WIN_RATE = Measure("win_rate", "test win rate (%)", win_rate, factor=100.0)
ENTROPY = Measure("entropy", "policy entropy (nats)", entropy, digits=3)
# "Agents are trained for 5000 episodes" (section 4.1); a budget in env steps has more short ones.
STEPS = Measure("episode_length", "steps per episode", episode_length, "episodes", most=5000)
REWARD = Measure("mean_reward", "mean reward", mean_reward, "episodes", digits=2, most=5000)


@dataclass(frozen=True)
class Experiment:
    """A figure of trained runs.

    Attributes:
      title: what it compares.
      section: of the paper.
      form: how the paper draws it: median and quartiles, mean and standard deviation, or one run
        of each.
      measures: of a task, one panel each.
      label: a run's method by its configuration, as the paper calls it.
      first: letter of the first panel.
      columns: of the sheet.
      notes: what differs from the paper, for every reader of the figure.
    """

    title: str
    section: str
    form: Literal["quartiles", "deviation", "single"]
    measures: Callable[[str], tuple[Measure, ...]]
    label: Callable[[dict[str, Any]], str]
    first: str = "a"
    columns: int = 3
    notes: tuple[str, ...] = ()


def algorithm_label(config: dict[str, Any]) -> str:
    """``LICA``, ``COMA``: the algorithm alone."""
    return ALGORITHMS.get(config["algorithm"], config["algorithm"].upper())


def entropy_label(config: dict[str, Any]) -> str:
    """``ξ = 0.11``, ``β = 0.17``, ``ξ = 0.05 (C_MLP)``: entropy term and critic, as in Figure 2."""
    symbol = "β" if config["algo"]["entropy_mode"] == "constant" else "ξ"
    critic = " (C_MLP)" if config["algo"]["critic"] == "mlp" else ""
    return f"{symbol} = {config['hp']['entropy_coef']:g}{critic}"


def component_label(config: dict[str, Any]) -> str:
    """What was taken out of LICA, as in Figure 6."""
    if config["algo"]["critic"] == "mlp":
        return f"LICA (C_MLP, ξ = {config['hp']['entropy_coef']:g})"
    sampled = config["algo"]["policy_input"] != "probs"
    return "LICA (Gumbel-Softmax)" if sampled else "LICA"


def _particles(task: str) -> tuple[Measure, ...]:
    return (STEPS,) if plain_name(task).endswith("predator_prey") else (REWARD,)


SMAX = "SMAX, not StarCraft II: win rates of the two are not comparable."
EXPERIMENTS = {
    "fig2": Experiment(
        "adaptive (ξ) and plain (β) entropy regularisation, mixing and MLP critic", "4.3.2",
        "single", lambda task: (ENTROPY, WIN_RATE), entropy_label, first="b", columns=2,
        notes=(SMAX,),
    ),
    "fig3": Experiment(
        "particle tasks, during training", "4.1", "deviation", _particles, algorithm_label,
        notes=("LICA's own settings on these tasks were never published: here they are ours.",),
    ),
    "fig4": Experiment(
        "StarCraft II's battles on SMAX", "4.2", "quartiles", lambda task: (WIN_RATE,),
        algorithm_label, notes=(SMAX,),
    ),
    "fig6": Experiment(
        "LICA's components", "4.3.2", "quartiles", lambda task: (WIN_RATE,), component_label,
        columns=1, notes=(SMAX,),
    ),
}  # fmt: skip


def panel_name(task: str) -> str:
    """``2s3z (Easy)``, ``Cooperative Navigation, n = 5``."""
    name = plain_name(task).rpartition("/")[2]
    if name in DIFFICULTY:
        return f"{name} ({DIFFICULTY[name]})"
    if name.startswith("cooperative_navigation"):
        return f"Cooperative Navigation, n = {name.rpartition('_n')[2] if '_n' in name[12:] else 3}"
    return {"predator_prey": "Predator-Prey"}.get(name, name)
