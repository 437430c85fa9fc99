"""Policy files from anybody: a sound policy or one message, whatever is in them."""

import dataclasses
import json
import struct
import subprocess
import sys
import time
import tracemalloc

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lica_jax import UserError, load_policy
from lica_jax.algorithms import algorithm_module
from lica_jax.config.schema import merge
from lica_jax.policy import reading, save_policy
from tests.unit.test_policy_export import CHOICE, untrained

STATEFUL = dataclasses.replace(CHOICE, state_size=7)
FUZZ = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """A small policy's file."""
    policy = untrained("vdn", CHOICE, {"agent": "mlp"})
    path = tmp_path_factory.mktemp("policy") / "p.safetensors"
    config = merge(algorithm_module("vdn").Config(), policy.about["config"])
    save_policy(
        path, policy.params, algorithm="vdn", config=config, hp=policy.hp, spec=CHOICE, seed=0,
        env_steps=7, score=0.5,
    )  # fmt: skip
    return path.read_bytes()


def parts(content: bytes) -> tuple[dict, bytes]:
    """The header of a file, and its tensors."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(table: dict, tensors: bytes) -> bytes:
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def loads(path, content: bytes) -> bool:
    """Whether a file is a sound policy; fails on anything but a ``UserError`` of one line,
    or of a list of what is wrong."""
    path.write_bytes(content)
    try:
        policy = load_policy(path)
    except UserError as error:
        said = str(error)
        assert said.replace("\n  - ", "").isprintable() and len(said) < 700, said
        return False
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(policy.params))
    assert isinstance(policy.spec.n_agents, int) and f"{policy.about.get('env_steps')}"
    return True


def test_the_file_itself_is_sound(whole, tmp_path):
    assert loads(tmp_path / "p", whole)
    table, tensors = parts(whole)
    assert loads(tmp_path / "p", joined(table, tensors))


def test_settings_that_are_unknown_are_told_together(whole, tmp_path):
    more = {"foo": 1, "bar": 2}
    content = with_facts(whole, lambda facts: facts["config"].update(more))
    assert not loads(tmp_path / "p", content)
    with pytest.raises(UserError, match=r"invalid configuration:\n  - .*foo'.*\n  - .*bar'"):
        load_policy(tmp_path / "p")


def with_facts(whole, change) -> bytes:
    """The file with other facts in its header."""
    table, tensors = parts(whole)
    facts = json.loads(table["__metadata__"]["lica_jax"])
    change(facts)
    table["__metadata__"]["lica_jax"] = json.dumps(facts)
    return joined(table, tensors)


def test_a_short_text_stands_for_no_more_than_it_says(whole, tmp_path):
    """YAML's aliases, in a text where a number belongs: nine lists of nine, nine times over."""
    lists = ["&l0 [1,1,1,1,1,1,1,1,1]"]
    lists += [f"&l{i} [{','.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 12)]
    bomb = f"[{','.join(lists)}]"
    content = with_facts(whole, lambda facts: facts["hp"].update(gamma=bomb))
    start = time.monotonic()
    assert not loads(tmp_path / "p", content)
    assert time.monotonic() - start < 5
    with pytest.raises(UserError, match="gamma"):
        load_policy(tmp_path / "p")


@pytest.mark.parametrize("name", ["qtran", "qtran_alt"])
def test_sizes_of_a_header_cost_nothing(name, tmp_path):
    """Networks of 2**30 units: compared with what is in the file, not made."""
    policy = untrained(name, STATEFUL)
    config = merge(algorithm_module(name).Config(), policy.about["config"])
    path = tmp_path / "p"
    save_policy(
        path, policy.params, algorithm=name, config=config, hp=policy.hp, spec=STATEFUL, seed=0,
        env_steps=7, score=0.5,
    )  # fmt: skip
    path.write_bytes(
        with_facts(path.read_bytes(), lambda facts: facts["config"].update(hidden=2**30))
    )
    code = (
        "import resource, sys; from lica_jax import load_policy, UserError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: load_policy(sys.argv[1])\n"
        "except UserError as error: print('do not fit its own' in str(error))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    said, more = done.stdout.split()
    assert said == "True" and int(more) < 500_000  # KiB


@FUZZ
@given(data=st.data())
def test_bytes_of_the_header(whole, tmp_path, data):
    content = bytearray(whole)
    end = 8 + struct.unpack("<Q", whole[:8])[0]
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    loads(tmp_path / "p", bytes(content))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.sampled_from(["\x1b[31mred", "F64", "I32", "10", "lica", "probe/match", 2**31, 2**64, -1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)  # fmt: skip


def places(value, path=()):
    """The path of every value in nested mappings and lists."""
    yield path
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in keys:
        yield from places(value[key], (*path, key))


def changed(value, path, new, drop):
    """A copy with another value at a path, or without that one."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if drop and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(value[path[0]], path[1:], new, drop)
    return copy


@FUZZ
@given(data=st.data())
def test_fields_of_the_header(whole, tmp_path, data):
    """Facts and the table of tensors, with values of all kinds."""
    table, tensors = parts(whole)
    about = json.loads(table["__metadata__"]["lica_jax"])
    of = about if data.draw(st.booleans()) else table
    where = data.draw(st.sampled_from(list(places(of))))
    made = changed(of, where, data.draw(ANYTHING), data.draw(st.booleans()))
    if of is about:
        table = table | {"__metadata__": {"lica_jax": json.dumps(made)}}
    else:
        table = made
    loads(tmp_path / "p", joined(table, tensors))


@FUZZ
@given(cut=st.floats(0, 1), at=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_tensors_and_ends(whole, tmp_path, cut, at, value):
    """Every truncation is refused; other numbers are numbers, unless they are not finite."""
    n = int(cut * len(whole))
    assert loads(tmp_path / "p", whole[:n]) == (n == len(whole))
    assert not loads(tmp_path / "p", whole + b"x")
    start = 8 + struct.unpack("<Q", whole[:8])[0]
    content = bytearray(whole)
    content[start + int(at * (len(whole) - start))] = value
    loads(tmp_path / "p", bytes(content))


def facts(whole, **changes):
    table, tensors = parts(whole)
    about = json.loads(table["__metadata__"]["lica_jax"])
    for key, value in changes.items():
        group, _, name = key.rpartition("__")
        (about[group] if group else about)[name] = value
    return joined(table | {"__metadata__": {"lica_jax": json.dumps(about)}}, tensors)


def tensor(whole, **changes):
    table, tensors = parts(whole)
    name = next(name for name in table if name != "__metadata__")
    return joined(table | {name: table[name] | changes}, tensors)


def filled(whole, number):
    table, tensors = parts(whole)
    return joined(table, np.full(len(tensors) // 4, number, "<f4").tobytes())


def as_int(whole):
    table, tensors = parts(whole)
    kept = {k: v | ({"dtype": "I32"} if k != "__metadata__" else {}) for k, v in table.items()}
    return joined(kept, tensors)


BAD = {
    "nothing": (lambda w: b"", "damaged"),
    "a huge header": (lambda w: struct.pack("<Q", 2**63) + w[8:], "damaged"),
    "no text": (lambda w: struct.pack("<Q", 4) + b"\xff\xfe\xff\xfe", "damaged"),
    "deeply nested": (lambda w: struct.pack("<Q", 200_000) + b"[" * 200_000, "nested too deeply"),
    "a list": (lambda w: joined([1], b""), "header is a list"),
    "no policy": (lambda w: joined({}, b""), "not a lica_jax policy"),
    "facts deeply nested": (
        lambda w: facts(w, more=json.loads("[" * 50 + "]" * 50)), "nested too deeply"
    ),
    "no algorithm": (lambda w: facts(w, algorithm=None), "its algorithm is None"),
    "another algorithm": (lambda w: facts(w, algorithm="magic"), "algorithm 'magic', which"),
    "a plugin": (lambda w: facts(w, algorithm="magic", plugins=["m"]), "--plugin m"),
    "an escape": (lambda w: facts(w, task="\x1b[31m"), r"cannot be printed: '\x1b[31m'"),
    "steps in words": (lambda w: facts(w, env_steps="many"), "its env_steps is 'many'"),
    "an unknown setting": (lambda w: facts(w, config__wings=2), "unknown setting 'config.wings'"),
    "a number out of range": (lambda w: facts(w, hp__gamma=7), "hp.gamma must be within 0 and 1"),
    "a number that is none": (lambda w: facts(w, hp__lr=float("nan")), "finite number"),
    "no agents": (lambda w: facts(w, spec__n_agents=0), "spec.n_agents must be within 1"),
    "many agents": (lambda w: facts(w, spec__n_agents=2**40), "spec.n_agents must be within 1"),
    "another width": (lambda w: facts(w, config__hidden=9), "do not fit its own configuration"),
    "a width without end": (lambda w: facts(w, config__hidden=2**31 - 1), "cannot be loaded"),
    "no such type": (lambda w: tensor(w, dtype="F99"), "unknown type 'F99'"),
    "a shape of words": (lambda w: tensor(w, shape=["a"]), "no shape and place"),
    "another shape": (lambda w: tensor(w, shape=[2**50]), "does not fit into the file"),
    "an overlap": (lambda w: tensor(w, data_offsets=[4, 8], shape=[1]), "where the one before"),
    "integers": (as_int, "is int32, not float32"),
    "NaN": (lambda w: filled(w, np.nan), "not finite"),
    "infinity": (lambda w: filled(w, np.inf), "not finite"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said(whole, tmp_path, case):
    make, words = BAD[case]
    assert not loads(tmp_path / "p", make(whole))
    with pytest.raises(UserError) as error:
        load_policy(tmp_path / "p")
    assert words in str(error.value)


def test_a_large_file_costs_nothing(whole, tmp_path, monkeypatch):
    """4 GB of zeros: refused from the header, or before anything is read that does not fit."""
    table, _ = parts(whole)
    size = 2**32

    def sparse(table):
        with (tmp_path / "p").open("wb") as file:
            file.write(joined(table, b""))
            file.truncate(file.tell() + size)

    entry = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    for made, words in (
        ({"__metadata__": table["__metadata__"], "params/fc1/kernel": entry}, "do not fit its own"),
        (table, "belong to no tensor"),
    ):
        sparse(made)
        tracemalloc.start()
        with pytest.raises(UserError, match=words):
            load_policy(tmp_path / "p")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**26, peak
    monkeypatch.setattr(reading, "available_memory", lambda: 100)
    with pytest.raises(UserError, match="GiB are free"):
        (tmp_path / "p").write_bytes(whole)
        load_policy(tmp_path / "p")


def test_double_precision_is_read(whole, tmp_path):
    table, tensors = parts(whole)
    wide = dict(table)
    for name in table.keys() - {"__metadata__"}:
        ends = [2 * x for x in table[name]["data_offsets"]]
        wide[name] = table[name] | {"dtype": "F64", "data_offsets": ends}
    same = np.frombuffer(tensors, "<f4").astype("<f8").tobytes()
    assert loads(tmp_path / "p", joined(wide, same))
    large = np.full(len(tensors) // 4, 1e300).tobytes()  # infinite in single precision
    assert not loads(tmp_path / "p", joined(wide, large))
