"""Diagnoses: estimates by hand, truths that are known, a whole command on a game of one step."""

import json
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax import UserError, train
from lica_jax.algorithms import algorithm_module, make_algorithm
from lica_jax.cli.main import main
from lica_jax.config import load_config, resolve
from lica_jax.diagnosis import agreement, climbing, diagnosis, measuring
from lica_jax.diagnosis.curves import ends, read_curves
from lica_jax.diagnosis.playing import Mind, Moments, Player, at, episodes, rollouts
from lica_jax.envs import make_task
from lica_jax.envs.games import CLIMBING
from lica_jax.policy import Policy
from lica_jax.types import TaskSpec, TimeStep

# --- estimates -----------------------------------------------------------------------------------


def test_effects_by_hand():
    worth, policy = np.array([[1.0, 3.0, 9.0]]), np.array([[0.25, 0.75, 0.0]])
    avail = np.array([[True, True, False]])
    np.testing.assert_allclose(agreement.effects(worth, policy, avail), [[-1.5, 0.5, np.nan]])


def test_rounding_is_no_effect():
    """Worths that are alike to single precision, as constant returns and critics have them."""
    rng = np.random.default_rng(0)
    policy, avail = rng.dirichlet(np.ones(4), 300).astype(np.float32), np.ones((300, 4), bool)

    def rounded(size):
        noise = rng.integers(-1, 2, (300, 4)) * np.spacing(np.float32(size))
        return np.float32(size) + noise.astype(np.float32)

    truth, critic = (agreement.effects(rounded(x), policy, avail) for x in (0.9, 3.0))
    assert not truth.any() and not critic.any()
    cluster = np.repeat(np.arange(300), 4)
    got = agreement.correlation(critic.ravel(), truth.ravel(), cluster)
    assert np.isnan(got.value) and np.isnan(got.error)
    assert np.isnan(agreement.cosines(critic, truth)).all()
    # What is small but there counts.
    worth = 1 + 1e-3 * rng.normal(size=(300, 4)).astype(np.float32)
    told = agreement.effects(worth, policy, avail).ravel()
    assert agreement.correlation(told, told, cluster).value == pytest.approx(1)


