"""What can be told about game, packages and machine without starting the game."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lica_jax import machine
from lica_jax.errors import UserError
from lica_jax.smac.maps import MAPS
from lica_jax.starcraft2.game import messages
from lica_jax.starcraft2.game.client import HOST
from lica_jax.starcraft2.game.install import (
    MAP_DIRECTORY,
    Install,
    find_builds,
    find_install,
    map_problem,
)
from lica_jax.starcraft2.game.mapfiles import differs_from_smac
from lica_jax.starcraft2.game.temp import temp_root

MARKER = "THIS_IS_A_TEST_DOUBLE"
KNOWN_BUILDS = {75689: "4.10", 69232: "4.6.2"}
LINKER = "/lib64/ld-linux-x86-64.so.2"
GIBIBYTE = 2**30


@dataclass(frozen=True)
class Check:
    """A finding. ``fix`` is one line, for everything that is not ok."""

    name: str
    status: Literal["ok", "warning", "problem"]
    text: str
    fix: str | None = None


def ok(name: str, text: str) -> Check:
    return Check(name, "ok", text)


def warning(name: str, text: str, fix: str) -> Check:
    return Check(name, "warning", text, fix)


def problem(name: str, text: str, fix: str) -> Check:
    return Check(name, "problem", text, fix)


def from_error(name: str, error: Exception) -> Check:
    """A ``UserError`` says what and, behind the last semicolon, how to repair it."""
    text, _, fix = str(error).partition("; ")
    return problem(name, text, fix or "see above")


def static_checks(
    sc2_path: str | None = None, version: str | None = None, workers: int | None = None
) -> tuple[list[Check], Install | None]:
    """Everything that can be told without starting the game, and the installation if usable."""
    checks = [check_platform(), *check_packages()]
    try:
        install = find_install(sc2_path, version)
    except UserError as error:
        install = None
        checks.append(from_error("game", error))
    else:
        checks += check_install(install)
        checks.append(check_maps(install.root))
    checks += [check_memory(workers), check_temp(), check_ports(workers)]
    return checks, install


def check_platform() -> Check:
    system, machine = platform.system(), platform.machine()
    if system == "Linux" and machine in ("x86_64", "AMD64"):
        if not os.path.exists(LINKER):
            return problem(
                "platform",
                f"{LINKER} is missing: the game needs glibc",
                "use a distribution with glibc (Debian, Ubuntu, Fedora, ...), not Alpine",
            )
        libc = os.confstr("CS_GNU_LIBC_VERSION") or "glibc"
        return ok("platform", f"Linux {machine}, {libc}, Python {platform.python_version()}")
    return warning(
        "platform",
        f"{system} {machine}: only Linux x86-64 is supported",
        "run on Linux x86-64, where the headless game exists",
    )


# --- packages ------------------------------------------------------------------------------------


def check_packages() -> list[Check]:
    """The message package, protobuf, and the websocket client."""
    checks = []
    try:
        messages.load()
    except UserError as error:
        checks.append(from_error("messages", error))
    else:
        found = messages.distribution_version(messages.PACKAGE)
        rival = messages.distribution_version(messages.RIVAL)
        name = messages.PACKAGE if found else messages.RIVAL
        checks.append(ok("messages", f"{name} {found or rival}"))
        checks.append(_check_protobuf())
    checks.append(_check_websocket())
    return checks


def _check_protobuf() -> Check:
    from google.protobuf.internal import api_implementation

    version, kind = messages.distribution_version("protobuf"), api_implementation.Type()
    if kind == "python":
        return warning(
            "protobuf",
            f"protobuf {version} runs in its slow pure-Python mode",
            "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION, or: " + messages.UPGRADE,
        )
    return ok("protobuf", f"protobuf {version} ({kind})")


def _check_websocket() -> Check:
    fix = messages.INSTALL
    try:
        import websocket
    except ImportError:
        return problem("websocket", "websocket-client is not installed", fix)
    if not hasattr(websocket, "WebSocketBadStatusException"):
        return problem(
            "websocket",
            "the package websocket hides websocket-client, which has the same import name",
            f"pip uninstall -y websocket websocket-client && {fix}",
        )
    try:
        version = importlib.metadata.version("websocket-client")
    except importlib.metadata.PackageNotFoundError:
        version = websocket.__version__
    if tuple(int(n) for n in re.findall(r"\d+", version)[:2]) < (1, 8):
        return problem(
            "websocket",
            f"websocket-client {version} is too old",
            'pip install -U "websocket-client>=1.8"',
        )
    return ok("websocket", f"websocket-client {version}")


# --- the installation ----------------------------------------------------------------------------


def check_install(install: Install) -> Iterator[Check]:
    others = [f"Base{b}" for b in find_builds(install.root) if b != install.build]
    more = f"; also there: {', '.join(others)}" if others else ""
    yield ok("game", f"{install.binary}{more}")
    if (install.root / MARKER).exists():
        yield warning(
            "version",
            "this is FakeSC2, a test double: what is played on it says nothing about SMAC",
            "set SC2PATH to the real game for SMAC results",
        )
    elif install.build in KNOWN_BUILDS:
        yield ok(
            "version",
            f"{KNOWN_BUILDS[install.build]} (Base{install.build}); results on 4.10 and on 4.6.2 "
            "are not comparable",
        )
    else:
        yield warning(
            "version",
            f"Base{install.build}: SMAC's results are from 4.10 (Base75689) or 4.6.2 (Base69232), "
            "and versions are not comparable",
            "install 4.10, or state the version next to every result",
        )
    if not (install.root / "Libs").is_dir():
        yield warning(
            "libraries",
            f"{install.root / 'Libs'} is missing",
            "unpack the game's package again, as a whole",
        )


def check_maps(root: Path) -> Check:
    """All 23 maps are there, are maps, and are those of SMAC's repository."""
    folder = root / MAP_DIRECTORY
    paths = {name: folder / f"{name}.SC2Map" for name in MAPS}
    bad = {name: found for name, path in paths.items() if (found := map_problem(path))}
    if bad:
        where = _maps_elsewhere(root)
        first = next(iter(bad.values()))
        return problem(
            "maps",
            f"{len(bad)} of {len(MAPS)} maps are unusable ({', '.join(bad)}): {first}",
            f"lica-jax sc2 install-maps {where or 'DIRECTORY_OF_THE_UNPACKED_SMAC_Maps.zip'}",
        )
    if (root / MARKER).exists():
        return ok("maps", f"{len(MAPS)} stub maps of the test double")
    other = [name for name, path in paths.items() if differs_from_smac(name, path.read_bytes())]
    if other:
        return warning(
            "maps",
            f"all {len(MAPS)} there, but not the files of SMAC's repository: {', '.join(other)}",
            "lica-jax sc2 install-maps DIRECTORY --overwrite, with the maps of the smac repository",
        )
    return ok("maps", f"all {len(MAPS)}, identical to SMAC's")


