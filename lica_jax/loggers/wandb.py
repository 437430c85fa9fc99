"""Weights & Biases: ``logs/wandb``, offline unless ``WANDB_MODE`` says otherwise."""

from __future__ import annotations

import hashlib
import os

from lica_jax.loggers.logger import PROJECT, Run


class Wandb:
    """A run in a folder that ``wandb sync`` uploads; a resumed one keeps its id."""

    def __init__(self, run: Run):
        import wandb

        place = hashlib.sha256(str(run.folder.resolve()).encode()).hexdigest()[:12]
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT), group=run.group, name=run.name,
            id=f"{place}-{run.name}", resume="allow" if run.env_steps else None,
            dir=str(run.folder), config=run.settings, reinit="create_new",
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(silent=True, console="off"),
        )  # fmt: skip

    def write(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


open_writer = Wandb
