"""``lica-jax sweep``."""

from __future__ import annotations

import sys
from argparse import SUPPRESS, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from lica_jax.cli.parsing import Parser, count
from lica_jax.cli.process import drop_output
from lica_jax.errors import UserError, visible
from lica_jax.files import put

USAGE = """\
lica-jax sweep ALGORITHM TASK --grid FIELD=A,B,C ... [--seeds 0:8] [--sweep-dir DIR] [SETTINGS]
lica-jax sweep ALGORITHM TASK --search FIELD=DISTRIBUTION ... --trials N [SETTINGS]
lica-jax sweep FILE.yaml [--sweep-dir DIR] [SETTINGS]
lica-jax sweep --resume --sweep-dir DIR [--seeds ...] [--trials N] [--total-steps N]"""
DESCRIPTION = """\
Trains every setting with every seed, many runs side by side in one program.

SETTINGS are those of `lica-jax train ALGORITHM TASK --help`. A field is either
swept or set. Values that contain commas are written as a YAML list:
  --grid 'task=["smax/3m", "smax/2s3z:reward=smac,stats=sc2"]'
A DISTRIBUTION is one of float:LOW:HIGH[:STEP], log:LOW:HIGH,
int:LOW:HIGH[:STEP], logint:LOW:HIGH, choice:A,B.
"""

# Flags whose values are words of the request as they are.
WORDS = (
    "seeds", "trials", "sampler", "objective", "halving", "wave", "devices", "shard", "launcher",
    "preset", "skip_invalid", "log", "keep_checkpoints", "stop_at",
)  # fmt: skip


def sweep(argv: list[str]) -> int:
    """Plans and runs a sweep; returns the exit code."""
    names = []
    while argv and not argv[0].startswith("-") and len(names) < 2:
        names.append(argv.pop(0))
    parser = _parser()
    args, words = parser.parse_known_args(argv)
    if args.help:
        parser.print_help()
        return 0

    from lica_jax.plugins import load_plugins

    load_plugins(args.plugin)
    if args.auto_resume and args.sweep_dir is None:
        raise UserError("--auto-resume needs the --sweep-dir of a sweep that may be there")
    asked = _words(parser, args, names, words)
    from lica_jax.sweeps.api import default_sweep_dir
    from lica_jax.sweeps.driver import Driver
    from lica_jax.sweeps.folder import Folder

    path = args.sweep_dir or default_sweep_dir()
    args.resume = args.resume or (args.auto_resume and Folder(path).has_begun() and "auto")
    if args.distributed and args.dry_run:
        raise UserError("a plan is of one process: leave out --distributed")
    if args.distributed:
        return _distributed(args, asked, path)
    for name in ("coordinator", "processes", "process"):
        if getattr(args, name) is not None:
            raise UserError(f"--{name} is of --distributed")
    driver = Driver(asked, path, resume=args.resume, style=args.progress)
    if args.dry_run:
        print(driver.text)
        return 0
    return _ended(driver.run())


def _ended(result: Any) -> int:
    """The exit code of a sweep, and the last line about it."""
    if result.interrupted is None:
        put(f"table, summary and figure are in {result.sweep_dir}", sys.stdout)
    drop_output()  # what could not be printed is no fault of the sweep
    return 0 if result.interrupted is None else 128 + result.interrupted


def _distributed(args: Namespace, asked: dict[str, Any], path: Path) -> int:
    """One of several processes: the first decides and writes, the others train what it says."""
    import time

    from lica_jax.runs.compilation_cache import use_compilation_cache
    from lica_jax.sweeps import distributed
    from lica_jax.sweeps.driver import Driver

    if args.sweep_dir is None:
        raise UserError("--distributed needs a --sweep-dir that all processes share")
    if asked.get("launcher", "local") != "local":
        raise UserError("say either --distributed or --launcher")
    process, processes = distributed.join(args.coordinator, args.processes, args.process)
    use_compilation_cache()
    if process > 0:
        meeting = distributed.announce(0)
        if not meeting:
            raise UserError("process 0 has refused the sweep")
        stopped = distributed.follow(path, process, meeting)
        return 0 if stopped is None else 128 + stopped
    try:
        driver = Driver(asked, path, resume=args.resume, style=args.progress)
        driver.work.folder.make()
    except UserError:
        distributed.announce(0)
        raise
    meeting = distributed.announce(int(time.time()))
    driver.launcher = leader = distributed.Leader(path, processes, meeting)
    driver.schedule.processes = processes
    try:
        return _ended(driver.run())
    finally:
        leader.close()


