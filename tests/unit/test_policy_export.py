"""Policies without JAX: numpy and ONNX say what JAX says, for every algorithm."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from lica_jax import numpy_policy
from lica_jax.algorithms import algorithm_module, make_algorithm
from lica_jax.algorithms.registry import _OURS
from lica_jax.config import TrainConfig
from lica_jax.config.schema import merge
from lica_jax.errors import UserError
from lica_jax.policy import Policy, load_policy
from lica_jax.types import TaskSpec

SIZES = dict(n_agents=3, n_actions=4, obs_size=5, state_size=6, episode_limit=7)
CHOICE, POINT, WEIGHTS = (
    TaskSpec("test/task", **SIZES, **more)
    for more in ({}, {"continuous": True}, {"weighs_actions": True})
)
CASES = {name: (name, CHOICE, {}) for name in _OURS} | {
    "points": ("lica", POINT, {}),
    "points, one network each": ("lica", POINT, {"share_params": False}),
    "feed-forward": ("lica", CHOICE, {"actor": "mlp"}),
    "one network each": ("vdn", CHOICE, {"share_params": False}),
    "one network each, no index": ("vdn", CHOICE, {"share_params": False, "agent_id": False}),
    "observations alone": ("lica", CHOICE, {"agent_id": False, "last_action": False}),
    "a floor over all actions": ("coma", CHOICE, {"mask_before_softmax": False}),
    "one network for all": ("coma_fc", CHOICE, {"share_params": True}),
    "weights": ("iddpg", WEIGHTS, {}),
}  # fmt: skip
BATCH, DRAWS = 6, 300


def untrained(name, spec, algo=None) -> Policy:
    """A policy with small networks of random numbers; nothing is compiled."""
    module = algorithm_module(name)
    config = merge(module.Config(), {"hidden": 8} | (algo or {}))
    built = make_algorithm(name, spec, config)
    shapes = jax.eval_shape(lambda key: built.policy(built.init(key)), jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: rng.normal(0, 0.5, x.shape).astype(x.dtype), shapes)
    # Values at which doubling or leaving one out shows.
    odd = {"epsilon_finish": 0.5, "temperature": 0.4, "temperature_final": 0.4}
    hp = module.HParams()
    hp = hp.replace(**{k: v for k, v in odd.items() if hasattr(hp, k)})
    return Policy.of(TrainConfig(name, spec.name, config, hp), spec, params, seed=0)


def moments():
    """Observations of three steps and masks; an agent of the last environment has no choice."""
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(3, BATCH, 3, 5)).astype(np.float32)
    avail = rng.random((3, BATCH, 3, 4)) < 0.6
    avail[..., 0] |= ~avail.any(-1)
    avail[:, -1, -1] = np.arange(4) == 2
    return obs, avail


@pytest.mark.parametrize("case", CASES)
def test_numpy_plays_as_jax_does(case, tmp_path):
    """Greedy actions over an episode, memories, and the frequencies of sampled ones."""
    name, spec, algo = CASES[case]
    policy = untrained(name, spec, algo)
    policy.export(tmp_path / "p.npz")
    plain = numpy_policy.load(tmp_path / "p.npz")
    assert plain.about["algorithm"] == name and plain.about["seed"] == 0
    theirs, ours = None, plain.initial_carry(BATCH * DRAWS)
    rng = np.random.default_rng(1)
    for t, (obs, avail) in enumerate(zip(*moments(), strict=True)):
        # Copies of a batch, of which JAX needs one program for greedy and sampled actions.
        obs, avail = np.repeat(obs, DRAWS, axis=0), np.repeat(avail, DRAWS, axis=0)
        sampled, _ = policy.act(obs, avail, theirs, key=jax.random.key(t))
        drawn, _, probs = plain.act(obs, avail, ours, rng)
        if not spec.continuous and not spec.weighs_actions:
            found = policy.probabilities(obs, avail, theirs)
            np.testing.assert_allclose(found, probs, atol=1e-5)
        action, theirs = policy.act(obs, avail, theirs)
        own, ours, _ = plain.act(obs, avail, ours)
        np.testing.assert_allclose(own, action, atol=1e-5)
        assert own.dtype.kind == np.asarray(action).dtype.kind
        if plain.hidden:
            np.testing.assert_allclose(ours.hidden, theirs.hidden, atol=1e-5)
        peaked = np.asarray(sampled).max(-1).mean() if spec.weighs_actions else None
        for draws in (np.asarray(sampled), drawn):
            draws = draws.reshape(BATCH, DRAWS, *draws.shape[1:])
            check_draws(draws, probs[::DRAWS], spec, peaked)


def check_draws(draws, probs, spec, peaked=None):
    """Draws ``[B, K, N, ...]`` come from ``probs``: within 5 standard errors."""
    if spec.continuous:
        mean, std = probs[:, :, 0], probs[:, :, 1]
        error = np.arctanh(draws.astype(np.float64)) - mean[:, None]
        assert np.all(np.abs(error.mean(1)) < 5 * std / DRAWS**0.5)
        np.testing.assert_allclose(error.std(1), std, rtol=0.25)
        return
    np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-5)
    if spec.weighs_actions:
        np.testing.assert_allclose(draws.sum(-1), 1, atol=1e-5)
        # How peaked the weights are is what the temperature says.
        assert peaked is None or abs(draws.max(-1).mean() - peaked) < 0.05
        draws = draws.argmax(-1)
    share = (draws[..., None] == np.arange(spec.n_actions)).mean(1)
    error = np.sqrt(probs * (1 - probs) / DRAWS)
    assert np.all(np.abs(share - probs) < 5 * error + 2 / DRAWS)
    assert not np.any(share[probs == 0])


def test_probabilities_of_one_environment_and_of_none():
    policy, (obs, avail) = untrained("lica", CHOICE), moments()
    every = policy.probabilities(obs[0], avail[0])
    np.testing.assert_allclose(policy.probabilities(obs[0, 2], avail[0, 2]), every[2], rtol=1e-6)
    assert not np.any(np.asarray(every)[~avail[0]])
    with pytest.raises(UserError, match=r"obs must be \[\(batch,\) 3, 5\]"):
        policy.probabilities(obs)
    for spec, name in ((POINT, "lica"), (WEIGHTS, "iddpg")):
        with pytest.raises(UserError, match="does not choose among actions"):
            untrained(name, spec).probabilities(obs[0], avail[0])
    policy.algo = policy.algo._replace(insight=None)
    with pytest.raises(UserError, match="'lica' does not say how to look into its policies"):
        policy.probabilities(obs[0], avail[0])


def test_a_policy_is_saved_under_a_name_of_ones_own(tmp_path):
    policy, (obs, avail) = untrained("lica", CHOICE), moments()
    policy.save(tmp_path / "mine.safetensors")
    again = load_policy(tmp_path / "mine.safetensors")
    assert again.about == json.loads(json.dumps(policy.about))
    np.testing.assert_array_equal(
        again.probabilities(obs[0], avail[0]), policy.probabilities(obs[0], avail[0])
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]
    with pytest.raises(UserError, match=r"saved as \.safetensors, not as mine\.npz"):
        policy.save(tmp_path / "mine.npz")
    with pytest.raises(UserError, match=r"no/mine\.safetensors cannot be written: No such file"):
        policy.save(tmp_path / "no" / "mine.safetensors")


def test_the_numpy_file_stands_alone(tmp_path):
    """Copied beside a policy, without lica_jax and jax, for one environment."""
    policy = untrained("lica", CHOICE)
    policy.export(tmp_path / "p.npz")
    shutil.copy(numpy_policy.__file__, tmp_path / "numpy_policy.py")
    obs = np.linspace(-1, 1, 15).reshape(3, 5)
    code = (
        "import sys, json\n"
        "sys.modules['jax'] = sys.modules['lica_jax'] = None\n"
        "from numpy_policy import load\n"
        "policy = load('p.npz')\n"
        "actions, carry, probs = policy.act(json.loads(sys.argv[1]))\n"
        "print(json.dumps([actions.tolist(), carry.hidden.tolist(), probs.shape]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(obs.tolist())], cwd=tmp_path, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    actions, hidden, shape = json.loads(done.stdout)
    wanted, carry = policy.act(obs)
    assert actions == wanted.tolist() and shape == [3, 4]
    np.testing.assert_allclose(hidden, carry.hidden, atol=1e-5)


def test_a_row_without_actions_and_wrong_input(tmp_path):
    policy = untrained("vdn", CHOICE)
    policy.export(tmp_path / "p.npz")
    plain = numpy_policy.load(tmp_path / "p.npz")
    actions, _, _ = plain.act(np.ones((3, 5)), np.zeros((3, 4)), None, np.random.default_rng(0))
    assert actions.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"obs must be \[\(batch,\) 3, 5\]"):
        plain.act(np.zeros((3, 6)))
    with pytest.raises(ValueError, match="avail must be"):
        plain.act(np.zeros((3, 5)), np.ones(3))
    memory = plain.initial_carry(2)
    with pytest.raises(ValueError, match="carry must be what act returned for as many"):
        plain.act(np.zeros((3, 5)), np.ones((3, 4)), memory)
    with pytest.raises(ValueError, match=r"rng must be as np\.random\.default_rng\(0\), got 7"):
        plain.act(np.zeros((3, 5)), np.ones((3, 4)), None, 7)
    with pytest.raises(ValueError, match="carry must be what act returned, or None; got 5"):
        plain.act(np.zeros((3, 5)), np.ones((3, 4)), 5)
    load_policy("zoo:lica_adv/smax/3m").export(tmp_path / "m.npz")
    masking = numpy_policy.load(tmp_path / "m.npz")
    with pytest.raises(ValueError, match="makes some actions unavailable: give avail"):
        masking.act(np.zeros((3, masking.about["obs_size"])))
    (tmp_path / "other.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "arrays.npz", x=np.ones(3))
    with np.load(tmp_path / "p.npz") as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(str(arrays.pop("header")))
    for name, facts in (
        ("bare", {"format": header["format"]}), ("kind", header | {"choice": {"kind": "loudest"}}),
    ):  # fmt: skip
        np.savez(tmp_path / f"{name}.npz", header=json.dumps(facts), **arrays)
    for name, words in (
        ("other.npz", "damaged"), ("arrays.npz", "not a policy of the format"),
        ("bare.npz", "damaged: its header lacks choice, continuous,"),
        ("kind.npz", "damaged .KeyError: 'loudest'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            numpy_policy.load(tmp_path / name)


def test_what_cannot_be_exported(tmp_path, monkeypatch):
    policy = untrained("vdn", CHOICE)
    with pytest.raises(UserError, match=r"to .npz or .onnx, not to p.pt"):
        policy.export(tmp_path / "p.pt")
    with pytest.raises(UserError, match="cannot be written: No such file"):
        policy.export(tmp_path / "nowhere" / "p.npz")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"pip install 'lica_jax\[onnx\]'"):
        policy.export(tmp_path / "p.onnx")
    policy.algo = policy.algo._replace(acting=None)
    with pytest.raises(UserError, match="does not say how it acts"):
        policy.export(tmp_path / "p.npz")
    assert not list(tmp_path.iterdir())


ONNX = [
    "lica", "points", "feed-forward", "one network each", "a floor over all actions", "mappo",
    "iddpg", "weights", "points, one network each",
]  # fmt: skip


@pytest.mark.parametrize("case", ONNX)
def test_onnx_plays_as_numpy_does(case, tmp_path):
    """And so as JAX does: outputs, greedy actions and memories over an episode."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    name, spec, algo = CASES[case]
    policy = untrained(name, spec, algo)
    for ending in ("npz", "onnx"):
        policy.export(tmp_path / f"p.{ending}")
    plain = numpy_policy.load(tmp_path / "p.npz")
    model = runtime.InferenceSession(tmp_path / "p.onnx", providers=["CPUExecutionProvider"])
    about = json.loads(model.get_modelmeta().custom_metadata_map["lica_jax"])
    assert about == plain.about
    names = {x.name for x in model.get_inputs()}
    carry = plain.initial_carry(BATCH)
    memory = {"hidden": carry.hidden, "last_action": carry.last_action}
    for obs, avail in zip(*moments(), strict=True):
        feed = {"obs": obs, "avail": avail} | memory
        keys = [x.name for x in model.get_outputs()]
        out = dict(zip(keys, model.run(None, {k: feed[k] for k in names}), strict=True))
        action, carry, probs = plain.act(obs, avail, carry)
        np.testing.assert_allclose(out["action"], action, atol=1e-5)
        if spec.continuous:
            np.testing.assert_allclose(np.stack([out["mean"], out["std"]], -2), probs, atol=1e-5)
        elif plain.about["choice"]["kind"] == "softmax":
            shifted = np.exp(out["outputs"] - out["outputs"].max(-1, keepdims=True))
            np.testing.assert_allclose(shifted / shifted.sum(-1, keepdims=True), probs, atol=1e-5)
        memory = {"last_action": out["action"], "hidden": out.get("next_hidden")}
        if plain.hidden:
            np.testing.assert_allclose(out["next_hidden"], carry.hidden, atol=1e-5)
