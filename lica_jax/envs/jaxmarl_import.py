"""Imports JaxMARL without the lines it prints to stdout about its optional parts."""

from __future__ import annotations

import contextlib
import io

with contextlib.redirect_stdout(io.StringIO()):
    import jaxmarl  # noqa: F401
    from jaxmarl.environments.smax import HeuristicEnemySMAX  # noqa: F401
    from jaxmarl.environments.smax.smax_env import Scenario as JaxMarlScenario  # noqa: F401
