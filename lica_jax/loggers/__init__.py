"""Rows in other people's tools, beside the files of a run: TensorBoard, wandb, trackio, MLflow."""

from __future__ import annotations

from lica_jax.loggers.logger import LOGGERS, Logger, check_loggers, make_loggers

__all__ = ["LOGGERS", "Logger", "check_loggers", "make_loggers"]
