"""Recording play and playing it again; transcripts come from strangers."""

import dataclasses
import gzip
import hashlib
import itertools
import json
import struct
from pathlib import Path

import pytest

from lica_jax.cli.sc2 import main
from lica_jax.errors import UserError
from lica_jax.smac.options import Options
from lica_jax.starcraft2.env.environment import StarCraft2Env
from lica_jax.starcraft2.game import messages
from lica_jax.starcraft2.game.install import find_install, map_path
from lica_jax.starcraft2.game.process import Game, LaunchSettings
from lica_jax.starcraft2.testing.install import set_faults
from lica_jax.starcraft2.tools import random_play, transcript, trial
from lica_jax.starcraft2.tools import record as recording
from lica_jax.starcraft2.tools.record import record, replay

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.sc2rec"))
assert TRANSCRIPTS


@pytest.fixture
def recorded(sc2, tmp_path):
    path = tmp_path / "3m.sc2t"
    return path, record("3m", path, episodes=2, seed=3)


def unpacked(path):
    reader = transcript.Reader(path)
    pairs = list(reader.pairs())
    reader.close()
    return reader.header, pairs


def test_record_and_replay(recorded, tmp_path):
    path, header = recorded
    assert header.fake and "fake" in header.game_version
    result = replay(path)
    assert result.same and result.fake
    assert result.digest == header.digest
    again = record("3m", tmp_path / "again", episodes=2, seed=3)
    assert again.digest == header.digest
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    assert record("3m", tmp_path / "other", episodes=2, seed=4).digest != header.digest


def test_every_option_travels_with_the_transcript(sc2, tmp_path):
    options = Options(obs_pathing_grid=True, obs_last_action=True, reward_sparse=True, step_mul=4)
    path = tmp_path / "t"
    record("2s3z", path, episodes=1, options=options)
    assert replay(path).same


def test_a_transcript_holds_the_game_from_its_first_word(recorded):
    header, pairs = unpacked(recorded[0])
    requests = [messages.Request.FromString(request) for request, _ in pairs]
    assert [r.id for r in requests] == list(range(1, len(pairs) + 1))
    kinds = [r.WhichOneof("request") for r in requests]
    assert kinds[:4] == ["ping", "create_game", "join_game", "game_info"]
    assert kinds.count("step") >= header.steps
    assert len(header.map_sha256) == 64


def test_recording_and_trying_send_the_map_as_training_does(sc2, tmp_path, monkeypatch):
    sent = []

    def env(*args, map_data=None, **settings):
        sent.append(map_data)
        return StarCraft2Env(*args, map_data=map_data, **settings)

    monkeypatch.setattr(recording, "StarCraft2Env", env)
    monkeypatch.setattr(trial, "StarCraft2Env", env)
    record("3m", tmp_path / "t", episodes=1)
    assert all(check.status != "problem" for check in trial.launch_checks(find_install()))
    assert sent == [map_path(find_install(), "3m").read_bytes()] * 3
    # The map is not ours to pass on: the transcript has its digest only.
    header, pairs = unpacked(tmp_path / "t")
    created = [r for r, _ in pairs if messages.Request.FromString(r).HasField("create_game")]
    assert created and not any(sent[0] in request for request in created)
    assert header.map_sha256 == hashlib.sha256(sent[0]).hexdigest()


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcripts_of_other_days_and_machines_give_the_same_to_the_bit(path):
    result = replay(path)
    assert result.departs is None and result.digest == result.header.digest
    assert result.fake == path.stem.startswith("fake_")


def test_the_digest_is_that_of_play_without_recording(recorded, sc2, tmp_path):
    """... and does not depend on pipelining."""
    env = StarCraft2Env(
        "3m", launch=lambda n: Game.launch(find_install(), tmp_path), seed=3, pipeline=False
    )
    played = random_play.play(env, 2, 3)
    env.close()
    assert played.digest == recorded[1].digest
    assert played.steps == recorded[1].steps and len(played.returns) == 2


def changed(path, pairs, **header):
    old, _ = unpacked(path)
    transcript.write(path, dataclasses.replace(old, **header), pairs)
    return path


def test_replay_tells_where_requests_depart(recorded):
    path, _ = recorded
    _, pairs = unpacked(path)
    number = next(
        i for i, (r, _) in enumerate(pairs) if r != b"" and kind(r) == "action" and i > 20
    )
    request = messages.Request.FromString(pairs[number][0])
    request.action.actions[0].action_raw.unit_command.ability_id += 1
    altered = [*pairs]
    altered[number] = (request.SerializeToString(), pairs[number][1])
    result = replay(changed(path, altered))
    assert not result.same
    assert f"request {number + 1} (action) differs" in result.departs


def kind(data):
    return messages.Request.FromString(data).WhichOneof("request")


def test_replay_notices_another_sight_and_another_length(recorded):
    path, header = recorded
    _, pairs = unpacked(path)
    result = replay(changed(path, pairs[:-1]))
    assert not result.same and "asked no more" in result.departs
    result = replay(changed(path, [*pairs, pairs[-1]]))
    assert not result.same and "asked more" in result.departs
    request, answer = pairs[-1]
    response = messages.Response.FromString(answer)
    for unit in response.observation.observation.raw_data.units:
        unit.health += 1
    altered = [*pairs[:-1], (request, response.SerializeToString())]
    result = replay(changed(path, altered))
    assert not result.same and result.departs is None and result.digest != header.digest


