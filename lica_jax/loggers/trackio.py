"""trackio: a local database, where trackio keeps all of them (``TRACKIO_DIR``)."""

from __future__ import annotations

import contextlib
import contextvars
import io
import os

from lica_jax.loggers.logger import PROJECT, Run


class Trackio:
    """A run of a project; a resumed one goes on under its name."""

    def __init__(self, run: Run):
        import trackio

        self._context = contextvars.Context()  # trackio ends the run before in the same one
        with contextlib.redirect_stdout(io.StringIO()):  # a run has a live line
            self._run = self._context.run(
                trackio.init, project=os.environ.get("TRACKIO_PROJECT", PROJECT),
                name=f"{run.group}-{run.name}", group=run.group, config=run.settings,
                resume="allow" if run.env_steps else "never", embed=False, auto_log_gpu=False,
                auto_log_cpu=False,
            )  # fmt: skip

    def write(self, values: dict[str, float], step: int) -> None:
        self._context.run(self._run.log, values, step=step)

    def close(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self._context.run(self._run.finish)


open_writer = Trackio
