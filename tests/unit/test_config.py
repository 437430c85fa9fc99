"""Presets, overrides and the checks before anything compiles."""

import dataclasses
import json
import re

import numpy as np
import pytest

from lica_jax.algorithms import algorithm_names
from lica_jax.algorithms.lica import lica
from lica_jax.algorithms.lica_adv import lica_adv
from lica_jax.cli.settings import flag_of
from lica_jax.config import (
    from_dict,
    iterations_per_chunk,
    load_config,
    load_settings,
    merge,
    preset_names,
    presets_dir,
    resolve,
    steps_per_iteration,
    to_dict,
)
from lica_jax.config.load import beside_preset
from lica_jax.config.reading import read_yaml
from lica_jax.config.schema import settings
from lica_jax.envs import make_task, task_names
from lica_jax.errors import ELSEWHERE, UserError, did_you_mean
from lica_jax.runs.messages import LARGE_OVERRUN
from lica_jax.training.memory import check_fits, tree_bytes

SPEC = make_task("probe/match").spec


@pytest.mark.parametrize(
    ("task", "xi"),
    [
        ("5m_vs_6m", 0.11),
        ("3s5z_vs_3s6z", 0.03),
        ("2s3z", 0.06),
        ("3m", 0.06),
        ("27m_vs_30m", 0.06),
    ],
)
def test_the_paper_preset_holds_the_papers_settings(task, xi):
    config = load_config("lica", f"smax/{task}", preset="paper")
    assert config.hp == lica.HParams(entropy_coef=xi)  # the rest are the official code's defaults
    assert config.algo == lica.Config()
    assert (config.collect.mode, config.collect.envs) == ("episode", 32)
    assert (config.eval.interval, config.eval.episodes) == (320_000, 32)
    assert config.total_steps == (32_000_000 if task == "2s3z" else 64_000_000)


def test_defaults_are_the_official_codes():
    hp, algo = lica.HParams(), lica.Config()
    assert (hp.actor_lr, hp.critic_lr, hp.gamma, hp.td_lambda) == (2.5e-3, 5e-4, 0.99, 0.8)
    assert (hp.grad_norm_clip, hp.target_interval, algo.critic_steps) == (10.0, 200, 1)
    assert (algo.hidden, algo.mixing_embed, algo.hypernet_layers) == (64, 64, 2)
    assert (algo.hypernet_hidden, algo.entropy_mode, algo.share_params) == ("full", "global", True)


def test_every_preset_file_is_valid():
    """Each file names known settings, and every task can be trained with the default preset."""
    assert {"paper", "fast"} <= set(preset_names())
    files = list(presets_dir().rglob("*.yaml"))
    assert len(files) >= 6
    for task in task_names():
        config = load_config("lica", task)
        assert config.total_steps > 0


def test_overrides_reach_every_level():
    config = load_config(
        "lica", "smax/3m", seeds=range(3), total_steps=2e6, hp={"entropy_coef": 0.1},
        algo={"hypernet_hidden": "full"}, collect={"envs": 8},
    )  # fmt: skip
    assert config.seeds == (0, 1, 2)
    assert config.total_steps == 2_000_000 and isinstance(config.total_steps, int)
    assert config.hp.entropy_coef == 0.1 and config.hp.actor_lr == 5e-4  # the preset's
    assert config.algo.hypernet_hidden == "full"
    assert (config.collect.envs, config.collect.length) == (8, 16)
    hp = dataclasses.replace(config.hp, gamma=0.5)
    assert load_config("lica", "smax/3m", hp=hp).hp == hp


