"""A sweep over several hosts: every process trains waves of its own, process 0 decides and writes.

Processes share the sweep's folder and nothing else: no array crosses between them, so none waits
for another within a wave. `jax.distributed` says who is who, and ends all when one is lost.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lica_jax.errors import TrainingFailed, UserError
from lica_jax.files import make_folder, write_json
from lica_jax.sweeps.folder import ORDERS, Wave
from lica_jax.sweeps.wave import Outcome, run_wave
from lica_jax.sweeps.work import Work, open_work

POLL = 0.2  # seconds between two looks at it
APPEARS = 60.0  # seconds in which a file of one host must be seen by the others


def join(coordinator: str | None, processes: int | None, process: int | None) -> tuple[int, int]:
    """Joins the other processes; returns this one's number and how many there are.

    Args: as of `jax.distributed.initialize`; all None where a cluster's environment says them.

    Raises:
      UserError: it cannot.
    """
    import jax

    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (ValueError, RuntimeError) as error:
        lines = str(error).strip().splitlines()
        raise UserError(
            f"the processes cannot find each other: {lines[0] if lines else error}; outside Slurm, "
            "TPU pods and the like say --coordinator HOST:PORT --processes N --process I"
        ) from None
    return jax.process_index(), jax.process_count()


def announce(meeting: int) -> int:
    """Tells all processes what process 0 says: the number of the meeting, 0 that there is none."""
    import numpy as np
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.array(meeting, np.uint32)))


class Leader:
    """The launcher of process 0: shares waves out, trains its own part, waits for the others."""

    def __init__(self, sweep_dir: Path, processes: int, meeting: int):
        self._folder = sweep_dir / ORDERS / str(meeting)
        make_folder(self._folder, str(self._folder))
        self.processes, self._round = processes, 0

    def __call__(self, work: Work, waves: Sequence[Wave]) -> Iterator[tuple[Wave, Outcome]]:
        shares = {p: [w.name for w in waves[p :: self.processes]] for p in range(self.processes)}
        self._order({"waves": shares})
        for wave in waves[:: self.processes]:
            outcome = run_wave(work, wave)
            yield wave, outcome
            if outcome.interrupted is not None:
                break
        by_name = {wave.name: wave for wave in waves}
        for process in range(1, self.processes):
            answer = wait_for(self._folder / f"{self._round}-{process}.json")
            if "error" in answer:
                raise TrainingFailed(f"process {process}: {answer['error']}")
            for name, outcome in answer["outcomes"].items():
                yield by_name[name], Outcome(*outcome)

    def close(self) -> None:
        """Sends the others home, and waits until they have gone."""
        self._order({"stop": True})
        for process in range(1, self.processes):
            wait_for(self._folder / f"{self._round}-{process}.json")
        shutil.rmtree(self._folder.parent, ignore_errors=True)

    def _order(self, order: dict[str, Any]) -> None:
        self._round += 1
        write_json(self._folder / f"{self._round}.json", order)


def follow(sweep_dir: Path, process: int, meeting: int) -> int | None:
    """What every other process does: trains the waves it is asked to, until it is sent home.

    Returns the signal that stopped it, or None. Raises ``UserError`` where it does not see the
    folder of process 0.
    """
    folder, number, stopped = sweep_dir / ORDERS / str(meeting), 0, None
    work: Work | None = None
    _check_shared(folder, process)
    while True:
        number += 1
        order = wait_for(folder / f"{number}.json")
        answer: dict[str, Any] = {"outcomes": {}}
        try:
            work = _reopened(work, sweep_dir)
            for name in order["waves"][str(process)] if "waves" in order else ():
                (wave,) = (wave for wave in work.progress.waves if wave.name == name)
                outcome = run_wave(work, wave)
                answer["outcomes"][name] = list(outcome)
                if outcome.interrupted is not None:
                    stopped = outcome.interrupted
                    break
        except (UserError, TrainingFailed, OSError) as error:
            answer["error"] = str(error)
        write_json(folder / f"{number}-{process}.json", answer)
        if order.get("stop"):
            return stopped


def _reopened(work: Work | None, sweep_dir: Path) -> Work:
    """The sweep as it stands now, with the programs that are compiled already."""
    new = open_work(sweep_dir)
    return new if work is None else dataclasses.replace(new, plans=work.plans)


def wait_for(path: Path) -> dict[str, Any]:
    """What a file of another process says, once it is there."""
    while not path.is_file():
        time.sleep(POLL)
    return json.loads(path.read_text())


def _check_shared(folder: Path, process: int) -> None:
    end = time.monotonic() + APPEARS
    while not folder.is_dir():
        if time.monotonic() > end:
            raise UserError(
                f"process {process} does not see {folder}, which process 0 has made: the sweep "
                "directory must be on a file system that all hosts share"
            )
        time.sleep(POLL)
