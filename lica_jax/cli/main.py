"""The command line: ``lica-jax train | eval | list | reproduce | sc2``.

Flags are the fields of ``TrainConfig``, parsed by tyro over the preset's values, so that the shell
and Python share one set of names. Bad input gives one message and exit code 2.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import typing
from pathlib import Path

from lica_jax.cli.parsing import Parser, count, dispatch, plain_number
from lica_jax.errors import TrainingFailed, UserError, unknown

COMMANDS = {
    "train": "train an algorithm on a task, or resume a run",
    "eval": "evaluate a trained policy",
    "list": "show algorithms, tasks, presets and ablations",
    "reproduce": "reproduce a figure of the paper",
    "sc2": "StarCraft II: doctor, install-maps, record, replay",
}
TRAIN_USAGE = """\
lica-jax train ALGORITHM TASK [--preset NAME] [--run-dir DIR] [--progress STYLE] [SETTINGS]
lica-jax train --resume --run-dir DIR [SETTINGS]"""


def entry() -> None:
    """The installed command."""
    sys.exit(main())


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        return _dispatch(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except TrainingFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before training began, or a second time
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `lica-jax list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(argv: list[str]) -> int:
    if argv[:1] == ["--version"]:
        from lica_jax import __version__

        print(__version__)
        return 0
    run = {"train": _train, "eval": _eval, "list": _list, "reproduce": _reproduce, "sc2": _sc2}
    commands = {name: (run[name], about) for name, about in COMMANDS.items()}
    return dispatch("lica-jax", "LICA and its baselines in JAX", commands, argv)


def _use_compilation_cache() -> None:
    """Keeps compiled programs between runs, unless the user has chosen a place already."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(base / "lica_jax" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


# --- train ---------------------------------------------------------------------------------------


def _train(argv: list[str]) -> int:
    from lica_jax.config.schema import DEFAULT_PRESET, load_config, preset_names
    from lica_jax.runs.display import STYLES

    names = []
    while argv and not argv[0].startswith("-") and len(names) < 2:
        names.append(argv.pop(0))
    parser = Parser(prog="lica-jax train", usage=TRAIN_USAGE, add_help=False, allow_abbrev=False)
    parser.add_argument(
        "--preset",
        help=f"one of {', '.join(preset_names())}, with ablations as in paper+mlp_critic; "
        f"default {DEFAULT_PRESET}",
    )
    parser.add_argument(
        "--run-dir", type=Path, help="where to write; default runs/ALGORITHM-TASK-TIME"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the run directory's checkpoint"
    )
    parser.add_argument("--progress", choices=STYLES, default="auto", help="the live line")
    parser.add_argument("-h", "--help", action="store_true", help="show this and every setting")
    args, settings = parser.parse_known_args(argv)

    if args.help:
        return _show_settings(parser, args, names)
    if len(names) == 1 or (not names and not args.resume):
        raise UserError(
            "train needs an algorithm and a task, before any flag, for example: "
            "lica-jax train lica smax/3m\n" + TRAIN_USAGE
        )

    meta = [option for action in parser._actions for option in action.option_strings]
    if args.resume:
        config = _resumed_config(args, names)
    else:
        config = load_config(*names, preset=_preset(args))
    named = config.algorithm, config.task
    config = parse_settings(config, settings, meta)
    if named != (config.algorithm, config.task) and not args.resume:
        raise UserError(
            "the algorithm and the task are named before any flag, for example: "
            f"lica-jax train {config.algorithm} {config.task}"
        )
    run_dir = args.run_dir or default_run_dir(config.algorithm, config.task)

    from lica_jax.api import train

    _use_compilation_cache()
    result = train(config, run_dir=run_dir, resume=args.resume, display=args.progress)
    if result.interrupted is not None:
        return 128 + result.interrupted
    print(f"learning curve, policy and evaluations are in {run_dir}")
    return 0


def _preset(args) -> str:
    from lica_jax.config.schema import DEFAULT_PRESET

    return DEFAULT_PRESET if args.preset is None else args.preset


def _show_settings(parser, args, names: list[str]) -> int:
    """Every setting with its value for the named algorithm and task, or for LICA on 3m."""
    from lica_jax.config.schema import load_config, resolve
    from lica_jax.envs import make_task

    if len(names) == 1:
        raise UserError(
            f"name a task as well, for example: lica-jax train {names[0]} smax/3m --help"
        )
    algorithm, task = names or ("lica", "smax/3m")
    config = resolve(load_config(algorithm, task, preset=_preset(args)), make_task(task).spec)
    parser.print_help()
    print(f"\nSETTINGS, with the values of {algorithm} on {task}, preset {config.preset!r}:\n")
    parse_settings(config, ["--help"], [])
    return 0


