"""Whose word root takes for what it runs."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tre_orchestrator.errors import Invalid, TreError
from tre_orchestrator.ops import machine
from tre_orchestrator.settings import ROOTS_OWN, Settings, load_settings, save_settings

SERVICE = 1_999_999_999
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has somebody below it")
VALUES = {
    "environment_dir": "/evil",
    "software_dir": "/evil",
    "cache_dir": "/evil",
    "data_roots": "[/]",
    "privilege": "user",
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of whoever runs the tests are not the test's."""
    for name in [name for name in os.environ if name.startswith("TRE_")]:
        monkeypatch.delenv(name)


def test_what_root_saved_root_reads_again(state_dir: Path) -> None:
    saved = Settings(state_dir=state_dir, data_roots=(Path("/srv/data"),), listen_port=8123)
    save_settings(saved)
    if os.geteuid() == 0:
        os.chown(state_dir, SERVICE, SERVICE)
    assert load_settings(state_dir) == saved
    assert sorted(path.name for path in state_dir.glob("settings*")) == ["settings.yaml"]


@as_root
@pytest.mark.parametrize("key", ROOTS_OWN)
def test_root_takes_no_order_from_a_file_of_the_services(state_dir: Path, key: str) -> None:
    path = state_dir / "settings.yaml"
    path.write_text(f"listen_port: 8123\n{key}: {VALUES[key]}\n")
    os.chown(path, SERVICE, SERVICE)
    with pytest.raises(Invalid, match=key):
        load_settings(state_dir)
    path.write_text("listen_port: 8123\n")
    assert load_settings(state_dir).listen_port == 8123


def test_a_link_in_place_of_the_settings_is_not_followed(state_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("listen_port: 8123\n")
    (state_dir / "settings.yaml").symlink_to(tmp_path / "real.yaml")
    with pytest.raises(Invalid, match="plain file"):
        load_settings(state_dir)


@as_root
def test_root_signals_no_process_that_the_services_name_to_it(settings: Settings) -> None:
    os.chown(settings.state_dir, SERVICE, SERVICE)
    victim = subprocess.Popen(["/usr/bin/sleep", "60"])
    try:
        with pytest.raises(TreError, match="belongs to uid 0"):
            machine.signal_running(settings, victim.pid, signal.SIGTERM)
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_a_lock_file_that_is_a_link_is_not_written_through(settings: Settings, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("x" * 100)
    (settings.run_dir / "up.lock").symlink_to(precious)
    with pytest.raises(TreError, match="symbolic links"), machine.only_one(settings):
        pass
    assert precious.read_text() == "x" * 100


PROVIDER = {
    "client_id": "tre",
    "authorize_url": "https://id.example.org/authorize",
    "token_url": "https://id.example.org/token",
    "username_claim": "tre_name",
}


@pytest.mark.parametrize("key", ["authorize_url", "token_url", "logout_redirect_url"])
@pytest.mark.parametrize(
    ("address", "is_taken"),
    [
        ("https://id.example.org/x", True),
        ("http://127.0.0.1:8080/x", True),
        ("http://[::1]:8080/x", True),
        ("http://id.localhost/x", True),
        ("http://id.example.org/x", False),
        ("http://127.0.0.1.example.org/x", False),
        ("http://127.0.0.1@example.org/x", False),
        ("https://somebody@id.example.org/x", False),
        ("https://id.example.org:port/x", False),
        ("https:///x", False),
        ("ftp://id.example.org/x", False),
        ("id.example.org", False),
        ("", False),
    ],
)
def test_p1_the_identity_provider_is_asked_over_tls_only(
    state_dir: Path, key: str, address: str, is_taken: bool
) -> None:
    oidc = {**PROVIDER, key: address}
    if is_taken:
        assert load_settings(state_dir, oidc=oidc).oidc == oidc
        return
    with pytest.raises(Invalid, match=f"'oidc'.*{key}"):
        load_settings(state_dir, oidc=oidc)


@pytest.mark.parametrize("key", ["authorize_url", "client_id", "token_url", "username_claim"])
@pytest.mark.parametrize("value", [None, "", " "])
def test_what_the_identity_provider_needs_must_be_there(state_dir: Path, key: str, value: str | None) -> None:
    oidc = {name: given for name, given in {**PROVIDER, key: value}.items() if given is not None}
    with pytest.raises(Invalid, match=f"'oidc'.*{key} is missing"):
        load_settings(state_dir, oidc=oidc)


def test_p5_a_key_that_is_no_setting_of_the_provider_is_named_and_its_value_is_not(state_dir: Path) -> None:
    with pytest.raises(Invalid, match="client_secret") as refused:
        load_settings(state_dir, oidc={**PROVIDER, "client_secret": "in the open"})
    assert "in the open" not in refused.value.sentence
    with pytest.raises(Invalid, match="openid"):
        load_settings(state_dir, oidc={**PROVIDER, "scope": "profile"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("site", value)
            for value in (
                *("", "localhost", "TRE.example.org", "tre.example.org:8000", "https://tre.example.org", "192.0.2.1"),
                *(
                    "tre.example.org/",
                    "tre..org",
                    "-tre.example.org",
                    "tre_x.example.org",
                    "a." * 120 + "org",
                    "tre.org.",
                ),
            )
        ),
        *(("public_port", value) for value in (0, 65536, -1, True, "http")),
        *(("mfa_claim", value) for value in ("", "amr", "=mfa", "amr=", "a b=c")),
    ],
)
def test_a_setting_that_cannot_be_right_is_a_sentence_that_names_it(state_dir: Path, key: str, value: object) -> None:
    with pytest.raises(Invalid, match=f"'{key}'"):
        load_settings(state_dir, **{key: value})


def test_settings_that_can_be_right_are_taken(state_dir: Path) -> None:
    taken = load_settings(state_dir, site="tre.example.org", public_port=8443, mfa_claim="acr=urn:x:2fa", oidc=PROVIDER)
    assert (taken.site, taken.public_port, taken.mfa_claim) == ("tre.example.org", 8443, "acr=urn:x:2fa")
