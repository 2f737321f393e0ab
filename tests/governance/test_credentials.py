from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import inspect, text

from tests.governance.build import ANA, BEN, ERIN, World, person
from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import Invalid, NotFound, Refused, Stale, TreError
from tre_orchestrator.governance import credentials, passwords
from tre_orchestrator.governance.people import why_not_person
from tre_orchestrator.ledger.append import console
from tre_orchestrator.ledger.append import person as person_actor

HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)


def link(world: World, who: PersonId = ANA) -> str:
    with world.db.write() as session:
        return credentials.issue_login_link(session, who, world.now)


def redeem(world: World, token: str, now: dt.datetime | None = None) -> PersonId:
    with world.db.write() as session:
        return credentials.redeem_login_link(session, token, now or world.now)


def cookie(world: World, who: PersonId = ANA, *, mfa: bool = False) -> str:
    with world.db.write() as session:
        return credentials.open_session(session, who, mfa=mfa, now=world.now)


def session_of(world: World, value: str, now: dt.datetime | None = None) -> credentials.WebSession | None:
    with world.db.read() as session:
        return credentials.session_of(session, value, now or world.now)


def api_token(world: World, who: PersonId = ANA) -> str:
    with world.db.write() as session:
        return credentials.issue_api_token(session, who, world.now)


def owner(world: World, token: str, now: dt.datetime | None = None) -> PersonId | None:
    with world.db.read() as session:
        return credentials.person_of_token(session, token, now or world.now)


def expel(world: World, **change: object) -> None:
    world.apply(person("ana-silva", "analyst", **{"active": False, **change}))


def everything_stored(world: World) -> str:
    with world.db.engine.connect() as connection:
        names = inspect(world.db.engine).get_table_names()
        return repr([connection.execute(text(f'SELECT * FROM "{name}"')).all() for name in names])


def test_a_link_signs_in_once(world: World) -> None:
    token = link(world)
    assert redeem(world, token) == ANA
    with pytest.raises(Refused, match="used before"):
        redeem(world, token)


def test_a_link_redeemed_by_eight_at_once_signs_in_one(world: World) -> None:
    token = link(world)

    def attempt(_: int) -> bool:
        try:
            redeem(world, token)
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(attempt, range(8))) == [False] * 7 + [True]


@pytest.mark.parametrize("token", ["", "x", "\udcff", "A" * 43])
def test_a_wrong_link_is_refused(world: World, token: str) -> None:
    link(world)
    with pytest.raises(Refused):
        redeem(world, token)


def test_a_link_runs_out_after_ten_minutes(world: World) -> None:
    token = link(world)
    with pytest.raises(Refused):
        redeem(world, token, world.now + 10 * MINUTE)
    assert redeem(world, token, world.now + 10 * MINUTE - dt.timedelta(seconds=1)) == ANA


def test_a_link_lives_an_hour_at_most(world: World) -> None:
    for minutes in (0, 61):
        with world.db.write() as session, pytest.raises(Invalid):
            credentials.issue_login_link(session, ANA, world.now, minutes=minutes)


def test_p2_a_link_made_at_the_console_is_visible_as_such(world: World) -> None:
    with world.db.write() as session:
        credentials.issue_login_link(session, ANA, world.now, actor=console("root"))
    assert '"actor":{"id":"root","kind":"console"}' in everything_stored(world)


@pytest.mark.parametrize(
    "change", [{}, {"active": True, "accredited": "2026-11-22"}, {"active": True, "accredited": None}]
)
def test_p1_nothing_opens_for_a_person_who_is_not_valid_now(world: World, change: dict[str, object]) -> None:
    held_link, held_cookie, held_token = link(world), cookie(world), api_token(world)
    assert session_of(world, held_cookie) is not None
    assert owner(world, held_token) == ANA
    expel(world, **change)
    assert session_of(world, held_cookie) is None
    assert owner(world, held_token) is None
    for act in (lambda: redeem(world, held_link), lambda: cookie(world), lambda: api_token(world), lambda: link(world)):
        with pytest.raises(Refused):
            act()
    with world.db.read() as session:
        assert credentials.sessions_of_person(session, ANA, world.now) == []


def test_a_refused_link_is_not_spent(world: World) -> None:
    token = link(world)
    expel(world)
    with pytest.raises(Refused, match="inactive"):
        redeem(world, token)
    expel(world, active=True)
    assert redeem(world, token) == ANA


