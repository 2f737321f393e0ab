"""An operator lets people in, and never becomes one who is already here."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.governance.build import ANA, BEN, GRACE, World
from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import Refused
from tre_orchestrator.governance.credentials import (
    issue_api_token,
    open_session,
    person_of_token,
    redeem_login_link,
    sessions_of_person,
)
from tre_orchestrator.governance.invitations import invite, reset
from tre_orchestrator.governance.passwords import check_password, has_password, set_first_password, set_password
from tre_orchestrator.ledger.append import person as actor
from tre_orchestrator.ledger.read import entries


def invited(world: World, who: PersonId, by: PersonId = BEN) -> str:
    with world.db.write() as session:
        return invite(session, who, by, world.now)


def test_an_invitation_signs_in_once_and_names_the_operator(world: World) -> None:
    token = invited(world, ANA)
    with world.db.write() as session:
        assert redeem_login_link(session, token, world.now) == ANA
    with world.db.read() as session:
        issued = entries(session, kind="login-link.issued")[-1]
    assert issued.actor.id == BEN


def test_P2_nobody_is_invited_who_has_signed_in(world: World) -> None:
    with world.db.write() as session:
        redeem_login_link(session, invite(session, ANA, BEN, world.now), world.now)
    with pytest.raises(Refused, match="act as them"):
        invited(world, ANA)


def test_P2_nobody_is_invited_who_has_a_password(world: World) -> None:
    with world.db.write() as session:
        set_password(session, ANA, "correct horse battery", actor(ANA), world.now)
    with pytest.raises(Refused, match="password of their own"):
        invited(world, ANA)


def test_an_unused_invitation_can_be_made_again(world: World) -> None:
    assert invited(world, ANA) != invited(world, ANA)


def test_P2_of_two_invitations_only_the_last_signs_in(world: World) -> None:
    """Or whoever made the first could keep it, and vote as the person who used the second."""
    first, second = invited(world, ANA), invited(world, ANA)
    with pytest.raises(Refused, match="used before"), world.db.write() as session:
        redeem_login_link(session, first, world.now)
    with world.db.write() as session:
        assert redeem_login_link(session, second, world.now) == ANA


def test_P2_a_password_ends_links_and_tokens_from_before(world: World) -> None:
    link = invited(world, ANA)
    with world.db.write() as session:
        token = issue_api_token(session, ANA, world.now)
        set_password(session, ANA, "correct horse battery", actor(ANA), world.now)
    with pytest.raises(Refused, match="used before"), world.db.write() as session:
        redeem_login_link(session, link, world.now)
    with world.db.read() as session:
        assert person_of_token(session, token, world.now) is None


def test_P2_a_reset_ends_what_the_person_had_and_names_the_operator(world: World) -> None:
    with world.db.write() as session:
        set_password(session, ANA, "correct horse battery", actor(ANA), world.now)
        open_session(session, ANA, mfa=False, now=world.now)
        open_session(session, BEN, mfa=False, now=world.now)
        token = issue_api_token(session, ANA, world.now)
    with world.db.write() as session:
        assert reset(session, ANA, GRACE, world.now) is None
        link = reset(session, ANA, BEN, world.now)
    assert link is not None
    with pytest.raises(Refused, match="do not match"):
        check_password(world.db, ANA, "correct horse battery", world.now, address="192.0.2.1")
    with world.db.read() as session:
        assert sessions_of_person(session, ANA, world.now) == []
        assert len(sessions_of_person(session, BEN, world.now)) == 1
        assert person_of_token(session, token, world.now) is None
        assert not has_password(session, ANA)
        (told,) = entries(session, kind="password.reset")
    assert (told.actor.id, told.subject, told.facts) == (BEN, "person/ana-silva", {"sessions": 1})
    with world.db.write() as session:
        assert redeem_login_link(session, link, world.now) == ANA
        set_first_password(session, ANA, "a new horse battery", actor(ANA), world.now)
    assert check_password(world.db, ANA, "a new horse battery", world.now, address="192.0.2.1") == ANA


def test_P2_one_operator_alone_resets_nothing_however_often(world: World) -> None:
    with world.db.write() as session:
        set_password(session, ANA, "correct horse battery", actor(ANA), world.now)
        assert [reset(session, ANA, BEN, world.now) for _ in range(3)] == [None, None, None]
    assert check_password(world.db, ANA, "correct horse battery", world.now, address="192.0.2.1") == ANA
    with world.db.write() as session:
        assert len(entries(session, kind="password.reset.asked")) == 1
        assert reset(session, ANA, GRACE, world.now + dt.timedelta(days=1)) is None, "too old to count"
        assert reset(session, ANA, BEN, world.now + dt.timedelta(days=1, hours=1)) is not None
        assert reset(session, ANA, GRACE, world.now + dt.timedelta(days=1, hours=2)) is None, "a new reset needs two"


def test_P2_an_operator_resets_somebody_elses_password_only_and_a_refusal_ends_nothing(world: World) -> None:
    with world.db.write() as session:
        set_password(session, BEN, "correct horse battery", actor(BEN), world.now)
    with pytest.raises(Refused, match="account page"), world.db.write() as session:
        reset(session, BEN, BEN, world.now)
    with world.db.read() as session:
        assert has_password(session, BEN)
