"""The zoo: entries are whole, cards say what is in them, and an entry is made from a run."""

import json
import shutil
import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest

from lica_jax import UserError, load_policy
from lica_jax.cli.main import main
from lica_jax.envs import make_task
from lica_jax.policy import Policy, chosen_policies, save_critic
from lica_jax.policy.critics import critic_file
from lica_jax.zoo import adding, cards, catalog, find_card, zoo_file

ARCHIVE = Path(__file__).parent.parent / "fixtures" / "run_of_version_0.1.0.tar.xz"
NAMES = catalog.names()


def test_there_is_something_in_it():
    assert NAMES and [card.name for card in cards()] == NAMES
    files = {path for path in catalog.POLICIES.rglob("*") if path.is_file()}
    wanted = {catalog.POLICIES / f"{n}.{kind}" for n in NAMES for kind in ("json", "safetensors")}
    critics = {critic_file(card.path) for card in cards() if "critic_stored" in card.facts}
    assert critics and files == wanted | critics


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_is_whole(name):
    card = find_card(name)
    facts = card.facts
    assert catalog.check_name(name).startswith(f"{facts['algorithm']}/")
    size = card.path.stat().st_size
    assert size == facts["bytes"] <= catalog.MOST_BYTES
    assert catalog.digest(card.path) == facts["sha256"]
    policy = load_policy(f"zoo:{name}")
    for key in ("algorithm", "task", "seed", "env_steps"):
        assert policy.about[key] == facts[key], key
    assert make_task(facts["task"]).spec.source == facts["task_source"]
    if "critic_stored" in facts:  # of the same seed, which is checked when it is read
        assert critic_file(card.path).stat().st_size <= catalog.MOST_BYTES
        assert policy.critic is not None
    played = facts["evaluation"]
    for mode in ("greedy", "sampled"):
        assert played[mode]["episodes"] >= played["episodes"] >= 512
        low, high = played[mode]["return_mean_ci95"]
        assert low <= played[mode]["return_mean"] <= high
    # No places of the machine that trained it, and every command can be given.
    assert facts["commands"] and all(line.startswith("lica-jax ") for line in facts["commands"])
    words = json.dumps(facts).replace('"', " ").split()
    assert not [word for word in words if word.startswith("/") or word.endswith("-dirty")]
    assert facts["seed"] in facts["seeds"] and len(facts["curve"]["env_steps"]) > 2
    assert name in card.markdown and card.line in "\n".join(lines_of_list())


def lines_of_list():
    from lica_jax.cli.listing import _zoo

    return list(_zoo())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_entry_plays_as_its_card_says(name):
    card = find_card(name)
    again = adding.figures(f"zoo:{name}", card.facts["evaluation"]["episodes"])
    assert not adding.differences(card, again)


@pytest.fixture
def run(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "old_run" / "command.txt").write_text(
        "lica-jax train lica probe/match --run-dir /x/y --seeds 3 5\n"
        "lica-jax train --resume --run-dir=/x/y --devices 1\n"
    )
    return tmp_path / "old_run"