def test_a_session_ends_twelve_hours_after_it_began_however_busy(world: World) -> None:
    value = cookie(world, mfa=True)
    found = session_of(world, value)
    assert found is not None
    assert (found.person, found.mfa, found.expires) == (ANA, True, world.now + 2 * HOUR)
    for hours in range(1, 12):
        with world.db.write() as session:
            credentials.touch_session(session, found.id, world.now + hours * HOUR)
    last = session_of(world, value, world.now + 12 * HOUR - MINUTE)
    assert last is not None
    assert last.expires == world.now + 12 * HOUR
    assert session_of(world, value, world.now + 12 * HOUR) is None


def test_an_idle_session_ends_after_two_hours_and_a_late_touch_does_not_bring_it_back(world: World) -> None:
    value = cookie(world)
    found = session_of(world, value)
    assert found is not None
    assert session_of(world, value, world.now + 2 * HOUR - MINUTE) is not None
    assert session_of(world, value, world.now + 2 * HOUR) is None
    with world.db.write() as session:
        credentials.touch_session(session, found.id, world.now + 2 * HOUR)
    assert session_of(world, value, world.now + 2 * HOUR) is None


def test_signing_out_ends_one_session_or_all_of_a_person(world: World) -> None:
    first, second, other = cookie(world), cookie(world), cookie(world, BEN)
    found = session_of(world, first)
    assert found is not None
    with world.db.write() as session:
        credentials.close_session(session, found.id, world.now)
        credentials.touch_session(session, found.id, world.now + MINUTE)
    assert session_of(world, first) is None
    assert session_of(world, second) is not None
    with world.db.write() as session:
        assert credentials.close_all_sessions(session, ANA, world.now) == 1
    assert session_of(world, second) is None
    assert session_of(world, other) is not None


def test_every_session_has_its_own_csrf_token(world: World) -> None:
    tokens = {found.csrf for found in (session_of(world, cookie(world)) for _ in range(3)) if found}
    assert len(tokens) == 3
    assert all(len(token) == 64 for token in tokens)


def test_an_api_token_is_its_persons_until_it_runs_out(world: World) -> None:
    token = api_token(world)
    assert token.startswith("tre_")
    assert owner(world, token, world.now + 8 * HOUR - MINUTE) == ANA
    assert owner(world, token, world.now + 8 * HOUR) is None
    assert owner(world, token + "x") is None
    assert owner(world, "") is None


def test_an_api_token_is_revoked_by_its_owner_only(world: World) -> None:
    token = api_token(world)
    with world.db.read() as session:
        (listed,) = credentials.api_tokens(session, ANA, world.now)
    with world.db.write() as session, pytest.raises(NotFound):
        credentials.revoke_api_token(session, BEN, listed.id, world.now)
    with world.db.write() as session:
        credentials.revoke_api_token(session, ANA, listed.id, world.now)
    assert owner(world, token) is None
    with world.db.read() as session:
        assert credentials.api_tokens(session, ANA, world.now) == []


@pytest.mark.parametrize("hours", [0, 169])
def test_an_api_token_lives_a_week_at_most(world: World, hours: int) -> None:
    with world.db.write() as session, pytest.raises(Invalid):
        credentials.issue_api_token(session, ANA, world.now, hours=hours)


def test_r3_no_token_and_no_password_is_stored_anywhere(world: World) -> None:
    secrets = [link(world), cookie(world), api_token(world), "correct horse battery"]
    set_password(world, secrets[-1])
    check(world, secrets[-1])
    stored = everything_stored(world)
    assert "ana-silva" in stored, "the look-up does not see what is stored"
    for value in secrets:
        assert value not in stored
        assert value.removeprefix("tre_") not in stored


def set_password(world: World, password: str, who: PersonId = ANA) -> None:
    with world.db.write() as session:
        passwords.set_password(session, who, password, person_actor(who), world.now)


def check(
    world: World, password: str, who: str = ANA, now: dt.datetime | None = None, address: str = "192.0.2.1"
) -> PersonId:
    return passwords.check_password(world.db, who, password, now or world.now, address=address)


def test_of_two_first_passwords_the_first_holds_and_the_second_gets_a_sentence(world: World) -> None:
    with world.db.write() as session:
        passwords.set_first_password(session, ANA, "correct horse battery", person_actor(ANA), world.now)
    with pytest.raises(Stale, match="another tab"), world.db.write() as session:
        passwords.set_first_password(session, ANA, "another horse battery", person_actor(ANA), world.now)
    assert check(world, "correct horse battery") == ANA


def test_a_password_opens_for_its_person_and_a_new_one_replaces_it(world: World) -> None:
    set_password(world, "correct horse battery")
    assert check(world, "correct horse battery") == ANA
    set_password(world, "another horse battery")
    with pytest.raises(Refused, match="do not match"):
        check(world, "correct horse battery")
    assert check(world, "another horse battery") == ANA


