"""What is released: an sdist, the wheel that is built from it, and that wheel in an environment of
its own, outside a checkout. Needs the package index; ``make wheel``."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from lica_jax.version import __version__
from lica_jax.zoo import catalog

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent
# Of another Python: LICA_JAX_PYTHON=python3.13 make wheel
PYTHON = os.environ.get("LICA_JAX_PYTHON", sys.executable)


def run(*words, cwd):
    """What a command prints; nothing of this checkout is found by it."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
    done = subprocess.run([*map(str, words)], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("build", reason="needs the package build (make wheel installs it)")
    out = Path(os.environ.get("LICA_JAX_DIST") or tmp_path_factory.mktemp("dist"))
    # The wheel is made of the sdist: what the sdist lacks, the wheel lacks too.
    run(sys.executable, "-m", "build", "--outdir", out.resolve(), ROOT, cwd=ROOT)
    name = f"lica_jax-{__version__}"
    return out.resolve() / f"{name}.tar.gz", out.resolve() / f"{name}-py3-none-any.whl"


def test_everything_is_in_it(built):
    sdist, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lica_jax").rglob("*.py")}
    policies = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "lica_jax/zoo/policies").rglob("*.*")
    }
    assert {f"lica_jax/zoo/policies/{name}.json" for name in catalog.names()} <= policies
    configs = {
        f"lica_jax/{path.relative_to(ROOT).as_posix()}"
        for path in (ROOT / "configs").rglob("*.yaml")
    }
    data = {"lica_jax/rendering/viewer.html"}
    assert not (data | modules | policies | configs) - names
    assert not [name for name in names if name.startswith(("tests", "docs", "benchmarks"))]
    assert wheel.stat().st_size < 5_000_000
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    wanted = ("README.md", "CHANGELOG.md", "LICENSE", "CITATION.cff", "constraints.txt", "Makefile")
    assert not {*wanted, "tests/conftest.py", "configs/fast/lica.yaml"} - inside


def test_it_runs_outside_a_checkout(built, tmp_path):
    venv = tmp_path / "venv"
    run(PYTHON, "-m", "venv", venv, cwd=tmp_path)
    pip = (venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "-c", ROOT / "constraints.txt", built[1], cwd=tmp_path)
    command = venv / "bin/lica-jax"
    assert run(command, "--version", cwd=tmp_path).strip() == __version__
    listed = run(command, "list", cwd=tmp_path)
    assert "smax/3m" in listed and all(f"zoo:{name}" in listed for name in catalog.names())
    run(
        command, "train", "lica", "probe/match", "--total-steps", "20000", "--run-dir", "run",
        "--progress", "none", cwd=tmp_path,
    )  # fmt: skip
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["final"][0]["greedy"]["episodes"] >= 512
    made = json.loads((tmp_path / "run/versions.json").read_text())
    assert made["packages"]["lica_jax"] == __version__ and made["commit"] is None
    run(command, "report", "run", "--out", "report", cwd=tmp_path)
    name = catalog.names()[0]
    run(command, "eval", f"zoo:{name}", "--episodes", "16", cwd=tmp_path)
    run(command, "render", f"zoo:{name}", "--out", "b.html", "--episodes", "1", cwd=tmp_path)
    assert (tmp_path / "b.html").stat().st_size > 10_000
