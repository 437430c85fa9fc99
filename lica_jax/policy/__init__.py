"""Trained policies: to play with, as files, and as files for programs without JAX."""

from __future__ import annotations

from lica_jax.policy.critics import CRITICS_BYTES, Critic, kept_critics, save_critic
from lica_jax.policy.policy import Policy
from lica_jax.policy.selection import WHICH, chosen_policies, load_policy
from lica_jax.policy.writing import header, origin, save_policy

__all__ = [
    "CRITICS_BYTES", "WHICH", "Critic", "Policy", "chosen_policies", "header", "kept_critics",
    "load_policy", "origin", "save_critic", "save_policy",
]  # fmt: skip
