"""Names for the parts of a training program, which its instructions carry through compilation."""

from __future__ import annotations

from functools import partial

import jax

COLLECT, AGENTS, OPTIMISER = "part_collect", "part_agents", "part_optimiser"
# Each is a decorator and a context; it changes nothing but names.
collecting, unrolling, optimising = (
    partial(jax.named_scope, name) for name in (COLLECT, AGENTS, OPTIMISER)
)
