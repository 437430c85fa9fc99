"""Critics beside policies: what those who watch a policy ask what its actions are worth.

A policy acts without its critic, so the file of a policy has none. A run writes the critic of its
last update into a file of its own, for its best policy too: a critic of the time of every best
policy would have to be kept while training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from lica_jax.errors import UserError, visible
from lica_jax.policy.reading import read_header, read_params
from lica_jax.policy.writing import write_arrays
from lica_jax.types import Algorithm

FORMAT = "lica_jax critic 1"
CRITICS_BYTES = 64 * 2**20  # of a run's critics; some hypernetworks take gigabytes


class Critic(NamedTuple):
    """What `Insight.look` needs beside the policy.

    Attributes:
      params: of the critic.
      env_steps: when it was like this; None where nobody knows.
    """

    params: PyTree
    env_steps: int | None = None


def kept_critics(
    algo: Algorithm, learner: PyTree, runs: dict[str, int], most: int = CRITICS_BYTES
) -> dict[str, PyTree]:
    """The critics of some runs of a learner with a leading axis of runs, as far as they are kept.

    All of them up to ``most`` bytes together, else the first one up to as much, else none.

    Args:
      runs: which are wanted, by a name of their own.
    """
    if algo.insight is None:
        return {}
    critics = algo.insight.critic(learner)
    each = sum(x.nbytes // x.shape[0] for x in jax.tree.leaves(critics))
    wanted = list(runs.items())[: None if each * len(runs) <= most else 1]
    if each * len(wanted) > most:
        return {}
    return {name: jax.device_get(jax.tree.map(lambda x, i=i: x[i], critics)) for name, i in wanted}


def save_critic(
    path: Path, critic: PyTree, algorithm: str, seed: int, env_steps: int | None
) -> None:
    """Writes a critic; nothing where it has no parameters (a sum)."""
    if jax.tree.leaves(critic):
        facts = {"format": FORMAT, "algorithm": algorithm, "seed": seed, "env_steps": env_steps}
        write_arrays(path, critic, facts)


def critic_file(policy_file: Path) -> Path:
    """Where the critic of a run's policy file is: a best and a last policy share one."""
    name = policy_file.name.replace("policy_last", "policy").replace("policy", "critic", 1)
    if name == policy_file.name:  # it was renamed
        name = f"{policy_file.stem}.critic.safetensors"
    return policy_file.with_name(name)


def load_critic(policy_file: Path, algo: Algorithm, about: dict[str, Any]) -> Critic | None:
    """The critic beside a policy file; None where there is none.

    Args:
      algo, about: the policy's algorithm and facts.

    Raises:
      UserError: it is damaged or belongs to another policy.
    """
    if algo.insight is None:
        return None
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda key: algo.insight.critic(algo.init(key)), key)
    if not jax.tree.leaves(shapes):
        return Critic(shapes)
    path = critic_file(policy_file)
    if not path.is_file():
        return None
    try:
        facts, tensors = read_header(path, FORMAT, "critic")
        for name in ("algorithm", "seed"):
            if facts.get(name) != about.get(name):
                raise UserError(
                    f"its {name} is {facts.get(name)!r}, the policy's {about.get(name)!r}"
                )
        env_steps = facts.get("env_steps")
        params = read_params(path, tensors, shapes)
    except UserError as error:
        raise UserError(visible(f"{path} cannot be loaded: {error}")) from None
    return Critic(params, env_steps if type(env_steps) is int else None)
