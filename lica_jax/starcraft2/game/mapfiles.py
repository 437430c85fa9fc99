"""SMAC's map files: which they are, and copying them into an installation."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from lica_jax.errors import UserError
from lica_jax.smac.maps import MAPS
from lica_jax.starcraft2.game.install import MAP_DIRECTORY, MPQ_MAGIC, find_builds, find_root

MAX_FILES = 200_000  # looked at before giving up: somebody named the root of a disk
MAX_MAP_BYTES = 16 * 1024 * 1024

# sha256 of the files in SMAC's repository (smac/env/starcraft2/maps/SMAC_Maps).
SHA256 = {
    "3m": "d6e086e190a80fa473364497199ef4d6c0f6cd281e9f0dd9d64a8159f73a7d47",
    "8m": "fe806ea90ddb919267eb0d3e2e91a00a07f759a1ab0ef33cb2422c4502d3476a",
    "25m": "94106cd699579019b45c0a7acead6646ed6cfbf26eba4280f76af13681bfd5f2",
    "5m_vs_6m": "ca31d3f570e173b9ed2d8e681b700d2ac754abe62fdafc947432985bc0afb9d7",
    "8m_vs_9m": "15c9e65efefde407f8ae34a2bd9b70d46580db730accc15d3477fb281bb609d9",
    "10m_vs_11m": "774ad6f26136380dcdea5d29f257734a3ae30a903b2c2c27524bf8edb71c0170",
    "27m_vs_30m": "ce84853869c37ce6fdd8266e883a95ce6d10c5fdaa0bf1eb4dc4c149db313f18",
    "MMM": "4d2c471baa1432b36934563f02ddd840b0602090a30a8b856c62deff4000bf19",
    "MMM2": "797df232260bc50678cc5b48438b606056b2dd799469c872a2635e98d4f5c1d6",
    "2s3z": "928d21db081910096628ecc14627caa972940a7ccb99cc3448de28f7ec770a12",
    "3s5z": "20ce045f7442eba0010548cb26c03f80db93a4b5a4d94eae1d2486404774e088",
    "3s5z_vs_3s6z": "9265fe0a54ca05680ad4a9d67adadb3fa90544fca3f2aab7fe6681b3227fecf9",
    "3s_vs_3z": "273328b0a78a8b783c9cbf5c91efe583262a4d133b9a8818fe02f9ce9fbfd2a8",
    "3s_vs_4z": "ebb01d82bf7f57d5469c7de64d541e614e971c2007853a6f744e0f61e9b19014",
    "3s_vs_5z": "d63c713a3404b0574f10b686b0f4047d1fe670b5827119dbdf64dfcfc8ad55f8",
    "1c3s5z": "17628884bbd11a0c6b5f36129de145a1e8f335ccbcd81e05cf75ec1ee0703a35",
    "2m_vs_1z": "c7dff4eb87b0f949f6da15500020ecdc4b03a61512017eea1dc21a263f411111",
    "corridor": "5ca2caf7acda480ebfc8009bb95b855518349627a334639a78045d4c195ab28f",
    "6h_vs_8z": "2510f604d5a5e60afccf2b1547a6c31327bc307ae8a2083df2772fbe51f14bf1",
    "2s_vs_1sc": "1936277d8a1cd490a11229b68892dd94582ef27e370f4babbb025f114a5d8eae",
    "so_many_baneling": "f35849b0a0ecb7310c900dd907857549ff86c159c9e3744a2a49bf8702ff64a2",
    "bane_vs_bane": "863932de531a1ddab2082b73ad29f8d684d599da97a09a81420682ee27410be4",
    "2c_vs_64zg": "0c303b28240a8fba8ed829a414876654300d13d195b23793c56701f0ba686fee",
}


def differs_from_smac(name: str, data: bytes) -> bool:
    """Whether ``data`` is another file than the map ``name`` in SMAC's repository."""
    return hashlib.sha256(data).hexdigest() != SHA256[name]