def _maps_elsewhere(root: Path) -> Path | None:
    """A directory below ``Maps/`` that has maps in the wrong place, as after unpacking twice."""
    for path in sorted((root / "Maps").glob("**/3m.SC2Map")):
        if path.parent != root / MAP_DIRECTORY:
            return path.parent
    return None


# --- the machine ---------------------------------------------------------------------------------


def check_memory(workers: int | None, one: int | None = None, mine: int = 0) -> Check:
    """Whether ``workers`` games of ``one`` bytes each fit; ``mine`` bytes are taken by one."""
    free = machine.available_memory()
    if free is None:
        return warning("memory", "free memory is unknown here", "watch it when training begins")
    free += mine
    text = f"{free / GIBIBYTE:.1f} GiB free"
    if one is None:
        more = f"; `--launch` measures what {workers} games take" if workers else ""
        return ok("memory", text + more + ("" if workers else "; a game's share: --launch"))
    fit = int(0.9 * free / one)
    text += f", {one / 2**20:,.0f} MiB per game after an episode: room for about {fit} games"
    if workers and workers > fit:
        return problem(
            "memory", f"{text}, not for {workers}", f"train with --envs {max(fit, 1)} or fewer"
        )
    return ok("memory", text)


def check_temp() -> Check:
    try:
        with temp_root() as root:
            (root / "probe").write_bytes(bytes(1024))
            free = shutil.disk_usage(root).free
            where = root.parent
    except (UserError, OSError) as error:
        return problem(
            "temp",
            f"no temporary files can be written: {error}",
            "set TMPDIR to a place that is writable",
        )
    if free < GIBIBYTE:
        return warning(
            "temp",
            f"{where} has {free / 2**20:,.0f} MiB left",
            "make room there, or set TMPDIR to another place",
        )
    return ok("temp", f"{where} is writable, {free / GIBIBYTE:,.1f} GiB free")


def check_ports(workers: int | None) -> Check:
    """Loopback works, and has ports for all games."""
    probes: list[socket.socket] = []
    wanted = 2 * (workers or 8)
    try:
        for _ in range(wanted):
            probes.append(socket.socket())
            probes[-1].bind((HOST, 0))
    except OSError as error:
        return problem(
            "ports",
            f"only {max(len(probes) - 1, 0)} of {wanted} ports on {HOST} could be had: {error}",
            "raise `ulimit -n` and net.ipv4.ip_local_port_range, and allow loopback",
        )
    finally:
        for probe in probes:
            probe.close()
    return ok("ports", f"{wanted} ports on {HOST} are free")
