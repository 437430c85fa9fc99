"""Which runs a report is of, what they are called, and what is told of them."""

import json
import shutil

import numpy as np
import pytest

from lica_jax.errors import UserError
from lica_jax.reporting.collect import collect
from lica_jax.reporting.compare import aggregate_curve, compare, remarks
from lica_jax.reporting.groups import make_groups, mixtures
from tests.report.synthetic import rise, write_run


def flat(score):
    return lambda steps: score


def labels(runs):
    return sorted({group.label for group in make_groups(runs)})


def test_runs_are_found_in_runs_sweeps_and_folders_of_them(tmp_path):
    write_run(tmp_path / "a" / "one", flat(0.5))
    for i in range(2):
        write_run(tmp_path / "sweep" / "runs" / f"000{i}", flat(0.5), seed=i, algorithm="vdn")
    (tmp_path / "sweep" / "waves" / "000").mkdir(parents=True)
    (tmp_path / "sweep" / "results.csv").write_text("run,seed\n")
    runs, told = collect([tmp_path])
    assert [run.algorithm for run in runs] == ["lica", "vdn", "vdn"] and not told
    assert len(collect([tmp_path / "sweep", tmp_path / "sweep" / "runs" / "0001"])[0]) == 2  # once
    (run,), _ = collect([tmp_path / "a" / "one"])
    assert run.seed == 0 and run.ended and run.status == "finished"
    np.testing.assert_array_equal(run.steps, np.arange(0, 100_001, 10_000))
    assert run.last["sampled"]["win_rate"] == pytest.approx(0.45)


def test_a_wave_whose_runs_are_there_is_no_further_run(tmp_path):
    """Its folder has the preset of its first setting only, and may stay."""
    sweep = tmp_path / "sweep"
    for i, preset in enumerate(("fast", "paper")):
        write_run(sweep / "runs" / f"000{i}", flat(0.5), preset=preset)
    wave = write_run(sweep / "waves" / "000", flat(0.5), hp={"gamma": 0.5}, finished=False)
    (sweep / "sweep.yaml").write_text("")
    plan = {"waves": [{"name": "000", "runs": [0, 1], "rung": 0}]}
    (sweep / "plan.json").write_text(json.dumps(plan))
    runs, told = collect([sweep])
    assert [run.preset for run in runs] == ["fast", "paper"] and not told
    assert [run.path.name for run in collect([wave])[0]] == ["000"]  # asked for by its name
    plan["waves"][0]["runs"].append(2)  # which is still trained
    (sweep / "plan.json").write_text(json.dumps(plan))
    assert len(collect([sweep])[0]) == 3
    (sweep / "plan.json").write_text("{")
    assert len(collect([sweep])[0]) == 3


def test_links_to_runs_are_followed(tmp_path):
    """Each run once, also where links lead back or to the same run."""
    write_run(tmp_path / "far" / "one", flat(0.5))
    write_run(tmp_path / "far" / "two", flat(0.5), algorithm="vdn")
    near = tmp_path / "near"
    write_run(near / "three", flat(0.5), algorithm="iql")
    (near / "a").symlink_to(tmp_path / "far" / "one")
    (near / "b").symlink_to("../far")
    (near / "self").symlink_to(".")
    (tmp_path / "far" / "back").symlink_to(near)
    (near / "lost").symlink_to(tmp_path / "nowhere")
    runs, told = collect([near])
    assert sorted(run.algorithm for run in runs) == ["iql", "lica", "vdn"] and not told
    assert len(collect([near / "a", near / "b" / "one"])[0]) == 1


def test_a_run_that_a_sweep_is_still_writing_is_none(tmp_path):
    """Sweeps make folders of runs and waves under hidden names, and rename them when whole."""
    write_run(tmp_path / "sweep" / "runs" / "0000", flat(0.5))
    write_run(tmp_path / "sweep" / ".0001", flat(0.5), seed=1)
    write_run(tmp_path / "sweep" / "waves" / ".r1-000", flat(0.5), seed=2)
    runs, told = collect([tmp_path])
    assert [run.seed for run in runs] == [0] and not told
    # One's own folder may be hidden, and one that is named is meant.
    (tmp_path / "sweep").rename(tmp_path / ".mine")
    assert [run.seed for run in collect([tmp_path / ".mine"])[0]] == [0]
    assert [run.seed for run in collect([tmp_path / ".mine" / ".0001"])[0]] == [1]


