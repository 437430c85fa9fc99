"""Writing a figure's files, and refusing to harm what is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lica_jax.errors import UserError
from lica_jax.files import make_folder, write_whole
from lica_jax.reporting.picture import Picture


def check_new_files(out: Path, names: Sequence[str], overwrite: bool) -> None:
    """Makes a folder to write into.

    Raises:
      UserError: it is a file, cannot be written, or holds some of the files already.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a directory")
    present = [name for name in names if (out / name).exists()]
    if present and not overwrite:
        raise UserError(
            f"{out} already holds {', '.join(present)}; choose another --out or say --overwrite"
        )
    make_folder(out, f"--out {out}")


def write_pictures(out: Path, pictures: Iterable[Picture]) -> list[str]:
    """Writes PNG and PDF of every picture, each whole or not at all; returns their names."""
    names = []
    for picture in pictures:
        for kind in ("png", "pdf"):
            name = f"{picture.name}.{kind}"
            _write(out / name, picture.file(kind))
            names.append(name)
    return names


def numbers_text(found: dict[str, Any]) -> str:
    """JSON with a list of numbers on one line."""
    text = json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False)
    return re.sub(r"\[[^\[\]{}]*\]", lambda m: re.sub(r"\s+", " ", m[0]), text) + "\n"


def write_numbers(path: Path, found: dict[str, Any]) -> None:
    """Writes `numbers_text`, whole or not at all."""
    _write(path, numbers_text(found))


def _write(path: Path, content: bytes | str) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
