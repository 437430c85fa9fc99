"""The package of docs/extending.md, as written there."""

import re
import sys
from pathlib import Path

import pytest

from lica_jax import plugins
from lica_jax.algorithms import registry as algorithms
from lica_jax.envs import registry as envs

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
FILE = re.compile(r"^`(my_package/[\w/.]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def write_package(folder: Path) -> Path:
    for name, text in FILE.findall(PAGE.read_text()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """The folder that holds ``my_package``."""
    return write_package(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def registries(monkeypatch):
    """Whatever a test registers is gone after it."""
    monkeypatch.setattr(algorithms, "_REGISTERED", dict(algorithms._REGISTERED))
    monkeypatch.setattr(envs, "_REGISTERED", dict(envs._REGISTERED))
    monkeypatch.setattr(plugins, "_PACKAGES", dict(plugins._PACKAGES))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("my_package", "own_module", "bad_module"):
            del sys.modules[name]


@pytest.fixture
def loaded(package, registries, monkeypatch):
    """``my_package`` imported and registered."""
    monkeypatch.syspath_prepend(str(package))
    plugins.load_plugins(["my_package"])