def test_a_run_that_goes_on_behind_its_end_has_no_score_of_it(tmp_path):
    """Its result stays until it comes to the next one."""
    path = write_run(tmp_path / "r", rise(1, 1e4), total=50_000)
    old = (path / "result.json").read_bytes()
    (before,), _ = collect([path])
    assert before.status == "finished" and before.last
    shutil.rmtree(path)
    write_run(path, rise(1, 1e4), total=200_000, upto=100_000, finished=False)
    (path / "result.json").write_bytes(old)
    (run,), told = collect([path])
    assert run.status == "still going or killed" and not run.ended
    assert not run.last and not run.best and run.random == before.random
    assert told == [
        f"Still going or killed: {path} seed 0 (100,000 of 200,000 env steps evaluated)."
    ]


def test_seeds_of_one_directory_are_runs_of_their_own(tmp_path):
    path = write_run(tmp_path / "both", rise(1, 1e4))
    rows = [json.loads(line) for line in (path / "eval.jsonl").read_text().splitlines()]
    both = [r for row in rows for r in (row, row | {"seed": 7, "eval/win_rate": 0.25})]
    (path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in both))
    result = json.loads((path / "result.json").read_text())
    other = {
        mode: {"win_rate": 0.25, "return_mean": 5, "episodes": 64} for mode in ("greedy", "sampled")
    }
    result |= {"seeds": [0, 7], "env_steps": [100_000] * 2, "failed_at_update": [None, None]}
    result["final"].append(other)
    (path / "result.json").write_text(json.dumps(result))
    runs, told = collect([path])
    assert [run.seed for run in runs] == [0, 7] and not told
    assert runs[1].last == other and runs[1].figures["greedy"]["win_rate"][-1] == 0.25
    assert runs[1].best == {}  # the result says nothing of it
    assert mixtures(make_groups(runs)) == [
        "All runs were trained 2 at once: times are those of all of these together."
    ]


def test_runs_of_a_sweep_say_how_wide_their_wave_was_and_why_they_ended(tmp_path):
    for i in range(8):
        path = write_run(tmp_path / "runs" / f"{i}", flat(0.5), seed=i, upto=20_000)
        result = json.loads((path / "result.json").read_text())
        said = {"status": "stopped by halving", "side_by_side": 16, "interrupted": False}
        (path / "result.json").write_text(json.dumps(result | said))
    runs, (told,) = collect([tmp_path])
    assert {run.together for run in runs} == {16} and not any(run.ended for run in runs)
    assert told.startswith("Stopped by halving: ") and told.endswith("and 2 more.")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: None, "is not there"),
        (lambda path: path.write_text(""), "is a file"),
        (lambda path: path.mkdir(), "holds no run"),
        (lambda path: (path / "photos").mkdir(parents=True), "holds no run"),
        (lambda path: _config_only(path, "{}"), "no configuration of lica_jax"),
        (lambda path: _config_only(path, "[1"), "is damaged"),
        (lambda path: _without_evaluations(path), "has no evaluations"),
        (lambda path: _with_rows(path, "nonsense\n[1]\n{}\n"), "no sound row"),
        (lambda path: _with_rows(path, '{"update": 1, "seed": 0}\n'), "no sound row"),
        (lambda path: _with_steps(path, -5), "no sound row"),
    ],
)
def test_what_holds_nothing_to_report_is_refused(tmp_path, make, message):
    make(tmp_path / "x")
    with pytest.raises(UserError, match=message):
        collect([tmp_path / "x"])


def _config_only(path, text):
    path.mkdir()
    (path / "config.json").write_text(text)


def _without_evaluations(path):
    (write_run(path, flat(0.5)) / "eval.jsonl").unlink()


def _with_rows(path, text):
    (write_run(path, flat(0.5)) / "eval.jsonl").write_text(text)


def _with_steps(path, steps):
    rows = (write_run(path, flat(0.5)) / "eval.jsonl").read_text().splitlines()
    row = json.loads(rows[0]) | {"env_steps": steps}
    (path / "eval.jsonl").write_text(json.dumps(row) + "\n")


