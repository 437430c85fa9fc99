"""Plans and sessions: a run is a seed and its numbers; what a run directory holds."""

import copy
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax import UserError, evaluate, load_policy, train
from lica_jax.algorithms import make_algorithm
from lica_jax.cli.evaluate import _in_words
from lica_jax.config import dump_settings, load_config, load_settings, merge, resolve
from lica_jax.engines.lockstep import make_programs
from lica_jax.envs import make_task
from lica_jax.envs.probe import Probe
from lica_jax.runs import directory
from lica_jax.runs import summary as summaries
from lica_jax.runs.plan import Run, make_plan
from lica_jax.runs.rows import read_rows
from lica_jax.runs.session import Session
from lica_jax.training.loop import batch_runs
from tests.conftest import TINY, new_session

TASK = "probe/match"


class Own(Probe):
    """Somebody's own task."""


def config_of(**changes):
    return load_config("lica", TASK, **(TINY | {"total_steps": 400} | changes))


def numbers(**changes):
    """LICA's numbers with changes, not yet resolved."""
    return merge(config_of().hp, {"reward_scale": 1.0} | changes)


def swept():
    """Four runs: two settings, two seeds."""
    settings = numbers(entropy_coef=0.02), numbers(entropy_coef=0.3, gamma=0.5)
    return [Run(seed, hp) for hp in settings for seed in (0, 5)]


def test_qr_decompositions_are_of_one_run_at_a_time():
    """On a CPU several at once wait for each other for ever (jaxlib 0.10); flax's GRUCell and the
    usual initialisers of PPO have them."""

    def init(key):
        return jax.nn.initializers.orthogonal()(key, (8, 8))

    start, _ = batch_runs(init, None, n_runs=3)
    spec = make_task("game/climbing").spec
    algorithm = make_algorithm("lica", spec)._replace(init=init)
    games = make_programs(algorithm, spec, 2, timeout_is_terminal=True).init
    keys = jax.vmap(jax.random.key)(jnp.arange(3))
    for program in (start, games):
        found = equations(jax.make_jaxpr(program)(keys))
        sizes = [eqn.outvars[0].aval.shape for eqn in found if str(eqn.primitive) == "qr"]
        assert sizes == [(8, 8)]
    alone = jnp.stack([init(key) for key in keys])
    np.testing.assert_allclose(start(keys), alone, atol=1e-6)


def equations(jaxpr):
    """All of a program, those inside of loops and calls included."""
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield eqn
        for value in eqn.params.values():
            if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
                yield from equations(value)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "swept"
    session = Session(make_plan(config_of(), run_dir, runs=swept()), "none")
    session.run()
    return session


def test_runs_differ_in_seed_and_numbers(together):
    """Rows, results and policies are by run."""
    plan, run_dir = together.plan, together.plan.run_dir
    assert plan.swept == ["gamma", "entropy_coef"]
    assert plan.labels[3] == {"run": 3, "seed": 5, "hp.gamma": 0.5, "hp.entropy_coef": 0.3}
    for name in ("metrics.jsonl", "eval.jsonl"):
        rows = read_rows(run_dir / name)
        for i, label in enumerate(plan.labels):
            own = [row for row in rows if row["run"] == i]
            assert own and all(row.items() >= label.items() for row in own)
    result = json.loads((run_dir / "result.json").read_text())
    assert result["runs"] == plan.labels and result["seeds"] == [0, 5, 0, 5]
    assert len(result["final"]) == len(result["env_steps"]) == 4
    best = result["best_run"]
    assert plan.seeds[best] == result["best_seed"]
    policies = [load_policy(run_dir / f"policy_run{i}.safetensors") for i in range(4)]
    for run, policy in zip(plan.runs, policies, strict=True):
        assert policy.about["seed"] == run.seed and policy.hp.gamma == run.hp.gamma
    obs = np.random.default_rng(0).normal(size=(8, 2, 2)).astype(np.float32)
    np.testing.assert_array_equal(load_policy(run_dir).act(obs)[0], policies[best].act(obs)[0])


def test_policies_of_other_numbers_have_no_mean(together):
    result = evaluate(together.plan.run_dir, which="all-seeds-last", episodes=8)
    facts = [one["policy"] for one in result["policies"]]
    assert [fact["hp.gamma"] for fact in facts] == [0.99, 0.99, 0.5, 0.5]
    assert [fact["seed"] for fact in facts] == [0, 5, 0, 5]
    assert "greedy" not in result and "policy" not in result
    assert "seed 5, hp.gamma 0.5, hp.entropy_coef 0.3 " in _in_words(result, None)


