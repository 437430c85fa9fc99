"""Figure 2 (a) of the LICA paper: the derivative of the entropy term before and after Eq. 6.

Nothing is trained. The paper's figure follows Eq. 5 for two actions (its footnote 2), whose other
probability is 1 - p. The derivatives are those of `core.entropy`, the function that training uses,
by automatic differentiation in double precision.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lica_jax.core.entropy import categorical_entropy, entropy_bonus
from lica_jax.reporting.picture import FAINT, Panel, Picture, styles_of
from lica_jax.reproduce.files import check_new_files, write_numbers, write_pictures

FILES = ("fig2a.png", "fig2a.pdf", "fig2a.json")
BETAS, XIS = (0.13, 0.15, 0.17), (0.06, 0.11)  # section 4.3.2
POINTS = 199  # of p, evenly inside (0, 1)
SHOWN = (0.01, 0.05, 0.5, 0.95, 0.99)  # of them, in words
BESIDE = ("ξ = 0.05 (C_MLP)", "ξ = 0.11 (C_MLP)")  # in (b) and (c), where the rest looks as here
MODES = {"β": "constant", "ξ": "sample"}  # of the bonus: Eq. 5, and Eq. 6 to the letter


def reproduce(
    out: Path, *, overwrite: bool = False, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Computes the curves and writes `FILES` under ``out``; returns what ``fig2a.json`` holds.

    Raises:
      UserError: the files are there, or cannot be written.
    """
    check_new_files(out, FILES, overwrite)
    p = np.linspace(0, 1, POINTS + 2)[1:-1]
    with jax.enable_x64(True):
        curves = [
            {"symbol": symbol, "coef": coef, "by_probability": by_probability(p, coef, mode),
             "by_logit": by_logit(p, coef, mode)}
            for symbol, mode in MODES.items()
            for coef in (BETAS if symbol == "β" else XIS)
        ]  # fmt: skip
    result = {"figure": "fig2a", "p": p, "curves": curves}
    for key, name in (("by_probability", "dH/dp"), ("by_logit", "dH/dz, z the action's logit")):
        say(f"{'p':>6}" + "".join(f"{label(c):>10}" for c in curves) + f"   {name}")
        for place in SHOWN:
            i = int(np.abs(p - place).argmin())
            say(f"{p[i]:6.2f}" + "".join(f"{c[key][i]:10.3f}" for c in curves))
    write_numbers(out / "fig2a.json", rounded(result))
    write_pictures(out, [draw(result)])
    say("wrote " + ", ".join(str(out / name) for name in FILES))
    return result


def rounded(value: Any) -> Any:
    """Arrays as lists of numbers to six digits, wherever they stand."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return [float(f"{number:.6g}") for number in value]
    return value


def label(curve: dict[str, Any]) -> str:
    """``ξ = 0.11``."""
    return f"{curve['symbol']} = {curve['coef']:g}"


def _bonus(entropy: Float[Array, ""], coef: float, mode: str) -> Float[Array, ""]:
    """The entropy term of one agent with two actions in one state."""
    one = jnp.ones((1, 1, 1), entropy.dtype)
    return entropy_bonus(entropy * one, 2 * one, one[..., 0], jnp.asarray(coef), mode)[0]


def by_probability(p: Float[np.ndarray, " P"], coef: float, mode: str) -> Float[np.ndarray, " P"]:
    """``dH_1`` of Eq. 5 or 6: by the first probability alone, at ``[p, 1 - p]``."""

    def term(first: Float[Array, ""], second: Float[Array, ""]) -> Float[Array, ""]:
        probs = jnp.stack([first, second])
        return _bonus(-jnp.sum(probs * jnp.log(probs)), coef, mode)

    return np.asarray(jax.vmap(jax.grad(term))(jnp.asarray(p), jnp.asarray(1 - p)))


def by_logit(p: Float[np.ndarray, " P"], coef: float, mode: str) -> Float[np.ndarray, " P"]:
    """The same by the first of two logits, which is what reaches the network."""

    def term(logit: Float[Array, ""]) -> Float[Array, ""]:
        logits = jnp.stack([logit, jnp.zeros_like(logit)])
        return _bonus(categorical_entropy(logits, jnp.ones(2, bool)), coef, mode)

    return np.asarray(jax.vmap(jax.grad(term))(jnp.asarray(np.log(p / (1 - p)))))


def draw(result: dict[str, Any]) -> Picture:
    """The paper's panel, and beside it what is left of it behind the softmax."""
    labels = [label(curve) for curve in result["curves"]]
    every = styles_of(dict.fromkeys((*labels, *BESIDE), "lica"))
    styles = {name: every[name] for name in labels}

    def panel(key: str, name: str, limit: float) -> Callable[[Any], None]:
        def drawn(axes: Any) -> None:
            for curve in result["curves"]:
                s = styles[label(curve)]
                axes.plot(result["p"], curve[key], color=s.colour, ls=s.dashes, lw=1.8)
            axes.axhline(0, color=FAINT, lw=0.8)
            axes.set(xlabel="action probability p", ylabel=name, xlim=(0, 1), ylim=(-limit, limit))

        return drawn

    titles = (
        "by the probability, as in the paper",
        "by the action's logit, as the network gets it",
    )
    panels = [
        Panel(titles[0], panel("by_probability", "dH / dp", 1.0)),
        Panel(titles[1], panel("by_logit", "dH / dz", 0.12)),
    ]
    title = (
        "Figure 2 (a): the pull of the entropy term on an action's probability,\n"
        "plain (β, Eq. 5) and adaptive (ξ, Eq. 6), for two actions"
    )
    return Picture("fig2a", title, "", panels, styles)
