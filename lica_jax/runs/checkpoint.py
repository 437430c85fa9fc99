"""Checkpoints of whole runs: asynchronous, atomic, the latest few and the best (orbax)."""

from __future__ import annotations

import contextlib
import json
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from lica_jax.errors import TrainingFailed, UserError, first_line

FORMAT = "lica_jax checkpoint 2"
# Orbax numbers the saves of a process in one row, and loses its way where runs in several threads
# save at once: whoever is about to use it waits until what another has begun is written.
_TURN = threading.RLock()
_begun: list[Checkpointer] = []  # whose save may still be going on, at most one


class Checkpointer:
    """Saves and restores one run's state in ``directory``.

    A checkpoint is a tree of arrays (parameters, optimiser and target state, environments, keys)
    and a JSON object (counters of the host). A save that is interrupted, by whatever, leaves no
    checkpoint behind: orbax writes into a temporary folder and renames it.
    """

    def __init__(self, directory: Path, keep: int = 2):
        import orbax.checkpoint as ocp
        from orbax.checkpoint.checkpoint_managers import preservation_policy as policies

        self._ocp = ocp
        self._damaged: list[int] = []  # newer than the one that was restored
        self._failed: Exception | None = None  # what became of a save while another run waited
        self._directory = directory.resolve()
        best = policies.BestN(
            n=1, get_metric_fn=lambda m: m["score"], keep_checkpoints_without_metrics=False
        )
        with self._turn():
            self._manager = ocp.CheckpointManager(
                self._directory,
                item_names=("arrays", "host"),
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=policies.AnyPreservationPolicy(
                        [policies.LatestN(keep), best]
                    ),
                    enable_async_checkpointing=True,
                    create=jax.process_count() == 1,
                    **self._alone(),
                ),
            )

    def _alone(self) -> dict[str, Any]:
        """Options where there are several processes: a run is one's own, whoever else there is."""
        if jax.process_count() == 1:
            return {}
        self._directory.mkdir(parents=True, exist_ok=True)
        own = jax.process_index()
        options = self._ocp.options.MultiprocessingOptions(
            primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process{own}"
        )
        return {"multiprocessing_options": options}

    def save(self, step: int, arrays: PyTree, host: dict[str, Any], score: float | None) -> None:
        """Starts saving; returns once the arrays are copied. ``step`` counts updates.

        Raises:
          TrainingFailed: this one or the one before it could not be written.
        """
        if step in self._manager.all_steps() and step not in self._damaged:
            return
        data = _of_this_process(storable(arrays))
        process = {"prng": prng_name(), "x64": bool(jax.config.jax_enable_x64)}
        host = {**host, "format": FORMAT, **process, "digests": digests(data)}
        with self._writing():
            for bad in self._damaged:
                self._manager.delete(bad)
            self._damaged = []
            _begun[:] = [self]
            self._manager.save(
                step,
                args=self._ocp.args.Composite(
                    arrays=self._ocp.args.StandardSave(data),
                    host=self._ocp.args.JsonSave({**host, "digest": json_digest(host)}),
                ),
                metrics=None if score is None else {"score": score},
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Whatever keeps a checkpoint from being written, in one line."""
        try:
            with self._turn():
                if self._failed is not None:
                    raise self._failed
                yield
        except Exception as error:
            raise TrainingFailed(
                f"no checkpoint can be written to {self._directory}: {first_line(error)[:200]}"
            ) from error

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """While no other run in this process uses orbax."""
        with _TURN:
            if _begun and _begun[0] is not self:
                _begun.pop()._finish()
            yield

    def _finish(self) -> None:
        """Waits for what is being written; a failure is told when this run asks for it."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            self._failed = error

    def restore(self, like: PyTree) -> tuple[PyTree, dict[str, Any], str]:
        """The newest sound checkpoint as ``(arrays, host, what was wrong with newer ones)``;
        ``like`` gives shapes and types.

        Raises:
          UserError: there is none that is sound, or it belongs to another configuration.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        if not steps:
            raise UserError(f"no complete checkpoint in {self._directory}: nothing to resume from")
        problems: list[Damaged] = []
        for step in steps:
            try:
                arrays, host = self._restore(step, like)
            except Damaged as error:
                problems.append(error)
                continue
            self._damaged = steps[: len(problems)]
            told = "; ".join(str(problem) for problem in problems)
            return arrays, host, told and f"{told}; going on from checkpoint {step}"
        raise problems[0]

    def _restore(self, step: int, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
        where = self._directory / str(step)
        host = self._read(where, step, host=self._ocp.args.JsonRestore())
        digest = host.pop("digest", None) if isinstance(host, dict) else None
        # Checkpoints of before have none of the three.
        checked = digest is not None or (isinstance(host, dict) and {"prng", "digests"} & set(host))
        if checked and digest != json_digest(host):
            raise Damaged(f"checkpoint {where} is damaged: its counters are not what was written")
        if not isinstance(host, dict) or host.get("format") != FORMAT:
            name = str(host.get("format")) if isinstance(host, dict) else ""
            if name.startswith("lica_jax checkpoint"):
                raise UserError(
                    f"{where} was written by another version of lica_jax, as {name!r}; this one "
                    f"reads {FORMAT!r} only. Resume it with the version that began it"
                )
            raise UserError(f"{where} is not a lica_jax checkpoint")
        prng, x64, stored = (host.pop(key, None) for key in ("prng", "x64", "digests"))
        del host["format"]
        if prng not in (None, prng_name()):
            raise UserError(
                f"{where} was written with JAX's random numbers of kind {prng!r}, and this process "
                f"draws {prng_name()!r}: set JAX_DEFAULT_PRNG_IMPL={prng} to go on"
            )
        if x64 not in (None, bool(jax.config.jax_enable_x64)):
            raise UserError(
                f"{where} was written {'with' if x64 else 'without'} JAX's double precision: set "
                f"JAX_ENABLE_X64={int(x64)} to go on"
            )
        raw = jax.eval_shape(storable, like)
        if stored is not None:
            _check_layout(where, set(stored), set(_paths(raw)))
        # Read into host memory: orbax would have arrays on the devices that they were saved from,
        # of which a run that goes on elsewhere has none, or only some.
        host_arrays = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), raw)
        arrays = self._read(where, step, arrays=self._ocp.args.StandardRestore(host_arrays))
        leaves = jax.tree_util.tree_leaves_with_path(arrays)
        for (path, got), want in zip(leaves, jax.tree.leaves(raw), strict=True):
            if got.shape != want.shape or got.dtype != want.dtype:
                raise UserError(
                    f"{where} belongs to another configuration: {jax.tree_util.keystr(path)} is "
                    f"{got.shape} {got.dtype}, expected {want.shape} {want.dtype}"
                )
        if stored is not None and stored != digests(arrays):
            raise Damaged(f"checkpoint {where} is damaged: an array is not what was written")
        flat, structure = jax.tree.flatten(arrays)
        del arrays, leaves
        _put_where_used(flat)
        return as_they_were(jax.tree.unflatten(structure, flat), like), host

    def _read(self, where: Path, step: int, **item: Any) -> Any:
        """One part of a checkpoint; raises `Damaged`."""
        try:
            with self._turn():
                found = self._manager.restore(step, args=self._ocp.args.Composite(**item))
            return found[next(iter(item))]
        except Exception as error:
            raise Damaged(damaged(where, error)) from None

    def wait(self) -> None:
        """Waits for what is being written; raises ``TrainingFailed`` where it cannot be."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        with self._writing():
            _begun[:] = [other for other in _begun if other is not self]
            self._manager.close()


class Damaged(UserError):
    """A checkpoint that cannot be read, or is not what was written."""


def _of_this_process(tree: PyTree) -> PyTree:
    """Arrays as orbax takes them where there are several processes: it would have arrays on devices
    belong to all of them."""
    return tree if jax.process_count() == 1 else jax.device_get(tree)


def _put_where_used(arrays: list[Any]) -> None:
    """Host arrays to the only device, one after the other, so that they are not there twice; where
    there are several they are left to the programs that share them out."""
    if jax.local_device_count() > 1:
        return
    for i, array in enumerate(arrays):
        arrays[i] = jnp.array(array)  # a copy: it will be donated


def _check_layout(where: Path, stored: set[str], wanted: set[str]) -> None:
    """Refuses a sound checkpoint of other arrays than those ``wanted``: of a state, of a task or a
    learner, that has changed since."""
    differences = (
        f"{what} {min(paths)}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
        for what, paths in (("it lacks", wanted - stored), ("it has", stored - wanted))
        if paths
    )
    if told := ", ".join(differences):
        raise UserError(
            f"{where} was written by another version of lica_jax, or of the task or algorithm, "
            f"whose state has other arrays ({told}): resume it with the version that began it, "
            "or begin a new run"
        )


def _paths(tree: PyTree) -> list[str]:
    return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def digests(tree: PyTree) -> dict[str, int]:
    """A checksum of every array, by its path; keys as data."""
    # Of the bytes, shape and type apart: those are compared with what is wanted.
    sums = [_crc(jax.device_get(x)) for x in jax.tree.leaves(tree)]
    return dict(zip(_paths(tree), sums, strict=True))


def _crc(x: np.ndarray) -> int:
    """Of an array's bytes, without a copy of them."""
    return zlib.crc32(np.ascontiguousarray(x).reshape(-1).view(np.uint8))


def json_digest(value: Any) -> int:
    """A checksum of what JSON makes of a value."""
    return zlib.crc32(json.dumps(json.loads(json.dumps(value)), sort_keys=True).encode())


def prng_name() -> str:
    """The kind of random numbers that this process draws: ``threefry2x32``, ``rbg``, ..."""
    return str(jax.random.key_impl(jax.random.key(0)))


def damaged(where: Path, error: Exception) -> str:
    return f"checkpoint {where} is damaged or of another configuration ({first_line(error)[:160]})"


def is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def keys_to_data(tree: PyTree) -> PyTree:
    """Typed PRNG keys as plain uint32 arrays, which every array format can hold."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def storable(tree: PyTree) -> PyTree:
    """Arrays as orbax takes them: `keys_to_data`, and one zero for an array without elements (the
    state of a task that has none), which it refuses."""

    def stored(x):
        return x if x.size else jnp.zeros(1, x.dtype)

    return jax.tree.map(stored, keys_to_data(tree))


def as_they_were(tree: PyTree, like: PyTree) -> PyTree:
    """The inverse of `storable`: keys and arrays without elements where ``like`` has them."""

    def restored(x, want):
        if is_key(want):
            return jax.random.wrap_key_data(x)
        return x if want.size else jnp.zeros(want.shape, want.dtype)

    return jax.tree.map(restored, tree, like)
