"""The shape of the house: who may import whom, how long things are, what importing may not do."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import lica_jax

PACKAGE = Path(lica_jax.__file__).parent
# From the ground up. A module may import what stands above it in this list, or beside it under the
# same entry; the longest entry that fits a module is its own. Imports inside functions count. What
# registries name as text (families of tasks, algorithms) does not: plugins are found that way too.
LAYERS = """
    errors version numpy_policy
    machine files plugins statistics
    runs.names zoo.catalog zoo
    types
    core
    networks
    smac
    envs.names
    envs.frames envs.jaxmarl_import envs.checks envs.made
    envs.smax envs.mpe envs.games envs.probe
    envs.registry
    envs
    algorithms.settings algorithms.heads
    algorithms.actors
    algorithms.lica algorithms.ppo
    algorithms.lica_adv
    algorithms.counterfactual algorithms.q_learning algorithms.per_agent
    algorithms.registry
    algorithms
    training
    config.reading
    config.schema
    config.presets config.checks
    config.load
    config
    policy
    engines
    starcraft2.errors
    starcraft2.game
    starcraft2.env
    starcraft2.fleet
    starcraft2.testing
    starcraft2.tools
    starcraft2.task
    starcraft2
    runs
    rendering reporting loggers profiling
    diagnosis
    api
    sweeps
    zoo.adding
    testing
    reproduce
    cli.parsing cli.process
    cli.settings
    cli
    __main__ zoo.__main__
"""
FLOORS = {name: i for i, line in enumerate(LAYERS.split("\n")) for name in line.split()}
LOOSE = 10  # modules at the top of the package, at most
# Host code: everything that is not traced.
HOST = (
    "api", "cli", "config", "diagnosis", "engines", "envs.made", "envs.registry", "loggers",
    "plugins", "policy", "profiling", "rendering", "reporting", "runs", "smac", "starcraft2",
    "statistics", "sweeps", "testing", "zoo",
)  # fmt: skip


def module_of(path: Path) -> str:
    """``runs.session`` of a file; "" of the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def floor_of(module: str) -> tuple[int, str] | None:
    """The number of a module's floor and its entry in `LAYERS`."""
    while module:
        if module in FLOORS:
            return FLOORS[module], module
        module = module.rpartition(".")[0]
    return None


def imports_of(path: Path) -> set[str]:
    """The modules of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = full.removeprefix("lica_jax.") in MODULES
                found.add(full if is_module else node.module)
    inside = {name for name in found if name.partition(".")[0] == "lica_jax"}
    return {name.removeprefix("lica_jax").removeprefix(".") for name in inside}


GRAPH = {module: imports_of(path) for module, path in MODULES.items()}


def test_every_module_has_a_floor():
    missing = [module for module in MODULES if module and floor_of(module) is None]
    assert not missing, f"in no line of LAYERS: {missing}"


def test_imports_run_downwards():
    for module, imported in GRAPH.items():
        if not module:  # the package's face hands names on, lazily
            continue
        floor, _ = floor_of(module)
        for target in imported:
            if not target:  # `from lica_jax import __version__`
                continue
            below, entry = floor_of(target)
            assert below <= floor, f"{module} imports {target}, which stands higher ({entry})"


def test_no_circles():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]):
        assert module not in path, f"a circle: {' -> '.join((*path, module))}"
        if module in done:
            return
        for target in GRAPH.get(module, ()):
            if target and module:
                visit(target, (*path, module))
        done.add(module)

    for module in GRAPH:
        visit(module, ())


def test_the_ground_knows_nothing_of_the_house():
    assert not GRAPH["errors"] and not GRAPH["types"] and not GRAPH["machine"]
    for module, imported in GRAPH.items():
        if module.startswith("core"):
            assert all(name.startswith("core") for name in imported), module


def outside_imports(module: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.partition(".")[0])
    return found


def test_who_needs_which_library():
    """The maths needs no networks, SMAC's rules and game workers need no JAX."""
    for module in MODULES:
        used = outside_imports(module)
        if module.startswith("core"):
            assert "flax" not in used, module
        if module == "numpy_policy":  # it is copied to where nothing of ours is
            assert used <= {"__future__", "json", "typing", "numpy"}, used
        if module.startswith("smac") or module in ("errors", "machine", "plugins", "files"):
            assert not used & {"jax", "flax"}, module


