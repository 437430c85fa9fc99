"""What every algorithm gets from the machinery: seeds in one program, resuming, export, presets."""

import functools

import jax
import pytest

from lica_jax.algorithms import algorithm_names, find_algorithm, make_algorithm
from lica_jax.config import load_config, presets_dir, resolve
from lica_jax.envs import make_task, task_names
from lica_jax.errors import UserError
from lica_jax.testing import check_algorithm
from tests.glossary import check_figures

TASK = "probe/match"
# A replay that is ready, and overwritten, within the run.
REPLAY = {"replay_capacity": 24, "replay_batch": 6}


def small(name):
    """Settings with which an algorithm trains in seconds."""
    algo = {"hidden": 8}
    replay = make_algorithm(name, make_task(TASK).spec).replay
    if replay:
        algo |= REPLAY
    if replay and replay.unit == "transition":
        algo["critic_steps"] = 2
    return algo


# One of each kind of state: replayed segments, replayed transitions, and a critic with a memory.
# LICA has tests of its own.
KINDS = {"qmix", "maddpg", "mappo"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in KINDS else pytest.mark.slow) for n in algorithm_names()],
)
def test_conformance(name):
    """Half a run, resumed, equals a whole one bitwise, its policy file plays as it does, ...; and
    no key is used twice, and nothing on the way is NaN."""
    with jax.debug_nans(True), jax.debug_key_reuse(True):
        check_figures(name, check_algorithm(name, TASK, algo=small(name)))


@pytest.mark.parametrize("name", [n for n in algorithm_names() if n not in KINDS])
def test_the_interface(name):
    """What the loop, evaluation, checkpoints and export rely on, without training; and every figure
    that it gives is in the documentation."""
    check_figures(name, check_algorithm(name, TASK, trained=False, algo=small(name)))


def test_the_interface_where_weights_are_played():
    """Actions are weights [N, A] on tasks that take them; the largest must be available."""
    task = "mpe/cooperative_navigation"
    check_algorithm("maddpg", task, trained=False, algo=small("maddpg"))


@functools.cache
def specs():
    return {task: make_task(task).spec for task in task_names()}


@pytest.mark.parametrize("name", algorithm_names())
def test_every_task_can_be_trained_or_is_refused_with_a_reason(name):
    """The default preset of every task; whoever is refused is told what to use instead."""
    for task, spec in specs().items():
        try:
            config = resolve(load_config(name, task), spec)
        except UserError as error:
            message = str(error)
            assert spec.continuous or spec.masks_actions, message
            assert "use " in message and any(other in message for other in algorithm_names()), (
                message
            )
        else:
            assert config.total_steps > 0


PAPER_SMAX = ("lica", "coma", "liir", "vdn", "qmix", "qtran")
PAPER_MPE = ("lica", "coma_fc", "iddpg", "maddpg", "sqddpg")


@pytest.mark.parametrize(
    ("names", "tasks"),
    [
        (PAPER_SMAX, ["2s3z", "1c3s5z", "5m_vs_6m", "2c_vs_64zg", "MMM2", "3s5z_vs_3s6z"]),
        (PAPER_MPE, ["predator_prey", "cooperative_navigation", "cooperative_navigation_n5"]),
    ],
)
def test_the_paper_preset_covers_the_paper(names, tasks):
    family = "smax" if names is PAPER_SMAX else "mpe"
    for task in tasks:
        spec = make_task(f"{family}/{task}").spec
        for name in names:
            config = resolve(load_config(name, f"{family}/{task}", preset="paper"), spec)
            if family == "smax":
                easy = task in ("2s3z", "1c3s5z")
                assert config.total_steps == (32_000_000 if easy else 64_000_000)
                assert (config.collect.mode, config.collect.envs) == ("episode", 32)
                assert (config.eval.interval, config.eval.episodes) == (320_000, 32)
            else:
                # 5000 episodes of at most 200 steps, an update every 100 steps of one environment.
                assert config.total_steps == 1_000_000
                assert (config.collect.envs, config.collect.length) == (1, 100)


def test_every_preset_belongs_to_an_algorithm():
    # Ablations are named by what they change, and figures are files of sweeps.
    folders = [
        path for path in presets_dir().iterdir() if path.name not in ("ablations", "figures")
    ]
    names = {path.stem for folder in folders for path in folder.rglob("*.yaml")}
    assert names <= set(algorithm_names()) | {"all"}, names - set(algorithm_names())


@pytest.mark.parametrize("name", algorithm_names())
def test_what_list_says_of_replay_is_true(name):
    replay = make_algorithm(name, make_task(TASK).spec).replay
    unit = {"segment": "episodes or segments", "transition": "transitions"}
    assert find_algorithm(name).replay == (unit[replay.unit] if replay else "")