def _parser() -> Parser:
    from lica_jax.loggers import LOGGERS
    from lica_jax.runs.display import STYLES
    from lica_jax.sweeps.request import LAUNCHERS
    from lica_jax.sweeps.search import SAMPLERS

    parser = Parser(
        prog="lica-jax sweep", usage=USAGE, description=DESCRIPTION, add_help=False,
        formatter_class=RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--sweep-dir", type=Path, help="directory to write to; default sweeps/TIME")
    add("--resume", action="store_true", help="continue the sweep in --sweep-dir")
    add("--auto-resume", action="store_true",
        help="continue the sweep in --sweep-dir if there is one, and begin it if not")  # fmt: skip
    add("--dry-run", action="store_true", help="show the plan and exit")
    add("--seeds", nargs="+", help="seeds for every setting: 0 1 2, or a range 0:8")
    add("--grid", action="append", default=[], metavar="FIELD=A,B",
        help="values of a field to sweep; may be repeated, for all combinations")  # fmt: skip
    add("--search", action="append", default=[], metavar="FIELD=DIST",
        help="distribution of a field to search over; may be repeated")  # fmt: skip
    add("--trials", help="number of settings to draw in a search")
    add("--sampler", help=f"sampler of a search: {', '.join(SAMPLERS)}; default tpe")
    add("--objective",
        help="metric to maximise; default eval/win_rate, or eval/return_mean on tasks without wins",
    )  # fmt: skip
    add("--halving", metavar="ETA",
        help="successive halving: at every rung, the best 1/ETA of the settings continue",
    )  # fmt: skip
    add("--wave", metavar="auto|N",
        help="number of runs side by side; default auto: the fastest, found by measuring",
    )  # fmt: skip
    add("--devices", metavar="auto|N|all", help="devices to spread a wave over; default auto")
    add("--shard", metavar="runs|envs",
        help="what devices divide: the runs of a wave (default), or the environments of each run",
    )  # fmt: skip
    add("--launcher", help=f"where waves are trained: {', '.join(LAUNCHERS)}; default local")
    add("--distributed", action="store_true", help="be one of several processes that share waves")
    add("--coordinator", metavar="HOST:PORT",
        help="address of process 0, for --distributed outside a known cluster")  # fmt: skip
    add("--processes", type=count,
        help="number of processes, for --distributed outside a known cluster")  # fmt: skip
    add("--process", type=count,
        help="number of this process, from 0, for --distributed outside a known cluster",
    )  # fmt: skip
    add("--preset", help="preset of every run")
    add("--skip-invalid", action="store_true", default=None, help="leave out invalid settings")
    add("--log", action="append", choices=tuple(LOGGERS),
        help="tool that also receives metrics and evaluations of all runs; may be repeated",
    )  # fmt: skip
    add("--stop-at", help=SUPPRESS)  # of single runs: refused with a reason
    add("--keep-checkpoints", action="store_true", default=None,
        help="keep checkpoints, so that runs can be continued with a longer budget")  # fmt: skip
    add("--progress", choices=STYLES, default="auto", help="progress display; default auto")
    parser.add_plugin()
    add("-h", "--help", action="store_true", help="show this help")
    return parser


def _words(parser: Parser, args: Namespace, names: list[str], flags: list[str]) -> dict[str, Any]:
    """The words of a sweep that a command says, on top of those of its file."""
    from lica_jax.config import is_settings_file
    from lica_jax.sweeps.request import merged, read_request

    out: dict[str, Any] = {}
    if args.resume:
        if args.sweep_dir is None:
            raise UserError("--resume needs the --sweep-dir of the sweep to go on with")
        if names:
            raise UserError(f"leave out {names[0]}: --resume knows what is swept")
    elif len(names) == 1 and is_settings_file(names[0]):
        out = read_request(Path(names[0]))
    elif len(names) == 2:
        out = {"algorithm": names[0], "task": names[1]}
    else:
        raise UserError(
            "sweep needs an algorithm and a task, or a file, before any flag, for example: "
            "lica-jax sweep lica smax/3m --seeds 0:8\n" + USAGE
        )
    given = {name: getattr(args, name) for name in WORDS if getattr(args, name) is not None}
    for word, read in (("grid", _grid), ("search", _search)):
        found = dict(map(read, getattr(args, word)))
        if len(found) < len(getattr(args, word)):
            raise UserError(f"--{word} names a field twice")
        given |= {word: found} if found else {}
    if args.plugin:
        given["plugins"] = args.plugin
    return merged(out, given | _settings(parser, args, out, flags))


def _settings(
    parser: Parser, args: Namespace, words: dict[str, Any], flags: list[str]
) -> dict[str, Any]:
    """The flags that are settings of runs, as `lica-jax train` takes them."""
    from lica_jax.cli.settings import parse_settings
    from lica_jax.config.load import load_config
    from lica_jax.sweeps.folder import Folder
    from lica_jax.sweeps.request import PLURALS, request

    if not flags:
        return {}
    if args.resume:
        ask, _ = Folder(args.sweep_dir).read()
    else:
        named = (*PLURALS, *PLURALS.values(), "preset", "plugins")
        ask = request({k: v for k, v in words.items() if k in named})
    config = load_config(
        ask.algorithms[0], ask.tasks[0], preset=args.preset or ask.preset, plugins=ask.plugins
    )
    others = [option for action in parser._actions for option in action.option_strings]
    return parse_settings(config, flags, others)


def _grid(text: str) -> tuple[str, list[Any]]:
    """``hp.entropy-coef=0.03,0.1`` as the field and its values; a YAML list where it is one."""
    name, equals, values = text.partition("=")
    if not equals or not name:
        raise UserError(f"--grid must read FIELD=A,B,C, got {text!r}")
    if values.startswith("["):
        from lica_jax.config.reading import parse_yaml

        try:
            return name, parse_yaml(values)
        except UserError:
            raise UserError(f"--grid {name}: {visible(values)!r} is no YAML list") from None
    words = values.split(",")
    if not all(word.strip() for word in words):
        raise UserError(f"--grid {name} has an empty value: {values!r}")
    return name, [word.strip() for word in words]


def _search(text: str) -> tuple[str, str]:
    name, equals, words = text.partition("=")
    if not equals or not name or not words:
        raise UserError(f"--search must read FIELD=DISTRIBUTION, got {text!r}")
    return name, words
