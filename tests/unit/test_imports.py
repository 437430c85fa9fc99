"""Who may import whom, and what `import lica_jax` may not do."""

import ast
import subprocess
import sys
from pathlib import Path

import lica_jax

PACKAGE = Path(lica_jax.__file__).parent
FORBIDDEN = {
    "types.py": ("lica_jax",),
    "core": ("flax", "lica_jax.networks", "lica_jax.algorithms", "lica_jax.envs"),
    "networks": ("lica_jax.algorithms", "lica_jax.envs", "lica_jax.training.loop"),
    "algorithms": (
        "lica_jax.envs",
        "lica_jax.logging",
        "lica_jax.runs.checkpoint",
        "lica_jax.training.loop",
    ),
    "envs": ("lica_jax.algorithms", "lica_jax.networks", "lica_jax.training.loop", "lica_jax.core"),
    "rollout.py": ("lica_jax.envs", "lica_jax.algorithms", "lica_jax.training.loop"),
    "loop.py": ("lica_jax.training.evaluation", "lica_jax.runs.session", "lica_jax.envs"),
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return names


def test_dependencies_point_one_way():
    for place, forbidden in FORBIDDEN.items():
        files = [PACKAGE / place] if place.endswith(".py") else (PACKAGE / place).rglob("*.py")
        for file in files:
            bad = {n for n in imported(file) for f in forbidden if n == f or n.startswith(f + ".")}
            assert not bad, f"{file.relative_to(PACKAGE)} imports {bad}"


def test_importing_the_package_is_light():
    code = (
        "import sys, lica_jax; heavy = {'jax', 'flax', 'jaxmarl', 'matplotlib', 'orbax', 'rich'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_resolve():
    for name in lica_jax.__all__:
        assert getattr(lica_jax, name) is not None
    assert callable(lica_jax.train) and callable(lica_jax.evaluate)
