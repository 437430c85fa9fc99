"""Plans of waves: what they share, and how much of it is kept."""

import gc
import weakref

from lica_jax.sweeps import plans
from lica_jax.sweeps.folder import Member
from lica_jax.sweeps.plans import KEPT, Plans
from lica_jax.sweeps.request import request
from lica_jax.sweeps.settings import grid_values, make_settings
from tests.conftest import forget_programs


def settings_of(words, widths):
    """Settings with a program each."""
    del words["algo"]["hidden"]
    ask = request(words | {"grid": {"algo.hidden": list(widths)}})
    return make_settings(ask, grid_values(ask))[0]


def test_the_last_programs_are_kept(words, tmp_path, monkeypatch):
    """Those asked for last; and what JAX keeps of others goes as soon as there are too many."""
    cleared = []
    monkeypatch.setattr(plans.jax, "clear_caches", lambda: cleared.append(True))
    settings = settings_of(words, range(3, 3 + KEPT + 1))
    found, folder = Plans(), tmp_path / "none"

    def engine(k):
        return found.base(settings[k].config, 1).engine

    def train(k):
        return found.plan(settings, [Member(0, k, 0)], 100, folder).engine

    first = [train(k) for k in range(KEPT)]
    assert [engine(k) for k in range(KEPT)] == first and not cleared
    assert train(0) is first[0] and not cleared  # all of them are there
    train(KEPT)  # one more: number 1 has not been asked for the longest
    assert len(cleared) == 1 and len(found._bases) == KEPT
    assert engine(0) is first[0] and engine(2) is first[2]
    train(KEPT)
    assert len(cleared) == 1  # the same program goes on


def test_engines_go_with_their_plans(words):
    """Nobody else holds them."""
    forget_programs()  # the few that a process shares anyway
    found = Plans(kept=2)
    engines = [
        weakref.ref(found.base(setting.config, 1).engine)
        for setting in settings_of(words, range(20, 24))
    ]
    forget_programs()
    gc.collect()
    assert [there() is not None for there in engines] == [False, False, True, True]
