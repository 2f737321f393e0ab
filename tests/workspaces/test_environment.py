"""The workspaces' environment: found, verified file by file, rebuilt when it is not whole."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.built import BUILT
from tre_orchestrator.cli import env
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces import environment
from tre_orchestrator.workspaces.environment import (
    build,
    environment_dir,
    find_environment,
    image_dir,
    inside_dir,
    pins,
    why_not_whole,
)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock with one small package, taken from the big one, so that a build takes a second."""
    text = environment.lock_file().read_text()
    start = text.index("six==")
    end = text.index("\n", text.index("--hash", text.rindex("--hash", start, text.index("    # via", start))))
    lock = tmp_path / "requirements.lock"
    lock.write_text(text[start:end] + "\n")
    monkeypatch.setattr(environment, "lock_file", lambda: lock)
    monkeypatch.setattr(environment, "IMPORTED", "six ssl sqlite3 ctypes")
    return lock


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", cache_dir=tmp_path / "cache")


def test_the_folder_is_named_after_the_lock(settings: Settings, small: Path) -> None:
    first = environment_dir(settings)
    small.write_text(small.read_text() + "\n")
    assert environment_dir(settings) != first
    assert first.parent == settings.cache / "env"


def test_every_package_of_the_lock_has_a_version_and_hashes() -> None:
    text = environment.lock_file().read_text()
    wanted = [line for line in (image_dir() / "requirements.in").read_text().split() if line]
    assert {name for name, _ in pins()} >= set(wanted)
    assert text.count("--hash=sha256:") >= len(pins())


def test_the_inside_layer_is_where_the_workspaces_take_it_from() -> None:
    for name in ("nbmain.py", "server.py", "config/labconfig/page_config.json", "lib/tre_airlock/__init__.py"):
        assert (inside_dir() / name).is_file()


def test_a_missing_environment_is_refused_with_the_command_that_builds_it(settings: Settings) -> None:
    with pytest.raises(Unavailable, match="tre env build"):
        find_environment(settings)


@pytest.mark.slow
def test_the_built_environment_is_whole() -> None:
    assert BUILT.is_dir(), f"{BUILT} does not exist: run `make env` first."
    assert why_not_whole(BUILT) is None
    assert find_environment(Settings(state_dir=Path("/tmp"), environment_dir=BUILT)) == BUILT


@pytest.mark.slow
def test_other_accounts_can_read_all_of_it_and_change_nothing() -> None:
    for path in BUILT.rglob("*"):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        assert mode & 0o004, path
        assert not mode & 0o022 or path.name == ".lock", path


@pytest.mark.slow
def test_scripts_name_the_python_that_workspaces_see() -> None:
    first = (BUILT / "bin" / "jupyter-lab").read_text().partition("\n")[0]
    assert first == "#!/opt/env/bin/python"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs by copying a package of the built environment, so that the test needs no network."""
    monkeypatch.setattr(environment, "_install", _copy_six)


def _copy_six(folder: Path, _progress: object) -> None:
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next(folder.glob("lib/python3*/site-packages"))
    for path in next(BUILT.glob("lib/python3*/site-packages")).glob("six*"):
        if path.is_dir():
            shutil.copytree(path, site / path.name)
        else:
            shutil.copy2(path, site)


@pytest.mark.usefixtures("small", "wheels")
class TestBuilding:
    def test_a_build_is_verified_put_in_place_and_used_again(self, settings: Settings) -> None:
        steps: list[tuple[str, int]] = []
        folder = build(settings, lambda *step: steps.append(step))
        assert why_not_whole(folder) is None
        assert steps[-1][1] == 100
        inode = folder.stat().st_ino
        assert build(settings) == folder
        assert folder.stat().st_ino == inode

    def test_what_a_killed_build_left_is_cleared_away(self, settings: Settings) -> None:
        target = environment_dir(settings)
        leftover = target.with_name(f"{target.name}.partial")
        leftover.mkdir(parents=True)
        (leftover / "junk").touch()
        folder = build(settings)
        assert not leftover.exists()
        assert not (folder / "junk").exists()

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (lambda site: (site / "six.py").write_text("evil = 1\n"), "six.py is not the file"),
            (lambda site: (site / "six.py").unlink(), "six.py is not the file"),
            (lambda site: shutil.rmtree(next(site.glob("six-*"))), "is missing"),
            (lambda site: (site / "more-1.0.dist-info").mkdir(), "more is installed but not in the lock"),
        ],
    )
    def test_a_changed_environment_is_not_whole_and_is_built_again(
        self, settings: Settings, damage: object, words: str
    ) -> None:
        folder = build(settings)
        damage(next(folder.glob("lib/python3*/site-packages")))  # type: ignore[operator]
        assert words in (why_not_whole(folder) or "")
        assert why_not_whole(build(settings)) is None

    def test_an_environment_that_does_not_import_is_never_put_in_place(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(environment, "IMPORTED", "six nowhere_to_be_found")
        with pytest.raises(Unavailable, match="nowhere_to_be_found"):
            build(settings)
        assert not environment_dir(settings).exists()

    def test_an_environment_named_in_the_settings_is_checked_but_never_rebuilt(self, settings: Settings) -> None:
        folder = build(settings)
        (next(folder.glob("lib/python3*/site-packages")) / "six.py").write_text("")
        fixed = settings.model_copy(update={"environment_dir": folder})
        with pytest.raises(Unavailable, match="environment_dir"):
            build(fixed)

    def test_the_command_builds_prints_and_verifies(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(env, "load_settings", lambda: settings)
        run = CliRunner()
        assert run.invoke(env.app, ["path"]).output.strip() == str(environment_dir(settings))
        built = run.invoke(env.app, ["build"])
        assert built.exit_code == 0, built.output
        assert str(environment_dir(settings)) in built.output.replace("\n", "")


def test_an_installer_that_fails_is_quoted(settings: Settings, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(small.parent / "empty-cache"))
    with pytest.raises(Unavailable, match=r"Could not install the locked packages: .+ check the network"):
        build(settings)
    assert not environment_dir(settings).exists()
