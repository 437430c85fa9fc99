"""Imports JaxMARL without the lines it prints about its optional parts.

Something JaxMARL imports puts ``sys.stdout`` back, so the lines are caught at the file descriptor.
"""

from __future__ import annotations

import contextlib
import os
import sys

import jax


@contextlib.contextmanager
def _silent_stdout():
    try:
        sys.stdout.flush()
        kept = os.dup(1)
    except (OSError, ValueError, AttributeError):  # no stdout to silence
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
        sys.stdout.flush()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


# JaxMARL makes arrays while it is imported: inside a traced function they would be tracers, and in
# 64-bit mode of another type than its simulation's, for as long as the process lives.
with _silent_stdout(), jax.ensure_compile_time_eval(), jax.enable_x64(False):
    import jaxmarl  # noqa: F401
    from jaxmarl.environments.smax import HeuristicEnemySMAX  # noqa: F401
    from jaxmarl.environments.smax.distributions import (  # noqa: F401
        SurroundAndReflectPositionDistribution,
    )
    from jaxmarl.environments.smax.smax_env import Scenario as JaxMarlScenario  # noqa: F401
