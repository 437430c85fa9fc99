"""A sweep of many runs takes no more memory and compiles no more than one of few."""

from __future__ import annotations

import gc
import time

import pytest

from tests.conftest import resident_memory
from tests.sweeps.conftest import WORDS

SETTLED = 5  # waves after which everything is there: programs, libraries, fonts
GROWTH = 64 * 2**20  # bytes in the waves behind those; rows of 500 runs among them


@pytest.mark.slow
def test_five_hundred_runs(tmp_path, programs):
    """Five settings with a hundred seeds in waves of 20, with all their files and pictures."""
    from lica_jax.sweeps.driver import Driver

    words = WORDS | {"total_steps": 320, "seeds": list(range(100)), "wave": 20}
    words |= {"eval": WORDS["eval"] | {"interval": 320}}
    words |= {"grid": {"hp.entropy_coef": [0.02, 0.05, 0.1, 0.2, 0.5]}}
    driver = Driver(words, tmp_path / "s", style="none")
    seen = []

    def watched(work, waves, local=driver.launcher):
        for wave, outcome in local(work, waves):
            yield wave, outcome
            gc.collect()
            seen.append((time.monotonic(), resident_memory(), len(programs)))

    driver.launcher = watched
    result = driver.run()
    assert [row["status"] for row in result.table] == ["finished"] * 500
    assert len(seen) == 25 and len({row["seed"] for row in result.table}) == 100
    seconds, memory, lowered = zip(*seen[SETTLED - 1 :], strict=True)
    runs = 20 * (len(seen) - SETTLED)
    print(
        f"{(seconds[-1] - seconds[0]) / runs:.2f} s a run; {memory[0] / 2**20:.0f} MiB behind wave "
        f"{SETTLED}, {memory[-1] / 2**20:.0f} MiB behind the last; programs lowered: {lowered[-1]}"
    )
    assert lowered[0] == lowered[-1] > 0
    assert memory[-1] - memory[0] < GROWTH
