"""Settings without effect beside the others are named, in runs and in sweeps."""

import jax
import numpy as np
import pytest

from lica_jax import train
from lica_jax.config import load_config, resolve
from lica_jax.envs import make_task
from lica_jax.runs.messages import without_effect
from lica_jax.sweeps.driver import Driver

SPEC = make_task("smax/3m").spec
CASES = [
    ("lica", {"critic": "mlp", "mixing_embed": 8}, {}, "algo.mixing_embed 8", 'algo.critic "mlp"'),
    ("lica", {"target_critic": False}, {"target_interval": 7}, "hp.target_interval 7",
     "algo.target_critic False"),
    ("lica", {"hypernet_layers": 1, "hypernet_hidden": 9}, {}, "algo.hypernet_hidden 9",
     "algo.hypernet_layers 1"),
    ("qmix", {"hypernet_layers": 1, "hypernet_hidden": 9}, {}, "algo.hypernet_hidden 9",
     "algo.hypernet_layers 1"),
    ("qmix", {"optimiser": "adam"}, {"rms_eps": 1e-3}, "hp.rms_eps 0.001", 'optimiser "adam"'),
    ("liir", {"optimiser": "adam"}, {"rms_decay": 0.5}, "hp.rms_decay 0.5", 'optimiser "adam"'),
    ("mappo", {"value_norm": False}, {"value_norm_decay": 0.5}, "hp.value_norm_decay 0.5",
     "algo.value_norm False"),
]  # fmt: skip


@pytest.mark.parametrize(("algorithm", "algo", "hp", "what", "why"), CASES)
def test_a_run_says_what_changes_nothing(algorithm, algo, hp, what, why):
    spec = make_task("probe/match").spec
    config = resolve(load_config(algorithm, "probe/match", algo=algo, hp=hp), spec)
    (said,) = [line for line in without_effect(config, spec) if what in line]
    assert said.endswith(f"no effect with {why}") or said.endswith(why)
    name, _ = what.split()
    group, field = name.split(".")
    value = {"algo": algo, "hp": hp}[group][field]
    rest = {"algo": {"optimiser": "rmsprop"}} if "optimiser" in algo else {}  # presets have Adam
    without = load_config(algorithm, "probe/match", **rest, **{group: {field: value}})
    assert not any(name in line for line in without_effect(resolve(without, spec), spec))


@pytest.mark.parametrize(
    ("algorithm", "algo", "hp", "what", "needs"),
    [
        ("vdn", {"state_obs": True}, {}, "algo.state_obs True", None),
        ("lica", {}, {"average_decay": 0.5}, "hp.average_decay 0.5", {"critic_average": True}),
        ("lica", {"actor_steps": 2}, {"kl_target": 0.5}, "hp.kl_target 0.5", {"kl_mode": "target"}),
        ("lica", {}, {"kl_limit": 0.5}, "hp.kl_limit 0.5", {"trust_region": True}),
        (
            "lica_adv", {"advantage": "state_value", "state_obs": True, "hypernet_views": True}, {},
            "algo.hypernet_views True", {"advantage": "soft"},
        ),
    ],
)  # fmt: skip
def test_what_the_critic_does_not_read_is_told(algorithm, algo, hp, what, needs):
    def said(**algo):
        config = load_config(algorithm, "probe/match", algo=algo, hp=hp)
        spec = make_task("probe/match").spec
        return any(what in line for line in without_effect(resolve(config, spec), spec))

    assert said(**algo)
    assert needs is None or not said(**algo | needs)


