"""The devices that a wave is spread over."""

from __future__ import annotations

import contextlib

from lica_jax.errors import UserError
from lica_jax.machine import usable_cores
from lica_jax.sweeps.request import SweepConfig


def count_devices(ask: SweepConfig) -> int:
    """How many devices a sweep uses; looks at the machine only where more than one is asked for.

    Raises:
      UserError: there are not so many.
    """
    if ask.devices == 1:
        return 1
    import jax

    if ask.devices != "all":
        _split_cpu(ask.devices)
    there = len(jax.local_devices())
    if ask.devices == "all":
        return there
    if ask.devices > there:
        how = ""
        if jax.default_backend() == "cpu":
            how = (
                "; a CPU is one device unless JAX is told otherwise before it is first used: "
                f'jax.config.update("jax_num_cpu_devices", {ask.devices})'
            )
        raise UserError(f"devices: {ask.devices} asked for, {there} found{how}")
    return ask.devices


def _split_cpu(devices: int) -> None:
    """Lets JAX show the CPU as several devices, where it is not too late."""
    import jax

    with contextlib.suppress(RuntimeError, ValueError):  # it has been used, or told already
        jax.config.update("jax_num_cpu_devices", devices)


def use_no_device() -> None:
    """Keeps this process off the accelerator that its workers are going to need."""
    import jax

    with contextlib.suppress(RuntimeError, ValueError):  # it has been used already
        jax.config.update("jax_platforms", "cpu")


def advice(ask: SweepConfig, runs: int) -> str:
    """What to say where a CPU would stand idle: one run side by side with others fills one core,
    and widening a wave on one device changes nothing. "" where there is nothing to say."""
    if ask.devices != 1 or ask.launcher != "local" or ask.wave == 1 or runs == 1:
        return ""
    import jax

    cores = usable_cores()
    if cores == 1 or jax.default_backend() != "cpu" or len(jax.local_devices()) > 1:
        return ""
    return (
        f"this CPU has {cores} cores: --devices {min(cores, runs)} shares the runs of a wave out "
        "to them (on two cores, 1.5 times as many runs per hour)"
    )
