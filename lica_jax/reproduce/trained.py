"""Figures that are sweeps: the plan, training through `sweeps.driver`, numbers, pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lica_jax.config.presets import presets_dir
from lica_jax.errors import UserError, unknown
from lica_jax.files import as_word, make_folder, plain, read_json, write_json
from lica_jax.reproduce import drawing, results
from lica_jax.reproduce.expected import expect, expected_text, rates
from lica_jax.reproduce.experiments import EXPERIMENTS
from lica_jax.reproduce.files import write_numbers, write_pictures
from lica_jax.runs.names import RESULT
from lica_jax.sweeps.driver import Driver
from lica_jax.sweeps.folder import SWEEP, Folder
from lica_jax.sweeps.request import PLURALS, SweepConfig, merged, read_request, request
from lica_jax.sweeps.settings import Setting, grid_values, make_settings

STATE, RUNS = "reproduce.json", "sweep"  # in a figure's folder
Say = Callable[[str], None]


def reproduce(
    figure: str, scale: str, out: Path, *, resume: bool = False, dry_run: bool = False,
    only: Mapping[str, Sequence[str]] | None = None, words: Mapping[str, Any] | None = None,
    style: str = "auto", say: Say = print, waiting: Callable[[], Any] = nullcontext,
) -> int:  # fmt: skip
    """Trains a figure's runs, or what is left of them, and writes its numbers and pictures.

    Args:
      figure: of `EXPERIMENTS`.
      scale: of `SCALES`.
      out: an empty or a new folder; of ``resume`` one that holds the same figure and scale.
      dry_run: say what would be run, and stop.
      only: the figure's algorithms and tasks that are run, by ``algorithms`` and ``tasks``; of one
        that goes on they are known.
      words: of a sweep, on top of its file's: ``seeds``, ``wave``, ``devices``.
      style: of the live line.
      say: takes what is told.
      waiting: a context for the time until there is a plan.

    Returns:
      0, or the number of the signal that stopped it.

    Raises:
      UserError: bad input; nothing was compiled or overwritten.
    """
    asked = merged(_chosen(read_request(sweep_file(figure, scale)), only or {}), words or {})
    sweep_dir = out / RUNS
    began = _check_out(figure, scale, out, resume)
    with waiting():
        again = f"lica-jax reproduce {figure} --scale {scale} --out {as_word(out)} --resume"
        driver = Driver(
            (words or {}) if began else asked, sweep_dir, resume=began, style=style, again=again
        )
        text = plan_text(figure, scale, driver.work.ask, driver.work.settings)
    say(text)
    if dry_run:
        say(driver.text)
        return 0
    make_folder(out, f"--out {out}")
    write_json(out / STATE, {"figure": figure, "scale": scale})
    result = driver.run()
    if result.interrupted is not None:
        return result.interrupted
    folder = Folder(result.sweep_dir)
    finish(figure, scale, out, [folder.run(row["run"]) for row in result.table], say)
    return 0


def sweep_file(figure: str, scale: str) -> Path:
    """Where a figure's sweep is."""
    return presets_dir() / "figures" / figure / f"{scale}.yaml"


