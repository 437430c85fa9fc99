"""Checkpoints: a round trip, and every way one can be unusable."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax import evaluate, load_policy, load_result, train
from lica_jax.cli.evaluate import _in_words
from lica_jax.config import load_config
from lica_jax.errors import TrainingFailed, UserError
from lica_jax.files import plain
from lica_jax.runs import directory
from lica_jax.runs.checkpoint import Checkpointer, keys_to_data
from tests.conftest import TINY, new_session

TASK = "probe/match"


def tree():
    return {
        "w": jnp.arange(6.0).reshape(2, 3),
        "n": jnp.uint32(7),
        "key": jax.random.split(jax.random.key(3), 2),
        "nothing": jnp.zeros((3, 0)),  # the state of a task that has none
        "nested": ({"b": jnp.ones(2, bool)}, jnp.float32(-jnp.inf)),
    }


def test_round_trip_with_keys_and_infinities(tmp_path):
    saver = Checkpointer(tmp_path / "c")
    saver.save(4, tree(), {"seconds": 1.5}, score=0.5)
    saver.close()
    loader = Checkpointer(tmp_path / "c")
    arrays, host, problem = loader.restore(jax.eval_shape(tree))
    loader.close()
    assert problem == ""
    jax.tree.map(np.testing.assert_array_equal, keys_to_data(arrays), keys_to_data(tree()))
    assert arrays["key"].dtype == tree()["key"].dtype
    assert host["seconds"] == 1.5


def test_a_checkpoint_that_a_gpu_wrote(tmp_path):
    """It is read where there is no such device."""
    saver = Checkpointer(tmp_path / "c")
    saver.save(4, tree(), {}, score=None)
    saver.close()
    (devices,) = (tmp_path / "c").rglob("_sharding")
    here = str(jax.devices()[0])
    assert here in devices.read_text()
    devices.write_text(devices.read_text().replace(here, "cuda:0"))
    loader = Checkpointer(tmp_path / "c")
    arrays, _, problem = loader.restore(jax.eval_shape(tree))
    loader.close()
    assert problem == ""
    jax.tree.map(np.testing.assert_array_equal, keys_to_data(arrays), keys_to_data(tree()))


def test_runs_in_several_threads_save_in_turn(tmp_path):
    """Orbax numbers the saves of a process in one row. What fails is told to the run it was of."""

    def full():
        raise OSError("a full disk")

    bad = Checkpointer(tmp_path / "bad")
    bad.save(1, tree(), {}, score=None)
    bad.wait()
    bad._manager.wait_until_finished = full

    def saves(path):
        saver = Checkpointer(path)
        for step in range(1, 9):
            saver.save(step, tree(), {"step": step}, score=None)
        saver.wait()
        found = saver.restore(jax.eval_shape(tree))[1]
        saver.close()
        return found["step"]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(saves, (tmp_path / str(i) for i in range(4)))) == [8] * 4
    with pytest.raises(TrainingFailed, match=r"written to \S*bad: a full disk"):
        bad.save(2, tree(), {}, score=None)


def test_the_latest_and_the_best_are_kept(tmp_path):
    saver = Checkpointer(tmp_path / "c", keep=2)
    for step, score in enumerate([0.1, 0.9, 0.3, 0.2, 0.4]):
        saver.save(step, tree(), {}, score)
    saver.wait()
    saver.close()
    kept = sorted(int(p.name) for p in (tmp_path / "c").iterdir() if p.name.isdigit())
    assert kept == [1, 3, 4]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    import copy

    run_dir = tmp_path_factory.mktemp("runs") / "finished"
    train("lica", TASK, run_dir=run_dir, display="none", seeds=[0, 1], **copy.deepcopy(TINY))
    return run_dir


@pytest.fixture
def run(finished, tmp_path):
    """A run directory of the test's own, killed before it told its result; its configuration."""
    from lica_jax.runs.directory import read_config

    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("result.json"))
    return tmp_path / "run", read_config(tmp_path / "run")


def listing(run_dir):
    return {str(p): p.read_bytes() for p in sorted(run_dir.rglob("*")) if p.is_file()}


def refused(run_dir, config, match, programs):
    """Resuming raises one UserError, compiles nothing and changes no file."""
    before = listing(run_dir)
    with pytest.raises(UserError, match=match):
        train(config, run_dir=run_dir, resume=True, display="none")
    assert listing(run_dir) == before
    assert not programs, "something was compiled"


def latest(run_dir):
    return max(
        (p for p in (run_dir / "checkpoints").iterdir() if p.name.isdigit()),
        key=lambda p: int(p.name),
    )


