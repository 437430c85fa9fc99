"""Plans of waves: what they share, and how much of it is kept."""

import contextlib
import gc
import weakref
from types import SimpleNamespace

import pytest

from lica_jax.sweeps import plans, wave
from lica_jax.sweeps.plans import Plans
from lica_jax.sweeps.request import request
from lica_jax.sweeps.settings import grid_values, make_settings
from tests.conftest import forget_programs


def settings_of(words, widths):
    """Settings with a program each."""
    del words["algo"]["hidden"]
    ask = request(words | {"grid": {"algo.hidden": list(widths)}})
    return make_settings(ask, grid_values(ask))[0]


def test_the_plans_that_were_asked_for_last_stay(words, monkeypatch):
    """And what JAX keeps of others goes, once."""
    cleared = []
    monkeypatch.setattr(plans.jax, "clear_caches", lambda: cleared.append(True))
    configs = [setting.config for setting in settings_of(words, range(3, 6))]
    found = Plans(kept=2)
    first = [found.base(config, 1) for config in configs[:2]]
    assert found.base(configs[0], 1) is first[0]  # number 1 has not been asked for the longest
    found.let_go()
    assert not cleared  # nothing has been dropped
    found.base(configs[2], 1)
    assert found.base(configs[0], 1) is first[0]
    assert found.base(configs[1], 1) is not first[1]
    found.let_go()
    found.let_go()
    assert len(cleared) == 1


@pytest.mark.parametrize("ends", [lambda *_: wave.Outcome(whole=True), None])
def test_memory_goes_back_behind_every_wave(monkeypatch, ends):
    """However it ended."""
    done = []
    monkeypatch.setattr(wave, "_run_wave", ends)
    monkeypatch.setattr(wave, "return_memory", lambda: done.append("memory"))
    kept = SimpleNamespace(let_go=lambda: done.append("plans"))
    with contextlib.nullcontext() if ends else pytest.raises(TypeError):
        wave.run_wave(SimpleNamespace(plans=kept), None)
    assert done == ["plans", "memory"]


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
