"""Whatever is put into settings, rows and streams: a value, or one message."""

import dataclasses
import errno
import io
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from lica_jax.cli.progress import Counter
from lica_jax.cli.settings import flag_of, parse_settings
from lica_jax.config import dump_settings, from_dict, load_config, merge, resolve, to_dict
from lica_jax.config.schema import nested, settings
from lica_jax.envs import make_task
from lica_jax.errors import UserError
from lica_jax.files import plain, put, put_over, write_json
from lica_jax.runs.display import Display
from lica_jax.runs.rows import RowFile, sound_rows

CONFIG, SPEC = load_config("lica", "probe/match"), make_task("probe/match").spec
NAMES = [setting.name for setting in settings(CONFIG)]
# What YAML, numbers and flags have traps for.
ODD = [
    "", " ", "none", "None", "true", "off", "0:3", "3-1", "1e400", "-0", "nan", "inf", "1_000",
    "0x1f", "2001-99-99", "12:30:99", "[", "{a", "!!python/object:os.system", "&a *a", "=", "~",
    "9" * 5000,
    "\0", "\ud800", "[" * 3000, 10**400, -1, 2**31, 2**63, float("nan"), float("inf"), 1e300, b"x",
]  # fmt: skip
scalars = st.one_of(
    st.sampled_from(ODD), st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6)
)
keys = st.one_of(
    st.sampled_from([n.split(".")[-1] for n in NAMES]), st.text(max_size=3), st.integers()
)
values = st.recursive(
    scalars,
    lambda x: st.lists(x, max_size=3) | st.dictionaries(keys, x, max_size=3),
    max_leaves=5,
)
changes = st.dictionaries(st.sampled_from(NAMES), values, min_size=1, max_size=2)


def known(change):
    """A configuration, or None where it was refused in words."""
    try:
        return resolve(change(), SPEC)
    except UserError as error:
        assert str(error)
        return None


def stored(config):
    """What a run directory and ``--dump-config`` give back of a configuration."""
    text = json.dumps(plain(to_dict(config)), allow_nan=False)
    again = from_dict(json.loads(text))
    assert merge(CONFIG, yaml.safe_load(dump_settings(config))) == again
    return again


@bounded(max_examples=150, deadline=None)
@given(changes)
def test_settings_from_python_are_taken_or_refused(change):
    config = known(lambda: merge(CONFIG, nested(change)))
    assert config is None or stored(config) == config


@bounded(max_examples=100, deadline=None)
@given(st.dictionaries(keys, values, max_size=3))
def test_mappings_that_may_be_anything(change):
    config = known(lambda: merge(CONFIG, change))
    assert config is None or stored(config) == config


@bounded(max_examples=100, deadline=None)
@given(st.sampled_from(NAMES), st.text(max_size=8) | st.sampled_from(ODD).map(str))
def test_settings_from_the_shell_are_taken_or_refused(name, word):
    config = known(lambda: merge(CONFIG, parse_settings(CONFIG, [f"{flag_of(name)}={word}"])))
    assert config is None or stored(config) == config


def test_some_settings_are_taken():
    """The fuzzers above would pass if everything were refused."""
    config = known(lambda: merge(CONFIG, nested({"seeds": "0:3", "hp.gamma": "1e-1"})))
    assert stored(config) == config and config.seeds == (0, 1, 2)
    assert dataclasses.replace(config, seeds=(0,)) != config


junk = st.one_of(
    st.binary(max_size=12), st.sampled_from([b"null", b"[" * 3000, b"9" * 5000, b"{}"]),
    st.sampled_from([b'{"update": 3}', b'{"update": 3, "env_steps": "x", "seed": 0}']),
    st.sampled_from([b'{"update": 3, "env_steps": 4, "sead": 0}']),
)  # fmt: skip


def row_of(x):
    """A sound row, though with a number that JSON does not have."""
    return json.dumps({"update": x, "env_steps": x, "seed": 0, "loss": float("nan")}).encode()