def _resumed_config(args, names):
    from lica_jax.runs.directory import check_names, read_config

    if args.run_dir is None:
        raise UserError("--resume needs the --run-dir of the run to go on with")
    config = read_config(args.run_dir)
    if names:
        check_names(args.run_dir, *names)
        config = dataclasses.replace(config, task=names[1])  # its time-outs may have changed
    if args.preset and args.preset != config.preset:
        raise UserError(
            f"{args.run_dir} was made with preset {config.preset!r}, not {args.preset!r}"
        )
    return config


def setting_flags(config, prefix: str = "--") -> list[str]:
    """The flags of a configuration: its fields, nested ones with a dot."""
    flags = []
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        name, value = prefix + field.name.replace("_", "-"), getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flags += setting_flags(value, name + ".")
        else:
            flags += [name, _negated(name)] if hints[field.name] is bool else [name]
    return flags


def _negated(flag: str) -> str:
    """``--algo.no-double-q`` of ``--algo.double-q``."""
    head, _, last = flag.removeprefix("--").rpartition(".")
    return f"--{head}.no-{last}" if head else f"--no-{last}"


def _switches(settings: list[str], known: list[str]) -> list[str]:
    """``--algo.double-q False`` and ``--algo.double-q=False`` as ``--algo.no-double-q``."""
    out: list[str] = []
    words = iter(settings)
    for word in words:
        flag, equals, value = word.partition("=")
        plain = flag.replace("_", "-")
        if _negated(plain) not in known:
            out.append(word)
            continue
        if not equals:
            value = next(words, "True")
        if value.lower() in ("true", "false"):
            out.append(plain if value.lower() == "true" else _negated(plain))
        elif equals:
            raise UserError(f"{flag} is True or False, got {value!r}")
        else:  # the switch alone, and the next word
            out += [plain, *_switches([value, *words], known)]
    return out


def parse_settings(config, settings: list[str], meta: list[str]):
    """``config`` with the flags in ``settings`` applied; raises ``UserError`` naming bad ones.

    ``meta`` are the flags that are not settings; they are offered for misspelled ones.
    """
    settings = [_spelled_out(word) for word in settings]
    known = ["--help", *setting_flags(config)]
    for word in settings:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            raise unknown("flag", flag, known + meta, "`lica-jax train --help` shows all")
    import contextlib
    import io

    import tyro

    from lica_jax.config.schema import TrainConfig

    kind = TrainConfig[type(config.algo), type(config.hp)]
    wanted = [plain_number(word) for word in _switches(settings, known)]
    heard = io.StringIO()
    try:
        with contextlib.redirect_stderr(heard):
            return tyro.cli(kind, args=wanted, default=config, prog="lica-jax train ALGORITHM TASK")
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(_readable(heard.getvalue())) from None


# Short names of settings that are asked for all the time.
_SHORT = {"--envs": "--collect.envs", "--save-replay": "--eval.save-replay"}


def _spelled_out(word: str) -> str:
    flag, equals, value = word.partition("=")
    return _SHORT.get(flag, flag) + equals + value


def _readable(box: str) -> str:
    """The text inside the box that tyro draws around its errors."""
    lines = [line.strip("│╭╮╰╯─ ").strip() for line in box.splitlines()]
    return "\n  ".join(line for line in lines if line)


def default_run_dir(algorithm: str, task: str) -> Path:
    """``runs/lica-smax-3m-20260101-120000-123``: the time to the millisecond."""
    import datetime

    now = datetime.datetime.now()
    stamp = f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}"
    return Path("runs") / f"{algorithm}-{re.sub('[^A-Za-z0-9_.]+', '-', task)}-{stamp}"


# --- eval ----------------------------------------------------------------------------------------


