"""Many runs by one request: a plan, waves of runs side by side, a table.

*Setting*: one assignment of the swept fields. *Run*: a setting with a seed. *Group*: the runs that
share every static field, hence one program. *Wave*: as many runs of a group as train side by side.
"""

from __future__ import annotations

from lica_jax.sweeps.api import sweep
from lica_jax.sweeps.request import SweepConfig
from lica_jax.sweeps.result import SweepResult

__all__ = ["SweepConfig", "SweepResult", "sweep"]