def test_numbers_written_as_yaml_reads_them():
    assert merge(lica.HParams(), {"actor_lr": "5e-4"}).actor_lr == 5e-4


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"hp": {"entropy_coeff": 1}}, r"hp.entropy_coeff.*did you mean hp.entropy_coef"),
        ({"totalsteps": 1}, "did you mean total_steps"),
        ({"hp": {"gamma": "high"}}, "hp.gamma: .*valid number"),
        ({"total_steps": 1.5}, "total_steps: .*valid integer"),
        ({"hp": 3}, "hp must be a mapping"),
        ({"algo": {"hypernet_hidden": "wide"}}, "algo.hypernet_hidden"),
        ({"preset": "papper"}, "did you mean paper"),
        ({"hp": {"entropy_coef": True}}, "hp.entropy_coef: .*valid number, got True"),
        ({"hp": {"entropy_coef": np.True_}}, "hp.entropy_coef: .*valid number"),
        ({"hp": {"entropy_coef": "yes"}}, "hp.entropy_coef: .*valid number.*, got 'yes'"),
        ({"hp": {"entropy_final": False}}, "hp.entropy_final: .*valid number"),
        ({"total_steps": True}, "total_steps: .*valid integer, got True"),
        ({"algo": {"hypernet_hidden": True}}, "algo.hypernet_hidden: .*valid integer"),
        ({"seeds": [True, 2]}, "seeds: .*valid integer"),
        ({"seeds": True}, "seeds must be a list, got True"),
        (
            {"hp.entropy_coef": 1},
            r'write hp=\{"entropy_coef": ...\} in Python, hp: \{entropy_coef:',
        ),
    ],
)
def test_what_is_not_a_setting(overrides, match):
    with pytest.raises(UserError, match=match):
        load_config("lica", "probe/match", **overrides)


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"hp": {"gamma": float("nan")}}, "hp.gamma must be a finite number, got nan"),
        ({"hp": {"gamma": 1.5}}, "hp.gamma must be within 0 and 1, got 1.5"),
        ({"hp": {"actor_lr": -1e-3}}, "hp.actor_lr must be at least 0"),
        ({"hp": {"entropy_coef": float("inf")}}, "hp.entropy_coef must be a finite"),
        ({"hp": {"target_interval": 0}}, "hp.target_interval must be at least 1"),
        ({"hp": {"reward_scale": 0}}, "hp.reward_scale must be"),
        ({"total_steps": 100}, "total_steps must be at least one iteration, 256 env steps"),
        ({"total_steps": 2**32}, "total_steps must be at most 4,294,967,295"),
        ({"total_steps": 2**32 - 1}, "below 2"),
        (
            {"total_steps": 2**32 - 2**20, "collect": {"envs": 1, "length": 1}},
            "more updates than can be counted",
        ),
        ({"seeds": []}, "at least one seed"),
        ({"seeds": [1, 1]}, "seeds must differ"),
        ({"seeds": [-1]}, "a seed must be within"),
        ({"collect": {"envs": 0}}, "collect.envs must be at least 1"),
        ({"eval": {"episodes": 0}}, "eval.episodes must be at least 1"),
        ({"algo": {"hidden": 0}}, "algo.hidden must be at least 1"),
        ({"algo": {"hypernet_hidden": 0}}, "algo.hypernet_hidden must be"),
        ({"checkpoint": {"every_seconds": float("nan")}}, "checkpoint.every_seconds"),
        ({"checkpoint": {"every_seconds": float("inf")}}, "every_seconds must be a finite number"),
        ({"checkpoint": {"keep": 10**9}}, "checkpoint.keep must be at most"),
        ({"algo": {"hidden": 2**40}}, "algo.hidden must be at most 2,147,483,647"),
        ({"algo": {"critic_steps": "1e23"}}, "algo.critic_steps must be at most 100,000"),
        ({"algo": {"hypernet_hidden": 2**40}}, "algo.hypernet_hidden must be at most"),
        ({"collect": {"envs": "1e18"}}, "collect.envs must be at most 2,147,483,647"),
        ({"collect": {"length": 2**31}}, "collect.length must be at most"),
        ({"log_interval": 2**33}, "log_interval must be at most"),
        ({"eval": {"interval": 2**33}}, "eval.interval must be at most"),
    ],
)
def test_values_out_of_range(overrides, match):
    config = load_config("lica", "probe/match", **overrides)
    with pytest.raises(UserError, match=match):
        resolve(config, SPEC)


@pytest.mark.parametrize(
    ("given", "seeds"),
    [
        ("0:4", (0, 1, 2, 3)),
        ("2-4", (2, 3, 4)),
        (["0:2", "7", "1e1"], (0, 1, 7, 10)),
        (3, None),
        ([3], (3,)),
    ],
)
def test_ranges_of_seeds(given, seeds):
    if seeds is None:
        with pytest.raises(UserError, match=r"seeds must be a list, such as \[3\], got 3"):
            load_config("lica", "probe/match", seeds=given)
    else:
        assert load_config("lica", "probe/match", seeds=given).seeds == seeds
    with pytest.raises(UserError, match="1,000,000 numbers; at most 100,000"):
        load_config("lica", "probe/match", seeds="0:1000000")


