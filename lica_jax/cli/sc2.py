"""``lica-jax sc2 doctor | install-maps | record | replay``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from lica_jax.cli.parsing import Parser, count, dispatch
from lica_jax.errors import UserError

COMMANDS = {
    "doctor": "find what keeps StarCraft II from working, and how to fix it",
    "install-maps": "copy SMAC's maps into the StarCraft II installation",
    "record": "play random episodes in the game and record them",
    "replay": "run a recording through the environment, without the game",
}
NOT_SMAC = "This is FakeSC2, a test double: nothing here is SMAC data."


def main(argv: list[str]) -> int:
    """Runs a command and returns its exit code; raises ``UserError`` for bad input."""
    run = {
        "doctor": _doctor,
        "install-maps": _install_maps,
        "record": _record,
        "replay": _replay,
    }
    commands = {name: (run[name], about) for name, about in COMMANDS.items()}
    return dispatch("lica-jax sc2", "StarCraft II and SMAC's maps", commands, argv)


def _parser(name: str) -> Parser:
    return Parser(prog=f"lica-jax sc2 {name}", description=COMMANDS[name])


def _add_game(parser: Parser) -> None:
    parser.add_argument(
        "--sc2-path",
        help="StarCraft II's folder; default $SC2PATH, then ~/StarCraftII",
        metavar="DIR",
    )
    parser.add_argument("--version", help="release (4.10) or build; default: newest installed")


def _doctor(argv: list[str]) -> int:
    parser = _parser("doctor")
    _add_game(parser)
    parser.add_argument(
        "--workers", type=count, metavar="N", help="games that are to run in parallel"
    )
    parser.add_argument("--launch", action="store_true", help="also play an episode in the game")
    parser.add_argument(
        "--selftest",
        action="store_true",
        help="check with FakeSC2, a test double, instead of the game",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    if args.launch and args.selftest:
        raise UserError("--launch plays on the game, --selftest on a test double: choose one")
    if args.workers is not None and not 1 <= args.workers <= 10_000:
        raise UserError(f"--workers must be within 1 and 10000, got {args.workers}")

    from lica_jax.starcraft2.tools import doctor

    checks = doctor.examine(
        sc2_path=args.sc2_path,
        version=args.version,
        workers=args.workers,
        launch=args.launch,
        selftest=args.selftest,
        show=(lambda check: None) if args.json else _show,
    )
    code = doctor.exit_code(checks)
    if args.json:
        found = [dataclasses.asdict(check) for check in checks]
        print(json.dumps({"ok": code == 0, "test_double": args.selftest, "checks": found}))
        return code
    problems = sum(check.status == "problem" for check in checks)
    warnings = sum(check.status == "warning" for check in checks)
    if code:
        print(f"\n{problems} to repair, {warnings} to know about")
    else:
        print("\nall is well" + (f", {warnings} to know about" if warnings else ""))
    return code


def _show(check) -> None:
    from lica_jax.starcraft2.tools.doctor import line

    print(line(check), flush=True)


def _install_maps(argv: list[str]) -> int:
    parser = _parser("install-maps")
    parser.add_argument(
        "source", type=Path, metavar="FROM", help="directory that contains the maps"
    )
    parser.add_argument(
        "--sc2-path",
        help="StarCraft II's folder; default $SC2PATH, then ~/StarCraftII",
        metavar="DIR",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace maps that differ")
    args = parser.parse_args(argv)

    from lica_jax.smac.maps import MAPS
    from lica_jax.starcraft2.game.mapfiles import install_maps

    target, new = install_maps(args.source, args.sc2_path, overwrite=args.overwrite)
    print(f"{len(MAPS)} maps in {target}: {len(new)} copied, {len(MAPS) - len(new)} there already")
    return 0


def _record(argv: list[str]) -> int:
    parser = _parser("record")
    parser.add_argument("map", help="one of SMAC's maps, such as 3m")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--episodes", type=count, default=2, help="number of episodes; default 2")
    parser.add_argument(
        "--seed", type=count, default=0, help="seed of the game and of the actions; default 0"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    _add_game(parser)
    args = parser.parse_args(argv)

    from lica_jax.starcraft2.tools.record import record

    header = record(
        args.map,
        args.out,
        episodes=args.episodes,
        seed=args.seed,
        sc2_path=args.sc2_path,
        version=args.version,
        overwrite=args.overwrite,
    )
    if header.fake:
        print(NOT_SMAC)
    print(f"{header.episodes} episodes of {header.map}, {header.steps} steps, are in {args.out}")
    print(f"game    {header.game_version}\nsha256  {header.digest}")
    return 0


def _replay(argv: list[str]) -> int:
    parser = _parser("replay")
    parser.add_argument("file", type=Path, help="file written by `lica-jax sc2 record`")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)

    from lica_jax.starcraft2.tools.record import replay

    result = replay(args.file)
    code = 0 if result.same else 1
    if args.json:
        print(json.dumps({"same": result.same, **dataclasses.asdict(result)}))
        return code
    header = result.header
    if result.fake:
        print(NOT_SMAC)
    print(
        f"{header.map}, {header.episodes} episodes, {header.steps} steps, seed {header.seed}, "
        f"game {header.game_version}, recorded by lica_jax {header.recorder}"
    )
    if result.departs:
        print(f"requests  differ: {result.departs}")
    else:
        print(f"requests  all {result.requests} equal the recorded ones")
        same = "as recorded" if result.same else f"but {header.digest} was recorded"
        print(f"sha256    {result.digest}, {same}")
    return code
