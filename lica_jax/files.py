"""Plain files: JSON that is whole or not there, and folders to write into."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from lica_jax.errors import UserError


def write_json(path: Path, value: Any) -> None:
    """Writes JSON through a temporary file, so that a reader never sees half of it."""
    scratch = path.with_name(path.name + ".tmp")
    scratch.write_text(json.dumps(plain(value), indent=2, allow_nan=False) + "\n")
    scratch.replace(path)


def plain(value: Any) -> Any:
    """Arrays and numpy numbers as Python ones; non-finite numbers as None (JSON has no NaN)."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)) or _is_jax_array(value):
        return plain(np.asarray(value).tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _is_jax_array(value: Any) -> bool:
    jax = sys.modules.get("jax")  # whoever holds one has imported it
    return jax is not None and isinstance(value, jax.Array)


def put(text: str, stream: TextIO | None) -> bool:
    """Prints a line; False where it cannot be: a reader that went away, a full disk, no stream.

    What a run does must not depend on who reads of it.
    """
    if stream is None:
        return False
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError):  # ValueError: a closed stream
        return False
    return True


def make_folder(folder: Path, name: str) -> None:
    """Creates a folder to write into; ``UserError``, which calls it ``name``, where that cannot
    be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{name} cannot be written: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"{name} cannot be written")


def leaves(values: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    """The values of a nested mapping by their names with dots."""
    out = []
    for name, value in values.items():
        inner = isinstance(value, Mapping)
        out += leaves(value, f"{path}{name}.") if inner else [(f"{path}{name}", value)]
    return out