def test_correlations_are_numpys_and_know_how_sure_they_are():
    rng = np.random.default_rng(0)
    x, cluster = rng.normal(size=400) + 1e3, np.arange(400) // 2
    y = 0.5 * x + rng.normal(size=400)
    got = agreement.correlation(x, y, cluster)
    assert got.value == pytest.approx(np.corrcoef(x, y)[0, 1], rel=1e-9) and got.count == 400
    # Of independent pairs (1 - r^2) / sqrt(n) = .04; twice the same ones are worth half as many.
    assert 0.03 < got.error < 0.05
    twice = agreement.correlation(np.repeat(x, 2), np.repeat(y, 2), np.arange(800) // 4)
    assert twice.error == pytest.approx(got.error, rel=0.15)
    assert np.isnan(agreement.correlation(x, np.ones(400), cluster).value)
    assert np.isnan(agreement.correlation(x, y, np.zeros(400, int)).value)


def test_what_has_no_value_has_no_error():
    """Nor where single draws of the bootstrap would have one: of ten things one differs, hardly."""
    x = np.where(np.arange(10) == 3, 3e-4, 0.0)
    got = agreement.correlation(x, x, np.arange(10))
    assert np.isnan(got.value) and np.isnan(got.error) and got.count == 10


def test_explained_variance_by_hand():
    """Returns 0, 2, 4, 6 (variance 5), errors of variance 1; an offset does not count."""
    result, cluster = np.array([0.0, 2, 4, 6]), np.arange(4)
    got = agreement.explained(result + np.array([1, -1, 1, -1]) + 50, result, cluster)
    assert got.value == pytest.approx(0.8)
    # Nor does a large one in float32, where squares of it would leave nothing of the rest.
    result = np.float32(np.random.default_rng(0).normal(size=4000))
    value = np.float32(result * 0.7 + 1e5)
    got = agreement.explained(value, result, np.arange(4000) // 4)
    assert got.value == pytest.approx(1 - 0.3**2, abs=0.01)


def test_ranks_and_angles_by_hand():
    x = np.array([[1.0, 5.0, 2.0, np.nan], [1.0, 1.0, np.nan, np.nan], [0, 1, 1, 3]])
    y = np.array([[-9.0, 3.0, 0.0, np.nan], [0.0, 1.0, np.nan, np.nan], [3, 2, 2, 0]])
    np.testing.assert_allclose(agreement.rank_correlations(x, y), [1, np.nan, -1])
    np.testing.assert_allclose(agreement.cosines(x[1:2], y[1:2]), [np.sqrt(0.5)])
    assert agreement.mean(np.array([1.0, np.nan, 3.0])) == (2.0, 1.0, 2)


def test_the_ceiling_of_noisy_truths():
    """Effects of variance 1 measured twice with noise of variance 1: the halves correlate by .5,
    their mean's reliability is 2/3."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=20_000)
    halves = tuple(truth + rng.normal(size=20_000) for _ in range(2))
    got = agreement.ceiling(halves, np.arange(20_000))
    assert got == pytest.approx(np.sqrt(2 / 3), abs=0.01)
    assert got == pytest.approx(np.corrcoef(truth, sum(halves))[0, 1], abs=0.01)


# --- truths --------------------------------------------------------------------------------------


class Toll:
    """Three steps that pay 1 each, and at the first one ten times the first agent's action."""

    spec = TaskSpec("toll", 2, 3, 1, 1, episode_limit=3)

    def reset(self, key):
        return jnp.int32(0), self._seen(jnp.int32(0), 0.0)

    def step(self, key, state, action):
        pay = 1.0 + 10.0 * action[0] * (state == 0)
        return state + 1, self._seen(state + 1, pay)

    def _seen(self, t, reward):
        off = jnp.zeros((), bool)
        return TimeStep(
            obs=jnp.ones((2, 1)), state=jnp.ones(1) * t, avail=jnp.ones((2, 3), bool),
            reward=jnp.float32(reward), terminated=off, truncated=t >= 3, first=t == 0,
            alive=jnp.ones(2, bool), info={},
        )  # fmt: skip


@partial(jax.jit, static_argnums=(0, 1))
def starts(task, n):
    """``n`` episodes of a task at their start."""
    return jax.vmap(task.reset)(jax.random.split(jax.random.key(1), n))


@pytest.mark.parametrize("terminal", [True, False])
def test_rollouts_return_what_the_task_pays(terminal):
    """1 + 10 a + gamma + gamma^2, and at a time limit that is no end what the critic expects."""
    lica = algorithm_module("lica")
    task = Toll()
    config = lica.Config(
        actor="mlp", hidden=4, mixing_embed=4, hypernet_hidden=4, last_action=False,
        state_last_action=False,
    )  # fmt: skip
    algo = make_algorithm("lica", task.spec, config)
    learner = jax.jit(algo.init)(jax.random.key(0))
    gamma = 0.5
    mind = Mind(learner.actor, learner.critic, lica.HParams(gamma=gamma))
    player = Player(algo, task, 2.0, terminal)
    key = jax.random.key(1)
    played = jax.jit(partial(episodes, player, 5))(mind, 0.5, key)
    moments, returns = jax.device_get(played)
    assert moments.playing.all() and moments.action.shape == (3, 5, 2)
    some = at(moments, task, np.array([0, 1]), np.array([0, 4]))  # the first step, a second one
    joint = np.array([[a, 1] for a in range(3)], np.int32)
    got = jax.jit(partial(rollouts, player, 4))(mind, some, np.array([0, 0, 1]), joint, key)
    paid = 2.0 * np.array([1 + gamma + gamma**2, 11 + gamma + gamma**2, 1 + gamma])
    rest = np.asarray(got) - paid[:, None]
    by_hand = 2.0 * (1 + 10 * np.asarray(moments.action[0, :, 0]) + gamma + gamma**2)
    if terminal:
        np.testing.assert_allclose(rest, 0, atol=1e-4)
        np.testing.assert_allclose(returns.full[0], by_hand, rtol=1e-5)
        # lambda .5: the last step is worth its reward, those before half that and half V.
        step = 2 + gamma * (0.5 * returns.value[2] + 0.5 * 2)
        np.testing.assert_allclose(returns.traced[1], step, rtol=1e-4)
    else:
        last = returns.full[2] - 2.0  # gamma V(s_3)
        assert np.all(np.abs(last) > 1e-4)
        np.testing.assert_allclose(returns.full[0] - by_hand, gamma**2 * last, rtol=1e-3)
        left = np.array([gamma**2, gamma**2, gamma])[:, None] * float(last[0])
        np.testing.assert_allclose(rest, np.broadcast_to(left, rest.shape), rtol=1e-3)


def test_what_is_remembered_is_the_action_that_was_tried():
    """It is tried at the last step, and the critic's state behind it holds the last actions."""
    task, gamma = Toll(), 0.5
    config = algorithm_module("lica").Config(
        actor="mlp", hidden=4, mixing_embed=4, hypernet_hidden=4, last_action=False
    )
    algo = make_algorithm("lica", task.spec, config)
    learner = jax.jit(algo.init)(jax.random.key(0))
    mind = Mind(learner.actor, learner.critic, algo.hparams.replace(gamma=gamma))
    player, key = Player(algo, task, 1.0, False), jax.random.key(1)
    joint = np.array([[0, 1], [1, 2], [2, 0]], np.int32)
    zeros = np.zeros((1, 3), bool)
    nobody = Moments(
        np.array([2], np.int32), algo.initial_carry(1), joint[:1], zeros, zeros, zeros, zeros
    )  # fmt: skip
    got = jax.jit(partial(rollouts, player, 4))(mind, nobody, np.zeros(3, int), joint, key)
    ts = jax.tree.map(lambda x: np.stack([x] * 3), task._seen(jnp.int32(3), 0.0))
    carry = algo.initial_carry(3).replace(last_action=joint)
    seen = jax.jit(algo.insight.look)(*mind[:2], carry, ts, joint, mind.hp)
    value = np.asarray(seen.value)
    assert np.ptp(value) > 1e-3
    np.testing.assert_allclose(got, np.broadcast_to(1 + gamma * value, (3, 4)), rtol=1e-4)


def test_angles_of_mean_gradients_are_numpys():
    """With the entropy's mean direction in them and without it, and how far noise lets them go."""
    rng = np.random.default_rng(0)
    true, n = rng.normal(size=(3, 50)), 40
    noise = rng.normal(size=(n, 3, 50)) * np.array([1.0, 3.0, 0.1])[:, None]
    got = climbing.figures(climbing.products((true + noise).astype(np.float32)))
    value, gain, entropy = (true + noise).mean(0)
    rest = [x - entropy * (x @ entropy) / (entropy @ entropy) for x in (value, gain)]
    for name, (a, b), perfect in (
        ("", (value, gain), true[1]),
        ("_beside_entropy", rest, true[1] - true[2] * (true[1] @ true[2]) / (true[2] @ true[2])),
    ):
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        found = got[f"climb_cosine{name}"]
        assert found.value == pytest.approx(cosine, abs=1e-5) and found.count == n
        assert 0.01 < found.error < 0.1
        most = perfect @ b / np.linalg.norm(perfect) / np.linalg.norm(b)
        assert got[f"climb_ceiling{name}"].value == pytest.approx(most, abs=0.06) and most < 0.95
    # Nothing but noise has no ceiling, and what has no length no angle.
    alone = climbing.ceiling(np.array([[1.0, -0.5], [-0.5, 1.0]]))
    assert np.isnan(alone)
    nothing = climbing.figures(np.zeros((3, 3, 4, 4)))
    assert all(np.isnan(f.value) for f in nothing.values())


def test_the_line_of_a_baseline_by_hand():
    line = climbing.baseline(np.array([0.0, 1, 2]), np.array([5.0, 7, 9]))
    np.testing.assert_allclose(line, [5, 2])
    np.testing.assert_allclose(climbing.baseline(np.ones(3), np.array([1.0, 2, 6])), [3, 0])


@pytest.mark.parametrize("critic", ["mixing", "mlp"])
def test_gradients_are_those_of_the_table_of_rewards(critic, monkeypatch):
    """A game of one step: every expectation is a sum over its nine cells."""
    monkeypatch.setattr(climbing, "ENVS", 512)
    monkeypatch.setattr(climbing, "LENGTH", 16)
    task = make_task("game/climbing")
    config = resolve(
        load_config("lica", "game/climbing", algo={"critic": critic, "hidden": 8}), task.spec
    )
    algo = make_algorithm("lica", task.spec, config.algo)
    learner = jax.jit(algo.init)(jax.random.key(0))
    mind = Mind(learner.actor, learner.critic, config.hp)
    player = Player(algo, task, 2.0, True)
    stream = jax.jit(partial(climbing.first_stream, player))(jax.random.key(1))
    play = jax.jit(partial(climbing.batch_gradients, player))
    line = climbing.Baseline(np.float32(-3), np.float32(0))
    _, got = play(mind, line, stream, jax.random.key(2))

    _, ts = starts(task, 1)
    carry = algo.initial_carry(1)

    @jax.jit
    def exact(params):
        outlook = algo.insight.look(params, learner.critic, carry, ts, None, config.hp)
        one, other = outlook.policy[0]
        return jnp.stack([
            outlook.value[0, 0], 2.0 * one @ jnp.array(CLIMBING, float) @ other,
            jnp.mean(outlook.entropy),
        ])  # fmt: skip

    slopes = jax.tree.leaves(jax.device_get(jax.jit(jax.jacrev(exact))(learner.actor)))
    got, want = np.asarray(got), np.concatenate([x.reshape(3, -1) for x in slopes], axis=1)
    for row in (0, 2):
        np.testing.assert_allclose(got[row], want[row], rtol=1e-3, atol=1e-6)
    # 4,096 sampled battles: the same direction and length, but for their noise.
    sampled, truth = got[1], want[1]
    assert sampled @ truth / (truth @ truth) == pytest.approx(1, abs=0.15)
    assert sampled @ truth > 0.9 * np.linalg.norm(sampled) * np.linalg.norm(truth)
    # The critic says v everywhere: a + b v is taken from every return, which are what they are.
    v = float(exact(learner.actor)[0])
    lines = [climbing.Baseline(*map(np.float32, x))
             for x in ((100, 200), (100 + 200 * v, 0), (0, 0))]  # fmt: skip
    by = [np.asarray(play(mind, x, stream, jax.random.key(2))[1])[1] for x in lines]
    np.testing.assert_allclose(by[0], by[1], atol=1e-3)
    np.testing.assert_allclose(by[0] - by[2], (by[2] - got[1]) * (100 + 200 * v) / 3, atol=0.02)
    assert np.abs(by[2] - by[0]).max() > 0.2


class Late(Toll):
    """The toll of the first step is paid back at the second one."""

    def step(self, key, state, action):
        t, paid = state
        return (t + 1, action[0]), self._seen(t + 1, 10.0 * paid * (t == 1))

    def reset(self, key):
        return (jnp.int32(0), jnp.int32(0)), self._seen(jnp.int32(0), 0.0)


def test_gradients_know_what_comes_later(monkeypatch):
    """Of 3 decisions in 4 slots, the first has the gradient of 2 gamma 10 E[a]."""
    monkeypatch.setattr(climbing, "ENVS", 256)
    task, gamma = Late(), 0.5
    config = algorithm_module("lica").Config(
        actor="mlp", hidden=4, mixing_embed=4, hypernet_hidden=4, last_action=False
    )
    algo = make_algorithm("lica", task.spec, config)
    learner = jax.jit(algo.init)(jax.random.key(0))
    mind = Mind(learner.actor, learner.critic, algo.hparams.replace(gamma=gamma))
    player, line = Player(algo, task, 2.0, True), climbing.Baseline(np.float32(5), np.float32(0))
    stream = jax.jit(partial(climbing.first_stream, player))(jax.random.key(1))
    play = jax.jit(partial(climbing.batch_gradients, player))
    got = np.asarray(play(mind, line, stream, jax.random.key(2))[1])
    _, ts = starts(task, 1)

    def exact(params):
        outlook = algo.insight.look(params, None, algo.initial_carry(1), ts, None, mind.hp)
        return 2.0 * gamma * 10.0 * outlook.policy[0, 0] @ jnp.arange(3.0) / 3

    slopes = jax.jit(jax.grad(exact))(learner.actor)
    truth = np.concatenate([x.ravel() for x in jax.tree.leaves(jax.device_get(slopes))])
    assert got[1] @ truth / (truth @ truth) == pytest.approx(1, abs=0.1)
    assert got[1] @ truth > 0.97 * np.linalg.norm(got[1]) * np.linalg.norm(truth)


def test_what_is_kept_of_gradients_does_not_grow_with_what_is_played():
    batch = climbing.ENVS * climbing.LENGTH
    assert climbing.plan(1) == (4, 1) and climbing.plan(25 * batch) == (25, 1)
    assert climbing.plan(64 * batch + 1) == (33, 2)
    groups, size = climbing.plan(10**9)
    assert groups <= 64 and (groups - 1) * size * batch < 10**9 <= groups * size * batch


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run on a game of one step."""
    folder = tmp_path_factory.mktemp("diagnosis") / "run"
    train(
        "lica", "game/climbing", run_dir=folder, display="none", total_steps=256,
        collect={"mode": "steps", "envs": 8, "length": 4}, log_interval=64, seeds=(3, 4),
        algo={
            "hidden": 8, "mixing_embed": 8, "hypernet_hidden": 8, "actor_steps": 2,
            "critic_pass": "dense",
        },
        eval={"interval": 10**6, "episodes": 8, "final_episodes": 8},
    )  # fmt: skip
    return folder


def test_a_whole_diagnosis_of_a_game_of_one_step(run, capsys, monkeypatch):
    """The truth is the table of rewards."""
    monkeypatch.setattr(measuring, "EPISODES", 8)
    monkeypatch.setattr(measuring, "ROWS", 12)
    monkeypatch.setattr(climbing, "ENVS", 4)
    monkeypatch.setattr(climbing, "LENGTH", 8)
    words = ["--states", "6", "--rollouts", "4", "--gradient-steps", "200"]
    assert main(["diagnose", str(run), *words]) == 0
    said = capsys.readouterr().out
    found = json.loads((run / "diagnosis" / "diagnosis.json").read_text())
    png = (run / "diagnosis" / "diagnosis.png").read_bytes()
    assert png.startswith(b"\x89PNG") and len(png) > 20_000
    scale = json.loads((run / "config.json").read_text())["hp"]["reward_scale"]
    assert len(found["moments"]) == 6
    for moment in found["moments"]:
        rows = np.array(CLIMBING, float) if moment["agent"] == 1 else np.array(CLIMBING).T
        wanted = scale * rows  # by what the other did
        assert any(np.allclose(moment["return"], row) for row in wanted)
        assert moment["return_error"] == [0, 0, 0] and sum(moment["policy"]) == pytest.approx(1)
        assert len(moment["critic"]) == len(moment["slope"]) == 3
    figures = found["figures"]
    assert figures["effect_correlation"]["count"] == 18 and figures["return_std"]["value"] == 0
    # Everything can be known of a game without chance.
    assert figures["effect_correlation_ceiling"]["value"] == pytest.approx(1)
    assert figures["climb_cosine"]["count"] == 7 and abs(figures["climb_cosine"]["value"]) <= 1
    for name, figure in figures.items():
        assert figure["what"] in said, name
    assert "actor_grad_norm, first to last tenth" in said and "kl, first" in said
    about = found["about"]
    assert about["critic_env_steps"] == about["env_steps"] and about["which"] == "last"
    assert not found["notes"]
    # It is not done over; nothing is computed to find out.
    assert main(["diagnose", str(run), "--states", "6", "--rollouts", "4"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_curves_are_those_of_the_policys_run(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for seed in (3, 4):
        curves = read_curves(run, {"seed": seed, "hp": {}})
        want = [row["entropy"] for row in rows if row["seed"] == seed]
        assert curves["entropy"]["values"] == want and len(want) > 2
        assert curves["kl"]["metric"] == "kl"
    assert read_curves(run, {"seed": 5, "hp": {}}) == {}
    assert ends({"values": [None, 1.0, *[5.0] * 18, 3.0]}) == (3.0, 4.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--states", "1"], "states must be an integer within 2 and"),
        (["--rollouts", "3"], "rollouts must be an integer within 4 and"),
        (["--gradient-steps", "-1"], "gradient_steps must be an integer within 0 and"),
        (["--which", "all"], "which must be last or best"),
    ],
)
def test_bad_numbers_are_refused(run, words, said, capsys):
    assert main(["diagnose", str(run), "--out", str(run / "never"), *words]) == 2
    assert said in capsys.readouterr().err and not (run / "never").exists()


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert main(["diagnose", str(tmp_path)]) == 2
    assert "is not a run directory" in capsys.readouterr().err and not list(tmp_path.iterdir())
    assert main(["diagnose", "zoo:lica/smax/3m"]) == 2
    assert "zoo:lica/smax/3m is a policy without its run" in capsys.readouterr().err


def test_too_few_rollouts_are_told():
    about = {"env_steps": 1, "critic_env_steps": 1, "states": 9, "rollouts": 4}
    (said,) = diagnosis._notes(about, 9, {"kl": ()}, ceiling=0.14)
    assert said.startswith("too few rollouts to tell actions apart (4 of each")
    assert diagnosis._notes(about, 9, {"kl": ()}, ceiling=float("nan")) == (said,)
    assert not diagnosis._notes(about, 9, {"kl": ()}, ceiling=0.9)


@pytest.mark.parametrize(
    ("name", "task", "algo", "said"),
    [
        ("mappo", "game/climbing", {}, "mappo has no critic that says"),
        ("lica_adv", "game/climbing", {"advantage": "state_value"}, "advantage state_value has no"),
        ("lica", "probe/aim", {}, "continuous actions"),
    ],
)
def test_algorithms_that_cannot_be_asked_are_refused(name, task, algo, said):
    spec = make_task(task).spec
    config = resolve(load_config(name, task, algo=algo), spec)
    with pytest.raises(UserError, match=said):
        diagnosis.check_askable(Policy.of(config, spec, {}, seed=0))


@pytest.mark.parametrize(
    ("name", "algo"),
    [
        ("lica", {"critic": "mlp", "dueling": True}), ("coma", {}),
        ("lica_adv", {"advantage": "soft"}), ("lica_adv", {}),
    ],
)  # fmt: skip
def test_critics_say_what_every_action_is_worth(name, algo):
    """Only the joint action counts: the entry of what was done is the same for both agents."""
    task = make_task("game/climbing")
    config = resolve(load_config(name, "game/climbing", algo=algo), task.spec)
    made = make_algorithm(name, task.spec, config.algo)
    learner = jax.jit(made.init)(jax.random.key(0))
    _, ts = starts(task, 2)
    action, carry = np.array([[0, 2], [1, 1]], np.int32), made.initial_carry(2)
    args = made.policy(learner), made.insight.critic(learner), carry, ts, action, config.hp
    worth = jax.jit(made.insight.deviations)(*args)
    assert worth.shape == (2, 2, 3)
    taken = np.take_along_axis(np.asarray(worth), np.asarray(action)[..., None], axis=-1)[..., 0]
    if name != "coma":  # whose critic gives each agent's actions a head of their own
        np.testing.assert_allclose(taken[:, 0], taken[:, 1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "algo", "lam"),
    [
        ("lica", {}, 0.7), ("lica", {"targets": "monte_carlo"}, 1.0), ("coma", {}, 0.7),
        ("lica_adv", {}, 0.6), ("lica_adv", {"advantage": "soft"}, 0.9),
    ],
)  # fmt: skip
def test_critics_are_held_against_the_returns_they_are_fitted_to(name, algo, lam):
    module = algorithm_module(name)
    hp = {"td_lambda": 0.7, "mixing_lambda": 0.6, "gae_lambda": 0.9}
    hp = {k: v for k, v in hp.items() if hasattr(module.HParams(), k)}
    spec = make_task("smax/3m").spec
    assert diagnosis.lambda_of(module.Config(**algo), spec, module.HParams(**hp)) == lam


@pytest.mark.parametrize("axis", [0, -1])
def test_moments_are_those_that_were_asked_for(axis):
    """Wherever the task has its environments: x[t, b] of T = 4, B = 3, two numbers each."""
    x = np.arange(24).reshape(4, 3, 2)
    there = {"a": x, "b": x[..., 0]} if axis == 0 else {"a": x.swapaxes(1, 2), "b": x[..., 0]}
    task = SimpleNamespace(batch_axis=axis)
    seen = Moments(jax.tree.map(jnp.asarray, there), *[jnp.asarray(x)] * 6)
    t, b = np.array([3, 0, 0, 2, 1]), np.array([1, 2, 0, 0, 2])
    got = at(seen, task, t, b)
    np.testing.assert_array_equal(np.moveaxis(got.env["a"], axis, 0), x[t, b])
    np.testing.assert_array_equal(got.env["b"], x[t, b, 0])
    np.testing.assert_array_equal(got.action, x[t, b])


def test_too_much_is_refused_before_it_is_allocated(monkeypatch):
    task = Toll()
    algo = make_algorithm("lica", task.spec)
    learner = jax.eval_shape(algo.init, jax.random.key(0))
    mind = Mind(learner.actor, learner.critic, algo.hparams)
    check = partial(measuring.check_memory, Player(algo, task, 1.0, True), mind)
    monkeypatch.setattr(measuring, "available_bytes", lambda: 2**30)
    check(200, 64)
    with pytest.raises(UserError, match="use fewer states or rollouts"):
        check(100_000, 10_000)
    monkeypatch.setattr(measuring, "available_bytes", lambda: 2**20)
    with pytest.raises(UserError, match="with any states and rollouts"):  # which would not help
        check(2, 4)