def test_beside_sound_runs_damaged_ones_are_left_out_and_told(tmp_path):
    write_run(tmp_path / "good", flat(0.5))
    _without_evaluations(tmp_path / "empty")
    _config_only(tmp_path / "other", '{"model": "of somebody else"}')
    hurt = write_run(tmp_path / "hurt", flat(0.5), seed=1)
    text = (hurt / "eval.jsonl").read_text().splitlines()
    text[3:5] = [text[3][:20], text[4].replace('"env_steps": 40000', '"env_steps": null')]
    (hurt / "eval.jsonl").write_text("\n".join([*text, '{"seed": 1, "upd']))  # cut short by a kill
    (hurt / "result.json").write_text("{")
    runs, told = collect([tmp_path])
    assert [run.seed for run in runs] == [0, 1] and len(runs[1].steps) == 9
    told = "\n".join(told)
    for words in (
        "empty has no evaluations", "other/config.json is no configuration",
        "2 damaged or empty row(s)",
        "result.json is damaged", "Still going or killed:",
    ):  # fmt: skip
        assert words in told
    assert len(told.splitlines()) == 5


@pytest.mark.parametrize("finished", [True, False])
def test_a_last_row_that_lost_its_end(tmp_path, finished):
    """Without its newline it is read; cut short it is told, unless a run may be writing it."""
    for name, lost in (("whole", 1), ("cut", 20)):
        path = write_run(tmp_path / name, flat(0.5), finished=finished)
        text = (path / "eval.jsonl").read_text()
        (path / "eval.jsonl").write_text(text[:-lost])
    (whole,), told = collect([tmp_path / "whole"])
    assert len(whole.steps) == 11 and not any("damaged" in line for line in told)
    (cut,), told = collect([tmp_path / "cut"])
    assert len(cut.steps) == 10 and finished == any("1 damaged" in line for line in told)


def test_a_seed_counts_once_for_the_same_settings(tmp_path):
    write_run(tmp_path / "a", flat(0.1), upto=50_000)
    write_run(tmp_path / "b", flat(0.5))
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    write_run(tmp_path / "d", flat(0.5), hp={"entropy_coef": 0.1})  # another setting
    runs, told = collect([tmp_path])
    assert [run.path.name for run in runs] == ["b", "d"]
    (line,) = [line for line in told if "repeat a seed and settings" in line]
    assert line.count("seed 0 (as ") == 2 and "b)" in line


def settings_of(path, **changes):
    """Writes settings into a run's configuration, as `train` resolves them."""
    config = json.loads((path / "config.json").read_text())
    config["hp"] |= changes
    (path / "config.json").write_text(json.dumps(config))


def test_a_finished_run_stands_before_a_longer_one_that_was_killed(tmp_path):
    """And they are of the same versions: what only a result says is no difference."""
    write_run(tmp_path / "done", flat(0.5), total=20_000)
    write_run(tmp_path / "killed", flat(0.9), total=200_000, upto=52_000, finished=False)
    write_run(tmp_path / "other", flat(0.5), seed=1, total=20_000)
    for name in ("done", "killed", "other"):
        settings_of(tmp_path / name, reward_scale=10.0)
    runs, told = collect([tmp_path])
    assert [run.path.name for run in runs] == ["done", "other"]
    assert told == [
        f"Left out, since they repeat a seed and settings: {tmp_path / 'killed'} seed 0 (as "
        f"{tmp_path / 'done'})."
    ]
    (killed,), _ = collect([tmp_path / "killed"])
    assert killed.origin["reward scale"] == runs[0].origin["reward scale"] == "10.0"
    write_run(tmp_path / "older", flat(0.5), version="0.9", total=20_000, finished=False)
    settings_of(tmp_path / "older", reward_scale=10.0)
    assert "older seed 0 made with other versions (as" in collect([tmp_path])[1][0].replace(
        str(tmp_path) + "/", ""
    )


# --- names ---------------------------------------------------------------------------------------


def test_methods_are_named_by_what_differs(tmp_path):
    write_run(tmp_path / "a", flat(0.5), hp={"lr": 1e-3})
    assert labels(collect([tmp_path])[0]) == ["lica"]
    write_run(tmp_path / "b", flat(0.5), hp={"lr": 5e-4})
    write_run(tmp_path / "c", flat(0.5), hp={"lr": 5e-4}, seed=1, total=200_000)  # only longer
    write_run(tmp_path / "d", flat(0.5), algorithm="vdn", hp={"lr": 7.0})
    assert labels(collect([tmp_path])[0]) == ["lica lr=0.0005", "lica lr=0.001", "vdn"]
    write_run(tmp_path / "e", flat(0.5), preset="paper", double=True)
    assert "lica (paper) [test double]" in labels(collect([tmp_path])[0])


