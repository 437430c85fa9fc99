"""Replays: what is recorded, what the page shows of it, and what is refused."""

import dataclasses
import html
import io
import json
import re
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lica_jax
from lica_jax import UserError
from lica_jax.algorithms import algorithm_module, make_algorithm
from lica_jax.algorithms.lica.learner import make_networks
from lica_jax.algorithms.registry import _OURS
from lica_jax.cli.main import main
from lica_jax.config import load_config, resolve
from lica_jax.config.schema import merge
from lica_jax.envs import make_task
from lica_jax.envs.frames import Frame, Scene
from lica_jax.policy import Critic, Policy, save_critic, save_policy
from lica_jax.rendering import gif as gifs
from lica_jax.rendering import page as pages
from lica_jax.rendering.packing import thinned, thoughts
from lica_jax.rendering.recording import shares
from lica_jax.training.evaluation import EXPORTED, evaluation_keys
from lica_jax.training.rollout import reset_batch, step_batch
from lica_jax.types import Outlook, TimeStep
from tests.rendering.reader import BROWSER, number, opened, shown, unpacked
from tests.unit.test_policy_export import CHOICE, POINT

SMALL = {"hidden": 8, "mixing_embed": 8, "hypernet_hidden": 8}
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs a Chromium")


def untrained(name: str, task: str, **algo) -> Policy:
    """A policy as it is before training, and its critic."""
    spec = make_task(task).spec
    config = resolve(load_config(name, task, algo=algo), spec)
    made = make_algorithm(name, spec, config.algo)
    learner = jax.jit(made.init)(jax.random.key(0))
    critic = Critic(made.insight.critic(learner), 77)
    params = made.policy(learner)
    return Policy.of(config, spec, params, seed=0, env_steps=77, critic=critic)


def stored(policy: Policy, folder: Path) -> Path:
    """The policy as a run leaves it behind."""
    config = merge(algorithm_module("lica").Config(), policy.about["config"])
    save_policy(
        folder / "policy.safetensors", policy.params, algorithm="lica", config=config, hp=policy.hp,
        spec=policy.spec, seed=0, env_steps=77,
    )  # fmt: skip
    save_critic(folder / "critic.safetensors", policy.critic.params, "lica", 0, 77)
    return folder


@pytest.fixture(scope="module")
def battle():
    """Two sampled battles of an untrained policy."""
    return untrained("lica", "smax/3m", **SMALL).render(episodes=2, sampled=True)


