"""Where waves run: here one after another, as Ray tasks, or as Slurm jobs.

All three train a wave by `run_wave`; the driver only waits, and the folder tells what has ended.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lica_jax.errors import TrainingFailed, UserError
from lica_jax.sweeps.folder import Wave
from lica_jax.sweeps.wave import Outcome, run_wave
from lica_jax.sweeps.work import Work, open_work

RETRIES = 3  # of a wave whose worker was lost


Launcher = Callable[[Work, Sequence[Wave]], Iterator[tuple[Wave, Outcome]]]


def find_launcher(name: str) -> Launcher:
    """The launcher of that name; raises ``UserError`` where its package is missing."""
    kind, _, address = name.partition(":")
    if kind == "local" and address:
        raise UserError(f"--launcher local takes no address, got {name!r}")
    if kind == "ray":
        _need("ray", "ray")
        return lambda work, waves: _ray(work, waves, address or None)
    if kind == "slurm":
        _need("submitit", "slurm")
        _parameters(address or None)  # refuses what sbatch would not understand
        if address != "local" and shutil.which("srun") is None:
            raise UserError("--launcher slurm: no srun on this machine (slurm:local does without)")
        return lambda work, waves: _slurm(work, waves, address or None)
    return local


def _need(package: str, extra: str) -> None:
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise UserError(f"--launcher {extra} needs {package}: pip install 'lica_jax[{extra}]'")


def local(work: Work, waves: Sequence[Wave]) -> Iterator[tuple[Wave, Outcome]]:
    """Waves in this process, one after another; they share compiled programs."""
    for wave in waves:
        yield wave, run_wave(work, wave)


def train_in(sweep_dir: str, name: str) -> Outcome:
    """Trains the wave of that name in a process of its own; what a worker does."""
    from lica_jax.runs.compilation_cache import use_compilation_cache

    use_compilation_cache()
    work = open_work(Path(sweep_dir))
    (wave,) = (wave for wave in work.progress.waves if wave.name == name)
    return run_wave(work, wave)


def _ray(work: Work, waves: Sequence[Wave], address: str | None) -> Iterator[tuple[Wave, Outcome]]:
    """Waves as Ray tasks, a GPU each where the cluster has some; a lost worker's wave is taken up
    by another one from its checkpoint."""
    import ray

    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    gpus = 1 if ray.cluster_resources().get("GPU") else 0
    task = ray.remote(num_gpus=gpus, num_cpus=1, max_retries=RETRIES)(train_in)
    path = str(work.folder.path.resolve())
    under_way = {task.remote(path, wave.name): wave for wave in waves}
    try:
        while under_way:
            (done, *_), _ = ray.wait(list(under_way), num_returns=1)
            wave = under_way.pop(done)
            try:
                yield wave, ray.get(done)
            except ray.exceptions.RayError as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                raise TrainingFailed(f"wave {wave.name} failed in Ray: {lines[-1]}") from error
    finally:
        for left in under_way:
            ray.cancel(left, force=True)


def _slurm(
    work: Work, waves: Sequence[Wave], options: str | None
) -> Iterator[tuple[Wave, Outcome]]:
    """Waves as Slurm jobs; ``options``: "local" for processes of this machine, else parameters of
    sbatch as submitit names them: ``partition=gpu,gpus_per_node=1,time=600``."""
    import submitit

    folder = work.folder.path / "jobs"
    where = "local" if options == "local" else "slurm"
    executor: Any = submitit.AutoExecutor(folder=folder, cluster=where)
    executor.update_parameters(name="lica-jax-sweep", **_parameters(options))
    path = str(work.folder.path.resolve())
    jobs = {executor.submit(train_in, path, wave.name): wave for wave in waves}
    try:
        for job in submitit.helpers.as_completed(list(jobs)):
            try:
                yield jobs[job], job.result()
            except submitit.core.utils.UncompletedJobError as error:
                told = str(error).strip().splitlines() or ["for no known reason"]
                raise TrainingFailed(
                    f"wave {jobs[job].name} did not end: {told[-1]} (more in its files in jobs/)"
                ) from error
    finally:  # those left would train on beside a resumed sweep
        for job in jobs:
            if not job.done():
                job.cancel()


def _parameters(options: str | None) -> dict[str, Any]:
    """``partition=gpu,gpus_per_node=1`` as submitit's ``slurm_partition`` and so on."""
    out: dict[str, Any] = {}
    if options in (None, "local"):
        return {"timeout_min": 7 * 24 * 60}
    for part in options.split(","):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise UserError(f"--launcher slurm:{options}: {part!r} is no NAME=VALUE")
        out[f"slurm_{name}"] = int(value) if value.isdigit() else value
    return out
