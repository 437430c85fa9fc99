"""Finding an installation; every way of not finding one names the fix."""

import pytest

from lica_jax.errors import UserError
from lica_jax.smac.maps import MAPS
from lica_jax.starcraft2.game.install import find_install, map_path
from lica_jax.starcraft2.testing.install import make_install

ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.delenv("SC2PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return make_install(tmp_path / "game")


def test_where_it_is_looked_for(tree, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"StarCraftII .*SC2PATH is not set.*set SC2PATH"):
        find_install()
    (tmp_path / "StarCraftII").symlink_to(tree)
    assert find_install().root == tree
    monkeypatch.setenv("SC2PATH", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"no StarCraft II at .*nowhere \(from SC2PATH\)"):
        find_install()
    monkeypatch.setenv("SC2PATH", str(tree))
    assert find_install().build == 75689
    assert find_install("~/game").binary == tree / "Versions/Base75689/SC2_x64"
    monkeypatch.chdir(tmp_path)
    assert find_install("game").root == tree
    with pytest.raises(UserError, match="no StarCraft II at"):
        find_install(str(tree / "Versions/Base75689/SC2_x64"))
    for bad in ("~nobody-of-this-name/x", "a\0b"):
        with pytest.raises(UserError):
            find_install(bad)


def test_versions(tree):
    make_install(tree, build=69232)
    make_install(tree, build=100)
    (tree / "Versions" / "Shaders").mkdir()
    (tree / "Versions" / "Base999999").write_text("not a directory")
    path = str(tree)
    assert find_install(path).build == 75689
    assert find_install(path).data_version is None
    assert find_install(path, "4.10").data_version == "B89B5D6FA7CBF6452E721311BFBC6CB2"
    assert find_install(path, "4.6.2").build == 69232
    assert find_install(path, "Base69232").build == find_install(path, "69232").build == 69232
    with pytest.raises(UserError, match=r"80000.*not installed; there is Base100, Base69232"):
        find_install(path, "80000")
    with pytest.raises(UserError, match=r"unknown StarCraft II version '4.11'; did you mean 4.10"):
        find_install(path, "4.11")


def test_a_directory_that_is_not_the_game(tree):
    empty = tree / "Maps"
    with pytest.raises(UserError, match="has no Versions/Base<build>/"):
        find_install(str(empty))


def test_binaries(tree):
    binary = tree / "Versions/Base75689/SC2_x64"
    binary.write_bytes(ELF)
    assert find_install(str(tree)).binary == binary
    arm = ELF[:18] + b"\xb7\x00"
    for wrong in (b"MZ\x90\x00", b"\xcf\xfa\xed\xfe", b"", arm, ELF[:4] + b"\x01" + ELF[5:]):
        binary.write_bytes(wrong)
        with pytest.raises(UserError, match="not a Linux x86-64 program"):
            find_install(str(tree))
    binary.chmod(0o644)
    with pytest.raises(UserError, match=r"not executable; run: chmod \+x"):
        find_install(str(tree))
    binary.unlink()
    (binary.parent / "SC2_x64.exe").write_bytes(b"MZ")
    with pytest.raises(UserError, match=r"no file .*SC2_x64; the Linux package"):
        find_install(str(tree))
    binary.mkdir()
    with pytest.raises(UserError, match="no file"):
        find_install(str(tree))


def test_maps(tree):
    install = find_install(str(tree))
    assert all(map_path(install, name).is_file() for name in MAPS)
    path = tree / "Maps/SMAC_Maps/3m.SC2Map"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match=r"not a StarCraft II map.*sc2 install-maps"):
        map_path(install, "3m")
    path.unlink()
    with pytest.raises(UserError, match=r"3m.SC2Map is missing.*lica-jax sc2 install-maps"):
        map_path(install, "3m")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "", "3m/../3m", "3M", "3m\0"])
def test_names_that_are_no_maps(tree, name):
    with pytest.raises(UserError, match="unknown SMAC map"):
        map_path(find_install(str(tree)), name)