def install_maps(
    source: Path, sc2_path: str | None = None, *, overwrite: bool = False
) -> tuple[Path, list[str]]:
    """Copies SMAC's maps from somewhere below ``source`` into the installation, all or none.

    Returns where they are now and the names of those that were written. Links are not followed.
    Raises ``UserError`` for maps that are missing, broken, ambiguous, or would replace others.
    """
    maps = find_maps(source)
    target = _target(sc2_path)
    old = {name: _present(target / f"{name}.SC2Map") for name in maps}
    differing = [name for name, data in maps.items() if old[name] not in (None, data)]
    if differing and not overwrite:
        raise UserError(
            f"{target} has other files for {', '.join(differing)}; nothing was written. Move them "
            "away, or replace them with --overwrite"
        )
    new = [name for name in maps if old[name] != maps[name]]
    try:
        _write({f"{name}.SC2Map": maps[name] for name in new}, target)
    except OSError as error:
        raise UserError(
            f"cannot write to {target} ({error.strerror}); nothing was changed"
        ) from None
    return target, new


def find_maps(source: Path) -> dict[str, bytes]:
    """The contents of the 23 maps below ``source``, by name."""
    source = Path(source).expanduser()
    if source.is_file():
        raise UserError(f"{source} is a file; unpack it, and give the directory")
    if not source.is_dir():
        raise UserError(f"there is no directory {source}")
    wanted = {f"{name}.SC2Map": name for name in MAPS}
    found: dict[str, bytes] = {}
    where: dict[str, Path] = {}
    count = 0
    for folder, _, files in os.walk(source):
        count += len(files)
        if count > MAX_FILES:
            raise UserError(
                f"{source} holds more than {MAX_FILES:,} files; name a nearer directory"
            )
        for file in files:
            name, path = wanted.get(file), Path(folder) / file
            data = _read_map(path) if name else None
            if data is None:
                continue
            if found.setdefault(name, data) != data:
                raise UserError(
                    f"{where[name]} and {path} differ; name the directory of one of them"
                )
            where.setdefault(name, path)
    missing = [name for name in MAPS if name not in found]
    if missing:
        raise UserError(
            f"{source} lacks {len(missing)} of SMAC's {len(MAPS)} maps: {', '.join(missing)} "
            "(looked for as NAME.SC2Map, in it and below). SMAC_Maps.zip at "
            "https://github.com/oxwhirl/smac/releases holds them"
        )
    return {name: found[name] for name in MAPS}


def _read_map(path: Path) -> bytes | None:
    """The map's contents; ``None`` for what is not a plain file."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        # Between the look and the opening it may have become a link or a pipe.
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            data = file.read(MAX_MAP_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if not data.startswith(MPQ_MAGIC):
        raise UserError(f"{path} is not a StarCraft II map (it begins with {data[:4]!r})")
    if len(data) > MAX_MAP_BYTES:
        raise UserError(f"{path} is too long for one of SMAC's maps")
    return data


def _target(sc2_path: str | None) -> Path:
    root, source = find_root(sc2_path)
    if not find_builds(root):
        raise UserError(
            f"no StarCraft II at {root} ({source}): it has no Versions/Base<build>/; install the "
            "game first, and set SC2PATH to it"
        )
    target = root / MAP_DIRECTORY
    for folder in (target.parent, target):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise UserError(
                f"{folder} is not a plain directory, and nothing is written through links; copy "
                "the maps to where it leads, or remove it"
            )
    return target


def _present(path: Path) -> bytes | None:
    """What is there already; ``None`` for nothing, ``b""`` for whatever is not a plain file."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return None
    if not stat.S_ISREG(mode):
        return b""
    try:
        return path.read_bytes() if path.stat().st_size <= MAX_MAP_BYTES else b""
    except OSError:
        return b""


def _write(files: dict[str, bytes], target: Path) -> None:
    """Writes the files, or leaves everything as it was.

    They are written aside first; then each is moved into place, and an old one out of it.
    """
    made = [folder for folder in (target.parent, target) if not folder.exists()]
    target.mkdir(parents=True, exist_ok=True)
    moved: list[tuple[Path, Path]] = []
    stage = None
    try:
        stage = Path(tempfile.mkdtemp(prefix=".maps-", dir=target))
        (stage / "old").mkdir()
        for name, data in files.items():
            (stage / name).write_bytes(data)
        for name in files:
            for source, to in (
                (target / name, stage / "old" / name),
                (stage / name, target / name),
            ):
                if os.path.lexists(source):
                    source.rename(to)
                    moved.append((source, to))
    except BaseException:
        for source, to in reversed(moved):
            to.rename(source)
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    shutil.rmtree(stage, ignore_errors=True)
