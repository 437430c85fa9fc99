"""The doctor's findings, the maps it sends people to, and the command line around both."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from lica_jax import machine
from lica_jax.cli.sc2 import main
from lica_jax.errors import UserError
from lica_jax.smac.maps import MAPS
from lica_jax.starcraft2.game import mapfiles, messages
from lica_jax.starcraft2.game.install import find_install
from lica_jax.starcraft2.game.mapfiles import install_maps
from lica_jax.starcraft2.game.process import LaunchSettings
from lica_jax.starcraft2.testing.install import make_install, set_faults
from lica_jax.starcraft2.tools import checks, doctor, trial

BRIEF = LaunchSettings(start_timeout=20, call_timeout=3, quit_timeout=0.5, term_timeout=0.5)


def named(found, name):
    return next(check for check in found if check.name == name)


def static():
    found, _ = checks.static_checks()
    for check in found:
        assert (check.fix is None) == (check.status == "ok")
        assert "\n" not in (check.fix or "")
    return found


def test_a_usable_machine(sc2):
    found = static()
    assert doctor.exit_code(found) == 0
    assert named(found, "version").status == "warning"  # it is the test double
    assert named(found, "maps").status == "ok"


def test_no_game(monkeypatch, tmp_path):
    monkeypatch.setenv("SC2PATH", str(tmp_path / "nowhere"))
    found = static()
    assert doctor.exit_code(found) == 2
    assert named(found, "game").status == "problem"
    assert "SC2PATH" in named(found, "game").fix


def test_versions_and_libraries(sc2):
    (sc2 / checks.MARKER).unlink()
    assert "4.10" in named(static(), "version").text
    make_install(sc2, build=80000)
    (sc2 / checks.MARKER).unlink()
    (sc2 / "Libs").rmdir()
    found = static()
    assert named(found, "version").status == "warning"
    assert "Base75689" in named(found, "game").text
    assert named(found, "libraries").status == "warning"


def test_maps_missing_misplaced_or_foreign(sc2):
    folder = sc2 / "Maps/SMAC_Maps"
    (sc2 / checks.MARKER).unlink()
    check = named(static(), "maps")
    assert check.status == "warning" and "--overwrite" in check.fix
    (folder / "3m.SC2Map").write_bytes(b"PK\x03\x04")
    (folder / "MMM.SC2Map").unlink()
    check = named(static(), "maps")
    assert check.status == "problem" and "(3m, MMM)" in check.text
    (folder / "SMAC_Maps").mkdir()
    for path in folder.glob("*.SC2Map"):
        path.rename(folder / "SMAC_Maps" / path.name)
    assert named(static(), "maps").fix == f"lica-jax sc2 install-maps {folder / 'SMAC_Maps'}"


def test_packages(sc2, monkeypatch):
    def refuse():
        raise UserError("both are installed; pip uninstall something")

    monkeypatch.setattr(messages, "load", refuse)
    found = doctor.examine(launch=True)
    assert named(found, "messages").fix == "pip uninstall something"
    assert named(found, "launch").text == "not tried: see above"
    assert doctor.exit_code(found) == 2


def test_memory(monkeypatch):
    monkeypatch.setattr(machine, "available_memory", lambda: 10 * 2**30)
    assert checks.check_memory(8).status == "ok"
    assert checks.check_memory(8, 2**30).status == "ok"
    check = checks.check_memory(32, 2**30)
    assert check.status == "problem" and "--envs 9" in check.fix
    assert checks.check_memory(1, 11 * 2**30, 2 * 2**30).status == "problem"
    monkeypatch.setattr(machine, "available_memory", lambda: None)
    assert checks.check_memory(8, 2**30).status == "warning"


def test_available_memory_is_plausible():
    free = machine.available_memory()
    assert free is None or 2**20 < free < 2**50


def test_temp_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    check = checks.check_temp()
    assert check.status == "problem" and "TMPDIR" in check.fix


def test_another_platform(monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert checks.check_platform().status == "warning"
    monkeypatch.undo()
    monkeypatch.setattr(checks, "LINKER", "/nowhere/ld.so")
    assert checks.check_platform().status == "problem"


# --- trying a game -------------------------------------------------------------------------------


def tried(**kwargs):
    return list(trial.launch_checks(find_install(), settings=BRIEF, **kwargs))


def test_launch(sc2):
    found = tried()
    assert [c.name for c in found] == [
        *("launch", "episode", "graphics", "memory", "pipelining", "shutdown")
    ]
    assert [c.name for c in found if c.status != "ok"] == ["launch"]
    assert "test double" in named(found, "launch").text
    assert "the same episode" in named(found, "pipelining").text


@pytest.mark.parametrize(
    "faults, words, fix",
    [
        ({"die_at_start": 1}, "e_fileCorruptRepairable", "incomplete"),
        ({"crash_at_loop": 40}, "step", "report it"),
        ({"hang_on": "join_game"}, "join_game", "report it"),
        ({"create_game_error": "InvalidMapData"}, "InvalidMapData", "install-maps"),
        ({"garbage_at_loop": 16}, "not a protocol message", "report it"),
        ({"never_all": 1}, "256 game loops", "report it"),
    ],
)
def test_launch_of_a_game_that_fails(sc2, faults, words, fix):
    set_faults(sc2, **faults)
    found = tried()
    check = named(found, "launch") if len(found) == 1 else found[-1]
    assert check.status == "problem"
    assert words in check.text and fix in check.fix
    assert doctor.exit_code(found) == 2


def test_launch_notices_a_forced_ending_and_too_many_workers(sc2):
    set_faults(sc2, ignore_quit=True, ignore_sigterm=True)
    found = tried(workers=1_000_000)
    assert "by force" in named(found, "shutdown").text
    assert named(found, "memory").status == "problem"


def test_launch_of_a_game_whose_episodes_do_not_repeat(sc2, monkeypatch):
    """FakeSC2's battles follow from its seed; another one for each process makes them differ."""
    numbers = iter(range(100))

    class Other(trial.StarCraft2Env):
        def __init__(self, *args, seed, **kwargs):
            super().__init__(*args, seed=next(numbers), **kwargs)

    monkeypatch.setattr(trial, "StarCraft2Env", Other)
    check = named(tried(), "pipelining")
    assert check.status == "warning" and "does not repeat" in check.text


