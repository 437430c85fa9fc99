"""Figure 5 of the LICA paper: runs the one-step traffic junction, counts, writes and draws."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from lica_jax.errors import UserError
from lica_jax.reproduce import traffic_junction as game
from lica_jax.reproduce.files import check_new_files, numbers_text
from lica_jax.training.memory import available_bytes, tree_bytes

INITS = {"smoke": 200, "cpu": 20_000, "gpu": 20_000, "paper": 20_000}  # by scale
FILES = ("fig5.png", "fig5.pdf", "fig5.json")
PANELS = {"lica": "LICA", "coma_repo": "COMA, as in the official script"}
MEANING = {
    "1,0": "agent 1 passes",
    "0,1": "agent 2 passes",
    "0,0": "neither passes",
    "1,1": "both pass",
}
AGENT_COLOURS = ("#0072B2", "#D55E00")  # Okabe and Ito's blue and vermillion
LINES = {"1,0": "-", "0,1": (0, (4, 2))}  # the outcomes that the paper draws
DRAWN, LEFT_OUT = "#009E73", "0.55"


@dataclass(frozen=True)
class Settings:
    """A run of the figure; the values of k, lr and lrfac are the official plotting script's."""

    inits: int = 20_000
    iterations: int = 60
    seed: int = 0
    k: int = 5
    lr: float = 1e-2
    lrfac: float = 2.0
    hidden: int = 32


