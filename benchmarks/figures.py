"""What an env step of the runs behind the paper's figures costs on this machine.

    python benchmarks/figures.py fig3 --scale paper             every program of a figure
    python benchmarks/figures.py fig4 --scale cpu --only 2s3z   those with this in their name

Prints a JSON line for every program, timed behind compilation: env steps per second by the clock,
and per second of processor time. The second is what a machine that is shared with other work can
tell; `configs/figures/rates.yaml`, from which `lica-jax reproduce` takes its times, is made of it.
"""

from __future__ import annotations

import argparse
import json
import time

SECONDS = 2.0  # of processor time, at least


def timed(plan) -> dict[str, float]:
    """Rates of compiled calls behind the first."""
    import jax

    from lica_jax.runs.state import Counters

    def steps() -> int:
        return int(Counters.of(state).env_steps.sum())

    state = plan.engine.init(plan.keys)
    state, _ = plan.engine.chunk(state, plan.hparams, plan.iterations)
    before, clock, processor = steps(), time.perf_counter(), time.process_time()
    while time.process_time() - processor < SECONDS:
        state, metrics = plan.engine.chunk(state, plan.hparams, plan.iterations)
        jax.block_until_ready(metrics)
    done = steps() - before
    return {
        "steps_per_second": round(done / (time.perf_counter() - clock)),
        "steps_per_processor_second": round(done / (time.process_time() - processor)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("figure")
    parser.add_argument("--scale", default="cpu")
    parser.add_argument("--only", default="", help="part of an algorithm's and a task's name")
    args = parser.parse_args()

    import jax

    from lica_jax.reproduce.trained import settings_of
    from lica_jax.sweeps.plans import Plans
    from lica_jax.sweeps.settings import program_key

    _, settings = settings_of(args.figure, args.scale)
    device, seen = jax.devices()[0].device_kind, set()
    for setting in settings:
        config, key = setting.config, program_key(setting.config)
        if key in seen or args.only not in f"{config.algorithm} {config.task} {config.preset}":
            continue
        seen.add(key)
        start = time.process_time()
        row = {"algorithm": config.algorithm, "task": config.task, "preset": config.preset}
        row |= timed(Plans().base(config, 1))
        row |= {"processor_seconds": round(time.process_time() - start, 1), "device": device}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
