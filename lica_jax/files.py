"""Plain files: JSON that is whole or not there, paths, and folders to write into."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from lica_jax.errors import UserError


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes a file, text in UTF-8, so that a reader sees all of it or what was there before."""
    scratch = path.with_name(path.name + ".tmp")
    try:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, by `write_whole`."""
    write_whole(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """What a JSON file holds; raises ``UserError`` where it cannot be read, is none, or is nested
    too deeply."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}") from None


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
    return _written(text + "\n", stream)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at what is written there now."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def put_over(text: str, stream: TextIO | None) -> bool:
    """`put` over what stands in a terminal's last line, which stays the last one."""
    return _written(f"\r\x1b[K{text}", stream)


def _written(text: str, stream: TextIO | None) -> bool:
    if stream is None:
        return False
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):  # ValueError: a closed stream
        return False
    return True


def as_path(value: Any, name: str) -> Path:
    """A path that can be written down, from a text, a ``Path`` or a result; ``~`` is the home
    folder.

    Raises:
      UserError: it is something else, empty, too long, or no text (JSON, logs and commands that
        repeat a run name it); the message calls it ``name``.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise UserError(f"{name} must be a path, got {value!r}")
    text = os.path.expanduser(text)  # in Python no shell has done it
    if not text.strip() or not text.isprintable():  # undecodable bytes are not printable
        raise UserError(f"{name} must be a path of printable characters, got {text!r}")
    try:
        os.stat(text)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # whoever needs it says so
    except OSError as error:  # too long, links in a circle
        shown = text if len(text) < 100 else f"{text[:97]}..."
        raise UserError(f"{name} cannot be {shown}: {error.strerror}") from None
    return Path(text)


def as_paths(values: Iterable[Any]) -> list[Path]:
    """`as_path` of each of several arguments called ``paths``, some of which may be lists."""
    out: list[Path] = []
    for value in values:
        alone = isinstance(value, str | bytes | os.PathLike) or not isinstance(value, Iterable)
        out += [as_path(path, "paths") for path in ([value] if alone else value)]
    return out


def as_word(path: Path) -> str:
    """A path as a shell takes it, in commands that a person copies."""
    return shlex.quote(str(path))


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
