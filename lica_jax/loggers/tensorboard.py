"""TensorBoard's event files, by tensorboardX: ``logs/tensorboard/<run>``."""

from __future__ import annotations

from typing import Any

from lica_jax.loggers.logger import Run

AT_ONCE = 50  # values, of some 80 bytes each, before the files' buffers of 8 KiB are full


class TensorBoard:
    """A folder of event files; one that is there already hides what is going to be written again,
    of a run that begins anew everything."""

    def __init__(self, run: Run):
        from tensorboardX import SummaryWriter

        folder = run.folder / "tensorboard" / run.name
        again = run.env_steps + 1 if folder.is_dir() else None
        self._writer: Any = SummaryWriter(str(folder), purge_step=again)
        if not run.env_steps:
            text = "\n".join(f"    {name}: {value}" for name, value in run.settings.items())
            self._writer.add_text("settings", text, 0)

    def write(self, values: dict[str, float], step: int) -> None:
        # A thread writes, and one that a full disk has ended takes nothing from its queue any more,
        # which would block for ever: what waits there stays below what the thread writes at once.
        for i, (name, value) in enumerate(values.items(), start=1):
            self._writer.add_scalar(name, value, step)
            if i % AT_ONCE == 0:
                self._writer.flush()
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


open_writer = TensorBoard
