"""Approvals, grants and held copies through the database: who may, what it changes, and what the ledger says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from tests.governance.build import (
    ANA,
    BEN,
    CHLOE,
    ERIN,
    FEMI,
    GRACE,
    HEART,
    LUNGS,
    OLU,
    SURVEY,
    TRUST,
    World,
    codes,
    dataset,
    person,
    profile,
    project,
)
from tre_orchestrator.catalogue.digest import Version
from tre_orchestrator.catalogue.models import Role
from tre_orchestrator.catalogue.names import DatasetName, PersonId, ProjectName, Sha256
from tre_orchestrator.errors import Invalid, NotFound, Refused, Stale
from tre_orchestrator.governance import approvals, copies, grants
from tre_orchestrator.governance.facts import project_status
from tre_orchestrator.governance.tables import ApprovalRow, CatalogueRow, CopyHoldRow, GrantRow
from tre_orchestrator.ledger.tables import LedgerEntry

DAY = dt.timedelta(days=1)


def kinds(world: World) -> list[str]:
    with world.db.read() as session:
        return list(session.scalars(select(LedgerEntry.kind).order_by(LedgerEntry.seq)))


def use(world: World) -> None:
    with world.db.write() as session:
        copies.record_use(session, HEART, LUNGS, "1.0", world.now)


def revoke(world: World, grant_id: str, by: PersonId = ERIN, now: dt.datetime | None = None) -> None:
    with world.db.write() as session:
        grants.revoke(session, grant_id, by, "found a fault in it", now or world.now)


def decide_copies(world: World, hold_id: str, decision: str, by: PersonId = ERIN) -> None:
    with world.db.write() as session:
        copies.decide_copies(session, hold_id, decision, by, world.now)


def the_grant(world: World) -> grants.Grant:
    with world.db.read() as session:
        (one,) = grants.live_grants(session, world.now, project=HEART)
        return one


def the_hold(world: World) -> copies.CopyHold:
    with world.db.read() as session:
        (one,) = copies.open_holds(session)
        return one


def test_a_ready_project_allows_its_member_and_nobody_else(world: World) -> None:
    assert world.decide(ANA).allowed
    assert codes(world.decide(BEN)) == ["not-a-member"]
    assert codes(world.decide(GRACE)) == ["not-an-analyst", "not-a-member"]
    assert codes(world.decide(PersonId("nobody"))) == ["person-unknown", "not-a-member"]
    with world.db.read() as session, pytest.raises(NotFound):
        project_status(session, world.settings, ProjectName("absent"), world.now)


def test_an_edit_after_approval_locks_the_project_and_the_page_knows_what_changed(world: World) -> None:
    world.apply(project(purpose="Something else", end="2029-12-31"))
    decision = world.decide()
    assert codes(decision) == ["edited-after-approval", "approval-missing"]
    assert "Changed: end, purpose." in decision.refusals[0].sentence
    with world.db.read() as session:
        status = project_status(session, world.settings, HEART, world.now)
    assert not status.ready
    assert [(edit.field, edit.before, edit.after) for edit in status.edits] == [
        ("end", "2027-12-31", "2029-12-31"),
        ("purpose", "Learn about hearts", "Something else"),
    ]
    assert status.approvals == {Role.approver: None}
    world.approve()
    assert world.decide().allowed


def test_an_approval_of_an_older_version_is_stale(world: World) -> None:
    seen = world.seen()
    world.apply(project(title="Other"))
    with world.db.write() as session, pytest.raises(Stale, match="changed since you looked"):
        approvals.approve(session, HEART, Role.approver, seen, GRACE, world.now)


def test_P2_an_approval_is_of_the_controls_that_were_looked_at(world: World) -> None:
    seen = world.seen()
    world.apply(profile(**{"1": {"quorum": 3}}))
    with world.db.write() as session, pytest.raises(Stale, match="controls of tier 1 changed"):
        approvals.approve(session, HEART, Role.approver, seen, GRACE, world.now)
    world.approve()


def test_edited_controls_are_shown_with_the_edits_of_the_project(world: World) -> None:
    world.approve()
    world.apply(profile(**{"1": {"quorum": 3}}), project(title="Other"))
    with world.db.read() as session:
        status = project_status(session, world.settings, HEART, world.now)
    assert [(edit.field, edit.before, edit.after) for edit in status.edits] == [
        ("title", "Heart", "Other"),
        ("tier 1 quorum", None, 3),
    ]


def test_an_answer_under_other_controls_is_no_first_answer(world: World) -> None:
    """Two roles, two people; who approved as one role before the controls changed may answer in either now."""
    world.apply(profile(**{"1": {"approvals": ["approver", "ops"]}}))
    world.approve(by=GRACE, role=Role.approver)
    world.apply(profile(**{"1": {"approvals": ["approver", "ops"], "quorum": 3}}))
    world.approve(by=GRACE, role=Role.ops)


def test_D1_a_grant_is_given_to_the_project_that_its_controller_looked_at(world: World) -> None:
    seen = world.digest()
    world.apply(project(purpose="Sell it"))
    with pytest.raises(Stale, match="changed since you looked"):
        world.grant(seen=seen)
    assert world.grant().project_digest == world.digest()


@pytest.mark.parametrize(
    ("who", "role", "code"),
    [
        (CHLOE, Role.approver, "role-not-held"),
        (OLU, Role.ops, "role-not-asked"),
        (GRACE, Role.checker, "role-not-asked"),
        (PersonId("nobody"), Role.approver, "person-unknown"),
        (PersonId("hub"), Role.approver, "person-unknown"),
    ],
)
def test_p2_only_a_holder_of_an_asked_role_approves(world: World, who: PersonId, role: Role, code: str) -> None:
    with pytest.raises(Refused) as caught:
        world.approve(by=who, role=role)
    assert caught.value.code == code


def test_p2_no_member_approves_their_own_project(world: World) -> None:
    world.apply(project(members=[{"person": "ana-silva"}, {"person": "grace-lin", "until": "2026-01-01"}]))
    with pytest.raises(Refused) as caught:
        world.approve(by=GRACE)
    assert caught.value.code == "own-project"
    assert not world.decide().allowed


def test_p2_one_person_with_two_roles_answers_once(world: World) -> None:
    world.apply(project(tier=2))
    world.approve(by=GRACE, role=Role.approver)
    with pytest.raises(Refused) as caught:
        world.approve(by=GRACE, role=Role.ops)
    assert caught.value.code == "second-answer"
    assert codes(world.decide(mfa=True)) == ["approval-missing"]
    world.approve(by=OLU, role=Role.ops)
    assert world.decide(mfa=True).allowed


def test_p2_two_roles_answered_at_once_by_one_person_count_once(world: World) -> None:
    world.apply(project(tier=2))

    def answer(role: Role) -> str:
        try:
            world.approve(by=GRACE, role=role)
        except Refused as error:
            return error.code
        return "given"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(answer, [Role.approver, Role.ops])) == ["given", "second-answer"]


def test_p1_an_approver_whose_entry_was_set_inactive_does_nothing(world: World) -> None:
    world.apply(person("grace-lin", "approver", "ops", accredited=None, active=False), project(title="Other"))
    with pytest.raises(Refused) as caught:
        world.approve()
    assert caught.value.code == "person-inactive"


def test_a_refusal_is_recorded_with_its_reason_and_withdraws_the_approval(world: World) -> None:
    with world.db.write() as session:
        approvals.refuse(session, HEART, Role.approver, world.seen(), GRACE, " too broad ", world.now + DAY)
    decision = world.decide()
    assert codes(decision) == ["approval-refused"]
    assert "too broad" not in decision.refusals[0].sentence
    with world.db.read() as session:
        answer = project_status(session, world.settings, HEART, world.now).approvals[Role.approver]
    assert answer is not None
    assert (answer.approved, answer.reason) == (False, "too broad")
    assert kinds(world)[-1] == "project.refused"


def test_a_refusal_needs_a_reason(world: World) -> None:
    with world.db.write() as session, pytest.raises(Invalid):
        approvals.refuse(session, HEART, Role.approver, world.seen(), GRACE, "  ", world.now)


@pytest.mark.parametrize(
    ("by", "organisation", "code"),
    [
        (FEMI, TRUST, "not-your-organisation"),
        (FEMI, SURVEY, "not-its-controller"),
        (GRACE, TRUST, "not-your-organisation"),
        (OLU, TRUST, "not-your-organisation"),
        (PersonId("nobody"), TRUST, "person-unknown"),
    ],
)
def test_p2_only_the_controllers_own_people_grant(
    world: World, by: PersonId, organisation: grants.OrganisationName, code: str
) -> None:
    with pytest.raises(Refused) as caught:
        world.grant(by=by, organisation=organisation)
    assert caught.value.code == code


def test_p2_a_controller_who_is_a_member_grants_themselves_nothing(world: World) -> None:
    world.apply(project(members=[{"person": "ana-silva"}, {"person": "erin-walsh"}]))
    with pytest.raises(Refused) as caught:
        world.grant()
    assert caught.value.code == "own-project"


@pytest.mark.parametrize(
    "terms",
    [
        {"until": dt.date(2026, 11, 22)},
        {"until": dt.date(2029, 1, 1)},
        {"grace_seconds": -1},
        {"grace_seconds": 86_401},
        {"conditions": "x" * 2001},
    ],
)
def test_terms_outside_the_limits_are_refused(world: World, terms: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        world.grant(**terms)


def test_a_grant_of_what_the_project_does_not_ask_for_is_refused(world: World) -> None:
    world.apply(dataset("skin"))
    with pytest.raises(NotFound, match="no hashed version"):
        world.grant(dataset=DatasetName("skin"))
    world.add_data(DatasetName("skin"))
    with pytest.raises(Refused, match="does not ask for"):
        world.grant(dataset=DatasetName("skin"))


def test_d1_every_controller_must_grant(world: World) -> None:
    world.apply(dataset(controllers=("trust", "survey")))
    assert codes(world.decide()) == ["grant-missing"]
    world.grant(by=FEMI, organisation=SURVEY)
    assert world.decide().allowed


def test_d1_a_new_grant_replaces_the_live_one_so_that_one_switch_is_enough(world: World) -> None:
    first = the_grant(world)
    world.grant(grace_seconds=120)
    second = the_grant(world)
    assert second.id != first.id
    assert kinds(world)[-2:] == ["grant.replaced", "grant.given"]
    use(world)
    revoke(world, second.id)
    assert codes(world.decide()) == ["copies-on-hold", "grant-revoked"]
    with world.db.read() as session:
        history = grants.grants_of_dataset(session, LUNGS)
    assert {one.id: one.replaced_by for one in history} == {first.id: second.id, second.id: None}


def test_d2_revoked_means_no_new_start_from_that_moment(world: World) -> None:
    assert world.decide().allowed
    revoke(world, the_grant(world).id)
    decision = world.decide()
    assert codes(decision) == ["grant-revoked"]
    assert decision.grace_seconds == 0
    assert not decision.may_keep_running


def test_d2_a_running_workspace_has_the_grants_grace_and_not_a_second_more(world: World) -> None:
    world.grant(grace_seconds=90)
    use(world)
    revoke(world, the_grant(world).id)
    assert not world.decide().allowed
    assert world.decide().grace_seconds == 90
    assert world.decide(now=world.now + dt.timedelta(seconds=89)).may_keep_running
    assert not world.decide(now=world.now + dt.timedelta(seconds=90)).may_keep_running


def test_d2_an_expired_grant_closes_by_the_clock_alone(world: World) -> None:
    world.grant(until=dt.date(2026, 11, 30))
    last = dt.datetime(2026, 11, 30, 23, 59, 59, tzinfo=dt.UTC)
    assert world.decide(now=last).allowed
    assert codes(world.decide(now=last + dt.timedelta(seconds=1))) == ["grant-expired"]


def test_d2_expiry_is_recorded_once_and_holds_copies(world: World) -> None:
    world.grant(until=dt.date(2026, 11, 30), grace_seconds=60)
    use(world)
    after = dt.datetime(2026, 12, 1, 0, 0, 5, tzinfo=dt.UTC)
    with world.db.write() as session:
        assert grants.expire_due(session, world.now) == []
        assert [one.organisation for one in grants.expire_due(session, after)] == [TRUST]
        assert grants.expire_due(session, after + DAY) == []
    assert kinds(world)[-2:] == ["grant.expired", "copies.held"]
    assert world.decide(now=after).grace_seconds == 55
    assert codes(world.decide(now=after)) == ["copies-on-hold", "grant-expired"]


def test_d2_copies_stay_closed_after_a_new_grant_until_the_controller_decides(world: World) -> None:
    use(world)
    revoke(world, the_grant(world).id)
    world.grant()
    decision = world.decide()
    assert codes(decision) == ["copies-on-hold"]
    assert decision.grace_seconds == 0
    for nobody in (ANA, FEMI, GRACE, OLU):
        with pytest.raises(NotFound):
            decide_copies(world, the_hold(world).id, "release-hold", by=nobody)
    decide_copies(world, the_hold(world).id, "release-hold")
    assert world.decide().allowed
    assert kinds(world)[-1] == "copies.decided"


def test_d2_copies_to_be_deleted_stay_closed_until_they_are_gone(world: World) -> None:
    use(world)
    revoke(world, the_grant(world).id)
    world.grant()
    held = the_hold(world)
    with world.db.write() as session, pytest.raises(NotFound):
        copies.record_deleted(session, held.id, world.now)
    with pytest.raises(Invalid):
        decide_copies(world, held.id, "keep")
    decide_copies(world, held.id, "delete")
    with pytest.raises(Refused, match="decided before"):
        decide_copies(world, held.id, "release-hold")
    assert "are being deleted" in world.decide().refusals[0].sentence
    with world.db.write() as session:
        (work,) = copies.pending_deletions(session)
        copies.record_deleted(session, work.id, world.now)
        copies.record_deleted(session, work.id, world.now)
        assert copies.pending_deletions(session) == []
    assert kinds(world).count("copies.deleted") == 1
    assert world.decide().allowed


def test_a_project_that_never_used_the_data_holds_no_copies(world: World) -> None:
    revoke(world, the_grant(world).id)
    world.grant()
    assert world.decide().allowed


def test_a_second_end_adds_no_second_hold(world: World) -> None:
    use(world)
    revoke(world, the_grant(world).id)
    world.grant()
    revoke(world, the_grant(world).id)
    assert the_hold(world).cause == "revoked"


@pytest.mark.parametrize("who", [ANA, FEMI, GRACE, PersonId("nobody")])
def test_p3_a_grants_id_alone_opens_nothing(world: World, who: PersonId) -> None:
    with pytest.raises(NotFound):
        revoke(world, the_grant(world).id, by=who)
    assert world.decide().allowed


def test_a_grant_that_ended_cannot_be_revoked_again(world: World) -> None:
    one = the_grant(world)
    revoke(world, one.id)
    with pytest.raises(Refused, match="ended already"):
        revoke(world, one.id)


def test_where_a_project_stands_names_each_controllers_part(world: World) -> None:
    world.apply(dataset(controllers=("trust", "survey")))
    with world.db.read() as session:
        status = project_status(session, world.settings, HEART, world.now)
    assert [(part.organisation, part.live) for part in status.grants] == [(TRUST, True), (SURVEY, False)]
    assert [one.code for one in status.refusals] == ["grant-missing"]
    assert status.grants[0].manifest is not None
    assert status.grants[0].grant == the_grant(world)


def test_the_ledger_names_the_person_and_keeps_their_words_in_the_body(world: World) -> None:
    revoke(world, the_grant(world).id)
    with world.db.read() as session:
        entry = session.scalars(select(LedgerEntry.entry).order_by(LedgerEntry.seq.desc())).first()
    assert entry is not None
    assert b'"actor":{"id":"erin-walsh","kind":"person"}' in entry
    assert b"found a fault" not in entry


class LedgerFullError(Exception):
    """Stands for any failure of the ledger at its last moment."""


def _acts(world: World) -> list[tuple[str, Callable[[Session], object]]]:
    seen, digest, one, held = world.seen(), world.digest(), the_grant(world), the_hold(world)
    return [
        ("approve", lambda s: approvals.approve(s, HEART, Role.approver, seen, GRACE, world.now)),
        ("refuse", lambda s: approvals.refuse(s, HEART, Role.approver, seen, GRACE, "no", world.now)),
        (
            "grant",
            lambda s: grants.grant(
                s, LUNGS, "1.0", HEART, TRUST, ERIN, world.now, seen=digest, until=dt.date(2027, 1, 1), grace_seconds=5
            ),
        ),
        ("revoke", lambda s: grants.revoke(s, one.id, ERIN, "why", world.now)),
        ("expire", lambda s: grants.expire_due(s, world.now + 365 * DAY)),
        ("hold", lambda s: copies.hold(s, one, "revoked", world.now)),
        ("decide copies", lambda s: copies.decide_copies(s, held.id, "release-hold", ERIN, world.now)),
    ]


@pytest.mark.parametrize("index", range(7))
def test_r1_when_the_ledger_cannot_take_the_entry_nothing_has_happened(world: World, index: int) -> None:
    use(world)
    revoke(world, the_grant(world).id)
    world.grant()
    if index == 5:  # a hold is only new where none is open
        decide_copies(world, the_hold(world).id, "release-hold")
        acts = [("hold", lambda s: copies.hold(s, the_grant(world), "revoked", world.now))]
        name, act = acts[0]
    else:
        name, act = _acts(world)[index]
    before = _state(world)

    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "INSERT INTO ledger_entries" in statement:
            raise LedgerFullError

    event.listen(world.db.engine, "before_cursor_execute", fail)
    try:
        with pytest.raises(LedgerFullError), world.db.write() as session:
            act(session)
    finally:
        event.remove(world.db.engine, "before_cursor_execute", fail)
    assert _state(world) == before, name
    with world.db.write() as session:
        act(session)
    assert _state(world) != before, f"{name} changes nothing, so the attack proves nothing"


def _state(world: World) -> list[object]:
    with world.db.read() as session:
        return [
            [
                {column.name: getattr(row, column.name) for column in row.__table__.columns}
                for row in session.scalars(query)
            ]
            for query in (
                select(ApprovalRow).order_by(ApprovalRow.id),
                select(GrantRow).order_by(GrantRow.id),
                select(CopyHoldRow).order_by(CopyHoldRow.id),
                select(CatalogueRow).order_by(CatalogueRow.kind, CatalogueRow.name),
                select(LedgerEntry).order_by(LedgerEntry.seq),
            )
        ]


def test_an_unknown_digest_is_stale_not_approved(world: World) -> None:
    with world.db.write() as session, pytest.raises(Stale):
        approvals.approve(
            session, HEART, Role.approver, Version(Sha256("0" * 64), world.seen().controls), GRACE, world.now
        )
