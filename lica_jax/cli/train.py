"""``lica-jax train``."""

from __future__ import annotations

import dataclasses
import re
import sys
from argparse import Namespace
from pathlib import Path

from lica_jax.cli.parsing import Parser
from lica_jax.cli.process import drop_output
from lica_jax.config import TrainConfig
from lica_jax.config.presets import Preset
from lica_jax.errors import UserError
from lica_jax.files import as_word, put

USAGE = """\
lica-jax train ALGORITHM TASK [--preset NAME] [--run-dir DIR] [--progress STYLE] [SETTINGS]
lica-jax train FILE.yaml [--run-dir DIR] [SETTINGS]  (or --config FILE)
lica-jax train --resume --run-dir DIR [SETTINGS]"""


def train(argv: list[str]) -> int:
    """Trains, resumes, or shows what would be trained; returns the exit code."""
    from lica_jax.loggers import check_loggers
    from lica_jax.plugins import load_plugins

    names = []
    while argv and not argv[0].startswith("-") and len(names) < 2:
        names.append(argv.pop(0))
    parser = _parser()
    args, words = parser.parse_known_args(argv)
    load_plugins(args.plugin)
    check_loggers(args.log)
    names = _with_file(args, names)
    if args.help:
        return _show_help(parser, args, names)
    args.resume = args.resume or _is_there(args)
    others = [option for action in parser._actions for option in action.option_strings]
    config = _configured(args, names, words, others)
    if args.dump_config:
        return _dump(config)
    run_dir = args.run_dir or default_run_dir(config.algorithm, config.task)
    if args.dry_run:
        return _show_plan(config, run_dir, args.resume, args.stop_at)

    from lica_jax import api

    result = api.train(
        config, run_dir=run_dir, resume=args.resume, display=args.progress, on_signal="return",
        stop_at=args.stop_at, log=args.log,
    )  # fmt: skip
    if result.interrupted is None:
        put(f"learning curve, policy and evaluations are in {run_dir}", sys.stdout)
    drop_output()  # what could not be printed is no fault of the run
    return 0 if result.interrupted is None else 128 + result.interrupted


def _parser() -> Parser:
    from lica_jax.config import DEFAULT_PRESET, preset_names
    from lica_jax.loggers import LOGGERS
    from lica_jax.runs.display import STYLES

    parser = Parser(prog="lica-jax train", usage=USAGE, add_help=False, allow_abbrev=False)
    parser.add_argument(
        "--preset",
        help=f"one of {', '.join(preset_names())}, optionally with ablations, such as "
        f"paper+mlp_critic; default {DEFAULT_PRESET}",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE",
        help="YAML file of settings, which also names the algorithm and the task",
    )  # fmt: skip
    parser.add_argument(
        "--run-dir", type=Path, help="directory to write to; default runs/ALGORITHM-TASK-TIME"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in --run-dir from its checkpoint"
    )
    parser.add_argument(
        "--auto-resume", action="store_true",
        help="continue the run in --run-dir if there is one, and begin it if not: for jobs that "
        "are killed and started again",
    )  # fmt: skip
    parser.add_argument(
        "--progress", choices=STYLES, default="auto", help="progress display; default auto"
    )
    parser.add_argument(
        "--stop-at", metavar="NAME=VALUE",
        help="stop once all seeds reach this value in one evaluation, such as eval/win_rate=0.95",
    )  # fmt: skip
    parser.add_argument(
        "--log", action="append", default=[], choices=tuple(LOGGERS),
        help="tool that also receives metrics and evaluations; may be repeated",
    )  # fmt: skip
    parser.add_plugin()
    parser.add_argument(
        "--dump-config", action="store_true",
        help="print all settings as YAML, for `lica-jax train FILE.yaml`, and exit",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="show sizes, memory and counts of what would be trained, and exit",
    )  # fmt: skip
    parser.add_argument("-h", "--help", action="store_true", help="show this help and all settings")
    return parser


def _with_file(args: Namespace, names: list[str]) -> list[str | Path]:
    """What is to be trained, by names or by a file; refuses switches that contradict each other."""
    if args.config and names:
        raise UserError(f"--config says what to train already: leave out {' '.join(names)}")
    if args.config and args.resume:
        raise UserError("--resume takes the settings of the run: leave out --config")
    if args.dry_run and args.dump_config:
        raise UserError("--dry-run and --dump-config both stop before training: choose one")
    return [args.config] if args.config else names


def _is_there(args: Namespace) -> bool:
    """Whether there is a run to go on with, where that is asked."""
    from lica_jax.runs.directory import status

    if args.auto_resume and args.run_dir is None:
        raise UserError("--auto-resume needs the --run-dir of a run that may be there")
    return args.auto_resume and status(args.run_dir) != "new"