def test_an_entry_is_made_from_a_run(run, tmp_path):
    folder = tmp_path / "zoo"
    card = adding.add(run, "lica/probe/match", folder=folder, episodes=8, note="a word")
    policy = load_policy(card.path)
    assert card.facts["which"] == "best" and card.facts["stored"] == "float32"
    assert policy.about["seed"] == card.facts["seed"]
    assert card.facts["commands"] == [
        "lica-jax train lica probe/match --seeds 3 5", "lica-jax train --resume"
    ]  # fmt: skip
    assert card.facts["trained_env_steps"] >= 256 and card.facts["notes"] == ["a word"]
    assert "return" in card.line and "* a word" in card.markdown
    assert card.facts["curve"]["greedy return_mean"] and catalog.names(folder) == [card.name]
    assert ("critic_stored" in card.facts) == (load_policy(card.path).critic is not None)
    # The figures are those of the file, and belong to its seed.
    again = adding.figures(card.path, 8)
    assert not adding.differences(card, again)
    again["greedy"]["return_mean"] += 100
    assert adding.differences(card, again)[0].startswith("lica/probe/match, greedy return_mean")
    (run / "command.txt").unlink()  # as a run from Python
    assert adding.commands(run) == []
    with pytest.raises(UserError, match="has lica/probe/match already"):
        adding.add(run, "lica/probe/match", folder=folder)
    with pytest.raises(UserError, match="is called ALGORITHM/TASK"):
        adding.add(run, "../../x", folder=folder)
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"interrupted": True}))
    with pytest.raises(UserError, match="only finished ones"):
        adding.add(run, "lica/probe/more", folder=folder)
    card.path.with_suffix(".json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        find_card(card.name, folder)


def test_what_is_large_is_stored_in_fewer_bits(run, tmp_path, monkeypatch):
    """Weights of 8 bits are within a sixteenth, down to what is next to nothing; biases of 16."""
    (policy,) = chosen_policies(run)

    def other(change):
        return Policy(jax.tree.map(change, policy.params), policy.about)

    # Biases begin at zero.
    wide = other(lambda x: x + 0.3 * np.sin(np.arange(x.size, dtype="f4")).reshape(x.shape))
    sizes = []
    for kind, weights, biases in (
        ("float32", 0, 0), ("float16", 1e-3, 1e-3), ("float8_e4m3fn", 2**-4, 1e-3)
    ):  # fmt: skip
        path = tmp_path / f"{kind}.safetensors"
        if sizes:
            monkeypatch.setattr(adding, "MOST_BYTES", sizes[-1] - 1)
        assert adding.store(path, wide) == kind
        sizes.append(path.stat().st_size)
        read = load_policy(path).params
        for a, b in zip(jax.tree.leaves(wide.params), jax.tree.leaves(read), strict=True):
            assert b.dtype == np.float32
            close = weights if a.ndim > 1 else biases
            np.testing.assert_allclose(a, b, rtol=close, atol=2**-10 * (close > 0))
    monkeypatch.setattr(adding, "MOST_BYTES", 100)
    with pytest.raises(UserError, match="may have 100"):
        adding.store(path, policy)
    large = other(lambda x: np.full_like(x, 1000))
    monkeypatch.setattr(adding, "MOST_BYTES", sizes[-1])
    with pytest.raises(UserError, match="numbers that float8_e4m3fn cannot hold"):
        adding.store(path, large)


def test_a_critic_comes_along_where_it_is_small(run, tmp_path, monkeypatch):
    """In as many bits as fit; not at all where none do, nor that of an entry that is replaced."""
    (policy,) = chosen_policies(run)
    key = jax.random.key(0)
    judged = jax.device_get(policy.algo.insight.critic(policy.algo.init(key)))
    save_critic(critic_file(run / "policy.safetensors"), judged, "lica", policy.about["seed"], 9)
    (policy,) = chosen_policies(run)
    path = tmp_path / "x.critic.safetensors"
    sizes = []
    for kind in adding.KINDS:
        assert adding.store_critic(path, policy) == kind
        sizes.append(path.stat().st_size)
        monkeypatch.setattr(adding, "MOST_BYTES", sizes[-1] - 1)
    assert adding.store_critic(path, policy) == "" and not path.exists()
    assert sizes == sorted(sizes, reverse=True)
    policies = max(path.stat().st_size for path in run.glob("policy*.safetensors"))
    folder, name = tmp_path / "zoo", "lica/probe/match"
    monkeypatch.setattr(adding, "MOST_BYTES", max(policies, *sizes))
    card = adding.add(run, name, folder=folder, episodes=8)
    read = load_policy(card.path).critic
    assert card.facts["critic_stored"] == "float32" and read.env_steps == 9
    jax.tree.map(np.testing.assert_array_equal, read.params, judged)
    critic_file(run / "policy.safetensors").unlink()
    card = adding.add(run, name, folder=folder, episodes=8, overwrite=True)
    assert "critic_stored" not in card.facts and load_policy(card.path).critic is None


def test_names_of_the_zoo_are_paths_for_every_command(capsys, tmp_path):
    assert zoo_file("runs/a") == Path("runs/a") and zoo_file(Path("zoo:" + NAMES[0])).is_file()
    for command in (["eval", "zoo:nothing"], ["render", "zoo:nothing", "--out", "x.html"]):
        assert main(command) == 2
        assert "unknown policy of the zoo 'nothing'" in capsys.readouterr().err
    assert main(["list", "zoo"]) == 0
    assert f"zoo:{NAMES[0]}" in capsys.readouterr().out
    copy = shutil.copy(zoo_file(f"zoo:{NAMES[0]}"), tmp_path / "policy.safetensors")
    assert load_policy(copy).about == load_policy(f"zoo:{NAMES[0]}").about
