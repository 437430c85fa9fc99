"""Reference arrays: a golden file is found by name, here or in `--goldens DIR`."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest

from tests.reference.torch_weights import Golden

HERE = Path(__file__).parent / "goldens"


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def golden(request):
    """``golden(name)`` loads ``name.npz``; skips when ``--goldens DIR`` does not hold it."""

    def load(name: str) -> Golden:
        folder = request.config.getoption("--goldens")
        path = (Path(folder) if folder else HERE) / f"{name}.npz"
        if folder and not path.exists():
            pytest.skip(f"{path} does not exist")
        return Golden(path)

    return load
