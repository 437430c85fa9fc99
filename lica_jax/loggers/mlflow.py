"""MLflow: ``logs/mlflow.db``, unless ``MLFLOW_TRACKING_URI`` says where."""

from __future__ import annotations

import os
import time

from lica_jax.loggers.logger import PROJECT, Run

MOST_PARAMS = 100  # in one call
MOST_TEXT = 500  # characters of a parameter


class MLflow:
    """A run of the experiment of its group; a resumed one is found by its name."""

    def __init__(self, run: Run):
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric = Metric
        folder = run.folder.resolve()
        asked = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(asked or f"sqlite:///{folder / 'mlflow.db'}")
        artifacts = None if asked else (folder / "mlartifacts").as_uri()  # by default where we are
        experiment = self._experiment(f"{PROJECT}/{run.group}", artifacts)
        found = (
            self._client.search_runs(
                [experiment], f"attributes.run_name = '{run.name}'", max_results=1
            )
            if run.env_steps
            else []
        )
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        self._id = self._client.create_run(experiment, run_name=run.name).info.run_id
        params = [Param(name, str(value)[:MOST_TEXT]) for name, value in run.settings.items()]
        for i in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._id, params=params[i : i + MOST_PARAMS])

    def _experiment(self, name: str, artifacts: str | None) -> str:
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found else self._client.create_experiment(name, artifacts)

    def write(self, values: dict[str, float], step: int) -> None:
        now = int(1000 * time.time())
        metrics = [self._metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._id)


open_writer = MLflow