def _chosen(asked: dict[str, Any], only: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The words of a sweep with some of its algorithms and tasks; raises ``UserError``."""
    there = request(asked)
    for one, several in PLURALS.items():
        known = getattr(there, several)
        for name in only.get(several, ()):
            if name not in known:
                raise unknown(f"{one} of this figure and scale", name, known, "")
        if several in only:
            asked.pop(one, None)
            asked[several] = list(only[several])
    return asked


def _check_out(figure: str, scale: str, out: Path, resume: bool) -> bool:
    """Whether there is a sweep to go on with, which ``resume`` needs; writes nothing.

    Raises:
      UserError: the folder cannot be used.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a directory")
    if not resume:
        if out.is_dir() and not _never_began(out):
            raise UserError(
                f"--out {out} is not empty; go on with --resume or choose another --out"
            )
        return False
    check_held(figure, scale, out, "--out")
    if _never_began(out):
        raise UserError(f"--out {out} was stopped before it began: leave out --resume")
    return True


def check_held(figure: str, scale: str, folder: Path, flag: str) -> None:
    """Raises ``UserError`` for a folder, given by ``flag``, of another figure or scale."""
    if not (folder / STATE).is_file():
        raise UserError(f"{flag} {folder} holds no figure's runs: it has no {STATE}")
    state = read_json(folder / STATE)
    if state != {"figure": figure, "scale": scale}:
        held = "another figure"
        if isinstance(state, dict):
            held = f"{state.get('figure')} at scale {state.get('scale')}"
        raise UserError(f"{flag} {folder} holds {held}, not {figure} at scale {scale}")


def _never_began(out: Path) -> bool:
    """Whether a folder holds nothing, or what is written before a sweep says what was asked."""
    names = {path.name for path in out.iterdir()}
    return names <= {STATE, f"{STATE}.tmp", RUNS} and not (out / RUNS / SWEEP).is_file()


# --- what is going to be run ---------------------------------------------------------------------


def settings_of(figure: str, scale: str) -> tuple[SweepConfig, list[Setting]]:
    """A figure's sweep and its settings, as the file has them."""
    ask = request(read_request(sweep_file(figure, scale)))
    settings, refused = make_settings(ask, grid_values(ask))
    if refused:
        raise UserError(f"{sweep_file(figure, scale)}: {refused[0]}")
    return ask, settings


def plan_text(figure: str, scale: str, ask: SweepConfig, settings: list[Setting]) -> str:
    """What is going to be run, and how long that takes."""
    experiment = EXPERIMENTS[figure]
    steps = sum(setting.config.total_steps for setting in settings) * len(ask.seeds)
    methods = list(dict.fromkeys(_label(experiment, setting) for setting in settings))
    lines = [
        f"{drawing.number_of(figure)} of the paper (section {experiment.section}), scale {scale}: "
        f"{experiment.title}",
        f"  tasks    {', '.join(dict.fromkeys(s.config.task for s in settings))}",
        f"  methods  {', '.join(methods)}",
        f"  runs     {len(settings) * len(ask.seeds)}, {len(ask.seeds)} seeds of each; "
        f"{steps / 1e6:,.3g} M env steps in all",
        f"  time     {expected_text(expect(settings, len(ask.seeds)))} on {rates()['machine']};",
        "           the sweep itself says how long is left after its first wave",
    ]
    return "\n".join(lines + [f"  note     {note}" for note in experiment.notes])


def _label(experiment: Any, setting: Setting) -> str:
    from lica_jax.config import to_dict

    return experiment.label(plain(to_dict(setting.config)))


# --- what came of it -----------------------------------------------------------------------------


def finish(
    figure: str, scale: str, out: Path, run_dirs: Sequence[Path], say: Say = print,
    notes: Sequence[str] = (),
) -> None:  # fmt: skip
    """Writes the numbers and pictures of runs that have come to their ends, with ``notes``.

    Raises:
      UserError: there is nothing to draw of any of them.
    """
    experiment = EXPERIMENTS[figure]
    panels, told = results.collect(experiment, run_dirs)
    if not panels:
        raise UserError(f"no run can be used: there is nothing to draw. {' '.join(told)}".strip())
    told = [*notes, *told]
    found = {
        "figure": figure, "scale": scale, "title": experiment.title,
        "form": experiment.form, "notes": [*experiment.notes, *told],
        "seconds": round(sum(map(_seconds, run_dirs)), 1),
        "panels": panels,
    }  # fmt: skip
    make_folder(out, f"--out {out}")
    write_numbers(out / f"{figure}.json", found)
    files = write_pictures(out, drawing.draw(figure, experiment, found))
    for line in [*results.summary_lines(experiment, panels), *told]:
        say(line)
    say("wrote " + ", ".join(str(out / name) for name in (f"{figure}.json", *files)))


def _seconds(run_dir: Path) -> float:
    """A run's share of the seconds of its wave; 0 where its files do not say."""
    try:
        result = read_json(run_dir / RESULT)
        return float(result["seconds"]) / max(1, result.get("side_by_side", 1))
    except (UserError, KeyError, TypeError, ValueError):
        return 0.0