def test_sizes_do_not_wrap_around():
    """A replay that no machine can hold is refused, not forgotten by an overflow."""
    import jax

    huge = jax.ShapeDtypeStruct((2**31 - 1, 2**31 - 1, 2**31 - 1), "float32")
    assert tree_bytes(huge) == 4 * (2**31 - 1) ** 3
    with pytest.raises(UserError, match="GiB are free"):
        check_fits({"the replay": tree_bytes(huge)}, available=2**30)


def test_all_problems_are_told_at_once():
    config = load_config("lica", "probe/match", total_steps=1, hp={"gamma": 2, "actor_lr": -1})
    with pytest.raises(UserError) as error:
        resolve(config, SPEC)
    assert str(error.value).count("\n  - ") == 3


def test_resolving_takes_what_the_task_decides():
    smax, mpe = make_task("smax/4m_vs_3m").spec, make_task("mpe/simple_spread").spec
    config = resolve(load_config("lica", "smax/4m_vs_3m"), smax)
    assert config.hp.reward_scale == 10.0 and config.timeout_is_terminal is True
    config = resolve(load_config("lica", "mpe/simple_spread"), mpe)
    assert config.hp.reward_scale == 1.0 and config.timeout_is_terminal is False
    config = load_config("lica", "smax/4m_vs_3m", timeout_is_terminal=False, hp={"reward_scale": 1})
    config = resolve(config, smax)
    assert config.hp.reward_scale == 1.0 and config.timeout_is_terminal is False


def test_json_round_trip():
    config = resolve(load_config("lica", "probe/match", seeds=[4, 2]), SPEC)
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    with pytest.raises(UserError, match="not a lica_jax configuration"):
        from_dict({"a": 1})


def test_a_longer_budget_leaves_the_chunks_alone():
    """Chunk boundaries decide where a resumed run evaluates; the budget must not move them."""
    short, long = (load_config("lica", "probe/match", total_steps=n) for n in (1e4, 1e8))
    assert iterations_per_chunk(short, SPEC) == iterations_per_chunk(long, SPEC)


def test_a_run_that_cannot_fit_is_refused_by_name():
    with pytest.raises(UserError, match=r"largest part is big with 3\.0 GiB") as error:
        check_fits({"big": 3 * 2**30, "small": 2**20}, available=2**30)
    assert "--collect.envs" in str(error.value)
    check_fits({"big": 2**29}, available=2**30)


@pytest.mark.parametrize("algorithm", algorithm_names())
def test_the_default_preset_ends_within_its_budget(algorithm):
    """No run of it warns that it went far beyond what was asked for."""
    checked = 0
    for task in ("game/climbing", "probe/match", "probe/aim", "smax/3m", "mpe/simple_spread"):
        spec = make_task(task).spec
        try:
            config = resolve(load_config(algorithm, task), spec)
        except UserError:  # an algorithm of other actions
            continue
        update = steps_per_iteration(config.collect, spec)
        beyond = (iterations_per_chunk(config, spec) - 1) * update
        assert beyond <= LARGE_OVERRUN * config.total_steps, task
        checked += 1
    assert checked > 2


def test_a_run_says_when_its_calls_are_longer_than_its_budget_or_its_evaluations():
    from lica_jax.runs import messages
    from lica_jax.runs.plan import make_plan

    said = {}
    for log_interval in (1_000, 100_000):
        config = load_config("lica", "probe/match", log_interval=log_interval, total_steps=50_000)
        plan = make_plan(config)
        said[log_interval] = messages.start(plan, plan.task.spec, 0)
    one = config.collect.envs * config.collect.length
    assert f"{100_000 // one * one:,} env steps only" in said[100_000]
    assert "env steps only" not in said[1_000]


def test_an_end_that_is_no_schedule_follows_its_start():
    """A resolved configuration says both; what changes the start of it is not held to the end."""
    spec = make_task("smax/3m").spec
    whole = resolve(load_config("lica", "smax/3m"), spec)
    assert whole.hp.entropy_final == whole.hp.entropy_coef
    other = resolve(merge(whole, {"hp": {"entropy_coef": 0.5}}), spec)
    assert other.hp.entropy_final == other.hp.entropy_coef == 0.5
    schedule = {"entropy_coef": 0.1, "entropy_final": 0.1, "entropy_steps": 9.0}
    kept = merge(merge(whole, {"hp": schedule}), {"hp": {"entropy_coef": 0.5}})
    assert kept.hp.entropy_final == 0.1
    with pytest.raises(UserError, match=r"entropy_coef must be at least 0, got -1.0$"):
        resolve(merge(whole, {"hp": {"entropy_coef": -1.0}}), spec)


