"""Where StarCraft II is installed, and what is wrong with it when it cannot be used.

Layout of Blizzard's Linux package: ``Versions/Base<build>/SC2_x64``, ``Libs/``, ``Maps/``.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from lica_jax.errors import UserError, unknown
from lica_jax.smac.maps import MAPS

DEFAULT_ROOT = "~/StarCraftII"
MAP_DIRECTORY = Path("Maps/SMAC_Maps")
MPQ_MAGIC = b"MPQ\x1a"
# Releases by name: build number and, where one is needed to pick the data, the data version
# (Blizzard's s2client-proto, buildinfo/versions.json). SMAC's papers and numbers are 4.6.2 or 4.10.
RELEASES = {
    "4.10": (75689, "B89B5D6FA7CBF6452E721311BFBC6CB2"),
    "4.6.2": (69232, None),
}
GET_THE_GAME = (
    "unpack Blizzard's Linux package 4.10 "
    "(https://github.com/Blizzard/s2client-proto#downloads; read its licence) "
    "and set SC2PATH to the directory that holds Versions/"
)


@dataclass(frozen=True)
class Install:
    """An installation that looks usable.

    ``data_version`` is passed on to the game when the user asked for a version that has one.
    """

    root: Path
    binary: Path
    build: int
    data_version: str | None = None


def find_install(sc2_path: str | None = None, version: str | None = None) -> Install:
    """The installation at ``sc2_path``, else at ``$SC2PATH``, else at ``~/StarCraftII``.

    ``version`` is a release (``4.10``) or a build (``75689``); without it the highest build is
    taken. Raises ``UserError`` naming the fix when there is none, or when it cannot be run.
    """
    root, source = find_root(sc2_path)
    if not root.is_dir():
        raise UserError(f"no StarCraft II at {root} ({source}); {GET_THE_GAME}")
    builds = find_builds(root)
    if not builds:
        raise UserError(
            f"{root} ({source}) has no Versions/Base<build>/ in it, so it is not a StarCraft II "
            f"installation; {GET_THE_GAME}"
        )
    build, data_version = _choose(builds, version)
    binary = root / "Versions" / f"Base{build}" / "SC2_x64"
    problem = binary_problem(binary)
    if problem:
        raise UserError(problem)
    return Install(root, binary, build, data_version)


def find_root(sc2_path: str | None = None) -> tuple[Path, str]:
    """The directory to look in, and who named it."""
    given, source = sc2_path, "as given"
    if not given:
        given, source = os.environ.get("SC2PATH"), "from SC2PATH"
    if not given:
        given, source = DEFAULT_ROOT, "the default, SC2PATH is not set"
    try:
        return Path(given).expanduser().resolve(), source
    except (RuntimeError, OSError, ValueError) as error:  # no such user, a loop of links, NUL
        raise UserError(f"bad StarCraft II path {given!r} ({source}): {error}") from None


def find_builds(root: Path) -> list[int]:
    """The build numbers below ``Versions/``, ascending."""
    try:
        names = [entry.name for entry in (root / "Versions").iterdir() if entry.is_dir()]
    except OSError:
        return []
    return sorted(int(name[4:]) for name in names if re.fullmatch(r"Base[0-9]{1,9}", name))


def _choose(builds: list[int], version: str | None) -> tuple[int, str | None]:
    if not version:
        return builds[-1], None
    named = re.fullmatch(r"(?:Base)?([0-9]{4,9})", version)
    if named:
        wanted, data_version = int(named[1]), None
    elif version in RELEASES:
        wanted, data_version = RELEASES[version]
    else:
        raise unknown("StarCraft II version", version, RELEASES, "or a build number as in 75689")
    if wanted not in builds:
        raise UserError(
            f"StarCraft II {version} (Versions/Base{wanted}) is not installed; there is "
            + ", ".join(f"Base{build}" for build in builds)
        )
    return wanted, data_version


def binary_problem(binary: Path) -> str | None:
    """Why ``binary`` cannot be the Linux game; ``None`` when it looks right.

    A script is let pass: wrappers (and the test double) are scripts.
    """
    if not binary.is_file():
        return (
            f"there is no file {binary}; the Linux package has one, those for Windows and macOS "
            f"have not: {GET_THE_GAME}"
        )
    if not os.access(binary, os.X_OK):
        return f"{binary} is not executable; run: chmod +x {binary}"
    try:
        with binary.open("rb") as file:
            head = file.read(20)
    except OSError as error:
        return f"{binary} cannot be read: {error.strerror}; run: chmod +r {binary}"
    if head[:2] == b"#!" or _is_linux_x86_64(head):
        return None
    return f"{binary} is not a Linux x86-64 program (it begins with {head[:4]!r}); {GET_THE_GAME}"


def _is_linux_x86_64(head: bytes) -> bool:
    """ELF, 64 bits, little-endian, machine 62 (x86-64)."""
    return head[:6] == b"\x7fELF\x02\x01" and head[18:20] == struct.pack("<H", 62)


def map_path(install: Install, map_name: str) -> Path:
    """The file of one of SMAC's maps. Raises ``UserError`` for unknown and missing ones."""
    # The name becomes a path: whatever is not a plain name of a known map goes no further.
    if map_name not in MAPS:
        raise unknown("SMAC map", map_name, MAPS)
    path = install.root / MAP_DIRECTORY / f"{map_name}.SC2Map"
    problem = map_problem(path)
    if problem:
        raise UserError(
            f"{problem}; get SMAC's maps (https://github.com/oxwhirl/smac/releases, "
            "SMAC_Maps.zip), unpack them and run: lica-jax sc2 install-maps DIRECTORY"
        )
    return path


def map_problem(path: Path) -> str | None:
    """Why ``path`` cannot be a map; ``None`` when it looks like one."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except FileNotFoundError:
        return f"the map {path} is missing"
    except OSError as error:
        return f"the map {path} cannot be read ({error.strerror})"
    if head != MPQ_MAGIC:
        return f"{path} is not a StarCraft II map (it begins with {head!r})"
    return None
