"""From a run directory to an entry of the zoo, and from an entry to its figures again."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
from jaxtyping import PyTree

from lica_jax import api
from lica_jax.errors import UserError
from lica_jax.files import make_folder, read_json, write_json
from lica_jax.policy import Policy, chosen_policies
from lica_jax.policy.critics import critic_file, save_critic
from lica_jax.policy.writing import named_leaves, write_arrays
from lica_jax.runs import directory
from lica_jax.runs.names import MODES
from lica_jax.runs.rows import read_rows
from lica_jax.training.evaluation import Tell, silent
from lica_jax.zoo.catalog import FORMAT, MOST_BYTES, POLICIES, Card, check_name, digest, find_card

EPISODES, SEED = 512, 0  # of the figures on a card
KINDS = ("float32", "float16", "float8_e4m3fn")  # of numbers; the first that is small enough
PACKAGES = ("lica_jax", "jax", "jaxlib", "flax", "jaxmarl")  # that a card tells the versions of
# Flags of a command that are about its machine, with their values.
_LOCAL = ("--run-dir", "--sweep-dir", "--progress", "--devices")


def add(
    run_dir: Path, name: str, *, which: str = "best", overwrite: bool = False, note: str = "",
    folder: Path = POLICIES, episodes: int = EPISODES, tell: Tell = silent,
) -> Card:  # fmt: skip
    """Makes an entry from a run that has come to its end: its policy, evaluated as it is stored.

    Its critic comes along where it is small enough.

    Args:
      run_dir: of `train`, or of a run of a sweep.
      name: of the entry, ``lica/smax/2s3z``.
      which: the "best" policy of its best seed, or the "last" one of it.
      overwrite: an entry of that name may be replaced.
      note: a line for the card.
      folder: where to; by default the package itself.
      episodes: of the evaluation, per mode.
      tell: as of `evaluate`.

    Raises:
      UserError: no such run, one that goes on, a name that is taken, or a policy that is too large
        even with weights of 8 bits.
    """
    check_name(name)
    path = folder / f"{name}.safetensors"
    if path.exists() and not overwrite:
        raise UserError(f"the zoo has {name} already; say --overwrite to replace it")
    config = directory.read_config(run_dir)
    if (said := directory.status(run_dir)) != "finished":
        raise UserError(f"the run in {run_dir} is {said}: only finished ones come into the zoo")
    if which not in ("best", "last"):
        raise UserError(f"which must be best or last, got {which!r}")
    (policy,) = chosen_policies(run_dir, which)
    if policy.about.get("plugins"):
        raise UserError("policies of plugins belong to their packages")
    result = read_json(run_dir / directory.RESULT)
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "policy.safetensors"
        kind, critic = store(made, policy), store_critic(critic_file(made), policy)
        evaluation = figures(made, episodes, tell)
        i = config.seeds.index(policy.about["seed"])
        facts = {
            "format": FORMAT, "name": name, "algorithm": config.algorithm, "task": config.task,
            "task_source": evaluation.pop("task_source"), "preset": config.preset, "which": which,
            "seed": policy.about["seed"], "seeds": list(config.seeds),
            "env_steps": policy.about["env_steps"], "trained_env_steps": result["env_steps"][i],
            "commands": commands(run_dir), **_made_with(run_dir), "stored": kind,
            "bytes": made.stat().st_size, "sha256": digest(made), "evaluation": evaluation,
            "curve": curve(run_dir, policy.about["seed"]), "notes": [note] if note else [],
            **({"critic_stored": critic} if critic else {}),
        }  # fmt: skip
        make_folder(path.parent, str(path.parent))
        shutil.copyfile(made, path)
        critic_file(path).unlink(missing_ok=True)  # of the entry that is replaced
        if critic:
            shutil.copyfile(critic_file(made), critic_file(path))
    write_json(path.with_suffix(".json"), facts)
    return find_card(name, folder)


def store(path: Path, policy: Policy) -> str:
    """Writes a policy that is small enough for the zoo; returns how its numbers are stored."""
    for kind in KINDS:
        write_arrays(path, _as(policy.params, kind), policy.about)
        if path.stat().st_size <= MOST_BYTES:
            return kind
    raise UserError(
        f"the policy takes {path.stat().st_size:,} bytes with weights of 8 bits, and an entry of "
        f"the zoo may have {MOST_BYTES:,}"
    )


def store_critic(path: Path, policy: Policy) -> str:
    """Writes a policy's critic where it is small enough for the zoo, for replays; returns how its
    numbers are stored, "" where there is none or it is too large."""
    critic = None
    with contextlib.suppress(UserError):  # an older version's, of another layout
        critic = policy.critic
    for kind in KINDS if critic is not None and jax.tree.leaves(critic.params) else ():
        try:
            params = _as(critic.params, kind)
        except UserError:  # it has numbers beyond that precision's
            break
        about = policy.about
        save_critic(path, params, about["algorithm"], about["seed"], critic.env_steps)
        if path.stat().st_size <= MOST_BYTES:
            return kind
    path.unlink(missing_ok=True)
    return ""


def _as(params: PyTree, kind: str) -> PyTree:
    """Floating-point leaves in another precision; raises ``UserError`` where one is too large.

    Biases stay at 16 bits at least: they are few, and nothing averages their rounding out.
    """

    def stored(x):
        if x.dtype.kind != "f":
            return x
        narrow = kind == "float8_e4m3fn" and x.ndim < 2
        return np.asarray(x).astype(
            np.dtype("float16" if narrow else getattr(ml_dtypes, kind, kind))
        )

    out = jax.tree.map(stored, params)
    finite = {n: np.isfinite(x.astype("f4")) for n, x in named_leaves(out).items()}
    if odd := [name for name, there in finite.items() if not there.all()]:
        raise UserError(f"{odd[0]} has numbers that {kind} cannot hold")
    return out


def figures(policy: Path | str, episodes: int = EPISODES, tell: Tell = silent) -> dict[str, Any]:
    """What a card says of how a policy plays."""
    found = api.evaluate(policy, episodes=episodes, seed=SEED, tell=tell)
    played = {mode: found[mode] for mode in MODES}
    return played | {
        "episodes": found["greedy"]["episodes"], "seed": SEED, "task_source": found["task_source"]
    }  # fmt: skip


def differences(card: Card, again: dict[str, Any]) -> list[str]:
    """Where an evaluation lies outside the intervals on a card, a line each."""
    out = []
    for mode in MODES:
        before, now = card.facts["evaluation"][mode], again[mode]
        for key in ("win_rate", "return_mean"):
            if key not in before:
                continue
            low, high = before[f"{key}_ci95"]
            if not low <= now[key] <= high:
                out.append(f"{card.name}, {mode} {key}: {now[key]:.4g} is not in {[low, high]}")
    return out


def commands(run_dir: Path) -> list[str]:
    """What was typed, one line a start, without what is about the machine; Python types nothing."""
    path = run_dir / directory.COMMANDS
    lines = path.read_text().splitlines() if path.is_file() else []
    return list(dict.fromkeys(shlex.join(_without_places(shlex.split(line))) for line in lines))


def _without_places(words: list[str]) -> Iterable[str]:
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in _LOCAL:
            skip = True
        elif word.partition("=")[0] not in _LOCAL:
            yield word


def _made_with(run_dir: Path) -> dict[str, Any]:
    """Commit and versions, as the run itself wrote them down."""
    path = run_dir / directory.VERSIONS
    stored = read_json(path) if path.is_file() else {}  # of an early version
    packages = stored.get("packages", {})
    known = {name: packages[name] for name in PACKAGES if packages.get(name)}
    return {"commit": stored.get("commit") or "unknown", "versions": known}


def curve(run_dir: Path, seed: int) -> dict[str, list[float | None]]:
    """The run's periodic evaluations of that seed: win rates where something is won, else returns,
    by env steps."""
    rows = [row for row in read_rows(run_dir / directory.EVALS) if row["seed"] == seed]
    won = any("eval/win_rate" in row for row in rows)
    name = "win_rate" if won else "return_mean"
    out: dict[str, list[float | None]] = {"env_steps": [row["env_steps"] for row in rows]}
    for mode, prefix in MODES.items():
        values = [row.get(prefix + name) for row in rows]
        out[f"{mode} {name}"] = [None if v is None else float(f"{v:.4g}") for v in values]
    return out