@pytest.fixture(scope="module")
def hunt():
    """A task of chance, greedily."""
    return untrained("lica", "mpe/predator_prey", **SMALL).render(episodes=3, seed=5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return stored(untrained("lica", "game/two_step", **SMALL), tmp_path_factory.mktemp("run"))


# --- what is recorded ----------------------------------------------------------------------------


def test_greedy_episodes_are_those_of_an_evaluation(hunt):
    figures = lica_jax.evaluate(hunt.recording.policy, episodes=3, seed=5)["greedy"]
    played = hunt.recording.episodes
    returns = [episode.reward.sum() for episode in played]
    assert figures["return_mean"] == pytest.approx(np.mean(returns), rel=1e-5)
    assert figures["episode_length_mean"] == np.mean([len(e.reward) for e in played])


def test_a_battle_is_recorded_to_its_end_by_world_ticks(battle):
    for episode in battle.recording.episodes:
        steps = len(episode.reward)
        assert episode.playing.all() and 1 < steps <= 60
        assert episode.frame.health.shape == (steps, 8, 6)
        last = episode.frame.alive[-1, -1]
        assert not (last[:3].any() and last[3:].any()) or steps == 60, "it goes on to a defeat"
        assert episode.won[-1] == (last[:3].any() and not last[3:].any())
        # Who decides is who the tick before left alive.
        np.testing.assert_array_equal(episode.alive[1:], episode.frame.alive[:-1, -1, :3])
        hit = episode.frame.target >= 0
        assert hit.any() and not episode.frame.alive[~episode.frame.alive & hit].any()


def test_policies_are_of_what_is_available(battle):
    episode = battle.recording.episodes[0]
    look = episode.outlook
    np.testing.assert_allclose(look.policy.sum(-1), 1, rtol=1e-5)
    assert not look.policy[~episode.avail].any()
    logs = np.log(np.where(look.policy > 0, look.policy, 1))
    np.testing.assert_allclose(look.entropy, -(look.policy * logs).sum(-1), atol=1e-5)
    taken = np.take_along_axis(episode.avail, episode.action[..., None], -1)
    assert taken.all(), "only what is available is played"


def test_credit_is_the_slope_of_the_critics_value(hunt):
    """The critic again, by hand, at the first step, which no action came before, and the value at
    the second, whose state holds the first actions."""
    recording = hunt.recording
    policy, look = recording.policy, recording.episodes[0].outlook
    nets = make_networks(algorithm_module("lica").Config(**policy.about["config"]), policy.spec)
    reset, key = jax.random.split(jax.random.fold_in(evaluation_keys((5,), EXPORTED)[0], 0))
    env, ts = reset_batch(recording.task, reset, 3)
    action = np.stack([episode.action[0] for episode in recording.episodes])
    then = step_batch(recording.task, jax.random.split(jax.random.fold_in(key, 0))[1], env, action)

    @jax.jit
    def q_at(state, before, u):
        state = jnp.concatenate([state, before.reshape(-1)])
        return nets.critic.apply(policy.critic.params, state, u.reshape(-1))

    before = jax.nn.one_hot(action[0], look.policy.shape[-1])
    second = q_at(then[1].state[0], before, jnp.asarray(look.policy[1]))
    np.testing.assert_allclose(second, look.value[1, 0], rtol=1e-4)
    for episode in recording.episodes:  # greedy: what is shown is what was played
        np.testing.assert_array_equal(episode.action, episode.outlook.policy.argmax(-1))
    q = partial(q_at, ts.state[0], jnp.zeros_like(before))
    u = jnp.asarray(look.policy[0])
    np.testing.assert_allclose(q(u), look.value[0, 0], rtol=1e-4)
    for agent, action in ((0, 0), (1, 3), (2, 4)):
        step = jnp.zeros_like(u).at[agent, action].set(1e-2)
        slope = (q(u + step) - q(u - step)) / 2e-2
        np.testing.assert_allclose(look.credit[0, agent, action], slope, atol=2e-3)


def test_shares():
    """Best less worst available action, times the agent's weight; by hand."""
    credit = np.array([[[1.0, 3.0, 99.0], [0.0, 1.0, 4.0], [5.0, 7.0, 9.0]]])
    avail = np.array([[[True, True, False], [True] * 3, [False, True, False]]])
    look = Outlook(policy=credit, entropy=credit[..., 0], credit=credit)
    np.testing.assert_allclose(shares(look, avail, False), [[2 / 6, 4 / 6, 0]])
    weighed = look.replace(weight=np.array([[2.0, -1.0, 3.0]]))
    np.testing.assert_allclose(shares(weighed, avail, False), [[4 / 8, 4 / 8, 0]])
    nobody = np.zeros_like(avail)
    np.testing.assert_array_equal(shares(look, nobody, False), np.zeros((1, 3)))


@pytest.mark.parametrize("name, spec", [*((name, CHOICE) for name in _OURS), ("lica", POINT)])
def test_every_algorithm_says_what_it_makes_of_a_moment(name, spec):
    """With a critic and without; shapes only."""
    algo = make_algorithm(name, spec)
    b, n, a = 2, spec.n_agents, spec.n_actions
    shape = (b, n, a) if spec.continuous else (b, n)
    off, key = jnp.zeros(b, bool), jax.random.key(0)
    ts = TimeStep(
        obs=jnp.ones((b, n, spec.obs_size)), state=jnp.ones((b, spec.state_size)),
        avail=jnp.ones((b, n, a), bool), reward=jnp.zeros(b), terminated=off, truncated=off,
        first=off, alive=jnp.ones((b, n), bool), info={},
    )  # fmt: skip
    action = jnp.zeros(shape, float if spec.continuous else jnp.int32)

    def look(key, critical):
        learner = algo.init(key)
        critic = algo.insight.critic(learner) if critical else None
        carry = algo.initial_carry(b)
        return algo.insight.look(algo.policy(learner), critic, carry, ts, action, algo.hparams)

    whole, alone = (jax.eval_shape(lambda key, c=c: look(key, c), key) for c in (True, False))
    assert whole.policy.shape == alone.policy.shape == (b, n, a)
    assert whole.entropy.shape == (b, n) and alone.value is None
    has_value = name not in ("qtran", "qtran_alt")
    assert (whole.value is not None) == has_value == bool(algo.insight.value)
    assert not has_value or whole.value.shape in ((b, 1), (b, n))
    assert (whole.credit is not None) == bool(algo.insight.credit)
    assert whole.credit is None or whole.credit.shape == (b, n, a)


# --- the page ------------------------------------------------------------------------------------


def test_the_page_holds_what_was_recorded(battle):
    facts = unpacked(battle.html)
    assert facts["algorithm"] == "lica" and facts["critic_steps"] == 77
    assert len(battle.html) < pages.MOST_BYTES and not battle.notes
    assert "http://" not in battle.html and "https://" not in battle.html
    for held, episode in zip(facts["episodes"], battle.recording.episodes, strict=True):
        frame = thinned(episode.frame, 1)
        np.testing.assert_allclose(held["x"], frame.position[..., 0], atol=1e-3)
        np.testing.assert_allclose(held["health"], frame.health, atol=1 / 255)
        np.testing.assert_array_equal(held["flags"] & 1, frame.alive)
        np.testing.assert_array_equal(held["target"].astype(np.int16), frame.target)
        np.testing.assert_array_equal(held["action"], episode.action)
        np.testing.assert_array_equal(held["avail"], episode.avail)
        for name, x in thoughts(episode, False).items():
            np.testing.assert_allclose(held[name], x, atol=1e-4, err_msg=name)


def test_the_same_episodes_are_the_same_file(run):
    one, other = (lica_jax.render(run, episodes=2) for _ in range(2))
    assert one.html == other.html and one.json() == other.json() and one.gif() == other.gif()
    assert one._repr_html_().startswith("<iframe srcdoc=") and "<canvas" not in one._repr_html_()
    frame = ElementTree.fromstring(one._repr_html_().replace(" allowfullscreen", ""))
    assert frame.tag == "iframe" and frame.get("srcdoc").split() == one.html.split()


def test_names_that_look_like_places_of_the_template():
    parts = {"__TITLE__": "a __BLOCK__", "__FACTS__": "__TITLE__", "__BLOCK__": "x"}
    template = "<title>__TITLE__</title>__FACTS__, __BLOCK__"
    assert pages.filled(template, parts) == "<title>a __BLOCK__</title>__TITLE__, x"


def test_a_name_that_no_encoding_has(battle, monkeypatch):
    monkeypatch.setattr(pages, "title", lambda recording: "\ud800 & <b>")
    content, _ = pages.page(battle.recording)
    assert b"<title>&#55296; &amp; &lt;b&gt;</title>" in content.encode()


def test_a_page_is_no_picture(battle, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"b\.gif would be a page: .*gif"):
        battle.save(tmp_path / "b.gif")
    with pytest.raises(UserError, match="must be a path"):
        battle.save(None)
    monkeypatch.setenv("HOME", str(tmp_path))
    battle.save("~/b.html")
    assert (tmp_path / "b.html").is_file()


def test_fewer_moments_where_all_would_be_too_many(battle, monkeypatch):
    monkeypatch.setattr(pages, "MOST_BYTES", len(battle.html.encode()) - 1)
    content, stride = pages.page(battle.recording)
    assert stride == 2
    for held, episode in zip(unpacked(content)["episodes"], battle.recording.episodes, strict=True):
        assert held["ticks"] == 4
        np.testing.assert_array_equal(
            (held["flags"] & 1).reshape(-1, 4, 6), episode.frame.alive[:, 1::2]
        )
        # A blow in a moment that is left out is shown in the next one.
        hits = (episode.frame.target >= 0).reshape(-1, 4, 2, 6).any(2)
        np.testing.assert_array_equal((held["target"] != 65535).reshape(-1, 4, 6), hits)
    monkeypatch.setattr(pages, "MOST_BYTES", 10_000)
    with pytest.raises(UserError, match="larger than 0 MB; take fewer episodes"):
        pages.page(battle.recording)


def test_the_gif(hunt, monkeypatch):
    from PIL import Image

    content, stride = gifs.gif(hunt.recording)
    image = Image.open(io.BytesIO(content))
    frames = sum(len(e.reward) for e in hunt.recording.episodes)
    assert len(content) < gifs.MOST_BYTES and max(image.size) == gifs.SIZE
    assert stride == -(-frames // gifs.MOST_FRAMES) == 2
    # Each of three episodes shows its last moment as well; equal moments are joined.
    assert 100 < image.n_frames <= frames // stride + 3
    monkeypatch.setattr(gifs, "MOST_FRAMES", frames // 2)
    monkeypatch.setattr(gifs, "MOST_BYTES", len(content) // 3)
    smaller, more = gifs.gif(hunt.recording)
    assert len(smaller) <= len(content) // 3 and more > stride


def test_the_gif_shows_where_units_have_been():
    """With a margin of 4 % of the scene's width beside their bodies, and at least .45 of it."""
    from PIL import Image

    ones = np.ones((2, 1, 2))  # two steps of one moment, two units
    at = np.array([[[[10, 20], [70, 25]]], [[[12, 20], [99, 99.0]]]])
    film = Frame(
        position=at, radius=ones, kind=ones - 1, alive=np.array([[[True, True]], [[True, False]]]),
        health=ones, energy=ones, target=ones.astype(int) - 2, healing=ones > 1,
    )  # fmt: skip
    scene = Scene((0.0, 0.0, 100.0, 100.0), ("marine",), (0, 1), (0, -1))
    # From 10 - 1 - 4 to 70 + 1 + 4; 5 + 2 * 5 high, so 15 are missing on each side.
    assert gifs.seen(scene, [film]) == (5, 0, 75, 45)
    image = Image.open(
        io.BytesIO(
            gifs.gif(SimpleNamespace(scene=scene, episodes=[SimpleNamespace(frame=film)]))[0]
        )
    ).convert("RGB")
    assert image.size == (420, 270)  # 70 wide, 45 high
    agent, opponent, blank = map(image.getpixel, ((30, 150), (390, 120), (210, 20)))
    assert agent[2] > 150 > agent[0] and opponent[0] > 150 > opponent[2] and min(blank) > 240
    cells = dataclasses.replace(scene, cells=((1.0, 1.0, "a"),))
    assert gifs.seen(cells, [film]) == scene.bounds
    nobody = dataclasses.replace(film, alive=film.alive & False)
    assert gifs.seen(scene, [nobody]) == scene.bounds


@pytest.mark.slow
def test_continuous_actions():
    replay = untrained("lica", "mpe/simple_spread_continuous", **SMALL).render(episodes=1)
    facts = unpacked(replay.html)
    assert facts["credit"] == "dQ/dμ" and set(np.unique(facts["episodes"][0]["action"])) == {65535}
    assert np.abs(facts["episodes"][0]["policy"]).max() < 1


@needs_browser
def test_the_page_in_a_browser(battle, hunt, tmp_path):
    """The numbers that a person sees are the recorded ones; keys and buttons do what they say."""
    battle.save(tmp_path / "b.html", json=tmp_path / "b.json")
    episodes = json.loads((tmp_path / "b.json").read_text())["episodes"]
    for k, t, agent in ((0, 0, 0), (1, 5, 2)):
        dom = opened(tmp_path / "b.html", f"episode={k}&frame={8 * t + 3}&agent={agent}")
        episode = episodes[k]
        for i in range(3):
            row = f'data-agent="{i}"'
            assert shown(dom, row, "entropy") == pytest.approx(episode["entropy"][t][i], abs=1e-3)
            assert shown(dom, row, "share") == pytest.approx(episode["share"][t][i], abs=1e-3)
        average = np.dot(episode["policy"][t][agent], episode["credit"][t][agent])
        for action, free in enumerate(episode["avail"][t][agent]):
            row = f'data-action="{action}"'
            if not free:
                assert row not in dom
                continue
            credit = episode["credit"][t][agent][action]
            assert shown(dom, row, "policy") == pytest.approx(
                episode["policy"][t][agent][action], abs=1e-3
            )
            assert shown(dom, row, "credit") == pytest.approx(credit, abs=1e-3)
            assert shown(dom, row, "gain") == pytest.approx(credit - average, abs=2e-3)
        value = dom.split('id="value">')[1].split("<")[0]
        assert number(value) == pytest.approx(episode["value"][t][0], abs=1e-3)

    script = """
    const wait = () => new Promise(done => setTimeout(done, 50)), said = [];
    let drawn = 0;  // a busy machine may draw no frame at all while its clock is wound forward
    requestAnimationFrame = f => setTimeout(() => f(performance.now() + 16 * ++drawn), 16);
    const press = (key, more) => document.body.dispatchEvent(
      new KeyboardEvent("keydown", {key, bubbles: true, ...more}));
    const note = () => said.push([now.frame, now.agent]);
    (async () => {
      while (!document.documentElement.dataset.ready) await wait();
      press("ArrowRight"); note(); press("ArrowRight", {shiftKey: true}); note();
      press("ArrowLeft"); note(); press("End"); note(); press("Home"); note();
      press("ArrowDown"); note(); press("ArrowUp"); press("ArrowUp"); note();
      $("scrub").value = 20; $("scrub").oninput({target: $("scrub")}); note();
      $("next").click(); note(); $("back").click(); note();
      press(" "); const before = now.frame;
      for (let i = 0; i < 60 && now.frame <= before; i++) await wait();
      said.push([now.frame > before, now.playing]); press(" "); said.push([now.playing, now.speed]);
      const at = thing(0), box = canvas.getBoundingClientRect(), ratio = canvas.width / box.width;
      press("Home"); const [x, y] = place(at);
      point({clientX: box.left + sx(x) / ratio, clientY: box.top + sy(y) / ratio});
      said.push([now.hover === at, $("tip").textContent.slice(0, 9)]);
      $("episode").value = 1; $("episode").onchange({target: $("episode")});
      said.push([now.episode, E.steps]);
      document.body.dataset.said = JSON.stringify(said);
    })();
    """
    dom = opened(tmp_path / "b.html", script=script)
    said = json.loads(html.unescape(dom.split('data-said="')[1].split('"')[0]))
    last = 8 * len(battle.recording.episodes[0].reward) - 1
    assert said == [
        [15, 0], [16, 0], [15, 0], [last, 0], [0, 0], [0, 1], [0, 2], [20, 2], [31, 2], [23, 2],
        [True, True], [False, 1], [True, "a0 marine"],
        [1, len(battle.recording.episodes[1].reward)],
    ]  # fmt: skip

    hunt.save(tmp_path / "h.html")
    dom = opened(tmp_path / "h.html")
    assert "moves Q most" in dom and "a0 predator" in dom


@needs_browser
@pytest.mark.parametrize(
    "task", ["game/two_step", pytest.param("smax/2c_vs_64zg", marks=pytest.mark.slow)]
)
def test_pages_on_a_phone(task, tmp_path):
    """A game without places, and 66 units: no complaint, nothing beyond the edge, small; and the
    mark of an entropy that has a target."""
    policy = untrained("lica", task, **SMALL, entropy_mode="target")
    page = tmp_path / "p.html"
    policy.render(episodes=1, sampled=True).save(page)
    assert page.stat().st_size < 2_000_000
    script = """
    document.body.dataset.beyond = document.documentElement.scrollWidth - innerWidth;
    """
    dom = opened(page, script=script, size="500,900")  # the narrowest that it can be asked for
    assert int(dom.split('data-beyond="')[1].split('"')[0]) <= 0
    target = 100 * policy.hp.entropy_target
    assert f"is {target:.0f} % of the largest possible" in dom
    assert f"left: {target:g}%" in re.search("<i [^>]*entropy's target[^>]*>", dom)[0]


# --- the command line, files, bad input ----------------------------------------------------------


def test_the_command(run, tmp_path, capsys):
    out, gif = tmp_path / "new" / "g.html", tmp_path / "g.gif"
    command = ["render", str(run), "--out", str(out), "--gif", str(gif), "--json"]
    with pytest.MonkeyPatch.context() as quick:
        quick.setattr("lica_jax.cli.progress.PATIENCE", 0.01)
        assert main([*command, "--episodes", "1", "--seed", "3", "--sampled"]) == 0
    out_err = capsys.readouterr()
    assert out_err.err == "rendering (0:00)\n"  # it takes its time, in one line
    said = out_err.out.splitlines()
    assert [line.split(" (")[0] for line in said] == [
        f"wrote {path}" for path in (out, gif, out.with_suffix(".json"))
    ]
    facts = json.loads(out.with_suffix(".json").read_text())
    assert facts["mode"] == "sampled" and facts["seed"] == 3 and len(facts["episodes"]) == 1
    assert facts["episodes"][0]["frame_position"][0][0] in ([0.5, 2.0], [4.5, 2.0])
    assert main([*command, "--episodes", "1"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_the_command_knows_the_home_folder(run, tmp_path, monkeypatch, capsys):
    """Not every shell does, in the middle of a word."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["render", str(run), "--out=~/a.html", "--episodes", "1"]) == 0
    assert (tmp_path / "a.html").is_file() and f"wrote {tmp_path}" in capsys.readouterr().out


def test_a_critic_of_another_seed(run, tmp_path):
    """Also beside a policy that does not say which its seed was."""
    shutil.copy(run / "critic.safetensors", tmp_path)
    policy = lica_jax.load_policy(run)
    config = merge(algorithm_module("lica").Config(), policy.about["config"])
    for seed in (3, None):
        path = tmp_path / "policy.safetensors"
        save_policy(
            path, policy.params, algorithm="lica", config=config, hp=policy.hp, spec=policy.spec,
            **({} if seed is None else {"seed": seed}),
        )  # fmt: skip
        with pytest.raises(UserError, match=f"its seed is 0, the policy's {seed}"):
            lica_jax.load_policy(path).critic  # noqa: B018


def test_without_a_critic_the_policy_is_shown(run, tmp_path):
    shutil.copy(run / "policy.safetensors", tmp_path)
    replay = lica_jax.render(tmp_path, episodes=1)
    assert "no critic was kept" in replay.notes[0]
    held = unpacked(replay.html)["episodes"][0]
    assert "policy" in held and "credit" not in held and "value" not in held


def damage(folder, name):
    content = bytearray((folder / name).read_bytes())
    (folder / name).write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    "change, argv, message",
    [
        (None, ["--task", "probe/match"], "n_agents|obs_size"),
        (None, ["--task", "smax/3m"], "cannot play smax/3m"),
        (None, ["--episodes", "0"], "episodes must be an integer within 1 and 20"),
        (None, ["--episodes", "21"], "episodes must be an integer within 1 and 20"),
        (None, ["--seed", "-1"], "seed must be an integer"),
        (None, ["--which", "all-seeds"], "which must be best or last"),
        (None, ["--sample"], "--sampled"),
        (None, ["--out", "{}/b.gif"], "b.gif would be a page"),
        ("policy.safetensors", [], "policy.safetensors cannot be loaded"),
        ("critic.safetensors", [], "critic.safetensors cannot be loaded"),
    ],
)  # fmt: skip
def test_bad_input(run, tmp_path, capsys, change, argv, message):
    for path in run.iterdir():
        shutil.copy(path, tmp_path)
    if change:
        damage(tmp_path, change)
    before = sorted(tmp_path.iterdir())
    argv = [word.format(tmp_path) for word in argv]
    out = [] if "--out" in argv else ["--out", str(tmp_path / "x.html")]
    assert main(["render", str(tmp_path), *out, *argv]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert any(part in error for part in message.split("|")), error
    assert sorted(tmp_path.iterdir()) == before


def test_tasks_without_pictures():
    with pytest.raises(UserError, match="probe/match has nothing to look at"):
        untrained("lica", "probe/match", **SMALL).render()


def test_names_of_actions():
    for name in ("smax/3m", "smax/MMM2", "smax/3m:layout=smac", "mpe/simple_reference",
                 "mpe/predator_prey", "game/climbing", "game/traffic_junction"):  # fmt: skip
        task = make_task(name)
        names = task.scene.actions
        assert [len(some) for some in names] == [task.spec.n_actions] * task.spec.n_agents, name
    speaker = make_task("mpe/simple_speaker_listener")
    assert [len(names) for names in speaker.scene.actions] == list(speaker.avail.sum(axis=-1))
    evacuation = make_task("smax/MMM2")
    medivac, marauder = (evacuation.scene.actions[i] for i in (0, 1))
    assert medivac[5:7] == ("heal 0", "heal 1") and marauder[5:7] == ("attack e0", "attack e1")