def test_few_modules_are_loose():
    loose = [path.name for path in PACKAGE.glob("*.py")]
    assert len(loose) <= LOOSE, loose


def test_functions_of_the_host_half_are_short():
    for module, path in MODULES.items():
        if not module.startswith(HOST) or module.startswith("starcraft2.testing"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                assert length <= 60, f"{module}.{node.name} has {length} lines"


def test_a_session_has_all_attributes_from_the_start():
    from lica_jax.runs import session

    (kind,) = [
        node
        for node in ast.parse(inspect.getsource(session)).body
        if isinstance(node, ast.ClassDef)
    ]
    born: dict[str, set[str]] = {}
    for method in kind.body:
        if isinstance(method, ast.FunctionDef):
            born[method.name] = {
                node.attr
                for node in ast.walk(method)
                if isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id == "self"
            }
    late = set().union(*born.values()) - born["__init__"]
    assert not late, late


def own_things(module) -> list:
    """Classes and functions that are written in a module, methods and properties among them."""
    out = []
    for thing in vars(module).values():
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(thing):
            out.append(thing)
            for inner in vars(thing).values():
                inner = inner.fget if isinstance(inner, property) else inner
                out.append(getattr(inner, "__func__", inner))
        elif inspect.isfunction(thing):
            out.append(thing)
    # Not what dataclasses generate, whose namespace may be another module's.
    return [
        x
        for x in out
        if inspect.isclass(x)
        or (inspect.isfunction(x) and x.__code__.co_filename == module.__file__)
    ]


@pytest.mark.parametrize("name", sorted({m.partition(".")[0] for m in MODULES if m}))
def test_every_annotation_evaluates(name):
    prefix = f"lica_jax.{name}"
    found = [prefix] + [
        m.name for m in pkgutil.walk_packages(lica_jax.__path__, "lica_jax.")
        if m.name.startswith(prefix + ".")
    ]  # fmt: skip
    for path in found:
        if path.endswith("__main__"):
            continue
        for thing in own_things(importlib.import_module(path)):
            try:
                typing.get_type_hints(thing)
            except Exception as error:
                pytest.fail(f"{path}.{thing.__qualname__}: {error!r}")


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


def test_parts_are_there_without_an_import_of_their_own():
    """And load no more than they need: statistics no JAX, nothing a device."""
    code = """
import sys
import lica_jax

parts = {"core", "networks", "statistics", "testing", "types"}
assert parts <= set(dir(lica_jax)) and not parts & set(lica_jax.__all__)
assert not [part for part in parts if f"lica_jax.{part}" in sys.modules]
assert lica_jax.statistics.iqm([1, 2, 3]) == 2 and "jax" not in sys.modules
assert not hasattr(lica_jax, "nothing") and not hasattr(lica_jax.core, "nothing")
assert {"returns", "entropy"} <= set(dir(lica_jax.core)) and "critics" in dir(lica_jax.networks)
assert "jax" not in sys.modules
lica_jax.core.returns.lambda_returns, lica_jax.networks.critics.MixingCritic
lica_jax.types.TimeStep, lica_jax.testing.check_task
from jax._src import xla_bridge
print(sorted(xla_bridge._backends))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_jaxmarl_first_needed_in_64_bit_mode():
    """Arrays that JaxMARL makes while it is imported stay what its simulation takes."""
    code = """
import jax
with jax.enable_x64(True):
    import lica_jax.envs.jaxmarl_import
from lica_jax.envs import make_task
state, _ = jax.eval_shape(make_task("smax/3m:backend=jaxmarl").reset, jax.random.key(0))
print({str(x.dtype) for x in jax.tree.leaves(state)})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "float64" not in done.stdout and "float32" in done.stdout