@pytest.mark.parametrize("password", ["short", "x" * 257, "i am ana-silva, hello"])
def test_a_weak_password_is_refused(world: World, password: str) -> None:
    with pytest.raises(Invalid):
        set_password(world, password)


@pytest.mark.parametrize("who", ["ben-okafor", "nobody", "Not A Name", "x" * 31])
def test_a_name_without_password_is_answered_like_a_wrong_password(world: World, who: str) -> None:
    with pytest.raises(Refused) as caught:
        check(world, "correct horse battery", who)
    assert caught.value.code == "wrong-login"


@pytest.mark.parametrize("who", ["ana-silva", "nobody"])
def test_wrong_guesses_wait_longer_and_longer_known_name_or_not(world: World, who: str) -> None:
    set_password(world, "correct horse battery")
    for _ in range(passwords.FREE_ATTEMPTS):
        with pytest.raises(Refused, match="do not match"):
            check(world, "wrong horse battery", who)
    with pytest.raises(Refused, match="Wait 30 s"):
        check(world, "correct horse battery", who)
    later = world.now + passwords.FIRST_WAIT
    with pytest.raises(Refused, match="do not match"):
        check(world, "wrong horse battery", who, later)
    with pytest.raises(Refused, match="Wait 1 min"):
        check(world, "correct horse battery", who, later)
    if who == ANA:
        assert check(world, "correct horse battery", who, later + 2 * passwords.FIRST_WAIT) == ANA


def test_the_wait_grows_to_its_longest_and_no_further() -> None:
    waits = [passwords.wait_after(count) for count in range(200)]
    assert waits == sorted(waits)
    assert waits[passwords.FREE_ATTEMPTS - 1] == dt.timedelta()
    assert waits[-1] == passwords.LONGEST_WAIT < passwords.FORGOTTEN_AFTER


def test_nobody_is_locked_out_by_wrong_guesses_from_elsewhere(world: World) -> None:
    set_password(world, "correct horse battery")
    for _ in range(12):
        with pytest.raises(Refused):
            check(world, "wrong horse battery", address="203.0.113.9")
    assert check(world, "correct horse battery", address="198.51.100.7") == ANA
    with pytest.raises(Refused, match="Wait"):
        check(world, "correct horse battery", address="203.0.113.9")


def test_r3_no_address_of_a_guess_is_stored(world: World) -> None:
    with pytest.raises(Refused):
        check(world, "wrong horse battery", address="203.0.113.9")
    assert "203.0.113.9" not in everything_stored(world)


def test_parallel_guesses_do_not_outrun_the_counter(world: World) -> None:
    set_password(world, "correct horse battery")

    def guess(_: int) -> str:
        try:
            check(world, "wrong horse battery")
        except TreError as error:
            return error.code
        return "open"

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(guess, range(12)))
    assert answers == ["too-many-attempts"] * 7 + ["wrong-login"] * 5


def test_a_right_password_forgets_the_wrong_ones(world: World) -> None:
    set_password(world, "correct horse battery")
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(Refused):
                check(world, "wrong horse battery")
        assert check(world, "correct horse battery") == ANA


def test_p1_a_right_password_opens_nothing_for_an_invalid_person(world: World) -> None:
    set_password(world, "correct horse battery")
    expel(world)
    with pytest.raises(Refused, match="inactive"):
        check(world, "correct horse battery")


@pytest.mark.parametrize(
    ("who", "code"),
    [
        (None, "person-unknown"),
        (person("x", "analyst"), None),
        (person("x", "analyst", accredited=None), "accreditation-missing"),
        (person("x", "checker", accredited=None), "accreditation-missing"),
        (person("x", "analyst", accredited="2026-11-22"), "accreditation-expired"),
        (person("x", "analyst", accredited="2026-11-23"), None),
        (person("x", "ops", accredited=None), None),
        (person("x", accredited=None, controller_of=["trust"]), None),
        (person("x", "ops", accredited=None, active=False), "person-inactive"),
    ],
)
def test_p1_table_of_who_is_valid_now(who: object, code: str | None, now: dt.datetime) -> None:
    refusal = why_not_person(who, now)  # type: ignore[arg-type]
    assert (refusal.code if refusal else None) == code


def test_p1_a_second_factor_is_asked_only_where_it_is_needed(now: dt.datetime) -> None:
    who = person("x", "ops", accredited=None)
    assert why_not_person(who, now, mfa=False, needs_mfa=False) is None
    assert why_not_person(who, now, mfa=True, needs_mfa=True) is None
    refusal = why_not_person(who, now, mfa=False, needs_mfa=True)
    assert refusal is not None
    assert refusal.code == "mfa-needed"


def test_a_controller_signs_in_without_accreditation(world: World) -> None:
    assert redeem(world, link(world, ERIN)) == ERIN
