"""Builds a tree that looks like an installed game and holds FakeSC2."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from lica_jax.starcraft2.testing.faults import check
from lica_jax.starcraft2.testing.scenarios import SCENARIOS

MARKER = "THIS_IS_A_TEST_DOUBLE"
BUILD = 75689  # the build number of 4.10, which SMAC's users know


def make_install(
    directory: Path, *, build: int = BUILD, maps: Iterable[str] | None = None, **faults
) -> Path:
    """Makes a fake SC2PATH in `directory` and returns it.

    `build` is the number below `Versions/Base...`, `maps` the names of the stub maps (all 23), and
    the rest the faults of every process started from this tree (`faults.py`; `set_faults` changes
    them).
    """
    root = Path(directory).resolve()
    folder = root / "Versions" / f"Base{build}"
    for path in (folder, root / "Maps" / "SMAC_Maps", root / "Libs", root / "Replays"):
        path.mkdir(parents=True, exist_ok=True)
    (root / MARKER).write_text(
        "This is not StarCraft II. It is FakeSC2, a test double that speaks the game's protocol.\n"
        "Battles in it are toys; win rates on it are meaningless.\n"
    )
    package_root = Path(__file__).resolve().parents[3]
    binary = folder / "SC2_x64"
    binary.write_text(
        "#!/bin/sh\n"
        f"PYTHONPATH={shlex.quote(str(package_root))}${{PYTHONPATH:+:$PYTHONPATH}}\n"
        "export PYTHONPATH\n"
        f'exec {shlex.quote(sys.executable)} -m lica_jax.starcraft2.testing.fake_sc2 "$@"\n'
    )
    binary.chmod(0o755)
    (root / ".build.info").write_text(
        "Branch!STRING:0|Active!DEC:1|Tags!STRING:0|Version!STRING:0\n"
        f"fake|1|FakeSC2|0.0.0.{build}\n"
    )
    for name in SCENARIOS if maps is None else maps:
        stub = b"MPQ\x1a" + bytes(508) + f"FakeSC2's stub of the map {name}\n".encode()
        (root / "Maps" / "SMAC_Maps" / f"{name}.SC2Map").write_bytes(stub)
    set_faults(root, **faults)
    return root


def set_faults(root: Path, **faults) -> None:
    """Changes what processes started from now on do wrong; no faults: nothing."""
    text = json.dumps(check(faults))
    temporary = Path(root) / f".faults-{os.getpid()}.json"
    temporary.write_text(text)
    temporary.replace(Path(root) / "faults.json")


def starts(root: Path) -> list[dict]:
    """Every process ever started from the tree, in order.

    Each is `pid`, `argv`, `cwd`, `temp_dir` and `library_path`; a helper (`child_process`) has only
    `pid` and `parent`.
    """
    folder = Path(root) / "starts"
    if not folder.is_dir():
        return []
    texts = [path.read_text() for path in sorted(folder.iterdir(), key=lambda p: int(p.name))]
    return [json.loads(text) for text in texts if text]


def living(root: Path) -> list[int]:
    """The process ids of those that still run (zombies do not); needs /proc."""
    found = []
    for start in starts(root):
        try:
            line = Path(f"/proc/{start['pid']}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if line.rpartition(")")[2].split()[0] not in "ZX":
            found.append(start["pid"])
    return found