def test_everything_that_is_not_a_setting_at_once():
    with pytest.raises(UserError) as error:
        load_config(
            "lica", "probe/match", totalsteps=1, seeds=3, hp={"entropy_coeff": 1, "actor_lr": "x"}
        )
    first, *lines = str(error.value).splitlines()
    assert first == "invalid configuration:" and len(lines) == 4
    names = ("totalsteps", "seeds", "hp.entropy_coeff", "hp.actor_lr")
    for line, name in zip(lines, names, strict=True):
        assert line.startswith("  - ") and name in line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("task: a\nhp: {gamma: 1}\ntask: b", "task twice, in lines 1 and 3"),
        ("hp: {gamma: 0.1,\n  gamma: 0.9}", "gamma twice, in lines 1 and 2"),
        ("grid: {}\n'grid': {}", "grid twice, in lines 1 and 2"),
        ("a: [{b: 1, b: 2}]", "b twice, in lines 1 and 1"),
    ],
)
def test_a_file_says_nothing_twice(text, says, tmp_path):
    """YAML's own readers take the last value, which is another experiment."""
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_yaml(path)
    assert str(error.value) == f"{path} says {says}"


def test_a_file_may_say_again_what_it_merges(tmp_path):
    """Also in a mapping that is itself merged before it is read."""
    path = tmp_path / "a.yaml"
    path.write_text(
        "a: &a {x: 1, y: 1}\nb: {inner: &b {<<: *a, x: 2}}\nc: {<<: *b, <<: {z: 4}, y: 3}\n"
    )
    values = read_yaml(path)
    assert values["b"]["inner"] == {"x": 2, "y": 1}
    assert values["c"] == {"x": 2, "y": 3, "z": 4}


def test_a_map_with_a_preset_of_its_own_starts_from_smax():
    """What SMAX's says and the map's does not is there; what both say is the map's."""
    smax, mine, other = (
        load_config("lica_adv", f"smax/{name}", preset="tuned")
        for name in ("MMM2", "3m", "5m_vs_6m")
    )
    assert (smax.algo.actor, smax.algo.advantage, smax.hp.actor_lr) == ("mlp", "state_value", 2e-3)
    assert mine.algo == dataclasses.replace(smax.algo, epochs=8) and mine.hp.actor_lr == 1e-3
    assert (other.algo.actor, other.algo.advantage) == ("gru", "doubly_robust")


@pytest.mark.parametrize("algorithm", ["iql", "vdn", "qmix", "qtran", "qtran_alt"])
def test_value_based_methods_learn_from_segments_on_smax(algorithm):
    """From whole episodes elsewhere; every env step is learned from four times in both."""
    ours = load_config(algorithm, "smax/3m")
    assert (ours.collect.mode, ours.collect.envs * ours.collect.length) == ("steps", 1024)
    drawn = ours.algo.replay_batch * ours.collect.length * ours.algo.updates_per_collect
    assert drawn == 4 * 1024 <= ours.algo.replay_capacity * ours.collect.length
    for task, preset in (("smac/3m", "fast"), ("smax/3m", "paper")):
        assert load_config(algorithm, task, preset=preset).collect.mode == "episode"
    tuned = load_config("qmix", "smax/3m", preset="tuned")
    assert (tuned.collect, tuned.algo.optimiser) == (ours.collect, "adam")


def test_liir_is_its_authors_code_and_the_papers_chain_rule_an_ablation():
    for preset in ("fast", "paper"):
        for name, wanted in (
            (preset, ("repo", "all")),
            (f"{preset}+chain_rule", ("paper", "valid")),
        ):
            algo = load_config("liir", "smax/2s3z", preset=name).algo
            assert (algo.meta, algo.standardise) == wanted


def test_our_presets_say_something_and_nothing_twice():
    for path in presets_dir().rglob("*.yaml"):
        assert read_yaml(path), path


@pytest.mark.parametrize("flags", [False, True])
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("entropy_coeff", "hp.entropy_coef"),
        ("gama", "hp.gamma"),
        ("hidden_dim", "algo.hidden"),
        ("num_envs", "collect.envs"),
        ("total_timesteps", "total_steps"),
        ("seed", "seeds"),
        ("lr", "hp.actor_lr"),
        ("mlp", "algo.mlp_hidden"),
        ("algo.gamma", "hp.gamma"),
        ("t_max", "total_steps"),
        ("batch_size_run", "collect.envs"),
        ("env_args.map_name", "task"),
        ("env_args", "task"),
        ("NUM_ENVS", "collect.envs"),
        ("use_cuda", None),
        ("runner", None),
        ("gird", None),
    ],
)
def test_the_nearest_settings(name, found, flags):
    """As names and as flags; nothing where none is near."""
    known = [s.name for s in settings(load_config("lica", "probe/match"))]
    if flags:
        name, found, known = (flag_of(name), found and flag_of(found), list(map(flag_of, known)))
    hint = did_you_mean(name, known)
    assert hint.split(" or ")[0].rstrip("?") == (f"did you mean {found}" if found else "")