def test_settings_that_differ_in_a_late_digit_are_methods_of_their_own(tmp_path):
    """With as many digits as that takes, and no more for others."""
    for i, (start, rate) in enumerate([(0.1, 1e-3), (0.10000001, 1e-3), (0.1, 0.002000000001)]):
        for seed in range(2):
            hp = {"entropy_coef": start, "lr": rate}
            write_run(tmp_path / f"{i}{seed}", flat(0.5), seed=seed, hp=hp)
    assert labels(collect([tmp_path])[0]) == [
        "lica entropy_coef=0.1 lr=0.001", "lica entropy_coef=0.1 lr=0.002",
        "lica entropy_coef=0.10000001 lr=0.001",
    ]  # fmt: skip


def test_values_are_told_apart_by_what_they_are(tmp_path):
    """One and 1.0 are the same number; a text is none, nor is a setting that is not there."""
    for i, value in enumerate([1, 1.0, 1.0, "1.0", True, None, "unset"]):
        write_run(tmp_path / f"{i}", flat(0.5), algo={"trick": value})
    write_run(tmp_path / "other", flat(0.5), algo={})
    runs, told = collect([tmp_path])
    assert len(runs) == 6 and "1 seed 0 (as" in told[0] and "2 seed 0 (as" in told[0]
    names = ['"1.0"', '"unset"', "1", "null", "true", "unset"]
    assert labels(runs) == [f"lica trick={name}" for name in names]


def test_a_method_has_one_name_on_all_tasks(tmp_path):
    """Also where only one of its settings was run."""
    for task, values in (("smax/3m", (0.1, 0.2)), ("smax/2s3z", (0.1,))):
        for value in values:
            path = tmp_path / f"{task[5:]}-{value}"
            write_run(path, flat(0.5), task=task, hp={"entropy_coef": value})
    groups = make_groups(collect([tmp_path])[0])
    names = {"lica entropy_coef=0.1": 2, "lica entropy_coef=0.2": 1}
    assert {g.label: sum(h.label == g.label for h in groups) for g in groups} == names


def test_the_end_of_a_schedule_is_named_where_it_is_not_its_start(tmp_path):
    for name, start, end in (("a", 0.03, 0.03), ("b", 0.06, 0.06)):
        write_run(tmp_path / name, flat(0.5), hp={"entropy_coef": start, "entropy_final": end})
    assert labels(collect([tmp_path])[0]) == ["lica entropy_coef=0.03", "lica entropy_coef=0.06"]
    write_run(tmp_path / "c", flat(0.5), hp={"entropy_coef": 0.06, "entropy_final": 0.0})
    assert labels(collect([tmp_path])[0])[-1] == "lica entropy_coef=0.06 entropy_final=0.06"


def test_settings_of_newer_versions_tell_no_runs_apart_unless_they_differ(tmp_path):
    write_run(tmp_path / "old", flat(0.5))
    write_run(tmp_path / "new", flat(0.5), hp={"trick": 1}, seed=1)
    runs, _ = collect([tmp_path])
    assert labels(runs) == ["lica"]
    assert any("only some runs say hp.trick" in line for line in mixtures(make_groups(runs)))
    write_run(tmp_path / "newer", flat(0.5), hp={"trick": 2}, seed=2)
    assert labels(collect([tmp_path])[0]) == ["lica trick=1", "lica trick=2", "lica trick=unset"]


def test_mixtures_are_told(tmp_path):
    write_run(tmp_path / "a", flat(0.5))
    assert mixtures(make_groups(collect([tmp_path])[0])) == []
    write_run(tmp_path / "b", flat(0.5), algorithm="vdn", version="2.0", scale=1.0, preset="paper")
    write_run(tmp_path / "c", flat(0.5), algorithm="iql", double=True)
    told = "\n".join(mixtures(make_groups(collect([tmp_path])[0])))
    assert "lica_jax is 1.0 (lica (fast), iql (fast) [test double]); 2.0 (vdn (paper))" in told
    assert "reward scale is 10.0" in told and "1.0 (vdn (paper))" in told
    assert "Presets differ: fast, paper" in told and "test double: iql" in told


def made_with(path, **facts):
    """Writes what a run was made with into its folder."""
    made = json.loads((path / "versions.json").read_text())
    (path / "versions.json").write_text(json.dumps(made | facts))