def test_a_transcript_that_claims_to_be_genuine_is_not_believed(recorded):
    path, _ = recorded
    _, pairs = unpacked(path)
    assert replay(changed(path, pairs, fake=False)).fake


def test_answers_that_fail_end_the_replay(recorded):
    path, _ = recorded
    _, pairs = unpacked(path)
    refused = messages.Response(id=2, error=["no"]).SerializeToString()
    result = replay(changed(path, [pairs[0], (pairs[1][0], refused)]))
    assert "the game says: no" in result.departs
    with pytest.raises(UserError, match="no protocol message"):
        replay(changed(path, [pairs[0], (pairs[1][0], b"\xff\xff")]))


# --- recording that fails ------------------------------------------------------------------------


def test_nothing_is_left_of_a_recording_that_fails(sc2, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    for faults in ({"crash_at_loop": 100}, {"hang_on": "join_game"}, {"error_on": "create_game"}):
        set_faults(sc2, **faults)
        brief = LaunchSettings(start_timeout=10, call_timeout=1, quit_timeout=0.5, term_timeout=0.5)
        with pytest.raises(UserError, match="nothing was recorded"):
            record("3m", folder / "t", settings=brief)
    assert list(folder.iterdir()) == []


def test_bad_input(recorded, tmp_path):
    path, _ = recorded
    with pytest.raises(UserError, match="exists; replace it with --overwrite"):
        record("3m", path)
    with pytest.raises(UserError, match="no directory"):
        record("3m", tmp_path / "no" / "where")
    with pytest.raises(UserError, match="unknown SMAC map '3n'"):
        record("3n", tmp_path / "t")
    with pytest.raises(UserError, match="--episodes"):
        record("3m", tmp_path / "t", episodes=0)
    record("3m", path, episodes=1, overwrite=True)


# --- damaged files -------------------------------------------------------------------------------


def packed(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return gzip.compress(transcript.MAGIC + struct.pack("<I", len(text)) + text + body)


def test_damaged_files(recorded, tmp_path):
    path, header = recorded
    whole, good = path.read_bytes(), dataclasses.asdict(header)
    bad = tmp_path / "bad"
    for data, says in [
        (b"", "not a transcript"),
        (b"hello", "not a transcript"),
        (gzip.compress(b"hello" * 10), "not a transcript"),
        (whole[:-20], "damaged"),
        (whole[:100], "damaged"),
        (whole[:300] + b"\x00" * 30 + whole[330:], "damaged"),
        (gzip.compress(transcript.MAGIC + b"\xff\xff\xff\x7f"), "a part of"),
        (packed(b"[]"), "bad header"),
        (packed(b"[" * 50_000), "bad header"),
        (packed(b"\xff"), "bad header"),
        (packed({}), "bad header"),
        (packed(good | {"format": 2}), "format 2"),
        (packed(good | {"map": "../x"}), "unknown map"),
        (packed(good | {"more": 1}), "bad header"),
        (packed(good | {"steps": "many"}), "steps is not"),
        (packed(good | {"seed": True}), "seed is not"),
        (packed(good | {"seed": -1}), "out of range"),
        (packed(good | {"recorder": "\x1b[31m"}), "recorder"),
        (packed(good | {"options": {"step_mul": "8"}}), "bad header"),
        (packed(good | {"options": {"what": 8}}), "bad header"),
        (packed(good, struct.pack("<I", 1 << 31)), "a part of"),
        (packed(good, struct.pack("<I", 10) + b"x"), "too early"),
        (packed(good, b"\x01"), "too early"),
    ]:
        bad.write_bytes(data)
        with pytest.raises(UserError, match=says):
            replay(bad)


def test_a_file_that_unpacks_without_end_is_cut_off(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(transcript, "MAX_BYTES", 1 << 20)
    pair = struct.pack("<I", 1 << 16) + bytes(1 << 16)
    body = b"".join(itertools.repeat(pair, 40))
    path = tmp_path / "bomb"
    path.write_bytes(packed(dataclasses.asdict(recorded[1]), body))
    reader = transcript.Reader(path)
    with pytest.raises(UserError, match="too long"):
        list(reader.pairs())
    reader.close()


# --- the command line ----------------------------------------------------------------------------


def test_commands(sc2, tmp_path, capsys):
    path = str(tmp_path / "t")
    assert main(["record", "3m", "--out", path, "--episodes", "1", "--seed", "5"]) == 0
    out = capsys.readouterr().out
    assert "nothing here is SMAC data" in out and "1 episodes of 3m" in out
    assert main(["replay", path]) == 0
    out = capsys.readouterr().out
    assert "nothing here is SMAC data" in out and "equal the recorded ones" in out
    assert main(["replay", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same"] is True
    _, pairs = unpacked(tmp_path / "t")
    changed(tmp_path / "t", pairs[:-1])
    assert main(["replay", path]) == 1
    assert "requests  differ" in capsys.readouterr().out
    changed(tmp_path / "t", pairs, digest="0" * 64)
    assert main(["replay", path]) == 1
    assert "was recorded" in capsys.readouterr().out