@pytest.mark.parametrize("name", ["3m", "SMAX/3m", "smax/3M"])
def test_a_task_without_its_family_or_in_other_letters(name):
    assert did_you_mean(name, ["smax/4m_vs_3m", "smax/3m", "smax/8m"]) == "did you mean smax/3m?"


@pytest.mark.parametrize("algorithm", ["coma", "qmix"])
def test_an_epsilon_of_nothing_would_divide_by_it(algorithm):
    spec = make_task("smax/3m").spec
    for bad in ({"rms_eps": 0}, {"rms_decay": 1}):
        with pytest.raises(UserError, match=rf"hp\.{next(iter(bad))}"):
            resolve(load_config(algorithm, spec.name, hp=bad), spec)


def test_estimates_again_before_the_only_epoch_are_none():
    about = make_task("probe/match").spec, lica_adv.HParams()
    again = lica_adv.Config(epochs=1, refresh=True).idle(*about)
    assert any("algo.refresh" in names for names in again.values())
    assert "algo.refresh" not in str(lica_adv.Config(epochs=2, refresh=True).idle(*about))


def test_names_of_other_libraries():
    """They are those of the page's tables, and ours exist; each is answered with ours."""
    page = (presets_dir().parent / "docs" / "coming_from.md").read_text()
    rows = re.findall(r"(?m)^\| (`.*`) \| (.*) \|$", page)
    told = {
        name.casefold(): ours
        for row, ours in rows
        if "--" in ours or "the task" in ours
        for name in re.findall(r"`(?:\w+\.)?(\w+)", row)
    }
    ours = {n for row in ELSEWHERE.values() for n in row}
    known = {
        s.name for a in ("lica", "mappo", "qmix") for s in settings(load_config(a, "probe/match"))
    }
    assert set(ELSEWHERE) <= set(told) | {"env_args"} and ours <= known
    for name in set(told) - set(ELSEWHERE):
        assert any(k.rpartition(".")[2] == name for k in known), name
    for name, answers in ELSEWHERE.items():
        for answer in {flag_of(a) for a in answers if a != "task"} if name in told else ():
            assert answer in told[name], (name, answer)
    assert did_you_mean("--NUM_ENVS", ["--collect.envs"]) == "did you mean --collect.envs?"


def test_what_is_wrong_in_a_file_names_it(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("algorithm: lica\ntask: smax/3m\nhp: {gamma: true}\n")
    with pytest.raises(UserError, match=r"a\.yaml: hp\.gamma: .* valid number"):
        load_settings(path)
    path.write_text("algorithm: lica\ntask: smax/3m\n")
    with pytest.raises(UserError, match=r"^hp\.gamma: "):  # not the file's fault
        load_settings(path, overrides={"hp": {"gamma": True}})
    with pytest.raises(UserError, match=r"^unknown preset 'nope'"):
        load_settings(path, preset="nope")


def test_what_is_set_beside_a_preset():
    """But not what the task decides, nor an end that follows its start."""
    spec = make_task("smax/3m").spec
    usual = resolve(load_config("lica", "smax/3m"), spec)
    assert usual.hp.reward_scale == 10 and beside_preset(usual, spec) == []
    changed = {"hp": {"entropy_coef": 0.2, "reward_scale": 1}, "collect": {"envs": 8}, "seeds": [1]}
    found = beside_preset(resolve(load_config("lica", "smax/3m", **changed), spec), spec)
    assert set(found) == {"hp.entropy_coef", "hp.reward_scale", "collect.envs", "seeds"}
    more = changed | {"hp": {"entropy_coef": 0.2, "entropy_final": 0.1, "entropy_steps": 1e5}}
    found = beside_preset(resolve(load_config("lica", "smax/3m", **more), spec), spec)
    assert {"hp.entropy_coef", "hp.entropy_final", "hp.entropy_steps"} < set(found)
    assert beside_preset(dataclasses.replace(usual, preset="gone"), spec) == []
