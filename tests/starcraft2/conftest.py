"""A fake installation and private temp folders, with nothing alive or left afterwards."""

import tempfile
import time

import pytest

from lica_jax.starcraft2.testing.install import living, make_install


@pytest.fixture
def sc2(tmp_path, monkeypatch):
    """The folder of a FakeSC2, which SC2PATH names; no game of it may outlive the test."""
    root = make_install(tmp_path / "sc2")
    monkeypatch.setenv("SC2PATH", str(root))
    yield root
    assert wait_until(lambda: not living(root)), "games are left"


@pytest.fixture
def private_temp(tmp_path, monkeypatch):
    """The folder in which this process and its children make their temporary ones."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def wait_until(condition, seconds=30.0):
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