def test_a_presets_name_claims_nothing_that_was_set_otherwise(tmp_path):
    """What all runs have alike is told beside the figures; what only some of them have otherwise
    than their preset is in their names."""
    for name, preset, lam, lr, seed in (
        ("a", "fast", 0.8, 1e-3, 0), ("b", "fast+lambda_0.6", 0.3, 1e-3, 0),
        ("c", "fast+lambda_0.6", 0.6, 1e-3, 0), ("d", "fast+xi_0.06", 0.8, 0.1, 1),
    ):  # fmt: skip
        path = tmp_path / name
        hp = {"td_lambda": lam, "lr": lr, "entropy_coef": 0.06 if name == "d" else 0.1}
        write_run(path, flat(0.5), preset=preset, seed=seed, hp=hp, algo={"hidden": 8})
        own = {"b": ["hp.td_lambda"], "d": ["hp.lr"]}.get(name, [])
        made_with(path, beside_preset=["algo.hidden", *own, "total_steps", "gone", 7])
    runs, _ = collect([tmp_path])
    assert labels(runs) == [
        "lica (fast)", "lica (fast+lambda_0.6) td_lambda=0.3",
        "lica (fast+lambda_0.6) td_lambda=0.6", "lica (fast+xi_0.06) lr=0.1",
    ]  # fmt: skip
    told = mixtures(make_groups(runs))
    assert told[-1] == "Not as the presets say: algo.hidden=8 (all)."
    # Of one preset, what differs is in the names anyway, and what does not is told.
    runs, _ = collect([tmp_path / "a", tmp_path / "d"])
    (line,) = mixtures(make_groups(runs[:1]))
    assert labels(runs[:1]) == ["lica"] and line == "Not as the presets say: algo.hidden=8 (all)."
    write_run(tmp_path / "vdn", flat(0.5), algorithm="vdn")
    (line,) = mixtures(make_groups(collect([tmp_path / "a", tmp_path / "vdn"])[0]))
    assert line == "Not as the presets say: algo.hidden=8 (lica)."


def test_double_precision_is_another_run(tmp_path):
    for name, precision in (("a", "float32"), ("b", "float64"), ("old", None)):
        write_run(tmp_path / name, flat(0.5))
        made_with(tmp_path / name, **({"precision": precision} if precision else {}))
    runs, told = collect([tmp_path])
    assert [run.path.name for run in runs] == ["a", "b"] and "old seed 0 (as" in told[0]
    assert mixtures(make_groups(runs)) == [
        "Mixed on smax/3m: precision is float32 (lica); float64 (lica)."
    ]


# --- comparing -----------------------------------------------------------------------------------


def comparison(path, mode="greedy"):
    groups = make_groups(collect([path])[0])
    return compare(groups[0].task, groups, mode)


def test_scores_are_those_of_fresh_episodes_after_equal_budgets(tmp_path):
    for seed in range(4):
        write_run(tmp_path / f"{seed}", flat(0.5 + 0.1 * seed), seed=seed)
    c = comparison(tmp_path, "sampled")
    (entry,) = c.entries
    assert c.fresh and c.metric == "win_rate" and c.range == (0, 1) and c.random == 0.05
    np.testing.assert_allclose(sorted(entry.scores), [0.45, 0.54, 0.63, 0.72])
    assert entry.episodes == (64, 64) and entry.at == 100_000
    np.testing.assert_allclose(entry.areas, entry.scores)  # flat curves


def test_unequal_env_steps_of_equal_budgets_are_told(tmp_path):
    write_run(tmp_path / "lica", flat(0.9), total=20_000, offset=162)
    path = write_run(tmp_path / "qmix", flat(0.8), algorithm="qmix", total=20_000)
    assert not any("Unequal" in line for line in remarks([comparison(tmp_path)]))
    write_run(tmp_path / "vdn", flat(0.8), algorithm="vdn", total=26_162, interval=13_081)
    config = json.loads((tmp_path / "vdn/config.json").read_text())
    (tmp_path / "vdn/config.json").write_text(json.dumps(config | {"total_steps": 20_000}))
    c = comparison(tmp_path)
    assert c.fresh and path.is_dir()
    (line,) = [line for line in remarks([c]) if line.startswith("Unequal")]
    assert "smax/3m: vdn 26,162, lica 20,000, qmix 20,000, of 20,000 asked for each." in line