def test_each_is_the_run_that_it_would_be_alone(together):
    """To rounding: vmap orders matrix products differently."""
    run = together.plan.runs[3]
    alone = train(config_of(seeds=(run.seed,), hp=run.hp), display="none")
    ours = [row for row in together.logs.metrics.rows if row["run"] == 3]
    for name in ("env_steps", "update"):
        assert [row[name] for row in ours] == [row[name] for row in alone.metrics]
    first, theirs = ours[0], alone.metrics[0]
    for name in ("loss", "entropy", "critic_loss"):
        assert first[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-5)
    assert alone.metrics[0].keys() - first.keys() == set()


def test_they_are_resumed_as_they_were(together, tmp_path):
    import shutil

    shutil.copytree(together.plan.run_dir, tmp_path / "run")
    more = config_of(total_steps=800)
    session = new_session(more, tmp_path / "run", resume=True)
    assert session.plan.runs == together.plan.runs
    session.run()
    assert session.counters.slowest >= 800
    others = [run._replace(seed=run.seed + 1) for run in swept()]
    with pytest.raises(UserError, match="holds a run of another configuration"):
        make_plan(more, tmp_path / "run", resume=True, runs=others)
    (tmp_path / "run" / "runs.json").write_text("[3]")
    with pytest.raises(UserError, match=r"runs\.json is damaged"):
        make_plan(more, tmp_path / "run", resume=True)


def test_seeds_are_the_special_case():
    plan = make_plan(config_of(seeds=(3, 4)))
    assert plan.labels == [{"seed": 3}, {"seed": 4}] and not plan.swept
    assert plan.names == ["seed3", "seed4"]
    assert plan.hparams.gamma.shape == (2,) and plan.hparams.target_interval.dtype == np.int32


def test_equal_runs_are_told_apart_by_their_numbers():
    """A search may draw the same numbers twice."""
    plan = make_plan(config_of(), runs=[Run(0, numbers()), Run(0, numbers())])
    assert plan.labels == [{"run": 0, "seed": 0}, {"run": 1, "seed": 0}] and not plan.swept
    assert plan.names == ["run0", "run1"]
    chosen = summaries._best(plan, [0.1, 0.2])
    assert summaries.best_run(chosen | {"seeds": plan.seeds}) == 1


def test_runs_that_make_no_sense(tmp_path, programs):
    with pytest.raises(UserError, match=r"hp\.gamma must be within 0 and 1"):
        make_plan(config_of(), tmp_path / "run", runs=[Run(0, numbers(gamma=3.0))])
    assert not programs and not (tmp_path / "run").exists()


def test_a_run_that_fails_among_others_is_named(tmp_path, capfd):
    wild = numbers(critic_lr=1e30, grad_norm_clip=1e30)
    plan = make_plan(config_of(), tmp_path / "r", runs=[Run(0, numbers()), Run(0, wild)])
    session = Session(plan, "none")
    session.run()
    assert "run 1 (seed 0, hp.critic_lr 1e+30" in capfd.readouterr().err
    assert session.summary["failed_at_update"][0] is None
    assert session.summary["failed_at_update"][1] is not None
    assert session.summary["best_run"] == 0


def test_the_status_of_a_directory(tmp_path):
    assert directory.status(tmp_path / "nothing") == "new"
    (tmp_path / "empty").mkdir()
    assert directory.status(tmp_path / "empty") == "new"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    assert directory.status(tmp_path / "other") == "damaged"
    config = config_of()
    new_session(config, tmp_path / "run").close()
    assert directory.status(tmp_path / "run") == "new"  # there is nothing to go on from
    train(config, run_dir=tmp_path / "run", resume=True, display="none")
    assert directory.status(tmp_path / "run") == "finished"
    stored = tmp_path / "run" / "config.json"
    longer = dataclasses.replace(directory.read_config(tmp_path / "run"), total_steps=10_000)
    stored.write_text(json.dumps(dataclasses.asdict(longer)))
    assert directory.status(tmp_path / "run") == "interrupted"
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    result |= {"env_steps": [10_000, 96], "failed_at_update": [None, 3]}
    (tmp_path / "run" / "result.json").write_text(json.dumps(result))
    assert directory.status(tmp_path / "run") == "finished"  # the other one failed on the way
    (tmp_path / "run" / "result.json").write_text("[]")
    assert directory.status(tmp_path / "run") == "damaged"
    stored.write_text("{")
    assert directory.status(tmp_path / "run") == "damaged"


