# ruff: noqa: E402
"""Side by side with the genuine `smac`: the same actions, the same numbers to the last bit.

Opt-in. `smac` and `pysc2` do not install beside today's protobuf in the ordinary way, so this wants
a checkout of oxwhirl/smac in `SMAC_REPO` and an environment with
`pip install pysc2==4.0.0 --no-deps` and what that needs. Both play FakeSC2; where SMAC is known to
be wrong (`test_env.py` has those) it is not compared.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

REPO = os.environ.get("SMAC_REPO")
if not REPO:
    pytest.skip("SMAC_REPO names no checkout of oxwhirl/smac", allow_module_level=True)
sys.path.insert(0, REPO)
pytest.importorskip("pysc2.run_configs", exc_type=ImportError)
smac = pytest.importorskip("smac.env.starcraft2.starcraft2", exc_type=ImportError)

from lica_jax.smac.layout import FIRST_TARGET
from lica_jax.smac.maps import MAPS
from lica_jax.smac.options import Options
from lica_jax.starcraft2.env.environment import StarCraft2Env
from lica_jax.starcraft2.env.matches import match_seed
from lica_jax.starcraft2.game import messages
from lica_jax.starcraft2.game.install import find_install
from lica_jax.starcraft2.game.process import Game
from lica_jax.starcraft2.testing.install import living, make_install

SEED = 5
POLICIES = ("random", "attack", "focus")
OPTIONS = {
    "blind": {"obs_all_health": False, "obs_own_health": False},
    "own_health": {"obs_all_health": False},
    "last_action": {"obs_last_action": True},
    "grids": {"obs_pathing_grid": True, "obs_terrain_height": True},
    "pathing": {"obs_pathing_grid": True},
    "height": {"obs_terrain_height": True, "move_amount": 3},
    "timestep": {"obs_timestep_number": True, "state_timestep_number": True},
    "obs_as_state": {"obs_instead_of_state": True},
    "obs_as_state_timestep": {"obs_instead_of_state": True, "obs_timestep_number": True},
    "no_last_action": {"state_last_action": False, "state_timestep_number": True},
    "sparse": {"reward_sparse": True},
    "sparse_unscaled": {"reward_sparse": True, "reward_scale": False},
    "negative": {"reward_only_positive": False, "reward_defeat": -7.3},
    "odd_rewards": {
        "reward_only_positive": False,
        "reward_death_value": 3.7,
        "reward_win": 11.1,
        "reward_negative_scale": 0.3,
        "reward_scale_rate": 13.7,
    },
    "unscaled": {"reward_scale": False},
    "continuing": {"continuing_episode": True, "step_mul": 2},
    "slow": {"step_mul": 3, "move_amount": 1},
    "easy": {"difficulty": "A", "move_amount": 2.5},
    "heuristic": {"heuristic_ai": True},
    "heuristic_rest": {"heuristic_ai": True, "heuristic_rest": True},
    "everything": {
        "obs_last_action": True,
        "obs_pathing_grid": True,
        "obs_terrain_height": True,
        "obs_timestep_number": True,
        "state_timestep_number": True,
    },
}


@pytest.mark.parametrize("map_name", MAPS)
def test_every_map(map_name, tmp_path, monkeypatch):
    play(map_name, Options(), tmp_path, monkeypatch)


@pytest.mark.parametrize("map_name", ["MMM2", "1c3s5z", "bane_vs_bane"])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option(name, map_name, tmp_path, monkeypatch):
    play(map_name, Options(**OPTIONS[name]), tmp_path, monkeypatch)


@pytest.mark.parametrize("pipeline", [False, True])
def test_old_pathing_grids_and_late_units(pipeline, tmp_path, monkeypatch):
    # SMAC counts the enemies' health again for every loop it waits: hence no scaling here.
    options = Options(reward_scale=False, obs_pathing_grid=True)
    faults = {"pathing_8bit": True, "spawn_delay": 5}
    play("3s5z", options, tmp_path, monkeypatch, pipeline=pipeline, **faults)


ENDINGS = {  # who is killed: a player and, by their place among its units, those who stay
    "won": {2: []},
    "lost": {1: []},
    "nobody left": {1: [], 2: []},
    "their medivac left": {2: [-1]},
    "our medivac left": {1: [-1]},
    "medivacs left": {1: [-1], 2: [-1]},
    "one each": {1: [0], 2: [0]},
    "our medivac and their dead": {1: [-1], 2: []},
    "all of us and all but their medivac": {1: [], 2: [-1]},
}


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("options", [{}, OPTIONS["sparse"], OPTIONS["odd_rewards"]])
@pytest.mark.parametrize("map_name", ["MMM", "2s3z"])
def test_every_ending(name, options, map_name, tmp_path, monkeypatch):
    root, ours, theirs = both(map_name, Options(**options), tmp_path, monkeypatch)
    rng = np.random.default_rng(0)
    try:
        for _ in range(2):
            ours.reset()
            theirs.reset()
            compare(ours, theirs)
            tags = []
            for player, stay in ENDINGS[name].items():
                # Allies stand in the order of their types, medivacs last; so do enemies here.
                units = theirs.agents if player == 1 else theirs.enemies
                mine = ours._allies if player == 1 else ours._enemies
                assert tuple(unit.tag for unit in units.values()) == mine.tags
                types = list(mine.side.types)
                last = max(range(len(types)), key=types.__getitem__)
                keep = {last if place == -1 else place for place in stay}
                tags += [tag for place, tag in enumerate(mine.tags) if place not in keep]
            kill = messages.DebugCommand(kill_unit=messages.DebugKillUnit(tag=tags))
            ours._games.call(messages.Request(debug=messages.RequestDebug(debug=[kill])))
            theirs._controller.debug([kill])
            over = False
            while not over:
                actions = choose("focus", ours.avail(), rng)
                reward, over, info = ours.step(actions)
                assert theirs.step(list(actions)) == (reward, over, info)
                compare(ours, theirs)
    finally:
        ours.close()
        theirs.close()
    assert living(root) == []


def both(map_name, options, tmp_path, monkeypatch, pipeline=True, **faults):
    """The tree of the game, our environment and theirs."""
    root = make_install(tmp_path / "sc2", **faults)
    monkeypatch.setenv("SC2PATH", str(root))
    install = find_install(str(root))
    given = {name: getattr(options, name) for name in options.__dataclass_fields__}
    theirs = smac.StarCraft2Env(map_name=map_name, seed=match_seed(SEED, 0, 0), **given)
    ours = StarCraft2Env(
        map_name,
        options,
        launch=lambda number: Game.launch(install, tmp_path),
        seed=SEED,
        pipeline=pipeline,
    )
    return root, ours, theirs


def play(map_name, options, tmp_path, monkeypatch, pipeline=True, **faults):
    """An episode per policy in both; asserts equality at every step."""
    root, ours, theirs = both(map_name, options, tmp_path, monkeypatch, pipeline, **faults)
    rng = np.random.default_rng(0)
    try:
        sizes = theirs.get_env_info()
        assert ours.obs_size == sizes["obs_shape"]
        assert ours.state_size == sizes["state_shape"]
        assert ours.n_actions == sizes["n_actions"]
        for policy in POLICIES:
            theirs.reset()
            ours.reset()
            before = compare(ours, theirs)
            over = False
            while not over:
                actions = choose(policy, ours.avail(), rng)
                changed = list(actions)
                reward, over, info = ours.step(actions)
                assert theirs.step(changed) == (reward, over, info)
                if options.heuristic_ai:
                    check_heuristic(ours.chosen, changed, before)
                before = compare(ours, theirs)
    finally:
        ours.close()
        theirs.close()
    assert living(root) == []


def check_heuristic(chosen, theirs, alive):
    """SMAC lets the dead attack as well; the game refuses, and here they do nothing."""
    for agent, lives in enumerate(alive):
        assert chosen[agent] == (theirs[agent] if lives else 0)


def choose(policy, avail, rng):
    """Random actions, random targets where there are any, or everybody's first target."""
    actions = []
    for row in avail:
        options = np.flatnonzero(row)
        targets = options[options >= FIRST_TARGET]
        if policy == "focus" and len(targets):
            actions.append(int(targets[0]))
        elif policy == "attack" and len(targets):
            actions.append(int(rng.choice(targets)))
        else:
            actions.append(int(rng.choice(options)))
    return actions


def compare(ours, theirs):
    """Observations, state and availability; returns who is alive."""
    obs = [np.asarray(row, np.float32) for row in theirs.get_obs()]
    if ours.options.obs_timestep_number:
        # SMAC appends the time behind the slot that it reserves, and leaves that zero.
        assert all(row[-2] == 0 for row in obs)
        obs = [np.delete(row, -2) for row in obs]
    obs = np.stack(obs)
    state = theirs.get_state()
    if ours.options.obs_instead_of_state:
        state = obs.reshape(-1) if ours.options.obs_timestep_number else state
    assert ours.obs().tobytes() == obs.tobytes()
    assert ours.state().dtype == state.dtype
    assert ours.state().tobytes() == state.tobytes()
    assert (ours.avail() == np.array(theirs.get_avail_actions(), bool)).all()
    return ours.alive()
