"""Figure 2 (a): the derivatives of the bonus that training uses are Eq. 5 and Eq. 6."""

import json

import jax
import numpy as np
import pytest

from lica_jax.cli.main import main
from lica_jax.reproduce import fig2a

P = np.array([0.01, 0.2, 0.5, 0.9, 0.999])
H = -(P * np.log(P) + (1 - P) * np.log(1 - P))


@pytest.mark.parametrize(
    ("mode", "strength"), [("constant", np.ones_like(P)), ("sample", 1 / H)], ids=["β", "ξ"]
)
def test_equations_5_and_6(mode, strength):
    with jax.enable_x64(True):
        by_p, by_z = (f(P, 0.11, mode) for f in (fig2a.by_probability, fig2a.by_logit))
    np.testing.assert_allclose(by_p, -0.11 * strength * (np.log(P) + 1), rtol=1e-10)
    # Behind the softmax: p (1 - p) (dH_1 - dH_2), by hand.
    by_hand = -0.11 * strength * P * (1 - P) * np.log(P / (1 - P))
    np.testing.assert_allclose(by_z, by_hand, rtol=1e-9, atol=1e-15)


def test_an_adaptive_pull_does_not_die_out():
    """Towards certainty the plain bonus lets go, the adaptive one holds on."""
    near = 1 - 0.1 ** np.array([1, 3, 6, 6.5, 7])  # as many as P, for which all is compiled
    with jax.enable_x64(True):
        plain, adaptive = (-fig2a.by_logit(near, 0.11, mode) for mode in ("constant", "sample"))
    assert plain[0] > 10 * plain[1] > 1000 * plain[2]
    assert (np.diff(adaptive) > 0).all() and 0.1 < adaptive[-1] < 0.11


def test_files_and_words(tmp_path, capsys):
    out = tmp_path / "a"
    assert main(["reproduce", "fig2a", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "ξ = 0.11" in text and "β = 0.17" in text and "dH/dz" in text
    assert sorted(p.name for p in out.iterdir()) == ["fig2a.json", "fig2a.pdf", "fig2a.png"]
    curves = json.loads((out / "fig2a.json").read_text())["curves"]
    assert [(c["symbol"], c["coef"]) for c in curves] == [
        ("β", 0.13), ("β", 0.15), ("β", 0.17), ("ξ", 0.06), ("ξ", 0.11),
    ]  # fmt: skip
    assert main(["reproduce", "fig2a", "--out", str(out)]) == 2
    assert "already holds fig2a.png" in capsys.readouterr().err