def reproduce(
    out: Path,
    *,
    inits: int = 20_000,
    iterations: int = 60,
    seed: int = 0,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Trains every method from ``inits`` initialisations; writes `FILES` under ``out``.

    Args:
      out: a directory; made if there is none.
      inits: random initialisations, the same ones for every method.
      iterations: critic-and-policy iterations of each.
      seed: seed of everything random.
      overwrite: whether files of an earlier run may be replaced.
      say: gets the lines of the report, each as soon as it is known.
      tell: gets how many methods are finished, and how many there are.

    Returns:
      What ``fig5.json`` holds.

    Raises:
      UserError: before anything is compiled or written.
    """
    settings = Settings(inits, iterations, seed)
    _check(settings)
    check_new_files(out, FILES, overwrite)
    say(f"{inits:,} initialisations x {iterations} iterations; how they ended, in %:")
    say(
        f"{'':20}" + "".join(f"{f'({name})':>8}" for name in game.OUTCOMES) + "  exactly one passes"
    )
    start, init_seconds = begin(settings)
    methods = {}
    for done, method in enumerate(game.METHODS):
        tell(done, len(game.METHODS))
        probs, seconds = simulate(method, start, settings)
        methods[method] = {**game.statistics(probs), "seconds": seconds}
        shares = [entry["fraction"] for entry in methods[method]["outcomes"].values()]
        say(
            f"{method:20}"
            + "".join(f"{100 * share:8.2f}" for share in shares)
            + f"{100 * sum(shares[:2]):20.2f}"
        )
    result = {
        "figure": "fig5",
        "settings": {**asdict(settings), "critic_lr": settings.lr * settings.lrfac},
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "init_seconds": init_seconds,
        "methods": methods,
    }
    _write(out, result)
    say("wrote " + ", ".join(str(out / name) for name in FILES))
    return result


# --- refusing ---------------------------------------------------------------------------------


def _check(settings: Settings) -> None:
    wrong = [
        f"--{name} must be at least 1, got {value}"
        for name, value in (("inits", settings.inits), ("iterations", settings.iterations))
        if value < 1
    ]
    if not 0 <= settings.seed < 2**31:
        wrong.append(f"--seed must be within 0 and 2^31 - 1, got {settings.seed}")
    if wrong:
        raise UserError("; ".join(wrong))
    free, need = available_bytes(), needed_bytes(settings)
    if free is not None and need > 0.9 * free:
        raise UserError(
            f"{settings.inits:,} initialisations x {settings.iterations:,} iterations need about "
            f"{need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; use fewer --inits or "
            "--iterations"
        )


def needed_bytes(settings: Settings) -> int:
    """Memory that one method needs at its peak, from shapes alone (an estimate from above)."""
    nets = jax.eval_shape(lambda seed: game.init(jax.random.key(seed), settings.hidden), 0)
    # Parameters, two moments, gradients and copies between steps: XLA reports at most 7.1 times
    # the parameters. A probability is held in single and double precision, with temporaries of
    # the statistics; with its share of the dropped rows that is below 64 bytes a pair.
    return settings.inits * (8 * tree_bytes(nets) + 64 * settings.iterations)


# --- running ----------------------------------------------------------------------------------


def begin(settings: Settings) -> tuple[Any, dict[str, float]]:
    """The networks and left-out rows of every initialisation; compiled once for all methods."""

    def begin_all(key: Array) -> Any:
        one = partial(game.start, iterations=settings.iterations, hidden=settings.hidden)
        return jax.vmap(one)(jax.random.split(key, settings.inits))

    return _timed(begin_all, jax.random.key(settings.seed))


def simulate(
    method: str, start: Any, settings: Settings
) -> tuple[Float[np.ndarray, "inits iterations 2"], dict[str, float]]:
    """Trains every initialisation of `begin` in one program; gives the probabilities of passing."""

    def train_all(nets: game.Nets, dropped: Any) -> Float[Array, "inits iterations 2"]:
        own = {"k": settings.k, "lr": settings.lr, "lrfac": settings.lrfac}
        return jax.vmap(partial(game.train, method=method, **own))(nets, dropped)[1]

    probs, seconds = _timed(train_all, *start)
    return np.asarray(probs), seconds


def _timed(function: Callable[..., Any], *args: Any) -> tuple[Any, dict[str, float]]:
    """The result of the jitted function, and the seconds to compile and to run it."""
    begun = time.perf_counter()
    program = jax.jit(function).lower(*args).compile()
    compiled = time.perf_counter()
    result = jax.block_until_ready(program(*args))
    ran = time.perf_counter()
    return result, {"compile": round(compiled - begun, 2), "run": round(ran - compiled, 2)}


# --- writing ----------------------------------------------------------------------------------


def _write(out: Path, result: dict[str, Any]) -> None:
    """Writes all files beside their places first, so that none is ever half written."""
    figure = draw(result)
    text = numbers_text(result)
    scratch = {out / name: out / f"{name}.tmp" for name in FILES}
    try:
        for path, beside in scratch.items():
            if path.suffix == ".json":
                beside.write_text(text)
            else:
                figure.savefig(beside, format=path.suffix[1:])
        for path, beside in scratch.items():
            beside.replace(path)
    except OSError as error:
        raise UserError(f"{error.filename or out} cannot be written: {error.strerror}") from None
    finally:
        for beside in scratch.values():
            beside.unlink(missing_ok=True)


def draw(result: dict[str, Any]) -> Any:
    """The figure of the paper, LICA and the official COMA, and below each how its runs ended."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.lines import Line2D

    from lica_jax.runs.figure import OwnFigure

    figure = OwnFigure(figsize=(9.6, 5.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    grid = figure.subplots(2, 2, sharex="row", sharey="row", height_ratios=(3.2, 1))
    for column, (method, title) in enumerate(PANELS.items()):
        stats = result["methods"][method]
        _draw_curves(grid[0, column], stats)
        grid[0, column].set_title(title, fontweight="bold")
        _draw_outcomes(grid[1, column], stats)
    grid[0, 0].set_ylabel("probability of passing (%)")
    # All four, even where one panel lacks an outcome.
    lines = [
        Line2D([], [], color=colour, ls=style, lw=2, label=f"agent {i + 1}, runs ending in ({o})")
        for o, style in LINES.items()
        for i, colour in enumerate(AGENT_COLOURS)
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    inits = result["settings"]["inits"]
    figure.suptitle(
        f"One-step traffic junction, {inits:,} initialisations. Curves: mean ± std over the runs "
        "that ended\nwith exactly one agent passing, as in the paper. Bars: how all runs ended.",
        fontsize=11,
    )
    return figure


def _draw_curves(axes: Any, stats: dict[str, Any]) -> None:
    """Both agents in the runs that ended with exactly one passing, as in the paper."""
    for outcome, style in LINES.items():
        runs = stats["outcomes"][outcome]
        if not runs["count"]:
            continue
        for i, colour in enumerate(AGENT_COLOURS):
            curve = runs[f"agent_{i + 1}"]
            mean, std = 100 * np.array(curve["mean"]), 100 * np.array(curve["std"])
            x = np.arange(len(mean))
            axes.plot(x, mean, color=colour, ls=style, lw=2)
            axes.fill_between(x, mean - std, mean + std, color=colour, alpha=0.13, lw=0)
    axes.set(xlabel="policy updates", ylim=(-3, 103), yticks=range(0, 101, 25))
    axes.set_xlim(0, max(1, len(stats["entropy"]["mean"]) - 1))
    axes.grid(alpha=0.3)


def _draw_outcomes(axes: Any, stats: dict[str, Any]) -> None:
    """A bar for each outcome: what the curves above show (green) and what they leave out."""
    for place, outcome in enumerate(game.OUTCOMES):
        share, drawn = 100 * stats["outcomes"][outcome]["fraction"], outcome in LINES
        axes.barh(place, share, color=DRAWN if drawn else LEFT_OUT, height=0.72)
        note = f"{share:.1f} %" + ("" if drawn else "  (not drawn above)")
        inside = share > 60  # no room to the right of a long bar
        axes.text(
            share + (-1.5 if inside else 1.5), place, note, va="center", fontsize=9,
            ha="right" if inside else "left", color="white" if inside else "black",
        )  # fmt: skip
    names = [f"({outcome})  {MEANING[outcome]}" for outcome in game.OUTCOMES]
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set(xlim=(0, 100), xticks=range(0, 101, 25), xlabel="share of all initialisations (%)")
    if not axes.yaxis_inverted():  # the axis is shared by both panels
        axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
