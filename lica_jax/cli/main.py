"""The command line: ``lica-jax train | sweep | eval | render | diagnose | bench | report |
list | reproduce | sc2``.

Bad input gives one message and exit code 2. Commands are imported when they are used.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable

from lica_jax.cli.parsing import check_words, dispatch
from lica_jax.cli.process import (
    drop_output,
    explained,
    find_device,
    import_jax,
    printable_output,
    quiet_libraries,
)
from lica_jax.errors import TrainingFailed, UserError
from lica_jax.files import put

# Name -> where its function is, and what it does.
COMMANDS = {
    "train": ("train:train", "train an algorithm on a task, or resume a run"),
    "sweep": ("sweep:sweep", "train many settings and seeds side by side"),
    "eval": ("evaluate:evaluate", "evaluate a trained policy"),
    "render": ("render:render", "watch a policy play, and see which agents its critic credits"),
    "diagnose": ("diagnose:diagnose", "compare a run's critic with rollouts of the simulator"),
    "bench": ("bench:bench", "measure how fast training is and where the time goes"),
    "report": ("report:report", "compare runs: curves, scores and statistics on one page"),
    "list": ("listing:show", "list algorithms, tasks, presets, ablations and trained policies"),
    "reproduce": ("reproduce:reproduce", "reproduce a figure of the paper"),
    "sc2": ("sc2:main", "tools for StarCraft II: doctor, install-maps, record, replay"),
}
WITHOUT_JAX, WITHOUT_DEVICE = ("report", "sc2"), ("report", "sc2", "listing", "sweep")


def entry() -> None:
    """The installed command."""
    # Tracing makes millions of objects that live on; looking for garbage among them as often as
    # Python does by default takes a twentieth of a small run and more.
    gc.set_threshold(50_000, 20, 50)
    sys.exit(main())


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    return run_command(_dispatch, list(sys.argv[1:] if argv is None else argv))


def run_command(command: Callable[[list[str]], int], argv: list[str]) -> int:
    """A command's exit code; what it raises that is no fault of the code becomes one message."""
    try:
        quiet_libraries()
        printable_output()
        code = command(argv)
        _flush()
        return code
    except UserError as error:
        return _failed(f"error: {error}", 2)
    except TrainingFailed as error:
        return _failed(f"error: {error}", 1)
    except KeyboardInterrupt:  # before training began, or a second time
        return _failed("interrupted", 130)
    except BrokenPipeError:  # `lica-jax list | head`
        drop_output()
        return 0
    except OSError as error:
        return _failed(f"error: {error}", 1)
    except (MemoryError, RuntimeError) as error:
        if not (found := explained(error)):
            raise
        text, code = found
        return _failed(f"error: {text}", code)


def _failed(text: str, code: int) -> int:
    put(text, sys.stderr)
    drop_output()
    return code


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _dispatch(argv: list[str]) -> int:
    check_words(argv)
    if argv[:1] == ["--version"]:
        from lica_jax.version import __version__

        print(__version__)
        return 0
    if argv[:1] == ["help"] and argv[1:2] and argv[1] in COMMANDS:
        argv = [argv[1], "--help"]
    commands = {name: (_command(where), about) for name, (where, about) in COMMANDS.items()}
    return dispatch("lica-jax", "LICA and its baselines in JAX", commands, argv)


def _command(where: str):
    """The function at ``module:name``, imported when it is called."""
    module, _, name = where.partition(":")

    def run(argv: list[str]) -> int:
        if module not in WITHOUT_JAX:
            import_jax()
        if module not in WITHOUT_DEVICE:
            find_device()
        return getattr(importlib.import_module(f"lica_jax.cli.{module}"), name)(argv)

    return run
