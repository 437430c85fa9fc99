"""The file format of recorded play: every request to the game and its answer, as bytes.

gzip of: ``MAGIC``, the length of the header, the header (a JSON object), then for each request its
length and bytes and those of the answer; lengths are little-endian uint32. Transcripts are meant to
be sent around, so reading one trusts nothing in it.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lica_jax.errors import UserError
from lica_jax.smac.maps import MAPS
from lica_jax.smac.options import Options
from lica_jax.starcraft2.game.client import ANSWER_BYTES

MAGIC = b"lica-sc2-transcript\n"
FORMAT = 1
HEADER_BYTES = 64 * 1024
MAX_PAIRS = 1_000_000
MAX_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Header:
    """What was played, on what, and what was seen.

    ``fake``: recorded from the test double, so no SMAC data. ``digest``: of `random_play.Played`.
    ``map_sha256``: of the map's file. ``recorder``: the version of this package.
    """

    map: str
    options: dict[str, Any]
    seed: int
    episodes: int
    steps: int
    fake: bool
    game_version: str
    map_sha256: str
    digest: str
    recorder: str
    format: int = FORMAT

    def problems(self) -> list[str]:
        """What makes it unusable."""
        found = []
        for name, kind in Header.__annotations__.items():
            wanted = {"str": str, "int": int, "bool": bool, "dict[str, Any]": dict}[kind]
            if type(getattr(self, name)) is not wanted:
                found.append(f"{name} is not of type {kind}")
        if found:
            return found
        if self.format != FORMAT:
            return [f"format {self.format}; this version reads {FORMAT}"]
        for name in ("game_version", "map_sha256", "digest", "recorder"):  # these are shown
            text = getattr(self, name)
            if len(text) > 100 or not text.isprintable():
                found.append(f"{name} is not a short printable text")
        if self.map not in MAPS:
            found.append(f"unknown map {self.map[:40]!r}")
        if not 1 <= self.episodes <= MAX_PAIRS or self.seed < 0:
            found.append("episodes or seed out of range")
        try:
            found += Options(**self.options).problems()
        except (TypeError, ValueError) as error:
            found.append(str(error)[:200])
        return found


def write(path: Path, header: Header, pairs: Iterable[tuple[bytes, bytes]]) -> None:
    """Writes a transcript; the file is complete or not there."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(asdict(header), indent=1).encode()
    try:
        # "x": whatever has that name already, a link for instance, is not written to
        with partial.open("xb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
            file.write(MAGIC + struct.pack("<I", len(text)) + text)
            for pair in pairs:
                for data in pair:
                    file.write(struct.pack("<I", len(data)) + data)
        partial.replace(path)
    except FileExistsError:
        raise UserError(f"cannot write {path}: {partial} is in the way") from None
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(f"cannot write {path}: {error.strerror}") from None
        raise


class Reader:
    """A transcript that is read as it is played: ``header``, then ``pairs()``."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file: BinaryIO = gzip.open(path, "rb")  # noqa: SIM115 (closed in close)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        self._left = MAX_BYTES
        try:
            self.header = self._header()
        except BaseException:
            self.close()
            raise

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """Requests with their answers. Raises ``UserError`` where the file is damaged."""
        for _ in range(MAX_PAIRS):
            size = self._read(4)
            if not size:
                return
            yield self._data(size), self._data(self._read(4))
        raise self._damaged("too many requests")

    def close(self) -> None:
        self._file.close()

    def _header(self) -> Header:
        if self._read(len(MAGIC)) != MAGIC:
            raise UserError(f"{self.path} is not a transcript of `lica-jax sc2 record`")
        text = self._data(self._read(4), HEADER_BYTES)
        try:
            fields = json.loads(text)
            if not isinstance(fields, dict):
                raise TypeError("not an object")
            header = Header(**fields)
        except (ValueError, TypeError, RecursionError) as error:
            raise self._damaged(f"bad header: {str(error)[:200]}") from None
        if problems := header.problems():
            raise self._damaged("bad header: " + "; ".join(problems))
        return header

    def _data(self, size: bytes, most: int = ANSWER_BYTES) -> bytes:
        if len(size) < 4:
            raise self._damaged("it ends too early")
        length = struct.unpack("<I", size)[0]
        if length > most:
            raise self._damaged(f"a part of {length:,} bytes")
        data = self._read(length)
        if len(data) < length:
            raise self._damaged("it ends too early")
        return data

    def _read(self, count: int) -> bytes:
        self._left -= count
        if self._left < 0:
            raise self._damaged("it is too long")
        try:
            return self._file.read(count)
        except gzip.BadGzipFile as error:
            raise UserError(f"{self.path} is not a transcript ({error})") from None
        except (OSError, EOFError, zlib.error) as error:
            raise self._damaged(str(error)) from None

    def _damaged(self, reason: str) -> UserError:
        return UserError(f"the transcript {self.path} is damaged: {reason}")
