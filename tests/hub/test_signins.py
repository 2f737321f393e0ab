"""Rules of signing in, and the configuration that is made from the settings."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from tests.governance.build import ANA, BEN, World, person, ready
from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import Refused, Unavailable
from tre_orchestrator.governance.secrets import HUB_CONTROLLER, HUB_COOKIE, HUB_GATE, HUB_WEB, create_all_secrets
from tre_orchestrator.hub.authenticator import LinkAuthenticator, OidcAuthenticator
from tre_orchestrator.hub.configure import OIDC_SECRET, configure
from tre_orchestrator.hub.signins import REMEMBERED, Record, SignIns, claimed_person, groups_of, has_claim
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings

OIDC = {
    "client_id": "tre",
    "authorize_url": "https://id.example/authorize",
    "token_url": "https://id.example/token",
    "username_claim": "preferred_username",
    "login_service": "Example University",
    "scope": "openid profile",
}


@pytest.mark.parametrize(
    ("claims", "wanted", "proven"),
    [
        ({"amr": ["pwd", "mfa"]}, "amr=mfa", True),
        ({"amr": "mfa"}, "amr=mfa", True),
        ({"acr": "https://refeds.org/profile/mfa"}, "acr=https://refeds.org/profile/mfa", True),
        ({"amr": ["pwd"]}, "amr=mfa", False),
        ({"amr": "pwd mfa"}, "amr=mfa", False),
        ({"amr": ["mfa2"]}, "amr=mfa", False),
        ({"amr": {"mfa": True}}, "amr=mfa", False),
        ({"amr": True}, "amr=True", False),
        ({"amr": ""}, "amr=", False),
        ({"amr": None}, "amr", False),
        ({}, "amr=mfa", False),
    ],
)
def test_a_second_factor_is_what_the_provider_says_in_the_agreed_words(
    claims: dict[str, object], wanted: str, proven: bool
) -> None:
    assert has_claim(claims, wanted) == proven


@pytest.mark.parametrize("value", [None, "", 7, ["ana-silva"], "Ana Silva", "../x", "a" * 31, "ana-silva\n"])
def test_a_name_that_is_none_of_ours_signs_nobody_in(value: object) -> None:
    with pytest.raises(Refused):
        claimed_person({"sub": value}, "sub")
    assert claimed_person({"sub": "ana-silva"}, "sub") == ANA


def test_p1_groups_are_projects_and_an_invalid_person_has_none(
    db: Database, settings: Settings, now: dt.datetime
) -> None:
    world: World = ready(db, settings, now)
    with db.read() as session:
        assert groups_of(session, ANA, now) == ["heart"]
        assert groups_of(session, BEN, now) == []
    world.apply(person("ana-silva", "analyst", accredited="2026-11-22"))
    for who in (ANA, PersonId("nobody")):
        with db.read() as session, pytest.raises(Refused):
            groups_of(session, who, now)


def test_what_a_sign_in_proved_is_known_for_minutes_only(now: dt.datetime) -> None:
    records = SignIns()
    records.add("s1", Record(ANA, True, now))
    assert records.of("s1", now) == Record(ANA, True, now)
    assert records.of("s2", now) is None
    assert records.of("s1", now + REMEMBERED) is None
    records.add("s2", Record(BEN, False, now + REMEMBERED))
    assert records.of("s1", now) is None, "old ones are forgotten"


def configured(settings: Settings) -> Any:
    c = Config()
    configure(c, settings)
    return c


def test_the_hub_is_configured_closed(settings: Settings) -> None:
    create_all_secrets(settings.keys_dir)
    c = configured(settings)
    assert c.JupyterHub.authenticator_class is LinkAuthenticator
    assert c.JupyterHub.hub_bind_url == c.JupyterHub.hub_connect_url
    assert c.JupyterHub.hub_bind_url.startswith("http+unix://%2F")
    assert c.Authenticator.admin_users == set()
    assert c.JupyterHub.oauth_require_pkce
    assert not c.JupyterHub.redirect_to_server
    scopes = {scope for role in c.JupyterHub.load_roles for scope in role["scopes"]}
    assert not {scope for scope in scopes if scope.startswith("admin") or scope in ("inherit", "self", "tokens")}


@pytest.mark.parametrize("missing", [HUB_COOKIE, HUB_GATE, HUB_WEB, HUB_CONTROLLER])
def test_p5_there_is_no_hub_without_its_secrets(settings: Settings, missing: str) -> None:
    create_all_secrets(settings.keys_dir)
    (settings.keys_dir / missing).unlink()
    with pytest.raises(Unavailable) as refused:
        configured(settings)
    assert missing in refused.value.sentence


def test_an_identity_provider_is_configured_from_the_settings(state_dir: Path) -> None:
    create_all_secrets(state_dir / "keys")
    settings = Settings(state_dir=state_dir, oidc=OIDC)
    with pytest.raises(Unavailable) as missing:
        configured(settings)
    assert OIDC_SECRET in missing.value.sentence
    secret = state_dir / "keys" / OIDC_SECRET
    secret.write_text("s3cret\n")
    secret.chmod(0o644)
    with pytest.raises(Unavailable):
        configured(settings)
    secret.chmod(0o600)
    c = configured(settings)
    assert c.JupyterHub.authenticator_class is OidcAuthenticator
    assert (c.OidcAuthenticator.client_secret, c.OidcAuthenticator.client_id) == ("s3cret", "tre")
    assert c.OidcAuthenticator.scope == ["openid", "profile"]
    assert c.OidcAuthenticator.oauth_callback_url == settings.people_origin + "/hub/oauth_callback"