def test_unequal_runs_are_compared_where_all_have_come(tmp_path):
    line = lambda steps: steps / 1e6  # noqa: E731
    write_run(tmp_path / "a0", line, offset=7)
    write_run(tmp_path / "a1", line, seed=1, upto=60_000)
    write_run(tmp_path / "b0", line, algorithm="vdn", total=300_000, upto=80_000)
    c = comparison(tmp_path)
    assert not c.fresh and c.horizon == 60_000
    for entry in c.entries:
        np.testing.assert_allclose(entry.scores, 0.06, atol=1e-9)
        np.testing.assert_allclose(entry.areas, 0.03, atol=1e-9)
        assert np.isnan(entry.steps.estimate.low).all()  # two seeds, and one
    told = remarks([c])
    assert any("1 seed only: vdn" in line for line in told)
    assert any("2 seeds only: lica" in line for line in told)


def without_first(path, rows):
    """A run without its first evaluations."""
    lines = (path / "eval.jsonl").read_text().splitlines(keepends=True)
    (path / "eval.jsonl").write_text("".join(lines[rows:]))


@pytest.mark.filterwarnings("error")
def test_a_lost_first_evaluation_is_no_advantage(tmp_path):
    """All methods are averaged over the same env steps, and which those are is told."""
    for algorithm in ("lica", "vdn"):
        for seed in range(3):
            path = tmp_path / f"{algorithm}{seed}"
            write_run(path, lambda steps: steps / 1e5, algorithm=algorithm, seed=seed)
    assert not any("Sample efficiency" in line for line in remarks([comparison(tmp_path)]))
    without_first(tmp_path / "vdn1", 4)
    c = comparison(tmp_path)
    assert (c.start, c.horizon) == (40_000, 100_000)
    for entry in c.entries:
        np.testing.assert_allclose(entry.areas, 0.7)
    assert (
        "Sample efficiency on smax/3m is of env steps from 40,000 on, since evaluations before are "
        "missing: vdn seed 1."
    ) in remarks([c])
    share, estimate = aggregate_curve([c], "vdn", points=11)
    np.testing.assert_allclose(estimate.value, np.where(share < 0.4, np.nan, share))
    np.testing.assert_allclose(aggregate_curve([c], "lica", points=11)[1].value, share)


def test_what_has_hardly_begun_is_drawn_and_not_counted(tmp_path):
    for seed in range(3):
        write_run(tmp_path / f"{seed}", flat(0.5), seed=seed)
    write_run(tmp_path / "3", flat(0.9), seed=3, upto=40_000, finished=False)
    write_run(tmp_path / "4", flat(0.9), seed=0, algorithm="vdn", upto=30_000)
    c = comparison(tmp_path)
    vdn, lica = c.entries  # the best first
    assert len(lica.runs) == 3 and len(lica.steps.runs) == 4 and c.horizon == 100_000
    assert not vdn.compared and vdn.areas is None and vdn.at == 30_000
    told = "\n".join(remarks([c]))
    assert "in no number" in told and "lica on smax/3m seed 3." in told
    assert "not compared" in told and "vdn on smax/3m (30,000 env steps)" in told


def test_a_run_that_failed_counts_on_as_it_was(tmp_path):
    """Leaving it out would flatter the method."""
    for seed in range(3):
        write_run(tmp_path / f"{seed}", flat(0.9), seed=seed)
    write_run(tmp_path / "3", flat(0.1), seed=3, upto=20_000, failed=5)
    runs, told = collect([tmp_path])
    assert told == [
        f"Failed, their scores count on as they were: {tmp_path / '3'} seed 3 (failed at update 5, "
        "20,000 of 100,000 env steps evaluated)."
    ]
    groups = make_groups(runs)
    (entry,) = compare("smax/3m", groups, "greedy").entries
    np.testing.assert_allclose(sorted(entry.scores), [0.1, 0.9, 0.9, 0.9])
    assert entry.steps.grid[-1] == 100_000
    assert entry.reached[0.5, "steps"].count == 3


def test_returns_are_normalised_by_what_was_seen(tmp_path):
    for seed in range(3):
        line = lambda steps, seed=seed: -10 + (seed + 1) * steps / 1e4  # noqa: E731
        write_run(tmp_path / f"{seed}", line, seed=seed, wins=False)
    c = comparison(tmp_path)
    low = -10.0  # at the start, greedy; the highest is the third seed's end
    assert c.metric == "return_mean" and c.range == (low, 20.0)
    np.testing.assert_allclose(c.normalised(np.array([-10, 5, 20])), [0, 0.5, 1])
    reached = c.entries[0].reached[0.8, "steps"]  # a return of 14
    assert reached.count == 1 and reached.median == np.inf
    np.testing.assert_allclose(np.sort(reached.times)[0], 80_000)