@bounded(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9) | junk, max_size=8), st.binary(max_size=5))
def test_rows_between_damaged_lines_are_kept(lines, rest):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        good = [x for x in lines if isinstance(x, int)]
        path.write_bytes(
            b"".join((row_of(x) if isinstance(x, int) else x) + b"\n" for x in lines)
            + rest.replace(b"\n", b"")
        )  # fmt: skip
        rows, _ = sound_rows(path)
        assert [row["update"] for row in rows] == good
        kept = RowFile(path, upto_update=5).rows
        assert [row["update"] for row in kept] == [x for x in good if x <= 5]
        assert sound_rows(path) == (kept, 0)


class Broken(io.StringIO):
    """A stream that fails from its ``good``-th word on."""

    def __init__(self, error, good, terminal):
        super().__init__()
        self.error, self.good, self.terminal = error, good, terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.good -= 1
        if self.good < 0:
            raise self.error
        return super().write(text)


ERRORS = [
    BrokenPipeError(errno.EPIPE, "reader went away"), OSError(errno.ENOSPC, "full"),
    OSError(errno.EIO, "gone"), ValueError("I/O operation on closed file"),
    UnicodeEncodeError("ascii", "x", 0, 1, "no such character"),
]  # fmt: skip


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(
    "error", ERRORS, ids=lambda error: f"{type(error).__name__} {error.args[0]}"
)
def test_streams_that_fail_are_no_reason_to_stop(error, terminal, monkeypatch):
    for good in range(3):
        stream = Broken(error, good, terminal)
        assert [put("a", stream), put_over("b", stream)] == [good > 0, good > 1]
        for style in ("auto", "bar", "plain"):
            monkeypatch.setattr("sys.stderr", Broken(error, good, terminal))
            shown = Display(style, 10)
            for _ in range(3):
                shown.say("a line")
                shown.warn("another")
                shown.show(3, [], ())
            shown.close()
        monkeypatch.setattr("lica_jax.cli.progress.PATIENCE", 0.0)
        with Counter("counting", "sheep") as counter:
            counter.tell(1, 2)
    assert put("a", None) is False


@pytest.mark.parametrize("closed", [False, True])
def test_no_stream_at_all(closed, monkeypatch):
    """Started without stderr, or with one that has been closed."""
    stream = io.StringIO() if closed else None
    if closed:
        stream.close()
    monkeypatch.setattr("sys.stderr", stream)
    for style in ("auto", "plain"):
        shown = Display(style, 10)
        shown.say("a line")
        shown.close()
    with Counter("counting", "sheep") as counter:
        counter.tell(1, 2)


def test_counters_speak_past_readers_who_left(monkeypatch):
    """`lica-jax reproduce ... | head -1` makes its figure all the same."""
    monkeypatch.setattr("sys.stdout", Broken(BrokenPipeError(errno.EPIPE, "gone"), 0, False))
    with Counter("counting", "sheep") as counter:
        counter.say("a line")


def test_files_of_settings_that_are_no_settings(tmp_path):
    """One message each; a range of seeds is no number in base 60."""
    from lica_jax.config.load import from_dict, load_settings

    path = tmp_path / "a.yaml"
    for text in ("a: 2024-02-99", f"a: {'9' * 5000}", "a: [", "- 3"):
        path.write_text(f"algorithm: lica\ntask: probe/match\n{text}\n")
        with pytest.raises(UserError):
            load_settings(path)
    for plugins in (5, [5], {"a": 1}):
        with pytest.raises(UserError, match="plugins"):
            from_dict({"algorithm": "lica", "task": "x", "preset": "fast", "plugins": plugins})
    path.write_text("algorithm: lica\ntask: probe/match\nseeds: [1:4, 0:1]\n")
    assert load_settings(path)[0].seeds == (1, 2, 3, 0)


def test_json_is_whole_or_not_there(tmp_path):
    """What cannot be written leaves what was there."""
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