def _eval(argv: list[str]) -> int:
    parser = Parser(prog="lica-jax eval", allow_abbrev=False, description=COMMANDS["eval"])
    parser.add_argument("path", type=Path, help="a run directory or a policy file (.safetensors)")
    parser.add_argument("--episodes", type=count, help="episodes per mode (512; 32 on smac/ tasks)")
    parser.add_argument("--seed", type=count, default=0, help="seed of the episodes (0)")
    parser.add_argument("--task", help="another task with the same sizes; default the trained one")
    parser.add_argument("--envs", type=count, default=8, help="games at once, on smac/ tasks (8)")
    parser.add_argument("--save-replay", type=Path, metavar="DIR", help="store the game's replays")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)

    from lica_jax.api import evaluate

    _use_compilation_cache()
    result = evaluate(
        args.path, task=args.task, episodes=args.episodes, seed=args.seed, envs=args.envs,
        save_replay=args.save_replay,
    )  # fmt: skip
    if args.json:
        import json

        print(json.dumps(result))
        return 0
    about = result["policy"]
    print(
        f"{about['algorithm']} trained on {about['task']} for {about['env_steps']:,} env steps "
        f"(seed {about['seed']})"
    )
    print(
        f"{result['task']} ({result['task_source']}), {result['greedy']['episodes']} episodes per "
        "mode:"
    )
    for mode in ("greedy", "sampled"):
        figures = result[mode]
        win = f"win rate {100 * figures['win_rate']:5.1f} %   " if "win_rate" in figures else ""
        print(
            f"  {mode:8} {win}return {figures['return_mean']:.3f} +- {figures['return_std']:.3f}   "
            f"length {figures['episode_length_mean']:.1f}"
        )
    if args.save_replay:
        problem = result.get("replays_missing")
        print(
            f"{len(result['replays'])} replays are in {args.save_replay}"
            + (f"; not all of them: {problem}" if problem else "")
        )
    if result.get("lost_episodes"):
        print(
            f"{result['lost_episodes']} episode(s) were lost and replaced; the last: "
            f"{result['lost_because']}"
        )
    return 0


# --- list ----------------------------------------------------------------------------------------


def _list(argv: list[str]) -> int:
    parser = Parser(prog="lica-jax list", allow_abbrev=False, description=COMMANDS["list"])
    parser.add_argument("what", nargs="?", choices=("algorithms", "tasks", "presets", "ablations"))
    args = parser.parse_args(argv)
    from lica_jax.algorithms import REGISTRY
    from lica_jax.config.schema import DEFAULT_PRESET, ablation_names, preset_coverage, preset_names
    from lica_jax.envs import Free, describe_task, task_names, task_options

    if args.what in (None, "algorithms"):
        print("algorithms")
        for name, entry in REGISTRY.items():
            policy = f"off-policy, replays {entry.replay}" if entry.replay else "on-policy"
            print(f"  {name:12} {entry.paper} ({entry.actions} actions, {policy})")
    if args.what in (None, "tasks"):
        print("tasks")
        for name in task_names():
            print(f"  {name:30} {describe_task(name)}")
        print("task options, default first, as in smax/2s3z:reward=smac,stats=sc2")
        for name, options in task_options().items():
            for option, values in options.items():
                shown = values.default if isinstance(values, Free) else "|".join(values)
                print(f"  {name:30} {option}={shown}")
    if args.what in (None, "presets"):
        print("presets")
        for name in preset_names():
            print(f"  {name}{' (default)' if name == DEFAULT_PRESET else ''}")
            for line in preset_coverage(name):
                print(f"    {line}")
    if args.what in (None, "ablations"):
        print("ablations, on top of any preset: --preset paper+NAME")
        for algorithm in REGISTRY:
            for name, about in ablation_names(algorithm).items():
                print(f"  {algorithm:12} {name:26} {about}")
    return 0


# --- reproduce -----------------------------------------------------------------------------------


def _reproduce(argv: list[str]) -> int:
    from lica_jax.reproduce import FIGURES

    parser = Parser(
        prog="lica-jax reproduce", allow_abbrev=False, description=COMMANDS["reproduce"]
    )
    parser.add_argument("figure", help=f"one of {', '.join(FIGURES)}")
    parser.add_argument("--out", type=Path, required=True, help="the directory to write to")
    parser.add_argument("--inits", type=count, default=20_000, help="random starts (20000)")
    parser.add_argument("--iterations", type=count, default=60, help="updates of each (60)")
    parser.add_argument("--seed", type=count, default=0, help="seed of everything random (0)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run's files")
    args = parser.parse_args(argv)
    if args.figure not in FIGURES:
        raise unknown("figure", args.figure, FIGURES, "`lica-jax reproduce --help` shows all")

    import importlib

    _use_compilation_cache()
    settings = {name: value for name, value in vars(args).items() if name != "figure"}
    importlib.import_module(FIGURES[args.figure]).reproduce(**settings)
    return 0


# --- sc2 -----------------------------------------------------------------------------------------


def _sc2(argv: list[str]) -> int:
    from lica_jax.cli.sc2 import main

    return main(argv)