def test_a_result_is_there_behind_the_policies_that_it_is_of(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lica_jax.runs.session.export_policies", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config_of(), run_dir=tmp_path / "run", display="none")
    assert directory.status(tmp_path / "run") == "interrupted"


# --- settings ------------------------------------------------------------------------------------


def test_a_dumped_run_is_the_run(tmp_path):
    config = resolve(config_of(seeds=(1, 2), hp={"gamma": 0.9}), make_task(TASK).spec)
    (tmp_path / "run.yaml").write_text(dump_settings(config))
    again, sources = load_settings(tmp_path / "run.yaml")
    assert again == config
    assert sources.sources["hp.gamma"] == "run.yaml"
    result = train(tmp_path / "run.yaml", seeds=4, total_steps=300, display="none")
    assert result.config.seeds == (4,) and result.config.hp == config.hp


@pytest.mark.slow
def test_the_same_kind_of_run_compiles_once(tmp_path, programs):
    """Whatever its seeds and numbers; other static choices, precisions and tasks of one's own are
    other kinds."""
    settings = {"seeds": (1, 2), "total_steps": 300, "display": "none"}
    small = TINY | settings

    def again(*names, **more):
        before = len(programs)
        train(*names, **(small | more))
        return len(programs) - before

    assert again("lica", TASK, run_dir=tmp_path / "run") == 3
    assert again("lica", TASK, seeds=(3, 4), hp={"gamma": 0.9}) == 0
    evaluate(tmp_path / "run", episodes=16)
    before = len(programs)
    evaluate(tmp_path / "run", episodes=16, seed=1)
    assert len(programs) == before
    assert again("lica", TASK, algo={**TINY["algo"], "hidden": 9}) == 3
    with jax.enable_x64(True):
        assert again("lica", TASK) == 3
    own = copy.copy(make_task(TASK))
    own.__class__ = Own
    assert [again("lica", own), again("lica", own)] == [3, 3]


def test_resuming_takes_what_is_stored(tmp_path):
    """By the directory alone or with its names; what is asked for goes on top."""
    settings = {"seeds": (1, 2), "hp": {"gamma": 0.9}, "total_steps": 300}
    first = train(config_of(**settings), run_dir=tmp_path / "run", display="none")
    for steps, names in ((600, ()), (900, ("lica", TASK))):
        more = {"total_steps": steps, "run_dir": tmp_path / "run", "display": "none"}
        result = train(*names, resume=True, **more)
        assert result.config.hp == first.config.hp and result.config.seeds == (1, 2)
        assert min(result.summary["env_steps"]) >= steps
    for names, more, words in (
        (("coma", TASK), {}, "holds lica on probe/match, not coma"),
        ((), {"hp": {"gamma": 0.8}}, "holds a run of another configuration"),
        ((), {"run_dir": tmp_path / "none"}, "none is not a run directory"),
        ((), {"run_dir": None}, "needs an algorithm and a task"),
    ):
        with pytest.raises(UserError, match=words):
            train(*names, resume=True, display="none", **{"run_dir": tmp_path / "run"} | more)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("algorithm: lica\ntask: [", "is not YAML"),
        ("- lica", "must hold settings by name, got list"),
        ("algorithm: lica", "does not say which task to train"),
        ("algoritm: lica\ntask: probe/match", "which algorithm to train .*it has 'algoritm'"),
        ("algorithm: lica\ntask: probe/match\nhp: {gama: 1}", "unknown setting 'hp.gama'; did you"),
        ("algorithm: lica\ntask: probe/match\nhp: {gamma: x}", "hp.gamma: .*valid number"),
        ("algorithm: lica\ntask: probe/match\nplugins: [nowhere]", "plugin 'nowhere' cannot be"),
        ("algorithm: lica\ntask: smax/3m\ntask: probe/match", "says task twice, in lines 2 and 3"),
        ("algorithm: lica\ntask: probe/match\nhp: {gamma: yes}", "hp.gamma: .*valid number"),
        ("algorithm: lica\ntask: probe/match\nseeds: 3", r"must be a list, such as \[3\], got 3"),
        ("algorithm: licca\ntask: probe/match", "unknown algorithm 'licca'; did you mean lica"),
    ],
)
def test_files_that_are_no_settings(text, words, tmp_path, programs, capfd):
    from lica_jax.cli.main import main

    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        train(path, display="none")
    before = set(tmp_path.iterdir())
    assert main(["train", str(path), "--run-dir", str(tmp_path / "run")]) == 2
    assert capfd.readouterr().err.startswith("error: ")
    assert not programs and set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"total_steps": "2e6"}, 2_000_000),
        ({"total_steps": 2e6}, 2_000_000),
        ({"seeds": ["1e1", 2]}, (10, 2)),
        ({"seeds": "[4, 5]"}, (4, 5)),
        ({"hp": {"actor_lr": "5e-4"}}, 5e-4),
        ({"hp": {"temperature_final": "none"}}, None),
        ({"algo": {"hypernet_layers": "2"}}, 2),
        ({"algo": {"hypernet_hidden": "full"}}, "full"),
        ({"algo": {"hypernet_hidden": "32"}}, 32),
        ({"algo": {"target_critic": "off"}}, False),
    ],
)
def test_whatever_people_write(given, value):
    """Shell, file and Python write the same value differently."""
    config = load_config("lica", TASK, **given)
    for name, inner in given.items():
        while isinstance(inner, dict):
            config = getattr(config, name)
            name, inner = next(iter(inner.items()))
        got = getattr(config, name)
        assert got == value and type(got) is type(value)
