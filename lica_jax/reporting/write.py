"""The folder of a report: what is in it, and refusing to harm what is there already."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lica_jax.errors import UserError
from lica_jax.files import make_folder, write_json

MANIFEST = "report.json"
KIND = "lica_jax report 1"
SCRATCH = ".unfinished"  # a new report, until it is whole


def check_out(out: Path, overwrite: bool) -> None:
    """Refuses a folder that cannot be written, or holds what is not an earlier report that may be
    replaced."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a directory")
    if out.is_dir() and any(out.iterdir()):
        if _earlier(out) is None:
            raise UserError(f"{out} is not empty and holds no report; choose another --out")
        if not overwrite:
            raise UserError(
                f"{out} already holds a report; choose another --out or say --overwrite"
            )


def _earlier(out: Path) -> list[str] | None:
    """The files of the report that is there; None where there is none."""
    try:
        manifest = json.loads((out / MANIFEST).read_bytes())
        return [str(name) for name in manifest["files"]] if manifest["kind"] == KIND else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(out: Path, files: dict[str, str | bytes | Any], about: dict[str, Any]) -> list[Path]:
    """Writes files by their names in ``out``, text, bytes or JSON; files of an earlier report that
    are not among them are removed.

    An earlier report stays whole until all files of the new one are on the disk.

    Args:
      out: as `check_out` left it.
      files: contents by name.
      about: what `MANIFEST` says beside their names.
    """
    make_folder(out, f"--out {out}")
    before, scratch = _earlier(out), out / SCRATCH
    try:
        if before is None:  # first, so that a report that was cut short may be replaced
            _write_manifest(out, [], about)
        shutil.rmtree(scratch, ignore_errors=True)
        for name, content in files.items():
            _write(scratch / name, content)
            (out / name).parent.mkdir(parents=True, exist_ok=True)
        _write_manifest(out, [*(before or []), *files], about)
        for name in files:
            (scratch / name).replace(out / name)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for name in before or ():
        path = out / name
        if name not in files and path.resolve().is_relative_to(out.resolve()):
            path.unlink(missing_ok=True)
    _write_manifest(out, list(files), about)
    return [out / name for name in files]


def _write_manifest(out: Path, files: list[str], about: dict[str, Any]) -> None:
    write_json(out / MANIFEST, {"kind": KIND, "files": list(dict.fromkeys(files))} | about)


def _write(path: Path, content: str | bytes | Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        write_json(path, content)
