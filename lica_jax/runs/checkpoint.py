"""Checkpoints of whole runs: asynchronous, atomic, the latest few and the best (orbax)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from lica_jax.errors import UserError

FORMAT = "lica_jax checkpoint 2"


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
        self._directory = directory.resolve()
        best = policies.BestN(
            n=1, get_metric_fn=lambda m: m["score"], keep_checkpoints_without_metrics=False
        )
        self._manager = ocp.CheckpointManager(
            self._directory,
            item_names=("arrays", "host"),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
                enable_async_checkpointing=True,
                create=True,
            ),
        )

    def save(self, step: int, arrays: PyTree, host: dict[str, Any], score: float | None) -> None:
        """Starts saving; returns once the arrays are copied. ``step`` counts updates."""
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=self._ocp.args.Composite(
                arrays=self._ocp.args.StandardSave(keys_to_data(arrays)),
                host=self._ocp.args.JsonSave({"format": FORMAT, **host}),
            ),
            metrics=None if score is None else {"score": score},
        )

    def latest(self) -> int | None:
        """The newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def restore(self, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """The newest checkpoint as ``(arrays, host)``; ``like`` gives shapes and types.

        Raises:
          UserError: there is none, it is damaged, or it belongs to another configuration.
        """
        step = self.latest()
        if step is None:
            raise UserError(f"no complete checkpoint in {self._directory}: nothing to resume from")
        where = self._directory / str(step)
        raw = jax.eval_shape(keys_to_data, like)
        try:
            host = self._manager.restore(
                step, args=self._ocp.args.Composite(host=self._ocp.args.JsonRestore())
            )["host"]
        except Exception as error:
            raise UserError(damaged(where, error)) from None
        if not isinstance(host, dict) or host.get("format") != FORMAT:
            name = str(host.get("format")) if isinstance(host, dict) else ""
            if name.startswith("lica_jax checkpoint"):
                raise UserError(
                    f"{where} was written by another version of lica_jax, as {name!r}; this one "
                    f"reads {FORMAT!r} only. Resume it with the version that began it"
                )
            raise UserError(f"{where} is not a lica_jax checkpoint")
        try:
            arrays = self._manager.restore(
                step, args=self._ocp.args.Composite(arrays=self._ocp.args.StandardRestore(raw))
            )["arrays"]
        except Exception as error:
            raise UserError(damaged(where, error)) from None
        mismatch = [
            f"{jax.tree_util.keystr(path)} is {got.shape} {got.dtype}, "
            f"expected {want.shape} {want.dtype}"
            for (path, got), want in zip(
                jax.tree_util.tree_leaves_with_path(arrays), jax.tree.leaves(raw), strict=True
            )
            if got.shape != want.shape or got.dtype != want.dtype
        ]
        if mismatch:
            raise UserError(f"{where} belongs to another configuration: {mismatch[0]}")
        return data_to_keys(arrays, like), host

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def damaged(where: Path, error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return (
        f"checkpoint {where} is damaged or of another configuration ({lines[0][:160]}); "
        "remove that folder to go on from the one before it"
    )


def is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def keys_to_data(tree: PyTree) -> PyTree:
    """Typed PRNG keys as plain uint32 arrays, which every array format can hold."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def data_to_keys(tree: PyTree, like: PyTree) -> PyTree:
    """The inverse of ``keys_to_data``: keys where ``like`` has them."""

    def restore(x, want):
        return jax.random.wrap_key_data(x) if is_key(want) else x

    return jax.tree.map(restore, tree, like)
