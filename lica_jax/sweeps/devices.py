"""The devices that a wave is spread over."""

from __future__ import annotations

import contextlib

from lica_jax.errors import UserError
from lica_jax.machine import usable_cores
from lica_jax.sweeps.request import SweepConfig
from lica_jax.training.loop import RUNS


def count_devices(ask: SweepConfig) -> int:
    """How many devices a sweep uses; looks at the machine only where more than one is asked for.

    Raises:
      UserError: there are not so many.
    """
    if ask.devices == 1:
        return 1
    import jax

    if ask.devices == "auto":
        return _cores_as_devices(ask)
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


def _cores_as_devices(ask: SweepConfig) -> int:
    """The devices among which the width of waves is looked for: a CPU's cores, since one program
    keeps one core busy, where it is not too late to say so; of anything else one."""
    import jax

    apart = ask.launcher != "local" or jax.distributed.is_initialized()
    if apart or ask.wave != "auto" or ask.shard != RUNS:
        return 1
    _split_cpu(usable_cores())
    return len(jax.local_devices()) if jax.default_backend() == "cpu" else 1


def _split_cpu(devices: int) -> None:
    """Lets JAX show the CPU as several devices, where it is not too late."""
    import jax

    with contextlib.suppress(RuntimeError, ValueError):  # it has been used, or told already
        jax.config.update("jax_num_cpu_devices", devices)


def sharing(number: int, devices: int) -> int:
    """How many of so many devices share out a number of runs or environments evenly."""
    return max(d for d in range(1, devices + 1) if number % d == 0)


def use_no_device() -> None:
    """Keeps this process off the accelerator that its workers are going to need."""
    import jax

    with contextlib.suppress(RuntimeError, ValueError):  # it has been used already
        jax.config.update("jax_platforms", "cpu")


def advice(ask: SweepConfig, runs: int) -> str:
    """What to say where a CPU would stand idle: one run side by side with others fills one core,
    and widening a wave on one device changes nothing. "" where there is nothing to say."""
    if ask.devices not in (1, "auto") or ask.launcher != "local" or ask.wave == 1 or runs == 1:
        return ""
    import jax

    cores = usable_cores()
    if cores == 1 or jax.default_backend() != "cpu" or len(jax.local_devices()) > 1:
        return ""
    return (
        f"this CPU has {cores} cores: --devices {min(cores, runs)} shares the runs of a wave out "
        "to them (on two cores, 1.5 times as many runs per hour)"
    )