def truncate(folder):
    files = [p for p in folder.rglob("*") if p.is_file() and "/d/" in str(p)]
    assert files
    for p in files:
        p.write_bytes(p.read_bytes()[: p.stat().st_size // 3])


def every_checkpoint(run_dir):
    return [p for p in (run_dir / "checkpoints").iterdir() if p.name.isdigit()]


def test_truncated_checkpoints(run, programs):
    run_dir, config = run
    for folder in every_checkpoint(run_dir):
        truncate(folder)
    refused(run_dir, config, "damaged", programs)


def test_checkpoints_without_their_arrays(run, programs):
    run_dir, config = run
    for folder in every_checkpoint(run_dir):
        shutil.rmtree(folder / "arrays")
    refused(run_dir, config, "damaged", programs)


@pytest.mark.parametrize("harm", [truncate, lambda folder: shutil.rmtree(folder / "arrays")])
def test_a_damaged_checkpoint_makes_way_for_the_one_before_it(finished, run, capfd, harm):
    """With a word; and what is written again is what it was."""
    run_dir, config = run
    last = latest(run_dir)
    before = json.loads((finished / "result.json").read_text())
    harm(last)
    result = train(config, run_dir=run_dir, resume=True, display="none")
    err = capfd.readouterr().err
    assert f"{last} is damaged" in err and "going on from checkpoint" in err
    assert result.summary["final"] == before["final"]
    assert result.summary["updates"] == before["updates"]
    again = train(config, run_dir=run_dir, resume=True, display="none")
    assert again.summary["final"] == before["final"]
    assert "damaged" not in capfd.readouterr().err


def flipped(data, draw):
    at = draw.integers(len(data))
    return data[:at] + bytes([data[at] ^ (1 << draw.integers(8))]) + data[at + 1 :]


def cut_short(data, draw):
    return data[: draw.integers(len(data))]


def overwritten(data, draw):
    at = draw.integers(len(data))
    return data[:at] + draw.bytes(8) + data[at + 8 :]


@pytest.mark.parametrize("harm", [flipped, cut_short, overwritten, None])
def test_damage_is_noticed(tmp_path, harm):
    """Wherever it is done: the checkpoint is refused, or what is read is what was written. None
    deletes the file."""
    saver = Checkpointer(tmp_path / "c")
    saver.save(4, tree(), {"seconds": 1.5, "next_eval": 7}, score=0.5)
    saver.close()
    files = [p for p in (tmp_path / "c" / "4").rglob("*") if p.is_file() and p.stat().st_size]
    draw = np.random.default_rng(0)
    noticed = 0
    for i in range(40 if harm else len(files)):
        path = files[i % len(files)]
        whole = path.read_bytes()
        path.write_bytes(harm(whole, draw)) if harm else path.unlink()
        loader = Checkpointer(tmp_path / "c")
        try:
            arrays, host, _ = loader.restore(jax.eval_shape(tree))
        except UserError:
            noticed += 1
        else:
            assert host == {"seconds": 1.5, "next_eval": 7}
            jax.tree.map(np.testing.assert_array_equal, keys_to_data(arrays), keys_to_data(tree()))
        finally:
            loader.close()
            path.write_bytes(whole)
    assert noticed > 5 if harm else noticed


@pytest.mark.parametrize("where", ["arrays", "host"])
def test_what_is_not_what_was_written(tmp_path, monkeypatch, where):
    """An array or a counter that reads well, and is another."""
    from lica_jax.runs import checkpoint

    saver = Checkpointer(tmp_path / "c")
    other = checkpoint.digests if where == "arrays" else checkpoint.json_digest
    value = dict.fromkeys(checkpoint.digests(keys_to_data(tree())), 5) if where == "arrays" else 5
    monkeypatch.setattr(checkpoint, other.__name__, lambda _: value)
    saver.save(4, tree(), {"seconds": 1.5}, score=None)
    saver.close()
    monkeypatch.undo()
    loader = Checkpointer(tmp_path / "c")
    with pytest.raises(UserError, match=r"is damaged: .* not what was written"):
        loader.restore(jax.eval_shape(tree))
    loader.close()


def test_random_numbers_of_another_kind(tmp_path):
    def keys(kind):
        return {"key": jax.random.key(3, impl=kind)}

    with jax.default_prng_impl("rbg"):
        saver = Checkpointer(tmp_path / "c")
        saver.save(4, keys("rbg"), {}, score=None)
        saver.close()
    loader = Checkpointer(tmp_path / "c")
    with pytest.raises(UserError, match="JAX_DEFAULT_PRNG_IMPL=rbg"):
        loader.restore(jax.eval_shape(lambda: keys("threefry2x32")))
    loader.close()


def test_double_precision_without_it(tmp_path):
    """Sound, and of a process with another precision: not called damaged."""
    with jax.enable_x64(True):
        saver = Checkpointer(tmp_path / "c")
        saver.save(4, {"w": jnp.ones(3)}, {}, score=None)
        saver.close()
    loader = Checkpointer(tmp_path / "c")
    with pytest.raises(UserError, match="with JAX's double precision: set JAX_ENABLE_X64=1"):
        loader.restore(jax.eval_shape(lambda: {"w": jnp.ones(3)}))
    loader.close()


def test_a_checkpoint_of_another_layout(tmp_path):
    """A state whose arrays have changed since: not called damaged."""
    saver = Checkpointer(tmp_path / "c")
    saver.save(4, tree(), {}, score=None)
    saver.close()
    want = tree()
    want["x"], want["y"] = want.pop("w"), jnp.ones(2)
    loader = Checkpointer(tmp_path / "c")
    told = r"another version .*lacks \['x'\] and 1 more, it has \['w'\]\): resume it with"
    with pytest.raises(UserError, match=told) as error:
        loader.restore(jax.eval_shape(lambda: want))
    assert "damaged" not in str(error.value)
    loader.close()


def test_a_foreign_checkpoint(run, programs):
    import orbax.checkpoint as ocp

    run_dir, config = run
    shutil.rmtree(run_dir / "checkpoints")
    manager = ocp.CheckpointManager(run_dir / "checkpoints", item_names=("arrays", "host"))
    manager.save(
        3,
        args=ocp.args.Composite(
            arrays=ocp.args.StandardSave({"w": jnp.ones(3)}), host=ocp.args.JsonSave({"a": 1})
        ),
    )
    manager.close()
    refused(run_dir, config, "not a lica_jax checkpoint", programs)


def test_a_checkpoint_of_other_shapes(run, tmp_path, tiny, programs):
    run_dir, config = run
    tiny["algo"]["hidden"] = 9
    train("lica", TASK, run_dir=tmp_path / "other", display="none", seeds=[0, 1], **tiny)
    assert {"init_all", "evaluate"} <= set(programs)  # here they are; below they must not be
    programs.clear()
    shutil.rmtree(run_dir / "checkpoints")
    shutil.copytree(tmp_path / "other" / "checkpoints", run_dir / "checkpoints")
    refused(run_dir, config, "another configuration", programs)


def test_no_checkpoint_in_a_run_that_had_some(run, programs):
    run_dir, config = run
    shutil.rmtree(run_dir / "checkpoints")
    (run_dir / "checkpoints").mkdir()
    refused(run_dir, config, "nothing to resume from", programs)


def test_another_configuration(run, tiny, programs):
    run_dir, _ = run
    tiny["hp"] = {"gamma": 0.5}
    config = load_config("lica", TASK, seeds=[0, 1], **tiny)
    refused(run_dir, config, r"hp.gamma: 0.99 -> 0.5", programs)


def test_a_new_run_does_not_overwrite(run, programs):
    run_dir, config = run
    before = listing(run_dir)
    with pytest.raises(UserError, match="already holds a run"):
        train(config, run_dir=run_dir, display="none")
    assert listing(run_dir) == before


def test_the_files_of_a_run(finished):
    names = {p.name for p in finished.iterdir()}
    assert names >= {
        "config.json", "command.txt", "versions.json", "metrics.jsonl", "eval.jsonl", "checkpoints",
        "policy.safetensors", "policy.json", "learning_curve.png", "result.json",
        "policy_seed0.safetensors", "policy_seed1.safetensors", "policy_last.safetensors",
        "policy_last_seed0.safetensors", "policy_last_seed1.safetensors", "policy_last.json",
        "critic.safetensors", "critic_seed0.safetensors", "critic_seed1.safetensors",
    }  # fmt: skip
    rows = [json.loads(line) for line in (finished / "eval.jsonl").read_text().splitlines()]
    assert {r["seed"] for r in rows} == {0, 1}
    for row in rows:
        assert row["t_env"] == row["env_steps"]
        assert row["test_return_mean"] == row["eval/return_mean"]
        assert 0 <= row["eval/sampled/return_mean"] <= 1


def test_an_exported_policy_plays_like_the_trained_one(finished, tiny):
    result = train("lica", TASK, display="none", seeds=[0, 1], **tiny)
    loaded, direct = load_policy(finished / "policy_seed1.safetensors"), result.policy(seed=1)
    obs = jax.random.normal(jax.random.key(0), (4, 6, 2, 2))
    carry_a = carry_b = None
    for t in range(4):
        a, carry_a = loaded.act(obs[t], None, carry_a)
        b, carry_b = direct.act(obs[t], None, carry_b)
        np.testing.assert_array_equal(a, b)
    jax.tree.map(np.testing.assert_array_equal, carry_a, carry_b)
    jax.tree.map(np.testing.assert_array_equal, loaded.critic.params, direct.critic.params)
    assert loaded.about["seed"] == 1 and loaded.about["task"] == TASK


def test_the_last_policies_are_those_of_the_last_update(finished):
    result = json.loads((finished / "result.json").read_text())
    session = new_session(directory.read_config(finished), finished, resume=True)
    last = session.algo.policy(session.state.learner)
    critics = session.state.learner.critic
    session.close()
    for i in (0, 1):
        policy = load_policy(finished / f"policy_last_seed{i}.safetensors")
        assert policy.critic.env_steps == result["env_steps"][i]
        own = jax.tree.map(lambda x, i=i: x[i], critics)
        jax.tree.map(np.testing.assert_array_equal, own, policy.critic.params)
        assert policy.about["env_steps"] == result["env_steps"][i]
        assert policy.about["which"] == "last" and policy.about["seed"] == i
        own = jax.tree.map(lambda x, i=i: x[i], last)
        jax.tree.map(np.testing.assert_array_equal, own, policy.params)
    best = (finished / f"policy_last_seed{result['best_seed']}.safetensors").read_bytes()
    assert (finished / "policy_last.safetensors").read_bytes() == best


@pytest.mark.parametrize(("which", "stem"), [(None, "policy"), ("last", "policy_last")])
def test_a_policy_is_loaded_by_its_seed(finished, which, stem):
    for seed in (0, 1):
        chosen, own = (
            load_policy(finished, which=which, seed=seed),
            load_policy(finished / f"{stem}_seed{seed}.safetensors", seed=seed),
        )
        assert chosen.about == own.about
        jax.tree.map(np.testing.assert_array_equal, chosen.params, own.params)
    best = json.loads((finished / "result.json").read_text())["best_seed"]
    assert load_policy(finished, which=which).about["seed"] == best
    with pytest.raises(UserError, match=r"no policy of seed 7.*seeds \[0, 1\]"):
        load_policy(finished, which=which, seed=7)
    with pytest.raises(UserError, match=r"no policy of seed 1.*seeds \[0\]"):
        load_policy(finished / f"{stem}_seed0.safetensors", seed=1)
    with pytest.raises(UserError, match="must be best or last"):
        load_policy(finished, which="all-seeds")


def test_every_seed_is_evaluated_in_one_program(finished, programs):
    result = evaluate(finished, which="all-seeds", episodes=16)
    assert programs == ["evaluate"], "one program for all seeds and both modes"
    assert result["policy"]["seed"] == [0, 1] and len(result["policies"]) == 2
    for mode in ("greedy", "sampled"):
        each = [one[mode] for one in result["policies"]]
        means = [figures["return_mean"] for figures in each]
        assert result[mode]["return_mean"] == pytest.approx(np.mean(means))
        assert result[mode]["episodes"] == sum(figures["episodes"] for figures in each) == 32
        for figures in (*each, result[mode]):
            low, high = figures["return_mean_ci95"]
            assert low <= figures["return_mean"] <= high
    text = _in_words(result, None).splitlines()
    assert [line.split()[:2] for line in text[2:]] == [
        [mode, word] for mode in ("greedy", "sampled") for word in ("seed", "seed", "mean")
    ]
    assert json.loads(json.dumps(result)) == result

    last = evaluate(finished, which="last", episodes=16)
    assert "policies" not in last
    stored = load_policy(finished / "policy_last.safetensors").about
    assert last["policy"]["env_steps"] == stored["env_steps"]
    assert len(_in_words(last, None).splitlines()) == 4


def test_policies_that_are_not_there(finished, tmp_path):
    with pytest.raises(UserError, match="which must be one of best, last, all-seeds"):
        evaluate(finished, which="worst")
    with pytest.raises(UserError, match="is a file"):
        evaluate(finished / "policy.safetensors", which="last")
    with pytest.raises(UserError, match="among the policies of a run"):
        evaluate(load_policy(finished), which="last")
    shutil.copy(finished / "policy.safetensors", tmp_path)
    with pytest.raises(UserError, match=r"no policy_last.safetensors.*--resume"):
        evaluate(tmp_path, which="last")
    (tmp_path / "policy.safetensors").unlink()
    with pytest.raises(UserError, match="no policy at"):
        evaluate(tmp_path, which="all-seeds-last")


def test_a_policy_acts_on_one_environment_and_on_many(finished):
    policy = load_policy(finished)
    obs = jax.random.normal(jax.random.key(1), (3, 2, 2))
    many, carry = policy.act(obs)
    one, carry_one = policy.act(obs[1])
    assert many.shape == (3, 2) and one.shape == (2,)
    np.testing.assert_array_equal(many[1], one)
    np.testing.assert_allclose(carry.hidden[1], carry_one.hidden, atol=1e-6)
    avail = np.zeros((2, 2), bool)
    avail[:, 1] = True
    assert policy.act(obs[0], avail)[0].tolist() == [1, 1]
    listed = jax.jit(lambda a, b: policy.act([a, b])[0])(obs[0, 0], obs[0, 1])
    np.testing.assert_array_equal(listed, many[0])
    sampled = {tuple(policy.act(obs[0], key=jax.random.key(i))[0].tolist()) for i in range(40)}
    assert len(sampled) > 1
    result = load_result(finished)
    obs = jax.random.normal(jax.random.key(2), (64, 2, 2))
    both = jax.vmap(lambda params: policy.act(obs, params=params)[0])(result.params)
    alone = [result.policy(seed).act(obs)[0] for seed in result.config.seeds]
    np.testing.assert_array_equal(both, alone)
    assert not np.array_equal(*alone), "one policy would do"


def test_a_policy_refuses_other_shapes(finished):
    policy = load_policy(finished)
    with pytest.raises(UserError, match="trained on probe/match"):
        policy.act(np.zeros((2, 5)))
    with pytest.raises(UserError, match="avail must be"):
        policy.act(np.zeros((2, 2)), np.ones((2, 7)))


def test_a_policy_of_a_task_that_masks_actions_must_be_told_which():
    """All of them would be a silent mistake: most of what it then plays is not available."""
    policy = load_policy("zoo:lica_adv/smax/3m")
    with pytest.raises(UserError, match=r"smax/3m makes some actions unavailable: give act"):
        policy.act(np.zeros((3, policy.spec.obs_size)))


def test_unusable_policy_files(finished, tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(UserError, match="no policy at"):
        load_policy(tmp_path / "missing.safetensors")
    whole = (finished / "policy.safetensors").read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged"):
        load_policy(cut)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"w": np.ones(3, np.float32)}, foreign)
    with pytest.raises(UserError, match="not a lica_jax policy"):
        load_policy(foreign)


def test_json_has_no_nan():
    assert plain({"a": float("nan"), "b": [np.float32("inf"), jnp.ones(2)]}) == {
        "a": None,
        "b": [None, [1.0, 1.0]],
    }


def test_a_run_killed_before_its_first_checkpoint_starts_again(tiny, tmp_path):
    config = load_config("lica", TASK, **tiny)
    new_session(config, tmp_path / "run").close()  # killed here: nothing has run
    result = train(config, run_dir=tmp_path / "run", resume=True, display="none")
    assert result.summary["env_steps"][0] >= tiny["total_steps"]


def test_a_directory_belongs_to_one_process_at_a_time(tiny, tmp_path):
    config = load_config("lica", TASK, **tiny)
    session = new_session(config, tmp_path / "run")
    with pytest.raises(UserError, match="in use by another process"):
        train(config, run_dir=tmp_path / "run", resume=True, display="none")
    session.close()


@pytest.mark.parametrize("actor", ["gru", pytest.param("mlp", marks=pytest.mark.slow)])
def test_the_last_checkpoint_holds_the_exported_best_policy(tiny, tmp_path, actor):
    """Also when every chunk is saved, and for an actor without memory."""
    tiny["algo"]["actor"] = actor
    tiny["checkpoint"] = {"every_seconds": 0}
    tiny |= {"total_steps": 850, "log_interval": 100}  # two evaluations on the way
    config = load_config("lica", TASK, **tiny)
    result = train(config, run_dir=tmp_path / "run", display="none")
    session = new_session(config, tmp_path / "run", resume=True)
    best = session.best.params
    session.close()
    exported = load_policy(tmp_path / "run").params
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b), best, exported)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[0]), exported, result.params)


def test_a_file_that_is_no_text(run, programs):
    run_dir, config = run
    (run_dir / "config.json").write_bytes(b"\xff\xfe\x00")
    refused(run_dir, config, "config.json is damaged", programs)
