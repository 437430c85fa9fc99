"""What is in the zoo: a policy file and a card for each entry, by name; reading cards needs no JAX.

``policies/lica/smax/2s3z.safetensors`` and ``.json`` are the entry ``lica/smax/2s3z``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lica_jax.errors import UserError, unknown
from lica_jax.files import read_json
from lica_jax.runs.names import MODES

PREFIX = "zoo:"
FORMAT = "lica_jax zoo 1"
POLICIES = Path(__file__).parent / "policies"
MOST_BYTES = 150_000  # of a policy's file
_NAME = re.compile(r"[a-z0-9_]+(/[A-Za-z0-9_.-]+)+")
# What every card says, and of which type; docs/zoo.md says what it means.
FACTS = {
    "format": str, "name": str, "algorithm": str, "task": str, "task_source": str, "preset": str,
    "which": str, "seed": int, "seeds": list, "env_steps": int, "trained_env_steps": int,
    "commands": list, "commit": str, "versions": dict, "stored": str, "bytes": int, "sha256": str,
    "evaluation": dict, "curve": dict, "notes": list,
}  # fmt: skip


@dataclass(frozen=True)
class Card:
    """An entry of the zoo.

    Attributes:
      name: ``lica/smax/2s3z``.
      path: of its policy.
      facts: what its card says (`FACTS`).
    """

    name: str
    path: Path
    facts: dict[str, Any]

    @property
    def line(self) -> str:
        """Its figures in a line."""
        figures = self.facts["evaluation"]
        said = [f"{mode} {_figure(figures[mode])}" for mode in MODES]
        return f"{'; '.join(said)}; {self.facts['env_steps']:,} env steps"

    @property
    def markdown(self) -> str:
        """The whole card, for a person."""
        facts, played = self.facts, self.facts["evaluation"]
        steps, trained = facts["env_steps"], facts["trained_env_steps"]
        of = ", ".join(map(str, facts["seeds"]))
        packages = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
        rows = [
            f"| {mode} | {_figure(played[mode])} | {_returns(played[mode])} |" for mode in MODES
        ]
        return "\n".join([
            f"# {self.name}", "",
            f"{facts['algorithm']} on {facts['task']} ({facts['task_source']}), preset "
            f"{facts['preset']}: the {facts['which']} policy of seed {facts['seed']} (trained: "
            f"seeds {of}) at {steps:,} of {trained:,} env steps.", "",
            f"{played['episodes']} episodes per mode, seed {played['seed']}, with 95 % intervals:",
            "", "| play | win rate or return | return |", "|---|---|---|", *rows, "",
            "```", *facts["commands"], "```", "",
            f"Commit {facts['commit']}; {packages}. {facts['bytes']:,} bytes, {facts['stored']}.",
            *(f"* {note}" for note in facts["notes"]),
        ])  # fmt: skip


def _figure(figures: dict[str, Any]) -> str:
    """``win rate 97.3 % [95.5, 98.4]``, or the return where nothing is won."""
    rate = figures.get("win_rate")
    if rate is None:
        return f"return {_returns(figures)}"
    low, high = figures["win_rate_ci95"]
    return f"win rate {100 * rate:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _returns(figures: dict[str, Any]) -> str:
    low, high = figures["return_mean_ci95"]
    return f"{figures['return_mean']:.3g} [{low:.3g}, {high:.3g}]"


def check_name(name: str) -> str:
    """A name that an entry may have; raises ``UserError`` of others."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise UserError(
            f"a policy of the zoo is called ALGORITHM/TASK, as lica/smax/2s3z, got {name!r}"
        )
    return name


def names(folder: Path = POLICIES) -> list[str]:
    """All entries."""
    found = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.json"))
    return sorted(path.as_posix() for path in found)


def cards(folder: Path = POLICIES) -> list[Card]:
    """All entries with their cards."""
    return [find_card(name, folder) for name in names(folder)]


def find_card(name: str, folder: Path = POLICIES) -> Card:
    """The entry of that name.

    Raises:
      UserError: there is none, or its card is damaged.
    """
    known = names(folder)
    if name not in known:
        raise unknown("policy of the zoo", name, known, "`lica-jax list zoo` shows all")
    path = folder / f"{name}.json"
    facts = read_json(path)
    kinds = facts if isinstance(facts, dict) else {}
    odd = [key for key, kind in FACTS.items() if type(kinds.get(key)) is not kind]
    if odd or facts["format"] != FORMAT or facts["name"] != name:
        raise UserError(f"{path} is damaged: its {', '.join(odd) or 'format or name'}")
    return Card(name, path.with_suffix(".safetensors"), facts)


def zoo_file(path: str | Path) -> Path:
    """Where a policy is: ``zoo:NAME`` is an entry's file, everything else a path as it is."""
    text = str(path)
    return find_card(text.removeprefix(PREFIX)).path if text.startswith(PREFIX) else Path(path)


def digest(path: Path) -> str:
    """A file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