@pytest.mark.parametrize(
    ("algorithm", "task", "told", "words", "untold"),
    [
        (
            "lica", "probe/match",
            {"algo": {"entropy_mode": "target"}, "hp": {"entropy_coef": 0.0}},
            "algo.entropy_mode target has no effect with hp.entropy_coef 0",
            {"algo": {"entropy_mode": "target"},
             "hp": {"entropy_coef": 0.0, "entropy_final": 0.1, "entropy_steps": 9.0}},
        ),
        (
            "maddpg", "probe/match", {"hp": {"temperature": 0.7}},
            'hp.temperature 0.7 has no effect with algo.behaviour "auto" on probe/match', {},
        ),
        (
            "maddpg", "mpe/predator_prey",
            {"algo": {"behaviour": "hard"}, "hp": {"temperature": 0.7}},
            'hp.temperature 0.7 has no effect with algo.behaviour "hard"',
            {"hp": {"temperature": 0.7}},
        ),
        (
            "coma", "probe/match", {"hp": {"lr_steps": 9.0}},
            "hp.lr_steps 9.0 has no effect with hp.lr_end 1",
            {"hp": {"lr_steps": 9.0, "lr_end": 0.5}},
        ),
        (
            "lica", "probe/match", {"hp": {"entropy_steps": 9.0, "entropy_coef": 0.25}},
            "hp.entropy_steps 9.0 has no effect with hp.entropy_final 0.25, the same as "
            "hp.entropy_coef",
            {"hp": {"entropy_steps": 9.0, "entropy_final": 0.0}},
        ),
        (
            "lica", "mpe/simple_spread",
            {"preset": "fast+monte_carlo", "timeout_is_terminal": True},
            'timeout_is_terminal True has no effect with algo.targets "monte_carlo"',
            {"preset": "fast+monte_carlo"},
        ),
    ],
)  # fmt: skip
def test_what_depends_on_numbers_or_the_task_is_told(algorithm, task, told, words, untold):
    spec = make_task(task).spec
    lines = [
        without_effect(resolve(load_config(algorithm, task, **how), spec), spec)
        for how in (told, untold)
    ]
    assert lines == [[words], []]


def test_a_time_limit_ends_monte_carlo_returns_in_any_case(tiny):
    tiny = {k: v for k, v in tiny.items() if k != "collect"} | {"total_steps": 100}
    tiny |= {"collect": {"mode": "episode", "envs": 2}, "preset": "fast+monte_carlo"}
    tiny["eval"] |= {"interval": 100}
    first, second = (
        train("lica", "mpe/simple_spread", display="none", timeout_is_terminal=ends, **tiny)
        for ends in (True, False)
    )
    jax.tree.map(np.testing.assert_array_equal, first.policy().params, second.policy().params)


def test_an_interval_without_a_target_changes_nothing(tiny):
    """The claim itself, of one: both runs end with the same parameters."""
    tiny |= {"total_steps": 64, "algo": tiny["algo"] | {"target_critic": False}}
    tiny["eval"] |= {"interval": 64}
    runs = [
        train("lica", "probe/match", display="none", hp={"target_interval": n}, **tiny)
        for n in (1, 50)
    ]
    jax.tree.map(np.testing.assert_array_equal, *(run.policy().params for run in runs))


def test_a_sweep_says_what_changes_nothing(tmp_path):
    def told(kind="grid", **values):
        words = {"algorithm": "lica", "task": "probe/match", "wave": 1, "devices": 1}
        words |= {kind: values} | ({"trials": 4} if kind == "search" else {})
        return Driver(words, tmp_path / "s", style="none").text.splitlines()

    said = told(**{"hp.temperature": [0.5, 1.0]})
    assert 'hp.temperature has no effect with algo.policy_input "probs"' in said
    said = told(**{"algo.critic": ["mlp", "mixing"], "algo.mixing_embed": [16, 32]})
    assert 'algo.mixing_embed has no effect with algo.critic "mlp", in 2 of 4 settings' in said
    assert "no effect" not in "".join(told(**{"hp.entropy_coef": [0.1, 0.2]}))
    said = told(**{"hp.lr_end": [0.5, 1.0], "hp.lr_steps": [9000, 90_000]})
    assert "hp.lr_steps has no effect with hp.lr_end 1, in 2 of 4 settings" in said
    both = {"algo.mlp_hidden": "choice:16,32", "algo.critic": "choice:mlp,mixing"}
    assert "no effect" not in "".join(told("search", **both))  # it may draw either critic
    assert not (tmp_path / "s").exists()


def test_what_a_preset_brings_is_not_said():
    """Nobody asked for it, and an ablation on top of a preset makes some of it idle."""
    said = [
        without_effect(
            resolve(load_config("lica", "smax/3m", preset="fast+mlp_critic", algo=algo), SPEC),
            SPEC,
        )
        for algo in ({}, {"hypernet_hidden": 32})
    ]
    assert said == [[], ['algo.hypernet_hidden 32 has no effect with algo.critic "mlp"']]
