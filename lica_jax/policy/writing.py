"""Policy files: safetensors with a JSON header, no pickle, no orbax."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from lica_jax.config.schema import TrainConfig
from lica_jax.envs.names import is_import_path
from lica_jax.files import plain, write_json, write_whole
from lica_jax.types import TaskSpec

FORMAT = "lica_jax policy 1"


def save_policy(
    path: Path,
    params: PyTree,
    *,
    algorithm: str,
    config: Any,
    hp: Any,
    spec: TaskSpec,
    **about: Any,
) -> None:
    """Writes ``path`` (safetensors, all facts in its header) and a readable ``.json`` beside it.

    Args:
      path: file name ending in ``.safetensors``.
      params: what the algorithm's ``act`` needs, unbatched.
      algorithm, config, hp, spec: what is needed to rebuild ``act``.
      about: further facts to keep: seed, env_steps, scores.
    """
    facts = header(algorithm, config, hp, spec, **about)
    write_arrays(path, params, facts)
    write_json(path.with_suffix(".json"), facts)


def write_arrays(path: Path, arrays: PyTree, facts: dict[str, Any]) -> None:
    """A safetensors file of a tree's leaves by their names, with ``facts`` in its header."""
    from safetensors.numpy import save

    # Not `ascontiguousarray`, which makes rows of single numbers.
    named = {name: np.asarray(x, order="C") for name, x in named_leaves(arrays).items()}
    write_whole(path, save(named, metadata={"lica_jax": json.dumps(plain(facts))}))


def header(algorithm: str, config: Any, hp: Any, spec: TaskSpec, **about: Any) -> dict[str, Any]:
    """Everything but the parameters that a policy needs to act, and facts about its making."""
    return {
        "format": FORMAT, "algorithm": algorithm, "task": spec.name,
        "config": dataclasses.asdict(config), "hp": dataclasses.asdict(hp),
        "spec": dataclasses.asdict(spec), **about,
    }  # fmt: skip


def origin(config: TrainConfig, spec: TaskSpec) -> dict[str, Any]:
    """Where a policy's task and code are found again."""
    # An object's own name may be anything; its import path leads back to it.
    task = config.task if is_import_path(config.task) else spec.name
    return {"task": task, "plugins": config.plugins}


def named_leaves(params: PyTree) -> dict[str, Any]:
    """Leaves by their path, such as ``params/fc1/kernel``."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(str(getattr(k, "key", k)) for k in path): x for path, x in leaves}