# --- the command line ----------------------------------------------------------------------------


def test_doctor_prints_a_line_per_check(sc2, capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("all is well, 1 to know about")
    assert all(line.split()[0] in ("ok", "warning") for line in lines[:-2])
    (sc2 / "Maps/SMAC_Maps/3m.SC2Map").unlink()
    assert main(["doctor", "--workers", "4", "--sc2-path", str(sc2)]) == 2
    out = capsys.readouterr().out
    assert "-> lica-jax sc2 install-maps" in out and "1 to repair" in out


def test_selftest_needs_no_game_and_says_what_it_is(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SC2PATH", str(tmp_path / "nowhere"))
    assert main(["doctor", "--selftest", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and found["test_double"]
    assert "not the game" in next(c for c in found["checks"] if c["name"] == "selftest")["text"]
    assert {"episode", "pipelining", "shutdown"} <= {c["name"] for c in found["checks"]}


def test_nothing_here_imports_jax(tmp_path):
    code = (
        "import sys\nfrom lica_jax.cli.sc2 import main\n"
        "code = main(['doctor', '--selftest'])\n"
        "sys.exit(code or ('jax' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_last_words_follow_their_line():
    check = checks.problem("launch", "did not start; its last words:\none\ntwo", "do this")
    first, *rest = doctor.line(check).splitlines()
    assert first.endswith("last words:  -> do this")
    assert [line.split("| ")[1] for line in rest] == ["one", "two"]


@pytest.mark.parametrize(
    "argv, says",
    [
        (["docter"], "did you mean doctor"),
        (["doctor", "--launch", "--selftest"], "choose one"),
        (["doctor", "--workers", "0"], "--workers must be"),
        (["doctor", "--worker", "3"], "did you mean --workers"),
        (["install-maps"], "FROM"),
        (["install-maps", "/nowhere"], "no directory /nowhere"),
        (["record", "3m"], "--out"),
        (["replay", "/nowhere"], "cannot read /nowhere"),
    ],
)
def test_bad_command_lines(sc2, argv, says):
    with pytest.raises(UserError, match=says):
        main(argv)


def test_help(capsys):
    assert main([]) == 0
    assert "install-maps" in capsys.readouterr().out


# --- installing maps -----------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "downloaded" / "deeper"
    folder.mkdir(parents=True)
    for name in MAPS:
        (folder / f"{name}.SC2Map").write_bytes(b"MPQ\x1a" + name.encode())
    (folder / "README").write_text("hello")
    return folder.parent


@pytest.fixture
def bare(sc2):
    shutil.rmtree(sc2 / "Maps")
    return sc2


def contents(sc2):
    folder = sc2 / "Maps/SMAC_Maps"
    return {p.name: p.read_bytes() for p in folder.iterdir()} if folder.exists() else {}


def expected():
    return {f"{name}.SC2Map": b"MPQ\x1a" + name.encode() for name in MAPS}


def test_install_maps(bare, source, capsys):
    assert main(["install-maps", str(source)]) == 0
    assert "23 copied, 0 there already" in capsys.readouterr().out
    assert contents(bare) == expected()
    (bare / "Maps/SMAC_Maps/3m.SC2Map").unlink()
    assert install_maps(source) == (bare / "Maps/SMAC_Maps", ["3m"])
    assert install_maps(bare) == (bare / "Maps/SMAC_Maps", [])
    assert contents(bare) == expected()


def test_maps_that_differ_are_kept_unless_told_otherwise(sc2, source):
    before = contents(sc2)
    with pytest.raises(UserError, match=r"files for 3m, 8m.*nothing was written.*--overwrite"):
        install_maps(source)
    assert contents(sc2) == before
    assert len(install_maps(source, overwrite=True)[1]) == 23
    assert contents(sc2) == expected()


def test_bad_sources_change_nothing(bare, source, tmp_path):
    path = source / "deeper/corridor.SC2Map"
    path.write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"corridor.SC2Map is not a StarCraft II map"):
        install_maps(source)
    path.unlink()
    with pytest.raises(UserError, match=r"lacks 1 of SMAC's 23 maps: corridor"):
        install_maps(source)
    outside = tmp_path / "elsewhere.SC2Map"
    outside.write_bytes(b"MPQ\x1asecret")
    path.symlink_to(outside)
    with pytest.raises(UserError, match="lacks 1"):
        install_maps(source)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="lacks 1"):
        install_maps(source)
    (source / "corridor.SC2Map").write_bytes(b"MPQ\x1acorridor")
    (source / "deeper/3m").mkdir()
    (source / "deeper/3m/3m.SC2Map").write_bytes(b"MPQ\x1aother")
    with pytest.raises(UserError, match=r"3m.SC2Map and .*3m.SC2Map differ"):
        install_maps(source)
    with pytest.raises(UserError, match="is a file; unpack it"):
        install_maps(source / "corridor.SC2Map")
    assert not (bare / "Maps").exists()


def test_too_much_to_look_through(bare, source, monkeypatch):
    monkeypatch.setattr(mapfiles, "MAX_FILES", 10)
    with pytest.raises(UserError, match="name a nearer directory"):
        install_maps(source)


def test_bad_targets(bare, source, tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir()
    (bare / "Maps").symlink_to(outside)
    with pytest.raises(UserError, match="nothing is written through links"):
        install_maps(source)
    (bare / "Maps").unlink()
    (bare / "Maps").mkdir()
    (bare / "Maps/SMAC_Maps").symlink_to(tmp_path / "dangling")
    with pytest.raises(UserError, match="nothing is written through links"):
        install_maps(source)
    assert list(outside.iterdir()) == []
    with pytest.raises(UserError, match=r"no StarCraft II at .*install the game first"):
        install_maps(source, str(tmp_path))


def test_a_link_in_the_place_of_a_map_is_replaced_not_followed(sc2, source, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (sc2 / "Maps/SMAC_Maps/3m.SC2Map").unlink()
    (sc2 / "Maps/SMAC_Maps/3m.SC2Map").symlink_to(precious)
    install_maps(source, overwrite=True)
    assert precious.read_text() == "precious"
    assert contents(sc2) == expected()
    assert not (sc2 / "Maps/SMAC_Maps/3m.SC2Map").is_symlink()


@pytest.mark.parametrize("fresh", [True, False])
def test_a_failure_in_the_middle_is_undone(sc2, source, monkeypatch, fresh):
    if fresh:
        shutil.rmtree(sc2 / "Maps")
    before, rename, count = contents(sc2), type(source).rename, 0

    def failing(self, to):
        nonlocal count
        count += 1
        if count == 15:
            raise OSError(28, "No space left on device")
        return rename(self, to)

    monkeypatch.setattr(type(source), "rename", failing)
    with pytest.raises(UserError, match=r"No space left.*nothing was changed"):
        install_maps(source, overwrite=True)
    assert contents(sc2) == before
    assert (sc2 / "Maps").exists() is not fresh