def _configured(
    args: Namespace, names: list[str | Path], words: list[str], others: list[str]
) -> TrainConfig:
    """The configuration that a command asks for, not yet resolved."""
    from lica_jax.cli.settings import parse_settings
    from lica_jax.config import merge

    anew = not args.resume or (args.auto_resume and names)  # then it must be the same
    config, _ = named_config(args, names) if anew else resumed_config(args, names)
    asked = merge(config, parse_settings(config, words, others))
    if (asked.algorithm, asked.task) != (config.algorithm, config.task) and not args.resume:
        raise UserError(
            "the algorithm and the task are named before any flag, for example: "
            f"lica-jax train {asked.algorithm} {asked.task}"
        )
    if asked.preset != config.preset:
        raise UserError(f"the preset comes first: use --preset {asked.preset} with the names")
    return asked


def named_config(args: Namespace, names: list[str | Path]) -> tuple[TrainConfig, Preset]:
    """The configuration of an algorithm on a task, or of a file, and where its values come from."""
    from lica_jax.config import DEFAULT_PRESET, is_settings_file, load_settings
    from lica_jax.config.load import load_with_sources

    plugins = {"plugins": args.plugin} if args.plugin else {}
    if len(names) == 1 and is_settings_file(names[0]):
        return load_settings(names[0], args.preset, plugins)
    if len(names) != 2:
        raise UserError(
            "train needs an algorithm and a task, before any flag, for example: "
            "lica-jax train lica smax/3m\n" + USAGE
        )
    preset = DEFAULT_PRESET if args.preset is None else args.preset
    return load_with_sources(*names, preset, plugins)


def resumed_config(args: Namespace, names: list[str | Path]) -> tuple[TrainConfig, Preset]:
    """The configuration of the run in a directory; names, where given, must be its own."""
    from lica_jax.runs.directory import CONFIG, abandoned, check_names, read_config

    if args.run_dir is None:
        raise UserError("--resume needs the --run-dir of the run to go on with")
    if abandoned(args.run_dir) and not (args.run_dir / CONFIG).is_file():
        if names:
            return named_config(args, names)
        raise UserError(
            f"the run in {args.run_dir} ended before it wrote what it was: begin it again with "
            f"lica-jax train ALGORITHM TASK --run-dir {as_word(args.run_dir)}"
        )
    config = read_config(args.run_dir)
    if len(names) == 1:
        raise UserError(f"name the task as well, or leave out {names[0]}: --resume knows both")
    if names:
        check_names(args.run_dir, *names)
        config = dataclasses.replace(config, task=names[1])  # its time-outs may have changed
    if args.preset and args.preset != config.preset:
        raise UserError(
            f"{args.run_dir} was made with preset {config.preset!r}, not {args.preset!r}"
        )
    return config, Preset()


def _show_help(parser: Parser, args: Namespace, names: list[str | Path]) -> int:
    """Every setting with its value for what is named, or for LICA on 3m."""
    from lica_jax.cli.settings import settings_help
    from lica_jax.config import is_settings_file, resolve
    from lica_jax.envs import make_task

    if len(names) == 1 and not is_settings_file(names[0]):
        raise UserError(
            f"name a task as well, for example: lica-jax train {names[0]} smax/3m --help"
        )
    config, preset = named_config(args, names or ["lica", "smax/3m"])
    config = resolve(config, make_task(config.task).spec)
    parser.print_help()
    print(
        f"\nSETTINGS, in brackets their values for {config.algorithm} on {config.task}, preset "
        f"{config.preset!r}, and the preset file that sets them:\n"
    )
    print(settings_help(config, preset.sources))
    return 0


def _dump(config: TrainConfig) -> int:
    from lica_jax.config import dump_settings, resolve
    from lica_jax.envs import make_task
    from lica_jax.envs.registry import check_known_task

    check_known_task(config.task, config.plugins)
    print(dump_settings(resolve(config, make_task(config.task).spec)), end="")
    return 0


def _show_plan(config: TrainConfig, run_dir: Path, resume: bool, stop_at: str | None) -> int:
    from lica_jax.runs.callbacks import StopAt
    from lica_jax.runs.outlook import in_words
    from lica_jax.runs.plan import make_plan
    from lica_jax.runs.rows import eval_entries

    goal = None if stop_at is None else StopAt(stop_at)
    plan = make_plan(config, run_dir, resume=resume)
    if goal is not None:
        goal.check(eval_entries(plan.task))
    print(in_words(plan))
    return 0


def default_run_dir(algorithm: str, task: str) -> Path:
    """``runs/lica-smax-3m-20260101-120000-123``: the time to the millisecond."""
    import datetime

    now = datetime.datetime.now()
    stamp = f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}"
    return Path("runs") / f"{algorithm}-{re.sub('[^A-Za-z0-9_.]+', '-', task)}-{stamp}"
