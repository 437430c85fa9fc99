"""What a run's critic knows of its agents' actions, held against the simulator."""

from __future__ import annotations

from lica_jax.diagnosis.diagnosis import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
